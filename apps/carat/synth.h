/* Writing a GGUF with a variant's true shapes and random weights. The verb is in synth.c. */
#ifndef CLI_SYNTH_H
#define CLI_SYNTH_H

#include "recipe.h"
#include "synth_shapes.h"

/* Bytes of tensor data written so far; return false to stop (CARAT_ECANCEL). */
typedef bool (*synth_progress_fn)(void *ud, uint64_t done, uint64_t total);

typedef struct {
    const synth_variant *variant;
    const cli_recipe *recipe;
    cli_layout layout;           /* same values in either */
    const char *out;
    uint64_t seed;               /* same seed, same file */
    synth_progress_fn progress;  /* may be NULL */
    void *progress_ud;
} synth_opts;

typedef struct {
    int32_t n_tensor;
    int64_t n_params;
    uint64_t data_bytes; /* of the tensors */
} synth_result;

/* EIO, ENOMEM, ECANCEL; nothing is left at `out` on failure. */
int synth_write(synth_result *res, const synth_opts *o, carat_error *err);

#endif
