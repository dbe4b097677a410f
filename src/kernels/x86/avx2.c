/* AVX2: the shared vector bodies, and integer dots through 16-bit pair sums. Compiled with that set's flags, so nothing
 * here may be called before ct_cpu_has said yes. */
#define FN(name) name##_avx2
#define VEC_WIDTH 8
#define TILE_R 4
#define TILE_T 2
#include "kernels/tmpl/simd.inc"

#include "kernels/x86/avx2_panel.h"

#define TILE_ACC 4
/* As in avx512.c: so many groups of four stay within 16 bits. */
#define DP_RUN(bits) ((bits) == 4 ? 8 : (bits) == 5 ? 4 : (bits) == 6 ? 2 : 1)
#define DP_SIGNED 0

static inline __attribute__((always_inline)) vi_avx2 dp_avx2(vi_avx2 acc, const vi_avx2 *w, const int8_t *x, const int n) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum;
    if (n == 1) {
        const __m256i low = _mm256_set1_epi8(15), xv = (__m256i)set1i_avx2(x), wv = (__m256i)*w;
        const __m256i hi = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(wv, 4), low), xv);
        const __m256i lo = _mm256_maddubs_epi16(_mm256_and_si256(wv, low), xv);
        const __m256i hi32 = _mm256_slli_epi32(_mm256_madd_epi16(hi, one), 4);
        return acc + (vi_avx2)_mm256_add_epi32(hi32, _mm256_madd_epi16(lo, one));
    }
    sum = _mm256_maddubs_epi16((__m256i)w[0], (__m256i)set1i_avx2(x));
    for (int i = 1; i < n; i++) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16((__m256i)w[i], (__m256i)set1i_avx2(x + 4 * i)));
    }
    return acc + (vi_avx2)_mm256_madd_epi16(sum, one);
}

#include "kernels/tmpl/panel.inc"
#include "kernels/tmpl/attend.inc"

void ct_kernels_avx2(ct_kernels *k) {
    fill_avx2(k);
    fill_panels_avx2(k);
    fill_attend_avx2(k);
}
