/* carat cut on the oracle's checkpoints and on crafted files: every value, hyperparameter and token of a folder is
 * found again in the GGUF. Tensor names are checked against model/names.def, which cut does not use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"
#include "cut.h"
#include "formats/gguf_write.h"
#include "formats/safetensors.h"
#include "model/config.h"
#include "quant/quant.h"
#include "text/tokenizer.h"

static char dir[] = "/tmp/carat-cut-XXXXXX";
static const char *const folders[] = {"e2b", "e4b", "31b", "26b-a4b", "gemma3"};
enum { N_FOLDER = sizeof folders / sizeof *folders };

static int make_dir(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }

static int remove_dir(void **state) {
    (void)state;
    char path[600];
    struct dirent *e;
    DIR *d = opendir(dir);
    while (d && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (d) closedir(d);
    return rmdir(dir);
}

static const char *in_dir(char *buf, const char *name) { return snprintf(buf, 200, "%s/%s", dir, name), buf; }
static const char *oracle(char *buf, int i) { return snprintf(buf, 400, ORACLE_DIR "/%s", folders[i]), buf; }

static int try_cut(const char *source, const char *out, const char *recipe, int n_threads, carat_error *err) {
    const cut_opts o = {.source = source, .out = out, .recipe = cli_recipe_find(recipe), .n_threads = n_threads};
    cut_result r;
    return cut_write(&r, &o, err);
}

static void cut(const char *source, const char *out, const char *recipe, int n_threads) {
    carat_error err;
    if (try_cut(source, out, recipe, n_threads, &err)) fail_msg("%s", err.msg);
}

static ct_gguf *open_gguf(const char *path) {
    ct_gguf *g;
    carat_error err;
    if (ct_gguf_open(&g, path, &err)) fail_msg("%s", err.msg);
    return g;
}

static float *values_of(const ct_tensor *t) {
    float *x = malloc((size_t)t->n_elem * sizeof *x);
    assert_non_null(x);
    ct_quant_decoder(t->dtype)(x, t->data, t->n_elem);
    return x;
}

static void assert_same_shape(const ct_tensor *a, const ct_tensor *b) {
    assert_int_equal(a->n_elem, b->n_elem);
    assert_int_equal(a->rank, b->rank);
    for (int d = 0; d < a->rank; d++) assert_int_equal(a->shape[d], b->shape[d]);
}

/* ---- values ------------------------------------------------------------------------------------------- */

static const struct {
    const char *gguf, *hf;
} layer_names[] = {
#define X(field, kind, gguf, hf) {gguf, hf},
#include "model/names.def"
#undef X
}, other_names[] = {
    {"token_embd.weight", "embed_tokens.weight"},
    {"per_layer_token_embd.weight", "embed_tokens_per_layer.weight"},
    {"per_layer_model_proj.weight", "per_layer_model_projection.weight"},
    {"per_layer_proj_norm.weight", "per_layer_projection_norm.weight"},
    {"output_norm.weight", "norm.weight"},
};

/* The folder's tensor for a GGUF name. */
static const ct_tensor *hf_tensor(const ct_safetensors *st, const char *name) {
    static const char *const prefix[] = {"model.language_model.", "model."};
    char rest[128], hf[256];
    int layer;
    for (int p = 0; p < 2; p++) {
        hf[0] = 0;
        if (sscanf(name, "blk.%d.%100s", &layer, rest) == 2) {
            for (size_t i = 0; i < sizeof layer_names / sizeof *layer_names; i++) {
                if (layer_names[i].hf && strcmp(layer_names[i].gguf, rest) == 0) {
                    snprintf(hf, sizeof hf, "%slayers.%d.%s", prefix[p], layer, layer_names[i].hf);
                }
            }
        } else {
            for (size_t i = 0; i < sizeof other_names / sizeof *other_names; i++) {
                if (strcmp(other_names[i].gguf, name) == 0)
                    snprintf(hf, sizeof hf, "%s%s", prefix[p], other_names[i].hf);
            }
        }
        if (ct_safetensors_tensor(st, hf)) return ct_safetensors_tensor(st, hf);
    }
    fail_msg("%s is not in the folder", name);
    return NULL;
}

static void assert_same_values(const ct_tensor *t, const ct_tensor *from, bool plus_one) {
    assert_int_equal(t->dtype, CT_F32);
    assert_same_shape(t, from);
    float *x = values_of(from);
    for (int64_t i = 0; i < t->n_elem; i++) {
        const float want = plus_one ? x[i] + 1.0f : x[i];
        if (ct_load_u32(t->data + 4 * i) != ct_f32_bits(want))
            fail_msg("%s value %d is not %a", t->name, (int)i, (double)want);
    }
    free(x);
}

static bool ends_with(const char *s, const char *end) {
    return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void f32__holds_every_value_of_the_folder(void **state) {
    (void)state;
    char source[400], out[200];
    for (int f = 0; f < N_FOLDER; f++) {
        ct_safetensors *st;
        carat_error err;
        cut(oracle(source, f), in_dir(out, "a.gguf"), "f32", 2);
        assert_int_equal(ct_safetensors_open(&st, source, &err), 0);
        ct_gguf *g = open_gguf(out);
        const bool gemma3 = strcmp(folders[f], "gemma3") == 0;
        size_t n = 0;
        for (size_t i = 0; i < ct_gguf_n_tensor(g); i++) {
            const ct_tensor *t = ct_gguf_tensor_at(g, i);
            if (strcmp(t->name, "rope_freqs.weight") == 0) continue;
            assert_same_values(t, hf_tensor(st, t->name), gemma3 && ends_with(t->name, "norm.weight"));
            n++;
        }
        /* All but keys and values of layers that use another layer's. */
        size_t n_unused = 0;
        ct_config c;
        assert_int_equal(ct_config_from_gguf(&c, g, &err), 0);
        for (size_t i = 0; i < ct_safetensors_n_tensor(st); i++) {
            const char *name = ct_safetensors_tensor_at(st, i)->name, *at = strstr(name, "layers.");
            const bool kv = strstr(name, ".k_proj") || strstr(name, ".v_proj") || strstr(name, ".k_norm");
            n_unused += kv && at && atoi(at + 7) >= c.n_layer - c.n_kv_shared;
        }
        assert_int_equal(n + n_unused, ct_safetensors_n_tensor(st));
        ct_safetensors_close(&st);
        ct_gguf_close(&g);
    }
}

static void rope_freqs__let_a_quarter_of_the_pairs_turn(void **state) {
    (void)state;
    char source[400], out[200];
    for (int f = 0; f < N_FOLDER; f++) {
        cut(oracle(source, f), in_dir(out, "a.gguf"), "q8_0", 1);
        ct_gguf *g = open_gguf(out);
        const ct_tensor *t = ct_gguf_tensor(g, "rope_freqs.weight");
        if (strcmp(folders[f], "gemma3") == 0) {
            assert_null(t);
        } else {
            assert_int_equal(t->dtype, CT_F32);
            for (int64_t i = 0; i < t->n_elem; i++) {
                const float x = ct_f32_from_bits(ct_load_u32(t->data + 4 * i));
                assert_true(i < t->n_elem / 4 ? x == 1.0f : x == 1e30f);
            }
        }
        ct_gguf_close(&g);
    }
}

/* ---- hyperparameters and text ------------------------------------------------------------------------- */

/* All but what a GGUF says by its tensors (sizes of tables, V from K) or what the conversion changes (norms). */
static void assert_same_config(const ct_config *a, const ct_config *b) {
    assert_int_equal(a->arch, b->arch);
    assert_int_equal(a->n_layer, b->n_layer);
    assert_int_equal(a->d_model, b->d_model);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
    assert_int_equal(a->w_swa, b->w_swa);
    assert_true(a->rms_eps == b->rms_eps && a->logit_softcap == b->logit_softcap);
    assert_true(fabsf(a->attn_scale - b->attn_scale) < 1e-7f);
    assert_int_equal(a->v_norm, b->v_norm);
    assert_int_equal(a->has_layer_scale, b->has_layer_scale);
    assert_int_equal(a->bidirectional_media, b->bidirectional_media);
    assert_int_equal(a->d_ple, b->d_ple);
    assert_int_equal(a->n_kv_shared, b->n_kv_shared);
    assert_int_equal(a->n_expert, b->n_expert);
    assert_int_equal(a->n_expert_used, b->n_expert_used);
    assert_int_equal(a->d_ff_expert, b->d_ff_expert);
    for (int k = 0; k < CT_N_ATTN; k++) {
        assert_true(a->rope[k].theta == b->rope[k].theta && a->rope[k].factor == b->rope[k].factor);
        assert_true(a->rope[k].partial == b->rope[k].partial);
    }
    for (int i = 0; i < a->n_layer; i++) {
        const ct_layer_config *x = &a->layer[i], *y = &b->layer[i];
        assert_int_equal(x->attn, y->attn);
        assert_int_equal(x->n_head, y->n_head);
        assert_int_equal(x->n_head_kv, y->n_head_kv);
        assert_int_equal(x->d_head, y->d_head);
        assert_int_equal(x->d_ff, y->d_ff);
        assert_int_equal(x->kv_layer, y->kv_layer);
    }
}

static void keys__give_the_configuration_of_the_folder(void **state) {
    (void)state;
    char source[400], out[200], path[500];
    for (int f = 0; f < N_FOLDER; f++) {
        ct_config a, b;
        ct_json *j;
        carat_error err;
        cut(oracle(source, f), in_dir(out, "a.gguf"), "bf16", 1);
        snprintf(path, sizeof path, "%s/config.json", source);
        assert_int_equal(ct_json_load(&j, path, 1 << 20, &err), 0);
        assert_int_equal(ct_config_from_hf(&a, j, "config.json", &err), 0);
        ct_json_free(&j);
        ct_gguf *g = open_gguf(out);
        if (ct_config_from_gguf(&b, g, &err)) fail_msg("%s", err.msg);
        assert_same_config(&a, &b);
        ct_gguf_close(&g);
    }
}

static void assert_same_ids(const ct_tokenizer *a, const ct_tokenizer *b, const char *s, size_t n) {
    ct_ids x = {0}, y = {0};
    for (int special = 0; special < 2; special++) {
        x.n = y.n = 0;
        assert_int_equal(ct_tokenizer_encode(a, s, n, special, &x, NULL), 0);
        assert_int_equal(ct_tokenizer_encode(b, s, n, special, &y, NULL), 0);
        assert_int_equal(x.n, y.n);
        if (x.n) assert_memory_equal(x.id, y.id, x.n * sizeof *x.id);
    }
    ct_ids_free(&x);
    ct_ids_free(&y);
}

static void vocab__tokenizes_as_the_folder_does(void **state) {
    (void)state;
    char source[400], out[200], *text;
    size_t n_text;
    ct_tokenizer *a, *b;
    carat_error err;
    cut(oracle(source, 0), in_dir(out, "a.gguf"), "f16", 1);
    ct_gguf *g = open_gguf(out);
    if (ct_tokenizer_from_hf(&a, source, &err) || ct_tokenizer_from_gguf(&b, g, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_tokenizer_n_vocab(a), ct_tokenizer_n_vocab(b));
    assert_int_equal(ct_tokenizer_bos(a), ct_tokenizer_bos(b));
    for (int32_t id = 0; id < ct_tokenizer_n_vocab(a); id++) {
        size_t n, m;
        const char *s = ct_tokenizer_piece(a, id, &n), *t = ct_tokenizer_piece(b, id, &m);
        assert_int_equal(n, m);
        assert_memory_equal(s, t, n);
        assert_int_equal(ct_tokenizer_is_control(a, id), ct_tokenizer_is_control(b, id));
        assert_int_equal(ct_tokenizer_is_stop(a, id), ct_tokenizer_is_stop(b, id));
        assert_same_ids(a, b, s, n);
    }
    /* The golden lines with their JSON around them are as good a text as any. */
    assert_int_equal(ct_read_file(&text, &n_text, ORACLE_DIR "/tokenizer_golden.jsonl", 1 << 20, &err), 0);
    assert_same_ids(a, b, text, n_text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) assert_same_ids(a, b, line, strlen(line));
    ct_free(text);
    ct_tokenizer_free(&a);
    ct_tokenizer_free(&b);
    ct_gguf_close(&g);
}

/* ---- from GGUF to GGUF -------------------------------------------------------------------------------- */

static void assert_same_tensors(const char *a, const char *b) {
    ct_gguf *x = open_gguf(a), *y = open_gguf(b);
    assert_int_equal(ct_gguf_n_tensor(x), ct_gguf_n_tensor(y));
    for (size_t i = 0; i < ct_gguf_n_tensor(x); i++) {
        const ct_tensor *t = ct_gguf_tensor_at(x, i), *u = ct_gguf_tensor_at(y, i);
        assert_string_equal(t->name, u->name);
        assert_int_equal(t->dtype, u->dtype);
        assert_same_shape(t, u);
        assert_memory_equal(t->data, u->data, t->bytes);
    }
    ct_gguf_close(&x);
    ct_gguf_close(&y);
}

static void gguf__cut_twice_equals_cut_once(void **state) {
    (void)state;
    static const char *const recipe[] = {"f32", "q8_0", "q4_0", "q4_k_m", "q5_k", "iq4_xs"};
    char source[400], f32[200], a[200], b[200];
    for (int f = 0; f < N_FOLDER; f++) {
        cut(oracle(source, f), in_dir(f32, "f32.gguf"), "f32", 1);
        for (size_t r = 0; r < sizeof recipe / sizeof *recipe; r++) {
            cut(source, in_dir(a, "a.gguf"), recipe[r], 1);
            cut(f32, in_dir(b, "b.gguf"), recipe[r], 3);
            assert_same_tensors(a, b);
        }
    }
}

static void gguf__keys_are_kept_and_the_file_type_is_new(void **state) {
    (void)state;
    char source[400], a[200], b[200];
    cut(oracle(source, 0), in_dir(a, "a.gguf"), "f32", 1);
    cut(a, in_dir(b, "b.gguf"), "q5_1", 1);
    ct_gguf *x = open_gguf(a), *y = open_gguf(b);
    assert_int_equal(ct_gguf_n_kv(x), ct_gguf_n_kv(y));
    for (size_t i = 0; i < ct_gguf_n_kv(x); i++) {
        const ct_gguf_kv *k = ct_gguf_kv_at(x, i), *l = ct_gguf_find(y, k->key);
        int64_t type;
        assert_non_null(l);
        assert_int_equal(k->type, l->type);
        if (strcmp(k->key, "general.file_type") == 0) {
            assert_true(ct_gguf_as_i64(l, &type) && type == 9);
        } else {
            assert_int_equal(k->end - k->data, l->end - l->data);
            assert_memory_equal(k->data, l->data, (size_t)(k->end - k->data));
        }
    }
    ct_gguf_close(&x);
    ct_gguf_close(&y);
}

static void gguf__quantised_values_stay_near(void **state) {
    (void)state;
    static const struct {
        const char *recipe;
        double rms; /* of the error, relative to the tensor's; rows of 32 make K types fall back */
    } bound[] = {{"q8_0", 0.006}, {"q4_0", 0.09}, {"q6_k", 0.006}, {"q4_k", 0.05}, {"q5_k", 0.04}, {"q2_k", 0.085}};
    char source[400], out[200];
    for (size_t r = 0; r < sizeof bound / sizeof *bound; r++) {
        ct_safetensors *st;
        carat_error err;
        cut(oracle(source, 3), in_dir(out, "a.gguf"), bound[r].recipe, 2);
        ct_gguf *g = open_gguf(out);
        assert_int_equal(ct_safetensors_open(&st, source, &err), 0);
        double sum = 0, dif = 0;
        const ct_tensor *t = ct_gguf_tensor(g, "blk.1.ffn_gate_up_exps.weight");
        float *x = values_of(t), *y = values_of(hf_tensor(st, t->name));
        for (int64_t i = 0; i < t->n_elem; i++) {
            sum += (double)y[i] * (double)y[i];
            dif += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        }
        assert_true(t->dtype != CT_F32 && sqrt(dif / sum) < bound[r].rms && dif > 0);
        free(x);
        free(y);
        ct_safetensors_close(&st);
        ct_gguf_close(&g);
    }
}

/* ---- refusals ----------------------------------------------------------------------------------------- */

static void assert_refused(const char *source, const char *recipe, int code, const char *word) {
    char out[200];
    carat_error err = {0};
    assert_int_equal(try_cut(source, in_dir(out, "refused.gguf"), recipe, 1, &err), code);
    if (!strstr(err.msg, word)) fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
    assert_false(ct_path_exists(out));
}

/* A GGUF of one 2 x 32 matrix whose value 40 is `value`. */
static void write_one(const char *path, const char *arch, float value) {
    static const int64_t shape[2] = {2, 32};
    float x[64] = {0};
    carat_error err;
    ct_gguf_writer *w;
    x[40] = value;
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
    ct_gguf_put_str(w, "general.architecture", arch, strlen(arch));
    assert_int_equal(ct_gguf_put_tensor(w, "blk.0.attn_q.weight", CT_F32, 2, shape, &err), 0);
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    assert_int_equal(ct_gguf_write(w, x, sizeof x, &err), 0);
    assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
    ct_gguf_writer_free(&w);
}

static void refuses__values_that_the_type_cannot_hold(void **state) {
    (void)state;
    char path[200], out[200];
    write_one(in_dir(path, "one.gguf"), "gemma4", NAN);
    assert_refused(path, "q8_0", CARAT_EFORMAT, "blk.0.attn_q.weight: value 40");
    write_one(path, "gemma4", INFINITY);
    assert_refused(path, "bf16", CARAT_EFORMAT, "value 40");
    write_one(path, "gemma4", 7e4f);
    assert_refused(path, "f16", CARAT_EFORMAT, "value 40");
    cut(path, in_dir(out, "a.gguf"), "bf16", 1);
}

static void refuses__other_architectures(void **state) {
    (void)state;
    char path[200];
    write_one(in_dir(path, "one.gguf"), "clip", 1);
    assert_refused(path, "q8_0", CARAT_EMODEL, "\"clip\", expected gemma4 or gemma3");
}

static void write_text(const char *name, const char *s, size_t n) {
    char path[200];
    FILE *f = fopen(in_dir(path, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

#define CONFIG(more)                                                                                        \
    "{\"model_type\":\"gemma4_text\",\"num_hidden_layers\":2,\"hidden_size\":32,\"num_attention_heads\":1," \
    "\"num_key_value_heads\":1,\"head_dim\":32,\"intermediate_size\":32" more "}"

/* A folder in `dir` with this config and one F32 tensor [2, 2] of this name. */
static void write_folder(const char *config, const char *tensor) {
    char st[512];
    uint64_t n;
    const int len =
        snprintf(st + 8, sizeof st - 8, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", tensor);
    n = (uint64_t)len;
    memcpy(st, &n, 8);
    memset(st + 8 + len, 0, 16);
    write_text("config.json", config, strlen(config));
    write_text("model.safetensors", st, (size_t)len + 24);
}

static void refuses__folders_that_are_not_understood(void **state) {
    (void)state;
    char path[200];
    assert_refused(dir, "q8_0", CARAT_EIO, "config.json");
    write_folder("{\"model_type\":\"gemma2\"}", "model.norm.weight");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "model_type is \"gemma2\"");
    write_folder("{\"model_type\":\"gemma4_text\"}", "model.norm.weight");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "num_hidden_layers");
    write_folder(CONFIG(""), "model.layers.1.mlp.bias");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "model.layers.1.mlp.bias is not known");
    write_folder(CONFIG(""), "model.layers.2.input_layernorm.weight");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "not known (2 layers)");
    write_folder(CONFIG(",\"layer_types\":[\"full_attention\"]"), "model.norm.weight");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "layer_types has 1 entries, expected 2");
    write_folder(CONFIG(",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"yarn\"}}"), "model.norm.weight");
    assert_refused(dir, "q8_0", CARAT_EUNSUPPORTED, "rope_type \"yarn\"");
    write_folder(CONFIG(",\"per_layer_config\":{\"7\":{}}"), "model.norm.weight");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "per_layer_config has \"7\"");
    write_folder(CONFIG(""), "model.norm.weight");
    assert_refused(dir, "q8_0", CARAT_EMODEL, "no embed_tokens.weight");
    write_folder(CONFIG(""), "model.embed_tokens.weight");
    assert_refused(dir, "q8_0", CARAT_EIO, "tokenizer.json");
    static const char pieces[] =
        "{\"model\":{\"byte_fallback\":true,\"fuse_unk\":true,\"vocab\":{\"a\":0,\"b\":%d},\"merges\":[%s]}}";
    char text[256];
    snprintf(text, sizeof text, pieces, 2, "");
    write_text("tokenizer.json", text, strlen(text));
    assert_refused(dir, "q8_0", CARAT_EMODEL, "\"b\" has no id below the 2 rows");
    snprintf(text, sizeof text, pieces, 1, "[\"a\"]");
    write_text("tokenizer.json", text, strlen(text));
    assert_refused(dir, "q8_0", CARAT_EFORMAT, "merges[0] is not two pieces");
    snprintf(text, sizeof text, pieces, 1, "");
    write_text("tokenizer.json", text, strlen(text));
    cut(dir, in_dir(path, "a.gguf"), "q8_0", 1); /* [2,2]: rows that fill no block become F16 */
    ct_gguf *g = open_gguf(path);
    assert_int_equal(ct_gguf_tensor(g, "token_embd.weight")->dtype, CT_F16);
    ct_gguf_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32__holds_every_value_of_the_folder),
        cmocka_unit_test(rope_freqs__let_a_quarter_of_the_pairs_turn),
        cmocka_unit_test(keys__give_the_configuration_of_the_folder),
        cmocka_unit_test(vocab__tokenizes_as_the_folder_does),
        cmocka_unit_test(gguf__cut_twice_equals_cut_once),
        cmocka_unit_test(gguf__keys_are_kept_and_the_file_type_is_new),
        cmocka_unit_test(gguf__quantised_values_stay_near),
        cmocka_unit_test(refuses__values_that_the_type_cannot_hold),
        cmocka_unit_test(refuses__other_architectures),
        cmocka_unit_test(refuses__folders_that_are_not_understood),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
