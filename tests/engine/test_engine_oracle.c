/* Carat against transformers' own Gemma 4 (and Gemma 3) on the random checkpoints of tests/oracle: all logits, every
 * layer's taps, 64 greedy tokens, contexts past the window and past 32K. Bounds are the project's promise
 * (docs/correctness.md): logits within 2e-4, taps within 1e-4 of their largest value.
 *
 *   test_engine_oracle [--table]     with --table: print the Markdown table of docs/correctness.md */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oracle_util.h"

#define LOGIT_BOUND 2e-4
#define TAP_BOUND 1e-4

static bool table;

static carat_session_opts f32_opts(void) {
    carat_session_opts o = carat_session_opts_default();
    o.kv = CARAT_KV_F32;
    o.n_ctx = 512;
    return o;
}

static void check_variant(const char *name) {
    oracle_case o;
    oracle_open(&o, name, NULL);
    const ct_tensor *tokens = oracle_tensor(&o, "tokens"), *logits = oracle_tensor(&o, "logits");
    const int32_t n = (int32_t)tokens->n_elem;
    oracle_taps taps = {.o = &o};
    carat_session_opts opts = f32_opts();
    opts.tap = oracle_tap;
    opts.tap_ud = &taps;
    float *out = calloc((size_t)logits->n_elem, sizeof *out);
    oracle_logits(o.model, &opts, (const int32_t *)(const void *)tokens->data, n, out);
    const double diff = oracle_max_abs(out, (const float *)(const void *)logits->data, logits->n_elem);
    int n_golden = 0;
    for (size_t i = 0; i < ct_safetensors_n_tensor(o.golden); i++) {
        n_golden += strncmp(ct_safetensors_tensor_at(o.golden, i)->name, "tap.", 4) == 0;
    }
    if (table) {
        printf("| %s | %d | %.1e | %d | %.1e (`%s`) |\n", name, n, diff, n_golden, taps.worst, taps.worst_name);
    } else {
        print_message("%s: max logit difference %.2e, worst tap %.2e (%s) of %d\n", name, diff, taps.worst, taps.worst_name,
                      n_golden);
    }
    assert_true(diff <= LOGIT_BOUND);
    assert_true(taps.worst <= TAP_BOUND);
    assert_int_equal(taps.n_compared, n_golden); /* every golden tap was produced, once */
    free(out);
    oracle_close(&o);
}

static void check_greedy(const char *name) {
    oracle_case o;
    oracle_open(&o, name, NULL);
    const ct_tensor *prompt = oracle_tensor(&o, "greedy_prompt"), *greedy = oracle_tensor(&o, "greedy");
    int32_t tok[512];
    int32_t n = (int32_t)prompt->n_elem;
    memcpy(tok, prompt->data, prompt->bytes);
    carat_session_opts opts = f32_opts();
    carat_session *s = NULL;
    carat_error err = {0};
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    carat_model_info info;
    carat_model_get_info(o.model, &info);
    for (int64_t i = 0; i < greedy->n_elem; i++) {
        assert_int_equal(carat_session_sync(s, tok, (size_t)n, &err), 0);
        const float *l = carat_session_logits(s);
        int32_t best = 0;
        for (int32_t v = 1; v < info.n_vocab; v++) best = l[v] > l[best] ? v : best;
        tok[n++] = best;
        assert_int_equal(best, ((const int32_t *)(const void *)greedy->data)[i]);
    }
    carat_session_free(&s);
    oracle_close(&o);
}

/* The last four rows of 33,000 tokens given by a formula (oracle/README.md). */
static void check_long(const char *name) {
    oracle_case o;
    oracle_open(&o, name, NULL);
    const ct_tensor *golden = oracle_tensor(&o, "long_logits");
    const int32_t n = ((const int32_t *)(const void *)oracle_tensor(&o, "long_n")->data)[0];
    carat_model_info info;
    carat_model_get_info(o.model, &info);
    int32_t *tok = calloc((size_t)n, sizeof *tok);
    for (int64_t i = 0; i < n; i++) tok[i] = (int32_t)(5 + (i * i * 31 + i * 17) % (info.n_vocab - 5));
    carat_session_opts opts = f32_opts();
    opts.n_ctx = n;
    carat_session *s = NULL;
    carat_error err = {0};
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    const int n_row = (int)golden->shape[0];
    double worst = 0;
    for (int r = 0; r < n_row; r++) { /* prefix reuse: all but the first sync evaluate one token */
        assert_int_equal(carat_session_sync(s, tok, (size_t)(n - n_row + 1 + r), &err), 0);
        worst = fmax(worst, oracle_max_abs(carat_session_logits(s),
                                           (const float *)(const void *)golden->data + (int64_t)r * info.n_vocab, info.n_vocab));
    }
    if (table) {
        printf("| %s | %d | %.1e | | |\n", name, n, worst);
    } else {
        print_message("%s: %d tokens, max logit difference %.2e\n", name, n, worst);
    }
    assert_true(worst <= LOGIT_BOUND);
    carat_session_free(&s);
    free(tok);
    oracle_close(&o);
}

#define VARIANT(id, name)                                            \
    static void logits_and_taps__equal_transformers_##id(void **u) { \
        (void)u;                                                     \
        check_variant(name);                                         \
    }                                                                \
    static void greedy__equals_transformers_##id(void **u) {         \
        (void)u;                                                     \
        check_greedy(name);                                          \
    }
VARIANT(e2b, "e2b")
VARIANT(e4b, "e4b")
VARIANT(d31b, "31b")
VARIANT(a4b, "26b-a4b")
VARIANT(gemma3, "gemma3")

static void long_context__equals_transformers_e2b(void **u) {
    (void)u;
    check_long("e2b");
}
static void long_context__equals_transformers_31b(void **u) {
    (void)u;
    check_long("31b");
}

int main(int argc, char **argv) {
    table = argc > 1 && strcmp(argv[1], "--table") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_and_taps__equal_transformers_e2b),
        cmocka_unit_test(logits_and_taps__equal_transformers_e4b),
        cmocka_unit_test(logits_and_taps__equal_transformers_d31b),
        cmocka_unit_test(logits_and_taps__equal_transformers_a4b),
        cmocka_unit_test(logits_and_taps__equal_transformers_gemma3),
        cmocka_unit_test(long_context__equals_transformers_e2b),
        cmocka_unit_test(long_context__equals_transformers_31b),
        cmocka_unit_test(greedy__equals_transformers_e2b),
        cmocka_unit_test(greedy__equals_transformers_e4b),
        cmocka_unit_test(greedy__equals_transformers_d31b),
        cmocka_unit_test(greedy__equals_transformers_a4b),
        cmocka_unit_test(greedy__equals_transformers_gemma3),
    };
    return cmocka_run_group_tests_name("engine oracle", tests, NULL, NULL);
}
