/* Hyperparameters: what a GGUF or a config.json may not say. One key is bent at a time; the refusal is one line that names
 * the key, what was expected and what was found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/config.h"
#include "model_maker.h"

static void assert_refused(int rc, const carat_error *err, const char *title, const char *const *expect) {
    if (rc != CARAT_EMODEL) fail_msg("%s: status %d (%s), expected CARAT_EMODEL", title, rc, rc ? err->msg : "accepted");
    if (err->code != rc || !err->msg[0] || strchr(err->msg, '\n')) fail_msg("%s: bad message \"%s\"", title, err->msg);
    for (int i = 0; i < 3 && expect[i]; i++) {
        if (!strstr(err->msg, expect[i])) fail_msg("%s: \"%s\" does not say \"%s\"", title, err->msg, expect[i]);
    }
    if (!strstr(err->msg, "expected")) fail_msg("%s: \"%s\" does not say what was expected", title, err->msg);
}

static int read_gguf(const maker *m, ct_config *c, carat_error *err) {
    const char *path = maker_path("config.gguf");
    maker_write(m, path);
    ct_gguf *g = NULL;
    carat_error open_err = {0};
    if (ct_gguf_open(&g, path, &open_err)) fail_msg("%s", open_err.msg);
    const int rc = ct_config_from_gguf(c, g, err);
    ct_gguf_close(&g);
    return rc;
}

/* op: '-' drop, 'u' u32, 'U' u64, 'f' f32, 's' string, 'i' list of n times v, 'b' likewise of booleans */
typedef struct {
    char base; /* 'e' or 'm' */
    const char *key;
    char op;
    double v;
    int n;
    const char *text;
    const char *expect[3];
} gguf_case;

#define K(k) "gemma4." k
static const gguf_case gguf_cases[] = {
    {'e', "general.architecture", '-', 0, 0, NULL, {"general.architecture", "missing", "gemma4"}},
    {'e', "general.architecture", 'u', 4, 0, NULL, {"general.architecture", "integer"}},
    {'e', "general.architecture", 's', 0, 0, "llama", {"general.architecture", "llama", "gemma3"}},
    {'e', "general.architecture", 's', 0, 0, "gemma4-assistant", {"general.architecture", "gemma4-assistant"}},
    {'e', K("block_count"), '-', 0, 0, NULL, {K("block_count"), "missing"}},
    {'e', K("block_count"), 'u', 0, 0, NULL, {K("block_count"), "is 0", "1 to 256"}},
    {'e', K("block_count"), 'u', 257, 0, NULL, {K("block_count"), "257", "1 to 256"}},
    {'e', K("block_count"), 'u', 4294967295.0, 0, NULL, {K("block_count"), "4294967295"}},
    {'e', K("block_count"), 's', 0, 0, "4", {K("block_count"), "a string", "an integer"}},
    {'e', K("block_count"), 'f', 4, 0, NULL, {K("block_count"), "a float", "an integer"}},
    {'e', K("block_count"), 'u', 3, 0, NULL, {"3 layers", "4 values"}},
    {'e', K("embedding_length"), '-', 0, 0, NULL, {K("embedding_length"), "missing"}},
    {'e', K("embedding_length"), 'u', 0, 0, NULL, {"embedding_length", "is 0", "1 to 131072"}},
    {'e', K("embedding_length"), 'u', 131073, 0, NULL, {"embedding_length", "131073"}},
    {'e', K("embedding_length"), 'U', 1e18, 0, NULL, {K("embedding_length"), "1000000000000000000"}},
    {'e', K("context_length"), '-', 0, 0, NULL, {K("context_length"), "missing"}},
    {'e', K("context_length"), 'u', 0, 0, NULL, {"context_length", "is 0"}},
    {'e', K("context_length"), 'u', 2147483647, 0, NULL, {"context_length", "2.14748365e+09"}},
    {'e', K("vocab_size"), 's', 0, 0, "many", {K("vocab_size"), "a string"}},
    {'e', K("feed_forward_length"), '-', 0, 0, NULL, {K("feed_forward_length"), "missing"}},
    {'e', K("feed_forward_length"), 'u', 0, 0, NULL, {"feed_forward_length", "layer 0", "is 0"}},
    {'e', K("feed_forward_length"), 'u', 1 << 21, 0, NULL, {"feed_forward_length", "2097152", "1048576"}},
    {'e', K("feed_forward_length"), 'i', 32, 3, NULL, {K("feed_forward_length"), "3 values", "4 layers"}},
    {'e', K("feed_forward_length"), 'i', -1, 4, NULL, {K("feed_forward_length"), "-1", "layer 0"}},
    {'e', K("attention.head_count"), '-', 0, 0, NULL, {K("attention.head_count"), "missing"}},
    {'e', K("attention.head_count"), 'u', 0, 0, NULL, {"attention.head_count", "is 0"}},
    {'e', K("attention.head_count"), 'u', 2000, 0, NULL, {"attention.head_count", "2000", "1024"}},
    {'e', K("attention.head_count_kv"), '-', 0, 0, NULL, {K("attention.head_count_kv"), "missing"}},
    {'e', K("attention.head_count_kv"), 'u', 0, 0, NULL, {"attention.head_count_kv", "is 0"}},
    {'e', K("attention.head_count_kv"), 'u', 4, 0, NULL, {"attention.head_count", "is 2", "4 KV heads"}},
    {'e', K("attention.head_count_kv"), 'i', 1, 5, NULL, {K("attention.head_count_kv"), "5 values"}},
    {'e', K("attention.key_length"), '-', 0, 0, NULL, {K("attention.key_length"), "missing"}},
    {'e', K("attention.key_length"), 'u', 16, 0, NULL, {K("attention.value_length"), "is 32", "16"}},
    {'e', K("attention.value_length"), 'u', 64, 0, NULL, {K("attention.value_length"), "is 64", "32"}},
    {'e', K("attention.value_length_swa"), 'u', 64, 0, NULL, {K("attention.value_length_swa"), "is 64", "16"}},
    {'e', K("rope.dimension_count"), 'u', 16, 0, NULL, {K("rope.dimension_count"), "is 16", "32"}},
    {'e', K("rope.dimension_count_swa"), 'u', 32, 0, NULL, {K("rope.dimension_count_swa"), "is 32", "16"}},
    {'e', K("attention.sliding_window"), '-', 0, 0, NULL, {K("attention.sliding_window"), "missing"}},
    {'e', K("attention.sliding_window"), 'u', 0, 0, NULL, {"attention.sliding_window", "is 0"}},
    {'e', K("attention.sliding_window_pattern"), '-', 0, 0, NULL, {K("attention.sliding_window_pattern"), "missing"}},
    {'e', K("attention.sliding_window_pattern"), 'u', 0, 0, NULL, {K("attention.sliding_window_pattern"), "is 0"}},
    {'e', K("attention.sliding_window_pattern"), 'b', 1, 7, NULL, {K("attention.sliding_window_pattern"), "7 values"}},
    {'e', K("attention.shared_kv_layers"), 'u', 4, 0, NULL, {"attention.shared_kv_layers", "is 4", "0 to 3"}},
    {'e', K("attention.shared_kv_layers"), 'u', 3, 0, NULL, {"attention.shared_kv_layers", "layer 1", "full"}},
    {'e', K("attention.shared_kv_layers"), 'u', 4000000000.0, 0, NULL, {K("attention.shared_kv_layers"), "4000000000"}},
    {'e', K("attention.layer_norm_rms_epsilon"), 'f', -1, 0, NULL, {"layer_norm_rms_epsilon", "-1"}},
    {'e', K("attention.layer_norm_rms_epsilon"), 'f', (double)__builtin_nanf(""), 0, NULL, {"layer_norm_rms_epsilon", "nan"}},
    {'e', K("attention.layer_norm_rms_epsilon"), 's', 0, 0, "small", {"layer_norm_rms_epsilon", "a string", "a number"}},
    {'e', K("attention.causal"), 'u', 0, 0, NULL, {K("attention.causal"), "is 0"}},
    {'e', K("attn_logit_softcapping"), 'f', 50, 0, NULL, {K("attn_logit_softcapping"), "is 50", "0"}},
    {'e', K("final_logit_softcapping"), 'f', -3, 0, NULL, {"final_logit_softcapping", "-3"}},
    {'e', K("final_logit_softcapping"), 'f', (double)__builtin_inff(), 0, NULL, {"final_logit_softcapping", "inf"}},
    {'e', K("rope.freq_base"), 'f', 0, 0, NULL, {"rope.freq_base (", "is 0"}},
    {'e', K("rope.freq_base_swa"), 'f', 1e20, 0, NULL, {"rope.freq_base_swa", "e+20"}},
    {'e', K("rope.scaling.type"), 's', 0, 0, "yarn", {K("rope.scaling.type"), "yarn", "linear"}},
    {'e', K("rope.scaling.type"), 'u', 1, 0, NULL, {K("rope.scaling.type"), "integer"}},
    {'e', K("rope.scaling.factor"), 'f', 1e9, 0, NULL, {"rope.scaling.factor", "1e+09"}},
    {'e', K("embedding_length_per_layer_input"), 'u', 20000, 0, NULL, {"embedding_length_per_layer_input", "20000", "16384"}},
    {'m', K("expert_count"), 'u', 5000, 0, NULL, {"expert_count", "5000", "4096"}},
    {'m', K("expert_used_count"), '-', 0, 0, NULL, {K("expert_used_count"), "missing"}},
    {'m', K("expert_used_count"), 'u', 0, 0, NULL, {"expert_used_count", "is 0"}},
    {'m', K("expert_used_count"), 'u', 6, 0, NULL, {"expert_used_count", "is 6", "1 to 5"}},
    {'m', K("expert_feed_forward_length"), '-', 0, 0, NULL, {K("expert_feed_forward_length"), "missing"}},
    {'m', K("expert_feed_forward_length"), 'u', 0, 0, NULL, {"expert_feed_forward_length", "is 0"}},
};

static void bend(maker *m, const gguf_case *c) {
    int32_t list[300];
    for (int i = 0; i < c->n; i++) list[i] = (int32_t)c->v;
    switch (c->op) {
    case '-': maker_drop_key(m, c->key); break;
    case 'u': maker_u32(m, c->key, (uint32_t)c->v); break;
    case 'U': maker_u64(m, c->key, c->v); break;
    case 'f': maker_f32(m, c->key, (float)c->v); break;
    case 's': maker_str(m, c->key, c->text); break;
    default: maker_list(m, c->key, c->op, c->n, list); break;
    }
}

static void gguf__refuses_each_bad_key(void **state) {
    (void)state;
    static ct_config c;
    for (size_t i = 0; i < sizeof gguf_cases / sizeof *gguf_cases; i++) {
        static maker m;
        carat_error err = {0};
        char title[128];
        gguf_cases[i].base == 'e' ? maker_e(&m) : maker_moe(&m);
        bend(&m, &gguf_cases[i]);
        snprintf(title, sizeof title, "case %zu, %s", i, gguf_cases[i].key);
        assert_refused(read_gguf(&m, &c, &err), &err, title, gguf_cases[i].expect);
    }
}

static void gguf__reads_what_it_says(void **state) {
    (void)state;
    static ct_config c;
    static maker made, *m = &made;
    carat_error err = {0};
    maker_e(m);
    maker_f32(m, "gemma4.rope.scaling.factor", 8.0f);
    maker_str(m, "gemma4.rope.scaling.type", "linear");
    maker_u32(m, "gemma4.vocab_size", MAKER_VOCAB);
    if (read_gguf(m, &c, &err)) fail_msg("%s", err.msg);
    assert_int_equal(c.n_layer, 4);
    assert_int_equal(c.n_vocab, MAKER_VOCAB);
    assert_int_equal(c.layer[0].d_head, 16);
    assert_int_equal(c.layer[1].d_head, 32);
    assert_int_equal(c.layer[2].kv_layer, 0);
    assert_int_equal(c.layer[3].kv_layer, 1);
    assert_int_equal(ct_config_last_owner(&c), 1);
    assert_true(c.rope[CT_ATTN_FULL].factor == 8.0 && c.rope[CT_ATTN_SLIDING].factor == 1.0); /* as in config.json */
    maker_str(m, "gemma4.rope.scaling.type", "none");
    if (read_gguf(m, &c, &err)) fail_msg("%s", err.msg);
    assert_true(c.rope[CT_ATTN_FULL].factor == 1.0);
}

#if CT_HAVE_JANSSON
/* A config.json of one line a key: a case replaces a line, adds one, or leaves one out (value NULL). */
static const char *const hf_base[][2] = {
    {"model_type", "\"gemma4_text\""},
    {"num_hidden_layers", "4"},
    {"hidden_size", "32"},
    {"vocab_size", "48"},
    {"vocab_size_per_layer_input", "48"},
    {"hidden_size_per_layer_input", "16"},
    {"max_position_embeddings", "64"},
    {"sliding_window", "4"},
    {"rms_norm_eps", "1e-6"},
    {"final_logit_softcapping", "30.0"},
    {"num_attention_heads", "2"},
    {"num_key_value_heads", "1"},
    {"head_dim", "16"},
    {"global_head_dim", "32"},
    {"intermediate_size", "32"},
    {"num_kv_shared_layers", "2"},
    {"layer_types", "[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]"},
    {"rope_parameters", "{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":10000.0},\"full_attention\":"
                        "{\"rope_type\":\"proportional\",\"partial_rotary_factor\":0.25,\"rope_theta\":1000000.0}}"},
};
#define N_HF_BASE (sizeof hf_base / sizeof *hf_base)

static int read_hf(ct_config *c, const char *key, const char *value, carat_error *err) {
    char text[8192] = "{";
    size_t n = 1;
    bool used = false;
    for (size_t i = 0; i < N_HF_BASE; i++) {
        const bool mine = key && strcmp(key, hf_base[i][0]) == 0;
        const char *v = mine ? value : hf_base[i][1];
        used = used || mine;
        if (v) n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\": %s", n > 1 ? "," : "", hf_base[i][0], v);
    }
    if (key && !used) n += (size_t)snprintf(text + n, sizeof text - n, ",\"%s\": %s", key, value);
    snprintf(text + n, sizeof text - n, "}");
    ct_json *j = NULL;
    carat_error json_err = {0};
    if (ct_json_parse(&j, text, strlen(text), "config.json", &json_err)) fail_msg("%s: %s", text, json_err.msg);
    const int rc = ct_config_from_hf(c, j, "config.json", err);
    ct_json_free(&j);
    return rc;
}

static const struct {
    const char *key, *value;
    const char *expect[3];
} hf_cases[] = {
    {"model_type", NULL, {"model_type", "missing"}},
    {"model_type", "\"llama\"", {"model_type", "llama", "gemma4"}},
    {"num_hidden_layers", NULL, {"num_hidden_layers", "missing"}},
    {"num_hidden_layers", "0", {"num_hidden_layers", "is 0"}},
    {"num_hidden_layers", "100000", {"num_hidden_layers", "100000", "256"}},
    {"num_hidden_layers", "4.5", {"num_hidden_layers", "fraction"}},
    {"num_hidden_layers", "\"4\"", {"num_hidden_layers", "a string"}},
    {"num_hidden_layers", "5", {"layer_types", "4 entries", "5"}},
    {"hidden_size", NULL, {"hidden_size", "missing"}},
    {"hidden_size", "0", {"hidden_size", "is 0"}},
    {"hidden_size", "-32", {"hidden_size", "negative"}},
    {"hidden_size", "9999999999", {"hidden_size", "too large"}},
    {"vocab_size", "0", {"vocab_size", "is 0"}},
    {"vocab_size_per_layer_input", "0", {"vocab_size_per_layer_input", "is 0"}},
    {"hidden_size_per_layer_input", "99999", {"hidden_size_per_layer_input", "99999"}},
    {"max_position_embeddings", "0", {"max_position_embeddings", "is 0"}},
    {"sliding_window", "0", {"sliding_window", "is 0"}},
    {"sliding_window", "[4]", {"sliding_window", "a list"}},
    {"rms_norm_eps", "\"1e-6\"", {"rms_norm_eps", "a string", "a number"}},
    {"rms_norm_eps", "-1", {"rms_norm_eps", "-1"}},
    {"final_logit_softcapping", "-1", {"final_logit_softcapping", "-1"}},
    {"num_attention_heads", "0", {"num_attention_heads", "is 0"}},
    {"num_attention_heads", "100000", {"num_attention_heads", "100000"}},
    {"num_key_value_heads", "0", {"num_key_value_heads", "is 0"}},
    {"num_key_value_heads", "3", {"num_attention_heads", "is 2", "3 KV heads"}},
    {"head_dim", "24", {"head_dim", "is 24", "multiple of 16"}},
    {"head_dim", "0", {"head_dim", "is 0"}},
    {"global_head_dim", "100000", {"head_dim", "layer 1", "100000"}},
    {"intermediate_size", "0", {"intermediate_size", "is 0"}},
    {"num_kv_shared_layers", "4", {"num_kv_shared_layers", "is 4"}},
    {"num_kv_shared_layers", "3", {"num_kv_shared_layers", "layer 1"}},
    {"layer_types", "[]", {"layer_types", "0 entries"}},
    {"layer_types", "\"full\"", {"layer_types"}},
    {"layer_types", "[\"sliding_attention\",\"chunked_attention\",\"sliding_attention\",\"full_attention\"]",
     {"layer_types[1]", "chunked_attention"}},
    {"layer_types", "[1,2,3,4]", {"layer_types[0]"}},
    {"layer_types", "null", {"num_kv_shared_layers", "layer 3"}}, /* every 6th, and the last, is full: nobody owns full keys */
    {"rope_parameters", "{\"rope_theta\": 1000000.0, \"rope_type\": \"default\"}", {"rope_parameters.sliding_attention", "missing"}},
    {"rope_parameters", "{\"sliding_attention\":{},\"full_attention\":{\"rope_type\":\"yarn\"}}", {"rope_type", "full_attention", "yarn"}},
    {"rope_parameters", "{\"sliding_attention\":{\"rope_theta\":0},\"full_attention\":{}}", {"rope_theta", "is 0"}},
    {"rope_parameters", "{\"sliding_attention\":{},\"full_attention\":{\"rope_type\":\"proportional\",\"partial_rotary_factor\":2}}",
     {"partial_rotary_factor", "is 2"}},
    {"rope_parameters", "{\"sliding_attention\":{},\"full_attention\":{\"rope_type\":\"linear\",\"factor\":0}}", {"factor", "is 0"}},
    {"hidden_activation", "\"silu\"", {"hidden_activation", "silu", "gelu_pytorch_tanh"}},
    {"attention_bias", "true", {"attention_bias", "true", "false"}},
    {"attention_bias", "3", {"attention_bias", "true or false"}},
    {"use_bidirectional_attention", "\"all\"", {"use_bidirectional_attention", "all", "vision"}},
    {"use_bidirectional_attention", "true", {"use_bidirectional_attention", "true"}},
    {"enable_moe_block", "true", {"num_experts", "missing"}},
    {"enable_moe_block", "\"yes\"", {"enable_moe_block", "a string"}},
    {"tie_word_embeddings", "1", {"tie_word_embeddings", "true or false"}},
    {"per_layer_config", "{\"4\": {\"head_dim\": 32}}", {"per_layer_config", "\"4\"", "0 to 3"}},
    {"per_layer_config", "{\"x\": {\"head_dim\": 32}}", {"per_layer_config", "\"x\""}},
    {"per_layer_config", "{\"1\": 32}", {"per_layer_config.1", "an object"}},
    {"per_layer_config", "{\"1\": {\"intermediate_size\": 64}}", {"per_layer_config.1", "intermediate_size"}},
    {"per_layer_config", "{\"1\": {\"head_dim\": 100000}}", {"head_dim", "layer 1", "100000"}},
    {"per_layer_config", "{\"3\": {\"head_dim\": 64}}", {"layer 3", "64", "layer 1"}},
};

static void hf__refuses_each_bad_key(void **state) {
    (void)state;
    static ct_config c;
    for (size_t i = 0; i < sizeof hf_cases / sizeof *hf_cases; i++) {
        carat_error err = {0};
        char title[128];
        snprintf(title, sizeof title, "case %zu, %s = %.60s", i, hf_cases[i].key, hf_cases[i].value ? hf_cases[i].value : "nothing");
        assert_refused(read_hf(&c, hf_cases[i].key, hf_cases[i].value, &err), &err, title, hf_cases[i].expect);
    }
}

static void hf__reads_what_it_says(void **state) {
    (void)state;
    static ct_config c;
    carat_error err = {0};
    if (read_hf(&c, NULL, NULL, &err)) fail_msg("%s", err.msg);
    assert_int_equal(c.tied, CT_TIED);
    assert_int_equal(c.layer[1].d_head, 32);
    assert_int_equal(c.layer[3].kv_layer, 1);
    if (read_hf(&c, "tie_word_embeddings", "false", &err)) fail_msg("%s", err.msg);
    assert_int_equal(c.tied, CT_UNTIED);
    /* Counts only together with attention_k_eq_v. */
    if (read_hf(&c, "num_global_key_value_heads", "2", &err)) fail_msg("%s", err.msg);
    assert_int_equal(c.layer[1].n_head_kv, 1);
    /* The newer form of the same. */
    if (read_hf(&c, "per_layer_config", "{\"01\":{\"head_dim\":32},\"3\":{\"head_dim\":32}}", &err)) fail_msg("%s", err.msg);
    assert_int_equal(c.layer[1].d_head, 32);
}

/* google/gemma-3-4b-it says no more than this about its text model. */
static void hf__fills_in_what_gemma_3_leaves_out(void **state) {
    (void)state;
    static const char text[] =
        "{\"model_type\":\"gemma3\",\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":10240,\"model_type\":\"gemma3_text\","
        "\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024}}";
    static ct_config c;
    ct_json *j = NULL;
    carat_error err = {0};
    assert_int_equal(ct_json_parse(&j, text, strlen(text), "config.json", &err), 0);
    if (ct_config_from_hf(&c, j, "config.json", &err)) fail_msg("%s", err.msg);
    ct_json_free(&j);
    assert_int_equal(c.n_vocab, 262208);
    assert_int_equal(c.layer[0].n_head, 8);
    assert_int_equal(c.layer[0].n_head_kv, 4);
    assert_int_equal(c.layer[5].attn, CT_ATTN_FULL);
    assert_true(c.rope[CT_ATTN_FULL].factor == 8.0 && c.rope[CT_ATTN_SLIDING].factor == 1.0);
    assert_true(c.attn_scale == 0.0625f);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__refuses_each_bad_key),
        cmocka_unit_test(gguf__reads_what_it_says),
#if CT_HAVE_JANSSON
        cmocka_unit_test(hf__refuses_each_bad_key),
        cmocka_unit_test(hf__reads_what_it_says),
        cmocka_unit_test(hf__fills_in_what_gemma_3_leaves_out),
#endif
    };
    return cmocka_run_group_tests_name("model config", tests, NULL, maker_cleanup);
}
