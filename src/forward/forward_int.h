/* Private to the room: the blocks of a layer. Rows are token rows of the current chunk; r0 is the first row a block
 * runs for, n one past the last. */
#ifndef CT_FORWARD_FORWARD_INT_H
#define CT_FORWARD_FORWARD_INT_H

#include "forward/forward.h"

/* One product of a parallel region: y[rows] = x[rows] * w^T. x has the natural leading dimension. */
struct ct_linear {
    float *y;
    const ct_matrix *w;
    const float *x;
    int n_tok;
    size_t ldy;  /* 0: w->d_out */
    /* Integer products take x in 16 bits instead of 8: for the few inputs whose rounding costs most in the logits
     * (docs/performance.md), all of them products that are small or read once a token. */
    bool fine;
    /* Or NULL. The gated half of a feed-forward: gelu(w x) * (up x), to y, or where the next product takes integers
     * to y_tiles alone: then the hidden values never pass through memory as f32. */
    const ct_matrix *up;
    uint8_t *y_tiles;
    /* Or NULL: x as integer tiles, made by an earlier product. */
    const uint8_t *x_tiles;
};

/* Is the product with w one of integers? Level ref has none: it takes panels as the rows they hold. */
bool ct_in_integers(const ct_forward *f, const ct_matrix *w);
/* Run up to f->n_op products in one parallel region. */
void ct_linear_run(ct_forward *f, const ct_linear *op, int n_op);
/* Floats of a thread's scratch for the gated halves of up to n_tok tokens. */
int64_t ct_linear_gated_floats(int n_tok);
/* Expert e of a stack as a matrix. */
ct_matrix ct_matrix_expert(const ct_matrix *stack, int e);

/* y[r] = norm(x[r]) * w for rows of d values; y may be x. */
void ct_norm_rows(const ct_forward *f, float *y, const float *x, const float *w, int n_row, int d);
/* x[r] += norm(y[r]) * w: the sandwich norm and the residual. y is destroyed. */
void ct_norm_add_rows(const ct_forward *f, float *x, float *y, const float *w, int n_row, int d);
/* x[r] *= a */
void ct_scale_rows(const ct_forward *f, float *x, float a, int n_row, int d);

/* f->rope_cos and f->rope_sin of the n rows at positions pos…, once a chunk. */
void ct_rope_rows(ct_forward *f, int n, int pos);
void ct_attention(ct_forward *f, int il, int r0, int n, int pos);
/* Dense or dense + experts; adds to the residual. EIO as ct_forward_chunk. */
int ct_ffn(ct_forward *f, int il, int r0, int n, carat_error *err);
/* Experts part, in two steps with the dense part between: choose experts from f->x, and have those that are on disk read;
 * then leave their weighted sum in f->moe_out. */
void ct_moe_choose(ct_forward *f, int il, int r0, int n);
int ct_moe(ct_forward *f, int il, int r0, int n, carat_error *err);
/* The per-layer inputs of a chunk whose scaled embedding is f->x: layers [0, n_layer_all) for all rows, the others for
 * rows [r0, n). tok[n, n + n_more) follow. */
int ct_ple_inputs(ct_forward *f, const int32_t *tok, int r0, int n, int n_more, int n_layer_all, carat_error *err);
/* Injection at the end of layer il, for rows [r0, n). */
void ct_ple_inject(ct_forward *f, int il, int r0, int n);

/* f->out_x = what the output head reads of rows [row, row + n_row). */
void ct_final_norm(ct_forward *f, int row, int n_row);

/* Hand rows [0, n) of x to the tap as "L%02d.name" (il < 0: "name"). */
void ct_tap(const ct_forward *f, int il, const char *name, const float *x, int n, int d);

#endif
