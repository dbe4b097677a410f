/* One plane of one block of activations for the AVX-512 levels: tmpl/panel.inc's FN(quantize_8) in two registers. FN is
 * the including file's. */
#include <immintrin.h>

#include "base/half.h"
#include "kernels/panel.h"

#define QUANTIZE_8 1

static inline __attribute__((always_inline)) float FN(quantize_8)(uint8_t *q, int32_t nsum[2], const float *x) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const uint32_t top = _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                                                  _mm512_and_si512(_mm512_castps_si512(b), magnitude)));
    const float max = ct_f32_from_bits(top);
    const bool finite = top < 0x7f800000u, some = finite && max >= CT_X_TINY;
    const __mmask16 keep = some ? 0xffff : 0;
    const __m512 inv = _mm512_set1_ps(some ? 127.0f / max : 0.0f);
    const __m512i va = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(a, inv));
    const __m512i vb = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(b, inv));
    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(va));
    _mm_storeu_si128((__m128i *)(q + 16), _mm512_cvtepi32_epi8(vb));
    nsum[0] = -_mm512_reduce_add_epi32(va);
    nsum[1] = nsum[0] - _mm512_reduce_add_epi32(vb);
    return some ? max / 127.0f : finite ? 0.0f : __builtin_nanf("");
}
