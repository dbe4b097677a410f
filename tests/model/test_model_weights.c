/* Tensors: what a file may not hold or lack. One tensor is bent at a time; the refusal is one line that names it, what was
 * expected and what was found. And what a file may hold: every value a float can be, in every tensor. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "carat.h"
#include "model_maker.h"

static maker m; /* too large for the stack */

static int open_made(carat_model **out, carat_error *err) {
    const char *path = maker_path("weights.gguf");
    maker_write(&m, path);
    return carat_model_open(out, path, NULL, err);
}

static void assert_refused(int rc, const carat_error *err, const char *title, const char *const *expect) {
    if (rc != CARAT_EMODEL) fail_msg("%s: status %d (%s), expected CARAT_EMODEL", title, rc, rc ? err->msg : "accepted");
    if (err->code != rc || !err->msg[0] || strchr(err->msg, '\n')) fail_msg("%s: bad message \"%s\"", title, err->msg);
    for (int i = 0; i < 4 && expect[i]; i++) {
        if (!strstr(err->msg, expect[i])) fail_msg("%s: \"%s\" does not say \"%s\"", title, err->msg, expect[i]);
    }
    if (!strstr(err->msg, "expected")) fail_msg("%s: \"%s\" does not say what was expected", title, err->msg);
}

/* op: '-' drop; 's' other shape (rank and dimensions); 't' other type; '+' a tensor more; 'k' key v; 'p' poison */
typedef struct {
    char base;
    const char *name;
    char op;
    int rank;
    int64_t n0, n1, n2;
    ct_dtype type;
    const char *expect[4];
} tensor_case;

#define DROP(base, name, shape) {base, name, '-', 0, 0, 0, 0, 0, {name, "missing", shape}}
#define SHAPE(base, name, rank, n0, n1, n2, found, expected) {base, name, 's', rank, n0, n1, n2, 0, {name, found, expected}}
#define TYPE(base, name, type) {base, name, 't', 0, 0, 0, 0, CT_##type, {name, #type}}
#define MORE(base, name) {base, name, '+', 1, 8, 1, 1, CT_F32, {name}}
static const tensor_case cases[] = {
    DROP('e', "token_embd.weight", "[any, 32]"),
    DROP('e', "output_norm.weight", "[32]"),
    DROP('e', "per_layer_token_embd.weight", "[any, 64]"),
    DROP('e', "per_layer_model_proj.weight", "[64, 32]"),
    DROP('e', "per_layer_proj_norm.weight", "[16]"),
    DROP('e', "blk.0.attn_norm.weight", "[32]"),
    DROP('e', "blk.0.attn_q.weight", "[32, 32]"),
    DROP('e', "blk.0.attn_k.weight", "[16, 32]"),
    DROP('e', "blk.0.attn_v.weight", "[16, 32]"), /* a sliding layer never takes V from K */
    DROP('e', "blk.0.attn_k_norm.weight", "[16]"),
    DROP('e', "blk.3.attn_q_norm.weight", "[32]"),
    DROP('e', "blk.3.attn_output.weight", "[32, 64]"),
    DROP('e', "blk.2.post_attention_norm.weight", "[32]"),
    DROP('e', "blk.2.ffn_norm.weight", "[32]"),
    DROP('e', "blk.2.ffn_gate.weight", "[32, 32]"),
    DROP('e', "blk.2.ffn_up.weight", "[32, 32]"),
    DROP('e', "blk.2.ffn_down.weight", "[32, 32]"),
    DROP('e', "blk.2.post_ffw_norm.weight", "[32]"),
    DROP('e', "blk.2.layer_output_scale.weight", "[1]"),
    DROP('e', "blk.2.inp_gate.weight", "[16, 32]"),
    DROP('e', "blk.2.proj.weight", "[32, 16]"),
    DROP('e', "blk.2.post_norm.weight", "[32]"),
    DROP('m', "blk.1.ffn_gate_inp.weight", "[5, 32]"),
    DROP('m', "blk.1.ffn_gate_inp.scale", "[32]"),
    DROP('m', "blk.1.ffn_gate_up_exps.weight", "[5, 32, 32]"),
    DROP('m', "blk.1.ffn_down_exps.weight", "[5, 32, 16]"),
    DROP('m', "blk.1.ffn_down_exps.scale", "[5]"),
    DROP('m', "blk.1.post_ffw_norm_1.weight", "[32]"),
    DROP('m', "blk.1.pre_ffw_norm_2.weight", "[32]"),
    DROP('m', "blk.1.post_ffw_norm_2.weight", "[32]"),
    SHAPE('e', "token_embd.weight", 2, 48, 64, 1, "[48, 64]", "[any, 32]"),
    SHAPE('e', "token_embd.weight", 1, 48, 1, 1, "[48]", "[any, 32]"),
    SHAPE('e', "token_embd.weight", 3, 48, 32, 1, "[48, 32, 1]", "[any, 32]"),
    SHAPE('e', "output_norm.weight", 1, 31, 1, 1, "[31]", "[32]"),
    SHAPE('e', "output_norm.weight", 2, 1, 32, 1, "[1, 32]", "[32]"),
    SHAPE('e', "rope_freqs.weight", 1, 8, 1, 1, "[8]", "[16]"),
    SHAPE('e', "per_layer_token_embd.weight", 2, 48, 32, 1, "[48, 32]", "[any, 64]"),
    SHAPE('e', "per_layer_token_embd.weight", 2, 47, 64, 1, "47 rows", "48 tokens"),
    SHAPE('e', "per_layer_model_proj.weight", 2, 32, 64, 1, "[32, 64]", "[64, 32]"),
    SHAPE('e', "blk.1.attn_q.weight", 2, 32, 32, 1, "[32, 32]", "[64, 32]"),
    SHAPE('e', "blk.1.attn_q.weight", 1, 64, 1, 1, "[64]", "[64, 32]"),
    SHAPE('e', "blk.1.attn_k.weight", 2, 64, 32, 1, "[64, 32]", "[32, 32]"),
    SHAPE('e', "blk.1.attn_v.weight", 2, 16, 32, 1, "[16, 32]", "[32, 32]"),
    SHAPE('e', "blk.1.attn_k_norm.weight", 1, 16, 1, 1, "[16]", "[32]"),
    SHAPE('e', "blk.1.ffn_down.weight", 2, 32, 16, 1, "[32, 16]", "[32, 32]"),
    SHAPE('e', "blk.1.layer_output_scale.weight", 1, 32, 1, 1, "[32]", "[1]"),
    SHAPE('m', "blk.0.ffn_gate_inp.weight", 2, 6, 32, 1, "[6, 32]", "[5, 32]"),
    SHAPE('m', "blk.0.ffn_gate_up_exps.weight", 3, 5, 16, 32, "[5, 16, 32]", "[5, 32, 32]"),
    SHAPE('m', "blk.0.ffn_gate_up_exps.weight", 2, 160, 32, 1, "[160, 32]", "[5, 32, 32]"),
    SHAPE('m', "blk.0.ffn_down_exps.weight", 3, 4, 32, 16, "[4, 32, 16]", "[5, 32, 16]"),
    SHAPE('m', "blk.0.ffn_down_exps.scale", 1, 1, 1, 1, "[1]", "[5]"),
    TYPE('e', "token_embd.weight", I32),
    TYPE('e', "blk.0.ffn_up.weight", I64),
    TYPE('e', "blk.0.attn_norm.weight", I32),
    TYPE('e', "blk.0.attn_norm.weight", Q8_0),
    TYPE('e', "output_norm.weight", Q4_0),
    MORE('e', "blk.0.attn_q.bias"),
    MORE('e', "blk.0.ffn_gate_inp.weight"),
    MORE('e', "blk.4.attn_norm.weight"),
    MORE('e', "blk.99999999999.attn_norm.weight"),
    MORE('e', "blk.x.attn_norm.weight"),
    MORE('m', "blk.0.inp_gate.weight"),
    MORE('m', "blk.1.ffn_gate_exps.weight"),
};

static void bend(const tensor_case *c) {
    maker_tensor *t = maker_find_tensor(&m, c->name);
    switch (c->op) {
    case '-': maker_drop_tensor(&m, c->name); break;
    case 's':
        t->rank = c->rank;
        t->shape[0] = c->n0, t->shape[1] = c->n1, t->shape[2] = c->n2;
        break;
    case 't': t->type = c->type; break;
    default: maker_add(&m, c->name, c->type, c->rank, c->n0, c->n1, c->n2); break;
    }
}

static void open__refuses_each_bad_tensor(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tensor_case *c = &cases[i];
        carat_model *model = NULL;
        carat_error err = {0};
        char title[128];
        c->base == 'e' ? maker_e(&m) : maker_moe(&m);
        bend(c);
        snprintf(title, sizeof title, "case %zu, %s", i, c->name);
        const int rc = open_made(&model, &err);
        assert_null(model);
        assert_refused(rc, &err, title, c->expect);
    }
}

/* Keys and tensors that contradict each other. */
static void open__refuses_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t v;
        const char *expect[4];
    } keys[] = {
        {"gemma4.block_count", 4, {NULL}},
        {"gemma4.vocab_size", 47, {"token_embd.weight", "[48, 32]", "[47, 32]"}},
        {"gemma4.embedding_length", 64, {"token_embd.weight", "[48, 32]", "[any, 64]"}},
        {"gemma4.feed_forward_length", 64, {"blk.0.ffn_gate.weight", "[32, 32]", "[64, 32]"}},
        {"gemma4.attention.head_count", 4, {"blk.0.attn_q.weight", "[32, 32]", "[64, 32]"}},
        {"gemma4.attention.head_count_kv", 2, {"blk.0.attn_k.weight", "[16, 32]", "[32, 32]"}},
        {"gemma4.embedding_length_per_layer_input", 0, {"blk.0.inp_gate.weight", "4 layers"}},
        {"gemma4.embedding_length_per_layer_input", 32, {"per_layer_token_embd.weight", "[48, 64]", "[any, 128]"}},
        {"gemma4.attention.shared_kv_layers", 1, {"blk.2.attn_k_norm.weight", "missing"}},
        {"gemma4.expert_count", 5, {"expert_used_count", "missing"}},
    };
    for (size_t i = 1; i < sizeof keys / sizeof *keys; i++) {
        carat_model *model = NULL;
        carat_error err = {0};
        maker_e(&m);
        maker_u32(&m, keys[i].key, keys[i].v);
        assert_refused(open_made(&model, &err), &err, keys[i].key, keys[i].expect);
    }
    carat_model *model = NULL;
    carat_error err = {0};
    maker_moe(&m);
    maker_u32(&m, "gemma4.expert_count", 0); /* "dense", but the experts are there */
    assert_refused(open_made(&model, &err), &err, "experts", (const char *[4]){"blk.0.ffn_gate_inp.weight", "2 layers"});
    maker_e(&m);
    maker_u32(&m, "gemma4.attention.shared_kv_layers", 0);
    maker_add(&m, "blk.2.attn_k_norm.weight", CT_F32, 1, 16, 1, 1);
    maker_add(&m, "blk.2.attn_k.weight", CT_F32, 2, 16, 32, 1);
    maker_add(&m, "blk.2.attn_v.weight", CT_F32, 2, 16, 32, 1);
    maker_add(&m, "blk.3.attn_k_norm.weight", CT_F32, 1, 32, 1, 1);
    maker_add(&m, "blk.3.attn_k.weight", CT_F32, 2, 32, 32, 1);
    assert_refused(open_made(&model, &err), &err, "one V", (const char *[4]){"blk.3.attn_v.weight", "missing", "all full layers"});
    maker_e(&m);
    maker_vocabulary(&m, MAKER_VOCAB + 1);
    assert_refused(open_made(&model, &err), &err, "vocabulary", (const char *[4]){"tokenizer.ggml.tokens", "49", "48 rows"});
    maker_e(&m);
    maker_find_tensor(&m, "rope_freqs.weight")->add = 0.0f;
    assert_refused(open_made(&model, &err), &err, "rope", (const char *[4]){"rope_freqs.weight[", "at least"});
    maker_find_tensor(&m, "rope_freqs.weight")->poison = 'n';
    assert_refused(open_made(&model, &err), &err, "rope", (const char *[4]){"rope_freqs.weight[0]", "nan"});
}

static maker_tensor *lay(const char *name, int rank, int64_t n0, int64_t n1, int64_t n2) {
    maker_tensor *t = maker_find_tensor(&m, name);
    t->type = CT_Q8_0;
    t->panels = true;
    t->rank = rank;
    t->shape[0] = n0, t->shape[1] = n1, t->shape[2] = n2;
    return t;
}

/* Panels where the library reads rows, or parts whose borders they straddle. */
static void open__refuses_panels_where_they_do_not_fit(void **state) {
    (void)state;
    carat_model *model = NULL;
    carat_error err = {0};
    maker_e(&m);
    lay("per_layer_token_embd.weight", 2, 48, 64, 1);
    assert_refused(open_made(&model, &err), &err, "table", (const char *[4]){"per_layer_token_embd.weight", "panels", "rows"});
    maker_e(&m);
    maker_u32(&m, "gemma4.embedding_length_per_layer_input", 8);
    maker_find_tensor(&m, "per_layer_token_embd.weight")->shape[1] = 32;
    lay("per_layer_model_proj.weight", 2, 32, 32, 1);
    assert_refused(open_made(&model, &err), &err, "slices", (const char *[4]){"per_layer_model_proj.weight", "parts of 8 rows", "16"});
    maker_moe(&m);
    maker_u32(&m, "gemma4.expert_feed_forward_length", 8);
    maker_tensor *down = maker_find_tensor(&m, "blk.0.ffn_down_exps.weight");
    down->shape[2] = 8;
    lay("blk.0.ffn_gate_up_exps.weight", 3, 5, 16, 32);
    assert_refused(open_made(&model, &err), &err, "halves", (const char *[4]){"blk.0.ffn_gate_up_exps.weight", "parts of 8 rows", "16"});
}

/* Evaluate a few tokens, past the window and in chunks; whatever comes out, it is a token or -1. */
static void evaluate(carat_model *model, const char *what) {
    carat_session *s = NULL;
    carat_sampler *sm = NULL;
    carat_error err = {0};
    carat_session_opts o = carat_session_opts_default();
    carat_model_info info;
    carat_model_get_info(model, &info);
    o.n_threads = 1, o.n_chunk = 3;
    if (carat_session_new(&s, model, &o, &err)) fail_msg("%s: %s", what, err.msg);
    assert_int_equal(carat_sampler_new(&sm, info.n_vocab, NULL, &err), 0);
    int32_t tok[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (size_t n = 7; n <= 9; n++) {
        if (carat_session_sync(s, tok, n, &err)) fail_msg("%s: %s", what, err.msg);
        const int32_t next = carat_sampler_next(sm, carat_session_logits(s));
        if (next < -1 || next >= info.n_vocab) fail_msg("%s: sampled %d", what, next);
        if (n < 9 && next >= 0) tok[n] = next;
    }
    carat_sampler_free(&sm);
    carat_session_free(&s);
}

static void evaluation__survives_nan_and_infinity_in_any_tensor(void **state) {
    (void)state;
    for (int base = 0; base < 2; base++) {
        base ? maker_moe(&m) : maker_e(&m);
        const int n = m.n_tensor;
        for (int i = 0; i < n; i++) {
            for (int p = 0; p < 2; p++) {
                carat_model *model = NULL;
                carat_error err = {0};
                base ? maker_moe(&m) : maker_e(&m);
                m.tensor[i].poison = p ? 'n' : 'i';
                const int rc = open_made(&model, &err);
                if (p && strcmp(m.tensor[i].name, "rope_freqs.weight") == 0) continue; /* refused, above */
                if (rc) fail_msg("%s: %s", m.tensor[i].name, err.msg);
                evaluate(model, m.tensor[i].name);
                carat_model_close(&model);
            }
        }
    }
}

/* Blocks of random bytes: scales and values that no encoder would write. */
static void evaluation__survives_random_bytes_of_every_type(void **state) {
    (void)state;
    for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
        carat_model *model = NULL;
        carat_error err = {0};
        maker_wide(&m, (ct_dtype)t);
        for (int i = 0; i < m.n_tensor; i++) {
            if (m.tensor[i].rank == 2) m.tensor[i].poison = 'r';
        }
        m.seed = (uint64_t)t + 100;
        if (open_made(&model, &err)) fail_msg("%s: %s", ct_dtype_name((ct_dtype)t), err.msg);
        evaluate(model, ct_dtype_name((ct_dtype)t));
        carat_model_close(&model);
    }
}

static void open__is_linear_in_the_number_of_tensors(void **state) {
    (void)state;
    carat_model *model = NULL;
    carat_error err = {0};
    maker_e(&m);
    m.n_stray = 200000; /* quadratic, this would take minutes */
    const double t0 = ct_now_ms();
    if (open_made(&model, &err)) fail_msg("%s", err.msg);
    assert_true(ct_now_ms() - t0 < 30000);
    carat_model_info info;
    carat_model_get_info(model, &info);
    assert_int_equal(info.role[CARAT_ROLE_UNUSED].n_tensor, 200000);
    carat_model_close(&model);
}

/* Keys and values that a layer does not use are no contradiction: first releases have them. */
static void open__accepts_redundant_tensors(void **state) {
    (void)state;
    carat_model *model = NULL;
    carat_error err = {0};
    maker_e(&m);
    maker_add(&m, "blk.2.attn_k.weight", CT_F32, 2, 16, 32, 1);
    maker_add(&m, "blk.3.attn_v.weight", CT_F32, 2, 32, 32, 1);
    maker_add(&m, "blk.3.attn_k_norm.weight", CT_F32, 1, 32, 1, 1);
    maker_add(&m, "v.blk.0.attn_q.weight", CT_F32, 2, 32, 32, 1);
    maker_find_tensor(&m, "per_layer_token_embd.weight")->shape[0] = MAKER_VOCAB + 5;
    if (open_made(&model, &err)) fail_msg("%s", err.msg);
    carat_model_info info;
    carat_model_get_info(model, &info);
    assert_int_equal(info.role[CARAT_ROLE_UNUSED].n_tensor, 4);
    evaluate(model, "redundant");
    carat_model_close(&model);
}

/* Fused or apart, the experts are the same. */
static void open__reads_separate_expert_tensors(void **state) {
    (void)state;
    carat_model *model = NULL;
    carat_error err = {0};
    maker_moe(&m);
    for (int il = 0; il < 2; il++) {
        char name[64];
        maker_drop_tensor(&m, (snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", il), name));
        maker_add(&m, (snprintf(name, sizeof name, "blk.%d.ffn_gate_exps.weight", il), name), CT_F32, 3, 5, 16, 32);
        maker_add(&m, (snprintf(name, sizeof name, "blk.%d.ffn_up_exps.weight", il), name), CT_F32, 3, 5, 16, 32);
    }
    if (open_made(&model, &err)) fail_msg("%s", err.msg);
    evaluate(model, "apart");
    carat_model_close(&model);
    maker_drop_tensor(&m, "blk.1.ffn_up_exps.weight");
    assert_refused(open_made(&model, &err), &err, "apart", (const char *[4]){"blk.1.ffn_up_exps.weight", "missing", "[5, 16, 32]"});
}

#if CT_HAVE_JANSSON
/* tests/oracle/<name> with one text of its config.json replaced. */
static int open_altered(carat_model **out, const char *name, const char *from, const char *to, carat_error *err) {
    char path[1200], link[300], folder[200], *text, *at;
    size_t n;
    const char *root = getenv("CARAT_ROOT");
    snprintf(folder, sizeof folder, "%s", maker_path("altered"));
    snprintf(path, sizeof path, "rm -rf '%s' && mkdir '%s'", folder, folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/tests/oracle/%s/config.json", root ? root : ".", name);
    assert_int_equal(ct_read_file(&text, &n, path, 1 << 20, err), 0);
    at = strstr(text, from);
    if (!at) fail_msg("%s: no %s", path, from);
    snprintf(link, sizeof link, "%s/config.json", folder);
    FILE *f = fopen(link, "w");
    assert_non_null(f);
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    ct_free(text);
    snprintf(path, sizeof path, "%s/tests/oracle/%s/model.safetensors", root ? root : ".", name);
    snprintf(link, sizeof link, "%s/model.safetensors", folder);
    assert_int_equal(symlink(path, link), 0);
    return carat_model_open(out, folder, NULL, err);
}

static void folder__refuses_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *model, *from, *to;
        const char *expect[4];
    } alterations[] = {
        {"e2b", "\"vocab_size\": 346", "\"vocab_size\": 345", {"embed_tokens.weight", "[346, 32]", "[345, 32]"}},
        {"e2b", "\"hidden_size\": 32", "\"hidden_size\": 48", {"embed_tokens.weight", "[346, 32]", "[346, 48]"}},
        {"e2b", "\"vocab_size_per_layer_input\": 346", "\"vocab_size_per_layer_input\": 400", {"embed_tokens_per_layer", "[400, 320]"}},
        {"e2b", "\"num_kv_shared_layers\": 5", "\"num_kv_shared_layers\": 4", {"layers.5.", "missing"}},
        {"e2b", "\"hidden_size_per_layer_input\": 32", "\"hidden_size_per_layer_input\": 0", {"per_layer", "10 layers"}},
        {"e2b", "\"intermediate_size\": 32", "\"intermediate_size\": 64", {"layers.0.mlp.gate_proj", "[32, 32]", "[64, 32]"}},
        {"e4b", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", {"lm_head.weight", "missing", "[346, 32]"}},
        {"26b-a4b", "\"enable_moe_block\": true", "\"enable_moe_block\": false", {"layers.0.", "3 layers"}},
        {"26b-a4b", "\"num_experts\": 12", "\"num_experts\": 11", {"router.proj.weight", "[12, 32]", "[11, 32]"}},
        {"26b-a4b", "\"moe_intermediate_size\": 32", "\"moe_intermediate_size\": 16", {"experts.", "[12, 32, 32]", "[12, 32, 16]"}},
        {"26b-a4b", "\"attention_k_eq_v\": true", "\"attention_k_eq_v\": false", {"layers.2.self_attn.v_proj.weight", "missing"}},
    };
    for (size_t i = 0; i < sizeof alterations / sizeof *alterations; i++) {
        carat_model *model = NULL;
        carat_error err = {0};
        const int rc = open_altered(&model, alterations[i].model, alterations[i].from, alterations[i].to, &err);
        assert_null(model);
        assert_refused(rc, &err, alterations[i].to, alterations[i].expect);
    }
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open__refuses_each_bad_tensor),
        cmocka_unit_test(open__refuses_contradictions),
        cmocka_unit_test(open__refuses_panels_where_they_do_not_fit),
        cmocka_unit_test(open__accepts_redundant_tensors),
        cmocka_unit_test(open__reads_separate_expert_tensors),
        cmocka_unit_test(open__is_linear_in_the_number_of_tensors),
        cmocka_unit_test(evaluation__survives_nan_and_infinity_in_any_tensor),
        cmocka_unit_test(evaluation__survives_random_bytes_of_every_type),
#if CT_HAVE_JANSSON
        cmocka_unit_test(folder__refuses_contradictions),
#endif
    };
    return cmocka_run_group_tests_name("model weights", tests, NULL, maker_cleanup);
}
