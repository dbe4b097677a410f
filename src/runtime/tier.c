#include "runtime/tier.h"

#include <assert.h>

void ct_tier_init(ct_tier *t, const uint8_t *data, size_t row_bytes, int64_t n_row) {
    *t = (ct_tier){.data = data, .row_bytes = row_bytes, .n_row = n_row};
}

const uint8_t *ct_tier_row(ct_tier *t, int64_t r) {
    assert(r >= 0 && r < t->n_row);
    t->reads++;
    t->read_bytes += t->row_bytes;
    return t->data + (size_t)r * t->row_bytes;
}
