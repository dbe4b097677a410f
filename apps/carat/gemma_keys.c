/* GGUF keys of Gemma 3 and 4 text models. REF: gemma4-spec 3.5. */
#include "gemma_keys.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    ct_gguf_writer *w;
    const cli_gemma_keys *k;
    char name[96];
} keys;

static const char *key(keys *s, const char *tail) {
    snprintf(s->name, sizeof s->name, "%s.%s", s->k->arch, tail);
    return s->name;
}

static void put(keys *s, const char *tail, int32_t v) { ct_gguf_put_u32(s->w, key(s, tail), (uint32_t)v); }
static void put_real(keys *s, const char *tail, float v) { ct_gguf_put_f32(s->w, key(s, tail), v); }

static void put_by_layer(keys *s, const char *tail, const int32_t *v) {
    for (int32_t i = 1; i < s->k->n_layer; i++) {
        if (v[i] != v[0]) {
            ct_gguf_put_arr_i32(s->w, key(s, tail), v, (size_t)s->k->n_layer);
            return;
        }
    }
    put(s, tail, v[0]);
}

/* Which layers slide: a list, but readers of Gemma 3 know a period (6, or another in a number of its own). */
static void put_pattern(keys *s, bool gemma4) {
    static const char tail[] = "attention.sliding_window_pattern";
    const cli_gemma_keys *k = s->k;
    int32_t period = 0;
    while (period < k->n_layer && k->sliding[period]) period++;
    period++;
    bool regular = !gemma4;
    for (int32_t i = 0; i < k->n_layer; i++) regular = regular && k->sliding[i] == ((i + 1) % period != 0);
    if (!regular) ct_gguf_put_arr_bool(s->w, key(s, tail), k->sliding, (size_t)k->n_layer);
    else if (period != 6) put(s, tail, period);
}

void cli_gemma_keys_put(ct_gguf_writer *w, const cli_gemma_keys *k) {
    keys s = {.w = w, .k = k};
    const bool gemma4 = strcmp(k->arch, "gemma4") == 0;
    put(&s, "context_length", k->n_ctx);
    put(&s, "embedding_length", k->d_model);
    put(&s, "block_count", k->n_layer);
    put_by_layer(&s, "feed_forward_length", k->d_ff);
    put(&s, "attention.head_count", k->n_head);
    put_by_layer(&s, "attention.head_count_kv", k->n_head_kv);
    put(&s, "attention.key_length", k->d_head);
    put(&s, "attention.value_length", k->d_head);
    put_real(&s, "attention.layer_norm_rms_epsilon", k->eps);
    put(&s, "attention.sliding_window", k->w_swa);
    put_pattern(&s, gemma4);
    put_real(&s, "rope.freq_base", k->rope_base);
    put_real(&s, "rope.freq_base_swa", k->rope_base_swa);
    if (k->softcap > 0) put_real(&s, "final_logit_softcapping", k->softcap);
    if (k->attn_scale > 0) put_real(&s, "attention.scale", k->attn_scale);
    if (k->rope_factor > 0 && (k->rope_factor < 1 || k->rope_factor > 1)) {
        ct_gguf_put_str(w, key(&s, "rope.scaling.type"), "linear", strlen("linear"));
        put_real(&s, "rope.scaling.factor", k->rope_factor);
    }
    if (!gemma4) return;
    put(&s, "attention.key_length_swa", k->d_head_swa);
    put(&s, "attention.value_length_swa", k->d_head_swa);
    put(&s, "attention.shared_kv_layers", k->n_kv_shared);
    put(&s, "rope.dimension_count", k->d_head);
    put(&s, "rope.dimension_count_swa", k->d_head_swa);
    put(&s, "embedding_length_per_layer_input", k->d_ple);
    if (k->n_expert > 0) {
        put(&s, "expert_count", k->n_expert);
        put(&s, "expert_used_count", k->n_expert_used);
        put(&s, "expert_feed_forward_length", k->d_ff_exp);
    }
}

void cli_rope_freqs(float *out, int32_t n, int32_t n_rotated) {
    for (int32_t i = 0; i < n; i++) out[i] = i < n_rotated ? 1.0f : 1e30f;
}
