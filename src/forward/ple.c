/* Per-layer embeddings (REF gemma4-spec 2.3; transformers Gemma4TextModel.get_per_layer_inputs and
 * project_per_layer_inputs). A token's row of the table holds one slice a layer; the context part is projected from the
 * embedding, layer by layer, only for the layers and rows that run. */
#include <math.h>

#include "forward/forward_int.h"
#include "quant/quant.h"

void ct_ple_tokens(ct_forward *f, const int32_t *tok, int n) {
    const ct_matrix *t = &f->w->per_layer_token_embd;
    const ct_decode_fn decode = ct_quant_decoder(t->dtype);
    const float scale = sqrtf((float)f->cfg->d_ple);
    for (int r = 0; r < n; r++) {
        float *row = f->ple + (size_t)r * (size_t)t->d_in;
        decode(row, ct_tier_row(&f->ple_tier, tok[r]), t->d_in);
        f->k->scale(row, scale, row, t->d_in);
    }
}

void ct_ple_context(ct_forward *f, int il, int r0, int n) {
    const ct_config *c = f->cfg;
    const size_t d_ple = (size_t)c->d_ple, row = (size_t)c->n_layer * d_ple;
    const float inv_sqrt_d = (float)pow((double)c->d_model, -0.5), inv_sqrt_2 = (float)sqrt(0.5);
    ct_matrix m = f->w->per_layer_model_proj; /* this layer's rows */
    m.data += (size_t)il * d_ple * m.row_bytes;
    m.d_out = c->d_ple;
    const ct_linear op = {f->ple_gate, &m, f->h0 + (size_t)r0 * (size_t)c->d_model, n - r0};
    ct_linear_run(f, &op, 1);
    for (int r = r0; r < n; r++) {
        float *ctx = f->ple_gate + (size_t)(r - r0) * d_ple, *out = f->ple + (size_t)r * row + (size_t)il * d_ple;
        f->k->scale(ctx, inv_sqrt_d, ctx, c->d_ple);
        f->k->rms_norm(ctx, ctx, f->w->per_layer_proj_norm, c->d_ple, c->rms_eps);
        for (size_t i = 0; i < d_ple; i++) out[i] = (ctx[i] + out[i]) * inv_sqrt_2;
    }
}

void ct_ple_inject(ct_forward *f, int il, int r0, int n) {
    const ct_config *c = f->cfg;
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t d_ple = (size_t)c->d_ple, row = (size_t)c->n_layer * d_ple, at = (size_t)r0 * (size_t)c->d_model;
    ct_linear op = {f->ple_gate, &w->inp_gate, f->x + at, n - r0};
    ct_linear_run(f, &op, 1);
    for (int r = r0; r < n; r++) {
        float *g = f->ple_gate + (size_t)(r - r0) * d_ple;
        f->k->gelu_mul(g, g, f->ple + (size_t)r * row + (size_t)il * d_ple, c->d_ple);
    }
    op = (ct_linear){f->y + at, &w->proj, f->ple_gate, n - r0};
    ct_linear_run(f, &op, 1);
    ct_norm_rows(f, f->y + at, f->y + at, w->post_norm, n - r0, c->d_model);
    ct_tap(f, il, "ple_out", f->y, n, c->d_model);
    f->k->axpy(f->x + at, 1.0f, f->y + at, (int64_t)(n - r0) * c->d_model);
}
