/* What the two 256-bit levels share: everything of tmpl/panel.inc's list but the dot product. FN is the including
 * file's. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef int32_t FN(vi) __attribute__((vector_size(32)));
typedef float FN(vf) __attribute__((vector_size(32)));

static inline FN(vi) FN(set1i)(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return (FN(vi))_mm256_set1_epi32(v);
}
static inline FN(vf) FN(set1f)(const void *p) {
    float v;
    memcpy(&v, p, 4);
    return (FN(vf))_mm256_set1_ps(v);
}
static inline FN(vf) FN(fma)(FN(vf) a, FN(vf) b, FN(vf) c) {
    return (FN(vf))_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static inline FN(vf) FN(load_f16)(const uint8_t *p) {
    return (FN(vf))_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline FN(vi) FN(load_u8)(const uint8_t *p) {
    return (FN(vi))_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
static inline FN(vi) FN(load_i8)(const uint8_t *p) {
    return (FN(vi))_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
