/* AVX-VNNI: the dot instruction on 256-bit registers, for processors that have it without AVX-512. The other entries
 * are AVX2's. Compiled with that set's flags, so nothing here may be called before ct_cpu_has said yes. */
#define FN(name) name##_avxvnni
#define VEC_WIDTH 8
#include "kernels/x86/avx2_panel.h"

#define TILE_ACC 4
#define DP_RUN(bits) ((void)(bits), 1)
#define DP_SIGNED 0

static inline vi_avxvnni dp_avxvnni(vi_avxvnni acc, const vi_avxvnni *w, const int8_t *x, int n) {
    (void)n; /* always one */
    return (vi_avxvnni)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)*w, (__m256i)set1i_avxvnni(x));
}

#include "kernels/tmpl/panel.inc"

void ct_kernels_avxvnni(ct_kernels *k) { fill_panels_avxvnni(k); }
