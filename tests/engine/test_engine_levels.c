/* What integer arithmetic does to a trained model: next-token distributions of the bundled E-type model over held-out
 * text at every instruction-set level of this machine. All levels with integers give the same bits; against level ref,
 * which multiplies dequantised f32, the mean KL divergence is at most 1e-4 nats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "carat.h"
#include "kernels/kernels.h"

enum { MAX_TOK = 1000 };

typedef struct {
    float *logits; /* [n_tok, n_vocab] */
    int32_t n_vocab;
} rows;

static bool keep_row(void *ud, int32_t pos, const float *logits) {
    const rows *r = ud;
    memcpy(r->logits + (size_t)pos * (size_t)r->n_vocab, logits, (size_t)r->n_vocab * sizeof *logits);
    return true;
}

static char *read_text(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot be opened", path);
    char *text = malloc(1 << 16);
    *n = fread(text, 1, 1 << 16, f);
    fclose(f);
    return text;
}

static float *logits_at(const char *cpu, int32_t *n_tok, int32_t *n_vocab) {
    char path[1024];
    carat_error err = {0};
    carat_model_opts mo = carat_model_opts_default();
    carat_model *m = NULL;
    carat_session *s = NULL;
    mo.cpu = cpu;
    snprintf(path, sizeof path, "%s/models/carat-story-e.gguf", getenv("CARAT_ROOT"));
    if (carat_model_open(&m, path, &mo, &err) || carat_session_new(&s, m, NULL, &err)) fail_msg("%s", err.msg);
    snprintf(path, sizeof path, "%s/tests/models/text.txt", getenv("CARAT_ROOT"));
    size_t len, n;
    char *text = read_text(path, &len);
    int32_t tok[MAX_TOK];
    if (carat_tokenize(m, text, len, CARAT_TOKENIZE_BOS, tok, MAX_TOK, &n, &err)) fail_msg("%s", err.msg);
    if (n > MAX_TOK) n = MAX_TOK;
    carat_model_info info;
    carat_model_get_info(m, &info);
    rows r = {calloc(n * (size_t)info.n_vocab, sizeof(float)), info.n_vocab};
    if (carat_session_sync_logits(s, tok, n, true, keep_row, &r, &err)) fail_msg("%s", err.msg);
    *n_tok = (int32_t)n;
    *n_vocab = info.n_vocab;
    free(text);
    carat_session_free(&s);
    carat_model_close(&m);
    return r.logits;
}

static double log_sum_exp(const float *x, int32_t n) {
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++) max = (double)x[i] > max ? (double)x[i] : max;
    for (int32_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

/* KL(p || q) of softmaxes, nats. */
static double kl(const float *p, const float *q, int32_t n) {
    const double zp = log_sum_exp(p, n), zq = log_sum_exp(q, n);
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += exp((double)p[i] - zp) * (((double)p[i] - zp) - ((double)q[i] - zq));
    return sum;
}

static void levels__give_the_same_bits_near_the_reference(void **state) {
    (void)state;
    int32_t n_tok, n_vocab;
    float *ref = logits_at("ref", &n_tok, &n_vocab), *portable = logits_at("portable", &n_tok, &n_vocab);
    const size_t n = (size_t)n_tok * (size_t)n_vocab;
    for (int l = CT_CPU_PORTABLE + 1; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        float *fast = logits_at(ct_cpu_name((ct_cpu_level)l), &n_tok, &n_vocab);
        if (memcmp(fast, portable, n * sizeof *fast) != 0) fail_msg("level %s differs from portable", ct_cpu_name((ct_cpu_level)l));
        free(fast);
    }
    double sum = 0, worst = 0;
    for (int32_t t = 0; t < n_tok; t++) {
        const double d = kl(ref + (size_t)t * (size_t)n_vocab, portable + (size_t)t * (size_t)n_vocab, n_vocab);
        sum += d;
        worst = d > worst ? d : worst;
    }
    print_message("%d positions: KL of integers against f32 %.2e on average, %.2e at most\n", (int)n_tok, sum / n_tok, worst);
    assert_true(sum > 0 && sum / n_tok <= 1e-4);
    free(ref), free(portable);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(levels__give_the_same_bits_near_the_reference)};
    return cmocka_run_group_tests_name("engine levels", tests, NULL, NULL);
}
