/* aarch64 with the dot product instructions (Armv8.2 and later). The other entries are NEON's. Compiled with that set's
 * flags, so nothing here may be called before ct_cpu_has said yes. */
#define FN(name) name##_dotprod
#define VEC_WIDTH 4
#include "kernels/arm/neon_panel.h"

#define TILE_ACC 8
#define DP_RUN(bits) ((void)(bits), 1)
#define DP_SIGNED 1

static inline vi_dotprod dp_dotprod(vi_dotprod acc, const vi_dotprod *w, const int8_t *x, int n) {
    (void)n; /* always one */
    return (vi_dotprod)vdotq_s32((int32x4_t)acc, (int8x16_t)*w, (int8x16_t)set1i_dotprod(x));
}

#include "kernels/tmpl/panel.inc"

void ct_kernels_dotprod(ct_kernels *k) { fill_panels_dotprod(k); }
