/* Rows that need not be resident: rows of the per-layer embedding table, experts. One interface for both, so that the
 * placement (left to the page cache, resident, or streamed through a bounded cache) can change without touching who
 * asks. Today there is one placement, mapped: the row is where the file is mapped and the kernel decides what stays. */
#ifndef CT_RUNTIME_TIER_H
#define CT_RUNTIME_TIER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data; /* row 0 in the mapping */
    size_t row_bytes;
    int64_t n_row;
    uint64_t reads;      /* rows asked for */
    uint64_t read_bytes;
} ct_tier;

void ct_tier_init(ct_tier *t, const uint8_t *data, size_t row_bytes, int64_t n_row);
/* Row r, 0 <= r < n_row: valid until the rows of the next chunk are asked for. Not for concurrent use. */
const uint8_t *ct_tier_row(ct_tier *t, int64_t r);

#endif
