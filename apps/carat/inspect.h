/* What the files of a model say beyond carat.h: the tensor directory and the order of layer kinds. */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include <stdbool.h>

#include "carat.h"
#include "json_out.h"

typedef struct inspect_files inspect_files;

/* Opens the GGUF or folder again, for its directory. Gives *out: inspect_files_close. */
int inspect_files_open(inspect_files **out, const char *path, carat_error *err);
void inspect_files_close(inspect_files **f);

/* "SSSSF SSSSF": S for a sliding-window layer, F for one of full attention. Points into f. */
const char *inspect_layers(const inspect_files *f);
/* Layers at the end that use the keys and values of an earlier one. */
int inspect_n_shared_kv(const inspect_files *f);

/* Every tensor: name, type, shape, bytes, role. */
cli_json *inspect_tensors_json(const inspect_files *f);
void inspect_tensors_print(const inspect_files *f);

#endif
