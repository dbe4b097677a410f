/* Writing a model anew with other types or in another layout, tensor by tensor. The verb is in cut.c. */
#ifndef CLI_CUT_H
#define CLI_CUT_H

#include "carat.h"
#include "recipe.h"

/* Bytes of tensor data written so far; return false to stop (CARAT_ECANCEL). */
typedef bool (*cut_progress_fn)(void *ud, uint64_t done, uint64_t total);

typedef struct {
    const char *source, *out;
    const char *name;            /* general.name; NULL = the source's, for a folder the folder's name */
    const cli_recipe *recipe;    /* NULL = every tensor keeps its type; of a GGUF only */
    cli_layout layout;
    int32_t n_threads;           /* >= 1; the file does not depend on it */
    cut_progress_fn progress;    /* may be NULL */
    void *progress_ud;
} cut_opts;

typedef struct {
    int32_t n_tensor, n_left_out;
    int32_t n_panels;                  /* tensors that lie as panels */
    uint64_t source_bytes, data_bytes; /* of the tensors, before and after */
} cut_result;

/* Memory needed is a few MiB a thread, whatever the model. Nothing is left at `out` on failure;
 * EINVAL where it is one of the files being read, or where a folder is to keep its types. */
int cut_write(cut_result *res, const cut_opts *o, carat_error *err);

#endif
