/* Attention of one layer (REF gemma4-spec 2.5-2.9; transformers Gemma4TextAttention).
 *
 * q, k: per-head RMS norm with weight, then rope. v: per-head RMS norm without weight, no rope (Gemma 4). A K=V layer
 * takes v from the raw k projection, before its norm and rope. Layers without keys of their own read the store of
 * their source layer, the current chunk's keys included (the source ran earlier in this chunk). */
#include <string.h>

#include "forward/forward_int.h"

typedef struct {
    const ct_forward *f;
    const ct_layer_config *l;
    const ct_layer_weights *w;
    ct_kv_store *store;
    int r0, n, pos;
} attention_job;

/* Norm and rope of all heads of one row, in place. */
static void norm_rope(const ct_forward *f, const ct_layer_config *l, float *x, int n_head, const float *weight, int row) {
    const int n_rot = f->w->n_rot[l->attn];
    const float *cos = f->rope_cos[l->attn] + (size_t)row * (size_t)n_rot;
    const float *sin = f->rope_sin[l->attn] + (size_t)row * (size_t)n_rot;
    for (int h = 0; h < n_head; h++) {
        float *head = x + (size_t)h * (size_t)l->d_head;
        f->k->rms_norm(head, head, weight, l->d_head, f->cfg->rms_eps);
        f->k->rope(head, cos, sin, n_rot, l->d_head);
    }
}

static void store_row(const attention_job *j, void *base, int64_t pos, const float *x) {
    void *dst = ct_kv_at(&j->f->kv, j->store, base, pos, 0);
    if (j->f->kv.type == CT_F16) {
        j->f->k->store_f16(dst, x, (int64_t)j->store->stride);
    } else {
        memcpy(dst, x, j->store->stride * sizeof *x);
    }
}

static void q_item(void *ud, int64_t item, int thread) {
    const attention_job *j = ud;
    const int row = j->r0 + (int)item;
    (void)thread;
    norm_rope(j->f, j->l, j->f->q + (size_t)row * (size_t)(j->l->n_head * j->l->d_head), j->l->n_head, j->w->attn_q_norm, row);
}

static void kv_item(void *ud, int64_t item, int thread) {
    const attention_job *j = ud;
    const ct_forward *f = j->f;
    const size_t width = j->store->stride;
    float *k = f->kx + (size_t)item * width, *v = f->vx + (size_t)item * width;
    (void)thread;
    if (j->l->v_from_k) memcpy(v, k, width * sizeof *v);
    norm_rope(f, j->l, k, j->l->n_head_kv, j->w->attn_k_norm, (int)item);
    for (int h = 0; f->cfg->v_norm && h < j->l->n_head_kv; h++) {
        float *head = v + (size_t)h * (size_t)j->l->d_head;
        f->k->rms_norm(head, head, NULL, j->l->d_head, f->cfg->rms_eps);
    }
    store_row(j, j->store->k, j->pos + item, k);
    store_row(j, j->store->v, j->pos + item, v);
}

/* One (token, query head). */
static void head_item(void *ud, int64_t item, int thread) {
    const attention_job *j = ud;
    const ct_forward *f = j->f;
    const ct_layer_config *l = j->l;
    const int row = j->r0 + (int)(item / l->n_head), h = (int)(item % l->n_head);
    const int h_kv = h / (l->n_head / l->n_head_kv);
    const int64_t pos = j->pos + row;
    const size_t at = ((size_t)row * (size_t)l->n_head + (size_t)h) * (size_t)l->d_head;
    const int64_t lo = l->attn == CT_ATTN_SLIDING && pos - f->cfg->w_swa + 1 > 0 ? pos - f->cfg->w_swa + 1 : 0;
    const ct_attend a = {
        .out = f->heads + at,
        .q = f->q + at,
        .k = ct_kv_at(&f->kv, j->store, j->store->k, 0, h_kv),
        .v = ct_kv_at(&f->kv, j->store, j->store->v, 0, h_kv),
        .stride = j->store->stride,
        .kv = f->kv.type,
        .lo = lo,
        .hi = pos + 1,
        .cap = j->store->cap,
        .d_head = l->d_head,
        .scale = f->cfg->attn_scale,
        .scores = f->scores + (size_t)thread * (size_t)((f->o.n_ctx + 15) & ~15),
    };
    f->k->attend(&a);
}

void ct_attention(ct_forward *f, int il, int r0, int n, int pos) {
    const ct_layer_config *l = &f->cfg->layer[il];
    const ct_layer_weights *w = &f->w->layer[il];
    const bool owner = l->kv_layer == il;
    const int d = f->cfg->d_model, d_q = l->n_head * l->d_head, d_kv = l->n_head_kv * l->d_head;
    const int r_in = owner ? 0 : r0; /* keys and values are needed of every row */
    attention_job job = {f, l, w, &f->kv.store[f->kv_store[il]], r0, n, pos};

    ct_norm_rows(f, f->xn + (size_t)r_in * (size_t)d, f->x + (size_t)r_in * (size_t)d, w->attn_norm, n - r_in, d);
    ct_tap(f, il, "attn_norm", f->xn, n, d);

    ct_linear op[3];
    int n_op = 0;
    op[n_op++] = (ct_linear){.y = f->q + (size_t)r0 * (size_t)d_q, .w = &w->attn_q, .x = f->xn + (size_t)r0 * (size_t)d, .n_tok = n - r0};
    if (owner) op[n_op++] = (ct_linear){.y = f->kx, .w = &w->attn_k, .x = f->xn, .n_tok = n};
    if (owner && !l->v_from_k) op[n_op++] = (ct_linear){.y = f->vx, .w = &w->attn_v, .x = f->xn, .n_tok = n};
    ct_profile_step(f->profile, CARAT_STEP_PROJECTIONS);
    ct_linear_run(f, op, n_op);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    if (owner) {
        ct_kv_advance(&f->kv, pos, n);
        ct_pool_run(f->pool, kv_item, &job, n);
        ct_tap(f, il, "k", f->kx, n, d_kv);
        ct_tap(f, il, "v", f->vx, n, d_kv);
    }
    if (r0 == n) return;
    ct_pool_run(f->pool, q_item, &job, n - r0);
    ct_tap(f, il, "q", f->q, n, d_q);
    ct_profile_step(f->profile, CARAT_STEP_ATTENTION);
    ct_pool_run(f->pool, head_item, &job, (int64_t)(n - r0) * l->n_head);
    ct_profile_step(f->profile, CARAT_STEP_PROJECTIONS);
    ct_tap(f, il, "attn_heads", f->heads, n, d_q);

    op[0] = (ct_linear){.y = f->y + (size_t)r0 * (size_t)d, .w = &w->attn_output, .x = f->heads + (size_t)r0 * (size_t)d_q, .n_tok = n - r0};
    ct_linear_run(f, op, 1);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    ct_tap(f, il, "attn_out", f->y, n, d);
    ct_norm_add_rows(f, f->x + (size_t)r0 * (size_t)d, f->y + (size_t)r0 * (size_t)d, w->post_attention_norm, n - r0, d);
    ct_tap(f, il, "attn_resid", f->x, n, d);
}
