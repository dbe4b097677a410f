/* NumPy .npy files of float32 matrices, written row by row: version 1.0, little-endian, C order. */
#ifndef CLI_NPY_H
#define CLI_NPY_H

#include <stdint.h>

#include "carat.h"

typedef struct cli_npy cli_npy;

/* Start a [?, n_col] matrix. Written to `path.tmp-<pid>`; the name is given on success. Gives *out: close or discard. */
int cli_npy_open(cli_npy **out, const char *path, int32_t n_col, carat_error *err);
/* Append rows: x: [n_row, n_col]. */
int cli_npy_write(cli_npy *f, const float *x, int64_t n_row, carat_error *err);
int32_t cli_npy_n_col(const cli_npy *f);
int64_t cli_npy_n_row(const cli_npy *f);
/* Fill in the number of rows, flush, rename. Frees *f in any case. */
int cli_npy_close(cli_npy **f, carat_error *err);
/* Remove the unfinished file. */
void cli_npy_discard(cli_npy **f);

#endif
