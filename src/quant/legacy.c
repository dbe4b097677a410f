/* The 32-value block types Q8_0, Q4_0, Q4_1, Q5_0, Q5_1: one f16 scale (and offset) a block. Layouts in quant_int.h.
 * Encoders choose the scale, store it as f16, and round every value against the stored scale; so apart from values
 * clipped at the end of the range the error is at most half a step. */
#include "quant/quant_int.h"

#define N 32 /* values a block */

/* ---- decode ------------------------------------------------------------------------------------------- */

void ct_decode_Q8_0(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q8_0 *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++, y += N) {
        const float d = ct_load_f16(b->d);
        for (int j = 0; j < N; j++) y[j] = d * (float)b->qs[j];
    }
}

void ct_decode_Q4_0(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q4_0 *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++, y += N) {
        const float d = ct_load_f16(b->d);
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j] = d * (float)((b->qs[j] & 15) - 8);
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j + N / 2] = d * (float)((b->qs[j] >> 4) - 8);
    }
}

void ct_decode_Q4_1(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q4_1 *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++, y += N) {
        const float d = ct_load_f16(b->d), m = ct_load_f16(b->m);
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j] = d * (float)(b->qs[j] & 15) + m;
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j + N / 2] = d * (float)(b->qs[j] >> 4) + m;
    }
}

/* high[j] = 16 where bit j of qh is set, else 0. */
static inline void unpack_fifth_bits(uint8_t high[N], const uint8_t qh[4]) {
    static const uint8_t bit[N] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
                                   1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    for (int k = 0; k < 4; k++) memset(high + 8 * k, qh[k], 8);
    for (int j = 0; j < N; j++) high[j] = (high[j] & bit[j]) != 0 ? 16 : 0;
}

void ct_decode_Q5_0(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q5_0 *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++, y += N) {
        const float d = ct_load_f16(b->d);
        uint8_t high[N];
        unpack_fifth_bits(high, b->qh);
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j] = d * (float)(((b->qs[j] & 15) | high[j]) - 16);
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j + N / 2] = d * (float)(((b->qs[j] >> 4) | high[j + N / 2]) - 16);
    }
}

void ct_decode_Q5_1(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q5_1 *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++, y += N) {
        const float d = ct_load_f16(b->d), m = ct_load_f16(b->m);
        uint8_t high[N];
        unpack_fifth_bits(high, b->qh);
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j] = d * (float)((b->qs[j] & 15) | high[j]) + m;
        CT_KEEP_LOOP
        for (int j = 0; j < N / 2; j++) y[j + N / 2] = d * (float)((b->qs[j] >> 4) | high[j + N / 2]) + m;
    }
}

/* ---- encode ------------------------------------------------------------------------------------------- */

static void pack_nibbles(uint8_t qs[16], const int32_t q[N]) {
    for (int j = 0; j < N / 2; j++) qs[j] = (uint8_t)((q[j] & 15) | ((q[j + N / 2] & 15) << 4));
}

static void pack_fifth_bits(uint8_t qh[4], const int32_t q[N]) {
    uint32_t h = 0;
    for (int j = 0; j < N; j++) h |= (uint32_t)((q[j] >> 4) & 1) << j;
    memcpy(qh, &h, sizeof h);
}

/* q[j] = round((x[j] - m) / d) in [0, q_max] */
static void round_block(int32_t q[N], const float *x, float d, float m, float q_max) {
    const float inv = ct_inverse(d);
    for (int j = 0; j < N; j++) q[j] = ct_round_clamp((x[j] - m) * inv, 0, q_max);
}

void ct_encode_Q8_0(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q8_0 *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        const float peak = ct_abs_f32(ct_peak(x, N));
        float d = ct_store_scale(b->d, peak / 127);
        /* Among subnormal scales rounding down could put the peak more than half a step past 127. */
        if (d * 127.5f < peak) d = ct_store_scale(b->d, d + 0x1p-24f);
        const float inv = ct_inverse(d);
        for (int j = 0; j < N; j++) b->qs[j] = (int8_t)ct_round_clamp(x[j] * inv, -127, 127);
    }
}

/* Rounding of x / d in [lo, -lo - 1], stored with lo added. */
static void round_symmetric(int32_t q[N], const float *x, float d, int lo) {
    const float inv = ct_inverse(d);
    for (int j = 0; j < N; j++) q[j] = ct_round_clamp(x[j] * inv, (float)lo, (float)(-lo - 1)) - lo;
}

void ct_encode_Q4_0(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q4_0 *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        int32_t q[N];
        round_symmetric(q, x, ct_store_scale(b->d, ct_fit_symmetric(x, N, -8)), -8);
        pack_nibbles(b->qs, q);
    }
}

void ct_encode_Q5_0(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q5_0 *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        int32_t q[N];
        round_symmetric(q, x, ct_store_scale(b->d, ct_fit_symmetric(x, N, -16)), -16);
        pack_nibbles(b->qs, q);
        pack_fifth_bits(b->qh, q);
    }
}

void ct_encode_Q4_1(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q4_1 *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        int32_t q[N];
        float m;
        const float d = ct_store_scale(b->d, ct_fit_affine(&m, x, N, 15, false));
        m = ct_store_scale(b->m, m);
        round_block(q, x, d, m, 15);
        pack_nibbles(b->qs, q);
    }
}

void ct_encode_Q5_1(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q5_1 *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        int32_t q[N];
        float m;
        const float d = ct_store_scale(b->d, ct_fit_affine(&m, x, N, 31, false));
        m = ct_store_scale(b->m, m);
        round_block(q, x, d, m, 31);
        pack_nibbles(b->qs, q);
        pack_fifth_bits(b->qh, q);
    }
}
