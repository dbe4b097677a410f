/* A file whose matrices lie as panels gives the logits of the same model in rows, bit for bit, at every instruction-set
 * level, and packs nothing: the bundled models, an oracle with experts, and every type that can lie so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "carat.h"
#include "kernels/kernels.h"
#include "model_maker.h"
#include "oracle_util.h"

enum { N_TOK = 40 };

static void cut(const char *from, const char *options, const char *to) {
    char cmd[4096];
    snprintf(cmd, sizeof cmd, "'%s' cut '%s' %s --out '%s' >/dev/null", getenv("CARAT_BIN"), from, options, to);
    if (system(cmd) != 0) fail_msg("%s", cmd);
}

static float *logits_of(const char *path, const char *cpu, size_t *n, uint64_t *packed) {
    carat_model *m = NULL;
    carat_error err = {0};
    carat_model_info info;
    carat_session_opts so = carat_session_opts_default();
    carat_model_opts mo = carat_model_opts_default();
    mo.cpu = cpu;
    so.n_ctx = 64, so.n_chunk = 32, so.n_threads = 2;
    if (carat_model_open(&m, path, &mo, &err)) fail_msg("%s", err.msg);
    carat_model_get_info(m, &info);
    int32_t tok[N_TOK];
    for (int i = 0; i < N_TOK; i++) tok[i] = (7 + 37 * i) % info.n_vocab;
    *n = (size_t)N_TOK * (size_t)info.n_vocab;
    carat_plan plan;
    if (carat_plan_make(&plan, m, &so, &err)) fail_msg("%s", err.msg);
    *packed = plan.resident_bytes;
    float *out = calloc(*n, sizeof *out);
    oracle_logits(m, &so, tok, N_TOK, out);
    carat_model_close(&m);
    return out;
}

/* left: bytes that may still be packed. */
static void assert_same_logits(const char *rows, const char *panels, uint64_t left) {
    for (int l = 0; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        size_t n, m;
        uint64_t packed_rows, packed_panels;
        float *a = logits_of(rows, ct_cpu_name((ct_cpu_level)l), &n, &packed_rows);
        float *b = logits_of(panels, ct_cpu_name((ct_cpu_level)l), &m, &packed_panels);
        assert_int_equal(n, m);
        if (memcmp(a, b, n * sizeof *a) != 0) fail_msg("%s at %s: other logits than in rows", rows, ct_cpu_name((ct_cpu_level)l));
        bool finite = false;
        for (size_t i = 0; i < n; i++) finite = finite || (a[i] > -1e30f && a[i] < 1e30f && a[i] != 0);
        assert_true(finite);
        assert_true(l == CT_CPU_REF ? packed_rows == 0 : packed_rows > left);
        assert_true(packed_panels <= left);
        free(a), free(b);
    }
}

static void bundled__models(void **state) {
    (void)state;
    static const char *const name[] = {"carat-story-e", "carat-story-moe"};
    for (int i = 0; i < 2; i++) {
        char rows[1200], panels[300];
        snprintf(rows, sizeof rows, "%s/models/%s.gguf", getenv("CARAT_ROOT"), name[i]);
        snprintf(panels, sizeof panels, "%s", maker_path("p.gguf"));
        cut(rows, "--layout panels", panels);
        assert_same_logits(rows, panels, 0);
    }
}

/* Its 346 rows of vocabulary are no multiple of 16: the embedding stays in rows, and the head is packed. */
static void oracle__with_experts(void **state) {
    (void)state;
    char folder[1200], rows[300], panels[300];
    snprintf(folder, sizeof folder, "%s/tests/oracle/26b-a4b", getenv("CARAT_ROOT"));
    snprintf(rows, sizeof rows, "%s", maker_path("r.gguf"));
    snprintf(panels, sizeof panels, "%s", maker_path("p.gguf"));
    cut(folder, "--type q8_0", rows);
    cut(rows, "--layout panels", panels);
    assert_same_logits(rows, panels, 352 * 34 + 63);
}

static void every__type(void **state) {
    (void)state;
    static const ct_dtype type[] = {CT_Q4_0, CT_Q8_0, CT_Q4_K, CT_Q5_K, CT_Q6_K};
    static maker m;
    for (int i = 0; i < 5; i++) {
        char rows[300], panels[300];
        maker_wide(&m, type[i]);
        snprintf(rows, sizeof rows, "%s", maker_path("r.gguf"));
        snprintf(panels, sizeof panels, "%s", maker_path("p.gguf"));
        maker_write(&m, rows);
        cut(rows, "--layout panels", panels);
        assert_same_logits(rows, panels, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bundled__models), cmocka_unit_test(oracle__with_experts),
                                       cmocka_unit_test(every__type)};
    return cmocka_run_group_tests_name("engine layout", tests, NULL, maker_cleanup);
}
