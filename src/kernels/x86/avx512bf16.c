/* AVX-512 with BF16: products with BF16 weights on the bf16 dot instruction. Activations are rounded to bf16 (8 bits of
 * mantissa, as transformers does when it runs a model in bf16); products and sums are f32. This is the one entry whose
 * bits differ from the portable level's; its error bound is tested, and a result still depends on its own inputs only.
 * The other entries are AVX-512 VNNI's. Compiled with that set's flags, so nothing here may be called before ct_cpu_has
 * said yes. */
#include <immintrin.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))
/* Values of a step: 16 lanes, two neighbours each. */
#define STEP 32
#define ROWS 4
#define TOKENS 4

/* n <= 32 values of x from d on as bf16, zeros behind them. */
INLINE __m512bh load_x(const float *x, int64_t n) {
    if (n >= STEP) return _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
    const __mmask32 m = (__mmask32)((UINT64_C(1) << n) - 1);
    const __m512 lo = _mm512_maskz_loadu_ps((__mmask16)m, x), hi = n > 16 ? _mm512_maskz_loadu_ps((__mmask16)(m >> 16), x + 16) : _mm512_setzero_ps();
    return _mm512_cvtne2ps_pbh(hi, lo);
}

INLINE __m512bh load_w(const uint8_t *w, int64_t n) {
    return (__m512bh)(n >= STEP ? _mm512_loadu_si512(w) : _mm512_maskz_loadu_epi16((__mmask32)((UINT64_C(1) << n) - 1), w));
}

/* n_r rows from row r times n_t tokens from token t; both literals at every call. */
INLINE void tile(const ct_matmul *a, int64_t r, int t, const int n_r, const int n_t) {
    __m512 acc[ROWS][TOKENS];
    const uint8_t *w = a->w + (size_t)r * a->row_bytes;
    for (int i = 0; i < n_r; i++)
        for (int j = 0; j < n_t; j++) acc[i][j] = _mm512_setzero_ps();
    for (int64_t d = 0; d < a->d_in; d += STEP) {
        const int64_t n = a->d_in - d;
        __m512bh x[TOKENS];
        for (int j = 0; j < n_t; j++) x[j] = load_x(a->x + (size_t)(t + j) * a->ldx + d, n);
        for (int i = 0; i < n_r; i++) {
            const __m512bh row = load_w(w + (size_t)i * a->row_bytes + d * 2, n);
            for (int j = 0; j < n_t; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], row, x[j]);
        }
    }
    for (int i = 0; i < n_r; i++)
        for (int j = 0; j < n_t; j++) a->y[(size_t)(t + j) * a->ldy + (size_t)(r + i)] = _mm512_reduce_add_ps(acc[i][j]);
}

static void matmul(const ct_matmul *a) {
    for (int64_t r = a->row0; r < a->row1;) {
        /* One token is bound by memory, which one long stream feeds best. */
        const int n_r = a->n_tok > 1 && a->row1 - r >= ROWS ? ROWS : 1;
        int t = 0;
        if (n_r == ROWS) {
            for (; t + TOKENS <= a->n_tok; t += TOKENS) tile(a, r, t, ROWS, TOKENS);
            for (; t < a->n_tok; t++) tile(a, r, t, ROWS, 1);
        } else {
            for (; t < a->n_tok; t++) tile(a, r, t, 1, 1);
        }
        r += n_r;
    }
}

void ct_kernels_avx512bf16(ct_kernels *k) { k->matmul[CT_BF16] = matmul; }
