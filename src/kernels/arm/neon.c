/* The shared vector bodies for aarch64, whose base architecture has NEON. */
#define FN(name) name##_neon
#define VEC_WIDTH 4
#define TILE_R 4
#define TILE_T 4
#include "kernels/tmpl/simd.inc"

void ct_kernels_neon(ct_kernels *k) { fill_neon(k); }
