/* carat cut on altered copies of the oracle's checkpoints: what is left out, what a GGUF cannot tell, names, and refusals,
 * which leave no file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "cut.h"
#include "cut_util.h"
#include "formats/gguf_write.h"
#include "model/config.h"

/* ---- refusals ----------------------------------------------------------------------------------------- */

static void assert_refused(const char *source, const char *recipe, int code, const char *word) {
    char out[200];
    carat_error err = {0};
    assert_int_equal(try_cut(source, in_dir(out, "refused.gguf"), recipe, 1, &err), code);
    if (!strstr(err.msg, word)) fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
    assert_false(ct_path_exists(out));
}

/* Another value 40 of a tensor of the F32 GGUF `path`. */
static void patch_value(const char *path, const char *tensor, float value) {
    ct_gguf *g = open_gguf(path);
    const long at = (long)ct_gguf_tensor(g, tensor)->offset + 40 * (long)sizeof value;
    ct_gguf_close(&g);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(&value, sizeof value, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static void refuses__values_that_the_type_cannot_hold(void **state) {
    (void)state;
    static const char tensor[] = "blk.0.attn_q.weight";
    char source[400], path[200], out[200];
    cut(oracle(source, 0), in_dir(path, "one.gguf"), "f32", 1);
    patch_value(path, tensor, NAN);
    assert_refused(path, "q8_0", CARAT_EFORMAT, "blk.0.attn_q.weight: value 40");
    patch_value(path, tensor, INFINITY);
    assert_refused(path, "bf16", CARAT_EFORMAT, "value 40");
    patch_value(path, tensor, 7e4f);
    assert_refused(path, "f16", CARAT_EFORMAT, "value 40");
    cut(path, in_dir(out, "a.gguf"), "bf16", 1);
}

static void refuses__files_that_are_no_whole_model(void **state) {
    (void)state;
    char path[200];
    carat_error err;
    static const char *const arch[] = {"clip", "gemma4"}, *const word[] = {"\"clip\", expected", "gemma4.block_count"};
    for (int i = 0; i < 2; i++) {
        ct_gguf_writer *w;
        assert_int_equal(ct_gguf_writer_new(&w, in_dir(path, "one.gguf"), &err), 0);
        ct_gguf_put_str(w, "general.architecture", arch[i], strlen(arch[i]));
        assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
        assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
        ct_gguf_writer_free(&w);
        assert_refused(path, "q8_0", CARAT_EMODEL, word[i]);
    }
}

static void refuses__to_write_what_it_reads(void **state) {
    (void)state;
    char source[400], path[200], other[200];
    carat_error err = {0};
    cut(oracle(source, 0), in_dir(path, "a.gguf"), "f32", 1);
    assert_int_equal(try_cut(path, path, "q8_0", 1, &err), CARAT_EINVAL);
    assert_non_null(strstr(err.msg, "is a file of the model that is read"));
    assert_int_equal(symlink(path, in_dir(other, "link.gguf")), 0);
    assert_int_equal(try_cut(path, other, "q8_0", 1, &err), CARAT_EINVAL);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(link(path, in_dir(other, "link.gguf")), 0);
    assert_int_equal(try_cut(other, path, "q8_0", 1, &err), CARAT_EINVAL);
    assert_int_equal(unlink(other), 0);
    ct_gguf *g = open_gguf(path); /* unharmed */
    assert_int_equal(ct_gguf_tensor(g, "token_embd.weight")->dtype, CT_F32);
    ct_gguf_close(&g);
}

/* ---- altered copies ----------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *s, size_t n) {
    char path[200];
    FILE *f = fopen(in_dir(path, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static char *read_oracle(int folder, const char *name, size_t *n) {
    char path[400], *text;
    carat_error err;
    snprintf(path, sizeof path, ORACLE_DIR "/%s/%s", folders[folder], name);
    if (ct_read_file(&text, n, path, 1 << 24, &err)) fail_msg("%s", err.msg);
    return text;
}

/* Put `to` where `from` stands in the text, which is not so in any other place of it. */
static void copy_replaced(int folder, const char *name, const char *from, const char *to) {
    size_t n;
    char *text = read_oracle(folder, name, &n), *out = malloc(n + strlen(to) + 1), *at = strstr(text, from);
    assert_non_null(out);
    assert_non_null(at);
    assert_null(strstr(at + 1, from));
    const int len = sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    write_file(name, out, (size_t)len);
    free(out);
    ct_free(text);
}

/* model.safetensors with another tensor [rows, cols] of zeroes in F32 behind its own. */
static void copy_weights(int folder, const char *tensor, int rows, int cols) {
    size_t n;
    char *text = read_oracle(folder, "model.safetensors", &n);
    uint64_t head;
    memcpy(&head, text, sizeof head);
    const size_t data = n - 8 - head, extra = tensor ? (size_t)rows * (size_t)cols * 4 : 0;
    char *out = calloc(1, n + extra + 512);
    assert_non_null(out);
    size_t len = head;
    memcpy(out + 8, text + 8, head);
    if (tensor) {
        while (out[8 + len - 1] != '}') len--;
        len += (size_t)sprintf(out + 8 + len - 1, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}}",
                               tensor, rows, cols, data, data + extra) - 1;
    }
    head = len;
    memcpy(out, &head, sizeof head);
    memcpy(out + 8 + len, text + n - data, data);
    memset(out + 8 + len + data, 0, extra);
    write_file("model.safetensors", out, 8 + len + data + extra);
    free(out);
    ct_free(text);
}

/* `dir` as a copy of an oracle's folder, with `from` in its config.json replaced and a tensor added (or NULL). */
static void copy_folder(int folder, const char *from, const char *to, const char *tensor, int rows, int cols) {
    size_t n;
    char *text = read_oracle(folder, "tokenizer.json", &n);
    write_file("tokenizer.json", text, n);
    ct_free(text);
    copy_replaced(folder, "config.json", from, to);
    copy_weights(folder, tensor, rows, cols);
}

#define SAME "\"model_type\"", "\"model_type\""

static void folder__tensors_must_be_expected(void **state) {
    (void)state;
    copy_folder(GEMMA3, SAME, "model.layers.1.mlp.bias", 2, 2);
    assert_refused(dir, "q8_0", CARAT_EMODEL, "model.layers.1.mlp.bias is not expected");
    copy_folder(GEMMA3, SAME, "model.layers.6.input_layernorm.weight", 2, 2);
    assert_refused(dir, "q8_0", CARAT_EMODEL, "not expected in the model of 6 layers");
    copy_folder(E2B, "\"hidden_size\": 32", "\"hidden_size\": 64", NULL, 0, 0);
    assert_refused(dir, "q8_0", CARAT_EMODEL, "has shape");
}

/* Names of all tensors of model.safetensors in `dir` begin with "language_model." from now on. */
static void nest_names(void) {
    static const char more[] = "language_model.";
    char path[200], *text;
    size_t n, len = 0;
    uint64_t head;
    carat_error err;
    assert_int_equal(ct_read_file(&text, &n, in_dir(path, "model.safetensors"), 1 << 24, &err), 0);
    memcpy(&head, text, sizeof head);
    char *out = malloc(8 * n);
    assert_non_null(out);
    for (size_t i = 8; i < 8 + head; i++) {
        out[8 + len++] = text[i];
        if (memcmp(text + i, "\"model.", 7) != 0 && memcmp(text + i, "\"lm_head.", 9) != 0) continue;
        memcpy(out + 8 + len, more, strlen(more));
        len += strlen(more);
    }
    memcpy(out + 8 + len, text + 8 + head, n - 8 - head);
    n += len - head;
    head = len;
    memcpy(out, &head, sizeof head);
    write_file("model.safetensors", out, n);
    free(out);
    ct_free(text);
}

/* The folder in `dir`, and how many tensors were left out. */
static ct_gguf *cut_dir(int *n_left_out) {
    char out[200];
    const cut_opts o = {.source = dir, .out = in_dir(out, "a.gguf"), .recipe = cli_recipe_find("f32"), .n_threads = 1};
    cut_result r;
    carat_error err;
    if (cut_write(&r, &o, &err)) fail_msg("%s", err.msg);
    *n_left_out = r.n_left_out;
    return open_gguf(out);
}

static void folder__towers_are_left_out(void **state) {
    (void)state;
    static const char *const towers[] = {
        "model.vision_tower.patch_embedder.input_proj.weight", "model.embed_vision.embedding_projection.weight",
        "model.audio_tower.layers.0.norm_out.weight", "model.multi_modal_projector.mm_input_projection_weight",
    };
    for (size_t i = 0; i < sizeof towers / sizeof *towers; i++) {
        int n_left_out;
        copy_folder(GEMMA3, SAME, towers[i], 2, 2);
        ct_gguf *g = cut_dir(&n_left_out);
        assert_int_equal(n_left_out, 1);
        ct_gguf_close(&g);
    }
}

static void folder__head_is_written_where_it_is_not_tied(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        const int tied = i % 2;
        int n_left_out;
        copy_folder(GEMMA3, "\"tie_word_embeddings\": true", tied ? "\"hidden_act\": 0" : "\"tie_word_embeddings\": false",
                    "lm_head.weight", 346, 32);
        if (i >= 2) nest_names();
        ct_gguf *g = cut_dir(&n_left_out);
        assert_int_equal(ct_gguf_tensor(g, "output.weight") == NULL, tied);
        assert_int_equal(n_left_out, tied);
        ct_gguf_close(&g);
    }
}

static void folder__keys_and_values_of_sharing_layers_may_be_there(void **state) {
    (void)state;
    for (int there = 0; there < 2; there++) {
        int n_left_out;
        copy_folder(E2B, "\"transformers_version\"", "\"transformers_version\"",
                    there ? "model.language_model.layers.7.self_attn.k_proj.weight" : NULL, 32, 32);
        ct_gguf *g = cut_dir(&n_left_out);
        assert_int_equal(n_left_out, there);
        assert_null(ct_gguf_tensor(g, "blk.7.attn_k.weight"));
        ct_gguf_close(&g);
    }
}

static void folder__without_a_cap_on_logits_stays_without(void **state) {
    (void)state;
    int n_left_out;
    ct_config c;
    carat_error err;
    copy_folder(A4B, "\"final_logit_softcapping\": 30.0", "\"final_logit_softcapping\": null", NULL, 0, 0);
    ct_gguf *g = cut_dir(&n_left_out);
    assert_int_equal(ct_config_from_gguf(&c, g, &err), 0);
    assert_true(c.logit_softcap == 0.0f);
    ct_gguf_close(&g);
}

static void folder__what_keys_cannot_tell_is_refused(void **state) {
    (void)state;
    copy_folder(GEMMA3, "\"gemma3_text\"", "\"gemma2\"", NULL, 0, 0);
    assert_refused(dir, "q8_0", CARAT_EMODEL, "model_type is \"gemma2\"");
    copy_folder(A4B, "\"rope_type\": \"default\"", "\"rope_type\": \"linear\", \"factor\": 2.0", NULL, 0, 0);
    assert_refused(dir, "q8_0", CARAT_EUNSUPPORTED, "factor 2 in sliding layers");
    copy_folder(GEMMA3, "\"rope_scaling\": null",
                "\"rope_scaling\": {\"rope_type\": \"proportional\", \"partial_rotary_factor\": 0.5}", NULL, 0, 0);
    assert_refused(dir, "q8_0", CARAT_EUNSUPPORTED, "gemma3 GGUF cannot tell");
}

static void folder__scaling_of_positions_is_written(void **state) {
    (void)state;
    static const struct {
        int folder;
        const char *from, *to;
    } scaled[] = {
        {GEMMA3, "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}"},
        {A4B, "\"rope_type\": \"proportional\"", "\"rope_type\": \"proportional\", \"factor\": 8.0"},
    };
    for (int i = 0; i < 2; i++) {
        int n_left_out;
        ct_config c;
        carat_error err;
        copy_folder(scaled[i].folder, scaled[i].from, scaled[i].to, NULL, 0, 0);
        ct_gguf *g = cut_dir(&n_left_out);
        assert_int_equal(ct_config_from_gguf(&c, g, &err), 0);
        assert_true(c.rope[CT_ATTN_FULL].factor == 8.0 && c.rope[CT_ATTN_SLIDING].factor == 1.0);
        ct_gguf_close(&g);
    }
}

static void folder__tokenizer_must_fit(void **state) {
    (void)state;
    static const char pieces[] =
        "{\"model\":{\"byte_fallback\":true,\"fuse_unk\":true,\"vocab\":{\"a\":0,\"b\":%d},\"merges\":[%s]}}";
    char text[256], path[200];
    copy_folder(GEMMA3, SAME, NULL, 0, 0);
    assert_int_equal(unlink(in_dir(path, "tokenizer.json")), 0);
    assert_refused(dir, "q8_0", CARAT_EIO, "tokenizer.json");
    snprintf(text, sizeof text, pieces, 346, "");
    write_file("tokenizer.json", text, strlen(text));
    assert_refused(dir, "q8_0", CARAT_EMODEL, "\"b\" has no id below the 346 rows");
    snprintf(text, sizeof text, pieces, 1, "[\"a\"]");
    write_file("tokenizer.json", text, strlen(text));
    assert_refused(dir, "q8_0", CARAT_EFORMAT, "merges[0] is not two pieces");
    snprintf(text, sizeof text, pieces, 1, "");
    write_file("tokenizer.json", text, strlen(text));
    cut(dir, in_dir(path, "a.gguf"), "q8_0", 1);
}

/* ---- names -------------------------------------------------------------------------------------------- */

static void assert_name(const char *path, const char *expected) {
    ct_gguf *g = open_gguf(path);
    ct_str s = {"", 0};
    const ct_gguf_kv *kv = ct_gguf_find(g, "general.name");
    assert_true(kv && ct_gguf_as_str(kv, &s));
    if (s.len != strlen(expected) || memcmp(s.s, expected, s.len) != 0)
        fail_msg("name is %.*s, expected %s", (int)s.len, s.s, expected);
    ct_gguf_close(&g);
}

static void cut_named(const char *source, const char *out, const char *name) {
    const cut_opts o = {.source = source, .out = out, .recipe = cli_recipe_find("q8_0"), .n_threads = 1, .name = name};
    cut_result r;
    carat_error err;
    if (cut_write(&r, &o, &err)) fail_msg("%s", err.msg);
}

static void name__is_given_or_the_sources(void **state) {
    (void)state;
    char source[400], a[200], b[200], here[200];
    cut_named(oracle(source, B31), in_dir(a, "a.gguf"), NULL);
    assert_name(a, "31b");
    cut_named(strcat(source, "//"), a, NULL);
    assert_name(a, "31b");
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(source), 0);
    cut_named(".", a, NULL);
    assert_int_equal(chdir(here), 0);
    assert_name(a, "31b");
    cut_named(source, a, "Story 31B");
    assert_name(a, "Story 31B");
    cut_named(a, in_dir(b, "b.gguf"), NULL);
    assert_name(b, "Story 31B");
    cut_named(a, b, "B");
    assert_name(b, "B");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses__values_that_the_type_cannot_hold),
        cmocka_unit_test(refuses__files_that_are_no_whole_model),
        cmocka_unit_test(refuses__to_write_what_it_reads),
        cmocka_unit_test(folder__tensors_must_be_expected),
        cmocka_unit_test(folder__towers_are_left_out),
        cmocka_unit_test(folder__head_is_written_where_it_is_not_tied),
        cmocka_unit_test(folder__keys_and_values_of_sharing_layers_may_be_there),
        cmocka_unit_test(folder__without_a_cap_on_logits_stays_without),
        cmocka_unit_test(folder__what_keys_cannot_tell_is_refused),
        cmocka_unit_test(folder__scaling_of_positions_is_written),
        cmocka_unit_test(folder__tokenizer_must_fit),
        cmocka_unit_test(name__is_given_or_the_sources),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
