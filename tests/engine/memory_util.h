/* Shared by the tests of what a model does under a memory ceiling: models and sessions made or the test fails, and a disk that
 * can be told to fail. */
#ifndef CT_TESTS_MEMORY_UTIL_H
#define CT_TESTS_MEMORY_UTIL_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "carat.h"
#include "engine/engine_int.h"
#include "model_maker.h"

#define MIB ((uint64_t)1 << 20)

static inline void memory_cut(const char *from, const char *options, const char *to) {
    char cmd[4096];
    snprintf(cmd, sizeof cmd, "'%s' cut '%s' %s --out '%s' >/dev/null", getenv("CARAT_BIN"), from, options, to);
    if (system(cmd) != 0) fail_msg("%s", cmd);
}

static inline void memory_copy(const char *from, const char *to) {
    static char block[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;) assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static inline const char *memory_bundled(const char *name) {
    static char path[2][1200];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/models/%s.gguf", getenv("CARAT_ROOT"), name);
    return path[turn];
}

static inline carat_model *memory_open(const char *path, const carat_model_opts *o) {
    carat_model *m = NULL;
    carat_error err = {0};
    if (carat_model_open(&m, path, o, &err)) fail_msg("%s", err.msg);
    return m;
}

static inline carat_session *memory_session(const carat_model *m, const carat_session_opts *o) {
    carat_session *s = NULL;
    carat_error err = {0};
    if (carat_session_new(&s, m, o, &err)) fail_msg("%s", err.msg);
    return s;
}

static inline carat_plan memory_plan(const carat_model *m, const carat_session_opts *o) {
    carat_plan p;
    carat_error err = {0};
    if (carat_plan_make(&p, m, o, &err)) fail_msg("%s", err.msg);
    return p;
}

/* A text with repetitions, so that prompt lookup finds some. */
static inline void memory_text(int32_t *tok, int n, int n_vocab, int seed) {
    for (int i = 0; i < n; i++) tok[i] = (5 + seed + 37 * (i % 13) + (i / 29) * 11) % n_vocab;
}

/* Reads until they fail; negative: never. One fails, or all that follow. */
static _Atomic long memory_fail_after = -1;
static _Atomic bool memory_fail_once;
static _Atomic long memory_reads;

static inline long memory_read(int fd, void *p, size_t n, uint64_t offset) {
    atomic_fetch_add(&memory_reads, 1);
    long left = atomic_load(&memory_fail_after);
    while (left > 0 && !atomic_compare_exchange_weak(&memory_fail_after, &left, left - 1)) continue;
    if (left == 0) {
        if (atomic_load(&memory_fail_once)) atomic_store(&memory_fail_after, -1);
        return errno = EIO, -1;
    }
    return (long)pread(fd, p, n, (off_t)offset);
}

/* From now on the model's streamed reads are these. */
static inline void memory_inject(const carat_model *m) {
    for (int i = 0; i < ct_source_n_files(&m->source); i++) m->place->file[i].read_at = memory_read;
    atomic_store(&memory_fail_after, -1);
    atomic_store(&memory_reads, 0);
}

#endif
