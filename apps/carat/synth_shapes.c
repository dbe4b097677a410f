/* Gemma 4's variants and their tensors: see synth_shapes.h. */
#include "synth_shapes.h"

#include <stdio.h>
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

static int fill_config(ct_config *c, const synth_variant *v, carat_error *err) {
    *c = (ct_config){
        .arch = CT_ARCH_GEMMA4, .n_layer = v->n_layer, .d_model = v->d_model, .n_vocab = SYNTH_VOCAB,
        .n_ctx_train = v->n_ctx, .w_swa = v->w_swa, .rms_eps = 1e-6f, .attn_scale = 1.0f, .logit_softcap = 30.0f,
        .v_norm = true, .has_layer_scale = true, .d_ple = v->d_ple, .n_vocab_ple = v->d_ple ? SYNTH_VOCAB : 0,
        .n_expert = v->n_expert, .n_expert_used = v->n_expert_used, .d_ff_expert = v->d_ff_exp,
        .n_kv_shared = v->n_kv_shared,
        .rope = {[CT_ATTN_SLIDING] = {1e4, 1.0, 1.0}, [CT_ATTN_FULL] = {1e6, 1.0, 0.25}},
    };
    for (int i = 0; i < v->n_layer; i++) {
        const bool full = (i + 1) % v->period == 0;
        c->layer[i] = (ct_layer_config){
            .attn = full ? CT_ATTN_FULL : CT_ATTN_SLIDING,
            .n_head = v->n_head,
            .n_head_kv = full ? v->n_head_kv : v->n_head_kv_swa,
            .d_head = full ? D_HEAD : D_HEAD_SWA,
            .d_ff = i < v->n_layer - v->n_kv_shared ? v->d_ff : v->d_ff_shared,
            .v_from_k = full && v->k_eq_v,
        };
    }
    return ct_config_finish(c, v->name, err);
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

static void add_norm(synth_list *l, int layer, cli_layer_tensor t, int64_t n) {
    add(l, layer, cli_gguf_name(t), SYNTH_NORM, n, 0, 0);
}

static void add_matrix(synth_list *l, int layer, cli_layer_tensor t, int64_t d_out, int64_t d_in) {
    add(l, layer, cli_gguf_name(t), SYNTH_MATRIX, d_out, d_in, 0);
}

static void add_attention(synth_list *l, int i) {
    const ct_layer_config *c = &l->config.layer[i];
    const int64_t h = l->config.d_model, q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_head_kv * c->d_head;
    add_norm(l, i, CLI_attn_norm, h);
    add_matrix(l, i, CLI_attn_q, q, h);
    add(l, i, cli_gguf_name(CLI_attn_q_norm), SYNTH_Q_NORM, c->d_head, 0, 0);
    if (c->kv_layer == i) {
        add_matrix(l, i, CLI_attn_k, kv, h);
        add(l, i, cli_gguf_name(CLI_attn_k_norm), SYNTH_K_NORM, c->d_head, 0, 0);
        if (!c->v_from_k) add_matrix(l, i, CLI_attn_v, kv, h);
    }
    add_matrix(l, i, CLI_attn_output, h, q);
    add_norm(l, i, CLI_post_attention_norm, h);
}

static void add_experts(synth_list *l, int i) {
    const int64_t h = l->config.d_model, n = l->config.n_expert, d_ff = l->config.d_ff_expert;
    add(l, i, cli_gguf_name(CLI_ffn_gate_inp), SYNTH_ROUTER, n, h, 0);
    add_norm(l, i, CLI_ffn_gate_inp_scale, h);
    add(l, i, cli_gguf_name(CLI_ffn_gate_up_exps), SYNTH_MATRIX, n, 2 * d_ff, h);
    add(l, i, cli_gguf_name(CLI_ffn_down_exps), SYNTH_MATRIX, n, h, d_ff);
    add_norm(l, i, CLI_ffn_down_exps_scale, n);
    add_norm(l, i, CLI_pre_ffw_norm_2, h);
    add_norm(l, i, CLI_post_ffw_norm_1, h);
    add_norm(l, i, CLI_post_ffw_norm_2, h);
}

static void add_layer(synth_list *l, int i) {
    const ct_config *c = &l->config;
    const int64_t h = c->d_model, d_ff = c->layer[i].d_ff;
    add_attention(l, i);
    add_norm(l, i, CLI_ffn_norm, h);
    add_matrix(l, i, CLI_ffn_gate, d_ff, h);
    add_matrix(l, i, CLI_ffn_up, d_ff, h);
    add_matrix(l, i, CLI_ffn_down, h, d_ff);
    add_norm(l, i, CLI_post_ffw_norm, h);
    if (c->n_expert > 0) add_experts(l, i);
    if (c->d_ple > 0) {
        add_matrix(l, i, CLI_inp_gate, c->d_ple, h);
        add_matrix(l, i, CLI_proj, h, c->d_ple);
        add_norm(l, i, CLI_post_norm, h);
    }
    add(l, i, cli_gguf_name(CLI_layer_output_scale), SYNTH_LAYER_SCALE, 1, 0, 0);
}

int synth_list_tensors(synth_list *l, const synth_variant *v, carat_error *err) {
    CT_TRY(fill_config(&l->config, v, err));
    const ct_config *c = &l->config;
    const int64_t h = c->d_model, ple = (int64_t)c->d_ple * c->n_layer;
    l->n = 0;
    add(l, -1, "rope_freqs.weight", SYNTH_ROPE_FREQS, cli_rope_freqs_len(c), 0, 0);
    add(l, -1, "token_embd.weight", SYNTH_MATRIX, SYNTH_VOCAB, h, 0);
    if (ple > 0) {
        add(l, -1, "per_layer_token_embd.weight", SYNTH_PLE_TABLE, SYNTH_VOCAB, ple, 0);
        add(l, -1, "per_layer_model_proj.weight", SYNTH_MATRIX, ple, h, 0);
        add(l, -1, "per_layer_proj_norm.weight", SYNTH_NORM, c->d_ple, 0, 0);
    }
    for (int i = 0; i < c->n_layer; i++) add_layer(l, i);
    add(l, -1, "output_norm.weight", SYNTH_NORM, h, 0, 0);
    return 0;
}

int64_t synth_n_params(const synth_list *l) {
    int64_t n = 0;
    for (int i = 0; i < l->n; i++) n += l->kind[i] == SYNTH_ROPE_FREQS ? 0 : l->t[i].n_elem;
    return n;
}
