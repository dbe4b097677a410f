#include "model/config.h"

#include <math.h>
#include <stdio.h>

int ct_config_n_rot(const ct_config *c, const ct_layer_config *l) {
    return (int)(c->rope[l->attn].partial * (double)(l->d_head / 2));
}

int ct_config_last_owner(const ct_config *c) {
    int last = 0;
    for (int i = 0; i < c->n_layer; i++) {
        if (c->layer[i].kv_layer == i) last = i;
    }
    return last;
}

static int check_range(const char *where, const char *what, double v, double lo, double hi, carat_error *err) {
    /* Written so that NaN fails. */
    if (v >= lo && v <= hi) return 0;
    return CT_FAIL(err, CARAT_EMODEL, "%s: %s is %.9g, expected %.9g to %.9g", where, what, v, lo, hi);
}

static int check_layer(const ct_config *c, int i, const char *where, carat_error *err) {
    const ct_layer_config *l = &c->layer[i];
    char what[64];
#define CHECK(field, lo, hi)                                          \
    (void)snprintf(what, sizeof what, "layer %d: " #field, i);         \
    CT_TRY(check_range(where, what, (double)l->field, (lo), (hi), err))
    CHECK(n_head, 1, 1024);
    CHECK(n_head_kv, 1, 1024);
    CHECK(d_head, 16, 4096);
    CHECK(d_ff, 1, 1 << 20);
#undef CHECK
    if (l->n_head % l->n_head_kv != 0) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: layer %d has %d query heads for %d KV heads, expected a multiple", where, i,
                       l->n_head, l->n_head_kv);
    }
    if (l->d_head % 16 != 0) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: layer %d: head dimension is %d, expected a multiple of 16", where, i, l->d_head);
    }
    return 0;
}

int ct_config_finish(ct_config *c, const char *where, carat_error *err) {
    CT_TRY(check_range(where, "number of layers", c->n_layer, 1, CT_MAX_LAYER, err));
    CT_TRY(check_range(where, "hidden size", c->d_model, 1, 1 << 17, err));
    CT_TRY(check_range(where, "context length", c->n_ctx_train, 1, 1 << 30, err));
    CT_TRY(check_range(where, "sliding window", c->w_swa, 1, 1 << 30, err));
    CT_TRY(check_range(where, "RMS norm epsilon", c->rms_eps, 0, 1, err));
    CT_TRY(check_range(where, "attention scale", c->attn_scale, 1e-6, 1e6, err));
    CT_TRY(check_range(where, "logit soft-cap", c->logit_softcap, 0, 1e6, err));
    CT_TRY(check_range(where, "per-layer embedding width", c->d_ple, 0, 1 << 14, err));
    CT_TRY(check_range(where, "number of shared-KV layers", c->n_kv_shared, 0, c->n_layer - 1, err));
    CT_TRY(check_range(where, "number of experts", c->n_expert, 0, 4096, err));
    if (c->n_expert) {
        CT_TRY(check_range(where, "experts used per token", c->n_expert_used, 1, c->n_expert, err));
        CT_TRY(check_range(where, "expert feed-forward width", c->d_ff_expert, 1, 1 << 20, err));
    }
    for (int a = 0; a < CT_N_ATTN; a++) {
        CT_TRY(check_range(where, "rope theta", c->rope[a].theta, 1, 1e12, err));
        CT_TRY(check_range(where, "rope scaling factor", c->rope[a].factor, 1e-3, 1e6, err));
        CT_TRY(check_range(where, "partial rotary factor", c->rope[a].partial, 0, 1, err));
    }
    /* REF gemma4-spec 2.8: the last n_kv_shared layers read the last owner of their own attention kind. */
    const int first_shared = c->n_layer - c->n_kv_shared;
    int source[CT_N_ATTN] = {-1, -1};
    for (int i = 0; i < c->n_layer; i++) {
        ct_layer_config *l = &c->layer[i];
        CT_TRY(check_layer(c, i, where, err));
        if (i < first_shared) {
            l->kv_layer = i;
            source[l->attn] = i;
            continue;
        }
        const int from = source[l->attn];
        if (from < 0) {
            return CT_FAIL(err, CARAT_EMODEL, "%s: layer %d shares keys and values but no earlier %s layer owns any", where, i,
                           l->attn == CT_ATTN_FULL ? "full" : "sliding");
        }
        if (c->layer[from].d_head != l->d_head || c->layer[from].n_head_kv != l->n_head_kv) {
            return CT_FAIL(err, CARAT_EMODEL, "%s: layer %d has %d KV heads of %d, its source layer %d has %d of %d", where, i,
                           l->n_head_kv, l->d_head, from, c->layer[from].n_head_kv, c->layer[from].d_head);
        }
        l->kv_layer = from;
    }
    c->embd_scale = sqrtf((float)c->d_model);
    return 0;
}
