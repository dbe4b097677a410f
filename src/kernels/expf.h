/* exp, gelu and tanh in plain float arithmetic without branches: the same bits on every level and libc, and loops of
 * them vectorise. exp is within 2 ulp on [-87, 88]; below it is 0 (what softmax wants of -inf), above it is inf. */
#ifndef CT_KERNELS_EXPF_H
#define CT_KERNELS_EXPF_H

#include "base/half.h"
#include "kernels/fmaf.h"

static inline float ct_expf(float x) {
    /* x = n ln2 + r, |r| <= ln2/2. ln2 in two parts (Cody and Waite): n * hi is exact for |n| < 2^10. */
    const float clamped = x < -88.0f ? -88.0f : x > 88.8f ? 88.8f : x;
    const float biased = clamped * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer in the low bits */
    const float n = biased - 12582912.0f;
    float r = clamped - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    /* exp(r) by its Taylor polynomial of degree 7: error below 2^-25 on |r| <= 0.347. */
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* 2^n in two halves, so that n = 128 and n = -127 do not leave the exponent's range on the way. n as an integer
     * is in the low bits of `biased`; converting it would be undefined for NaN. */
    const int32_t e = (int32_t)(ct_f32_bits(biased) - 0x4b400000u), h = e / 2;
    p = p * ct_f32_from_bits((uint32_t)(h + 127) << 23) * ct_f32_from_bits((uint32_t)(e - h + 127) << 23);
    p = x < -87.3f ? 0.0f : p;
    return x != x ? x : p;
}

/* exp for x <= 0 (or NaN), with fused multiply-adds: for the weights of attention. Within 2 ulp down to -87.3, 0 below. */
static inline float ct_exp_fall(float x) {
    const float clamped = x < -87.3f ? -87.3f : x; /* 2^n stays normal */
    const float biased = ct_fmaf(clamped, 1.44269504f, 12582912.0f), n = biased - 12582912.0f;
    const float r = ct_fmaf(n, 2.12194440e-4f, ct_fmaf(n, -0.693359375f, clamped));
    float p = 1.0f / 5040.0f;
    p = ct_fmaf(p, r, 1.0f / 720.0f);
    p = ct_fmaf(p, r, 1.0f / 120.0f);
    p = ct_fmaf(p, r, 1.0f / 24.0f);
    p = ct_fmaf(p, r, 1.0f / 6.0f);
    p = ct_fmaf(p, r, 0.5f);
    p = ct_fmaf(p, r, 1.0f);
    p = ct_fmaf(p, r, 1.0f);
    p *= ct_f32_from_bits((ct_f32_bits(biased) + 127u) << 23); /* the low bits of 0x4b400000 are zero */
    return x < -87.3f ? 0.0f : p;
}

/* 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): no cancellation near zero. */
static inline float ct_gelu(float x) {
    const float u2 = 1.5957691216f * (x + 0.044715f * x * x * x);
    return x / (1.0f + ct_expf(-u2));
}

static inline float ct_tanhf(float x) { return 1.0f - 2.0f / (ct_expf(2.0f * x) + 1.0f); }

#endif
