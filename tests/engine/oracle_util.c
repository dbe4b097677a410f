#include "oracle_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void oracle_open(oracle_case *o, const char *name, const char *model_path) {
    carat_error err = {0};
    char path[1200];
    memset(o, 0, sizeof *o);
    const char *root = getenv("CARAT_ROOT");
    snprintf(o->folder, sizeof o->folder, "%s/tests/oracle/%s", root ? root : ".", name);
    snprintf(path, sizeof path, "%s/golden.safetensors", o->folder);
    if (ct_safetensors_open(&o->golden, path, &err)) fail_msg("%s", err.msg);
    if (carat_model_open(&o->model, model_path ? model_path : o->folder, NULL, &err)) fail_msg("%s", err.msg);
}

void oracle_close(oracle_case *o) {
    carat_model_close(&o->model);
    ct_safetensors_close(&o->golden);
}

const ct_tensor *oracle_tensor(const oracle_case *o, const char *name) {
    const ct_tensor *t = ct_safetensors_tensor(o->golden, name);
    if (!t) fail_msg("%s: no golden tensor %s", o->folder, name);
    return t;
}

double oracle_max_abs(const float *a, const float *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

void oracle_tap(void *ud, const char *name, const float *x, int32_t pos, int32_t n_tok, int32_t n) {
    oracle_taps *taps = ud;
    char key[96];
    snprintf(key, sizeof key, "tap.%s", name);
    const ct_tensor *t = ct_safetensors_tensor(taps->o->golden, key);
    if (!t) return; /* e.g. ffn_resid of a family where it is the layer's output; the caller counts the golden ones */
    const int64_t cols = t->n_elem / t->shape[0];
    if (cols != n || pos + n_tok > t->shape[0]) fail_msg("%s: %d values a token, golden has %lld", key, n, (long long)cols);
    const float *golden = (const float *)(const void *)t->data;
    double scale = 0;
    for (int64_t i = 0; i < t->n_elem; i++) scale = fmax(scale, fabs((double)golden[i]));
    const double rel = oracle_max_abs(x, golden + (int64_t)pos * n, (int64_t)n_tok * n) / scale;
    if (rel > taps->worst) {
        taps->worst = rel;
        snprintf(taps->worst_name, sizeof taps->worst_name, "%s", name);
    }
    taps->n_compared += pos + n_tok == t->shape[0]; /* a tap that comes in parts counts with its last */
}

typedef struct {
    float *out;
    int32_t n_vocab;
} logits_sink;

static bool take_row(void *ud, int32_t pos, const float *logits) {
    const logits_sink *s = ud;
    memcpy(s->out + (size_t)pos * (size_t)s->n_vocab, logits, (size_t)s->n_vocab * sizeof *logits);
    return true;
}

void oracle_logits(const carat_model *m, const carat_session_opts *opts, const int32_t *tok, int32_t n, float *out) {
    carat_error err = {0};
    carat_session *s = NULL;
    carat_model_info info;
    carat_model_get_info(m, &info);
    logits_sink sink = {out, info.n_vocab};
    if (carat_session_new(&s, m, opts, &err)) fail_msg("%s", err.msg);
    if (carat_session_sync_logits(s, tok, (size_t)n, true, take_row, &sink, &err)) fail_msg("%s", err.msg);
    carat_session_free(&s);
}
