/* The shared vector bodies for AVX512; compiled with that set's flags, so nothing here may be called before
 * ct_cpu_has said yes. */
#define FN(name) name##_avx512
#define VEC_WIDTH 16
#define TILE_R 4
#define TILE_T 4
#include "kernels/tmpl/simd.inc"

void ct_kernels_avx512(ct_kernels *k) { fill_avx512(k); }
