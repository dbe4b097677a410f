/* Sizes of everything a session holds, and its life: estimate, init, free. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "forward/forward_int.h"
#include "kernels/panel.h"

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Bytes of integer tiles of one region's inputs, the largest: two sets of rows as wide as the model (queries, and keys
 * and values, where their rows differ), the widest input, one wave of experts, the fine inputs of the per-layer
 * embeddings (two sets of rows as wide as the model, or one as wide as they are), the head's rows. */
static int64_t tile_bytes(const ct_forward *f, int64_t d_in_max) {
    const ct_config *c = f->cfg;
    const int n = f->o.n_chunk;
    const int64_t d = c->d_model & ~31, wide = d_in_max & ~31;
    int64_t bytes = max64(2 * (int64_t)ct_x_bytes(n, d, 1), (int64_t)ct_x_bytes(n, wide, 1));
    bytes = max64(bytes, max64(2 * (int64_t)ct_x_bytes(n, d, 2), (int64_t)ct_x_bytes(n, c->d_ple & ~31, 2)));
    bytes = max64(bytes, (int64_t)ct_x_bytes(f->o.n_logits, d, 2));
    return max64(bytes, (int64_t)ct_x_bytes(f->moe_cap, max64(d, c->d_ff_expert & ~31), 1));
}

/* Will the product with m read integers? Asked of weights before and after they are laid out for it. */
static bool takes_tiles(const ct_forward *f, const ct_matrix *m) {
    return m->data && f->k->matmul_panel[m->dtype];
}

/* Hidden values of the feed-forward halves, in the form the second product reads: as tiles or as f32. */
static void plan_hidden(ct_forward *f) {
    const ct_config *c = f->cfg;
    const int64_t n = f->o.n_chunk;
    int64_t as_f32 = 0, as_tiles = 0, experts_f32 = 0;
    for (int i = 0; i < c->n_layer; i++) {
        const ct_layer_weights *w = &f->w->layer[i];
        const int64_t ff = c->layer[i].d_ff;
        if (takes_tiles(f, &w->ffn_down)) {
            as_tiles = max64(as_tiles, (int64_t)ct_x_bytes((int)n, ff, 1));
        } else {
            as_f32 = max64(as_f32, n * ff);
        }
        if (!c->n_expert) continue;
        if (takes_tiles(f, &w->ffn_down_exps)) {
            as_tiles = max64(as_tiles, (int64_t)ct_x_bytes(f->moe_cap, c->d_ff_expert, 1));
        } else {
            experts_f32 = f->moe_cap * (int64_t)c->d_ff_expert;
        }
    }
    ct_plan_add(&f->plan, (void **)&f->gate, as_f32, sizeof *f->gate);
    ct_plan_add(&f->plan, (void **)&f->gate_tiles, as_tiles, sizeof *f->gate_tiles);
    ct_plan_add(&f->plan, (void **)&f->moe_gate, experts_f32, sizeof *f->moe_gate);
    f->gated_stride = (size_t)(ct_linear_gated_floats((int)n) + 15) & ~(size_t)15;
    ct_plan_add(&f->plan, (void **)&f->gated, f->o.n_threads * (int64_t)f->gated_stride, sizeof *f->gated);
}

static void plan_buffers(ct_forward *f) {
    const ct_config *c = f->cfg;
    const int64_t n = f->o.n_chunk;
    int64_t q = 0, kv = 0, ff = 0, d_head = 0, attend = 0, d_in = c->d_model;
    for (int i = 0; i < c->n_layer; i++) {
        const ct_layer_config *l = &c->layer[i];
        q = max64(q, (int64_t)l->n_head * l->d_head);
        kv = max64(kv, (int64_t)l->n_head_kv * l->d_head);
        ff = max64(ff, l->d_ff);
        d_head = max64(d_head, l->d_head);
        attend = max64(attend, (int64_t)ct_attend_scratch(l->d_head));
    }
    d_in = max64(max64(max64(d_in, q), max64(ff, c->d_ff_expert)), c->d_ple);
    ct_plan *p = &f->plan;
#define ADD(field, count) ct_plan_add(p, (void **)&f->field, (count), sizeof *f->field)
    ADD(x, n * c->d_model);
    ADD(xn, n * c->d_model);
    ADD(y, n * c->d_model);
    ADD(q, n * q);
    ADD(heads, n * q);
    ADD(kx, n * kv);
    ADD(vx, n * kv);
    for (int a = 0; a < CT_N_ATTN; a++) {
        ADD(rope_cos[a], n * f->w->n_rot[a]);
        ADD(rope_sin[a], n * f->w->n_rot[a]);
    }
    if (c->d_ple) {
        ADD(ple, n * c->n_layer * c->d_ple);
        ADD(ple_gate, n * c->d_ple);
        /* Whole blocks: the last slice that runs may end inside one. */
        ADD(ple_token, f->o.n_threads * (int64_t)c->n_layer * c->d_ple);
        ADD(ple_row, n);
    }
    if (c->n_expert) {
        ADD(router, n * c->n_expert);
        ADD(route_weight, n * c->n_expert_used);
        ADD(route_index, n * c->n_expert_used);
        ADD(route_next, n * c->n_expert_used);
        /* A wave holds every token of any expert, and all experts of one token. */
        f->moe_cap = (int)max64(2 * n, c->n_expert_used);
        ADD(moe_x, f->moe_cap * (int64_t)c->d_model);
        ADD(moe_y, f->moe_cap * (int64_t)c->d_model);
        ADD(moe_out, n * c->d_model);
        ADD(moe_row, f->moe_cap);
        ADD(moe_w, f->moe_cap);
        ADD(moe_matrix, 3 * (int64_t)c->n_expert);
        ADD(moe_op, c->n_expert);
        ADD(moe_list, c->n_expert);
        ADD(moe_count, c->n_expert);
        ADD(moe_hint, c->n_expert);
        ADD(moe_at, c->n_expert + 1);
        ADD(use.expert, c->n_expert);
        ADD(use.slot, c->n_expert);
        ADD(use.given, c->n_expert);
        ADD(expert_counts, (int64_t)c->n_layer * c->n_expert);
    }
    ADD(out_x, (int64_t)f->o.n_logits * c->d_model);
    ADD(logits, (int64_t)f->o.n_logits * c->n_vocab);
    if (f->o.n_top) {
        ADD(head_span, 2 * (c->d_model / 16 + 1));
        ADD(head_best, f->o.n_top);
        ADD(head_kept, f->o.n_threads);
    }
    plan_hidden(f);
    f->n_op = c->n_expert > 4 ? c->n_expert : 4;
    ADD(op_item, f->n_op);
    ADD(op_xq, f->n_op);
    ADD(xq, tile_bytes(f, d_in));
    /* Strides of 64 bytes keep threads off each other's cache lines. */
    f->scratch_stride = (ct_matmul_scratch(d_in) + 15) & ~(size_t)15;
    ADD(scratch, (int64_t)f->o.n_threads * (int64_t)f->scratch_stride);
    f->attend_stride = (size_t)attend;
    ADD(attend_scratch, (int64_t)f->o.n_threads * attend);
    f->n_part = (int64_t)f->o.n_threads * 2 * CT_ATTEND_TILE;
    ADD(part, f->n_part * (int64_t)ct_attend_part((int)d_head));
    ADD(max_sum, f->n_part * 2);
    ADD(kv_store, c->n_layer);
#undef ADD
}

/* Geometry of the owners' stores: out[n_layer]; returns their number and fills store_of [n_layer] if not NULL. */
static int kv_geometry(const ct_config *c, const ct_forward_opts *o, ct_kv_geometry *out, int *store_of) {
    int n = 0, store[CT_MAX_LAYER];
    for (int i = 0; i < c->n_layer; i++) {
        const ct_layer_config *l = &c->layer[i];
        if (l->kv_layer != i) {
            store[i] = store[l->kv_layer];
            continue;
        }
        store[i] = n;
        /* While a chunk is written its first token still sees w_swa - 1 keys before it. */
        const int64_t ring = (int64_t)c->w_swa - 1 + max64(o->n_chunk, o->n_rewind);
        const int64_t cap = l->attn == CT_ATTN_SLIDING && ring < o->n_ctx ? ring : o->n_ctx;
        out[n++] = (ct_kv_geometry){l->n_head_kv, l->d_head, cap};
    }
    if (store_of) memcpy(store_of, store, (size_t)c->n_layer * sizeof *store);
    return n;
}

void ct_forward_estimate(const ct_config *c, const ct_weights *w, const ct_kernels *k, const ct_forward_opts *o,
                         uint64_t *kv_bytes, uint64_t *scratch_bytes) {
    ct_forward f = {.cfg = c, .w = w, .k = k, .o = *o};
    ct_kv_geometry g[CT_MAX_LAYER];
    const int n = kv_geometry(c, o, g, NULL);
    *kv_bytes = ct_kv_bytes(g, n, o->kv);
    plan_buffers(&f);
    *scratch_bytes = f.plan.bytes;
}

int ct_forward_init(ct_forward *f, const ct_config *c, const ct_weights *w, const ct_kernels *k, const ct_forward_opts *o,
                    carat_error *err) {
    memset(f, 0, sizeof *f);
    f->cfg = c;
    f->w = w;
    f->k = k;
    f->o = *o;
    ct_kv_geometry g[CT_MAX_LAYER];
    int store_of[CT_MAX_LAYER];
    const int n = kv_geometry(c, o, g, store_of);
    plan_buffers(f);
    int rc = ct_plan_commit(&f->plan, "activations", err);
    if (!rc) rc = ct_kv_init(&f->kv, g, n, o->kv, err);
    if (!rc) rc = ct_pool_new(&f->pool, o->n_threads, err);
    if (rc) {
        ct_forward_free(f);
        return rc;
    }
    memcpy(f->kv_store, store_of, (size_t)c->n_layer * sizeof *store_of);
    if (!o->ple) return 0;
    rc = ct_tier_init(&f->ple_tier, o->ple, o->n_ple_slot, err);
    if (rc) ct_forward_free(f);
    return rc;
}

void ct_forward_free(ct_forward *f) {
    ct_tier_free(&f->ple_tier);
    ct_pool_free(&f->pool);
    ct_kv_free(&f->kv);
    ct_plan_free(&f->plan);
    memset(f, 0, sizeof *f);
}

void ct_forward_profile(ct_forward *f, ct_profile *p) {
    f->profile = p;
    ct_pool_profile(f->pool, p);
}
