/* Hand-over: the caller publishes a job under a generation number; workers poll it for a moment (a decode step hands over
 * hundreds of times a token) and then sleep on a condition variable. Items are taken from an atomic counter in
 * shrinking runs, so a descheduled worker delays at most the run it holds.
 *
 * Why it is right. One word holds generation and next item; taking an item is a compare-and-swap of that word.
 *  - No item of a job that was not read: the caller first closes the old generation, then writes the job's fields
 *    (release), then opens the new one. A worker loads the word, then the fields (acquire), then swaps. If any field it
 *    loaded is of a later job, the closing of its own generation happened before, and the swap fails.
 *  - No lost wake-up: the caller stores the word and then looks for sleepers, a worker counts itself a sleeper and then
 *    looks at the word, all four sequentially consistent, so one sees the other; the worker holds the lock from there
 *    until it waits, and the caller takes it to wake.
 *  - Results are visible: every item ends with a release on n_done, which the caller acquires. */
#include "runtime/threads.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/mem.h"

/* About 20-50 microseconds of polling before sleeping: longer than the serial gaps inside a layer. */
#define SPIN_ROUNDS 2000
/* A thread takes 1 / (TAKE_SHARE * threads) of what is left, at least one item. */
#define TAKE_SHARE 4
/* The job word: generation in the high bits, next item in the low ones. */
#define ITEM_BITS 32
#define ITEM_MASK ((UINT64_C(1) << ITEM_BITS) - 1)
#define GENERATION_MASK (UINT64_MAX >> ITEM_BITS)

typedef struct {
    ct_pool *pool;
    int index;
} worker_arg;

struct ct_pool {
    int n_threads;
    pthread_t *thread;  /* [n_threads - 1] */
    worker_arg *arg;
    int n_started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* The job. A late worker may look at it while the next one is written; see above. */
    _Atomic(ct_work_fn) fn;
    _Atomic(void *) ud;
    _Atomic int64_t n_items;
    _Atomic uint64_t word;    /* generation << ITEM_BITS | next item */
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

/* Take and run items of generation gen until there are none. */
static void work(ct_pool *p, uint64_t gen, int thread) {
    for (;;) {
        uint64_t w = atomic_load_explicit(&p->word, memory_order_acquire);
        if (w >> ITEM_BITS != gen) return;
        const int64_t item = (int64_t)(w & ITEM_MASK);
        const ct_work_fn fn = atomic_load_explicit(&p->fn, memory_order_acquire);
        void *ud = atomic_load_explicit(&p->ud, memory_order_acquire);
        const int64_t left = atomic_load_explicit(&p->n_items, memory_order_acquire) - item;
        if (left <= 0) return;
        /* Large shares first, single items at the end: few hand-overs, and all finish together. */
        const int64_t share = left / (TAKE_SHARE * p->n_threads), take = share > 1 ? share : 1;
        /* Success means that the word, generation included, had not changed: fn and ud are this job's. */
        if (!atomic_compare_exchange_weak_explicit(&p->word, &w, w + (uint64_t)take, memory_order_acq_rel, memory_order_relaxed)) continue;
        for (int64_t i = item; i < item + take; i++) fn(ud, i, thread);
        atomic_fetch_add_explicit(&p->n_done, take, memory_order_release);
    }
}

static void *worker(void *ptr) {
    const worker_arg *arg = ptr;
    ct_pool *p = arg->pool;
    uint64_t seen = 0;
    for (;;) {
        uint64_t gen = seen;
        for (int i = 0; i < SPIN_ROUNDS; i++) {
            gen = atomic_load_explicit(&p->word, memory_order_acquire) >> ITEM_BITS;
            if (gen != seen || atomic_load_explicit(&p->stop, memory_order_relaxed)) break;
            cpu_relax(i);
        }
        if (gen == seen) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->n_sleeping, 1);
            while ((gen = atomic_load(&p->word) >> ITEM_BITS) == seen && !atomic_load(&p->stop)) {
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
    if (!p->thread || !p->arg) {
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
    ct_free(p);
    *pp = NULL;
}

int ct_pool_n_threads(const ct_pool *p) { return p->n_threads; }

void ct_pool_run(ct_pool *p, ct_work_fn fn, void *ud, int64_t n_items) {
    if (p->n_threads == 1 || n_items <= 1) {
        for (int64_t i = 0; i < n_items; i++) fn(ud, i, 0);
        return;
    }
    assert(n_items < (int64_t)ITEM_MASK);
    /* Close the old job first: a late worker's claim on the old word must fail once the fields below change. Odd
     * generations are closed, even ones open. */
    const uint64_t gen = ((atomic_load(&p->word) >> ITEM_BITS) + 2) & GENERATION_MASK;
    atomic_store(&p->word, (gen - 1) << ITEM_BITS | ITEM_MASK);
    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->ud, ud, memory_order_release);
    atomic_store_explicit(&p->n_items, n_items, memory_order_release);
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed); /* nobody counts until the word opens the job */
    atomic_store(&p->word, gen << ITEM_BITS);
    if (atomic_load(&p->n_sleeping) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, gen, 0);
    for (int i = 0; atomic_load_explicit(&p->n_done, memory_order_acquire) < n_items; i++) cpu_relax(i);
}
