/* A non-owning view of a tensor in a mapped file. Shapes are row-major, slowest first, last dimension
 * contiguous (GGUF's reversed order is flipped once, in formats/gguf.c). */
#ifndef CT_BASE_TENSOR_H
#define CT_BASE_TENSOR_H

#include "base/dtype.h"

#define CT_MAX_RANK 4

typedef struct ct_tensor {
    const char *name;           /* owned by the file that lists it */
    ct_dtype dtype;
    bool panels;                /* rows lie as panels (kernels/panel.h): rank 2 or 3, shape[rank - 2] % CT_PANEL_ROWS == 0 */
    int rank;                   /* 0 (scalar) … CT_MAX_RANK */
    int64_t shape[CT_MAX_RANK]; /* slowest … fastest; unused entries are 1 */
    int64_t n_elem;             /* product of shape */
    size_t bytes;               /* size of the data */
    const uint8_t *data;        /* inside the mapping, not necessarily aligned to more than 1 */
    int file;                   /* index of the file (split files, shards) */
    uint64_t offset;            /* of data in that file, for direct reads */
} ct_tensor;

#endif
