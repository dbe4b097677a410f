/* The portable reference: plain C11, one loop a thought, no vector types. It defines what every kernel must return.
 * Element order of sums is that of kernels.h (CT_LANES); exp is the polynomial of kernels/expf.h, so that every level
 * and every libc give the same bits. Compiled with -ffp-contract=off. */
#include <math.h>
#include <string.h>

#include "kernels/expf.h"
#include "kernels/kernels.h"
#include "kernels/panel.h"
#include "quant/quant.h"

size_t ct_matmul_scratch(int64_t d_in) { return (size_t)(d_in + CT_LANES) * 4; }

static float reduce_lanes(const float acc[CT_LANES]) {
    float s[CT_LANES];
    memcpy(s, acc, sizeof s);
    for (int half = CT_LANES / 2; half >= 1; half /= 2) {
        for (int l = 0; l < half; l++) s[l] += s[l + half];
    }
    return s[0];
}

static float dot(const float *a, const float *b, int64_t n) {
    float acc[CT_LANES] = {0};
    int64_t i = 0;
    for (; i + CT_LANES <= n; i += CT_LANES) {
        for (int l = 0; l < CT_LANES; l++) acc[l] += a[i + l] * b[i + l];
    }
    for (int l = 0; i + l < n; l++) acc[l] += a[i + l] * b[i + l];
    return reduce_lanes(acc);
}

static float sum(const float *a, int64_t n) {
    float acc[CT_LANES] = {0};
    for (int64_t i = 0; i < n; i++) acc[i % CT_LANES] += a[i];
    return reduce_lanes(acc);
}

/* Row r as it lies in rows; of panels gathered behind the d_in floats of scratch that hold it decoded. */
static const uint8_t *row_of(const ct_matmul *a, int64_t r) {
    if (!a->panels) return a->w + (size_t)r * a->row_bytes;
    uint8_t *row = (uint8_t *)(a->scratch + a->d_in);
    ct_panel_row(row, a->dtype, a->w + (size_t)(r / CT_PANEL_ROWS) * CT_PANEL_ROWS * a->row_bytes, (int)(r % CT_PANEL_ROWS), a->row_bytes);
    return row;
}

static void matmul(const ct_matmul *a) {
    const ct_decode_fn decode = ct_quant_decoder(a->dtype);
    for (int64_t r = a->row0; r < a->row1; r++) {
        decode(a->scratch, row_of(a, r), a->d_in);
        for (int t = 0; t < a->n_tok; t++) {
            a->y[(size_t)t * a->ldy + (size_t)r] = dot(a->scratch, a->x + (size_t)t * a->ldx, a->d_in);
        }
    }
}

static void softmax(float *x, int64_t n) {
    float max = -INFINITY;
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++) x[i] = ct_expf(x[i] - max);
    const float inv = 1.0f / sum(x, n);
    for (int64_t i = 0; i < n; i++) x[i] *= inv;
}

static void rms_norm(float *y, const float *x, const float *w, int64_t n, float eps) {
    /* Mean of squares in f32 with CT_LANES partial sums: as exact as a pairwise sum for the sizes here. */
    const float r = 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) y[i] = w ? x[i] * r * w[i] : x[i] * r;
}

static void gelu_mul(float *y, const float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = ct_gelu(gate[i]) * up[i];
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void scale(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

static void softcap(float *x, float cap, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = cap * ct_tanhf(x[i] / cap);
}

void ct_kernels_ref(ct_kernels *k) {
    for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) k->matmul[t] = matmul;
    k->rms_norm = rms_norm;
    k->gelu_mul = gelu_mul;
    k->softmax = softmax;
    k->axpy = axpy;
    k->scale = scale;
    k->softcap = softcap;
    ct_kernels_ref_attend(k);
}
