/* F32, F16, BF16: one value a block. Encoding rounds to nearest even; F32 is a copy that keeps every bit. */
#include "quant/quant_int.h"

void ct_decode_F32(float *y, const void *src, int64_t n) { memcpy(y, src, (size_t)n * sizeof *y); }

void ct_encode_F32(void *dst, const float *x, int64_t n) { memcpy(dst, x, (size_t)n * sizeof *x); }

void ct_decode_F16(float *restrict y, const void *restrict src, int64_t n) {
    const uint8_t *restrict b = src;
    for (int64_t i = 0; i < n; i++) y[i] = ct_f16_to_f32(ct_load_u16(b + 2 * i));
}

void ct_encode_F16(void *restrict dst, const float *restrict x, int64_t n) {
    uint8_t *restrict b = dst;
    for (int64_t i = 0; i < n; i++) {
        const uint16_t h = ct_f32_to_f16(x[i]);
        memcpy(b + 2 * i, &h, sizeof h);
    }
}

void ct_decode_BF16(float *restrict y, const void *restrict src, int64_t n) {
    const uint8_t *restrict b = src;
    for (int64_t i = 0; i < n; i++) y[i] = ct_bf16_to_f32(ct_load_u16(b + 2 * i));
}

void ct_encode_BF16(void *restrict dst, const float *restrict x, int64_t n) {
    uint8_t *restrict b = dst;
    for (int64_t i = 0; i < n; i++) {
        const uint16_t h = ct_f32_to_bf16(x[i]);
        memcpy(b + 2 * i, &h, sizeof h);
    }
}
