/* Per-layer embeddings (REF gemma4-spec 2.3; transformers Gemma4TextModel.get_per_layer_inputs and
 * project_per_layer_inputs). What a layer injects for a token is the mean of two parts: a slice of the token's row in the
 * table, and a projection of its embedding. Both are made once a chunk, before the first layer, for the layers and rows
 * that will run: the projection's weights are then read in one stream, not in as many pieces as there are layers. */
#include <math.h>

#include "forward/forward_int.h"
#include "quant/quant.h"

typedef struct {
    const ct_forward *f;
    int il, r0;   /* of the injection */
    int n_layer;  /* rows before r0 have only so many layers' inputs */
} ple_job;

/* Turn the context part of row r, in f->ple, into the layers' inputs: norm of each slice, plus the token's. */
static void input_item(void *ud, int64_t r, int thread) {
    const ple_job *j = ud;
    const ct_forward *f = j->f;
    const ct_config *c = f->cfg;
    const ct_matrix *t = &f->w->per_layer_token_embd;
    const int n_layer = r < j->r0 ? j->n_layer : c->n_layer, block = ct_dtype_block_len(t->dtype);
    const int64_t n = (int64_t)n_layer * c->d_ple;
    const float inv_sqrt_d = (float)pow((double)c->d_model, -0.5), inv_sqrt_2 = (float)sqrt(0.5);
    float *in = f->ple + (size_t)r * (size_t)t->d_in, *token = f->ple_token + (size_t)thread * (size_t)t->d_in;
    ct_quant_decoder(t->dtype)(token, f->ple_row[r], (n + block - 1) / block * block); /* a slice may end inside a block */
    f->k->scale(token, sqrtf((float)c->d_ple), token, n);
    f->k->scale(in, inv_sqrt_d, in, n);
    for (int il = 0; il < n_layer; il++) {
        float *slice = in + (size_t)il * (size_t)c->d_ple;
        f->k->rms_norm(slice, slice, f->w->per_layer_proj_norm, c->d_ple, c->rms_eps);
    }
    for (int64_t i = 0; i < n; i++) in[i] = (in[i] + token[i]) * inv_sqrt_2;
}

/* Rows [row0, row1) of the projection for token rows [r0, r1). */
static ct_linear context_part(ct_forward *f, ct_matrix *m, int64_t row0, int64_t row1, int r0, int r1) {
    const ct_matrix *all = &f->w->per_layer_model_proj;
    *m = *all;
    m->data += (size_t)row0 * all->row_bytes; /* whole slices; panels have d_ple a multiple of theirs */
    m->d_out = row1 - row0;
    return (ct_linear){.y = f->ple + (size_t)r0 * (size_t)all->d_out + (size_t)row0, .ldy = (size_t)all->d_out, .w = m,
                       .x = f->x + (size_t)r0 * (size_t)all->d_in, .n_tok = r1 - r0, .fine = true};
}

int ct_ple_inputs(ct_forward *f, const int32_t *tok, int r0, int n, int n_more, int n_layer_all, carat_error *err) {
    const int64_t split = (int64_t)n_layer_all * f->cfg->d_ple, all = (int64_t)f->cfg->n_layer * f->cfg->d_ple;
    ct_matrix m[2];
    const ct_linear op[2] = {context_part(f, &m[0], 0, split, 0, n), context_part(f, &m[1], split, all, r0, n)};
    ple_job job = {.f = f, .r0 = r0, .n_layer = n_layer_all};
    ct_linear_run(f, op, 2); /* while rows that are on disk come */
    CT_TRY(ct_tier_rows(&f->ple_tier, tok, n, f->ple_row, err));
    ct_tier_ahead(&f->ple_tier, tok + n, n_more < f->o.n_chunk ? n_more : f->o.n_chunk);
    ct_pool_run(f->pool, input_item, &job, n);
    return 0;
}

static void gate_item(void *ud, int64_t item, int thread) {
    const ple_job *j = ud;
    const ct_forward *f = j->f;
    const size_t d_ple = (size_t)f->cfg->d_ple, row = (size_t)(j->r0 + item) * (size_t)f->cfg->n_layer;
    float *gate = f->ple_gate + (size_t)item * d_ple;
    (void)thread;
    f->k->gelu_mul(gate, gate, f->ple + (row + (size_t)j->il) * d_ple, (int64_t)d_ple);
}

void ct_ple_inject(ct_forward *f, int il, int r0, int n) {
    const ct_config *c = f->cfg;
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t at = (size_t)r0 * (size_t)c->d_model;
    const ct_linear in = {.y = f->ple_gate, .w = &w->inp_gate, .x = f->x + at, .n_tok = n - r0, .fine = true};
    const ct_linear out = {.y = f->y + at, .w = &w->proj, .x = f->ple_gate, .n_tok = n - r0, .fine = true};
    ple_job job = {.f = f, .il = il, .r0 = r0};
    ct_linear_run(f, &in, 1);
    ct_pool_run(f->pool, gate_item, &job, n - r0);
    ct_linear_run(f, &out, 1);
    ct_norm_add_rows(f, f->x + at, f->y + at, w->post_norm, n - r0, c->d_model);
    ct_tap(f, il, "ple_out", f->y, n, c->d_model);
}
