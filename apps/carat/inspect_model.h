/* A model's files opened to be looked into by `inspect` and `cut`: where its tensors are, its configuration, and the
 * role of every tensor as the library binds it. Opening checks names, shapes and types as running the model would. */
#ifndef CLI_INSPECT_MODEL_H
#define CLI_INSPECT_MODEL_H

#include "model/config.h"
#include "model/source.h"

typedef struct {
    ct_source source;
    ct_config config;
    uint8_t *role; /* [n_tensor of source] carat_role */
} inspect_model;

/* A GGUF (the first of a split set) or a Hugging Face folder. Zeroed on failure. */
int inspect_model_open(inspect_model *m, const char *path, carat_error *err);
void inspect_model_close(inspect_model *m);

/* Mapped files of the model, and one of them. */
int inspect_model_n_files(const inspect_model *m);
const ct_mapped_file *inspect_model_file(const inspect_model *m, int i);

#endif
