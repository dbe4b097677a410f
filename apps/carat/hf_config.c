/* config.json of a Gemma 3 or 4 text model (alone, or inside a multimodal one) to the hyperparameters of a GGUF.
 * Defaults are those of transformers' configuration classes. REF: gemma4-spec 1.2, 2.7, 2.8, 3.1. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cut_source.h"

typedef struct {
    ct_json_val text;
    const char *where;
    carat_error *err;
    int rc; /* first failure; later reads do nothing */
} reader;

static bool absent(ct_json_val v) { return !v || ct_json_is_null(v); }

/* Whole number of obj; def < 0 means that it must be there. */
static int32_t whole(reader *r, ct_json_val obj, const char *key, int32_t def) {
    ct_json_val v = ct_json_get(obj, key);
    int64_t x = 0;
    if (r->rc) return 0;
    if (absent(v) && def >= 0) return def;
    if (!ct_json_i64(v, &x) || x < 0 || x > INT_MAX / 4) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is missing or no whole number from 0 to %d", r->where, key,
                        INT_MAX / 4);
        return 0;
    }
    return (int32_t)x;
}

static float real(reader *r, ct_json_val obj, const char *key, double def) {
    ct_json_val v = ct_json_get(obj, key);
    double x = def;
    if (!r->rc && !absent(v) && !ct_json_f64(v, &x)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: %s is no number", r->where, key);
    }
    return (float)x;
}

static bool flag(reader *r, const char *key) {
    bool x = false;
    return ct_json_bool(ct_json_get(r->text, key), &x) && x;
}

/* ---- layers ------------------------------------------------------------------------------------------- */

static void read_layer_types(reader *r, cli_gemma_keys *k, bool gemma4) {
    ct_json_val types = ct_json_get(r->text, "layer_types");
    const int32_t period = whole(r, r->text, "sliding_window_pattern", 6);
    const bool listed = !absent(types);
    if (!r->rc && (listed ? ct_json_len(types) != (size_t)k->n_layer : period < 1)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: layer_types has %zu entries, expected %d", r->where,
                        ct_json_len(types), (int)k->n_layer);
    }
    for (int32_t i = 0; i < k->n_layer && !r->rc; i++) {
        const char *s = listed ? ct_json_str(ct_json_at(types, (size_t)i), NULL) : NULL;
        k->sliding[i] = listed ? s && strcmp(s, "sliding_attention") == 0 : (i + 1) % period != 0;
        if (listed && !k->sliding[i] && (!s || strcmp(s, "full_attention") != 0)) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL,
                            "%s: layer_types[%d] is \"%.40s\", expected sliding_attention or full_attention", r->where,
                            (int)i, s ? s : "?");
        }
    }
    if (gemma4) k->sliding[k->n_layer - 1] = false; /* transformers forces it */
}

/* Newer transformers: {"4": {"head_dim": 512, …}, …}, relative to head_dim and num_key_value_heads. */
static void read_per_layer(reader *r, cli_gemma_keys *k, ct_json_val per_layer, int32_t d_head[]) {
    void *iter = NULL;
    const char *key;
    size_t len;
    ct_json_val v;
    while (!r->rc && ct_json_next(per_layer, &iter, &key, &len, &v)) {
        char *end;
        const long i = strtol(key, &end, 10);
        if (len == 0 || *end || i < 0 || i >= k->n_layer) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: per_layer_config has \"%.20s\", expected a layer below %d",
                            r->where, key, (int)k->n_layer);
            return;
        }
        d_head[i] = whole(r, v, "head_dim", d_head[i]);
        k->n_head_kv[i] = whole(r, v, "num_key_value_heads", k->n_head_kv[i]);
    }
}

/* Head sizes and KV heads by layer. A GGUF has one head size for global and one for sliding layers. */
static void read_heads(reader *r, cli_gemma_keys *k, bool gemma4) {
    int32_t d_head[CLI_MAX_LAYER];
    const int32_t d = whole(r, r->text, "head_dim", 256), n_kv = whole(r, r->text, "num_key_value_heads", -1);
    const int32_t d_global = gemma4 ? whole(r, r->text, "global_head_dim", 512) : d;
    const int32_t n_kv_global =
        flag(r, "attention_k_eq_v") ? whole(r, r->text, "num_global_key_value_heads", n_kv) : n_kv;
    ct_json_val per_layer = ct_json_get(r->text, "per_layer_config");
    for (int32_t i = 0; i < k->n_layer; i++) {
        const bool plain = k->sliding[i] || !absent(per_layer);
        d_head[i] = plain ? d : d_global;
        k->n_head_kv[i] = plain ? n_kv : n_kv_global;
    }
    if (!absent(per_layer)) read_per_layer(r, k, per_layer, d_head);
    k->d_head = k->d_head_swa = d;
    for (int32_t i = 0; i < k->n_layer; i++) *(k->sliding[i] ? &k->d_head_swa : &k->d_head) = d_head[i];
    for (int32_t i = 0; i < k->n_layer && !r->rc; i++) {
        if (d_head[i] != (k->sliding[i] ? k->d_head_swa : k->d_head)) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: layer %d has heads of %d, others of its kind of %d", r->where,
                            (int)i, (int)d_head[i], (int)(k->sliding[i] ? k->d_head_swa : k->d_head));
        }
    }
}

static void read_ffn(reader *r, cli_gemma_keys *k) {
    const int32_t d_ff = whole(r, r->text, "intermediate_size", -1);
    const bool wide = flag(r, "use_double_wide_mlp");
    for (int32_t i = 0; i < k->n_layer; i++) {
        k->d_ff[i] = wide && i >= k->n_layer - k->n_kv_shared ? 2 * d_ff : d_ff;
    }
    if (!flag(r, "enable_moe_block")) return;
    k->n_expert = whole(r, r->text, "num_experts", -1);
    k->n_expert_used = whole(r, r->text, "top_k_experts", -1);
    k->d_ff_exp = whole(r, r->text, "moe_intermediate_size", -1);
}

/* ---- rope --------------------------------------------------------------------------------------------- */

/* A kind of rope as {rope_type, rope_theta, …}: only what GGUF can say. */
static void check_rope_type(reader *r, ct_json_val rope, bool global, bool gemma4) {
    const char *type = ct_json_str(ct_json_get(rope, "rope_type"), NULL);
    if (!type) type = ct_json_str(ct_json_get(rope, "type"), NULL);
    if (r->rc || !type || strcmp(type, "default") == 0) return;
    if (global && strcmp(type, gemma4 ? "proportional" : "linear") == 0) return;
    r->rc = CT_FAIL(r->err, CARAT_EUNSUPPORTED, "%s: rope_type \"%.40s\" cannot be written for this architecture",
                    r->where, type);
}

static void read_rope(reader *r, cli_gemma_keys *k, float *partial_rotary, bool gemma4) {
    ct_json_val params = ct_json_get(r->text, "rope_parameters");
    ct_json_val global = ct_json_get(params, "full_attention"), sliding = ct_json_get(params, "sliding_attention");
    /* Older Gemma 3: three flat keys. */
    if (absent(global)) global = ct_json_get(r->text, "rope_scaling");
    k->rope_base = real(r, r->text, "rope_theta", 1e6);
    k->rope_base_swa = real(r, r->text, "rope_local_base_freq", 1e4);
    *partial_rotary = gemma4 && absent(global) ? 0.25f : 1.0f;
    if (!absent(global)) {
        check_rope_type(r, global, true, gemma4);
        k->rope_base = real(r, global, "rope_theta", (double)k->rope_base);
        *partial_rotary = real(r, global, "partial_rotary_factor", 1.0);
        k->rope_factor = real(r, global, "factor", 0);
    }
    if (!absent(sliding)) {
        check_rope_type(r, sliding, false, gemma4);
        k->rope_base_swa = real(r, sliding, "rope_theta", (double)k->rope_base_swa);
    }
    if (!r->rc && !(*partial_rotary >= 0 && *partial_rotary <= 1)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: partial_rotary_factor is %g, expected 0 to 1", r->where,
                        (double)*partial_rotary);
    }
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

ct_json_val hf_config_text(const ct_json *config) {
    ct_json_val root = ct_json_root(config), text = ct_json_get(root, "text_config");
    return ct_json_is_object(text) ? text : root;
}

/* "gemma4", "gemma4_text", … to the name GGUF uses; NULL for others. */
static const char *arch_of(const char *model_type) {
    static const char *const known[] = {"gemma4", "gemma3"};
    for (int i = 0; model_type && i < 2; i++) {
        const size_t n = strlen(known[i]);
        if (strncmp(model_type, known[i], n) == 0 && (!model_type[n] || strcmp(model_type + n, "_text") == 0))
            return known[i];
    }
    return NULL;
}

static void read_gemma3(reader *r, cli_gemma_keys *k) {
    const float scalar = real(r, r->text, "query_pre_attn_scalar", 256);
    if (!r->rc && !(scalar > 0))
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "%s: query_pre_attn_scalar is not positive", r->where);
    /* The architecture's own scale is 1/sqrt(head size). */
    if (!r->rc && scalar != (float)k->d_head) k->attn_scale = (float)pow((double)scalar, -0.5);
    if (!r->rc && !absent(ct_json_get(r->text, "attn_logit_softcapping"))) {
        r->rc = CT_FAIL(r->err, CARAT_EUNSUPPORTED, "%s: attn_logit_softcapping is set, expected null", r->where);
    }
}

static void read_gemma4(reader *r, cli_gemma_keys *k) {
    k->d_ple = whole(r, r->text, "hidden_size_per_layer_input", 256);
    k->n_kv_shared = whole(r, r->text, "num_kv_shared_layers", 0);
    const char *both_ways = ct_json_str(ct_json_get(r->text, "use_bidirectional_attention"), NULL);
    if (!r->rc && both_ways && strcmp(both_ways, "all") == 0) {
        r->rc = CT_FAIL(r->err, CARAT_EUNSUPPORTED, "%s: use_bidirectional_attention is \"all\" (an embedding model)",
                        r->where);
    }
}

int hf_config_read(cli_gemma_keys *k, float *partial_rotary, const ct_json *config, const char *where,
                   carat_error *err) {
    memset(k, 0, sizeof *k);
    reader r = {.text = hf_config_text(config), .where = where, .err = err};
    const char *type = ct_json_str(ct_json_get(r.text, "model_type"), NULL);
    if (!type) type = ct_json_str(ct_json_get(ct_json_root(config), "model_type"), NULL);
    k->arch = arch_of(type);
    if (!k->arch) {
        return CT_FAIL(err, CARAT_EMODEL,
                       "%s: model_type is \"%.40s\", expected gemma4, gemma4_text, gemma3 or gemma3_text", where,
                       type ? type : "missing");
    }
    const bool gemma4 = strcmp(k->arch, "gemma4") == 0;
    k->n_layer = whole(&r, r.text, "num_hidden_layers", -1);
    if (!r.rc && (k->n_layer < 1 || k->n_layer > CLI_MAX_LAYER)) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: num_hidden_layers is %d, expected 1 to %d", where, (int)k->n_layer,
                       CLI_MAX_LAYER);
    }
    k->d_model = whole(&r, r.text, "hidden_size", -1);
    k->n_ctx = whole(&r, r.text, "max_position_embeddings", 131072);
    k->n_head = whole(&r, r.text, "num_attention_heads", -1);
    k->w_swa = whole(&r, r.text, "sliding_window", 512);
    k->eps = real(&r, r.text, "rms_norm_eps", 1e-6);
    k->softcap = real(&r, r.text, "final_logit_softcapping", 0);
    CT_TRY(r.rc);
    if (gemma4) read_gemma4(&r, k);
    read_layer_types(&r, k, gemma4);
    read_heads(&r, k, gemma4);
    read_ffn(&r, k);
    read_rope(&r, k, partial_rotary, gemma4);
    if (!gemma4) read_gemma3(&r, k);
    return r.rc;
}
