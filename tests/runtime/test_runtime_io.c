/* Reader threads: everything submitted runs once, what is waited for comes before what is likely, and nothing is lost when
 * the threads end. */
#include <stdint.h>

#include "runtime/io.h"
#include "stream_util.h"

typedef struct {
    ct_io_job job;
    int id;
    uint8_t *buffer;
} mark;

static struct {
    pthread_mutex_t lock;
    int order[20000], n;
    _Atomic bool shut;       /* jobs of id < 0 wait while this is true */
    _Atomic int n_shut;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void run(ct_io_job *job, uint8_t *buffer) {
    mark *m = (mark *)job;
    if (m->id < 0) {
        atomic_fetch_add(&seen.n_shut, 1);
        while (atomic_load(&seen.shut)) disk_sleep(200);
        return;
    }
    m->buffer = buffer;
    if (buffer) memset(buffer, m->id, 5000);
    pthread_mutex_lock(&seen.lock);
    seen.order[seen.n++] = m->id;
    pthread_mutex_unlock(&seen.lock);
}

static int n_seen(void) {
    pthread_mutex_lock(&seen.lock);
    const int n = seen.n;
    pthread_mutex_unlock(&seen.lock);
    return n;
}

static void await(int n) {
    while (n_seen() < n) disk_sleep(200);
}

static int reset(void **state) {
    (void)state;
    seen.n = 0;
    atomic_store(&seen.n_shut, 0);
    atomic_store(&seen.shut, true);
    return 0;
}

/* All readers held up, so that what is submitted waits. */
static ct_io *held(int n_reader, mark *door) {
    ct_io *io = NULL;
    assert_int_equal(ct_io_new(&io, n_reader, 5000, NULL), 0);
    for (int i = 0; i < n_reader; i++) {
        door[i] = (mark){.job.fn = run, .id = -1};
        ct_io_submit(io, &door[i].job, 0, 1, true);
    }
    while (atomic_load(&seen.n_shut) < n_reader) disk_sleep(200);
    return io;
}

static void urgent__jobs_come_first_each_in_order(void **state) {
    (void)state;
    mark door[1], m[20];
    ct_io *io = held(1, door);
    for (int i = 0; i < 20; i++) {
        m[i] = (mark){.job.fn = run, .id = i};
        ct_io_submit(io, &m[i].job, 0, 1, i % 2 == 1);
    }
    atomic_store(&seen.shut, false);
    await(20);
    for (int i = 0; i < 20; i++) assert_int_equal(seen.order[i], i < 10 ? 2 * i + 1 : 2 * (i - 10));
    ct_io_free(&io);
    assert_null(io);
}

/* From the beginning, middle and end of the queue, twice, and where it is no longer in any. */
static void hurried__jobs_go_behind_the_urgent(void **state) {
    (void)state;
    mark door[1], m[8];
    ct_io *io = held(1, door);
    for (int i = 0; i < 8; i++) {
        m[i] = (mark){.job.fn = run, .id = i};
        ct_io_submit(io, &m[i].job, 0, 1, i == 7);
    }
    ct_io_hurry(io, &m[3].job);
    ct_io_hurry(io, &m[6].job);
    ct_io_hurry(io, &m[0].job);
    ct_io_hurry(io, &m[3].job);
    ct_io_hurry(io, &m[7].job);
    ct_io_hurry(io, &door[0].job);
    atomic_store(&seen.shut, false);
    await(8);
    static const int want[] = {7, 3, 6, 0, 1, 2, 4, 5};
    for (int i = 0; i < 8; i++) assert_int_equal(seen.order[i], want[i]);
    ct_io_hurry(io, &m[1].job);
    ct_io_submit(io, &m[1].job, 0, 1, false); /* a job that ran can be submitted again */
    await(9);
    assert_int_equal(seen.order[8], 1);
    ct_io_free(&io);
}

static void free__drops_what_waits_and_awaits_what_runs(void **state) {
    (void)state;
    mark door[3], m[50];
    ct_io *io = held(3, door);
    for (int i = 0; i < 50; i++) {
        m[i] = (mark){.job.fn = run, .id = i};
        ct_io_submit(io, &m[i].job, 0, 1, i % 3 == 0);
    }
    pthread_t t;
    ct_io *gone = io;
    assert_int_equal(pthread_create(&t, NULL, (void *(*)(void *))(void (*)(void))ct_io_free, &gone), 0);
    disk_sleep(20000);
    assert_int_equal(n_seen(), 0);
    atomic_store(&seen.shut, false);
    pthread_join(t, NULL);
    assert_true(n_seen() < 50);
    for (int i = 0; i < 20; i++) { /* without a job, at once */
        assert_int_equal(ct_io_new(&io, 4, i % 2 ? 4096 : 0, NULL), 0);
        ct_io_free(&io);
    }
    ct_io_free(&io); /* of nothing */
}

typedef struct {
    ct_io *io;
    mark *m;
    int n;
} flood;

static void *submit_all(void *ud) {
    flood *f = ud;
    for (int i = 0; i < f->n; i++) {
        ct_io_submit(f->io, &f->m[i].job, 0, 1, i % 3 == 0);
        ct_io_hurry(f->io, &f->m[i / 2].job);
        if (i % 500 == 0) disk_sleep(500); /* let readers fall asleep */
    }
    return NULL;
}

/* Nothing is lost between threads that submit and threads that sleep, and no two jobs share a buffer at a time. */
static void every__job_runs_once(void **state) {
    (void)state;
    enum { N = 4000, T = 4 };
    static mark m[T][N];
    static uint8_t count[T * N];
    memset(count, 0, sizeof count);
    ct_io *io = NULL;
    flood f[T];
    pthread_t t[T];
    assert_int_equal(ct_io_new(&io, 5, 5000, NULL), 0);
    for (int k = 0; k < T; k++) {
        for (int i = 0; i < N; i++) m[k][i] = (mark){.job.fn = run, .id = k * N + i};
        f[k] = (flood){io, m[k], N};
    }
    for (int k = 0; k < T; k++) assert_int_equal(pthread_create(&t[k], NULL, submit_all, &f[k]), 0);
    for (int k = 0; k < T; k++) pthread_join(t[k], NULL);
    await(T * N);
    ct_io_free(&io);
    assert_int_equal(seen.n, T * N);
    for (int i = 0; i < T * N; i++) count[seen.order[i]]++;
    for (int i = 0; i < T * N; i++) assert_int_equal(count[i], 1);
    for (int i = 0; i < T * N; i++) assert_int_equal((uintptr_t)m[i / N][i % N].buffer % 4096, 0);
}

static void impossible__sizes_are_refused(void **state) {
    (void)state;
    carat_error err = {0};
    ct_io *io = NULL;
    assert_int_equal(ct_io_new(&io, 8, (size_t)1 << 58, &err), CARAT_ENOMEM);
    assert_null(io);
    assert_int_equal(err.code, CARAT_ENOMEM);
    assert_true(err.msg[0] != 0);
    assert_true(ct_io_bytes(8, 5000) >= (uint64_t)8 * 8192);
}

#define CASE(f) cmocka_unit_test_setup(f, reset)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(urgent__jobs_come_first_each_in_order), CASE(hurried__jobs_go_behind_the_urgent),
        CASE(free__drops_what_waits_and_awaits_what_runs), CASE(every__job_runs_once), CASE(impossible__sizes_are_refused),
    };
    return cmocka_run_group_tests_name("runtime io", tests, NULL, NULL);
}
