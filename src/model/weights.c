#include "model/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"

typedef struct {
    ct_weights *w;
    ct_config *c;
    const ct_source *s;
    ct_arena *arena;
    uint8_t *role;
    carat_error *err;
} binder;

static void format_shape(char *out, size_t size, int rank, const int64_t *shape) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && n < size; i++) {
        n += shape[i] < 0 ? (size_t)snprintf(out + n, size - n, "%sany", i ? ", " : "")
                          : (size_t)snprintf(out + n, size - n, "%s%" PRId64, i ? ", " : "", shape[i]);
    }
    if (n < size) (void)snprintf(out + n, size - n, "]");
}

/* Look a tensor up by name and check its shape. shape entries of -1 accept anything. *out = NULL when absent and
 * optional. Marks its role. */
static int lookup(const binder *b, const ct_tensor **out, const char *name, bool required, int rank, const int64_t *shape,
                  carat_role role) {
    const ct_tensor *t = ct_source_tensor(b->s, name);
    char want[96], have[96];
    *out = NULL;
    if (!t) {
        if (!required) return 0;
        format_shape(want, sizeof want, rank, shape);
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s is missing, expected %s", name, want);
    }
    bool ok = t->rank == rank;
    for (int i = 0; ok && i < rank; i++) ok = shape[i] < 0 || t->shape[i] == shape[i];
    if (!ok) {
        format_shape(want, sizeof want, rank, shape);
        format_shape(have, sizeof have, t->rank, t->shape);
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s has shape %s, expected %s", name, have, want);
    }
    if (t->dtype >= CT_N_WEIGHT_DTYPE) {
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s has type %s, expected a type of weights (F32 … IQ4_XS)", name,
                       ct_dtype_name(t->dtype));
    }
    b->role[t - ct_source_tensor_at(b->s, 0)] = (uint8_t)role;
    *out = t;
    return 0;
}

static int bind_matrix(const binder *b, ct_matrix *m, const char *name, bool required, int64_t d_out, int64_t d_in,
                       int64_t n_expert, carat_role role) {
    const ct_tensor *t;
    const int64_t shape[3] = {n_expert, d_out, d_in};
    const int rank = n_expert ? 3 : 2;
    memset(m, 0, sizeof *m);
    CT_TRY(lookup(b, &t, name, required, rank, shape + 3 - rank, role));
    if (!t) return 0;
    m->dtype = t->dtype;
    m->d_out = t->shape[rank - 2];
    m->d_in = t->shape[rank - 1];
    m->row_bytes = ct_dtype_row_bytes(m->dtype, m->d_in);
    if (!m->row_bytes) {
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s: rows of %" PRId64 " values do not fill blocks of %d (%s)", name, m->d_in,
                       ct_dtype_block_len(m->dtype), ct_dtype_name(m->dtype));
    }
    m->expert_bytes = n_expert ? (size_t)m->d_out * m->row_bytes : 0;
    m->data = t->data;
    m->panels = t->panels;
    return 0;
}

/* A matrix that is used in parts of `part` rows: panels must not straddle their borders. */
static int check_parts(const binder *b, const ct_matrix *m, const char *name, int64_t part) {
    if (!m->panels || part % CT_PANEL_ROWS == 0) return 0;
    return CT_FAIL(b->err, CARAT_EMODEL,
                   "tensor %s lies as panels and is used in parts of %" PRId64 " rows, expected a multiple of %d (carat cut --layout rows)",
                   name, part, CT_PANEL_ROWS);
}

/* f32 copy of a vector; only float types make sense for norms. */
static int bind_vector(const binder *b, const float **out, const char *name, bool required, int64_t n, bool plus_one) {
    const ct_tensor *t;
    *out = NULL;
    CT_TRY(lookup(b, &t, name, required, 1, &n, CARAT_ROLE_NORM));
    if (!t) return 0;
    if (t->dtype != CT_F32 && t->dtype != CT_F16 && t->dtype != CT_BF16) {
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s has type %s, expected F32, F16 or BF16", name, ct_dtype_name(t->dtype));
    }
    float *v = ct_arena_alloc(b->arena, (size_t)n * sizeof *v);
    if (!v) return CT_FAIL(b->err, CARAT_ENOMEM, "tensor %s: out of memory", name);
    for (int64_t i = 0; i < n; i++) {
        float x;
        switch (t->dtype) {
        case CT_F32: memcpy(&x, t->data + 4 * i, 4); break;
        case CT_F16: x = ct_f16_to_f32(ct_load_u16(t->data + 2 * i)); break;
        default: x = ct_bf16_to_f32(ct_load_u16(t->data + 2 * i)); break;
        }
        v[i] = plus_one ? 1.0f + x : x;
    }
    *out = v;
    return 0;
}

/* Full name of a layer's tensor in this source. */
static const char *layer_name(const binder *b, char out[160], int il, const char *gguf, const char *hf) {
    if (b->s->gguf) {
        (void)snprintf(out, 160, "blk.%d.%s", il, gguf);
    } else {
        (void)snprintf(out, 160, "%slayers.%d.%s", b->s->prefix, il, hf ? hf : gguf);
    }
    return out;
}

static const char *top_name(const binder *b, char out[160], const char *gguf, const char *hf) {
    if (b->s->gguf) {
        (void)snprintf(out, 160, "%s", gguf);
    } else {
        (void)snprintf(out, 160, "%s%s", b->s->prefix, hf);
    }
    return out;
}

/* A name of names.def, by field. */
static const struct {
    const char *gguf, *hf;
} names[] = {
#define X(field, kind, gguf, hf) {gguf, hf},
#include "model/names.def"
#undef X
};
enum {
#define X(field, kind, gguf, hf) N_##field,
#include "model/names.def"
#undef X
};

static bool layer_has(const binder *b, int il, int field) {
    char n[160];
    return ct_source_tensor(b->s, layer_name(b, n, il, names[field].gguf, names[field].hf)) != NULL;
}

/* GGUF has no key for K=V layers: a full layer of a Gemma 4 that owns keys and has no attn_v is one (gemma4-spec 3.6).
 * All full layers are, or none: one alone has lost its tensor. */
static int find_v_from_k(const binder *b) {
    ct_config *c = b->c;
    int first = -1;
    if (!b->s->gguf || c->arch != CT_ARCH_GEMMA4) return 0;
    for (int il = 0; il < c->n_layer; il++) {
        ct_layer_config *l = &c->layer[il];
        if (l->kv_layer != il || l->attn != CT_ATTN_FULL) continue;
        l->v_from_k = !layer_has(b, il, N_attn_v);
        if (first < 0) first = il;
        if (l->v_from_k != c->layer[first].v_from_k) {
            return CT_FAIL(b->err, CARAT_EMODEL,
                           "tensor blk.%d.attn_v.weight is missing, expected one in all full layers or in none",
                           l->v_from_k ? il : first);
        }
    }
    return 0;
}

#define NAME(field) layer_name(b, n, il, names[N_##field].gguf, names[N_##field].hf)
#define VEC(field, len, plus) CT_TRY(bind_vector(b, &w->field, NAME(field), true, (len), (plus)))
#define MATRIX(field, d_out, d_in, role) CT_TRY(bind_matrix(b, &w->field, NAME(field), true, (d_out), (d_in), 0, (role)))

static int bind_attention(const binder *b, int il) {
    const ct_config *c = b->c;
    const ct_layer_config *l = &c->layer[il];
    ct_layer_weights *w = &b->w->layer[il];
    const int64_t d = c->d_model, q = (int64_t)l->n_head * l->d_head, kv = (int64_t)l->n_head_kv * l->d_head;
    const bool p1 = c->norm_plus_one;
    char n[160];
    VEC(attn_norm, d, p1);
    VEC(attn_q_norm, l->d_head, p1);
    VEC(post_attention_norm, d, p1);
    MATRIX(attn_q, q, d, CARAT_ROLE_ATTENTION);
    MATRIX(attn_output, d, q, CARAT_ROLE_ATTENTION);
    if (l->kv_layer != il) return 0;
    VEC(attn_k_norm, l->d_head, p1);
    MATRIX(attn_k, kv, d, CARAT_ROLE_ATTENTION);
    if (!l->v_from_k) MATRIX(attn_v, kv, d, CARAT_ROLE_ATTENTION);
    return 0;
}

static int bind_dense(const binder *b, int il) {
    const ct_config *c = b->c;
    ct_layer_weights *w = &b->w->layer[il];
    const int64_t d = c->d_model, ff = c->layer[il].d_ff;
    char n[160];
    VEC(ffn_norm, d, c->norm_plus_one);
    VEC(post_ffw_norm, d, c->norm_plus_one);
    MATRIX(ffn_gate, ff, d, CARAT_ROLE_MLP);
    MATRIX(ffn_up, ff, d, CARAT_ROLE_MLP);
    MATRIX(ffn_down, d, ff, CARAT_ROLE_MLP);
    if (c->has_layer_scale) VEC(layer_output_scale, 1, false);
    if (!c->d_ple) return 0;
    MATRIX(inp_gate, c->d_ple, d, CARAT_ROLE_PLE_PROJ);
    MATRIX(proj, d, c->d_ple, CARAT_ROLE_PLE_PROJ);
    VEC(post_norm, d, false);
    return 0;
}

static int bind_experts(const binder *b, int il) {
    const ct_config *c = b->c;
    ct_layer_weights *w = &b->w->layer[il];
    const int64_t d = c->d_model, ff = c->d_ff_expert, n_e = c->n_expert;
    char n[160];
    MATRIX(ffn_gate_inp, n_e, d, CARAT_ROLE_ROUTER);
    VEC(ffn_gate_inp_scale, d, false);
    VEC(ffn_down_exps_scale, n_e, false);
    VEC(post_ffw_norm_1, d, false);
    VEC(pre_ffw_norm_2, d, false);
    VEC(post_ffw_norm_2, d, false);
    CT_TRY(bind_matrix(b, &w->ffn_down_exps, NAME(ffn_down_exps), true, d, ff, n_e, CARAT_ROLE_EXPERTS));
    /* Gate and up fused in one tensor (rows [0, ff) gate, [ff, 2 ff) up) or, in a GGUF, apart. Seen as two stacks. */
    ct_matrix fused;
    const bool apart = b->s->gguf && layer_has(b, il, N_ffn_gate_exps);
    CT_TRY(bind_matrix(b, &fused, NAME(ffn_gate_up_exps), !apart, 2 * ff, d, n_e, CARAT_ROLE_EXPERTS));
    if (fused.data) {
        CT_TRY(check_parts(b, &fused, NAME(ffn_gate_up_exps), ff));
        fused.d_out = ff;
        w->ffn_gate_exps = w->ffn_up_exps = fused;
        w->ffn_up_exps.data += (size_t)ff * fused.row_bytes;
        return 0;
    }
    CT_TRY(bind_matrix(b, &w->ffn_gate_exps, NAME(ffn_gate_exps), true, ff, d, n_e, CARAT_ROLE_EXPERTS));
    return bind_matrix(b, &w->ffn_up_exps, NAME(ffn_up_exps), true, ff, d, n_e, CARAT_ROLE_EXPERTS);
}
#undef NAME
#undef VEC
#undef MATRIX

/* The layer and the rest of the name of a layer's tensor; false for other tensors. */
static bool split_layer_name(const binder *b, const char *name, int *il, const char **rest) {
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "%s%s", b->s->gguf ? "" : b->s->prefix, b->s->gguf ? "blk." : "layers.");
    const size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0) return false;
    const char *p = name + n;
    for (*il = 0; *p >= '0' && *p <= '9' && *il <= CT_MAX_LAYER; p++) *il = *il * 10 + (*p - '0');
    if (p == name + n || *p != '.') *il = CT_MAX_LAYER; /* "blk.x": nobody's */
    *rest = *p == '.' ? p + 1 : p;
    return true;
}

/* May a layer have this tensor although nothing reads it? First releases hold keys and values of layers that share
 * theirs (gemma4-spec 3.2); a folder may hold the V projection that its K=V layers do not use. */
static bool is_redundant(const binder *b, int il, const char *rest) {
    static const int of_owners[] = {N_attn_k, N_attn_v, N_attn_k_norm};
    if (il >= b->c->n_layer) return false;
    const ct_layer_config *l = &b->c->layer[il];
    for (size_t i = 0; i < sizeof of_owners / sizeof *of_owners; i++) {
        const char *name = b->s->gguf ? names[of_owners[i]].gguf : names[of_owners[i]].hf;
        if (strcmp(rest, name) == 0) return l->kv_layer != il || (of_owners[i] == N_attn_v && l->v_from_k);
    }
    return strcmp(rest, "self_attn.rotary_emb.inv_freq") == 0; /* a table old exporters stored */
}

/* A layer's tensor that nothing read means that the configuration describes another model than the file holds: biases,
 * experts of a "dense" model, more layers than counted. Computing on would give other numbers than the file means. */
static int refuse_strangers(const binder *b) {
    for (size_t i = 0; i < ct_source_n_tensor(b->s); i++) {
        const ct_tensor *t = ct_source_tensor_at(b->s, i);
        int il;
        const char *rest;
        if (b->role[i] != CARAT_ROLE_UNUSED || !split_layer_name(b, t->name, &il, &rest) || is_redundant(b, il, rest)) continue;
        return CT_FAIL(b->err, CARAT_EMODEL,
                       "tensor %.120s is not expected in the model of %d layers that the configuration describes", t->name,
                       b->c->n_layer);
    }
    return 0;
}

/* inv_freq of one kind, in f32 exactly as transformers computes it (1 / theta^(2i/d) rounded step by step: at position
 * 33,000 one ulp of inv_freq is 0.002 radians). A GGUF's rope_freqs.weight divides the full layers' frequencies;
 * entries of 1e30 mean "does not turn" (gemma4-spec 2.7). */
static int make_rope(const binder *b, ct_attn_kind kind, int d_head) {
    const ct_rope_config *rope = &b->c->rope[kind];
    const int n_pair = d_head / 2;
    const float *divisor = NULL;
    int n_rot = (int)(rope->partial * n_pair);
    if (kind == CT_ATTN_FULL && b->s->gguf && ct_source_tensor(b->s, "rope_freqs.weight")) {
        CT_TRY(bind_vector(b, &divisor, "rope_freqs.weight", false, n_pair, false));
        n_rot = 0;
        for (int i = 0; i < n_pair; i++) {
            if (!(divisor[i] >= 1e-6f)) {
                return CT_FAIL(b->err, CARAT_EMODEL, "tensor rope_freqs.weight[%d] is %g, expected at least 1e-6", i,
                               (double)divisor[i]);
            }
            if (divisor[i] < 1e29f) n_rot = i + 1;
        }
    }
    float *inv = ct_arena_alloc(b->arena, (size_t)(n_rot ? n_rot : 1) * sizeof *inv);
    if (!inv) return CT_FAIL(b->err, CARAT_ENOMEM, "rope table: out of memory");
    for (int i = 0; i < n_rot; i++) {
        const float exponent = (float)(2 * i) / (float)d_head;
        inv[i] = 1.0f / (float)pow(rope->theta, (double)exponent);
        inv[i] /= (float)rope->factor;
        if (divisor) inv[i] /= divisor[i];
    }
    b->w->rope_inv_freq[kind] = inv;
    b->w->n_rot[kind] = n_rot;
    return 0;
}

static int bind_ropes(const binder *b) {
    for (int kind = 0; kind < CT_N_ATTN; kind++) {
        int d_head = 0;
        for (int i = 0; i < b->c->n_layer; i++) {
            const ct_layer_config *l = &b->c->layer[i];
            if (l->attn != (ct_attn_kind)kind) continue;
            if (d_head && d_head != l->d_head) {
                return CT_FAIL(b->err, CARAT_EMODEL, "head dimension of layer %d is %d, expected %d as in other %s layers", i,
                               l->d_head, d_head, kind == CT_ATTN_FULL ? "full" : "sliding");
            }
            d_head = l->d_head;
        }
        if (d_head) CT_TRY(make_rope(b, (ct_attn_kind)kind, d_head));
    }
    return 0;
}

/* Towers of the checkpoint belong to the ledger even while nothing reads them. */
static void mark_towers(const binder *b) {
    for (size_t i = 0; i < ct_source_n_tensor(b->s); i++) {
        const char *n = ct_source_tensor_at(b->s, i)->name;
        if (strstr(n, "vision_tower.") || strstr(n, "embed_vision.") || strstr(n, "multi_modal_projector.")) {
            b->role[i] = CARAT_ROLE_VISION;
        }
        if (strstr(n, "audio_tower.") || strstr(n, "embed_audio.")) b->role[i] = CARAT_ROLE_AUDIO;
    }
}

/* Embedding, output head, final norm. */
static int bind_ends(const binder *b) {
    ct_weights *w = b->w;
    ct_config *c = b->c;
    char n[160];
    CT_TRY(bind_matrix(b, &w->token_embd, top_name(b, n, "token_embd.weight", "embed_tokens.weight"), true,
                       c->n_vocab ? c->n_vocab : -1, c->d_model, 0, CARAT_ROLE_TOKEN_EMBD));
    if (w->token_embd.d_out < 1 || w->token_embd.d_out > 1 << 26) {
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s has %" PRId64 " rows, expected 1 to %d", n, w->token_embd.d_out, 1 << 26);
    }
    c->n_vocab = (int)w->token_embd.d_out;
    if (c->tied != CT_TIED) {
        /* Folders keep the head beside the text model, under the part of the prefix that names what holds both. */
        const char *nested = strcmp(b->s->prefix, "language_model.model.") == 0 ? "language_model.lm_head.weight" : "lm_head.weight";
        CT_TRY(bind_matrix(b, &w->output, b->s->gguf ? "output.weight" : nested, c->tied == CT_UNTIED, c->n_vocab, c->d_model, 0,
                           CARAT_ROLE_OUTPUT));
    }
    w->tied = w->output.data == NULL;
    if (w->tied) w->output = w->token_embd;
    return bind_vector(b, &w->output_norm, top_name(b, n, "output_norm.weight", "norm.weight"), true, c->d_model, c->norm_plus_one);
}

/* What the per-layer embeddings have outside the layers. */
static int bind_ple(const binder *b) {
    ct_weights *w = b->w;
    ct_config *c = b->c;
    const int64_t row = (int64_t)c->n_layer * c->d_ple;
    char n[160];
    CT_TRY(bind_matrix(b, &w->per_layer_token_embd, top_name(b, n, "per_layer_token_embd.weight", "embed_tokens_per_layer.weight"),
                       true, c->n_vocab_ple ? c->n_vocab_ple : -1, row, 0, CARAT_ROLE_PLE_TABLE));
    /* More rows than tokens do no harm: they are never read. */
    if (w->per_layer_token_embd.d_out < c->n_vocab) {
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s has %" PRId64 " rows, expected one for each of %d tokens", n,
                       w->per_layer_token_embd.d_out, c->n_vocab);
    }
    if (w->per_layer_token_embd.panels) {
        return CT_FAIL(b->err, CARAT_EMODEL, "tensor %s lies as panels, expected rows: they are read one by one (carat cut --layout rows)", n);
    }
    CT_TRY(bind_matrix(b, &w->per_layer_model_proj,
                       top_name(b, n, "per_layer_model_proj.weight", "per_layer_model_projection.weight"), true, row, c->d_model, 0,
                       CARAT_ROLE_PLE_PROJ));
    CT_TRY(check_parts(b, &w->per_layer_model_proj, n, c->d_ple));
    return bind_vector(b, &w->per_layer_proj_norm,
                       top_name(b, n, "per_layer_proj_norm.weight", "per_layer_projection_norm.weight"), true, c->d_ple, false);
}

int ct_weights_bind(ct_weights *w, ct_config *c, const ct_source *s, ct_arena *arena, uint8_t *role, carat_error *err) {
    memset(w, 0, sizeof *w);
    const binder b = {w, c, s, arena, role, err};
    memset(role, CARAT_ROLE_UNUSED, ct_source_n_tensor(s));
    mark_towers(&b);
    w->layer = ct_arena_alloc(arena, (size_t)c->n_layer * sizeof *w->layer);
    if (!w->layer) return CT_FAIL(err, CARAT_ENOMEM, "weights: out of memory");
    CT_TRY(bind_ends(&b));
    if (c->d_ple) CT_TRY(bind_ple(&b));
    CT_TRY(find_v_from_k(&b));
    for (int il = 0; il < c->n_layer; il++) {
        CT_TRY(bind_attention(&b, il));
        CT_TRY(bind_dense(&b, il));
        if (c->n_expert) CT_TRY(bind_experts(&b, il));
    }
    CT_TRY(bind_ropes(&b));
    return refuse_strangers(&b);
}
