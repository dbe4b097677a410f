/* GGUF keys and tensor names of Gemma 3 and 4 text models. REF: gemma4-spec 3.5, 3.6. */
#include "gemma_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *gguf, *hf;
} names[CLI_N_LAYER_TENSOR] = {
#define X(field, kind, gguf, hf) {gguf, hf},
#include "model/names.def"
#undef X
};

const char *cli_gguf_name(cli_layer_tensor t) { return names[t].gguf; }
const char *cli_hf_name(cli_layer_tensor t) { return names[t].hf; }

/* ---- keys --------------------------------------------------------------------------------------------- */

typedef struct {
    ct_gguf_writer *w;
    const ct_config *c;
    char name[96];
} keys;

static const char *arch_name(const ct_config *c) { return c->arch == CT_ARCH_GEMMA4 ? "gemma4" : "gemma3"; }

static const char *key(keys *s, const char *tail) {
    (void)snprintf(s->name, sizeof s->name, "%s.%s", arch_name(s->c), tail);
    return s->name;
}

static void put(keys *s, const char *tail, int v) { ct_gguf_put_u32(s->w, key(s, tail), (uint32_t)v); }
static void put_real(keys *s, const char *tail, double v) { ct_gguf_put_f32(s->w, key(s, tail), (float)v); }

static void put_by_layer(keys *s, const char *tail, const int32_t *v) {
    for (int i = 1; i < s->c->n_layer; i++) {
        if (v[i] != v[0]) {
            ct_gguf_put_arr_i32(s->w, key(s, tail), v, (size_t)s->c->n_layer);
            return;
        }
    }
    put(s, tail, v[0]);
}

/* Which layers slide: a list, but readers of Gemma 3 know a period (6, or another in a number of its own). */
static void put_pattern(keys *s) {
    static const char tail[] = "attention.sliding_window_pattern";
    const int n = s->c->n_layer;
    bool sliding[CT_MAX_LAYER], regular = s->c->arch == CT_ARCH_GEMMA3;
    int period = 0;
    for (int i = 0; i < n; i++) sliding[i] = s->c->layer[i].attn == CT_ATTN_SLIDING;
    while (period < n && sliding[period]) period++;
    period++;
    for (int i = 0; i < n; i++) regular = regular && sliding[i] == ((i + 1) % period != 0);
    if (!regular) ct_gguf_put_arr_bool(s->w, key(s, tail), sliding, (size_t)n);
    else if (period != 6) put(s, tail, period);
}

/* Head size of a kind of layers; where there are none, of the others. */
static int d_head_of(const ct_config *c, ct_attn_kind kind) {
    for (int i = 0; i < c->n_layer; i++) {
        if (c->layer[i].attn == kind) return c->layer[i].d_head;
    }
    return c->layer[0].d_head;
}

static void put_gemma4(keys *s) {
    const ct_config *c = s->c;
    const int full = d_head_of(c, CT_ATTN_FULL), sliding = d_head_of(c, CT_ATTN_SLIDING);
    put(s, "attention.key_length_swa", sliding);
    put(s, "attention.value_length_swa", sliding);
    put(s, "attention.shared_kv_layers", c->n_kv_shared);
    put(s, "rope.dimension_count", full);
    put(s, "rope.dimension_count_swa", sliding);
    put(s, "embedding_length_per_layer_input", c->d_ple);
    if (c->n_expert == 0) return;
    put(s, "expert_count", c->n_expert);
    put(s, "expert_used_count", c->n_expert_used);
    put(s, "expert_feed_forward_length", c->d_ff_expert);
}

void cli_gemma_keys_put_general(ct_gguf_writer *w, const ct_config *c, const char *name, size_t name_len) {
    ct_gguf_put_str(w, "general.architecture", arch_name(c), strlen(arch_name(c)));
    ct_gguf_put_str(w, "general.type", "model", strlen("model"));
    ct_gguf_put_str(w, "general.name", name, name_len);
}

void cli_gemma_keys_put(ct_gguf_writer *w, const ct_config *c) {
    keys s = {.w = w, .c = c};
    const bool gemma4 = c->arch == CT_ARCH_GEMMA4;
    const int full = d_head_of(c, CT_ATTN_FULL);
    int32_t n_head[CT_MAX_LAYER], n_head_kv[CT_MAX_LAYER], d_ff[CT_MAX_LAYER];
    for (int i = 0; i < c->n_layer; i++) {
        n_head[i] = c->layer[i].n_head;
        n_head_kv[i] = c->layer[i].n_head_kv;
        d_ff[i] = c->layer[i].d_ff;
    }
    put(&s, "context_length", c->n_ctx_train);
    put(&s, "embedding_length", c->d_model);
    put(&s, "block_count", c->n_layer);
    put_by_layer(&s, "feed_forward_length", d_ff);
    put_by_layer(&s, "attention.head_count", n_head);
    put_by_layer(&s, "attention.head_count_kv", n_head_kv);
    put(&s, "attention.key_length", full);
    put(&s, "attention.value_length", full);
    put_real(&s, "attention.layer_norm_rms_epsilon", (double)c->rms_eps);
    put(&s, "attention.sliding_window", c->w_swa);
    put_pattern(&s);
    put_real(&s, "rope.freq_base", c->rope[CT_ATTN_FULL].theta);
    put_real(&s, "rope.freq_base_swa", c->rope[CT_ATTN_SLIDING].theta);
    /* Readers take a Gemma 4 without the key for one of the first conversions, which lacked it, and cap at 30. */
    if (gemma4 || c->logit_softcap > 0) put_real(&s, "final_logit_softcapping", (double)c->logit_softcap);
    /* Of Gemma 3 by default 1/sqrt(head size). */
    if (!gemma4 && c->attn_scale != (float)pow(full, -0.5)) put_real(&s, "attention.scale", (double)c->attn_scale);
    if (c->rope[CT_ATTN_FULL].factor != 1.0) {
        ct_gguf_put_str(w, key(&s, "rope.scaling.type"), "linear", strlen("linear"));
        put_real(&s, "rope.scaling.factor", c->rope[CT_ATTN_FULL].factor);
    }
    if (gemma4) put_gemma4(&s);
}

int cli_gemma_keys_check(const ct_config *c, const char *where, carat_error *err) {
    const ct_rope_config *full = &c->rope[CT_ATTN_FULL], *sliding = &c->rope[CT_ATTN_SLIDING];
    /* Which pairs turn is told by rope_freqs.weight, which Gemma 3 does not have. */
    const bool partial = c->arch == CT_ARCH_GEMMA3 && full->partial != 1.0;
    if (!partial && sliding->factor == 1.0 && sliding->partial == 1.0) return 0;
    return CT_FAIL(err, CARAT_EUNSUPPORTED,
                   "%s: rope with partial %g in full layers, partial %g and factor %g in sliding layers, which a %s GGUF "
                   "cannot tell", where, full->partial, sliding->partial, sliding->factor, arch_name(c));
}

/* ---- rope_freqs --------------------------------------------------------------------------------------- */

int64_t cli_rope_freqs_len(const ct_config *c) { return d_head_of(c, CT_ATTN_FULL) / 2; }

void cli_rope_freqs(const ct_config *c, float *out) {
    const int n = (int)cli_rope_freqs_len(c), n_rot = (int)(c->rope[CT_ATTN_FULL].partial * n);
    for (int i = 0; i < n; i++) out[i] = i < n_rot ? 1.0f : 1e30f;
}
