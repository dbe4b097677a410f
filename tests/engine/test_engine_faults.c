/* What goes wrong while a model runs under a ceiling: disks that fail in the middle, files that change, sessions for which no
 * room is left or that share few slots, and every way to run out of memory. The session stays usable, others are unharmed,
 * nothing leaks. calloc and mmap are wrapped at link time: they are the only ways the library gets memory. */
#include <fcntl.h>
#include <sys/mman.h>

#include "memory_util.h"

enum { N_PROMPT = 50, N_TOK = 64 };

/* ---- memory that runs out ---- */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
#ifdef __GLIBC__ /* with large files the name of mmap there */
#define REAL_MMAP __real_mmap64
#define WRAP_MMAP __wrap_mmap64
#else
#define REAL_MMAP __real_mmap
#define WRAP_MMAP __wrap_mmap
#endif
void *REAL_MMAP(void *addr, size_t n, int prot, int flags, int fd, off_t offset);
void *WRAP_MMAP(void *addr, size_t n, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);

static _Atomic long memory_left = -1;  /* allocations until one fails; negative: never */
static _Atomic long threads_left = -1;
static _Atomic long mapped;            /* bytes */

static bool take_one(_Atomic long *left) {
    long n = atomic_load(left);
    while (n > 0 && !atomic_compare_exchange_weak(left, &n, n - 1)) continue;
    return n != 0;
}

void *__wrap_calloc(size_t n, size_t size) { return take_one(&memory_left) ? __real_calloc(n, size) : NULL; }

void *WRAP_MMAP(void *addr, size_t n, int prot, int flags, int fd, off_t offset) {
    if (!take_one(&memory_left)) return errno = ENOMEM, MAP_FAILED;
    void *p = REAL_MMAP(addr, n, prot, flags, fd, offset);
    if (p != MAP_FAILED) atomic_fetch_add(&mapped, (long)n);
    return p;
}

int __wrap_munmap(void *p, size_t n) {
    atomic_fetch_sub(&mapped, (long)n);
    return __real_munmap(p, n);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg) {
    return take_one(&threads_left) ? __real_pthread_create(t, a, f, arg) : EAGAIN;
}

/* ---- models ---- */

static carat_model_opts streamed(void) {
    carat_model_opts o = carat_model_opts_default();
    o.ram = 256 * MIB;
    o.ple = o.experts = CARAT_PLACE_STREAMED;
    o.expert_cache = 1; /* the fewest slots */
    return o;
}

static carat_session_opts short_chunks(void) {
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = N_TOK, o.n_chunk = 12, o.n_threads = 2;
    return o;
}

static const char *bundled(int moe) { return memory_bundled(moe ? "carat-story-moe" : "carat-story-e"); }

static int32_t tok[N_TOK];

/* What an undisturbed session says after tok[0, n), for n in {N_PROMPT, N_PROMPT + 1, …, N_TOK}: [N_TOK + 1, n_vocab]. */
static float *undisturbed(int moe, int32_t *n_vocab) {
    carat_model *m = memory_open(bundled(moe), NULL);
    carat_session_opts so = short_chunks();
    carat_session *s = memory_session(m, &so);
    carat_error err = {0};
    carat_model_info info;
    carat_model_get_info(m, &info);
    *n_vocab = info.n_vocab;
    memory_text(tok, N_TOK, info.n_vocab, 0);
    float *out = calloc((size_t)(N_TOK + 1) * (size_t)info.n_vocab, sizeof *out);
    assert_non_null(out);
    for (int n = N_PROMPT; n <= N_TOK; n++) {
        if (carat_session_sync(s, tok, (size_t)n, &err)) fail_msg("%s", err.msg);
        memcpy(out + (size_t)n * (size_t)info.n_vocab, carat_session_logits(s), (size_t)info.n_vocab * sizeof *out);
    }
    carat_session_free(&s);
    carat_model_close(&m);
    return out;
}

static void assert_says(carat_session *s, int n, const float *want, int32_t n_vocab) {
    carat_error err = {0};
    if (carat_session_sync(s, tok, (size_t)n, &err)) fail_msg("%d tokens: %s", n, err.msg);
    assert_int_equal(carat_session_n_past(s), n);
    if (memcmp(carat_session_logits(s), want + (size_t)n * (size_t)n_vocab, (size_t)n_vocab * sizeof(float)) != 0) fail_msg("%d tokens: other logits", n);
}

static void assert_fails(carat_session *s, int n, const char *text) {
    carat_error err = {0};
    const int rc = carat_session_sync(s, tok, (size_t)n, &err);
    if (rc != CARAT_EIO || err.code != CARAT_EIO || !strstr(err.msg, text) || strchr(err.msg, '\n')) fail_msg("%d tokens: %d %s", n, rc, err.msg);
    assert_true(carat_session_n_past(s) < n);
    assert_null(carat_session_logits(s));
}

/* ---- disks that fail ---- */

/* One read or all from the k-th on, in the prompt and in each token after it; another session of the model goes on. */
static void reads__that_fail(void **state) {
    (void)state;
    for (int kind = 0; kind < 6; kind++) {
        const int moe = kind % 2;
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks();
        mo.no_expert_ahead = kind >= 4;
        carat_model *m = memory_open(bundled(moe), &mo);
        so.lookup = kind >= 2 ? CARAT_LOOKUP_ALWAYS : CARAT_LOOKUP_OFF;
        carat_session *s = memory_session(m, &so), *other = memory_session(m, &so);
        memory_inject(m);
        assert_says(other, N_PROMPT, want, n_vocab);
        int failures = 0, n = N_PROMPT;
        for (int k = 0; k < 40; k++) {
            carat_error err = {0};
            const long after = moe && k >= 10 ? k * 3 : k;
            if (k % (moe ? 8 : 2) == 0) { /* from the beginning */
                carat_session_free(&s);
                s = memory_session(m, &so);
                n = N_PROMPT;
            }
            atomic_store(&memory_fail_once, k % 2 == 1);
            atomic_store(&memory_fail_after, after);
            if (carat_session_sync(s, tok, (size_t)n, &err) == 0) {
                atomic_store(&memory_fail_after, -1);
            } else {
                atomic_store(&memory_fail_after, 0);
                assert_int_equal(err.code, CARAT_EIO);
                assert_non_null(strstr(err.msg, "cannot be read at"));
                assert_null(strchr(err.msg, '\n'));
                assert_true(carat_session_n_past(s) < n);
                assert_null(carat_session_logits(s));
                atomic_store(&memory_fail_after, -1);
                failures++;
            }
            assert_says(s, n, want, n_vocab);
            n = n < N_TOK ? n + 1 : N_PROMPT; /* and back */
            if (k % 4 == 0) assert_says(other, N_PROMPT + k / 4 + 1, want, n_vocab);
        }
        assert_true(failures > 5);
        carat_session_free(&s);
        carat_session_free(&other);
        carat_model_close(&m);
        free(want);
    }
}

/* Nothing can be read any more, again and again: every call says so, and memory does not grow. */
static void disks__that_are_gone(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks();
        carat_model *m = memory_open(bundled(moe), &mo);
        carat_session *s = memory_session(m, &so);
        memory_inject(m);
        assert_says(s, N_PROMPT, want, n_vocab);
        atomic_store(&memory_fail_once, false);
        atomic_store(&memory_fail_after, 0);
        for (int i = 0; i < 100; i++) {
            int32_t other[N_PROMPT];
            memory_text(other, N_PROMPT, n_vocab, 100 + 29 * i);
            carat_error err = {0};
            assert_int_equal(carat_session_sync(s, other, N_PROMPT, &err), CARAT_EIO);
        }
        atomic_store(&memory_fail_after, -1);
        assert_says(s, N_PROMPT, want, n_vocab);
        carat_session_free(&s);
        carat_model_close(&m);
        free(want);
    }
}

/* ---- files that change ---- */

static void files__that_change(void **state) {
    (void)state;
    enum { CUT, GROWN, WRITTEN, REPLACED, GONE, N_CHANGE };
    for (int i = 0; i < 2 * N_CHANGE; i++) {
        const int moe = i % 2, what = i / 2;
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        char path[300], fresh[300];
        snprintf(path, sizeof path, "%s", maker_path("x.gguf"));
        snprintf(fresh, sizeof fresh, "%s", maker_path("y.gguf"));
        memory_copy(bundled(moe), path);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks();
        carat_model *m = memory_open(path, &mo);
        carat_session *s = memory_session(m, &so);
        struct stat st;
        assert_says(s, N_PROMPT, want, n_vocab);
        assert_int_equal(stat(path, &st), 0);
        const char *said = "was written to while in use";
        if (what == CUT) {
            assert_int_equal(truncate(path, st.st_size / 2), 0);
            said = "was cut to";
        } else if (what == GROWN) {
            assert_int_equal(truncate(path, st.st_size + 1), 0);
        } else if (what == WRITTEN) {
            const struct timespec later[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = st.st_mtim.tv_sec + 1}};
            assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
        } else if (what == REPLACED) {
            memory_copy(bundled(!moe), fresh);
            assert_int_equal(rename(fresh, path), 0);
        } else {
            assert_int_equal(unlink(path), 0);
        }
        if (what >= REPLACED) {
            for (int n = N_PROMPT + 1; n <= N_TOK; n++) assert_says(s, n, want, n_vocab);
        } else {
            for (int k = 0; k < 3; k++) assert_fails(s, N_PROMPT + 1 + k, said);
            tok[0]++;
            assert_fails(s, N_PROMPT, said);
        }
        carat_session_free(&s);
        carat_model_close(&m);
        unlink(path);
        free(want);
    }
}

/* Between opening the model and its first session. */
static void files__that_change_before_the_first_session(void **state) {
    (void)state;
    for (int grow = -1; grow < 2; grow++) {
        char path[300];
        carat_error err = {0};
        struct stat st;
        snprintf(path, sizeof path, "%s", maker_path("x.gguf"));
        memory_copy(bundled(1), path);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks();
        mo.experts = grow == 0 ? CARAT_PLACE_RESIDENT : mo.experts;
        carat_model *m = memory_open(path, &mo);
        carat_session *s = NULL;
        assert_int_equal(stat(path, &st), 0);
        if (grow) {
            assert_int_equal(truncate(path, st.st_size + (grow > 0 ? 4096 : -4096)), 0);
        } else {
            const struct timespec later[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = st.st_mtim.tv_sec + 1}};
            assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
        }
        assert_int_equal(carat_session_new(&s, m, &so, &err), CARAT_EIO);
        assert_null(s);
        assert_null(strchr(err.msg, '\n'));
        assert_int_equal(carat_session_new(&s, m, &so, &err), CARAT_EIO);
        carat_model_close(&m);
        unlink(path);
    }
}

/* ---- more than one session ---- */

static void sessions__for_which_there_is_no_room(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks(), large = so;
        carat_error err = {0};
        mo.ram = 1;
        carat_model *m = memory_open(bundled(moe), &mo);
        carat_plan p = memory_plan(m, &so);
        carat_model_close(&m);
        mo.ram = p.smallest;
        m = memory_open(bundled(moe), &mo);
        carat_session *s = memory_session(m, &so), *second = NULL;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(carat_session_new(&second, m, &so, &err), CARAT_ENOMEM);
            assert_null(second);
            assert_non_null(strstr(err.msg, "another session of"));
            assert_null(strchr(err.msg, '\n'));
            assert_says(s, N_PROMPT + i, want, n_vocab);
        }
        /* What the message names does. */
        unsigned needed = 0;
        const char *at = strstr(err.msg, "ceiling of ");
        assert_true(at && sscanf(at, "ceiling of %u MiB", &needed) == 1);
        carat_session_free(&s);
        second = memory_session(m, &so); /* the room of the one that is gone */
        assert_says(second, N_PROMPT, want, n_vocab);
        carat_session_free(&second);
        large.n_ctx = 2048, large.kv = CARAT_KV_F32;
        assert_int_equal(carat_session_new(&second, m, &large, &err), CARAT_ENOMEM);
        carat_model_close(&m);
        mo.ram = needed * MIB;
        mo.expert_cache = 1;
        m = memory_open(bundled(moe), &mo);
        s = memory_session(m, &so);
        second = memory_session(m, &so);
        assert_says(s, N_PROMPT, want, n_vocab);
        assert_says(second, N_PROMPT + 3, want, n_vocab);
        carat_session_free(&s);
        carat_session_free(&second);
        carat_model_close(&m);
        free(want);
    }
}

/* Options that leave the chunk to the plan: opened again and again under the smallest ceiling. */
static void sessions__of_the_smallest_ceiling_can_be_made_again(void **state) {
    (void)state;
    carat_model_opts mo = carat_model_opts_default();
    carat_session_opts so = carat_session_opts_default();
    so.n_threads = 2;
    mo.ram = 1;
    carat_model *m = memory_open(bundled(1), &mo);
    mo.ram = memory_plan(m, &so).smallest;
    carat_model_close(&m);
    m = memory_open(bundled(1), &mo);
    for (int i = 0; i < 3; i++) {
        carat_session *s = memory_session(m, &so);
        assert_int_equal(s->fw.o.n_chunk, 16);
        carat_session_free(&s);
    }
    carat_model_close(&m);
}

typedef struct {
    const carat_model *m;
    const float *want;
    int32_t n_vocab;
    int wrong;
    bool made;
} runner;

static void *run_session(void *ud) {
    runner *r = ud;
    carat_session_opts so = short_chunks();
    carat_session *s = NULL;
    carat_session_stats st;
    r->wrong += carat_session_new(&s, r->m, &so, NULL) != 0;
    for (int n = N_PROMPT; n <= N_TOK && s; n++) {
        r->wrong += carat_session_sync(s, tok, (size_t)n, NULL) != 0 ||
                    memcmp(carat_session_logits(s), r->want + (size_t)n * (size_t)r->n_vocab, (size_t)r->n_vocab * sizeof(float)) != 0;
        carat_session_get_stats(s, &st);
    }
    carat_session_free(&s);
    return NULL;
}

/* The first of them puts the weights in their places, whichever that is. */
static void sessions__at_the_same_time(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        const int moe = i % 2;
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        carat_model_opts mo = streamed();
        carat_model *m = memory_open(bundled(moe), &mo);
        pthread_t t[3];
        runner r[3];
        for (int k = 0; k < 3; k++) {
            r[k] = (runner){.m = m, .want = want, .n_vocab = n_vocab};
            assert_int_equal(pthread_create(&t[k], NULL, run_session, &r[k]), 0);
        }
        for (int k = 0; k < 3; k++) {
            pthread_join(t[k], NULL);
            assert_int_equal(r[k].wrong, 0);
        }
        carat_model_close(&m);
        free(want);
    }
}

/* ---- memory and threads that run out ---- */

static int open_and_sync(const char *path, const carat_model_opts *mo, carat_error *err) {
    carat_model *m = NULL;
    carat_session *s = NULL;
    carat_session_opts so = short_chunks();
    so.lookup = CARAT_LOOKUP_AUTO;
    int rc = carat_model_open(&m, path, mo, err);
    if (!rc) rc = carat_session_new(&s, m, &so, err);
    if (!rc) rc = carat_session_sync(s, tok, 5, err);
    carat_session_free(&s);
    carat_model_close(&m);
    return rc;
}

static void memory__that_runs_out_anywhere(void **state) {
    (void)state;
    static maker made;
    char path[2][300];
    snprintf(path[0], sizeof path[0], "%s", maker_path("e.gguf"));
    snprintf(path[1], sizeof path[1], "%s", maker_path("moe.gguf"));
    maker_e(&made);
    maker_write(&made, path[0]);
    maker_moe(&made);
    maker_write(&made, path[1]);
    memory_text(tok, N_TOK, MAKER_VOCAB, 0);
    for (int kind = 0; kind < 4; kind++) {
        carat_model_opts mo = streamed();
        if (kind >= 2) mo.ple = mo.experts = CARAT_PLACE_RESIDENT;
        carat_error err = {0};
        const long before = atomic_load(&mapped);
        for (int n = 0;; n++) {
            assert_true(n < 2000);
            atomic_store(&memory_left, n);
            const int rc = open_and_sync(path[kind % 2], &mo, &err);
            const bool enough = atomic_load(&memory_left) > 0;
            atomic_store(&memory_left, -1);
            assert_int_equal(atomic_load(&mapped), before);
            if (rc == 0 && enough) break;
            if (rc == 0) continue; /* what failed was not needed */
            if (rc != CARAT_ENOMEM || err.code != rc || !err.msg[0] || strchr(err.msg, '\n')) fail_msg("allocation %d: %d %s", n, rc, err.msg);
        }
    }
    memory_text(tok, N_TOK, 4096, 0);
}

/* A session that failed half-way leaves the model fit for another. */
static void first__sessions_that_fail_can_be_made_again(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks();
        carat_model *m = memory_open(bundled(moe), &mo);
        for (int n = 0;; n++) {
            carat_session *s = NULL;
            carat_error err = {0};
            atomic_store(&memory_left, n);
            const int rc = carat_session_new(&s, m, &so, &err);
            atomic_store(&memory_left, -1);
            if (rc == 0) {
                assert_true(n > 10);
                assert_says(s, N_PROMPT, want, n_vocab);
                carat_session_free(&s);
                break;
            }
            assert_null(s);
            assert_int_equal(rc, CARAT_ENOMEM);
            assert_int_equal(m->place->session_bytes, 0);
        }
        carat_model_close(&m);
        free(want);
    }
}

static void threads__that_do_not_start(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        int32_t n_vocab;
        float *want = undisturbed(moe, &n_vocab);
        carat_model_opts mo = streamed();
        carat_session_opts so = short_chunks();
        for (int n = 0; n < 30; n++) {
            carat_session *s = NULL;
            carat_error err = {0};
            const long before = atomic_load(&mapped);
            carat_model *m = memory_open(bundled(moe), &mo);
            atomic_store(&threads_left, n);
            const int rc = carat_session_new(&s, m, &so, &err);
            atomic_store(&threads_left, -1);
            if (rc == 0) assert_says(s, N_PROMPT, want, n_vocab); /* with fewer, more slowly */
            else assert_true(err.msg[0] != 0 && !strchr(err.msg, '\n'));
            if (n == 29) assert_int_equal(rc, 0);
            carat_session_free(&s);
            carat_model_close(&m);
            assert_int_equal(atomic_load(&mapped), before);
        }
        free(want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads__that_fail),
        cmocka_unit_test(disks__that_are_gone),
        cmocka_unit_test(files__that_change),
        cmocka_unit_test(files__that_change_before_the_first_session),
        cmocka_unit_test(sessions__for_which_there_is_no_room),
        cmocka_unit_test(sessions__of_the_smallest_ceiling_can_be_made_again),
        cmocka_unit_test(sessions__at_the_same_time),
        cmocka_unit_test(memory__that_runs_out_anywhere),
        cmocka_unit_test(first__sessions_that_fail_can_be_made_again),
        cmocka_unit_test(threads__that_do_not_start),
    };
    return cmocka_run_group_tests_name("engine faults", tests, NULL, maker_cleanup);
}
