/* Hand-over: the caller publishes a job under a generation number; workers poll it for a moment (a decode step hands over
 * hundreds of times a token) and then sleep on a condition variable. Each thread's share of the items is a lane, one
 * atomic word; its owner takes pieces from the front, others, when their own lane is empty, from the back. Pieces
 * shrink as a lane empties, so all finish together, and a descheduled worker delays at most the piece it holds.
 *
 * Why it is right. A lane's word holds generation, first and end; taking is a compare-and-swap of that word.
 *  - No item of a job that was not read: when a job ends, its lanes are empty. The caller writes the next job's fields,
 *    then (release) its lanes. A worker loads a lane, then the fields (acquire), then swaps: success means that the lane
 *    still was of the generation it saw, that job cannot end before the taken piece is done, so the fields are its.
 *  - No lost wake-up: the caller stores the generation and then looks for sleepers, a worker counts itself a sleeper and
 *    then looks at the generation, all four sequentially consistent, so one sees the other; the worker holds the lock
 *    from there until it waits, and the caller takes it to wake.
 *  - Results are visible: every piece ends with a release on n_done, which the caller acquires. */
#include "runtime/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/mem.h"

/* About 20-50 microseconds of polling before sleeping: longer than the serial gaps inside a layer. */
#define SPIN_ROUNDS 2000
/* Of what is left of a lane a thread takes 1 / TAKE_SHARE at a time. */
#define TAKE_SHARE 4
/* A lane: generation << 32 | first << 16 | end, in units of so many items that 16 bits are enough. */
#define LANE(gen, first, end) ((uint64_t)(gen) << 32 | (uint64_t)(first) << 16 | (uint64_t)(end))
#define LANE_MAX 0xffff

typedef struct {
    ct_pool *pool;
    int index;
} worker_arg;

/* On a cache line of its own: owners and thieves meet only when work runs out. */
typedef struct {
    _Alignas(64) _Atomic uint64_t word;
} lane;

struct ct_pool {
    int n_threads;
    pthread_t *thread;  /* [n_threads - 1] */
    worker_arg *arg;
    int n_started;
    ct_profile *profile; /* the caller's, or NULL */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    lane *lane;               /* [n_threads] */
    /* The job. A late worker may look at it while the next one is written; see above. */
    _Atomic(ct_range_fn) fn;
    _Atomic(void *) ud;
    _Atomic int64_t n_items, unit;
    _Atomic uint32_t generation;
    _Atomic int64_t n_done;
    _Atomic int n_sleeping;
    _Atomic int stop;
};

static void cpu_relax(int round) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
    /* On a machine with fewer free cores than threads, whoever we wait for may need this core. */
    if (round % 64 == 63) sched_yield();
}

/* Take and run pieces of lane `at` until it is empty; thread `thread` owns it or not. False when the lane is of another
 * generation: the job is over. */
static bool drain(ct_pool *p, uint32_t gen, int at, int thread) {
    _Atomic uint64_t *word = &p->lane[at].word;
    for (;;) {
        uint64_t w = atomic_load_explicit(word, memory_order_acquire);
        if ((uint32_t)(w >> 32) != gen) return false;
        const int64_t first = (int64_t)(w >> 16 & LANE_MAX), end = (int64_t)(w & LANE_MAX), left = end - first;
        if (left <= 0) return true;
        const ct_range_fn fn = atomic_load_explicit(&p->fn, memory_order_acquire);
        void *ud = atomic_load_explicit(&p->ud, memory_order_acquire);
        const int64_t n_items = atomic_load_explicit(&p->n_items, memory_order_acquire);
        const int64_t unit = atomic_load_explicit(&p->unit, memory_order_acquire);
        const int64_t take = left > TAKE_SHARE ? left / TAKE_SHARE : 1;
        const int64_t from = at == thread ? first : end - take;
        const uint64_t rest = at == thread ? LANE(gen, first + take, end) : LANE(gen, first, from);
        if (!atomic_compare_exchange_weak_explicit(word, &w, rest, memory_order_acq_rel, memory_order_relaxed)) continue;
        const int64_t begin = from * unit, stop = (from + take) * unit < n_items ? (from + take) * unit : n_items;
        fn(ud, begin, stop, thread);
        atomic_fetch_add_explicit(&p->n_done, stop - begin, memory_order_release);
    }
}

/* The thread's own lane, then the others', nearest first. */
static void work(ct_pool *p, uint32_t gen, int thread) {
    for (int i = 0; i < p->n_threads; i++) {
        if (!drain(p, gen, (thread + i) % p->n_threads, thread)) return;
    }
}

static void *worker(void *ptr) {
    const worker_arg *arg = ptr;
    ct_pool *p = arg->pool;
    uint32_t seen = 0;
    for (;;) {
        uint32_t gen = seen;
        for (int i = 0; i < SPIN_ROUNDS; i++) {
            gen = atomic_load_explicit(&p->generation, memory_order_acquire);
            if (gen != seen || atomic_load_explicit(&p->stop, memory_order_relaxed)) break;
            cpu_relax(i);
        }
        if (gen == seen) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->n_sleeping, 1);
            while ((gen = atomic_load(&p->generation)) == seen && !atomic_load(&p->stop)) {
                pthread_cond_wait(&p->wake, &p->lock);
            }
            atomic_fetch_sub(&p->n_sleeping, 1);
            pthread_mutex_unlock(&p->lock);
        }
        if (atomic_load(&p->stop)) return NULL;
        work(p, gen, arg->index);
        seen = gen;
    }
}

int ct_pool_new(ct_pool **out, int n_threads, carat_error *err) {
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024) {
        return CT_FAIL(err, CARAT_EINVAL, "threads: %d, expected 1 to 1024", n_threads);
    }
    ct_pool *p = ct_alloc(sizeof *p);
    if (!p) return CT_FAIL(err, CARAT_ENOMEM, "threads: out of memory");
    p->n_threads = n_threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->thread = ct_alloc_array((size_t)n_threads, sizeof *p->thread);
    p->arg = ct_alloc_array((size_t)n_threads, sizeof *p->arg);
    p->lane = ct_alloc_array((size_t)n_threads, sizeof *p->lane);
    if (!p->thread || !p->arg || !p->lane) {
        ct_pool_free(&p);
        return CT_FAIL(err, CARAT_ENOMEM, "threads: out of memory");
    }
    for (int i = 0; i + 1 < n_threads; i++) {
        p->arg[i] = (worker_arg){p, i + 1};
        if (pthread_create(&p->thread[i], NULL, worker, &p->arg[i]) != 0) {
            ct_pool_free(&p);
            return CT_FAIL(err, CARAT_ENOMEM, "threads: cannot start thread %d of %d", i + 2, n_threads);
        }
        p->n_started++;
    }
    *out = p;
    return 0;
}

void ct_pool_free(ct_pool **pp) {
    ct_pool *p = *pp;
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    ct_free(p->thread);
    ct_free(p->arg);
    ct_free(p->lane);
    ct_free(p);
    *pp = NULL;
}

int ct_pool_n_threads(const ct_pool *p) { return p->n_threads; }

void ct_pool_profile(ct_pool *p, ct_profile *profile) { p->profile = profile; }

void ct_pool_run_ranges(ct_pool *p, ct_range_fn fn, void *ud, int64_t n_items) {
    if (n_items <= 0) return;
    if (p->n_threads == 1 || n_items == 1) {
        fn(ud, 0, n_items, 0);
        return;
    }
    const int64_t unit = (n_items + LANE_MAX - 1) / LANE_MAX, n_unit = (n_items + unit - 1) / unit;
    const uint32_t gen = atomic_load(&p->generation) + 1;
    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->ud, ud, memory_order_release);
    atomic_store_explicit(&p->n_items, n_items, memory_order_release);
    atomic_store_explicit(&p->unit, unit, memory_order_release);
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed); /* nobody counts until the lanes open */
    for (int t = 0; t < p->n_threads; t++) {
        const int64_t first = n_unit * t / p->n_threads, end = n_unit * (t + 1) / p->n_threads;
        atomic_store_explicit(&p->lane[t].word, LANE(gen, first, end), memory_order_release);
    }
    atomic_store(&p->generation, gen);
    if (atomic_load(&p->n_sleeping) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, gen, 0);
    const carat_step step = p->profile ? ct_profile_switch(p->profile, CARAT_STEP_WAITING) : CARAT_STEP_OTHER;
    for (int i = 0; atomic_load_explicit(&p->n_done, memory_order_acquire) < n_items; i++) cpu_relax(i);
    ct_profile_step(p->profile, step);
}

typedef struct {
    ct_work_fn fn;
    void *ud;
} each_item;

static void run_each(void *ud, int64_t begin, int64_t end, int thread) {
    const each_item *e = ud;
    for (int64_t i = begin; i < end; i++) e->fn(e->ud, i, thread);
}

void ct_pool_run(ct_pool *p, ct_work_fn fn, void *ud, int64_t n_items) {
    each_item e = {fn, ud};
    ct_pool_run_ranges(p, run_each, &e, n_items);
}
