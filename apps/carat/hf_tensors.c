/* Tensors of a Hugging Face folder under their GGUF names, in the order of a GGUF: first what belongs to no layer, then
 * layer by layer. Written is what the library reads of the folder; vision and audio towers, and what nothing reads, are
 * left out. That the folder holds no stranger was checked when it was opened. */
#include <stdio.h>
#include <string.h>

#include "cut_source.h"

static const struct {
    const char *gguf, *hf;
} outside[] = {
    {"token_embd.weight", "embed_tokens.weight"},
    {"per_layer_token_embd.weight", "embed_tokens_per_layer.weight"},
    {"per_layer_model_proj.weight", "per_layer_model_projection.weight"},
    {"per_layer_proj_norm.weight", "per_layer_projection_norm.weight"},
    {"output_norm.weight", "norm.weight"},
};

/* Of a layer. Readers go by name; the order is kept so that a model gives the same file in every version. */
static const uint8_t order[] = {
    CLI_attn_k, CLI_attn_k_norm, CLI_attn_v, CLI_attn_norm, CLI_attn_q, CLI_attn_q_norm, CLI_attn_output,
    CLI_post_attention_norm, CLI_ffn_norm, CLI_ffn_gate, CLI_ffn_up, CLI_ffn_down, CLI_post_ffw_norm, CLI_ffn_gate_inp,
    CLI_ffn_gate_inp_scale, CLI_ffn_down_exps_scale, CLI_ffn_gate_up_exps, CLI_ffn_down_exps, CLI_pre_ffw_norm_2,
    CLI_post_ffw_norm_1, CLI_post_ffw_norm_2, CLI_inp_gate, CLI_proj, CLI_post_norm, CLI_layer_output_scale,
};
_Static_assert(sizeof order == CLI_N_LAYER_TENSOR - 2, "every row of names.def but gate and up of experts apart");

static bool is_read(carat_role r) {
    return r != CARAT_ROLE_VISION && r != CARAT_ROLE_AUDIO && r != CARAT_ROLE_UNUSED;
}

/* A known name, if the folder has it and something reads it. */
static int place(cut_source *s, const char *hf, const char *gguf, carat_error *err) {
    const ct_source *src = &s->model.source;
    const ct_tensor *from = ct_source_tensor(src, hf);
    if (!from) return 0;
    const carat_role role = (carat_role)s->model.role[from - ct_source_tensor_at(src, 0)];
    if (!is_read(role)) return 0;
    ct_tensor *t = &s->t[s->n];
    *t = *from;
    t->name = ct_arena_strdup_n(&s->arena, gguf, strlen(gguf));
    if (!t->name) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for tensor names", s->path);
    s->from[s->n] = from;
    s->plus_one[s->n] = s->model.config.norm_plus_one && role == CARAT_ROLE_NORM;
    s->n++;
    return 0;
}

static int place_outside(cut_source *s, carat_error *err) {
    char hf[160];
    for (size_t k = 0; k < sizeof outside / sizeof *outside; k++) {
        (void)snprintf(hf, sizeof hf, "%s%s", s->model.source.prefix, outside[k].hf);
        CT_TRY(place(s, hf, outside[k].gguf, err));
    }
    CT_TRY(place(s, "lm_head.weight", "output.weight", err));
    return place(s, "language_model.lm_head.weight", "output.weight", err);
}

static int place_layer(cut_source *s, int il, carat_error *err) {
    char hf[160], gguf[64];
    for (size_t k = 0; k < sizeof order; k++) {
        (void)snprintf(hf, sizeof hf, "%slayers.%d.%s", s->model.source.prefix, il, cli_hf_name(order[k]));
        (void)snprintf(gguf, sizeof gguf, "blk.%d.%s", il, cli_gguf_name(order[k]));
        CT_TRY(place(s, hf, gguf, err));
    }
    return 0;
}

/* rope_freqs.weight says which pairs of the full layers turn; no checkpoint stores it. */
static void add_rope_freqs(cut_source *s) {
    const int64_t n = cli_rope_freqs_len(&s->model.config);
    s->t[s->n] = (ct_tensor){.name = "rope_freqs.weight", .rank = 1, .shape = {n, 1, 1, 1}, .n_elem = n};
    s->n++;
}

/* What the library reads must all be there: a name that it learnt and that is not known here must not be lost. */
static int count_left_out(cut_source *s, carat_error *err) {
    for (size_t i = 0; i < ct_source_n_tensor(&s->model.source); i++) {
        const ct_tensor *t = ct_source_tensor_at(&s->model.source, i);
        size_t k = 0;
        while (k < s->n && s->from[k] != t) k++;
        if (k < s->n) continue;
        if (is_read((carat_role)s->model.role[i])) {
            return CT_FAIL(err, CARAT_EUNSUPPORTED, "%s: tensor %.120s has no name in a GGUF", s->path, t->name);
        }
        s->n_left_out++;
    }
    return 0;
}

int hf_list_tensors(cut_source *s, carat_error *err) {
    const ct_config *c = &s->model.config;
    CT_TRY(cut_source_alloc(s, ct_source_n_tensor(&s->model.source) + 1, err));
    if (c->arch == CT_ARCH_GEMMA4) add_rope_freqs(s);
    CT_TRY(place_outside(s, err));
    for (int il = 0; il < c->n_layer; il++) CT_TRY(place_layer(s, il, err));
    return count_left_out(s, err);
}
