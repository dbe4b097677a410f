/* AVX-512 with VNNI: a dot instruction takes four unsigned weight bytes of 16 rows. The other entries are AVX-512's.
 * Compiled with that set's flags, so nothing here may be called before ct_cpu_has said yes. */
#define FN(name) name##_avx512vnni
#define VEC_WIDTH 16
#include "kernels/x86/avx512_panel.h"

#define TILE_ACC 8
#define DP_RUN(bits) ((void)(bits), 1)
#define DP_SIGNED 0

static inline vi_avx512vnni dp_avx512vnni(vi_avx512vnni acc, const vi_avx512vnni *w, const int8_t *x, int n) {
    (void)n; /* always one */
    return (vi_avx512vnni)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)*w, (__m512i)set1i_avx512vnni(x));
}

#include "kernels/tmpl/panel.inc"

void ct_kernels_avx512vnni(ct_kernels *k) { fill_panels_avx512vnni(k); }
