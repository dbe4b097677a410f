/* Rows to panels, and a row back. A block type is a few runs of equal units (panel.h); packing is the transposition of
 * each. */
#include "kernels/panel.h"

#include <string.h>

typedef struct {
    uint8_t n, size; /* units of `size` bytes, one after the other */
} run;

typedef struct {
    uint8_t n_run;
    run r[4];
} block_form;

static const block_form forms[CT_N_WEIGHT_DTYPE] = {
    [CT_Q4_0] = {2, {{1, 2}, {4, 4}}},                    /* d, quants */
    [CT_Q8_0] = {2, {{1, 2}, {8, 4}}},                    /* d, quants */
    [CT_Q4_K] = {3, {{2, 2}, {12, 1}, {32, 4}}},          /* d and dmin, scales, quants */
    [CT_Q5_K] = {4, {{2, 2}, {12, 1}, {8, 4}, {32, 4}}},  /* d and dmin, scales, fifth bits, quants */
    [CT_Q6_K] = {4, {{32, 4}, {16, 4}, {16, 1}, {1, 2}}}, /* low bits, high bits, scales, d */
};

bool ct_panel_has(ct_dtype t) { return (unsigned)t < CT_N_WEIGHT_DTYPE && forms[t].n_run; }

static void pack_run(uint8_t *dst, const uint8_t *src, size_t row_bytes, int n_row, const run *r) {
    for (int row = 0; row < n_row; row++) {
        const uint8_t *s = src + (size_t)row * row_bytes;
        uint8_t *d = dst + (size_t)row * r->size;
        /* Sizes are literals so that a copy is one load and one store. */
        if (r->size == 4) {
            for (int u = 0; u < r->n; u++) memcpy(d + (size_t)u * CT_PANEL_ROWS * 4, s + (size_t)u * 4, 4);
        } else if (r->size == 2) {
            for (int u = 0; u < r->n; u++) memcpy(d + (size_t)u * CT_PANEL_ROWS * 2, s + (size_t)u * 2, 2);
        } else {
            for (int u = 0; u < r->n; u++) d[(size_t)u * CT_PANEL_ROWS] = s[u];
        }
    }
}

void ct_panel_pack(uint8_t *panel, ct_dtype t, const uint8_t *rows, size_t row_bytes, int n_row) {
    const block_form *f = &forms[t];
    const size_t block = ct_dtype_block_bytes(t);
    if (n_row < CT_PANEL_ROWS) memset(panel, 0, CT_PANEL_ROWS * row_bytes);
    for (size_t at = 0; at < row_bytes; at += block) {
        size_t in = 0; /* of the block */
        for (int i = 0; i < f->n_run; i++) {
            pack_run(panel + (at + in) * CT_PANEL_ROWS, rows + at + in, row_bytes, n_row, &f->r[i]);
            in += (size_t)f->r[i].n * f->r[i].size;
        }
    }
}

void ct_panel_row(uint8_t *row, ct_dtype t, const uint8_t *panel, int r, size_t row_bytes) {
    const block_form *f = &forms[t];
    const size_t block = ct_dtype_block_bytes(t);
    for (size_t at = 0; at < row_bytes; at += block) {
        size_t in = 0; /* of the block */
        for (int i = 0; i < f->n_run; i++) {
            const size_t size = f->r[i].size;
            const uint8_t *s = panel + (at + in) * CT_PANEL_ROWS + (size_t)r * size;
            for (int u = 0; u < f->r[i].n; u++) memcpy(row + at + in + (size_t)u * size, s + (size_t)u * CT_PANEL_ROWS * size, size);
            in += (size_t)f->r[i].n * size;
        }
    }
}

/* ---- split rows ------------------------------------------------------------------------------------------- */

enum { MAX_COARSE = 146, MAX_FINE = 64 }; /* bytes of a block */

static const block_form coarse_forms[CT_N_WEIGHT_DTYPE] = {
    [CT_Q8_0] = {2, {{1, 2}, {5, 4}}},            /* d, nibbles and bits */
    [CT_Q6_K] = {3, {{32, 4}, {16, 1}, {1, 2}}},  /* upper bits, scales, d */
};
static const block_form fine_forms[CT_N_WEIGHT_DTYPE] = {
    [CT_Q8_0] = {1, {{3, 4}}},
    [CT_Q6_K] = {1, {{16, 4}}},
};

bool ct_split_has(ct_dtype t) { return (unsigned)t < CT_N_WEIGHT_DTYPE && coarse_forms[t].n_run; }

static size_t form_bytes(const block_form *f) {
    size_t n = 0;
    for (int i = 0; i < f->n_run; i++) n += (size_t)f->r[i].n * f->r[i].size;
    return n;
}

size_t ct_split_coarse_bytes(ct_dtype t, int64_t d_in) {
    return form_bytes(&coarse_forms[t]) * (size_t)(d_in / ct_dtype_block_len(t));
}

size_t ct_split_fine_bytes(ct_dtype t, int64_t d_in) {
    return form_bytes(&fine_forms[t]) * (size_t)(d_in / ct_dtype_block_len(t));
}

/* One block of one row. */
static void split_block(uint8_t *coarse, uint8_t *fine, ct_dtype t, const uint8_t *b) {
    if (t == CT_Q8_0) {
        memset(coarse, 0, 22);
        memset(fine, 0, 12);
        memcpy(coarse, b, 2);
        for (int i = 0; i < 32; i++) {
            const int u = b[2 + i] ^ 0x80, g = i / 4; /* signed byte + 128 */
            coarse[2 + i % 16] |= (uint8_t)(u >> 4 << i / 16 * 4);
            coarse[18 + i % 4] |= (uint8_t)((u >> 3 & 1) << g);
            fine[g / 4 * 4 + i % 4] |= (uint8_t)((u >> 1 & 3) << 2 * (g % 4));
            fine[8 + i % 4] |= (uint8_t)((u & 1) << g);
        }
        return;
    }
    memset(coarse, 0, 128);
    memset(fine, 0, 64);
    memcpy(coarse + 128, b + 192, 18); /* scales, d */
    for (int i = 0; i < 256; i++) {
        const int half = i / 128, group = i / 32 % 4, at = half * 64 + group % 2 * 32 + i % 32;
        const int u = (b[at] >> (group / 2 * 4) & 15) | (b[128 + half * 32 + i % 32] >> 2 * group & 3) << 4;
        coarse[at] |= (uint8_t)(u >> 2 << group / 2 * 4);
        fine[half * 32 + i % 32] |= (uint8_t)((u & 3) << 2 * group);
    }
}

static void pack_form(uint8_t *panel, const uint8_t *blocks, size_t stride, int n_row, const block_form *f) {
    size_t in = 0;
    for (int i = 0; i < f->n_run; i++) {
        pack_run(panel + in * CT_PANEL_ROWS, blocks + in, stride, n_row, &f->r[i]);
        in += (size_t)f->r[i].n * f->r[i].size;
    }
}

void ct_split_pack(uint8_t *coarse, uint8_t *fine, ct_dtype t, const uint8_t *rows, size_t row_bytes, int n_row) {
    const size_t block = ct_dtype_block_bytes(t), c = form_bytes(&coarse_forms[t]), f = form_bytes(&fine_forms[t]);
    uint8_t upper[CT_PANEL_ROWS][MAX_COARSE] = {{0}}, lower[CT_PANEL_ROWS][MAX_FINE] = {{0}};
    for (size_t at = 0; at < row_bytes; at += block, coarse += c * CT_PANEL_ROWS, fine += f * CT_PANEL_ROWS) {
        for (int r = 0; r < n_row; r++) split_block(upper[r], lower[r], t, rows + (size_t)r * row_bytes + at);
        pack_form(coarse, upper[0], MAX_COARSE, CT_PANEL_ROWS, &coarse_forms[t]);
        pack_form(fine, lower[0], MAX_FINE, CT_PANEL_ROWS, &fine_forms[t]);
    }
}

void ct_x_span(int32_t *span, ct_dtype t, const uint8_t *xq, int64_t d_in, int n_plane) {
    const int n = t == CT_Q8_0 ? 32 : 16, most = t == CT_Q8_0 ? 7 : 3, zero = t == CT_Q8_0 ? 128 : 32;
    for (int64_t i = 0; i < d_in; i += CT_X_BLOCK, xq += CT_X_BLOCK_BYTES(n_plane)) {
        for (int j = 0; j < CT_X_BLOCK; j += n, span += 2) {
            span[0] = span[1] = 0;
            for (int k = j; k < j + n; k++) {
                const int32_t x = n_plane == 1 ? (int8_t)xq[k] : 256 * (int8_t)xq[k] + (int8_t)xq[CT_X_BLOCK + k];
                span[0] += (x > 0 ? most * x : 0) - zero * x;
                span[1] += (x < 0 ? most * x : 0) - zero * x;
            }
        }
    }
}
