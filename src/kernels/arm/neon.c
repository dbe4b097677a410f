/* aarch64's base architecture: the shared vector bodies, and integer dots through widening products. */
#define FN(name) name##_neon
#define VEC_WIDTH 4
#define TILE_R 4
#define TILE_T 4
#include "kernels/tmpl/simd.inc"

#include "kernels/arm/neon_panel.h"

#define TILE_ACC 8
#define DP_RUN(bits) ((void)(bits), 1)
#define DP_SIGNED 1

static inline vi_neon dp_neon(vi_neon acc, const vi_neon *w, const int8_t *x, int n) {
    (void)n; /* always one */
    const int8x16_t wv = (int8x16_t)*w, xv = (int8x16_t)set1i_neon(x);
    const int16x8_t rows01 = vmull_s8(vget_low_s8(wv), vget_low_s8(xv)), rows23 = vmull_high_s8(wv, xv);
    return (vi_neon)vpadalq_s16((int32x4_t)acc, vpaddq_s16(rows01, rows23));
}

#include "kernels/tmpl/panel.inc"
#include "kernels/tmpl/attend.inc"

void ct_kernels_neon(ct_kernels *k) {
    fill_neon(k);
    fill_panels_neon(k);
    fill_attend_neon(k);
}
