/* The shared vector bodies for AVX2; compiled with that set's flags, so nothing here may be called before
 * ct_cpu_has said yes. */
#define FN(name) name##_avx2
#define VEC_WIDTH 8
#define TILE_R 4
#define TILE_T 2
#include "kernels/tmpl/simd.inc"

void ct_kernels_avx2(ct_kernels *k) { fill_avx2(k); }
