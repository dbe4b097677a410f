/* Feed-forward block: gated MLP, and beside it, where the layer has experts, the mixture (REF gemma4-spec 2.4, 2.10;
 * transformers Gemma4TextDecoderLayer). */
#include "forward/forward_int.h"

typedef struct {
    const ct_forward *f;
    float *gate;
    const float *up;
    int64_t width;
} gelu_job;

static void gelu_item(void *ud, int64_t row, int thread) {
    const gelu_job *j = ud;
    const int64_t at = row * j->width;
    (void)thread;
    j->f->k->gelu_mul(j->gate + at, j->gate + at, j->up + at, j->width);
}

/* y = down(gelu(gate x) * (up x)) of rows [r0, n); x = f->xn. */
static void mlp(ct_forward *f, int il, int r0, int n) {
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t d = (size_t)f->cfg->d_model, ff = (size_t)f->cfg->layer[il].d_ff, r = (size_t)r0;
    ct_linear op[2] = {{f->gate + r * ff, &w->ffn_gate, f->xn + r * d, n - r0}, {f->up + r * ff, &w->ffn_up, f->xn + r * d, n - r0}};
    ct_linear_run(f, op, 2);
    gelu_job job = {f, f->gate + r * ff, f->up + r * ff, (int64_t)ff};
    ct_pool_run(f->pool, gelu_item, &job, n - r0);
    op[0] = (ct_linear){f->y + r * d, &w->ffn_down, f->gate + r * ff, n - r0};
    ct_linear_run(f, op, 1);
}

void ct_ffn(ct_forward *f, int il, int r0, int n) {
    const ct_layer_weights *w = &f->w->layer[il];
    const int d = f->cfg->d_model;
    const size_t at = (size_t)r0 * (size_t)d;
    ct_norm_rows(f, f->xn + at, f->x + at, w->ffn_norm, n - r0, d);
    ct_tap(f, il, "ffn_norm", f->xn, n, d);
    mlp(f, il, r0, n);
    ct_tap(f, il, "ffn_out", f->y, n, d);
    if (f->cfg->n_expert) {
        ct_moe(f, il, r0, n);
        ct_tap(f, il, "moe_out", f->moe_out, n, d);
        ct_norm_rows(f, f->y + at, f->y + at, w->post_ffw_norm_1, n - r0, d);
        ct_norm_add_rows(f, f->y + at, f->moe_out + at, w->post_ffw_norm_2, n - r0, d);
    }
    ct_norm_add_rows(f, f->x + at, f->y + at, w->post_ffw_norm, n - r0, d);
    ct_tap(f, il, "ffn_resid", f->x, n, d);
}
