/* Hyperparameters from a Hugging Face config.json, with the defaults of transformers' configuration classes. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"

typedef struct {
    ct_json_val text;
    const char *where;
    carat_error *err;
    int rc; /* first failure; later reads do nothing */
} reader;

/* What a value is, for messages. */
static const char *show(ct_json_val v) {
    int64_t i;
    double d;
    bool b;
    if (ct_json_is_object(v)) return "an object";
    if (ct_json_is_array(v)) return "a list";
    if (ct_json_str(v, NULL)) return "a string";
    if (ct_json_bool(v, &b)) return b ? "true" : "false";
    if (ct_json_i64(v, &i)) return i < 0 ? "negative" : "too large";
    return ct_json_f64(v, &d) ? "a fraction or too large" : "null";
}

/* Integer of obj; null and absent give def; def < 0 means required. */
static int get_int(reader *r, ct_json_val obj, const char *key, int def) {
    ct_json_val v = ct_json_get(obj, key);
    int64_t x;
    if (r->rc) return 0;
    if (!v || ct_json_is_null(v)) {
        if (def < 0) r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is missing, expected an integer", r->where, key);
        return def;
    }
    if (!ct_json_i64(v, &x) || x < 0 || x > INT_MAX) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is %s, expected an integer of 0 to %d", r->where, key, show(v), INT_MAX);
        return 0;
    }
    return (int)x;
}

static double get_float(reader *r, ct_json_val obj, const char *key, double def) {
    ct_json_val v = ct_json_get(obj, key);
    double x;
    if (r->rc || !v || ct_json_is_null(v)) return def;
    if (!ct_json_f64(v, &x)) r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is %s, expected a number", r->where, key, show(v));
    return r->rc ? def : x;
}

static bool get_bool(reader *r, ct_json_val obj, const char *key, bool def) {
    ct_json_val v = ct_json_get(obj, key);
    bool x;
    if (r->rc || !v || ct_json_is_null(v)) return def;
    if (!ct_json_bool(v, &x)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is %s, expected true or false", r->where, key, show(v));
    }
    return r->rc ? def : x;
}

/* Refuse what would silently compute something else. */
static void expect_str(reader *r, const char *key, const char *expected) {
    ct_json_val v = ct_json_get(r->text, key);
    if (r->rc || !v || ct_json_is_null(v)) return;
    const char *s = ct_json_str(v, NULL);
    if (!s || strcmp(s, expected) != 0) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is \"%s\", expected \"%s\"", r->where, key, s ? s : "?", expected);
    }
}

static void get_layer_types(reader *r, ct_config *c) {
    ct_json_val list = ct_json_get(r->text, "layer_types");
    if (r->rc) return;
    if (!list || ct_json_is_null(list)) {
        const int period = get_int(r, r->text, "sliding_window_pattern", 6);
        if (!r->rc && period < 1) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: sliding_window_pattern is 0, expected 1 or more", r->where);
        }
        for (int i = 0; i < c->n_layer && !r->rc; i++) {
            c->layer[i].attn = (i + 1) % period ? CT_ATTN_SLIDING : CT_ATTN_FULL;
        }
    } else {
        if (!ct_json_is_array(list) || ct_json_len(list) != (size_t)c->n_layer) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: layer_types has %zu entries, expected %d", r->where, ct_json_len(list),
                            c->n_layer);
            return;
        }
        for (int i = 0; i < c->n_layer; i++) {
            const char *s = ct_json_str(ct_json_at(list, (size_t)i), NULL);
            if (s && strcmp(s, "sliding_attention") == 0) {
                c->layer[i].attn = CT_ATTN_SLIDING;
            } else if (s && strcmp(s, "full_attention") == 0) {
                c->layer[i].attn = CT_ATTN_FULL;
            } else {
                r->rc = CT_FAIL(r->err, CARAT_EMODEL,
                                "%s: layer_types[%d] is \"%s\", expected \"sliding_attention\" or \"full_attention\"", r->where, i,
                                s ? s : "?");
                return;
            }
        }
    }
    /* REF transformers Gemma4TextConfig.__post_init__: the last layer is full attention whatever the list says. */
    if (!r->rc && c->arch == CT_ARCH_GEMMA4) c->layer[c->n_layer - 1].attn = CT_ATTN_FULL;
}

static bool has_layer_of(const ct_config *c, ct_attn_kind kind) {
    for (int i = 0; i < c->n_layer; i++) {
        if (c->layer[i].attn == kind) return true;
    }
    return false;
}

/* rope_parameters.<kind>: new style; old_theta: the flat key of old files, or NULL. */
static void get_rope(reader *r, ct_config *c, ct_attn_kind kind, const char *old_theta, double def_theta, double def_partial) {
    static const char *const kinds[CT_N_ATTN] = {"sliding_attention", "full_attention"};
    ct_json_val all = ct_json_get(r->text, "rope_parameters"), p = ct_json_get(all, kinds[kind]);
    ct_rope_config *rope = &c->rope[kind];
    rope->theta = old_theta ? get_float(r, r->text, old_theta, def_theta) : def_theta;
    rope->factor = 1.0;
    rope->partial = def_partial;
    /* Gemma 3 has defaults for a kind that is left out. */
    if (!r->rc && c->arch == CT_ARCH_GEMMA4 && all && !ct_json_is_null(all) && !ct_json_is_object(p) && has_layer_of(c, kind)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: rope_parameters.%s is missing, expected an object", r->where, kinds[kind]);
        return;
    }
    ct_json_val scaling = NULL;
    if (p) {
        rope->theta = get_float(r, p, "rope_theta", rope->theta);
        rope->partial = 1.0;
        scaling = p;
    } else if (kind == CT_ATTN_FULL) {
        scaling = ct_json_get(r->text, "rope_scaling");
    }
    if (r->rc || !scaling || ct_json_is_null(scaling)) return;
    const char *type = ct_json_str(ct_json_get(scaling, "rope_type"), NULL);
    if (!type) type = ct_json_str(ct_json_get(scaling, "type"), NULL);
    if (!type || strcmp(type, "default") == 0) return;
    if (strcmp(type, "linear") == 0) {
        rope->factor = get_float(r, scaling, "factor", 1.0);
    } else if (strcmp(type, "proportional") == 0) {
        rope->factor = get_float(r, scaling, "factor", 1.0);
        rope->partial = get_float(r, scaling, "partial_rotary_factor", 1.0);
    } else {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: rope_type of %s is \"%.64s\", expected default, linear or proportional",
                        r->where, kinds[kind], type);
    }
}

/* Newer transformers write the full layers' overrides as per_layer_config {"4": {"head_dim": …}, …}; keys may be padded
 * with zeros. An override of anything else would change what the layer computes, so it is refused. */
static void get_layer_override(reader *r, ct_config *c, const char *key, ct_json_val over) {
    char *end;
    const long i = strtol(key, &end, 10);
    if (end == key || *end || i < 0 || i >= c->n_layer) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: per_layer_config key is \"%.32s\", expected a layer of 0 to %d", r->where, key,
                        c->n_layer - 1);
        return;
    }
    if (!ct_json_is_object(over)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: per_layer_config.%ld is %s, expected an object", r->where, i, show(over));
        return;
    }
    void *iter = NULL;
    const char *field;
    size_t len;
    ct_json_val v;
    while (ct_json_next(over, &iter, &field, &len, &v)) {
        if (strcmp(field, "head_dim") == 0 || strcmp(field, "num_key_value_heads") == 0) continue;
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: per_layer_config.%ld has %.64s, expected head_dim and num_key_value_heads only",
                        r->where, i, field);
        return;
    }
    c->layer[i].d_head = get_int(r, over, "head_dim", c->layer[i].d_head);
    c->layer[i].n_head_kv = get_int(r, over, "num_key_value_heads", c->layer[i].n_head_kv);
}

static void get_overrides(reader *r, ct_config *c) {
    ct_json_val all = ct_json_get(r->text, "per_layer_config"), over;
    if (r->rc) return;
    if (all && !ct_json_is_null(all)) {
        void *iter = NULL;
        const char *key;
        size_t len;
        while (!r->rc && ct_json_next(all, &iter, &key, &len, &over)) get_layer_override(r, c, key, over);
        return;
    }
    const int d_full = get_int(r, r->text, "global_head_dim", 512);
    const bool k_eq_v = get_bool(r, r->text, "attention_k_eq_v", false);
    for (int i = 0; i < c->n_layer; i++) {
        ct_layer_config *l = &c->layer[i];
        if (l->attn != CT_ATTN_FULL) continue;
        l->d_head = d_full;
        /* REF: num_global_key_value_heads counts only together with attention_k_eq_v. */
        if (k_eq_v) l->n_head_kv = get_int(r, r->text, "num_global_key_value_heads", l->n_head_kv);
    }
}

/* An integer that cannot be 0; def < 0 means required. */
static int get_size(reader *r, const char *key, int def) {
    const int v = get_int(r, r->text, key, def);
    if (!r->rc && v < 1) r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is %d, expected 1 or more", r->where, key, v);
    return v;
}

static void expect_causal(reader *r, ct_config *c) {
    ct_json_val v = ct_json_get(r->text, "use_bidirectional_attention");
    if (r->rc || !v || ct_json_is_null(v)) return;
    const char *s = ct_json_str(v, NULL);
    c->bidirectional_media = s && strcmp(s, "vision") == 0;
    if (c->bidirectional_media) return;
    r->rc = CT_FAIL(r->err, CARAT_EMODEL,
                    "%s: use_bidirectional_attention is \"%.32s\", expected null or \"vision\" (a causal model)", r->where,
                    s ? s : show(v));
}

static void read_gemma4(reader *r, ct_config *c) {
    c->attn_scale = 1.0f;
    c->v_norm = true;
    c->has_layer_scale = true;
    c->d_ple = get_int(r, r->text, "hidden_size_per_layer_input", 256);
    if (c->d_ple) c->n_vocab_ple = get_size(r, "vocab_size_per_layer_input", 262144);
    c->n_kv_shared = get_int(r, r->text, "num_kv_shared_layers", 0);
    if (get_bool(r, r->text, "enable_moe_block", false)) {
        c->n_expert = get_size(r, "num_experts", -1);
        c->n_expert_used = get_size(r, "top_k_experts", -1);
        c->d_ff_expert = get_size(r, "moe_intermediate_size", -1);
    }
    get_overrides(r, c);
    const bool k_eq_v = get_bool(r, r->text, "attention_k_eq_v", false);
    const bool wide = get_bool(r, r->text, "use_double_wide_mlp", false);
    for (int i = 0; i < c->n_layer; i++) {
        ct_layer_config *l = &c->layer[i];
        l->v_from_k = k_eq_v && l->attn == CT_ATTN_FULL;
        if (wide && c->n_kv_shared > 0 && i >= c->n_layer - c->n_kv_shared) {
            if (l->d_ff > INT_MAX / 2) {
                r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: intermediate_size is %d, expected less", r->where, l->d_ff);
                return;
            }
            l->d_ff *= 2;
        }
    }
    get_rope(r, c, CT_ATTN_SLIDING, NULL, 1e4, 1.0);
    get_rope(r, c, CT_ATTN_FULL, NULL, 1e6, 0.25);
    expect_causal(r, c);
}

static void read_gemma3(reader *r, ct_config *c) {
    const double pre = get_float(r, r->text, "query_pre_attn_scalar", 256.0);
    if (!r->rc && !(pre > 0)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: query_pre_attn_scalar is %g, expected more than 0", r->where, pre);
    }
    c->attn_scale = (float)pow(pre > 0 ? pre : 1.0, -0.5);
    c->norm_plus_one = true;
    get_rope(r, c, CT_ATTN_SLIDING, "rope_local_base_freq", 1e4, 1.0);
    get_rope(r, c, CT_ATTN_FULL, "rope_theta", 1e6, 1.0);
    if (!r->rc && get_float(r, r->text, "attn_logit_softcapping", 0.0) != 0.0) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: attn_logit_softcapping is set, expected null", r->where);
    }
    if (!r->rc && get_bool(r, r->text, "use_bidirectional_attention", false)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: use_bidirectional_attention is true, expected a causal model", r->where);
    }
}

/* The text part of the document and its family. */
static int read_arch(ct_config *c, reader *r, ct_json_val root) {
    if (!ct_json_is_object(root)) return CT_FAIL(r->err, CARAT_EMODEL, "%s: is not a JSON object", r->where);
    r->text = ct_json_get(root, "text_config");
    if (!ct_json_is_object(r->text)) r->text = root;
    const char *type = ct_json_str(ct_json_get(r->text, "model_type"), NULL);
    if (!type) type = ct_json_str(ct_json_get(root, "model_type"), NULL);
    if (type && (strcmp(type, "gemma4_text") == 0 || strcmp(type, "gemma4") == 0)) {
        c->arch = CT_ARCH_GEMMA4;
    } else if (type && (strcmp(type, "gemma3_text") == 0 || strcmp(type, "gemma3") == 0)) {
        c->arch = CT_ARCH_GEMMA3;
    } else {
        return CT_FAIL(r->err, CARAT_EMODEL, "%s: model_type is \"%.64s\", expected gemma4, gemma4_text, gemma3 or gemma3_text",
                       r->where, type ? type : "missing");
    }
    return 0;
}

/* What both families have, and all layers alike. Published Gemma 3 files leave out what is their class's default; of
 * Gemma 4 no released model is its class's default, so there the sizes are required. */
static void read_common(reader *r, ct_config *c) {
    const bool g3 = c->arch == CT_ARCH_GEMMA3;
    expect_str(r, "hidden_activation", "gelu_pytorch_tanh");
    c->d_model = get_size(r, "hidden_size", g3 ? 2304 : -1);
    c->n_vocab = get_size(r, "vocab_size", g3 ? 262208 : 262144);
    c->n_ctx_train = get_int(r, r->text, "max_position_embeddings", 131072);
    c->w_swa = get_int(r, r->text, "sliding_window", g3 ? 4096 : 512);
    c->rms_eps = (float)get_float(r, r->text, "rms_norm_eps", 1e-6);
    c->logit_softcap = (float)get_float(r, r->text, "final_logit_softcapping", 0.0);
    const int n_head = get_size(r, "num_attention_heads", g3 ? 8 : -1);
    const int n_head_kv = get_size(r, "num_key_value_heads", g3 ? 4 : -1);
    const int d_head = get_int(r, r->text, "head_dim", 256), d_ff = get_size(r, "intermediate_size", g3 ? 9216 : -1);
    if (!r->rc && get_bool(r, r->text, "attention_bias", false)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: attention_bias is true, expected false", r->where);
    }
    for (int i = 0; i < c->n_layer; i++) {
        c->layer[i] = (ct_layer_config){.n_head = n_head, .n_head_kv = n_head_kv, .d_head = d_head, .d_ff = d_ff};
    }
}

int ct_config_from_hf(ct_config *c, const ct_json *j, const char *where, carat_error *err) {
    memset(c, 0, sizeof *c);
    reader r = {.where = where, .err = err};
    ct_json_val root = ct_json_root(j);
    CT_TRY(read_arch(c, &r, root));
    c->n_layer = get_int(&r, r.text, "num_hidden_layers", c->arch == CT_ARCH_GEMMA3 ? 26 : -1);
    if (!r.rc && (c->n_layer < 1 || c->n_layer > CT_MAX_LAYER)) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: num_hidden_layers is %d, expected 1 to %d", where, c->n_layer, CT_MAX_LAYER);
    }
    CT_TRY(r.rc);
    read_common(&r, c);
    /* REF transformers: a multimodal checkpoint's own key counts, before that of its text part; true by default. */
    const bool text_tied = get_bool(&r, r.text, "tie_word_embeddings", true);
    c->tied = get_bool(&r, root, "tie_word_embeddings", text_tied) ? CT_TIED : CT_UNTIED;
    if (!r.rc) get_layer_types(&r, c);
    if (!r.rc && c->arch == CT_ARCH_GEMMA4) read_gemma4(&r, c);
    if (!r.rc && c->arch == CT_ARCH_GEMMA3) read_gemma3(&r, c);
    CT_TRY(r.rc);
    return ct_config_finish(c, where, err);
}
