/* A file of known bytes for the tests of what reads from disk, with a disk that can fail, wait and count. */
#ifndef CT_TESTS_STREAM_UTIL_H
#define CT_TESTS_STREAM_UTIL_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/direct.h"
#include "base/rng.h"

static struct {
    char path[64];
    ct_mapped_file file;
    ct_direct direct;
    _Atomic long calls, failed;
    _Atomic long fail_after;     /* reads until they fail; negative: never */
    _Atomic uint64_t bad_from, bad_to; /* reads that touch these bytes fail */
    _Atomic bool closed;         /* reads wait until this is false */
    _Atomic long waiting;        /* reads that do */
    _Atomic int delay_us;
} disk;

static inline void disk_sleep(long us) {
    const struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

static inline long disk_read(int fd, void *p, size_t n, uint64_t offset) {
    atomic_fetch_add(&disk.calls, 1);
    if (atomic_load(&disk.closed)) {
        atomic_fetch_add(&disk.waiting, 1);
        while (atomic_load(&disk.closed)) disk_sleep(200);
        atomic_fetch_sub(&disk.waiting, 1);
    }
    if (atomic_load(&disk.delay_us)) disk_sleep(atomic_load(&disk.delay_us));
    long left = atomic_load(&disk.fail_after);
    while (left > 0 && !atomic_compare_exchange_weak(&disk.fail_after, &left, left - 1)) continue;
    const bool bad = offset < atomic_load(&disk.bad_to) && offset + n > atomic_load(&disk.bad_from);
    if (left == 0 || bad) {
        atomic_fetch_add(&disk.failed, 1);
        return errno = EIO, -1;
    }
    return (long)pread(fd, p, n, (off_t)offset);
}

static inline void disk_open(const char *name, size_t size) {
    carat_error err = {0};
    ct_rng rng;
    ct_rng_seed(&rng, 7);
    snprintf(disk.path, sizeof disk.path, "/tmp/carat-%s.%d", name, (int)getpid());
    FILE *f = fopen(disk.path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < size; i += 8) {
        const uint64_t v = ct_rng_u64(&rng);
        assert_int_equal(fwrite(&v, 1, size - i < 8 ? size - i : 8, f), size - i < 8 ? size - i : 8);
    }
    assert_int_equal(fclose(f), 0);
    if (ct_map_file(&disk.file, disk.path, &err) || ct_direct_open(&disk.direct, &disk.file, &err)) fail_msg("%s", err.msg);
    disk.direct.read_at = disk_read;
    atomic_store(&disk.fail_after, -1);
    atomic_store(&disk.bad_from, 0);
    atomic_store(&disk.bad_to, 0);
    atomic_store(&disk.closed, false);
    atomic_store(&disk.delay_us, 0);
    atomic_store(&disk.calls, 0);
    atomic_store(&disk.failed, 0);
}

static inline void disk_close(void) {
    ct_unmap_file(&disk.file);
    unlink(disk.path);
}

/* Wait until so many reads stand before the closed door. */
static inline void disk_await(long n) {
    while (atomic_load(&disk.waiting) < n) disk_sleep(200);
}

#endif
