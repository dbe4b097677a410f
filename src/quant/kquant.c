/* The 256-value block types Q2_K … Q6_K: f16 scales for the block, small integer scales for its runs of 16 or 32
 * values. Layouts in quant_int.h. Encoders fit each run on its own, quantise the runs' scales against the largest,
 * and round the values against the scales as stored. */
#include "quant/quant_int.h"

enum { N = 256 };

/* ---- packed scales ------------------------------------------------------------------------------------ */

/* Q4_K, Q5_K: eight 6-bit scales and eight 6-bit minima in 12 bytes. Bytes 0-3 and 4-7 hold the first four of each in
 * their low 6 bits; bytes 8-11 hold the low nibbles of the last four (scale low, minimum high), whose upper 2 bits
 * sit on top of bytes 0-7. */
static inline void unpack_scales_6(uint8_t s[8], uint8_t m[8], const uint8_t p[12]) {
    for (int r = 0; r < 4; r++) {
        s[r] = p[r] & 63;
        m[r] = p[r + 4] & 63;
        s[r + 4] = (uint8_t)((p[r + 8] & 15) | (p[r] >> 6) << 4);
        m[r + 4] = (uint8_t)((p[r + 8] >> 4) | (p[r + 4] >> 6) << 4);
    }
}

static void pack_scales_6(uint8_t p[12], const uint8_t s[8], const uint8_t m[8]) {
    for (int r = 0; r < 4; r++) {
        p[r] = (uint8_t)(s[r] | (s[r + 4] >> 4) << 6);
        p[r + 4] = (uint8_t)(m[r] | (m[r + 4] >> 4) << 6);
        p[r + 8] = (uint8_t)((s[r + 4] & 15) | (m[r + 4] & 15) << 4);
    }
}

/* Q3_K: sixteen 6-bit scales in 12 bytes. Bytes 0-7: low nibbles of scales 0-7 (low) and 8-15 (high);
 * bytes 8-11: upper 2 bits, scale r in byte 8 + r % 4 at bit 2 (r / 4). */
static inline void unpack_scales_q3(int8_t s[16], const uint8_t p[12]) {
    for (int r = 0; r < 16; r++) {
        const int low = (p[r % 8] >> (4 * (r / 8))) & 15;
        const int high = (p[8 + r % 4] >> (2 * (r / 4))) & 3;
        s[r] = (int8_t)((low | high << 4) - 32);
    }
}

static void pack_scales_q3(uint8_t p[12], const int8_t s[16]) {
    memset(p, 0, 12);
    for (int r = 0; r < 16; r++) {
        const int v = s[r] + 32;
        p[r % 8] |= (uint8_t)((v & 15) << (4 * (r / 8)));
        p[8 + r % 4] |= (uint8_t)((v >> 4) << (2 * (r / 4)));
    }
}

/* ---- decode ------------------------------------------------------------------------------------------- */

void ct_decode_Q2_K(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q2_k *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++) {
        const float d = ct_load_f16(b->d), dmin = ct_load_f16(b->dmin);
        for (int r = 0; r < 16; r++, y += 16) {
            const uint8_t *qs = b->qs + 32 * (r / 8) + 16 * (r % 2);
            const int shift = 2 * (r / 2 % 4);
            const float s = d * (float)(b->scales[r] & 15), m = dmin * (float)(b->scales[r] >> 4);
            CT_KEEP_LOOP
            for (int j = 0; j < 16; j++) y[j] = s * (float)((qs[j] >> shift) & 3) - m;
        }
    }
}

void ct_decode_Q3_K(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q3_k *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++) {
        const float d = ct_load_f16(b->d);
        int8_t scale[16];
        unpack_scales_q3(scale, b->scales);
        for (int r = 0; r < 16; r++, y += 16) {
            const uint8_t *qs = b->qs + 32 * (r / 8) + 16 * (r % 2), *h = b->hmask + 16 * (r % 2);
            const int shift = 2 * (r / 2 % 4), bit = r / 2;
            const float s = d * (float)scale[r];
            CT_KEEP_LOOP
            for (int j = 0; j < 16; j++) y[j] = s * (float)(((qs[j] >> shift) & 3) + ((h[j] >> bit) & 1) * 4 - 4);
        }
    }
}

void ct_decode_Q4_K(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q4_k *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++) {
        const float d = ct_load_f16(b->d), dmin = ct_load_f16(b->dmin);
        uint8_t s[8], m[8];
        unpack_scales_6(s, m, b->scales);
        for (int r = 0; r < 8; r += 2, y += 64) {
            const uint8_t *qs = b->qs + 16 * r;
            const float s0 = d * (float)s[r], m0 = dmin * (float)m[r];
            const float s1 = d * (float)s[r + 1], m1 = dmin * (float)m[r + 1];
            for (int j = 0; j < 32; j++) y[j] = s0 * (float)(qs[j] & 15) - m0;
            for (int j = 0; j < 32; j++) y[j + 32] = s1 * (float)(qs[j] >> 4) - m1;
        }
    }
}

void ct_decode_Q5_K(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q5_k *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++) {
        const float d = ct_load_f16(b->d), dmin = ct_load_f16(b->dmin);
        uint8_t s[8], m[8];
        unpack_scales_6(s, m, b->scales);
        for (int r = 0; r < 8; r++, y += 32) {
            const uint8_t *qs = b->qs + 32 * (r / 2), *qh = b->qh;
            const int shift = 4 * (r % 2);
            const float sr = d * (float)s[r], mr = dmin * (float)m[r];
            uint8_t q[32];
            for (int j = 0; j < 32; j++) q[j] = (uint8_t)(((qs[j] >> shift) & 15) | ((qh[j] >> r) & 1) << 4);
            for (int j = 0; j < 32; j++) y[j] = sr * (float)q[j] - mr;
        }
    }
}

void ct_decode_Q6_K(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_q6_k *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++) {
        const float d = ct_load_f16(b->d);
        for (int r = 0; r < 16; r++, y += 16) {
            /* Each half has four groups of two runs; group g takes the low (g < 2) or high nibble of 32 bytes of ql
             * and bits 2g, 2g+1 of qh. */
            const int half = r / 8, group = r / 2 % 4, l = 16 * (r % 2);
            const uint8_t *ql = b->ql + 64 * half + 32 * (group % 2) + l, *qh = b->qh + 32 * half + l;
            const int shift_l = 4 * (group / 2), shift_h = 2 * group;
            const float s = d * (float)b->scales[r];
            CT_KEEP_LOOP
            for (int j = 0; j < 16; j++) {
                y[j] = s * (float)((((ql[j] >> shift_l) & 15) | ((qh[j] >> shift_h) & 3) << 4) - 32);
            }
        }
    }
}

/* ---- encode: types with a minimum (Q2_K, Q4_K, Q5_K) -------------------------------------------------- */

static float mean(const float *x, int n) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum / (float)n;
}

/* Fit n_run runs of `len` values; scales and minima quantised to [0, s_max] in s and m, block scales stored in d and
 * dmin; q[0,256) in [0, q_max]. */
static void encode_affine(uint8_t *s, uint8_t *m, uint8_t d_out[2], uint8_t dmin_out[2], int32_t q[N], const float *x,
                          int n_run, int s_max, int q_max) {
    const int len = N / n_run;
    float scale[16], low[16], top_scale = 0, top_low = 0;
    for (int r = 0; r < n_run; r++) {
        scale[r] = ct_fit_affine(low + r, x + len * r, len, q_max, true);
        low[r] = -low[r];
        top_scale = scale[r] > top_scale ? scale[r] : top_scale;
        top_low = low[r] > top_low ? low[r] : top_low;
    }
    const float d = ct_store_scale(d_out, top_scale / (float)s_max);
    const float dmin = ct_store_scale(dmin_out, top_low / (float)s_max);
    for (int r = 0; r < n_run; r++) {
        s[r] = (uint8_t)ct_round_clamp(scale[r] * ct_inverse(d), 0, (float)s_max);
        if (s[r] == 0) low[r] = -mean(x + len * r, len); /* too fine a run for this block: keep its mean */
        m[r] = (uint8_t)ct_round_clamp(low[r] * ct_inverse(dmin), 0, (float)s_max);
        const float inv = ct_inverse(d * (float)s[r]), below = dmin * (float)m[r];
        for (int j = len * r; j < len * (r + 1); j++) q[j] = ct_round_clamp((x[j] + below) * inv, 0, (float)q_max);
    }
}

/* 2-bit values of one 128-value half after another, four 32-value groups to a byte. */
static void pack_pairs(uint8_t qs[64], const int32_t q[N]) {
    for (int j = 0; j < 64; j++) {
        const int32_t *p = q + 128 * (j / 32) + j % 32;
        qs[j] = (uint8_t)((p[0] & 3) | (p[32] & 3) << 2 | (p[64] & 3) << 4 | (p[96] & 3) << 6);
    }
}

/* 4-bit values of one 64-value quarter after another, two 32-value groups to a byte. */
static void pack_nibbles(uint8_t qs[128], const int32_t q[N]) {
    for (int j = 0; j < 128; j++) {
        const int32_t *p = q + 64 * (j / 32) + j % 32;
        qs[j] = (uint8_t)((p[0] & 15) | (p[32] & 15) << 4);
    }
}

/* Bit `bit` of every value: bit g of byte j belongs to value 32 g + j. */
static void pack_high_bits(uint8_t h[32], const int32_t q[N], int bit) {
    memset(h, 0, 32);
    for (int j = 0; j < N; j++) h[j % 32] |= (uint8_t)(((q[j] >> bit) & 1) << (j / 32));
}

void ct_encode_Q2_K(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q2_k *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        uint8_t s[16], m[16];
        int32_t q[N];
        encode_affine(s, m, b->d, b->dmin, q, x, 16, 15, 3);
        for (int r = 0; r < 16; r++) b->scales[r] = (uint8_t)(s[r] | m[r] << 4);
        pack_pairs(b->qs, q);
    }
}

void ct_encode_Q4_K(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q4_k *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        uint8_t s[8], m[8];
        int32_t q[N];
        encode_affine(s, m, b->d, b->dmin, q, x, 8, 63, 15);
        pack_scales_6(b->scales, s, m);
        pack_nibbles(b->qs, q);
    }
}

void ct_encode_Q5_K(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q5_k *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        uint8_t s[8], m[8];
        int32_t q[N];
        encode_affine(s, m, b->d, b->dmin, q, x, 8, 63, 31);
        pack_scales_6(b->scales, s, m);
        pack_nibbles(b->qs, q);
        pack_high_bits(b->qh, q, 4);
    }
}

/* ---- encode: symmetric types (Q3_K, Q6_K) ------------------------------------------------------------- */

/* Fit 16 runs of 16 values; run scales in s as integers in [s_lo, -s_lo - 1]; q is offset by -q_lo, so in
 * [0, -2 q_lo - 1]. */
static void encode_symmetric(int8_t s[16], uint8_t d_out[2], int32_t q[N], const float *x, int s_lo, int q_lo) {
    float scale[16];
    for (int r = 0; r < 16; r++) scale[r] = ct_fit_symmetric(x + 16 * r, 16, q_lo);
    const float d = ct_store_scale(d_out, ct_peak(scale, 16) / (float)s_lo);
    for (int r = 0; r < 16; r++) {
        s[r] = (int8_t)ct_round_clamp(scale[r] * ct_inverse(d), (float)s_lo, (float)(-s_lo - 1));
        const float inv = ct_inverse(d * (float)s[r]);
        for (int j = 16 * r; j < 16 * (r + 1); j++) {
            q[j] = ct_round_clamp(x[j] * inv, (float)q_lo, (float)(-q_lo - 1)) - q_lo;
        }
    }
}

void ct_encode_Q3_K(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q3_k *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        int8_t s[16];
        int32_t q[N];
        encode_symmetric(s, b->d, q, x, -32, -4);
        pack_scales_q3(b->scales, s);
        pack_pairs(b->qs, q);
        pack_high_bits(b->hmask, q, 2);
    }
}

void ct_encode_Q6_K(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_q6_k *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) {
        int32_t q[N];
        encode_symmetric(b->scales, b->d, q, x, -128, -32);
        for (int half = 0; half < 2; half++) {
            for (int l = 0; l < 32; l++) {
                const int32_t *p = q + 128 * half + l;
                b->ql[64 * half + l] = (uint8_t)((p[0] & 15) | (p[64] & 15) << 4);
                b->ql[64 * half + l + 32] = (uint8_t)((p[32] & 15) | (p[96] & 15) << 4);
                b->qh[32 * half + l] = (uint8_t)(p[0] >> 4 | p[32] >> 4 << 2 | p[64] >> 4 << 4 | p[96] >> 4 << 6);
            }
        }
    }
}
