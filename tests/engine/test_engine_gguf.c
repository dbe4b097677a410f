/* The same checkpoint as a folder and as a GGUF written by `carat cut`: the same logits, bit for bit, for float types
 * that lose nothing. Quantised: level ref gives exactly the logits of the file's own dequantised f32 copy, which on
 * average stay near the original's; the integer arithmetic of the other levels is the same bits at every level, and
 * its rounding costs about what the weights' does: both keep 8 bits in blocks of 32. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "oracle_util.h"

static char dir[] = "/tmp/carat-gguf-XXXXXX";

static void cut(const char *from, const char *type, const char *to) {
    char cmd[4096];
    snprintf(cmd, sizeof cmd, "'%s' cut '%s' --type %s --out '%s' >/dev/null 2>'%s/err'", getenv("CARAT_BIN"), from, type, to, dir);
    if (system(cmd) != 0) {
        snprintf(cmd, sizeof cmd, "cat '%s/err' >&2", dir);
        if (system(cmd) != 0) fail();
        fail_msg("carat cut %s --type %s failed", from, type);
    }
}

static float *logits_of(const char *path, const char *cpu, const oracle_case *o, int64_t *n) {
    carat_model *m = NULL;
    carat_error err = {0};
    carat_model_opts mo = carat_model_opts_default();
    mo.cpu = cpu;
    if (carat_model_open(&m, path, &mo, &err)) fail_msg("%s", err.msg);
    const ct_tensor *tokens = oracle_tensor(o, "tokens");
    carat_model_info info;
    carat_model_get_info(m, &info);
    *n = tokens->n_elem * info.n_vocab;
    float *out = calloc((size_t)*n, sizeof *out);
    carat_session_opts opts = carat_session_opts_default();
    opts.kv = CARAT_KV_F32;
    opts.n_ctx = 128;
    oracle_logits(m, &opts, (const int32_t *)(const void *)tokens->data, (int32_t)tokens->n_elem, out);
    carat_model_close(&m);
    return out;
}

static double mean_abs(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs((double)a[i] - (double)b[i]);
    return sum / (double)n;
}

static void check_variant(const char *name) {
    oracle_case o;
    oracle_open(&o, name, NULL);
    char f32[256], q8[256], back[256];
    snprintf(f32, sizeof f32, "%s/%s-f32.gguf", dir, name);
    snprintf(q8, sizeof q8, "%s/%s-q8.gguf", dir, name);
    snprintf(back, sizeof back, "%s/%s-back.gguf", dir, name);
    cut(o.folder, "F32", f32);
    cut(o.folder, "Q8_0", q8);
    cut(q8, "F32", back);
    int64_t n, n2;
    float *folder = logits_of(o.folder, NULL, &o, &n), *gguf = logits_of(f32, NULL, &o, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(folder, gguf, (size_t)n * sizeof *folder);
    const double golden = oracle_max_abs(gguf, (const float *)(const void *)oracle_tensor(&o, "logits")->data, n);
    assert_true(golden <= 2e-4);
    float *quant = logits_of(q8, "ref", &o, &n2), *dequant = logits_of(back, NULL, &o, &n2);
    assert_memory_equal(quant, dequant, (size_t)n * sizeof *quant);
    float *integer = logits_of(q8, NULL, &o, &n2), *portable = logits_of(q8, "portable", &o, &n2);
    assert_memory_equal(integer, portable, (size_t)n * sizeof *integer);
    const double loss = mean_abs(folder, quant, n), rounding = mean_abs(quant, integer, n);
    print_message("%s: gguf f32 against transformers %.2e at most; on average q8_0 against f32 %.2e, integers against q8_0 %.2e\n",
                  name, golden, loss, rounding);
    assert_true(loss > 0 && loss < 1.0); /* Q8_0 really was used, and is no garbage (logits span +-30) */
    assert_true(rounding > 0 && rounding < 2 * loss);
    free(folder), free(gguf), free(quant), free(dequant), free(integer), free(portable);
    oracle_close(&o);
}

#define VARIANT(id, name)                                          \
    static void gguf__equals_folder_##id(void **u) {               \
        (void)u;                                                   \
        check_variant(name);                                       \
    }
VARIANT(e2b, "e2b")
VARIANT(e4b, "e4b")
VARIANT(d31b, "31b")
VARIANT(a4b, "26b-a4b")
VARIANT(gemma3, "gemma3")

static int make_dir(void **u) {
    (void)u;
    return mkdtemp(dir) && getenv("CARAT_BIN") ? 0 : -1;
}

static int remove_dir(void **u) {
    (void)u;
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__equals_folder_e2b), cmocka_unit_test(gguf__equals_folder_e4b),
        cmocka_unit_test(gguf__equals_folder_d31b), cmocka_unit_test(gguf__equals_folder_a4b),
        cmocka_unit_test(gguf__equals_folder_gemma3),
    };
    return cmocka_run_group_tests_name("engine gguf", tests, make_dir, remove_dir);
}
