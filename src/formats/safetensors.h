/* safetensors: one file, or the shards of a folder (`model.safetensors.index.json`). Header JSON is parsed with
 * jansson; without it every call fails with CARAT_EUNSUPPORTED and says how to get it. Offsets, shapes, sizes,
 * overlaps and the header length are checked; dtypes other than F32 F16 BF16 I32 I64 are errors that name the tensor. */
#ifndef CT_FORMATS_SAFETENSORS_H
#define CT_FORMATS_SAFETENSORS_H

#include "base/os.h"
#include "base/status.h"
#include "base/tensor.h"

typedef struct ct_safetensors ct_safetensors;

/* path: a .safetensors file, or a folder holding model.safetensors or model.safetensors.index.json + shards (shard
 * names must be plain file names inside the folder). Gives *out: ct_safetensors_close. */
int ct_safetensors_open(ct_safetensors **out, const char *path, carat_error *err);
void ct_safetensors_close(ct_safetensors **st);

int ct_safetensors_n_files(const ct_safetensors *st);
const ct_mapped_file *ct_safetensors_file(const ct_safetensors *st, int i);
size_t ct_safetensors_n_tensor(const ct_safetensors *st);
const ct_tensor *ct_safetensors_tensor_at(const ct_safetensors *st, size_t i);
const ct_tensor *ct_safetensors_tensor(const ct_safetensors *st, const char *name); /* NULL when absent; hashed */

#endif
