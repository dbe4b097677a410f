/* Hyperparameters from GGUF keys, named as llama.cpp's gemma4 and gemma3 architectures name them
 * (REF gemma4-spec 3.5). A key is either a scalar for all layers or an array with one value per layer. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config.h"

typedef struct {
    const ct_gguf *g;
    char prefix[32];
    carat_error *err;
    int rc; /* first failure; later reads do nothing */
} reader;

static const ct_gguf_kv *find(const reader *r, const char *key, char full[128]) {
    (void)snprintf(full, 128, "%s.%s", r->prefix, key);
    return ct_gguf_find(r->g, full);
}

/* What a value is, for messages. */
static const char *kind_of(const ct_gguf_kv *kv) {
    switch (kv->type) {
    case CT_GGUF_STRING: return "a string";
    case CT_GGUF_ARRAY: return "an array";
    case CT_GGUF_BOOL: return "a boolean";
    case CT_GGUF_F32:
    case CT_GGUF_F64: return "a float";
    default: return "an integer";
    }
}

static int fail_missing(reader *r, const char *full, const char *expected) {
    return CT_FAIL(r->err, CARAT_EMODEL, "key %s is missing, expected %s", full, expected);
}

/* Integer key; `def` < 0 means required. */
static int get_int(reader *r, const char *key, int def) {
    char full[128];
    const ct_gguf_kv *kv = find(r, key, full);
    int64_t v;
    if (r->rc) return 0;
    if (!kv) {
        if (def < 0) r->rc = fail_missing(r, full, "an integer");
        return def;
    }
    if (!ct_gguf_as_i64(kv, &v)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s is %s, expected an integer", full, kind_of(kv));
        return 0;
    }
    if (v < 0 || v > INT_MAX) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s is %lld, expected 0 to %d", full, (long long)v, INT_MAX);
        return 0;
    }
    return (int)v;
}

static double get_float(reader *r, const char *key, double def) {
    char full[128];
    const ct_gguf_kv *kv = find(r, key, full);
    double v;
    if (r->rc) return 0;
    if (!kv) return def;
    if (!ct_gguf_as_f64(kv, &v)) r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s is %s, expected a number", full, kind_of(kv));
    return r->rc ? 0 : v;
}

/* Refuse what would silently compute something else: a key that is there must have this value. */
static void expect_int(reader *r, const char *key, int expected, const char *why) {
    const int v = get_int(r, key, expected);
    if (r->rc || v == expected) return;
    r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s.%s is %d, expected %d (%s)", r->prefix, key, v, expected, why);
}

static void expect_float(reader *r, const char *key, double expected) {
    const double v = get_float(r, key, expected);
    if (r->rc || v == expected) return;
    r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s.%s is %g, expected %g", r->prefix, key, v, expected);
}

/* Integer per layer: out[0, n_layer), from one number or a list. Required. */
static void get_layers(reader *r, const char *key, int n_layer, int *out) {
    char full[128];
    const ct_gguf_kv *kv = find(r, key, full);
    if (r->rc) return;
    if (!kv || kv->type != CT_GGUF_ARRAY) {
        const int v = get_int(r, key, -1);
        for (int i = 0; i < n_layer; i++) out[i] = v;
        return;
    }
    if (kv->n != (uint64_t)n_layer) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s has %llu values, expected one for each of %d layers", full,
                        (unsigned long long)kv->n, n_layer);
        return;
    }
    for (int i = 0; i < n_layer; i++) {
        int64_t v;
        if (!ct_gguf_arr_i64(kv, (uint64_t)i, &v)) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s: value of layer %d is no integer, expected one", full, i);
            return;
        }
        if (v < 0 || v > INT_MAX) {
            r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s: value of layer %d is %lld, expected 0 to %d", full, i, (long long)v,
                            INT_MAX);
            return;
        }
        out[i] = (int)v;
    }
}

/* Which layers slide. Gemma 4 lists them (default_period 0: required); Gemma 3 files often carry no key: every 6th layer
 * is full. */
static void get_pattern(reader *r, ct_config *c, int default_period) {
    static const char key[] = "attention.sliding_window_pattern";
    int sliding[CT_MAX_LAYER] = {0};
    char full[128];
    const ct_gguf_kv *kv = find(r, key, full);
    if (r->rc) return;
    if (!kv && !default_period) {
        r->rc = fail_missing(r, full, "a list of booleans");
    } else if (kv && kv->type == CT_GGUF_ARRAY) {
        get_layers(r, key, c->n_layer, sliding);
    } else {
        const int period = get_int(r, key, default_period);
        if (!r->rc && period < 1) r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s is %d, expected 1 or more", full, period);
        for (int i = 0; i < c->n_layer && !r->rc; i++) sliding[i] = (i + 1) % period != 0;
    }
    for (int i = 0; i < c->n_layer && !r->rc; i++) c->layer[i].attn = sliding[i] ? CT_ATTN_SLIDING : CT_ATTN_FULL;
}

/* Linear position scaling of the full layers, 1 = none. Other kinds are refused. */
static double get_rope_factor(reader *r) {
    char full[128];
    ct_str type;
    const ct_gguf_kv *kv = find(r, "rope.scaling.type", full);
    const double factor = get_float(r, "rope.scaling.factor", 1.0);
    if (r->rc || !kv) return factor > 0 ? factor : 1.0; /* converters write 0 for none */
    if (!ct_gguf_as_str(kv, &type)) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s is %s, expected a string", full, kind_of(kv));
    } else if (type.len == 4 && memcmp(type.s, "none", 4) == 0) {
        return 1.0;
    } else if (type.len != 6 || memcmp(type.s, "linear", 6) != 0) {
        r->rc = CT_FAIL(r->err, CARAT_EMODEL, "key %s is \"%.*s\", expected \"linear\" or \"none\"", full,
                        (int)(type.len < 64 ? type.len : 64), type.s);
    }
    return factor > 0 ? factor : 1.0;
}

static void read_gemma4(reader *r, ct_config *c) {
    c->attn_scale = 1.0f;
    c->v_norm = true;
    c->has_layer_scale = true;
    /* The earliest conversions lack the key; the model has the cap all the same (gemma4-spec 3.5). */
    c->logit_softcap = (float)get_float(r, "final_logit_softcapping", 30.0);
    c->d_ple = get_int(r, "embedding_length_per_layer_input", 0);
    c->n_kv_shared = get_int(r, "attention.shared_kv_layers", 0);
    c->n_expert = get_int(r, "expert_count", 0);
    c->n_expert_used = get_int(r, "expert_used_count", c->n_expert ? -1 : 0);
    c->d_ff_expert = get_int(r, "expert_feed_forward_length", c->n_expert ? -1 : 0);
    c->bidirectional_media = c->d_ple == 0; /* there is no key for it (gemma4-spec 3.5) */
    get_pattern(r, c, 0);
    const int d_full = get_int(r, "attention.key_length", -1);
    const int d_swa = get_int(r, "attention.key_length_swa", d_full);
    expect_int(r, "attention.value_length", d_full, "as attention.key_length");
    expect_int(r, "attention.value_length_swa", d_swa, "as attention.key_length_swa");
    expect_int(r, "rope.dimension_count", d_full, "as attention.key_length");
    expect_int(r, "rope.dimension_count_swa", d_swa, "as attention.key_length_swa");
    for (int i = 0; i < c->n_layer; i++) c->layer[i].d_head = c->layer[i].attn == CT_ATTN_FULL ? d_full : d_swa;
    c->rope[CT_ATTN_FULL] = (ct_rope_config){get_float(r, "rope.freq_base", 1e6), get_rope_factor(r), 0.25};
    c->rope[CT_ATTN_SLIDING] = (ct_rope_config){get_float(r, "rope.freq_base_swa", 1e4), 1.0, 1.0};
}

static void read_gemma3(reader *r, ct_config *c) {
    /* REF transformers gemma3: sliding layers use theta 1e4 whatever the file's freq_base, which is the full layers'. */
    get_pattern(r, c, 6);
    const int d = get_int(r, "attention.key_length", -1);
    expect_int(r, "attention.value_length", d, "as attention.key_length");
    expect_int(r, "rope.dimension_count", d, "as attention.key_length");
    for (int i = 0; i < c->n_layer; i++) c->layer[i].d_head = d;
    /* Published conversions have no key for it: 1/sqrt(d_head) in every size but 27B (62 layers), where it is
     * 1/sqrt(d_model / n_head). Files written by Carat say it. */
    const int n_head = c->layer[0].n_head;
    const double d_scale = c->n_layer == 62 && n_head > 0 ? (double)c->d_model / n_head : d;
    c->attn_scale = (float)get_float(r, "attention.scale", 1.0 / sqrt(d_scale > 0 ? d_scale : 1.0));
    c->logit_softcap = (float)get_float(r, "final_logit_softcapping", 0.0);
    c->rope[CT_ATTN_FULL] = (ct_rope_config){get_float(r, "rope.freq_base", 1e6), get_rope_factor(r), 1.0};
    c->rope[CT_ATTN_SLIDING] = (ct_rope_config){get_float(r, "rope.freq_base_swa", 1e4), 1.0, 1.0};
}

static int read_arch(ct_config *c, reader *r) {
    ct_str arch;
    const ct_gguf_kv *kv = ct_gguf_find(r->g, "general.architecture");
    if (!kv) return fail_missing(r, "general.architecture", "\"gemma4\" or \"gemma3\"");
    if (!ct_gguf_as_str(kv, &arch)) {
        return CT_FAIL(r->err, CARAT_EMODEL, "key general.architecture is %s, expected \"gemma4\" or \"gemma3\"", kind_of(kv));
    }
    if (arch.len == 6 && memcmp(arch.s, "gemma4", 6) == 0) {
        c->arch = CT_ARCH_GEMMA4;
    } else if (arch.len == 6 && memcmp(arch.s, "gemma3", 6) == 0) {
        c->arch = CT_ARCH_GEMMA3;
    } else {
        return CT_FAIL(r->err, CARAT_EMODEL, "key general.architecture is \"%.*s\", expected \"gemma4\" or \"gemma3\"",
                       (int)(arch.len < 64 ? arch.len : 64), arch.s);
    }
    (void)snprintf(r->prefix, sizeof r->prefix, "%.*s", (int)arch.len, arch.s);
    return 0;
}

static void read_layers(reader *r, ct_config *c) {
    int n_head[CT_MAX_LAYER], n_head_kv[CT_MAX_LAYER], d_ff[CT_MAX_LAYER];
    get_layers(r, "attention.head_count", c->n_layer, n_head);
    get_layers(r, "attention.head_count_kv", c->n_layer, n_head_kv);
    get_layers(r, "feed_forward_length", c->n_layer, d_ff);
    for (int i = 0; i < c->n_layer && !r->rc; i++) {
        c->layer[i].n_head = n_head[i];
        c->layer[i].n_head_kv = n_head_kv[i];
        c->layer[i].d_ff = d_ff[i];
    }
}

int ct_config_from_gguf(ct_config *c, const ct_gguf *g, carat_error *err) {
    memset(c, 0, sizeof *c);
    reader r = {.g = g, .err = err};
    CT_TRY(read_arch(c, &r));
    c->n_layer = get_int(&r, "block_count", -1);
    if (!r.rc && (c->n_layer < 1 || c->n_layer > CT_MAX_LAYER)) {
        return CT_FAIL(err, CARAT_EMODEL, "key %s.block_count is %d, expected 1 to %d", r.prefix, c->n_layer, CT_MAX_LAYER);
    }
    c->d_model = get_int(&r, "embedding_length", -1);
    c->n_ctx_train = get_int(&r, "context_length", -1);
    c->n_vocab = get_int(&r, "vocab_size", 0);
    c->w_swa = get_int(&r, "attention.sliding_window", -1);
    c->rms_eps = (float)get_float(&r, "attention.layer_norm_rms_epsilon", 1e-6);
    expect_int(&r, "attention.causal", 1, "other models are embedding models");
    expect_float(&r, "attn_logit_softcapping", 0.0);
    CT_TRY(r.rc);
    read_layers(&r, c);
    CT_TRY(r.rc);
    if (c->arch == CT_ARCH_GEMMA4) {
        read_gemma4(&r, c);
    } else {
        read_gemma3(&r, c);
    }
    CT_TRY(r.rc);
    ct_str name;
    const ct_gguf_kv *kv = ct_gguf_find(g, "general.name");
    if (kv && ct_gguf_as_str(kv, &name)) {
        (void)snprintf(c->name, sizeof c->name, "%.*s", (int)(name.len < 100 ? name.len : 100), name.s);
    }
    return ct_config_finish(c, r.prefix, err);
}
