/* Thread pool of a session: parallel-for over fixed work items. Which thread runs an item never influences its result,
 * so the answer is the same for any number of threads. */
#ifndef CT_RUNTIME_THREADS_H
#define CT_RUNTIME_THREADS_H

#include "base/status.h"

typedef struct ct_pool ct_pool;

/* Work on item i, called from the thread `thread` in [0, n_threads): index for per-thread scratch. */
typedef void (*ct_work_fn)(void *ud, int64_t item, int thread);

/* n_threads >= 1, the caller's thread included (so 1 starts none). Gives *out: ct_pool_free. */
int ct_pool_new(ct_pool **out, int n_threads, carat_error *err);
void ct_pool_free(ct_pool **p);
int ct_pool_n_threads(const ct_pool *p);

/* Run fn for every item in [0, n_items) and return when all are done. One caller at a time. Allocates nothing. */
void ct_pool_run(ct_pool *p, ct_work_fn fn, void *ud, int64_t n_items);

#endif
