/* carat cut on the oracle's checkpoints: every value, hyperparameter and token of a folder is found again in the GGUF,
 * and a GGUF is cut as the folder it came from. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"
#include "cut_util.h"
#include "formats/gguf_write.h"
#include "formats/safetensors.h"
#include "model/config.h"
#include "quant/quant.h"
#include "text/tokenizer.h"

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

static void declare_tensors(ct_gguf_writer *w, const ct_gguf *g, size_t lo, size_t hi) {
    carat_error err;
    for (size_t i = lo; i < hi; i++) {
        const ct_tensor *t = ct_gguf_tensor_at(g, i);
        assert_int_equal(ct_gguf_put_tensor(w, t->name, t->dtype, t->rank, t->shape, &err), 0);
    }
}

static void write_tensors(ct_gguf_writer *w, const ct_gguf *g, size_t lo, size_t hi) {
    carat_error err;
    for (size_t i = lo; i < hi; i++) {
        assert_int_equal(ct_gguf_write(w, ct_gguf_tensor_at(g, i)->data, ct_gguf_tensor_at(g, i)->bytes, &err), 0);
    }
}

static void finish(ct_gguf_writer **w) {
    carat_error err;
    if (ct_gguf_writer_finish(*w, &err)) fail_msg("%s", err.msg);
    ct_gguf_writer_free(w);
}

/* `from` as two files, the keys and half of the tensors in the first. */
static void write_split(const char *from) {
    ct_gguf *g = open_gguf(from);
    const size_t n = ct_gguf_n_tensor(g);
    for (size_t part = 0; part < 2; part++) {
        char path[200];
        carat_error err;
        ct_gguf_writer *w;
        in_dir(path, part ? "s-00002-of-00002.gguf" : "s-00001-of-00002.gguf");
        assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
        for (size_t i = 0; i < ct_gguf_n_kv(g) && part == 0; i++) ct_gguf_put_copy(w, ct_gguf_kv_at(g, i));
        ct_gguf_put_u32(w, "split.no", (uint32_t)part);
        ct_gguf_put_u32(w, "split.count", 2);
        ct_gguf_put_u32(w, "split.tensors.count", (uint32_t)n);
        const size_t lo = part ? n / 2 : 0, hi = part ? n : n / 2;
        declare_tensors(w, g, lo, hi);
        assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
        write_tensors(w, g, lo, hi);
        finish(&w);
    }
    ct_gguf_close(&g);
}

/* Vision, and keys of a layer that uses another's, as the first published files have them. */
static void gguf__keeps_what_the_text_model_does_not_read(void **state) {
    (void)state;
    static const int64_t shape[2] = {32, 32};
    static const float x[1024] = {1.0f};
    static const struct {
        const char *name;
        ct_dtype type;
    } more[] = {{"blk.7.attn_k.weight", CT_Q8_0}, {"v.patch_embd.weight", CT_F32}};
    char source[400], path[200], out[200];
    carat_error err;
    ct_gguf_writer *w;
    cut(oracle(source, E2B), in_dir(path, "f32.gguf"), "f32", 1);
    ct_gguf *g = open_gguf(path);
    assert_int_equal(ct_gguf_writer_new(&w, in_dir(path, "more.gguf"), &err), 0);
    for (size_t i = 0; i < ct_gguf_n_kv(g); i++) ct_gguf_put_copy(w, ct_gguf_kv_at(g, i));
    ct_gguf_put_arr_i32(w, "clip.sizes", (const int32_t[]){3, 1, 2}, 3);
    for (int i = 0; i < 2; i++) assert_int_equal(ct_gguf_put_tensor(w, more[i].name, CT_F32, 2, shape, &err), 0);
    const size_t n = ct_gguf_n_tensor(g);
    declare_tensors(w, g, 0, n);
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(ct_gguf_write(w, x, sizeof x, &err), 0);
    write_tensors(w, g, 0, n);
    finish(&w);
    ct_gguf_close(&g);
    cut(path, in_dir(out, "a.gguf"), "q8_0", 1);
    g = open_gguf(out);
    assert_int_equal(ct_gguf_n_tensor(g), n + 2);
    for (int i = 0; i < 2; i++) assert_int_equal(ct_gguf_tensor(g, more[i].name)->dtype, more[i].type);
    int64_t size;
    assert_true(ct_gguf_arr_i64(ct_gguf_find(g, "clip.sizes"), 2, &size) && size == 2);
    ct_gguf_close(&g);
}

static void gguf__a_split_set_becomes_the_same_file(void **state) {
    (void)state;
    char source[400], f32[200], whole[200], split[200], out[200], *text[2];
    size_t n[2];
    carat_error err = {0};
    cut(oracle(source, 3), in_dir(f32, "f32.gguf"), "f32", 1);
    write_split(f32);
    cut(f32, in_dir(whole, "a.gguf"), "q8_0", 1);
    cut(in_dir(split, "s-00001-of-00002.gguf"), in_dir(out, "b.gguf"), "q8_0", 1);
    assert_int_equal(ct_read_file(&text[0], &n[0], whole, 1 << 24, &err), 0);
    assert_int_equal(ct_read_file(&text[1], &n[1], out, 1 << 24, &err), 0);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(text[0], text[1], n[0]);
    ct_free(text[0]);
    ct_free(text[1]);
    /* No part of the set may be written to. */
    assert_int_equal(try_cut(split, in_dir(out, "s-00002-of-00002.gguf"), "q8_0", 1, &err), CARAT_EINVAL);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32__holds_every_value_of_the_folder),
        cmocka_unit_test(rope_freqs__let_a_quarter_of_the_pairs_turn),
        cmocka_unit_test(keys__give_the_configuration_of_the_folder),
        cmocka_unit_test(vocab__tokenizes_as_the_folder_does),
        cmocka_unit_test(gguf__cut_twice_equals_cut_once),
        cmocka_unit_test(gguf__keys_are_kept_and_the_file_type_is_new),
        cmocka_unit_test(gguf__keeps_what_the_text_model_does_not_read),
        cmocka_unit_test(gguf__a_split_set_becomes_the_same_file),
        cmocka_unit_test(gguf__quantised_values_stay_near),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
