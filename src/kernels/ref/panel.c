/* The integer arithmetic in portable C: the definition that every level with panels must equal bit for bit (panel.h
 * says which integers, which scales, which order). One loop a thought; speed is the other levels' business. Compiled
 * with -ffp-contract=off: the fused multiply-adds are the written ones. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"
#include "kernels/panel.h"

/* ---- activations ---------------------------------------------------------------------------------------- */

typedef struct {
    int32_t q[CT_X_BLOCK];
    float d, dm;
    int32_t nsum16, nsum;
} x_block;

static x_block quantize_block(const float *x, float limit) {
    x_block b = {.d = 0.0f};
    uint32_t top = 0; /* magnitudes compare as integers; NaN is above infinity */
    for (int i = 0; i < CT_X_BLOCK; i++) {
        const uint32_t u = ct_f32_bits(x[i]) & 0x7fffffffu;
        top = u > top ? u : top;
    }
    const float max = ct_f32_from_bits(top);
    if (top >= 0x7f800000u) {
        b.d = NAN;
    } else if (max >= CT_X_TINY) {
        const float inv = limit / max;
        b.d = max / limit;
        for (int i = 0; i < CT_X_BLOCK; i++) {
            b.q[i] = (int32_t)rintf(x[i] * inv);
            if (i < 16) b.nsum16 -= b.q[i];
            b.nsum -= b.q[i];
        }
    }
    b.dm = b.d * (float)b.nsum;
    return b;
}

static void quantize(uint8_t *xq, const float *x, size_t ldx, int n_tok, int64_t d_in, int n_plane) {
    const float limit = n_plane == 1 ? 127.0f : 32512.0f;
    for (int t0 = 0; t0 < n_tok;) {
        const int n_t = ct_x_tile(n_tok - t0, n_plane);
        for (int64_t i = 0; i < d_in; i += CT_X_BLOCK) {
            uint8_t *tail = xq + n_t * CT_X_BLOCK * n_plane; /* d, nsum16, nsum, dm: [4][n_t] of 4 bytes */
            for (int t = 0; t < n_t; t++) {
                const x_block b = quantize_block(x + (size_t)(t0 + t) * ldx + i, limit);
                for (int j = 0; j < CT_X_BLOCK; j++) {
                    const int32_t hi = n_plane == 1 ? b.q[j] : (b.q[j] + 128) >> 8;
                    xq[t * CT_X_BLOCK + j] = (uint8_t)hi;
                    if (n_plane == 2) xq[(n_t + t) * CT_X_BLOCK + j] = (uint8_t)(b.q[j] - 256 * hi);
                }
                memcpy(tail + (0 * n_t + t) * 4, &b.d, 4);
                memcpy(tail + (1 * n_t + t) * 4, &b.nsum16, 4);
                memcpy(tail + (2 * n_t + t) * 4, &b.nsum, 4);
                memcpy(tail + (3 * n_t + t) * 4, &b.dm, 4);
            }
            xq += n_t * CT_X_BLOCK_BYTES(n_plane);
        }
        t0 += n_t;
    }
}

/* ---- weights -------------------------------------------------------------------------------------------- */

/* 32 values of one row of a panel: w = scale[half] * q - min. */
typedef struct {
    int32_t q[CT_X_BLOCK];
    float scale[2]; /* of each 16 values */
    float min;
    bool two_scales, has_min;
} w_block;

static float f16_at(const uint8_t *p, int row) { return ct_f16_to_f32(ct_load_u16(p + row * 2)); }

/* Byte i of the quants of a row, four of which lie together. */
static int quant_at(const uint8_t *p, int row, int i) { return p[(i / 4 * CT_PANEL_ROWS + row) * 4 + i % 4]; }

/* Block s of 32 of the type's block at p; integers with their zero point taken off. */
static void decode_block(w_block *w, ct_dtype t, const uint8_t *p, int row, int s) {
    w->two_scales = w->has_min = false;
    switch (t) {
    case CT_Q8_0:
        w->scale[0] = f16_at(p, row);
        for (int i = 0; i < CT_X_BLOCK; i++) w->q[i] = (int8_t)quant_at(p + 32, row, i);
        break;
    case CT_Q4_0:
        w->scale[0] = f16_at(p, row);
        for (int i = 0; i < CT_X_BLOCK; i++) w->q[i] = (quant_at(p + 32, row, i % 16) >> (i / 16 * 4) & 15) - 8;
        break;
    case CT_Q4_K:
    case CT_Q5_K: {
        const uint8_t *packed = p + 64 + row, *high = p + 256, *low = t == CT_Q4_K ? high : high + 512;
        const int a = packed[s * CT_PANEL_ROWS], b = packed[(s + 4) * CT_PANEL_ROWS];
        int scale = a & 63, min = b & 63;
        if (s >= 4) {
            scale = (b & 15) | packed[(s - 4) * CT_PANEL_ROWS] >> 6 << 4;
            min = b >> 4 | a >> 6 << 4;
        }
        w->has_min = true;
        w->scale[0] = f16_at(p, row) * (float)scale;
        w->min = f16_at(p + 32, row) * (float)min;
        for (int i = 0; i < CT_X_BLOCK; i++) {
            w->q[i] = quant_at(low, row, s / 2 * 32 + i) >> (s % 2 * 4) & 15;
            if (t == CT_Q5_K) w->q[i] |= (quant_at(high, row, i) >> s & 1) << 4;
        }
        break;
    }
    default: { /* CT_Q6_K */
        const int half = s / 4, group = s % 4;
        w->two_scales = true;
        for (int k = 0; k < 2; k++) {
            w->scale[k] = f16_at(p + 3328, row) * (float)(int8_t)p[3072 + (2 * s + k) * CT_PANEL_ROWS + row];
        }
        for (int i = 0; i < CT_X_BLOCK; i++) {
            const int low = quant_at(p, row, half * 64 + group % 2 * 32 + i) >> (group / 2 * 4) & 15;
            w->q[i] = (low | (quant_at(p + 2048, row, half * 32 + i) >> (2 * group) & 3) << 4) - 32;
        }
    }
    }
}

/* ---- split rows: the upper bits of the integer, then the lower ones, less the zero point ----------------------------------- */

static void decode_coarse(w_block *w, ct_dtype t, const uint8_t *p, int row, int s) {
    w->two_scales = t == CT_Q6_K;
    w->has_min = false;
    if (t == CT_Q8_0) {
        w->scale[0] = f16_at(p, row);
        for (int i = 0; i < CT_X_BLOCK; i++) {
            const int upper = quant_at(p + 32, row, i % 16) >> (i / 16 * 4) & 15, bit = quant_at(p + 32, row, 16 + i % 4) >> i / 4 & 1;
            w->q[i] = upper << 4 | bit << 3;
        }
        return;
    }
    const int half = s / 4, group = s % 4;
    for (int k = 0; k < 2; k++) {
        w->scale[k] = f16_at(p + 2304, row) * (float)(int8_t)p[2048 + (2 * s + k) * CT_PANEL_ROWS + row];
    }
    for (int i = 0; i < CT_X_BLOCK; i++) {
        w->q[i] = (quant_at(p, row, half * 64 + group % 2 * 32 + i) >> (group / 2 * 4) & 15) << 2;
    }
}

static void add_fine(w_block *w, ct_dtype t, const uint8_t *p, int row, int s) {
    for (int i = 0; i < CT_X_BLOCK; i++) {
        if (t == CT_Q8_0) {
            const int two = quant_at(p, row, i / 16 * 4 + i % 4) >> (i / 4 % 4 * 2) & 3, one = quant_at(p, row, 8 + i % 4) >> i / 4 & 1;
            w->q[i] += (two << 1 | one) - 128;
        } else {
            w->q[i] += (quant_at(p, row, s / 4 * 32 + i) >> (s % 4 * 2) & 3) - 32;
        }
    }
}

/* ---- product -------------------------------------------------------------------------------------------- */

static int32_t dot16(const w_block *w, const uint8_t *hi, const uint8_t *lo, int from) {
    int32_t sum = 0;
    for (int i = from; i < from + 16; i++) sum += w->q[i] * ((int8_t)hi[i] * (lo ? 256 : 1) + (lo ? (int8_t)lo[i] : 0));
    return sum;
}

/* Block b of row r of a, integers of both planes where the rows are split. */
static void decode_row_block(w_block *w, const ct_matmul *a, const ct_split *split, int64_t r, int64_t b) {
    const int per_block = ct_dtype_block_len(a->dtype) / CT_X_BLOCK, row = (int)(r % CT_PANEL_ROWS), s = (int)(b % per_block);
    const size_t panel = (size_t)(r / CT_PANEL_ROWS) * CT_PANEL_ROWS, block = (size_t)(b / per_block) * CT_PANEL_ROWS;
    const uint8_t *p = a->w + panel * a->row_bytes;
    if (!split) {
        decode_block(w, a->dtype, p + block * ct_dtype_block_bytes(a->dtype), row, s);
        return;
    }
    decode_coarse(w, a->dtype, p + block * ct_split_coarse_bytes(a->dtype, ct_dtype_block_len(a->dtype)), row, s);
    add_fine(w, a->dtype, split->fine + panel * split->fine_bytes + block * ct_split_fine_bytes(a->dtype, ct_dtype_block_len(a->dtype)),
             row, s);
}

static void product(const ct_matmul *a, const ct_split *split) {
    for (int64_t r = a->row0; r < a->row1; r++) {
        const uint8_t *x = a->xq;
        for (int t0 = 0; t0 < a->n_tok;) {
            const int n_t = ct_x_tile(a->n_tok - t0, a->n_plane);
            float sum[8] = {0};
            for (int64_t b = 0; b < a->d_in / CT_X_BLOCK; b++, x += n_t * CT_X_BLOCK_BYTES(a->n_plane)) {
                w_block w;
                decode_row_block(&w, a, split, r, b);
                for (int t = 0; t < n_t; t++) {
                    float d, dm;
                    const uint8_t *hi = x + t * CT_X_BLOCK, *lo = a->n_plane == 1 ? NULL : hi + n_t * CT_X_BLOCK;
                    memcpy(&d, x + n_t * CT_X_BLOCK * a->n_plane + t * 4, 4);
                    memcpy(&dm, x + n_t * CT_X_BLOCK * a->n_plane + (3 * n_t + t) * 4, 4);
                    const int32_t s0 = dot16(&w, hi, lo, 0), s1 = dot16(&w, hi, lo, 16);
                    if (w.two_scales) {
                        sum[t] = fmaf((float)s0, w.scale[0] * d, sum[t]);
                        sum[t] = fmaf((float)s1, w.scale[1] * d, sum[t]);
                    } else {
                        sum[t] = fmaf((float)(s0 + s1), w.scale[0] * d, sum[t]);
                    }
                    if (w.has_min) sum[t] = fmaf(w.min, dm, sum[t]);
                }
            }
            for (int t = 0; t < n_t; t++) a->y[(size_t)(t0 + t) * a->ldy + (size_t)r] = sum[t];
            t0 += n_t;
        }
    }
}

static void matmul(const ct_matmul *a) { product(a, NULL); }
static void matmul_split(const ct_split *a) { product(&a->m, a); }

/* Nothing of row r that is not NaN is above this. */
static float upper_bound(const ct_split *a, int64_t r) {
    const size_t coarse = ct_split_coarse_bytes(a->m.dtype, ct_dtype_block_len(a->m.dtype));
    const int per_block = ct_dtype_block_len(a->m.dtype) / CT_X_BLOCK;
    const uint8_t *panel = a->m.w + (size_t)(r / CT_PANEL_ROWS) * CT_PANEL_ROWS * a->m.row_bytes, *x = a->m.xq;
    const int32_t *span = a->span;
    float sum = 0.0f;
    for (int64_t b = 0; b < a->m.d_in / CT_X_BLOCK; b++, x += CT_X_BLOCK_BYTES(a->m.n_plane)) {
        w_block w;
        float d;
        decode_coarse(&w, a->m.dtype, panel + (size_t)(b / per_block) * coarse * CT_PANEL_ROWS, (int)(r % CT_PANEL_ROWS),
                      (int)(b % per_block));
        const uint8_t *lo = a->m.n_plane == 1 ? NULL : x + CT_X_BLOCK;
        memcpy(&d, x + CT_X_BLOCK * a->m.n_plane, 4);
        const int32_t s[2] = {dot16(&w, x, lo, 0), dot16(&w, x, lo, 16)};
        if (w.two_scales) {
            for (int h = 0; h < 2; h++, span += 2) sum = fmaf((float)(s[h] + span[w.scale[h] < 0.0f]), w.scale[h] * d, sum);
        } else {
            sum = fmaf((float)(s[0] + s[1] + span[w.scale[0] < 0.0f]), w.scale[0] * d, sum);
            span += 2;
        }
    }
    return sum;
}

static int64_t matmul_above(const ct_split *a) {
    int64_t n = 0;
    for (int64_t r = a->m.row0; r < a->m.row1; r += CT_PANEL_ROWS) {
        ct_split part = *a;
        bool reaches = false;
        part.m.row0 = r;
        part.m.row1 = a->m.row1 - r < CT_PANEL_ROWS ? a->m.row1 : r + CT_PANEL_ROWS;
        /* rows that do not exist are zero, and count like any */
        for (int64_t i = r; i < r + CT_PANEL_ROWS; i++) reaches |= !(upper_bound(a, i) < a->tau);
        n += reaches;
        if (reaches) matmul_split(&part);
        for (int64_t i = r; i < part.m.row1 && !reaches; i++) a->m.y[i] = -INFINITY;
    }
    return n;
}

void ct_kernels_portable(ct_kernels *k) {
    k->quantize = quantize;
    for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
        if (ct_panel_has((ct_dtype)t)) k->matmul_panel[t] = matmul;
        if (ct_split_has((ct_dtype)t)) k->matmul_split[t] = matmul_split, k->matmul_above[t] = matmul_above;
    }
}
