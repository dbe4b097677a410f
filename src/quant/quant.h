/* Block formats: layout, reference decode and encode. One file a family (simple.c: F32 F16 BF16; legacy.c: Q8_0 Q4_0
 * Q4_1 Q5_0 Q5_1; kquant.c: Q2_K … Q6_K; iq4.c: IQ4_NL IQ4_XS). Decode is the definition the kernels are tested
 * against; encode is straightforward rounding (scales by min/max or a small search), not the weighted search of `cut`.
 * Rows are byte streams: no alignment is assumed. Layouts are those of GGUF files. */
#ifndef CT_QUANT_QUANT_H
#define CT_QUANT_QUANT_H

#include "base/dtype.h"

/* y[0,n) = values of the row at src; n is a multiple of the block length. */
typedef void (*ct_decode_fn)(float *y, const void *src, int64_t n);
/* Encode x[0,n) into dst (ct_dtype_row_bytes(t, n) bytes). */
typedef void (*ct_encode_fn)(void *dst, const float *x, int64_t n);

/* Never NULL for t < CT_N_WEIGHT_DTYPE. */
ct_decode_fn ct_quant_decoder(ct_dtype t);
ct_encode_fn ct_quant_encoder(ct_dtype t);

#endif
