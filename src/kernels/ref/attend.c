/* The definition of attention and of what surrounds it in a layer: rope, and rows of the KV cache. Plain C11; the order
 * of every sum is that of kernels.h, so the vector levels (tmpl/attend.inc) return the same bits. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/expf.h"
#include "kernels/fmaf.h"
#include "kernels/kernels.h"
#include "quant/quant.h"

/* A block of Q8_0, and where its parts lie. */
enum { Q8_LEN = 32, Q8_BYTES = 34 };

size_t ct_attend_scratch(int d_head) {
    /* Scores of a tile of queries; its queries and a part, or a tile of the cache as f32; scales of values. */
    return CT_ATTEND_TILE * CT_SPAN + (CT_ATTEND_TILE + 1) * ct_attend_part(d_head) + (size_t)d_head / Q8_LEN * CT_SPAN;
}

/* ---- the cache's tiles --------------------------------------------------------------------------------- */

static void store_plain(void *tile, ct_dtype kv, const float *x, int d_head, size_t first, size_t step) {
    if (kv == CT_F32) {
        float *y = (float *)tile + first;
        for (int d = 0; d < d_head; d++) y[(size_t)d * step] = x[d];
    } else {
        uint16_t *y = (uint16_t *)tile + first;
        for (int d = 0; d < d_head; d++) y[(size_t)d * step] = ct_f32_to_f16(x[d]);
    }
}

/* One block of Q8_0, its scale NaN where a value is not finite. */
static void encode_block(uint8_t block[Q8_BYTES], const float *x) {
    const uint16_t none = ct_f32_to_f16(NAN);
    uint32_t largest = 0; /* of the magnitudes' bits, which are in the order of the values, infinity and NaN last */
    for (int j = 0; j < Q8_LEN; j++) {
        const uint32_t u = ct_f32_bits(x[j]) & 0x7fffffffu;
        largest = u > largest ? u : largest;
    }
    ct_quant_encoder(CT_Q8_0)(block, x, Q8_LEN);
    if (largest >= 0x7f800000u) memcpy(block, &none, sizeof none);
}

static void store_key(void *tile, ct_dtype kv, int lane, const float *x, int d_head) {
    if (kv != CT_Q8_0) {
        store_plain(tile, kv, x, d_head, (size_t)lane, CT_LANES);
        return;
    }
    uint8_t *y = tile, block[Q8_BYTES];
    for (int d = 0; d < d_head; d += Q8_LEN, y += Q8_BYTES * CT_LANES) {
        encode_block(block, x + d);
        memcpy(y + 2 * lane, block, 2);
        for (int j = 0; j < Q8_LEN; j++) y[2 * CT_LANES + j * CT_LANES + lane] = block[2 + j];
    }
}

static void store_value(void *tile, ct_dtype kv, int lane, const float *x, int d_head) {
    const size_t ld = ct_attend_part(d_head) - CT_LANES;
    if (kv != CT_Q8_0) {
        store_plain(tile, kv, x, d_head, (size_t)lane * ld, 1);
        return;
    }
    uint8_t *scale = (uint8_t *)tile + 2 * lane, *y = (uint8_t *)tile + 2 * CT_LANES * (d_head / Q8_LEN) + lane * d_head;
    uint8_t block[Q8_BYTES];
    for (int d = 0; d < d_head; d += Q8_LEN, scale += 2 * CT_LANES) {
        encode_block(block, x + d);
        memcpy(scale, block, 2);
        memcpy(y + d, block + 2, Q8_LEN);
    }
}

/* Keys as f32: [d_head][CT_LANES]. */
static void load_keys(float *y, const uint8_t *tile, ct_dtype kv, int d_head) {
    if (kv != CT_Q8_0) {
        ct_quant_decoder(kv)(y, tile, (int64_t)d_head * CT_LANES);
        return;
    }
    for (int d = 0; d < d_head; d += Q8_LEN, tile += Q8_BYTES * CT_LANES) {
        for (int j = 0; j < Q8_LEN; j++) {
            const int8_t *q = (const int8_t *)tile + 2 * CT_LANES + j * CT_LANES;
            for (int l = 0; l < CT_LANES; l++) y[(d + j) * CT_LANES + l] = ct_f16_to_f32(ct_load_u16(tile + 2 * l)) * (float)q[l];
        }
    }
}

/* The value of one lane as f32: [d_head]. */
static void load_value(float *y, const uint8_t *tile, ct_dtype kv, int lane, int d_head) {
    if (kv != CT_Q8_0) {
        const size_t ld = ct_attend_part(d_head) - CT_LANES;
        ct_quant_decoder(kv)(y, tile + (size_t)lane * ld * ct_dtype_block_bytes(kv), d_head);
        return;
    }
    const int8_t *q = (const int8_t *)tile + 2 * CT_LANES * (d_head / Q8_LEN) + lane * d_head;
    for (int d = 0; d < d_head; d++) y[d] = ct_f16_to_f32(ct_load_u16(tile + 2 * (d / Q8_LEN * CT_LANES + lane))) * (float)q[d];
}

/* ---- attention ----------------------------------------------------------------------------------------- */

static float reduce_lanes(float s[CT_LANES]) {
    for (int half = CT_LANES / 2; half >= 1; half /= 2) {
        for (int l = 0; l < half; l++) s[l] += s[l + half];
    }
    return s[0];
}

static const uint8_t *tile_at(const ct_attend *a, const void *base, int64_t p) {
    return (const uint8_t *)base + (size_t)(p % a->cap / CT_LANES) * a->tile_bytes;
}

/* Keys [*lo, *hi) of the span that starts at `first`, seen by token t. */
static void keys_of(const ct_attend *a, int t, int64_t first, int64_t *lo, int64_t *hi) {
    const int64_t end = a->pos + t + 1, start = a->window && end > a->window ? end - a->window : 0;
    *hi = end < first + CT_SPAN ? end : first + CT_SPAN;
    *lo = start > first ? start : first;
}

/* s[CT_LANES]: scores of the tile's keys, those of other rounds of the ring included. */
static void score_tile(float *s, const float *q, const float *keys, int d_head, float scale) {
    for (int from = 0; from < d_head; from += CT_ATTEND_BLOCK) {
        const int to = from + CT_ATTEND_BLOCK < d_head ? from + CT_ATTEND_BLOCK : d_head;
        float acc[CT_LANES] = {0};
        for (int d = from; d < to; d++) {
            for (int l = 0; l < CT_LANES; l++) acc[l] = ct_fmaf(q[d], keys[d * CT_LANES + l], acc[l]);
        }
        for (int l = 0; l < CT_LANES; l++) s[l] = from ? s[l] + acc[l] : acc[l];
    }
    for (int l = 0; l < CT_LANES; l++) s[l] *= scale;
}

static void attend(float *part, const ct_attend *a, int64_t span) {
    const int64_t first = span * CT_SPAN;
    const int n_q = a->n_tok * a->n_head;
    const size_t ld = ct_attend_part(a->d_head);
    float *tile = a->scratch + CT_ATTEND_TILE * CT_SPAN;
    int64_t lo[CT_ATTEND_TILE] = {0}, hi[CT_ATTEND_TILE] = {0};
    for (int i = 0; i < n_q; i++) keys_of(a, i / a->n_head, first, &lo[i], &hi[i]);
    const int64_t from = lo[0] / CT_LANES * CT_LANES, to = hi[n_q - 1];

    for (int64_t p = from; p < to; p += CT_LANES) {
        load_keys(tile, tile_at(a, a->k, p), a->kv, a->d_head);
        for (int i = 0; i < n_q; i++) {
            const float *q = a->q + (size_t)(i / a->n_head) * a->ldq + (size_t)(i % a->n_head) * (size_t)a->d_head;
            score_tile(a->scratch + i * CT_SPAN + (p - first), q, tile, a->d_head, a->scale);
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
    for (int64_t p = lo[0]; p < to; p++) {
        load_value(tile, tile_at(a, a->v, p), a->kv, (int)(p % CT_LANES), a->d_head);
        for (int i = 0; i < n_q; i++) {
            if (p < lo[i] || p >= hi[i]) continue;
            const float weight = a->scratch[i * CT_SPAN + (p - first)];
            float *acc = part + (size_t)i * ld + CT_LANES;
            for (int d = 0; d < a->d_head; d++) acc[d] = ct_fmaf(weight, tile[d], acc[d]);
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

void ct_kernels_ref_attend(ct_kernels *k) {
    k->attend = attend;
    k->attend_merge = attend_merge;
    k->rope = rope;
    k->store_key = store_key;
    k->store_value = store_value;
}
