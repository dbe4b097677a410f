/* AVX-512 with VNNI: a dot instruction takes four unsigned weight bytes of 16 rows. Compiled with that set's flags, so
 * nothing here may be called before ct_cpu_has said yes. */
#include <immintrin.h>
#include <stdint.h>

#define FN(name) name##_avx512vnni
#define VEC_WIDTH 16
#define TILE_ACC 8
#define DP_RUN(bits) ((void)(bits), 1)
#define DP_SIGNED 0

typedef int32_t vi_avx512vnni __attribute__((vector_size(64)));
typedef float vf_avx512vnni __attribute__((vector_size(64)));

static inline vi_avx512vnni set1i_avx512vnni(const void *p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return (vi_avx512vnni)_mm512_set1_epi32(v);
}
static inline vf_avx512vnni set1f_avx512vnni(const void *p) {
    float v;
    __builtin_memcpy(&v, p, 4);
    return (vf_avx512vnni)_mm512_set1_ps(v);
}
static inline vi_avx512vnni dp_avx512vnni(vi_avx512vnni acc, const vi_avx512vnni *w, const int8_t *x, int n) {
    (void)n; /* always one */
    return (vi_avx512vnni)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)*w, (__m512i)set1i_avx512vnni(x));
}
static inline vf_avx512vnni fma_avx512vnni(vf_avx512vnni a, vf_avx512vnni b, vf_avx512vnni c) {
    return (vf_avx512vnni)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline vf_avx512vnni load_f16_avx512vnni(const uint8_t *p) {
    return (vf_avx512vnni)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vi_avx512vnni load_u8_avx512vnni(const uint8_t *p) {
    return (vi_avx512vnni)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
static inline vi_avx512vnni load_i8_avx512vnni(const uint8_t *p) {
    return (vi_avx512vnni)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}

#include "kernels/x86/avx512_quantize.h"

#include "kernels/tmpl/panel.inc"

void ct_kernels_avx512vnni(ct_kernels *k) { fill_panels_avx512vnni(k); }
