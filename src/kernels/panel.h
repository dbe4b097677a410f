/* The two layouts the integer kernels read, made so that one load feeds every lane and nothing is shuffled in the loop.
 *
 * Weights, "panels": CT_PANEL_ROWS rows side by side, same bytes in all as the rows they come from. A block of a panel
 * holds the same block of all 16 rows, part by part: unit u of row r lies at (u * 16 + r) * unit size. The unit is four
 * quant bytes (what one lane of a dot instruction takes), one f16 scale, or one byte of packed scales, in the order
 * the type has them in its own block (quant/). Rows that do not exist are zero.
 *
 * Activations, "tiles": up to 8 tokens side by side (4 with two planes), block of 32 values after block. A block is
 *     int8  hi[T][32]     x ~ d * hi                       (one plane)
 *     int8  lo[T][32]     x ~ d * (256 * hi + lo)          (second plane, where asked for)
 *     f32   d[T]
 *     i32   nsum16[T]     -(sum of the integers of the first 16 values)
 *     i32   nsum[T]       -(sum of all 32)
 *     f32   dm[T]         d * nsum
 * The scale is the block's largest magnitude / 127 (one plane) or / 32512 (two), integers are rounded to nearest even.
 * A block that holds an infinity or a NaN has d = NaN; one below CT_X_TINY counts as zero.
 *
 * A product of a block is  sum(w * q) as an exact integer, then one fused multiply-add in f32 per scale, blocks in
 * ascending order. So a result does not depend on tiles, threads or instruction set. */
#ifndef CT_KERNELS_PANEL_H
#define CT_KERNELS_PANEL_H

#include <stdbool.h>

#include "base/dtype.h"

#define CT_X_BLOCK 32
#define CT_X_TINY 1e-30f

/* Can rows of the type be laid out as panels? ct_dtype_has_panels, as this room knows it. */
bool ct_panel_has(ct_dtype t);
/* d_out rows of row_bytes each as panels: bytes, the last panel whole. */
static inline size_t ct_panel_bytes(int64_t d_out, size_t row_bytes) {
    return (size_t)((d_out + CT_PANEL_ROWS - 1) / CT_PANEL_ROWS) * CT_PANEL_ROWS * row_bytes;
}
/* One panel from n_row (1 to 16) consecutive rows of d_in values, row_bytes apart. panel: 16 * row_bytes. */
void ct_panel_pack(uint8_t *panel, ct_dtype t, const uint8_t *rows, size_t row_bytes, int n_row);
/* Row r (0 to 15) of a panel back as it lies in rows: row: row_bytes. */
void ct_panel_row(uint8_t *row, ct_dtype t, const uint8_t *panel, int r, size_t row_bytes);

/* Bytes of one token's block. */
#define CT_X_BLOCK_BYTES(n_plane) (CT_X_BLOCK * (n_plane) + 16)
/* Tokens of the next tile when n_left (> 0) are left. */
static inline int ct_x_tile(int n_left, int n_plane) {
    const int most = n_plane == 1 ? 8 : 4;
    return n_left >= most ? most : n_left >= 4 ? 4 : n_left >= 2 ? 2 : 1;
}
/* Bytes of the tiles of n_tok tokens; token t0's tile, where a tile begins, is at the bytes of t0 tokens. */
static inline size_t ct_x_bytes(int n_tok, int64_t d_in, int n_plane) {
    return (size_t)n_tok * (size_t)(d_in / CT_X_BLOCK) * (size_t)CT_X_BLOCK_BYTES(n_plane);
}

#endif
