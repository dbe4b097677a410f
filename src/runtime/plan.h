/* Memory plan of a session: every buffer is announced with its role and size before anything is allocated, so that the
 * total is known (and can be refused) first; then one allocation holds them all. */
#ifndef CT_RUNTIME_PLAN_H
#define CT_RUNTIME_PLAN_H

#include "base/status.h"

#define CT_PLAN_MAX 96

typedef struct {
    struct {
        void **ptr;
        size_t offset;
    } buffer[CT_PLAN_MAX];
    int n;
    size_t bytes;     /* of all buffers, 64-byte aligned each */
    bool overflow;
    void *memory;
} ct_plan;

void ct_plan_init(ct_plan *p);
/* Announce n elements of `size` bytes; *ptr is set by commit. Overflow is remembered and reported by commit. */
void ct_plan_add(ct_plan *p, void **ptr, int64_t n, size_t size);
/* Allocate (zeroed) and hand out the addresses. */
int ct_plan_commit(ct_plan *p, const char *what, carat_error *err);
void ct_plan_free(ct_plan *p);

#endif
