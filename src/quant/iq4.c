/* IQ4_NL and IQ4_XS: 4-bit indices into a fixed codebook of 16 levels, denser near zero. NL has one f16 scale for 32
 * values; XS has one for 256 and a 6-bit scale for each run of 32. Encoding tries a few scales a run and keeps the
 * one with the least squared error. */
#include "quant/quant_int.h"

enum { N = 32, N_LEVEL = 16 };

/* The format's levels, and the midpoints between neighbours used to find the nearest one. */
static const float level[N_LEVEL] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const float midpoint[N_LEVEL - 1] = {-115.5f, -93.5f, -74, -57,   -42,   -28.5f, -16, -4.5f,
                                            7,       19,     31.5f, 45.5f, 61,    79,     101};

static inline void decode_run(float *restrict y, const uint8_t *restrict qs, float d) {
    for (int j = 0; j < N / 2; j++) y[j] = d * level[qs[j] & 15];
    for (int j = 0; j < N / 2; j++) y[j + N / 2] = d * level[qs[j] >> 4];
}

void ct_decode_IQ4_NL(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_iq4_nl *restrict b = src;
    for (int64_t i = 0; i < n; i += N, b++, y += N) decode_run(y, b->qs, ct_load_f16(b->d));
}

void ct_decode_IQ4_XS(float *restrict y, const void *restrict src, int64_t n) {
    const ct_block_iq4_xs *restrict b = src;
    for (int64_t i = 0; i < n; i += 256, b++) {
        const float d = ct_load_f16(b->d);
        const uint32_t high = ct_load_u16(b->scales_h);
        for (int r = 0; r < 8; r++, y += N) {
            const int low = (b->scales_l[r / 2] >> (4 * (r % 2))) & 15;
            const int s = low | (int)((high >> (2 * r)) & 3u) << 4;
            decode_run(y, b->qs + 16 * r, d * (float)(s - 32));
        }
    }
}

/* ---- encode ------------------------------------------------------------------------------------------- */

/* q[j] = index of the level nearest to inv x[j]: the number of midpoints below it. */
static void nearest(int32_t q[N], const float *x, float inv) {
    for (int j = 0; j < N; j++) {
        const float v = inv * x[j];
        int32_t k = 0;
        for (int t = 0; t < N_LEVEL - 1; t++) k += v > midpoint[t];
        q[j] = k;
    }
}

/* Least-squares d for x ~ d level[q]; 0 when x is all zero. */
static float fit_run(const float *x) {
    const float peak = ct_peak(x, N);
    if (peak == 0) return 0;
    float best = -1, best_d = peak / level[0];
    /* The peak is put near either end of the uneven codebook. */
    for (int k = 0; k < 14; k++) {
        const float end = k < 7 ? level[0] : level[N_LEVEL - 1];
        const float inv = end * (0.88f + 0.04f * (float)(k % 7)) / peak;
        int32_t q[N];
        nearest(q, x, inv);
        float xl = 0, ll = 0;
        for (int j = 0; j < N; j++) {
            xl += x[j] * level[q[j]];
            ll += level[q[j]] * level[q[j]];
        }
        if (xl * (xl / ll) > best) {
            best = xl * (xl / ll);
            best_d = xl / ll;
        }
    }
    return best_d;
}

static void pack_run(uint8_t qs[16], const float *x, float d) {
    int32_t q[N];
    nearest(q, x, ct_inverse(d));
    for (int j = 0; j < N / 2; j++) qs[j] = (uint8_t)(q[j] | q[j + N / 2] << 4);
}

void ct_encode_IQ4_NL(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_iq4_nl *restrict b = dst;
    for (int64_t i = 0; i < n; i += N, b++, x += N) pack_run(b->qs, x, ct_store_scale(b->d, fit_run(x)));
}

void ct_encode_IQ4_XS(void *restrict dst, const float *restrict x, int64_t n) {
    ct_block_iq4_xs *restrict b = dst;
    for (int64_t i = 0; i < n; i += 256, b++, x += 256) {
        float scale[8];
        for (int r = 0; r < 8; r++) scale[r] = fit_run(x + N * r);
        const float d = ct_store_scale(b->d, ct_peak(scale, 8) / -32);
        uint32_t high = 0;
        memset(b->scales_l, 0, sizeof b->scales_l);
        for (int r = 0; r < 8; r++) {
            const int s = ct_round_clamp(scale[r] * ct_inverse(d), -32, 31);
            b->scales_l[r / 2] |= (uint8_t)(((s + 32) & 15) << (4 * (r % 2)));
            high |= (uint32_t)((s + 32) >> 4) << (2 * r);
            pack_run(b->qs + 16 * r, x + N * r, d * (float)s);
        }
        const uint16_t h16 = (uint16_t)high;
        memcpy(b->scales_h, &h16, sizeof h16);
    }
}
