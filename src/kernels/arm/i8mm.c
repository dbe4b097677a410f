/* aarch64 with the 8-bit matrix instructions (optional from Armv8.2, usual from Armv8.6): one multiplies two rows by two
 * tokens, eight values deep. Single tokens use the dot product. The other entries are NEON's. Compiled with that set's
 * flags, so nothing here may be called before ct_cpu_has said yes. */
#define FN(name) name##_i8mm
#define VEC_WIDTH 4
#include "kernels/arm/neon_panel.h"

#define TILE_ACC 8
#define DP_RUN(bits) ((void)(bits), 1)
#define DP_SIGNED 1
#define DP_PAIR 1

static inline vi_i8mm dp_i8mm(vi_i8mm acc, const vi_i8mm *w, const int8_t *x, int n) {
    (void)n; /* always one */
    return (vi_i8mm)vdotq_s32((int32x4_t)acc, (int8x16_t)*w, (int8x16_t)set1i_i8mm(x));
}

/* Groups g and g + 1 of four rows become two rows of eight values each; sums come as [row, token] and leave as one vector
 * of rows a token. */
static inline __attribute__((always_inline)) void dp_pair_i8mm(vi_i8mm *acc, const vi_i8mm *w, const int8_t *x, const int g0,
                                                               const int g1) {
    int32x4_t rows01 = vdupq_n_s32(0), rows23 = vdupq_n_s32(0);
    for (int g = g0; g < g1; g += 2) {
        const int32x4_t a = (int32x4_t)w[g], b = (int32x4_t)w[g + 1];
        const int8x16_t tokens = vcombine_s8(vld1_s8(x + g * 4), vld1_s8(x + 32 + g * 4));
        rows01 = vmmlaq_s32(rows01, vreinterpretq_s8_s32(vzip1q_s32(a, b)), tokens);
        rows23 = vmmlaq_s32(rows23, vreinterpretq_s8_s32(vzip2q_s32(a, b)), tokens);
    }
    acc[0] += (vi_i8mm)vuzp1q_s32(rows01, rows23);
    acc[1] += (vi_i8mm)vuzp2q_s32(rows01, rows23);
}

#include "kernels/tmpl/panel.inc"

void ct_kernels_i8mm(ct_kernels *k) { fill_panels_i8mm(k); }
