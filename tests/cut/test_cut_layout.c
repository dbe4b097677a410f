/* carat cut --layout: to panels and back gives the same file; a panel file is cut as the rows it holds; what the library
 * reads by rows, or in parts that panels would straddle, stays in rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cut.h"
#include "cut_util.h"

static int try_lay(const char *source, const char *out, const char *recipe, cli_layout layout, int n_threads, cut_result *r,
                   carat_error *err) {
    const cut_opts o = {.source = source, .out = out, .recipe = recipe ? cli_recipe_find(recipe) : NULL, .layout = layout,
                        .n_threads = n_threads};
    return cut_write(r, &o, err);
}

/* How many tensors lie as panels. */
static int lay(const char *source, const char *out, const char *recipe, cli_layout layout, int n_threads) {
    carat_error err;
    cut_result r;
    if (try_lay(source, out, recipe, layout, n_threads, &r, &err)) fail_msg("%s", err.msg);
    return r.n_panels;
}

static void assert_same_file(const char *a, const char *b) {
    char *x, *y;
    size_t n, m;
    carat_error err;
    assert_int_equal(ct_read_file(&x, &n, a, 1 << 26, &err), 0);
    assert_int_equal(ct_read_file(&y, &m, b, 1 << 26, &err), 0);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    ct_free(x);
    ct_free(y);
}

static void layout__there_and_back_gives_the_same_file(void **state) {
    (void)state;
    static const char *const recipe[] = {"q8_0", "q4_0"};
    char source[400], a[200], p[200], b[200];
    in_dir(a, "a.gguf"), in_dir(p, "p.gguf"), in_dir(b, "b.gguf");
    for (int f = 0; f < N_FOLDER; f++) {
        for (int i = 0; i < 2; i++) {
            cut(oracle(source, f), a, recipe[i], 1);
            const int n = lay(a, p, NULL, CLI_LAYOUT_PANELS, 3);
            assert_true(n > 10);
            assert_int_equal(lay(p, b, NULL, CLI_LAYOUT_ROWS, 1), 0);
            assert_same_file(a, b);
            assert_int_equal(lay(p, b, NULL, CLI_LAYOUT_PANELS, 1), n); /* as it is */
            assert_same_file(p, b);
        }
    }
}

/* Type and layout at once, and from panels to another type, whatever the threads. */
static void layout__of_another_type_is_that_of_its_rows(void **state) {
    (void)state;
    char source[400], q8[200], q4[200], p[200], a[200], b[200];
    in_dir(q8, "q8.gguf"), in_dir(q4, "q4.gguf"), in_dir(p, "p.gguf"), in_dir(a, "a.gguf"), in_dir(b, "b.gguf");
    for (int f = 0; f < N_FOLDER; f++) {
        oracle(source, f);
        cut(source, q8, "q8_0", 1);
        cut(q8, q4, "q4_0", 1);
        lay(q8, p, NULL, CLI_LAYOUT_PANELS, 1);
        for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
            lay(source, b, "q8_0", CLI_LAYOUT_PANELS, n_threads);
            lay(b, a, "q8_0", CLI_LAYOUT_ROWS, n_threads);
            assert_same_file(a, q8);
            lay(p, a, "q4_0", CLI_LAYOUT_ROWS, n_threads);
            assert_same_file(a, q4);
            lay(p, a, "q4_0", CLI_LAYOUT_PANELS, n_threads);
            lay(q4, b, NULL, CLI_LAYOUT_PANELS, n_threads);
            ct_gguf *x = open_gguf(a), *y = open_gguf(b); /* keys of the type may lie in another order */
            for (size_t i = 0; i < ct_gguf_n_tensor(x); i++) {
                const ct_tensor *t = ct_gguf_tensor_at(x, i), *u = ct_gguf_tensor_at(y, i);
                assert_true(t->panels == u->panels && t->bytes == u->bytes);
                assert_memory_equal(t->data, u->data, t->bytes);
            }
            ct_gguf_close(&x);
            ct_gguf_close(&y);
        }
    }
}

static void layout__leaves_in_rows_what_is_not_read_as_panels(void **state) {
    (void)state;
    static const struct {
        ct_tensor t;
        bool panels;
    } want[] = {
        {{.name = "token_embd.weight", .dtype = CT_Q8_0, .rank = 2, .shape = {64, 32, 1, 1}}, true},
        {{.name = "token_embd.weight", .dtype = CT_Q8_0, .rank = 2, .shape = {65, 32, 1, 1}}, false},
        {{.name = "output.weight", .dtype = CT_Q6_K, .rank = 2, .shape = {64, 256, 1, 1}}, true},
        {{.name = "per_layer_token_embd.weight", .dtype = CT_Q8_0, .rank = 2, .shape = {64, 32, 1, 1}}, false},
        {{.name = "per_layer_model_proj.weight", .dtype = CT_Q8_0, .rank = 2, .shape = {64, 32, 1, 1}}, false}, /* d_ple 8 */
        {{.name = "per_layer_model_proj.weight", .dtype = CT_BF16, .rank = 2, .shape = {64, 32, 1, 1}}, false},
        {{.name = "blk.0.ffn_gate_up_exps.weight", .dtype = CT_Q4_0, .rank = 3, .shape = {4, 48, 32, 1}}, false}, /* 24 and 24 */
        {{.name = "blk.0.ffn_gate_up_exps.weight", .dtype = CT_Q4_0, .rank = 3, .shape = {4, 32, 32, 1}}, true},
        {{.name = "blk.0.ffn_down_exps.weight", .dtype = CT_Q4_0, .rank = 3, .shape = {4, 48, 32, 1}}, true},
        {{.name = "blk.0.ffn_up.weight", .dtype = CT_Q5_0, .rank = 2, .shape = {64, 32, 1, 1}}, false},
        {{.name = "blk.0.attn_norm.weight", .dtype = CT_F32, .rank = 1, .shape = {32, 1, 1, 1}}, false},
        {{.name = "v.patch_embd.weight", .dtype = CT_Q8_0, .rank = 2, .shape = {64, 32, 1, 1}}, false},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        ct_tensor t = want[i].t;
        carat_error err;
        const int rc = cli_layout_assign(CLI_LAYOUT_PANELS, &t, 1, 8, &err);
        if (t.panels != want[i].panels) fail_msg("%s, case %zu", t.name, i);
        assert_int_equal(rc, t.panels ? 0 : CARAT_EUNSUPPORTED);
        assert_int_equal(cli_layout_assign(CLI_LAYOUT_ROWS, &t, 1, 8, &err), 0);
        assert_false(t.panels);
    }
    ct_tensor proj = want[4].t;
    assert_int_equal(cli_layout_assign(CLI_LAYOUT_PANELS, &proj, 1, 16, NULL), 0);
    assert_true(proj.panels);
}

static void layout__refuses_what_cannot_be(void **state) {
    (void)state;
    char source[400], a[200], out[200];
    carat_error err = {0};
    cut_result r;
    in_dir(out, "refused.gguf");
    assert_int_equal(try_lay(oracle(source, A4B), out, NULL, CLI_LAYOUT_PANELS, 1, &r, &err), CARAT_EINVAL);
    assert_non_null(strstr(err.msg, "--type"));
    cut(source, in_dir(a, "a.gguf"), "bf16", 1);
    assert_int_equal(try_lay(a, out, NULL, CLI_LAYOUT_PANELS, 1, &r, &err), CARAT_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "expected Q4_0"));
    assert_false(ct_path_exists(out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout__there_and_back_gives_the_same_file),
        cmocka_unit_test(layout__of_another_type_is_that_of_its_rows),
        cmocka_unit_test(layout__leaves_in_rows_what_is_not_read_as_panels),
        cmocka_unit_test(layout__refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
