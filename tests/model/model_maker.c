#include "model_maker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "formats/gguf_write.h"
#include "quant/quant.h"

/* ---- keys and tensors --------------------------------------------------------------------------------- */

maker_key *maker_find_key(maker *m, const char *name) {
    for (int i = 0; i < m->n_key; i++) {
        if (strcmp(m->key[i].name, name) == 0) return &m->key[i];
    }
    return NULL;
}

maker_tensor *maker_find_tensor(maker *m, const char *name) {
    for (int i = 0; i < m->n_tensor; i++) {
        if (strcmp(m->tensor[i].name, name) == 0) return &m->tensor[i];
    }
    return NULL;
}

static maker_key *set_key(maker *m, const char *name, char type) {
    maker_key *k = maker_find_key(m, name);
    if (!k) k = &m->key[m->n_key++];
    assert_true(m->n_key < 64);
    memset(k, 0, sizeof *k);
    snprintf(k->name, sizeof k->name, "%s", name);
    k->type = type;
    return k;
}

void maker_u32(maker *m, const char *name, uint32_t v) { set_key(m, name, 'u')->num = v; }
void maker_u64(maker *m, const char *name, double v) { set_key(m, name, 'U')->num = v; }
void maker_f32(maker *m, const char *name, float v) { set_key(m, name, 'f')->num = (double)v; }

void maker_str(maker *m, const char *name, const char *v) {
    maker_key *k = set_key(m, name, 's');
    snprintf(k->text, sizeof k->text, "%s", v);
}

void maker_list(maker *m, const char *name, char type, int n, const int32_t *v) {
    maker_key *k = set_key(m, name, type);
    k->n = n;
    memcpy(k->list, v, (size_t)n * sizeof *v);
}

void maker_drop_key(maker *m, const char *name) {
    maker_key *k = maker_find_key(m, name);
    if (!k) fail_msg("no key %s to drop", name);
    *k = m->key[--m->n_key];
}

maker_tensor *maker_add(maker *m, const char *name, ct_dtype t, int rank, int64_t n0, int64_t n1, int64_t n2) {
    maker_tensor *x = &m->tensor[m->n_tensor++];
    assert_true(m->n_tensor < 128);
    *x = (maker_tensor){.type = t, .rank = rank, .shape = {n0, n1, n2, 1}, .noise = 0.2f};
    snprintf(x->name, sizeof x->name, "%s", name);
    return x;
}

void maker_drop_tensor(maker *m, const char *name) {
    maker_tensor *t = maker_find_tensor(m, name);
    if (!t) fail_msg("no tensor %s to drop", name);
    memmove(t, t + 1, (size_t)(&m->tensor[--m->n_tensor] - t) * sizeof *t);
}

static void add_norm(maker *m, const char *name, int64_t n) {
    maker_add(m, name, CT_F32, 1, n, 1, 1)->add = 1.0f;
}

static void add_matrix(maker *m, const char *name, int64_t d_out, int64_t d_in) { maker_add(m, name, CT_F32, 2, d_out, d_in, 1); }

/* ---- bases -------------------------------------------------------------------------------------------- */

typedef struct {
    int n_layer, d, d_swa, d_full, ff, ple, n_shared, n_expert, n_used, ff_expert, vocab;
} sizes;

static void add_layer(maker *m, const sizes *s, int il) {
    char n[96];
    const bool full = il % 2 == 1, owner = il < s->n_layer - s->n_shared;
    const int hd = full ? s->d_full : s->d_swa, n_kv = s->n_expert && !full ? 2 : 1;
#define N(x) (snprintf(n, sizeof n, "blk.%d." x, il), n)
    add_norm(m, N("attn_norm.weight"), s->d);
    add_norm(m, N("attn_q_norm.weight"), hd);
    add_matrix(m, N("attn_q.weight"), 2 * hd, s->d);
    if (owner) {
        add_norm(m, N("attn_k_norm.weight"), hd);
        add_matrix(m, N("attn_k.weight"), n_kv * hd, s->d);
        if (!(s->n_expert && full)) add_matrix(m, N("attn_v.weight"), n_kv * hd, s->d);
    }
    add_matrix(m, N("attn_output.weight"), s->d, 2 * hd);
    add_norm(m, N("post_attention_norm.weight"), s->d);
    add_norm(m, N("ffn_norm.weight"), s->d);
    add_matrix(m, N("ffn_gate.weight"), s->ff, s->d);
    add_matrix(m, N("ffn_up.weight"), s->ff, s->d);
    add_matrix(m, N("ffn_down.weight"), s->d, s->ff);
    add_norm(m, N("post_ffw_norm.weight"), s->d);
    add_norm(m, N("layer_output_scale.weight"), 1);
    if (s->ple) {
        add_matrix(m, N("inp_gate.weight"), s->ple, s->d);
        add_matrix(m, N("proj.weight"), s->d, s->ple);
        add_norm(m, N("post_norm.weight"), s->d);
    }
    if (s->n_expert) {
        add_matrix(m, N("ffn_gate_inp.weight"), s->n_expert, s->d);
        add_norm(m, N("ffn_gate_inp.scale"), s->d);
        maker_add(m, N("ffn_gate_up_exps.weight"), CT_F32, 3, s->n_expert, 2 * s->ff_expert, s->d);
        maker_add(m, N("ffn_down_exps.weight"), CT_F32, 3, s->n_expert, s->d, s->ff_expert);
        add_norm(m, N("ffn_down_exps.scale"), s->n_expert);
        add_norm(m, N("post_ffw_norm_1.weight"), s->d);
        add_norm(m, N("pre_ffw_norm_2.weight"), s->d);
        add_norm(m, N("post_ffw_norm_2.weight"), s->d);
    }
#undef N
}

static void build(maker *m, const sizes *s) {
    memset(m, 0, sizeof *m);
    m->seed = 1;
    int32_t pattern[8], kv[8];
    for (int i = 0; i < s->n_layer; i++) pattern[i] = i % 2 == 0, kv[i] = s->n_expert && i % 2 == 0 ? 2 : 1;
    maker_str(m, "general.architecture", "gemma4");
    maker_str(m, "general.name", "tiny");
    maker_u32(m, "gemma4.block_count", (uint32_t)s->n_layer);
    maker_u32(m, "gemma4.context_length", MAKER_CTX);
    maker_u32(m, "gemma4.embedding_length", (uint32_t)s->d);
    maker_u32(m, "gemma4.feed_forward_length", (uint32_t)s->ff);
    maker_u32(m, "gemma4.attention.head_count", 2);
    maker_list(m, "gemma4.attention.head_count_kv", 'i', s->n_layer, kv);
    maker_u32(m, "gemma4.attention.key_length", (uint32_t)s->d_full);
    maker_u32(m, "gemma4.attention.value_length", (uint32_t)s->d_full);
    maker_u32(m, "gemma4.attention.key_length_swa", (uint32_t)s->d_swa);
    maker_u32(m, "gemma4.attention.value_length_swa", (uint32_t)s->d_swa);
    maker_u32(m, "gemma4.attention.sliding_window", 4);
    maker_list(m, "gemma4.attention.sliding_window_pattern", 'b', s->n_layer, pattern);
    maker_u32(m, "gemma4.attention.shared_kv_layers", (uint32_t)s->n_shared);
    maker_f32(m, "gemma4.attention.layer_norm_rms_epsilon", 1e-6f);
    maker_f32(m, "gemma4.rope.freq_base", 1e6f);
    maker_f32(m, "gemma4.rope.freq_base_swa", 1e4f);
    maker_u32(m, "gemma4.rope.dimension_count", (uint32_t)s->d_full);
    maker_u32(m, "gemma4.rope.dimension_count_swa", (uint32_t)s->d_swa);
    maker_f32(m, "gemma4.final_logit_softcapping", 30.0f);
    maker_u32(m, "gemma4.embedding_length_per_layer_input", (uint32_t)s->ple);
    if (s->n_expert) {
        maker_u32(m, "gemma4.expert_count", (uint32_t)s->n_expert);
        maker_u32(m, "gemma4.expert_used_count", (uint32_t)s->n_used);
        maker_u32(m, "gemma4.expert_feed_forward_length", (uint32_t)s->ff_expert);
    }
    add_matrix(m, "token_embd.weight", s->vocab, s->d);
    add_norm(m, "output_norm.weight", s->d);
    add_norm(m, "rope_freqs.weight", s->d_full / 2);
    if (s->ple) {
        add_matrix(m, "per_layer_token_embd.weight", s->vocab, s->n_layer * s->ple);
        add_matrix(m, "per_layer_model_proj.weight", s->n_layer * s->ple, s->d);
        add_norm(m, "per_layer_proj_norm.weight", s->ple);
    }
    for (int il = 0; il < s->n_layer; il++) add_layer(m, s, il);
}

void maker_e(maker *m) {
    build(m, &(sizes){.n_layer = 4, .d = MAKER_D, .d_swa = 16, .d_full = 32, .ff = 32, .ple = 16, .n_shared = 2, .vocab = MAKER_VOCAB});
}

void maker_moe(maker *m) {
    build(m, &(sizes){.n_layer = 2, .d = MAKER_D, .d_swa = 16, .d_full = 32, .ff = 32, .n_expert = 5, .n_used = 2, .ff_expert = 16,
                      .vocab = MAKER_VOCAB});
}

static void build_of_type(maker *m, const sizes *s, ct_dtype type) {
    build(m, s);
    for (int i = 0; i < m->n_tensor; i++) {
        if (m->tensor[i].rank == 2) m->tensor[i].type = type;
    }
}

void maker_wide(maker *m, ct_dtype type) {
    build_of_type(m, &(sizes){.n_layer = 2, .d = 256, .d_swa = 128, .d_full = 128, .ff = 256, .ple = 256, .vocab = 16}, type);
}

void maker_wide_ple(maker *m, ct_dtype type, int d_ple) {
    build_of_type(m, &(sizes){.n_layer = 2, .d = MAKER_D, .d_swa = 32, .d_full = 32, .ff = 32, .ple = d_ple, .vocab = MAKER_VOCAB}, type);
}

void maker_vocabulary(maker *m, int n) {
    int32_t type[300] = {0};
    assert_true(n >= 16 && n <= 300);
    for (int i = 0; i < n; i++) type[i] = i < 4 ? 3 : 1;
    maker_str(m, "tokenizer.ggml.model", "gemma4");
    maker_list(m, "tokenizer.ggml.tokens", 't', n, type);
    maker_list(m, "tokenizer.ggml.token_type", 'i', n, type);
    maker_list(m, "tokenizer.ggml.merges", 'm', 4, type);
    maker_u32(m, "tokenizer.ggml.bos_token_id", 2);
    maker_u32(m, "tokenizer.ggml.eos_token_id", 1);
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static void put_strings(ct_gguf_writer *w, const maker_key *k) {
    static const char *const first[] = {"<pad>", "<eos>", "<bos>", "<unk>", "a", "b", "c", "d", "ab", "cd", "abcd", "ba"};
    static const char *const merges[] = {"a b", "c d", "ab cd", "b a"};
    char text[300][32];
    ct_str s[300];
    for (int i = 0; i < k->n; i++) {
        const char *p = k->type == 'm' ? merges[i] : i < 12 ? first[i] : NULL;
        if (p) {
            snprintf(text[i], sizeof text[i], "%s", p);
        } else {
            snprintf(text[i], sizeof text[i], "filler%d", i);
        }
        s[i] = (ct_str){text[i], strlen(text[i])};
    }
    ct_gguf_put_arr_str(w, k->name, s, (size_t)k->n);
}

static void put_key(ct_gguf_writer *w, const maker_key *k) {
    bool b[300];
    switch (k->type) {
    case 'u': ct_gguf_put_u32(w, k->name, (uint32_t)k->num); break;
    case 'U': ct_gguf_put_u64(w, k->name, (uint64_t)k->num); break;
    case 'f': ct_gguf_put_f32(w, k->name, (float)k->num); break;
    case 's': ct_gguf_put_str(w, k->name, k->text, strlen(k->text)); break;
    case 'i': ct_gguf_put_arr_i32(w, k->name, k->list, (size_t)k->n); break;
    case 'b':
        for (int i = 0; i < k->n; i++) b[i] = k->list[i] != 0;
        ct_gguf_put_arr_bool(w, k->name, b, (size_t)k->n);
        break;
    default: put_strings(w, k); break;
    }
}

static void put_values(ct_gguf_writer *w, const maker_tensor *t, ct_rng *r) {
    const int64_t row = t->shape[t->rank - 1];
    int64_t n_row = 1;
    for (int d = 0; d + 1 < t->rank; d++) n_row *= t->shape[d];
    const size_t bytes = ct_dtype_row_bytes(t->type, row);
    float *x = calloc((size_t)row, sizeof *x);
    uint8_t *raw = calloc(bytes, 1);
    carat_error err = {0};
    for (int64_t i = 0; i < n_row; i++) {
        for (int64_t j = 0; j < row; j++) {
            x[j] = t->add + t->noise * (float)ct_rng_normal(r);
            if (t->poison && (i * row + j) % 7 == 0) x[j] = t->poison == 'n' ? NAN : INFINITY;
        }
        if (t->poison == 'r') {
            for (size_t j = 0; j < bytes; j++) raw[j] = (uint8_t)ct_rng_u64(r);
        } else if (t->type < CT_N_WEIGHT_DTYPE) {
            ct_quant_encoder(t->type)(raw, x, row);
        }
        if (ct_gguf_write(w, raw, bytes, &err)) fail_msg("%s", err.msg);
    }
    free(x);
    free(raw);
}

void maker_write(const maker *m, const char *path) {
    ct_gguf_writer *w = NULL;
    carat_error err = {0};
    char name[32];
    ct_rng r;
    ct_rng_seed(&r, m->seed);
    if (ct_gguf_writer_new(&w, path, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < m->n_key; i++) put_key(w, &m->key[i]);
    for (int i = 0; i < m->n_tensor; i++) {
        const maker_tensor *t = &m->tensor[i];
        if ((t->panels ? ct_gguf_put_panels : ct_gguf_put_tensor)(w, t->name, t->type, t->rank, t->shape, &err)) fail_msg("%s", err.msg);
    }
    for (int i = 0; i < m->n_stray; i++) {
        snprintf(name, sizeof name, "stray.%d", i);
        if (ct_gguf_put_tensor(w, name, CT_F32, 1, (const int64_t[]){1}, &err)) fail_msg("%s", err.msg);
    }
    if (ct_gguf_writer_begin(w, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < m->n_tensor; i++) put_values(w, &m->tensor[i], &r);
    for (int i = 0; i < m->n_stray; i++) {
        if (ct_gguf_write(w, "\0\0\0", 4, &err)) fail_msg("%s", err.msg);
    }
    if (ct_gguf_writer_finish(w, &err)) fail_msg("%s", err.msg);
    ct_gguf_writer_free(&w);
}

/* In memory where there is such a place: the writer waits for the disk, a hundred times a program. */
static char folder[64];
static bool made;

const char *maker_path(const char *file) {
    static char path[256];
    if (!made) {
        snprintf(folder, sizeof folder, "%s/carat-model-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (!mkdtemp(folder)) fail_msg("no temporary folder");
        made = true;
    }
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return path;
}

int maker_cleanup(void **state) {
    (void)state;
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", folder);
    return made ? system(cmd) : 0;
}
