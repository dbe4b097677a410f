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
 * Rows of Q8_0 and Q6_K can also be split: the upper bits of every quant and the scales in one plane of panels, the lower
 * bits in another, the same bytes in all. A value is  scale * ((c << n_low | f) - zero),  0 <= f < 2^n_low  the fine part.
 * With x >= 0 its product is largest at f = 2^n_low - 1, with x < 0 at f = 0, so the coarse plane bounds a block's integer
 *     sum(w * x) <= (sum(c * x) << n_low) - zero * sum(x) + (2^n_low - 1) * sum(max(x, 0))
 * (for a negative scale: >=, with min). Conversion, products with one scale of one sign and fused multiply-adds are monotone
 * in IEEE arithmetic, so the same chain over the bounds ends at or above the row's own f32: no rounding error has to be
 * added. Units of a block of 32 of Q8_0: coarse f16 d, four of nibbles, one of bits 3 (bit g of byte i: value 4 g + i);
 * fine two of bits 2-1 (value 16 j + 4 k + i in bits 2 k of byte i of unit j), one of bits 0. Of 256 of Q6_K: the block's own
 * order with bits 5-2 for its low and bits 1-0 for its high ones, the latter being the fine plane.
 *
 * A product of a block is  sum(w * q) as an exact integer, then one fused multiply-add in f32 per scale, blocks in
 * ascending order. So a result does not depend on tiles, threads or instruction set. */
#ifndef CT_KERNELS_PANEL_H
#define CT_KERNELS_PANEL_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/half.h"

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

/* Can rows of the type be split? Then bytes of a row's coarse and fine part, which together are the row's. */
bool ct_split_has(ct_dtype t);
size_t ct_split_coarse_bytes(ct_dtype t, int64_t d_in);
size_t ct_split_fine_bytes(ct_dtype t, int64_t d_in);
/* As ct_panel_pack, into both planes. */
void ct_split_pack(uint8_t *coarse, uint8_t *fine, ct_dtype t, const uint8_t *rows, size_t row_bytes, int n_row);
/* What is added to sum(c * x) << n_low for the bound: (2^n_low - 1) * sum(max(x, 0)) - zero * sum(x), and the same with min
 * for negative scales, of each scale's values of the one token in xq: [2 * d_in / 16] at most. */
void ct_x_span(int32_t *span, ct_dtype t, const uint8_t *xq, int64_t d_in, int n_plane);

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

/* Of a block of activations whose largest magnitude has the bits `top`: its scale, and in *inv what its values are
 * multiplied with before they are rounded, 0 where all its integers are 0. The vector levels' share of the definition in
 * ref/panel.c. */
static inline float ct_x_scale(uint32_t top, float limit, float *inv) {
    const float max = ct_f32_from_bits(top);
    const bool finite = top < 0x7f800000u, some = finite && max >= CT_X_TINY;
    *inv = some ? limit / max : 0.0f;
    return some ? max / limit : finite ? 0.0f : __builtin_nanf("");
}

#endif
