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
