/* What the two AVX-512 levels share: everything of tmpl/panel.inc's list but the dot product, and one plane of a block of
 * activations in two registers. FN is the including file's. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/panel.h"

typedef int32_t FN(vi) __attribute__((vector_size(64)));
typedef float FN(vf) __attribute__((vector_size(64)));

static inline FN(vi) FN(set1i)(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return (FN(vi))_mm512_set1_epi32(v);
}
static inline FN(vf) FN(set1f)(const void *p) {
    float v;
    memcpy(&v, p, 4);
    return (FN(vf))_mm512_set1_ps(v);
}
static inline FN(vf) FN(fma)(FN(vf) a, FN(vf) b, FN(vf) c) {
    return (FN(vf))_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline FN(vf) FN(load_f16)(const uint8_t *p) {
    return (FN(vf))_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline FN(vi) FN(load_u8)(const uint8_t *p) {
    return (FN(vi))_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
static inline FN(vi) FN(load_i8)(const uint8_t *p) {
    return (FN(vi))_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}

#define QUANTIZE_8 1

static inline __attribute__((always_inline)) float FN(quantize_8)(uint8_t *q, int32_t nsum[2], const float *x) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const uint32_t top = _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                                                  _mm512_and_si512(_mm512_castps_si512(b), magnitude)));
    float inv;
    const float d = ct_x_scale(top, 127.0f, &inv);
    const __mmask16 keep = inv == 0.0f ? 0 : 0xffff;
    const __m512i va = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(a, _mm512_set1_ps(inv)));
    const __m512i vb = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(b, _mm512_set1_ps(inv)));
    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(va));
    _mm_storeu_si128((__m128i *)(q + 16), _mm512_cvtepi32_epi8(vb));
    nsum[0] = -_mm512_reduce_add_epi32(va);
    nsum[1] = nsum[0] - _mm512_reduce_add_epi32(vb);
    return d;
}
