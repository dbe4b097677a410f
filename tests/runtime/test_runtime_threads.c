/* The pool under load: every item runs exactly once, whatever the number of threads, with jobs following each other at
 * once (late workers), with pauses long enough to sleep, and with few items. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "runtime/threads.h"

typedef struct {
    _Atomic int *hits;
    _Atomic int bad_thread;
    int n_threads;
} job;

static void hit(void *ud, int64_t item, int thread) {
    job *j = ud;
    atomic_fetch_add_explicit(&j->hits[item], 1, memory_order_relaxed);
    if (thread < 0 || thread >= j->n_threads) atomic_store(&j->bad_thread, 1);
}

static void run__does_every_item_once(void **state) {
    (void)state;
    enum { MAX = 300 };
    for (int n_threads = 1; n_threads <= 8; n_threads += n_threads < 3 ? 1 : 5) {
        ct_pool *p = NULL;
        assert_int_equal(ct_pool_new(&p, n_threads, NULL), 0);
        assert_int_equal(ct_pool_n_threads(p), n_threads);
        static _Atomic int hits[MAX];
        job j = {.hits = hits, .n_threads = n_threads};
        for (int round = 0; round < 3000; round++) {
            const int n = (round * 37) % MAX;
            for (int i = 0; i < MAX; i++) atomic_store_explicit(&hits[i], 0, memory_order_relaxed);
            ct_pool_run(p, hit, &j, n);
            for (int i = 0; i < MAX; i++) assert_int_equal(atomic_load_explicit(&hits[i], memory_order_relaxed), i < n);
            if (round % 500 == 0) { /* let the workers fall asleep */
                const struct timespec t = {0, 20 * 1000 * 1000};
                nanosleep(&t, NULL);
            }
        }
        assert_int_equal(atomic_load(&j.bad_thread), 0);
        ct_pool_free(&p);
        assert_null(p);
    }
}

typedef struct {
    _Atomic int *hits;
    _Atomic int n_pieces, bad;
    int64_t n_items;
} range_job;

static void hit_range(void *ud, int64_t begin, int64_t end, int thread) {
    range_job *j = ud;
    (void)thread;
    if (begin < 0 || begin >= end || end > j->n_items) {
        atomic_store(&j->bad, 1);
        return;
    }
    for (int64_t i = begin; i < end; i++) atomic_fetch_add_explicit(&j->hits[i], 1, memory_order_relaxed);
    atomic_fetch_add(&j->n_pieces, 1);
}

/* More items than a lane's word counts one by one included. */
static void run_ranges__covers_every_item_once_in_pieces(void **state) {
    (void)state;
    enum { MAX = 200000 };
    _Atomic int *hits = calloc(MAX, sizeof *hits);
    const int64_t sizes[] = {1, 2, 3, 7, 64, 1000, 65535, 65536, 131071, MAX};
    for (int n_threads = 1; n_threads <= 5; n_threads += 2) {
        ct_pool *p = NULL;
        assert_int_equal(ct_pool_new(&p, n_threads, NULL), 0);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            for (int64_t i = 0; i < MAX; i++) atomic_store_explicit(&hits[i], 0, memory_order_relaxed);
            range_job j = {.hits = hits, .n_items = sizes[k]};
            ct_pool_run_ranges(p, hit_range, &j, sizes[k]);
            assert_int_equal(atomic_load(&j.bad), 0);
            for (int64_t i = 0; i < MAX; i++) {
                if (atomic_load_explicit(&hits[i], memory_order_relaxed) != (i < sizes[k])) fail_msg("item %lld of %lld", (long long)i, (long long)sizes[k]);
            }
            /* Pieces, not items: this is what keeps memory streaming. */
            if (sizes[k] >= 1000) assert_true(atomic_load(&j.n_pieces) < 50 * n_threads);
        }
        ct_pool_free(&p);
    }
    free(hits);
}

typedef struct {
    _Atomic int64_t done;
    int64_t n_items;
    _Atomic int waited;
} slow_job;

/* Whoever takes item 0 waits until nearly all others are done: they must come from elsewhere, its own lane included. */
static void wait_on_first(void *ud, int64_t item, int thread) {
    slow_job *j = ud;
    (void)thread;
    if (item == 0) {
        for (int i = 0; i < 5000 && atomic_load(&j->done) < j->n_items * 3 / 4; i++) {
            const struct timespec t = {0, 1000 * 1000};
            nanosleep(&t, NULL);
        }
        atomic_store(&j->waited, 1);
    }
    atomic_fetch_add(&j->done, 1);
}

static void run__takes_over_the_share_of_a_thread_that_stalls(void **state) {
    (void)state;
    ct_pool *p = NULL;
    assert_int_equal(ct_pool_new(&p, 2, NULL), 0);
    slow_job j = {.n_items = 1000};
    ct_pool_run(p, wait_on_first, &j, j.n_items);
    assert_int_equal(atomic_load(&j.waited), 1);
    assert_int_equal(atomic_load(&j.done), 1000);
    ct_pool_free(&p);
}

static void new__refuses_nonsense(void **state) {
    (void)state;
    ct_pool *p = NULL;
    carat_error err = {0};
    assert_int_equal(ct_pool_new(&p, 0, &err), CARAT_EINVAL);
    assert_int_equal(ct_pool_new(&p, 100000, &err), CARAT_EINVAL);
    assert_null(p);
    ct_pool_free(&p);
}

static void free__works_without_a_job(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        ct_pool *p = NULL;
        assert_int_equal(ct_pool_new(&p, 4, NULL), 0);
        ct_pool_free(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__does_every_item_once),
        cmocka_unit_test(run_ranges__covers_every_item_once_in_pieces),
        cmocka_unit_test(run__takes_over_the_share_of_a_thread_that_stalls),
        cmocka_unit_test(new__refuses_nonsense),
        cmocka_unit_test(free__works_without_a_job),
    };
    return cmocka_run_group_tests_name("runtime threads", tests, NULL, NULL);
}
