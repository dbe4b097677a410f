/* See tile.h. One walk over the parts of a row for both directions; both are inlined with a constant direction. */
#include "kernels/tile.h"

#include <string.h>

#include "kernels/kernels.h"

enum { Q8_LEN = 32, Q8_BYTES = 34 };

static inline void part(uint8_t *row, uint8_t *tile, size_t n, bool put) {
    if (put) memcpy(tile, row, n);
    else memcpy(row, tile, n);
}

/* n values of `bytes` bytes, in the tile a step apart. */
static inline void column(uint8_t *row, uint8_t *tile, int n, size_t bytes, bool put) {
    for (int d = 0; d < n; d++) part(row + (size_t)d * bytes, tile + (size_t)d * CT_LANES * bytes, bytes, put);
}

static inline void plain_row(uint8_t *row, uint8_t *tile, size_t bytes, int d_head, bool keys, int lane, bool put) {
    const size_t ld = (size_t)(d_head + CT_LANES - 1) / CT_LANES * CT_LANES;
    if (!keys) part(row, tile + (size_t)lane * ld * bytes, (size_t)d_head * bytes, put);
    else if (bytes == 2) column(row, tile + (size_t)lane * 2, d_head, 2, put);
    else column(row, tile + (size_t)lane * 4, d_head, 4, put);
}

static inline void q8_row(uint8_t *row, uint8_t *tile, int d_head, bool keys, int lane, bool put) {
    uint8_t *scale = tile + 2 * lane, *q = tile + 2 * CT_LANES * (d_head / Q8_LEN) + (size_t)lane * (size_t)d_head;
    for (int d = 0; d < d_head; d += Q8_LEN, row += Q8_BYTES) {
        part(row, scale, 2, put);
        if (keys) {
            column(row + 2, scale - 2 * lane + 2 * CT_LANES + lane, Q8_LEN, 1, put);
            scale += Q8_BYTES * CT_LANES;
        } else {
            part(row + 2, q + d, Q8_LEN, put);
            scale += 2 * CT_LANES;
        }
    }
}

static inline void rows(uint8_t *row, uint8_t *tile, ct_dtype kv, int d_head, bool keys, int lane, int n, bool put) {
    const size_t row_bytes = ct_dtype_row_bytes(kv, d_head);
    for (int i = 0; i < n; i++, row += row_bytes) {
        if (kv == CT_Q8_0) q8_row(row, tile, d_head, keys, lane + i, put);
        else plain_row(row, tile, ct_dtype_block_bytes(kv), d_head, keys, lane + i, put);
    }
}

void ct_tile_get(uint8_t *row, const void *tile, ct_dtype kv, int d_head, bool keys, int lane, int n) {
    rows(row, (uint8_t *)(uintptr_t)tile, kv, d_head, keys, lane, n, false);
}

void ct_tile_put(void *tile, const uint8_t *row, ct_dtype kv, int d_head, bool keys, int lane, int n) {
    rows((uint8_t *)(uintptr_t)row, tile, kv, d_head, keys, lane, n, true);
}
