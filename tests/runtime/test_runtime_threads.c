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
        cmocka_unit_test(new__refuses_nonsense),
        cmocka_unit_test(free__works_without_a_job),
    };
    return cmocka_run_group_tests_name("runtime threads", tests, NULL, NULL);
}
