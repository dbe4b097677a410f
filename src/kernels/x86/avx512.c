/* AVX-512 without VNNI: the shared vector bodies, and integer dots through 16-bit pair sums. Compiled with that set's
 * flags, so nothing here may be called before ct_cpu_has said yes. */
#define FN(name) name##_avx512
#define VEC_WIDTH 16
#define TILE_R 4
#define TILE_T 4
#include "kernels/tmpl/simd.inc"

#include "kernels/x86/avx512_panel.h"

#define TILE_ACC 8
/* Pair sums of unsigned weights below 2^bits and signed activations stay within 16 bits for so many groups:
 * 15*128*2*8, 31*128*2*4 and 63*128*2*2 are below 2^15. Weights of 8 bits are taken as two nibbles. */
#define DP_RUN(bits) ((bits) == 4 ? 8 : (bits) == 5 ? 4 : (bits) == 6 ? 2 : 1)
#define DP_SIGNED 0

static inline __attribute__((always_inline)) vi_avx512 dp_avx512(vi_avx512 acc, const vi_avx512 *w, const int8_t *x, const int n) {
    const __m512i one = _mm512_set1_epi16(1);
    __m512i sum;
    if (n == 1) {
        const __m512i low = _mm512_set1_epi8(15), xv = (__m512i)set1i_avx512(x), wv = (__m512i)*w;
        const __m512i hi = _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(wv, 4), low), xv);
        const __m512i lo = _mm512_maddubs_epi16(_mm512_and_si512(wv, low), xv);
        const __m512i hi32 = _mm512_slli_epi32(_mm512_madd_epi16(hi, one), 4);
        return acc + (vi_avx512)_mm512_add_epi32(hi32, _mm512_madd_epi16(lo, one));
    }
    sum = _mm512_maddubs_epi16((__m512i)w[0], (__m512i)set1i_avx512(x));
    for (int i = 1; i < n; i++) {
        sum = _mm512_add_epi16(sum, _mm512_maddubs_epi16((__m512i)w[i], (__m512i)set1i_avx512(x + 4 * i)));
    }
    return acc + (vi_avx512)_mm512_madd_epi16(sum, one);
}

#include "kernels/tmpl/panel.inc"
#include "kernels/tmpl/attend.inc"

void ct_kernels_avx512(ct_kernels *k) {
    fill_avx512(k);
    fill_panels_avx512(k);
    fill_attend_avx512(k);
}
