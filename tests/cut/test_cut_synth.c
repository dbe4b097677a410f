/* carat synth: the table of variants against published counts, the mix of types against published files, and a small
 * made-up variant written and read back. Counts are those of gemma4-spec 1.2, 1.3, 3.6, 3.8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/half.h"
#include "model/config.h"
#include "quant/quant.h"
#include "synth.h"
#include "synth_vocab.h"
#include "text/tokenizer.h"

static char dir[] = "/tmp/carat-synth-XXXXXX";

static int make_dir(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }
static int remove_dir(void **state) { return (void)state, rmdir(dir); }

static const char *in_dir(char *buf, const char *name) { return snprintf(buf, 128, "%s/%s", dir, name), buf; }

static synth_list *list_of(const char *variant) {
    synth_list *l = malloc(sizeof *l);
    assert_non_null(l);
    assert_non_null(synth_variant_find(variant));
    assert_int_equal(synth_list_tensors(l, synth_variant_find(variant), NULL), 0);
    return l;
}

static int64_t sum_of(const synth_list *l, const char *part) {
    int64_t n = 0;
    for (int i = 0; i < l->n; i++) n += strstr(l->name[i], part) ? l->t[i].n_elem : 0;
    return n;
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static void shapes__have_the_published_tensor_and_parameter_counts(void **state) {
    (void)state;
    static const struct {
        const char *variant;
        int n_tensor;
        int64_t total, token_embd, ple_table, experts;
    } expected[] = {
        {"e2b", 541, 4628569379, 402653184, 2348810240, 0},
        {"e4b", 666, 7463013418, 671088640, 2818572288, 0},
        {"31b", 833, 30697345340, 1409286144, 0, 0},
        {"26b-a4b", 658, 25233141790, 738197504, 0, 22837985280},
    };
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        synth_list *l = list_of(expected[k].variant);
        assert_int_equal(l->n, expected[k].n_tensor);
        assert_int_equal(synth_n_params(l), expected[k].total);
        assert_int_equal(l->t[1].n_elem, expected[k].token_embd);
        assert_string_equal(l->name[1], "token_embd.weight");
        assert_int_equal(sum_of(l, "per_layer_token_embd"), expected[k].ple_table);
        assert_int_equal(sum_of(l, "_exps.weight"), expected[k].experts);
        free(l);
    }
}

static void shapes__give_every_tensor_a_name_of_its_own(void **state) {
    (void)state;
    for (int v = 0; synth_variant_at(v); v++) {
        synth_list *l = list_of(synth_variant_at(v)->name);
        for (int i = 0; i < l->n; i++) {
            assert_true(l->t[i].name == l->name[i] && strlen(l->name[i]) < SYNTH_MAX_NAME - 1);
            for (int j = 0; j < i; j++) assert_string_not_equal(l->name[i], l->name[j]);
        }
        free(l);
    }
}

static void count_types(int count[CT_N_DTYPE], synth_list *l, const char *recipe) {
    memset(count, 0, CT_N_DTYPE * sizeof *count);
    cli_recipe_assign(cli_recipe_find(recipe), l->t, (size_t)l->n);
    for (int i = 0; i < l->n; i++) count[l->t[i].dtype]++;
}

static void recipe__gives_the_types_of_published_files(void **state) {
    (void)state;
    int n[CT_N_DTYPE];
    synth_list *l = list_of("26b-a4b");
    count_types(n, l, "Q4_K_M"); /* lmstudio's file */
    assert_int_equal(n[CT_F32], 392);
    assert_int_equal(n[CT_Q4_K], 192);
    assert_int_equal(n[CT_Q5_0], 32);
    assert_int_equal(n[CT_Q8_0], 28);
    assert_int_equal(n[CT_Q6_K], 14);
    count_types(n, l, "q4_0");
    assert_int_equal(n[CT_F32], 392);
    assert_int_equal(n[CT_Q4_0], 266);
    count_types(n, l, "q5_k"); /* ffn_down (2112) and ffn_down_exps (704) do not fill super-blocks */
    assert_int_equal(n[CT_Q5_1], 60);
    count_types(n, l, "q3_k");
    assert_int_equal(n[CT_IQ4_NL], 60);
    free(l);
    l = list_of("e4b");
    count_types(n, l, "bf16"); /* F32 339 and BF16 381 with 54 redundant tensors, 18 of them norms */
    assert_int_equal(n[CT_F32], 339 - 18);
    assert_int_equal(n[CT_BF16], 381 - 36);
    count_types(n, l, "f32");
    assert_int_equal(n[CT_F32], 666);
    free(l);
}

static void recipe__list_of_names_matches_the_table(void **state) {
    (void)state;
    char names[] = CLI_RECIPE_NAMES;
    int n = 0;
    for (char *s = strtok(names, ", "); s; s = strtok(NULL, ", "), n++) {
        assert_ptr_equal(cli_recipe_find(s), cli_recipe_at(n));
        assert_non_null(cli_recipe_at(n));
    }
    assert_null(cli_recipe_at(n));
    assert_null(cli_recipe_find("q4"));
}

/* ---- the vocabulary ----------------------------------------------------------------------------------- */

static void open_vocab(ct_gguf **g, ct_tokenizer **t, uint64_t seed) {
    char path[128];
    carat_error err;
    ct_gguf_writer *w;
    assert_int_equal(ct_gguf_writer_new(&w, in_dir(path, "vocab.gguf"), &err), 0);
    assert_int_equal(synth_put_vocab(w, seed, &err), 0);
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
    ct_gguf_writer_free(&w);
    assert_int_equal(ct_gguf_open(g, path, &err), 0);
    if (ct_tokenizer_from_gguf(t, *g, &err)) fail_msg("%s", err.msg);
    unlink(path);
}

static void vocab__every_piece_is_reached_from_its_text(void **state) {
    (void)state;
    ct_gguf *g;
    ct_tokenizer *t;
    ct_ids ids = {0};
    open_vocab(&g, &t, 7);
    assert_int_equal(ct_tokenizer_n_vocab(t), SYNTH_VOCAB);
    for (int32_t id = 0; id < SYNTH_VOCAB; id++) {
        size_t len;
        const char *s = ct_tokenizer_piece(t, id, &len);
        if (ct_tokenizer_byte(t, id) >= 0) continue;
        ids.n = 0;
        assert_int_equal(ct_tokenizer_encode(t, s, len, true, &ids, NULL), 0);
        if (ids.n != 1 || ids.id[0] != id) fail_msg("id %d \"%.*s\": %zu ids", (int)id, (int)len, s, ids.n);
    }
    ct_ids_free(&ids);
    ct_tokenizer_free(&t);
    ct_gguf_close(&g);
}

static void vocab__special_tokens_have_their_published_ids(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t id;
        bool control, stop;
    } expected[] = {
        {"<pad>", 0, true, false},     {"<eos>", 1, true, true},        {"<bos>", 2, true, false},
        {"<unk>", 3, true, false},     {"<|tool_response>", 50, true, true}, {"<|think|>", 98, true, false},
        {"<|channel>", 100, true, false}, {"<|turn>", 105, true, false}, {"<turn|>", 106, true, true},
        {"\n", 107, false, false},     {"\n\n", 108, false, false},     {"</s>", 212, false, false},
        {"<0x00>", 238, false, false}, {"thought", 45518, false, false}, {"<|image>", 255999, true, false},
        {"<|image|>", 258880, true, false}, {"<audio|>", 258883, true, false}, {"<|video|>", 258884, true, false},
    };
    ct_gguf *g;
    ct_tokenizer *t;
    open_vocab(&g, &t, 1);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const int32_t id = ct_tokenizer_find(t, expected[i].text, strlen(expected[i].text));
        assert_int_equal(id, expected[i].id);
        assert_int_equal(ct_tokenizer_is_control(t, id), expected[i].control);
        assert_int_equal(ct_tokenizer_is_stop(t, id), expected[i].stop);
    }
    ct_tokenizer_free(&t);
    ct_gguf_close(&g);
}

/* ---- a file ------------------------------------------------------------------------------------------- */

static const synth_variant tiny = {
    .name = "tiny",
    .title = "tiny",
    .label = "52M",
    .n_layer = 4,
    .d_model = 64,
    .n_ctx = 4096,
    .w_swa = 16,
    .period = 2,
    .n_head = 2,
    .n_head_kv_swa = 1,
    .n_head_kv = 1,
    .d_ff = 96,
    .d_ff_shared = 192,
    .n_kv_shared = 2,
    .d_ple = 32,
};

static int write_laid(const char *path, const char *recipe, cli_layout layout, uint64_t seed, synth_progress_fn progress,
                      synth_result *r) {
    const synth_opts o = {.variant = &tiny, .recipe = cli_recipe_find(recipe), .layout = layout, .out = path, .seed = seed,
                          .progress = progress};
    carat_error err;
    return synth_write(r, &o, &err);
}

static int write_tiny(const char *path, const char *recipe, uint64_t seed, synth_progress_fn progress, synth_result *r) {
    return write_laid(path, recipe, CLI_LAYOUT_ROWS, seed, progress, r);
}

static double rms_of(const ct_tensor *t) {
    float x[4096];
    double sum = 0;
    const int64_t n = t->n_elem < 4096 ? t->n_elem : 4096;
    ct_quant_decoder(t->dtype)(x, t->data, n);
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

static void file__holds_what_was_asked_for(void **state) {
    (void)state;
    char path[128];
    carat_error err;
    synth_result r;
    ct_gguf *g;
    assert_int_equal(write_tiny(in_dir(path, "a.gguf"), "q4_0", 1, NULL, &r), 0);
    assert_int_equal(ct_gguf_open(&g, path, &err), 0);
    assert_int_equal(ct_gguf_n_tensor(g), r.n_tensor);
    ct_config c;
    if (ct_config_from_gguf(&c, g, &err)) fail_msg("%s", err.msg);
    assert_int_equal(c.n_layer, 4);
    assert_int_equal(c.n_kv_shared, 2);
    assert_int_equal(c.d_ple, 32);
    assert_int_equal(c.layer[1].attn, CT_ATTN_FULL);
    assert_int_equal(c.layer[1].d_ff, 96);
    assert_int_equal(c.layer[3].d_ff, 192);
    assert_int_equal(c.layer[3].kv_layer, 1);
    assert_null(ct_gguf_tensor(g, "blk.2.attn_k.weight"));
    const ct_tensor *t = ct_gguf_tensor(g, "token_embd.weight");
    assert_int_equal(t->dtype, CT_Q4_0);
    assert_int_equal(t->shape[0], SYNTH_VOCAB);
    assert_true(fabs(rms_of(t) - 1.0 / 8) < 0.01);
    assert_true(fabs(rms_of(ct_gguf_tensor(g, "per_layer_token_embd.weight")) - 1 / sqrt(32.0)) < 0.01);
    assert_int_equal(ct_gguf_tensor(g, "per_layer_model_proj.weight")->dtype, CT_BF16);
    assert_true(fabs(rms_of(ct_gguf_tensor(g, "blk.0.attn_norm.weight")) - 1) < 0.1);
    const ct_tensor *freqs = ct_gguf_tensor(g, "rope_freqs.weight");
    assert_int_equal(freqs->n_elem, 256);
    for (size_t i = 0; i < 256; i++) {
        const float f = ct_f32_from_bits(ct_load_u32(freqs->data + 4 * i));
        assert_true(i < 64 ? f == 1.0f : f == 1e30f);
    }
    ct_gguf_close(&g);
    unlink(path);
}

static char *slurp(const char *name, size_t *n) {
    char path[128], *text;
    assert_int_equal(ct_read_file(&text, n, in_dir(path, name), (size_t)1 << 30, NULL), 0);
    unlink(path);
    return text;
}

static void file__follows_from_the_seed(void **state) {
    (void)state;
    char path[128], *text[3];
    size_t n[3];
    synth_result r;
    assert_int_equal(write_tiny(in_dir(path, "a.gguf"), "q4_k_m", 5, NULL, &r), 0);
    text[0] = slurp("a.gguf", &n[0]);
    assert_int_equal(write_tiny(in_dir(path, "a.gguf"), "q4_k_m", 5, NULL, &r), 0);
    text[1] = slurp("a.gguf", &n[1]);
    assert_int_equal(write_tiny(in_dir(path, "a.gguf"), "q4_k_m", 6, NULL, &r), 0);
    text[2] = slurp("a.gguf", &n[2]);
    assert_int_equal(n[0], n[1]);
    assert_int_equal(memcmp(text[0], text[1], n[0]), 0);
    assert_true(n[2] != n[0] || memcmp(text[0], text[2], n[0]) != 0);
    for (int i = 0; i < 3; i++) ct_free(text[i]);
}

static void file__holds_the_same_values_in_either_layout(void **state) {
    (void)state;
    char a[128], b[128];
    carat_error err;
    synth_result r;
    ct_gguf *rows, *panels;
    int n = 0;
    assert_int_equal(write_tiny(in_dir(a, "a.gguf"), "q4_0", 1, NULL, &r), 0);
    assert_int_equal(write_laid(in_dir(b, "b.gguf"), "q4_0", CLI_LAYOUT_PANELS, 1, NULL, &r), 0);
    assert_int_equal(ct_gguf_open(&rows, a, &err), 0);
    assert_int_equal(ct_gguf_open(&panels, b, &err), 0);
    for (size_t i = 0; i < ct_gguf_n_tensor(rows); i++) {
        const ct_tensor *t = ct_gguf_tensor_at(rows, i), *u = ct_gguf_tensor_at(panels, i);
        uint8_t *back = malloc(t->bytes);
        assert_string_equal(t->name, u->name);
        assert_true(t->dtype == u->dtype && t->bytes == u->bytes && !t->panels);
        memcpy(back, u->data, u->bytes);
        if (u->panels) cli_layout_unpack(back, u->data, u, u->n_elem / u->shape[u->rank - 1]);
        assert_memory_equal(back, t->data, t->bytes);
        assert_int_equal(u->panels, t->dtype == CT_Q4_0 && strcmp(t->name, "per_layer_token_embd.weight") != 0);
        n += u->panels;
        free(back);
    }
    assert_true(n > 20);
    ct_gguf_close(&rows);
    ct_gguf_close(&panels);
    unlink(b);
    assert_int_equal(write_laid(b, "bf16", CLI_LAYOUT_PANELS, 1, NULL, &r), CARAT_EUNSUPPORTED);
    assert_false(ct_path_exists(b));
    unlink(a);
}

static bool stop_half_way(void *ud, uint64_t done, uint64_t total) { return (void)ud, done < total / 2; }

static void file__leaves_nothing_behind_when_stopped(void **state) {
    (void)state;
    char path[128];
    synth_result r;
    assert_int_equal(write_tiny(in_dir(path, "a.gguf"), "q8_0", 1, stop_half_way, &r), CARAT_ECANCEL);
    assert_false(ct_path_exists(path));
    assert_int_equal(rmdir(dir), 0); /* no temporary file either */
    assert_int_equal(write_tiny(path, "q8_0", 1, NULL, &r), CARAT_EIO);
    assert_non_null(strcpy(dir + strlen(dir) - 6, "XXXXXX"));
    assert_non_null(mkdtemp(dir));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes__have_the_published_tensor_and_parameter_counts),
        cmocka_unit_test(shapes__give_every_tensor_a_name_of_its_own),
        cmocka_unit_test(recipe__gives_the_types_of_published_files),
        cmocka_unit_test(recipe__list_of_names_matches_the_table),
        cmocka_unit_test(vocab__every_piece_is_reached_from_its_text),
        cmocka_unit_test(vocab__special_tokens_have_their_published_ids),
        cmocka_unit_test(file__holds_what_was_asked_for),
        cmocka_unit_test(file__follows_from_the_seed),
        cmocka_unit_test(file__holds_the_same_values_in_either_layout),
        cmocka_unit_test(file__leaves_nothing_behind_when_stopped),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
