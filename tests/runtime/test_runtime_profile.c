/* The profile's clock: parts that add up, borders that end the step before, and the pool's waiting. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/os.h"
#include "runtime/profile.h"
#include "runtime/threads.h"

static void nap(long ms) {
    const struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

static double sum(const double *ms) {
    double s = 0.0;
    for (int i = 0; i < CARAT_N_STEP; i++) s += ms[i];
    return s;
}

static void profile__gives_time_to_the_step_that_runs(void **state) {
    (void)state;
    ct_profile p;
    double ms[CARAT_N_STEP];
    const double before = ct_now_ms();
    ct_profile_start(&p, CARAT_STEP_EMBED);
    const double started = ct_now_ms();
    nap(20);
    assert_int_equal(ct_profile_switch(&p, CARAT_STEP_FFN), CARAT_STEP_EMBED);
    nap(40);
    assert_int_equal(ct_profile_switch(&p, CARAT_STEP_FFN), CARAT_STEP_FFN);
    assert_int_equal(ct_profile_switch(&p, CARAT_STEP_HEAD), CARAT_STEP_FFN);
    const double reading = ct_now_ms();
    ct_profile_read(&p, ms);
    const double after = ct_now_ms();
    assert_true(ms[CARAT_STEP_EMBED] >= 20.0);
    assert_true(ms[CARAT_STEP_FFN] >= 40.0);
    assert_true(ms[CARAT_STEP_ATTENTION] == 0.0);
    /* No time is lost or counted twice, however long this thread was kept from running. */
    assert_true(sum(ms) <= after - before);
    assert_true(sum(ms) >= reading - started);
}

static void profile__reads_a_running_step_and_stands_still_once_stopped(void **state) {
    (void)state;
    ct_profile p;
    double a[CARAT_N_STEP], b[CARAT_N_STEP];
    ct_profile_start(&p, CARAT_STEP_ROUTER);
    nap(10);
    ct_profile_read(&p, a);
    assert_true(a[CARAT_STEP_ROUTER] >= 10.0);
    ct_profile_stop(&p);
    ct_profile_read(&p, a);
    nap(5);
    ct_profile_stop(&p);
    ct_profile_read(&p, b);
    assert_memory_equal(a, b, sizeof a);
    const double again = ct_now_ms();
    ct_profile_start(&p, CARAT_STEP_ROUTER);
    ct_profile_read(&p, b);
    assert_true(b[CARAT_STEP_ROUTER] <= ct_now_ms() - again); /* from nothing */
}

static void step__without_a_profile_does_nothing(void **state) {
    (void)state;
    ct_profile p;
    double ms[CARAT_N_STEP];
    ct_profile_start(&p, CARAT_STEP_EMBED);
    nap(2);
    ct_profile_step(NULL, CARAT_STEP_HEAD);
    ct_profile_step(&p, CARAT_STEP_FFN);
    nap(2);
    ct_profile_read(&p, ms);
    assert_true(ms[CARAT_STEP_EMBED] >= 2.0 && ms[CARAT_STEP_FFN] >= 2.0 && ms[CARAT_STEP_HEAD] == 0.0);
}

typedef struct {
    _Atomic int arrived;
    int n_threads;
} meeting;

/* Every thread takes one item; then the caller is done at once, and the others are not. */
static void meet(void *ud, int64_t item, int thread) {
    meeting *m = ud;
    (void)item;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->n_threads) nap(1);
    if (thread) nap(30);
}

static void pool__waiting_for_others_is_a_step_of_its_own(void **state) {
    (void)state;
    ct_pool *pool = NULL;
    ct_profile p;
    double ms[CARAT_N_STEP];
    meeting m = {.n_threads = 2};
    assert_int_equal(ct_pool_new(&pool, 2, NULL), 0);
    ct_pool_run(pool, meet, &m, 2); /* without a profile */
    ct_profile_start(&p, CARAT_STEP_EXPERTS);
    ct_pool_profile(pool, &p);
    m.arrived = 0;
    ct_pool_run(pool, meet, &m, 2);
    assert_int_equal(ct_profile_switch(&p, CARAT_STEP_OTHER), CARAT_STEP_EXPERTS); /* given back */
    ct_profile_read(&p, ms);
    assert_true(ms[CARAT_STEP_WAITING] > 0.0);
    assert_true(ms[CARAT_STEP_EXPERTS] > 0.0);
    ct_pool_profile(pool, NULL);
    m.arrived = 0;
    ct_pool_run(pool, meet, &m, 2);
    ct_profile_stop(&p);
    double after[CARAT_N_STEP];
    ct_profile_read(&p, after);
    assert_true(after[CARAT_STEP_WAITING] == ms[CARAT_STEP_WAITING]);
    ct_pool_free(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile__gives_time_to_the_step_that_runs),
        cmocka_unit_test(profile__reads_a_running_step_and_stands_still_once_stopped),
        cmocka_unit_test(step__without_a_profile_does_nothing),
        cmocka_unit_test(pool__waiting_for_others_is_a_step_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
