/* Per-layer embeddings (REF gemma4-spec 2.3; transformers Gemma4TextModel.get_per_layer_inputs and
 * project_per_layer_inputs). A token's row of the table holds one slice a layer; the context part is projected from the
 * embedding, layer by layer, only for the layers and rows that run. */
#include <math.h>

#include "forward/forward_int.h"
#include "quant/quant.h"

typedef struct {
    const ct_forward *f;
    int il, r0;
} ple_job;

/* Slices of layers [0, n_layer) of one token's row, scaled. */
static void token_row(const ct_forward *f, const uint8_t *src, int r, int n_layer) {
    const ct_matrix *t = &f->w->per_layer_token_embd;
    const int64_t n = (int64_t)n_layer * f->cfg->d_ple;
    const int block = ct_dtype_block_len(t->dtype);
    float *row = f->ple + (size_t)r * (size_t)t->d_in;
    /* Whole blocks: a slice may end inside one. */
    ct_quant_decoder(t->dtype)(row, src, (n + block - 1) / block * block);
    f->k->scale(row, sqrtf((float)f->cfg->d_ple), row, n);
}

void ct_ple_tokens(ct_forward *f, const int32_t *tok, int r0, int n, int n_layer_all) {
    for (int r = 0; r < n; r++) {
        token_row(f, ct_tier_row(&f->ple_tier, tok[r]), r, r < r0 ? n_layer_all : f->cfg->n_layer);
    }
}

/* Complete the layer's per-layer inputs of row r with the context part in f->ple_ctx, and gate f->ple_gate with them. */
static void gate_item(void *ud, int64_t item, int thread) {
    const ple_job *j = ud;
    const ct_forward *f = j->f;
    const ct_config *c = f->cfg;
    const size_t d_ple = (size_t)c->d_ple, i0 = (size_t)item * d_ple;
    float *ctx = f->ple_ctx + i0, *gate = f->ple_gate + i0;
    float *in = f->ple + (size_t)(j->r0 + item) * (size_t)c->n_layer * d_ple + (size_t)j->il * d_ple;
    const float inv_sqrt_d = (float)pow((double)c->d_model, -0.5), inv_sqrt_2 = (float)sqrt(0.5);
    (void)thread;
    f->k->scale(ctx, inv_sqrt_d, ctx, c->d_ple);
    f->k->rms_norm(ctx, ctx, f->w->per_layer_proj_norm, c->d_ple, c->rms_eps);
    for (size_t i = 0; i < d_ple; i++) in[i] = (ctx[i] + in[i]) * inv_sqrt_2;
    f->k->gelu_mul(gate, gate, in, c->d_ple);
}

void ct_ple_inject(ct_forward *f, int il, int r0, int n) {
    const ct_config *c = f->cfg;
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t at = (size_t)r0 * (size_t)c->d_model;
    ct_matrix context = f->w->per_layer_model_proj; /* this layer's rows */
    context.data += (size_t)il * (size_t)c->d_ple * context.row_bytes;
    context.d_out = c->d_ple;
    const ct_linear in[2] = {{.y = f->ple_gate, .w = &w->inp_gate, .x = f->x + at, .n_tok = n - r0, .fine = true},
                             {.y = f->ple_ctx, .w = &context, .x = f->h0 + at, .n_tok = n - r0, .fine = true}};
    ct_linear_run(f, in, 2);
    ple_job job = {f, il, r0};
    ct_pool_run(f->pool, gate_item, &job, n - r0);
    const ct_linear out = {.y = f->y + at, .w = &w->proj, .x = f->ple_gate, .n_tok = n - r0, .fine = true};
    ct_linear_run(f, &out, 1);
    ct_norm_add_rows(f, f->x + at, f->y + at, w->post_norm, n - r0, c->d_model);
    ct_tap(f, il, "ple_out", f->y, n, c->d_model);
}
