/* The definition of attention and of what surrounds it in a layer: rope, and rows of the KV cache. Plain C11; the order
 * of every sum is that of kernels.h, so the vector levels (tmpl/attend.inc) return the same bits. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/expf.h"
#include "kernels/fmaf.h"
#include "kernels/kernels.h"
#include "quant/quant.h"

size_t ct_attend_scratch(int d_head) {
    /* Scores of a tile; rows as f32; queries padded to whole lanes, where a head is not. */
    const size_t padded = ((size_t)d_head + CT_LANES - 1) / CT_LANES * CT_LANES;
    return CT_ATTEND_TILE * CT_SPAN + CT_ATTEND_ROWS * (padded + CT_LANES) + (padded == (size_t)d_head ? 0 : CT_ATTEND_TILE * padded);
}

static float reduce_lanes(float s[CT_LANES]) {
    for (int half = CT_LANES / 2; half >= 1; half /= 2) {
        for (int l = 0; l < half; l++) s[l] += s[l + half];
    }
    return s[0];
}

static float dot(const float *a, const float *b, int n) {
    float acc[CT_LANES] = {0};
    int i = 0;
    for (; i + CT_LANES <= n; i += CT_LANES) {
        for (int l = 0; l < CT_LANES; l++) acc[l] = ct_fmaf(a[i + l], b[i + l], acc[l]);
    }
    for (int l = 0; i + l < n; l++) acc[l] = ct_fmaf(a[i + l], b[i + l], acc[l]);
    return reduce_lanes(acc);
}

/* The row of position p as f32. */
static const float *row_at(const ct_attend *a, const void *base, int64_t p, float *row) {
    ct_quant_decoder(a->kv)(row, (const uint8_t *)base + (size_t)(p % a->cap) * a->row_bytes, a->d_head);
    return row;
}

/* Keys [*lo, *hi) of the span that starts at `first`, seen by token t. */
static void keys_of(const ct_attend *a, int t, int64_t first, int64_t *lo, int64_t *hi) {
    const int64_t end = a->pos + t + 1, start = a->window && end > a->window ? end - a->window : 0;
    *hi = end < first + CT_SPAN ? end : first + CT_SPAN;
    *lo = start > first ? start : first;
}

static void attend(float *part, const ct_attend *a, int64_t span) {
    const int64_t first = span * CT_SPAN;
    const int n_q = a->n_tok * a->n_head;
    const size_t ld = ct_attend_part(a->d_head);
    float *row = a->scratch + CT_ATTEND_TILE * CT_SPAN;
    int64_t lo[CT_ATTEND_TILE] = {0}, hi[CT_ATTEND_TILE] = {0};
    for (int i = 0; i < n_q; i++) keys_of(a, i / a->n_head, first, &lo[i], &hi[i]);

    for (int64_t p = lo[0]; p < hi[n_q - 1]; p++) {
        row_at(a, a->k, p, row);
        for (int i = 0; i < n_q; i++) {
            const float *q = a->q + (size_t)(i / a->n_head) * a->ldq + (size_t)(i % a->n_head) * (size_t)a->d_head;
            if (p >= lo[i] && p < hi[i]) a->scratch[i * CT_SPAN + (p - first)] = a->scale * dot(q, row, a->d_head);
        }
    }
    for (int i = 0; i < n_q; i++) {
        float *s = a->scratch + i * CT_SPAN, max = -FLT_MAX, lane[CT_LANES] = {0};
        for (int64_t j = lo[i] - first; j < hi[i] - first; j++) max = s[j] > max ? s[j] : max;
        for (int64_t j = lo[i] - first; j < hi[i] - first; j++) {
            s[j] = ct_exp_fall(s[j] - max);
            lane[j % CT_LANES] += s[j];
        }
        part[(size_t)i * ld] = lo[i] < hi[i] ? max : -INFINITY;
        if (lo[i] >= hi[i]) continue;
        part[(size_t)i * ld + 1] = reduce_lanes(lane);
        memset(part + (size_t)i * ld + CT_LANES, 0, (size_t)a->d_head * sizeof *part);
    }
    for (int64_t p = lo[0]; p < hi[n_q - 1]; p++) {
        row_at(a, a->v, p, row);
        for (int i = 0; i < n_q; i++) {
            if (p < lo[i] || p >= hi[i]) continue;
            const float weight = a->scratch[i * CT_SPAN + (p - first)];
            float *acc = part + (size_t)i * ld + CT_LANES;
            for (int d = 0; d < a->d_head; d++) acc[d] = ct_fmaf(weight, row[d], acc[d]);
        }
    }
}

static void attend_merge(float *acc, float max_sum[2], const float *part, int d_head) {
    if (part[0] == -INFINITY) return;
    const float max = part[0] > max_sum[0] ? part[0] : max_sum[0];
    const float old = ct_exp_fall(max_sum[0] - max), new = ct_exp_fall(part[0] - max);
    max_sum[0] = max;
    max_sum[1] = ct_fmaf(part[1], new, max_sum[1] * old);
    for (int d = 0; d < d_head; d++) acc[d] = ct_fmaf(part[CT_LANES + d], new, acc[d] * old);
}

static void rope(float *x, const float *cos, const float *sin, int n_rot, int d_head) {
    for (int i = 0; i < n_rot; i++) {
        const float a = x[i], b = x[i + d_head / 2];
        x[i] = a * cos[i] - b * sin[i];
        x[i + d_head / 2] = b * cos[i] + a * sin[i];
    }
}

/* ---- rows of the cache -------------------------------------------------------------------------------- */

static void store_q8_0(uint8_t *y, const float *x, int64_t n) {
    const int len = ct_dtype_block_len(CT_Q8_0);
    const uint16_t none = ct_f32_to_f16(NAN);
    ct_quant_encoder(CT_Q8_0)(y, x, n);
    for (int64_t i = 0; i < n; i += len, y += ct_dtype_block_bytes(CT_Q8_0)) {
        uint32_t largest = 0; /* of the magnitudes' bits, which are in the order of the values, infinity and NaN last */
        for (int j = 0; j < len; j++) {
            const uint32_t u = ct_f32_bits(x[i + j]) & 0x7fffffffu;
            largest = u > largest ? u : largest;
        }
        if (largest >= 0x7f800000u) memcpy(y, &none, sizeof none); /* the block's scale */
    }
}

static void store_kv(void *y, ct_dtype kv, const float *x, int64_t n) {
    uint16_t *half = y;
    switch (kv) {
    case CT_F16:
        for (int64_t i = 0; i < n; i++) half[i] = ct_f32_to_f16(x[i]);
        break;
    case CT_Q8_0: store_q8_0(y, x, n); break;
    default: memcpy(y, x, (size_t)n * sizeof *x); break;
    }
}

void ct_kernels_ref_attend(ct_kernels *k) {
    k->attend = attend;
    k->attend_merge = attend_merge;
    k->rope = rope;
    k->store_kv = store_kv;
}
