/* Thread pool of a session: parallel-for over fixed work items. Which thread runs an item never influences its result,
 * so the answer is the same for any number of threads.
 *
 * Every thread has a share of neighbouring items, so that each streams its own part of memory, and takes from the ends
 * of others' shares when its own is done. */
#ifndef CT_RUNTIME_THREADS_H
#define CT_RUNTIME_THREADS_H

#include "base/status.h"
#include "runtime/profile.h"

typedef struct ct_pool ct_pool;

/* Work on item i, called from the thread `thread` in [0, n_threads): index for per-thread scratch. */
typedef void (*ct_work_fn)(void *ud, int64_t item, int thread);

/* n_threads >= 1, the caller's thread included (so 1 starts none). Gives *out: ct_pool_free. */
int ct_pool_new(ct_pool **out, int n_threads, carat_error *err);
void ct_pool_free(ct_pool **p);
int ct_pool_n_threads(const ct_pool *p);
/* The caller's waiting at the end of a parallel part goes into `profile` as CARAT_STEP_WAITING; NULL = nobody wants to know. */
void ct_pool_profile(ct_pool *p, ct_profile *profile);

/* Work on items [begin, end): for work that gains from neighbours in one piece. Pieces vary from run to run. */
typedef void (*ct_range_fn)(void *ud, int64_t begin, int64_t end, int thread);

/* Items of several kinds in a row: which of n kinds the item is of, first[k] being the first item of kind k. A kind may have no
 * items: then the next begins where it does, and is the one given. */
static inline int ct_find_kind(const int64_t *first, int n, int64_t item) {
    int lo = 0, hi = n;
    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;
        *(item >= first[mid] ? &lo : &hi) = mid;
    }
    return lo;
}

/* Run fn for every item in [0, n_items) and return when all are done. One caller at a time. Allocates nothing. */
void ct_pool_run(ct_pool *p, ct_work_fn fn, void *ud, int64_t n_items);
/* The same in pieces. */
void ct_pool_run_ranges(ct_pool *p, ct_range_fn fn, void *ud, int64_t n_items);

#endif
