#include "runtime/plan.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

void ct_plan_init(ct_plan *p) { memset(p, 0, sizeof *p); }

void ct_plan_add(ct_plan *p, void **ptr, int64_t n, size_t size) {
    assert(p->n < CT_PLAN_MAX && n >= 0);
    size_t bytes;
    if (!ct_mul_size(&bytes, (size_t)n, size) || !ct_add_size(&bytes, bytes, 63)) {
        p->overflow = true;
        return;
    }
    bytes &= ~(size_t)63;
    p->buffer[p->n].ptr = ptr;
    p->buffer[p->n++].offset = p->bytes;
    if (!ct_add_size(&p->bytes, p->bytes, bytes)) p->overflow = true;
}

int ct_plan_commit(ct_plan *p, const char *what, carat_error *err) {
    if (p->overflow) return CT_FAIL(err, CARAT_ENOMEM, "%s: size overflows; use a smaller context or chunk", what);
    p->memory = ct_alloc(p->bytes);
    if (!p->memory) return CT_FAIL(err, CARAT_ENOMEM, "%s: cannot hold %zu MiB", what, p->bytes >> 20);
    for (int i = 0; i < p->n; i++) *p->buffer[i].ptr = (uint8_t *)p->memory + p->buffer[i].offset;
    return 0;
}

void ct_plan_free(ct_plan *p) {
    ct_free(p->memory);
    ct_plan_init(p);
}
