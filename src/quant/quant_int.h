/* Inside the quant room: block layouts, the family files' functions, and small helpers of the encoders.
 * Blocks are structs of byte arrays (alignment 1, no padding), so a row may start at any address; their sizes are
 * asserted against base/dtype.h. Numbers in a block are little-endian, as in GGUF.
 * Every product of a decode (f16 scale x 6- to 8-bit sub-scale x quant) has at most 24 significant bits, hence is
 * exact in f32: a compiler that fuses multiply and add cannot change a decoded value. */
#ifndef CT_QUANT_QUANT_INT_H
#define CT_QUANT_QUANT_INT_H

#include "base/half.h"
#include "quant/quant.h"

#define CT_DECODE(id) void ct_decode_##id(float *y, const void *src, int64_t n);
#define CT_ENCODE(id) void ct_encode_##id(void *dst, const float *x, int64_t n);
#define CT_QUANT_LIST(X)                                                                                    \
    X(F32) X(F16) X(BF16) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) \
    X(IQ4_NL) X(IQ4_XS)
CT_QUANT_LIST(CT_DECODE)
CT_QUANT_LIST(CT_ENCODE)
#undef CT_DECODE
#undef CT_ENCODE

/* ---- layouts ------------------------------------------------------------------------------------------ */

/* 32 values. Nibble j of qs: low halves hold values 0-15, high halves 16-31; qh: one bit a value, value j = bit j. */
typedef struct { uint8_t d[2]; int8_t qs[32]; } ct_block_q8_0;                 /* y = d q */
typedef struct { uint8_t d[2], qs[16]; } ct_block_q4_0;                        /* y = d (q - 8) */
typedef struct { uint8_t d[2], m[2], qs[16]; } ct_block_q4_1;                  /* y = d q + m */
typedef struct { uint8_t d[2], qh[4], qs[16]; } ct_block_q5_0;                 /* y = d (q - 16) */
typedef struct { uint8_t d[2], m[2], qh[4], qs[16]; } ct_block_q5_1;           /* y = d q + m */
typedef struct { uint8_t d[2], qs[16]; } ct_block_iq4_nl;                      /* y = d codebook[q] */

/* 256 values. Where quants are 2 bits, byte l of each 32-byte half of qs holds values l, l+32, l+64, l+96 of that
 * half; where they are 4 bits, byte l of each 32-byte quarter holds values l and l+32 of that quarter. Bit g of a
 * 32-byte high-bit array belongs to the g-th run of 32 values. */
/* 16 runs of 16: y = d s q - dmin m; scales: s low, m high nibble */
typedef struct { uint8_t scales[16], qs[64], d[2], dmin[2]; } ct_block_q2_k;
/* 16 runs of 16: y = d (s - 32) (q - 4); hmask: bit 2 of q */
typedef struct { uint8_t hmask[32], qs[64], scales[12], d[2]; } ct_block_q3_k;
/* 8 runs of 32: y = d s q - dmin m; s, m 6 bits */
typedef struct { uint8_t d[2], dmin[2], scales[12], qs[128]; } ct_block_q4_k;
/* the same with a fifth bit, in qh */
typedef struct { uint8_t d[2], dmin[2], scales[12], qh[32], qs[128]; } ct_block_q5_k;
/* 16 runs of 16: y = d s (q - 32); qh: bits 4 and 5 */
typedef struct { uint8_t ql[128], qh[64]; int8_t scales[16]; uint8_t d[2]; } ct_block_q6_k;
/* 8 runs of 32: y = d (s - 32) codebook[q]; s: 4 bits in scales_l, 2 in scales_h */
typedef struct { uint8_t d[2], scales_h[2], scales_l[4], qs[128]; } ct_block_iq4_xs;

#define X(id, name, len, bytes) CT_LEN_##id = len, CT_BYTES_##id = bytes,
enum { CT_DTYPE_LIST(X) };
#undef X

#define CT_CHECK_BLOCK(type, id) _Static_assert(sizeof(type) == CT_BYTES_##id, #id " block size")
CT_CHECK_BLOCK(ct_block_q8_0, Q8_0);
CT_CHECK_BLOCK(ct_block_q4_0, Q4_0);
CT_CHECK_BLOCK(ct_block_q4_1, Q4_1);
CT_CHECK_BLOCK(ct_block_q5_0, Q5_0);
CT_CHECK_BLOCK(ct_block_q5_1, Q5_1);
CT_CHECK_BLOCK(ct_block_iq4_nl, IQ4_NL);
CT_CHECK_BLOCK(ct_block_q2_k, Q2_K);
CT_CHECK_BLOCK(ct_block_q3_k, Q3_K);
CT_CHECK_BLOCK(ct_block_q4_k, Q4_K);
CT_CHECK_BLOCK(ct_block_q5_k, Q5_K);
CT_CHECK_BLOCK(ct_block_q6_k, Q6_K);
CT_CHECK_BLOCK(ct_block_iq4_xs, IQ4_XS);
#undef CT_CHECK_BLOCK

/* Before a loop of 16: gcc would unroll it completely before it looks for vectors, and then find only poor ones. */
#if defined(__GNUC__) && !defined(__clang__)
#define CT_KEEP_LOOP _Pragma("GCC unroll 1")
#else
#define CT_KEEP_LOOP
#endif

/* ---- helpers ------------------------------------------------------------------------------------------ */

static inline float ct_load_f16(const uint8_t p[2]) { return ct_f16_to_f32(ct_load_u16(p)); }

/* Nearest integer in [lo, hi] (ties to even), for |lo|, |hi| < 2^22; NaN gives lo. Branch-free: the addition
 * leaves the integer in the low bits of the sum. */
static inline int32_t ct_round_clamp(float x, float lo, float hi) {
    x = x > lo ? x : lo;
    x = x < hi ? x : hi;
    return (int32_t)(ct_f32_bits(x + 0x1.8p23f) - 0x4b400000u);
}

static inline float ct_abs_f32(float v) { return ct_f32_from_bits(ct_f32_bits(v) & 0x7fffffffu); }

/* The element of x[0,n) of largest magnitude, with its sign; 0 when there is none. NaNs are passed over. */
static inline float ct_peak(const float *x, int n) {
    float a = 0;
    for (int i = 0; i < n; i++) a = ct_abs_f32(x[i]) > ct_abs_f32(a) ? x[i] : a;
    return a;
}

/* Store a scale as f16 and return the stored value, against which quants must be rounded. A finite scale never
 * becomes infinite, and one that is not zero never becomes zero: the smallest f16 keeps the block's shape. */
float ct_store_scale(uint8_t p[2], float d);
/* 1/d, or 0 for 0. */
static inline float ct_inverse(float d) { return d != 0 ? 1 / d : 0; }

/* Least-squares d for x ~ d q, q integer in [lo, -lo - 1], lo < 0: the best of a few step sizes around the one
 * that maps the largest magnitude to lo. 0 when x is all zero. n is a multiple of 8. */
float ct_fit_symmetric(const float *x, int n, int lo);
/* The same for x ~ d q + m, q in [0, q_max], d >= 0, m in *m. With `below_zero`, m <= 0 (K-quants store -m). */
float ct_fit_affine(float *m, const float *x, int n, int q_max, bool below_zero);

#endif
