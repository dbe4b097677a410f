/* Tensors of a Hugging Face folder under their GGUF names, in the order of a GGUF: first what belongs to no layer, then
 * layer by layer. REF: gemma4-spec 3.2, 3.6. Vision and audio towers are left out, as are keys and values of layers
 * that use another layer's. A name that is not known is an error: leaving it out would make a different model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cut_source.h"

typedef struct {
    const char *hf, *gguf;
} pair;

static const pair outside[] = {
    {"embed_tokens.weight", "token_embd.weight"},
    {"embed_tokens_per_layer.weight", "per_layer_token_embd.weight"},
    {"per_layer_model_projection.weight", "per_layer_model_proj.weight"},
    {"per_layer_projection_norm.weight", "per_layer_proj_norm.weight"},
    {"norm.weight", "output_norm.weight"},
};

/* Of a layer; the first three only where it owns keys and values. */
enum { N_OWNED = 3 };
static const pair inside[] = {
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    {"router.proj.weight", "ffn_gate_inp.weight"},
    {"router.scale", "ffn_gate_inp.scale"},
    {"router.per_expert_scale", "ffn_down_exps.scale"},
    {"experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"experts.down_proj", "ffn_down_exps.weight"},
    {"pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight"},
    {"post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight"},
    {"post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight"},
    {"per_layer_input_gate.weight", "inp_gate.weight"},
    {"per_layer_projection.weight", "proj.weight"},
    {"post_per_layer_input_norm.weight", "post_norm.weight"},
    {"layer_scalar", "layer_output_scale.weight"},
};

static const char *const other_modalities[] = {
    "vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.", "multi_modal_projector.",
};

/* One tensor to be written, and where it goes. */
typedef struct {
    const ct_tensor *from;
    int layer, at; /* layer -1 = outside */
    const char *gguf;
} entry;

static bool starts_with(const char *s, const char *start) { return strncmp(s, start, strlen(start)) == 0; }

static int index_of(const pair *p, size_t n, const char *hf) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(p[i].hf, hf) == 0) return (int)i;
    }
    return -1;
}

static const char *without_prefix(const char *name) {
    static const char *const prefix[] = {"model.language_model.", "language_model.model.", "model."};
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++) {
        if (starts_with(name, prefix[i])) return name + strlen(prefix[i]);
    }
    return name;
}

/* "layers.12.rest" to 12 and "rest"; -1 for names of another form. */
static int split_layer(const char *name, const char **rest) {
    if (!starts_with(name, "layers.") || name[7] < '0' || name[7] > '9') return -1;
    char *end;
    const long layer = strtol(name + 7, &end, 10);
    if (*end != '.' || layer >= CLI_MAX_LAYER) return -1;
    *rest = end + 1;
    return (int)layer;
}

/* Where tensor `from` goes. *keep = false: nowhere, and that is right. */
static int place(entry *e, bool *keep, const cut_source *s, const ct_tensor *from, bool tied, carat_error *err) {
    const char *name = without_prefix(from->name), *rest = NULL;
    *e = (entry){.from = from, .layer = split_layer(name, &rest)};
    *keep = true;
    for (size_t i = 0; i < sizeof other_modalities / sizeof *other_modalities; i++) {
        if (starts_with(name, other_modalities[i])) *keep = false;
    }
    const bool head = strcmp(name, "lm_head.weight") == 0 || strcmp(name, "language_model.lm_head.weight") == 0;
    if (head && tied) *keep = false;
    if (!*keep) return 0;
    if (head) {
        e->at = (int)(sizeof outside / sizeof *outside);
        e->gguf = "output.weight";
        return 0;
    }
    const bool in_layer = e->layer >= 0 && e->layer < s->keys.n_layer;
    e->at = in_layer ? index_of(inside, sizeof inside / sizeof *inside, rest)
                     : index_of(outside, sizeof outside / sizeof *outside, name);
    if (e->at < 0) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: tensor %.120s is not known (%d layers)", s->path, from->name,
                       (int)s->keys.n_layer);
    }
    e->gguf = in_layer ? inside[e->at].gguf : outside[e->at].gguf;
    if (in_layer && e->at < N_OWNED) *keep = e->layer < s->keys.n_layer - s->keys.n_kv_shared;
    return 0;
}

static int by_place(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : x->at - y->at;
}

static bool is_norm(const char *hf) {
    const size_t n = strlen(hf), m = strlen("norm.weight");
    return n >= m && strcmp(hf + n - m, "norm.weight") == 0;
}

static int add_entry(cut_source *s, const entry *e, carat_error *err) {
    char name[64];
    if (e->layer < 0) snprintf(name, sizeof name, "%s", e->gguf);
    else snprintf(name, sizeof name, "blk.%d.%s", e->layer, e->gguf);
    ct_tensor *t = &s->t[s->n];
    *t = *e->from;
    t->name = ct_arena_strdup_n(&s->arena, name, strlen(name));
    if (!t->name) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for tensor names", s->path);
    if (t->rank == 0) t->rank = 1; /* a scalar is a vector of one */
    s->from[s->n] = e->from;
    s->plus_one[s->n] = strcmp(s->keys.arch, "gemma3") == 0 && is_norm(e->from->name);
    s->n++;
    return 0;
}

/* rope_freqs.weight says which pairs of the global layers turn; no checkpoint stores it. */
static void add_rope_freqs(cut_source *s) {
    const int64_t n = s->keys.d_head / 2;
    s->t[s->n] = (ct_tensor){.name = "rope_freqs.weight", .rank = 1, .shape = {n, 1, 1, 1}, .n_elem = n};
    s->n++;
}

int hf_list_tensors(cut_source *s, bool tied, carat_error *err) {
    const size_t n_from = ct_safetensors_n_tensor(s->st);
    CT_TRY(cut_source_alloc(s, n_from + 1, err));
    entry *list = ct_alloc_array(n_from, sizeof *list);
    if (!list) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for a list of %zu tensors", s->path, n_from);
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < n_from && rc == 0; i++) {
        bool keep;
        rc = place(&list[n], &keep, s, ct_safetensors_tensor_at(s->st, i), tied, err);
        if (keep) n++;
        else s->n_left_out++;
    }
    if (rc == 0) {
        qsort(list, n, sizeof *list, by_place);
        if (strcmp(s->keys.arch, "gemma4") == 0) add_rope_freqs(s);
    }
    for (size_t i = 0; i < n && rc == 0; i++) rc = add_entry(s, &list[i], err);
    ct_free(list);
    return rc;
}
