/* Rows in and out of the KV cache's tiles (kernels.h says what a tile is): a position's key or value of one head as the
 * row of d_head values its type makes of it, which is what files hold. Bytes are moved, never changed: what went out and
 * came in again is the same tile, whatever slot it has now. */
#ifndef CT_KERNELS_TILE_H
#define CT_KERNELS_TILE_H

#include <stdbool.h>

#include "base/dtype.h"

/* Keys or values of the lanes [lane, lane + n) of a tile to and from row: [n, ct_dtype_row_bytes(kv, d_head)]. */
void ct_tile_get(uint8_t *row, const void *tile, ct_dtype kv, int d_head, bool keys, int lane, int n);
void ct_tile_put(void *tile, const uint8_t *row, ct_dtype kv, int d_head, bool keys, int lane, int n);

#endif
