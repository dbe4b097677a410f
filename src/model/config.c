#include "model/config.h"

#include <math.h>
#include <stdio.h>

int ct_config_last_owner(const ct_config *c) {
    int last = 0;
    for (int i = 0; i < c->n_layer; i++) {
        if (c->layer[i].kv_layer == i) last = i;
    }
    return last;
}

/* `what` is the GGUF key's tail and, in brackets, the name in config.json: a message must lead back to the file. */
static int check_range(const char *where, const char *what, double v, double lo, double hi, carat_error *err) {
    /* Written so that NaN fails. */
    if (v >= lo && v <= hi) return 0;
    return CT_FAIL(err, CARAT_EMODEL, "%s: %s is %.9g, expected %.9g to %.9g", where, what, v, lo, hi);
}

static int check_layer(const ct_config *c, int i, const char *where, carat_error *err) {
    const ct_layer_config *l = &c->layer[i];
    char what[96];
#define CHECK(v, name, lo, hi)                                       \
    (void)snprintf(what, sizeof what, name " of layer %d", i);       \
    CT_TRY(check_range(where, what, (double)(v), (lo), (hi), err))
    CHECK(l->n_head, "attention.head_count (num_attention_heads)", 1, 1024);
    CHECK(l->n_head_kv, "attention.head_count_kv (num_key_value_heads)", 1, 1024);
    CHECK(l->d_head, "attention.key_length (head_dim)", 16, 4096);
    CHECK(l->d_ff, "feed_forward_length (intermediate_size)", 1, 1 << 20);
#undef CHECK
    if (l->n_head % l->n_head_kv != 0) {
        return CT_FAIL(err, CARAT_EMODEL,
                       "%s: attention.head_count (num_attention_heads) of layer %d is %d, expected a multiple of its %d KV heads",
                       where, i, l->n_head, l->n_head_kv);
    }
    if (l->d_head % 16 != 0) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: attention.key_length (head_dim) of layer %d is %d, expected a multiple of 16", where,
                       i, l->d_head);
    }
    return 0;
}

/* The products of these bounds are what keeps int and size_t arithmetic elsewhere from overflowing: a row of any layer is
 * below 2^23 values, a table's row below 2^22, a KV cache below 2^63 bytes. */
static int check_sizes(const ct_config *c, const char *where, carat_error *err) {
#define CHECK(v, name, lo, hi) CT_TRY(check_range(where, name, (v), (lo), (hi), err))
    CHECK(c->n_layer, "block_count (num_hidden_layers)", 1, CT_MAX_LAYER);
    CHECK(c->d_model, "embedding_length (hidden_size)", 1, 1 << 17);
    CHECK(c->n_ctx_train, "context_length (max_position_embeddings)", 1, 1 << 30);
    CHECK(c->w_swa, "attention.sliding_window (sliding_window)", 1, 1 << 30);
    CHECK(c->rms_eps, "attention.layer_norm_rms_epsilon (rms_norm_eps)", 0, 1);
    CHECK(c->attn_scale, "attention.scale (query_pre_attn_scalar^-0.5)", 1e-6, 1e6);
    CHECK(c->logit_softcap, "final_logit_softcapping", 0, 1e6);
    CHECK(c->d_ple, "embedding_length_per_layer_input (hidden_size_per_layer_input)", 0, 1 << 14);
    CHECK(c->n_kv_shared, "attention.shared_kv_layers (num_kv_shared_layers)", 0, c->n_layer - 1);
    CHECK(c->n_expert, "expert_count (num_experts)", 0, 4096);
    if (c->n_expert) {
        CHECK(c->n_expert_used, "expert_used_count (top_k_experts)", 1, c->n_expert);
        CHECK(c->d_ff_expert, "expert_feed_forward_length (moe_intermediate_size)", 1, 1 << 20);
    }
    for (int a = 0; a < CT_N_ATTN; a++) {
        CHECK(c->rope[a].theta, a == CT_ATTN_FULL ? "rope.freq_base (rope_theta)" : "rope.freq_base_swa (rope_theta)", 1, 1e12);
        CHECK(c->rope[a].factor, "rope.scaling.factor (rope factor)", 1e-3, 1e6);
        CHECK(c->rope[a].partial, "partial_rotary_factor", 0, 1);
    }
#undef CHECK
    return 0;
}

int ct_config_finish(ct_config *c, const char *where, carat_error *err) {
    CT_TRY(check_sizes(c, where, err));
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
            return CT_FAIL(err, CARAT_EMODEL,
                           "%s: attention.shared_kv_layers (num_kv_shared_layers) is %d, expected to leave a %s layer with keys for "
                           "layer %d to read",
                           where, c->n_kv_shared, l->attn == CT_ATTN_FULL ? "full" : "sliding", i);
        }
        if (c->layer[from].d_head != l->d_head || c->layer[from].n_head_kv != l->n_head_kv) {
            return CT_FAIL(err, CARAT_EMODEL,
                           "%s: layer %d has %d KV heads of %d, expected %d of %d as in layer %d, whose keys it reads", where, i,
                           l->n_head_kv, l->d_head, c->layer[from].n_head_kv, c->layer[from].d_head, from);
        }
        l->kv_layer = from;
    }
    c->embd_scale = sqrtf((float)c->d_model);
    return 0;
}
