/* Gemma 4's variants and their tensors: see synth_shapes.h. */
#include "synth_shapes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { D_HEAD_SWA = 256, D_HEAD = 512 };

static const synth_variant variants[] = {
    {.name = "e2b", .title = "Gemma 4 E2B synthetic", .label = "4.6B",
     .n_layer = 35, .d_model = 1536, .n_ctx = 131072, .w_swa = 512, .period = 5,
     .n_head = 8, .n_head_kv_swa = 1, .n_head_kv = 1, .d_ff = 6144, .d_ff_shared = 12288,
     .n_kv_shared = 20, .d_ple = 256},
    {.name = "e4b", .title = "Gemma 4 E4B synthetic", .label = "7.5B",
     .n_layer = 42, .d_model = 2560, .n_ctx = 131072, .w_swa = 512, .period = 6,
     .n_head = 8, .n_head_kv_swa = 2, .n_head_kv = 2, .d_ff = 10240, .d_ff_shared = 10240,
     .n_kv_shared = 18, .d_ple = 256},
    {.name = "31b", .title = "Gemma 4 31B synthetic", .label = "31B",
     .n_layer = 60, .d_model = 5376, .n_ctx = 262144, .w_swa = 1024, .period = 6,
     .n_head = 32, .n_head_kv_swa = 16, .n_head_kv = 4, .d_ff = 21504, .k_eq_v = true},
    {.name = "26b-a4b", .title = "Gemma 4 26B-A4B synthetic", .label = "128x2.6B",
     .n_layer = 30, .d_model = 2816, .n_ctx = 262144, .w_swa = 1024, .period = 6,
     .n_head = 16, .n_head_kv_swa = 8, .n_head_kv = 2, .d_ff = 2112, .k_eq_v = true,
     .n_expert = 128, .n_expert_used = 8, .d_ff_exp = 704},
};
enum { N_VARIANT = sizeof variants / sizeof *variants };

const synth_variant *synth_variant_at(int i) { return i >= 0 && i < N_VARIANT ? &variants[i] : NULL; }

const synth_variant *synth_variant_find(const char *name) {
    for (int i = 0; i < N_VARIANT; i++) {
        if (strcasecmp(name, variants[i].name) == 0) return &variants[i];
    }
    return NULL;
}

bool synth_is_sliding(const synth_variant *v, int layer) { return (layer + 1) % v->period != 0; }

static bool shares_kv(const synth_variant *v, int layer) { return layer >= v->n_layer - v->n_kv_shared; }

void synth_fill_keys(cli_gemma_keys *k, const synth_variant *v) {
    memset(k, 0, sizeof *k);
    k->arch = "gemma4";
    k->n_layer = v->n_layer, k->d_model = v->d_model, k->n_ctx = v->n_ctx, k->n_head = v->n_head;
    for (int i = 0; i < v->n_layer; i++) {
        k->sliding[i] = synth_is_sliding(v, i);
        k->n_head_kv[i] = k->sliding[i] ? v->n_head_kv_swa : v->n_head_kv;
        k->d_ff[i] = shares_kv(v, i) ? v->d_ff_shared : v->d_ff;
    }
    k->d_head = D_HEAD, k->d_head_swa = D_HEAD_SWA;
    k->w_swa = v->w_swa, k->n_kv_shared = v->n_kv_shared, k->d_ple = v->d_ple;
    k->n_expert = v->n_expert, k->n_expert_used = v->n_expert_used, k->d_ff_exp = v->d_ff_exp;
    k->eps = 1e-6f, k->rope_base = 1e6f, k->rope_base_swa = 1e4f, k->softcap = 30.0f;
}

/* ---- the list ----------------------------------------------------------------------------------------- */

/* Append a tensor [d0], [d0, d1] or [d0, d1, d2] (0 = no such dimension); layer >= 0 puts "blk.N." before the name. */
static void add(synth_list *l, int layer, const char *name, synth_kind kind, int64_t d0, int64_t d1, int64_t d2) {
    const int i = l->n++;
    if (layer < 0) snprintf(l->name[i], sizeof l->name[i], "%s", name);
    else snprintf(l->name[i], sizeof l->name[i], "blk.%d.%s", layer, name);
    const int rank = d2 ? 3 : d1 ? 2 : 1;
    l->t[i] = (ct_tensor){.name = l->name[i], .rank = rank, .shape = {d0, d1 ? d1 : 1, d2 ? d2 : 1, 1}};
    l->t[i].n_elem = d0 * l->t[i].shape[1] * l->t[i].shape[2];
    l->kind[i] = kind;
    l->layer[i] = layer;
}

static void add_norm(synth_list *l, int layer, const char *name, int64_t n) {
    add(l, layer, name, SYNTH_NORM, n, 0, 0);
}

static void add_matrix(synth_list *l, int layer, const char *name, int64_t d_out, int64_t d_in) {
    add(l, layer, name, SYNTH_MATRIX, d_out, d_in, 0);
}

static void add_attention(synth_list *l, const synth_variant *v, int i) {
    const bool sliding = synth_is_sliding(v, i);
    const int64_t h = v->d_model, d_head = sliding ? D_HEAD_SWA : D_HEAD;
    const int64_t q = v->n_head * d_head, kv = (sliding ? v->n_head_kv_swa : v->n_head_kv) * d_head;
    add_norm(l, i, "attn_norm.weight", h);
    add_matrix(l, i, "attn_q.weight", q, h);
    add(l, i, "attn_q_norm.weight", SYNTH_Q_NORM, d_head, 0, 0);
    if (!shares_kv(v, i)) {
        add_matrix(l, i, "attn_k.weight", kv, h);
        add(l, i, "attn_k_norm.weight", SYNTH_K_NORM, d_head, 0, 0);
        if (sliding || !v->k_eq_v) add_matrix(l, i, "attn_v.weight", kv, h);
    }
    add_matrix(l, i, "attn_output.weight", h, q);
    add_norm(l, i, "post_attention_norm.weight", h);
}

static void add_experts(synth_list *l, const synth_variant *v, int i) {
    const int64_t h = v->d_model;
    add(l, i, "ffn_gate_inp.weight", SYNTH_ROUTER, v->n_expert, h, 0);
    add_norm(l, i, "ffn_gate_inp.scale", h);
    add(l, i, "ffn_gate_up_exps.weight", SYNTH_MATRIX, v->n_expert, 2 * (int64_t)v->d_ff_exp, h);
    add(l, i, "ffn_down_exps.weight", SYNTH_MATRIX, v->n_expert, h, v->d_ff_exp);
    add_norm(l, i, "ffn_down_exps.scale", v->n_expert);
    add_norm(l, i, "pre_ffw_norm_2.weight", h);
    add_norm(l, i, "post_ffw_norm_1.weight", h);
    add_norm(l, i, "post_ffw_norm_2.weight", h);
}

static void add_layer(synth_list *l, const synth_variant *v, int i) {
    const int64_t h = v->d_model, d_ff = shares_kv(v, i) ? v->d_ff_shared : v->d_ff;
    add_attention(l, v, i);
    add_norm(l, i, "ffn_norm.weight", h);
    add_matrix(l, i, "ffn_gate.weight", d_ff, h);
    add_matrix(l, i, "ffn_up.weight", d_ff, h);
    add_matrix(l, i, "ffn_down.weight", h, d_ff);
    add_norm(l, i, "post_ffw_norm.weight", h);
    if (v->n_expert > 0) add_experts(l, v, i);
    if (v->d_ple > 0) {
        add_matrix(l, i, "inp_gate.weight", v->d_ple, h);
        add_matrix(l, i, "proj.weight", h, v->d_ple);
        add_norm(l, i, "post_norm.weight", h);
    }
    add(l, i, "layer_output_scale.weight", SYNTH_LAYER_SCALE, 1, 0, 0);
}

void synth_list_tensors(synth_list *l, const synth_variant *v) {
    const int64_t h = v->d_model, ple = (int64_t)v->d_ple * v->n_layer;
    l->n = 0;
    add(l, -1, "rope_freqs.weight", SYNTH_ROPE_FREQS, D_HEAD / 2, 0, 0);
    add_matrix(l, -1, "token_embd.weight", SYNTH_VOCAB, h);
    if (ple > 0) {
        add(l, -1, "per_layer_token_embd.weight", SYNTH_PLE_TABLE, SYNTH_VOCAB, ple, 0);
        add_matrix(l, -1, "per_layer_model_proj.weight", ple, h);
        add_norm(l, -1, "per_layer_proj_norm.weight", v->d_ple);
    }
    for (int i = 0; i < v->n_layer; i++) add_layer(l, v, i);
    add_norm(l, -1, "output_norm.weight", h);
}

int64_t synth_n_params(const synth_list *l) {
    int64_t n = 0;
    for (int i = 0; i < l->n; i++) n += l->kind[i] == SYNTH_ROPE_FREQS ? 0 : l->t[i].n_elem;
    return n;
}
