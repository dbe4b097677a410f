/* Feed-forward block: gated MLP, and beside it, where the layer has experts, the mixture (REF gemma4-spec 2.4, 2.10;
 * transformers Gemma4TextDecoderLayer). */
#include "forward/forward_int.h"

/* y = down(gelu(gate x) * (up x)) of rows [r0, n); x = f->xn. */
static void mlp(ct_forward *f, int il, int r0, int n) {
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t d = (size_t)f->cfg->d_model, ff = (size_t)f->cfg->layer[il].d_ff, r = (size_t)r0;
    /* Integer kernels take the hidden values as tiles. */
    uint8_t *tiles = ct_in_integers(f, &w->ffn_down) ? f->gate_tiles : NULL;
    float *hidden = tiles ? NULL : f->gate + r * ff;
    const ct_linear in = {.y = hidden, .w = &w->ffn_gate, .x = f->xn + r * d, .n_tok = n - r0,
                          .up = &w->ffn_up, .y_tiles = tiles};
    const ct_linear out = {.y = f->y + r * d, .w = &w->ffn_down, .x = hidden, .n_tok = n - r0,
                           .x_tiles = tiles};
    ct_linear_run(f, &in, 1);
    ct_linear_run(f, &out, 1);
}

int ct_ffn(ct_forward *f, int il, int r0, int n, carat_error *err) {
    const ct_layer_weights *w = &f->w->layer[il];
    const int d = f->cfg->d_model;
    const size_t at = (size_t)r0 * (size_t)d;
    /* Experts that are on disk are read while the dense part is computed. */
    if (f->cfg->n_expert) ct_moe_choose(f, il, r0, n);
    ct_norm_rows(f, f->xn + at, f->x + at, w->ffn_norm, n - r0, d);
    ct_tap(f, il, "ffn_norm", f->xn, n, d);
    ct_profile_step(f->profile, CARAT_STEP_FFN);
    mlp(f, il, r0, n);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    ct_tap(f, il, "ffn_out", f->y, n, d);
    if (f->cfg->n_expert) {
        CT_TRY(ct_moe(f, il, r0, n, err));
        ct_tap(f, il, "moe_out", f->moe_out, n, d);
        ct_norm_rows(f, f->y + at, f->y + at, w->post_ffw_norm_1, n - r0, d);
        ct_norm_add_rows(f, f->y + at, f->moe_out + at, w->post_ffw_norm_2, n - r0, d);
    }
    ct_norm_add_rows(f, f->x + at, f->y + at, w->post_ffw_norm, n - r0, d);
    ct_tap(f, il, "ffn_resid", f->x, n, d);
    return 0;
}
