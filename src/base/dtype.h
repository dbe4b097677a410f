/* Element types a tensor can have: block length, block bytes, name. The numeric values are our own;
 * formats/gguf.c maps GGUF's type numbers to them, formats/safetensors.c maps dtype strings. */
#ifndef CT_BASE_DTYPE_H
#define CT_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(enum suffix, name, values per block, bytes per block) */
#define CT_DTYPE_LIST(X)        \
    X(F32, "F32", 1, 4)         \
    X(F16, "F16", 1, 2)         \
    X(BF16, "BF16", 1, 2)       \
    X(Q8_0, "Q8_0", 32, 34)     \
    X(Q4_0, "Q4_0", 32, 18)     \
    X(Q4_1, "Q4_1", 32, 20)     \
    X(Q5_0, "Q5_0", 32, 22)     \
    X(Q5_1, "Q5_1", 32, 24)     \
    X(Q2_K, "Q2_K", 256, 84)    \
    X(Q3_K, "Q3_K", 256, 110)   \
    X(Q4_K, "Q4_K", 256, 144)   \
    X(Q5_K, "Q5_K", 256, 176)   \
    X(Q6_K, "Q6_K", 256, 210)   \
    X(IQ4_NL, "IQ4_NL", 32, 18) \
    X(IQ4_XS, "IQ4_XS", 256, 136) \
    X(I32, "I32", 1, 4)         \
    X(I64, "I64", 1, 8)

typedef enum {
#define X(id, name, len, bytes) CT_##id,
    CT_DTYPE_LIST(X)
#undef X
    CT_N_DTYPE
} ct_dtype;

/* Rows that lie side by side in a panel, the layout of the integer kernels (kernels/panel.h). */
#define CT_PANEL_ROWS 16

/* First CT_N_WEIGHT_DTYPE values are the ones a weight may have (I32, I64 are for data files only). */
#define CT_N_WEIGHT_DTYPE CT_I32

const char *ct_dtype_name(ct_dtype t);
/* Values per block (1, 32 or 256). */
int ct_dtype_block_len(ct_dtype t);
/* Bytes of one block. */
size_t ct_dtype_block_bytes(ct_dtype t);
/* Bytes of n consecutive values; n must be a multiple of the block length (else 0 is returned). */
size_t ct_dtype_row_bytes(ct_dtype t, int64_t n);
/* Case-insensitive name ("q4_k", "Q4_K") to type; false when there is no such type. */
bool ct_dtype_parse(const char *name, ct_dtype *out);
/* Can rows of the type lie as panels? */
bool ct_dtype_has_panels(ct_dtype t);

#endif
