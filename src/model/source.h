/* Where tensors come from: a GGUF or a safetensors folder, behind one lookup. */
#ifndef CT_MODEL_SOURCE_H
#define CT_MODEL_SOURCE_H

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/config.h"

typedef struct {
    ct_gguf *gguf;         /* one of the two is set; owned */
    ct_safetensors *st;
    char prefix[32];       /* of Hugging Face names: "model.language_model." or "model." */
} ct_source;

/* Opens path as a folder or a GGUF. Zeroed on failure. */
int ct_source_open(ct_source *s, const char *path, carat_error *err);
void ct_source_close(ct_source *s);
size_t ct_source_n_tensor(const ct_source *s);
/* All tensors lie in one array: t - ct_source_tensor_at(s, 0) is the index of t. */
const ct_tensor *ct_source_tensor_at(const ct_source *s, size_t i);
int ct_source_n_files(const ct_source *s);
const ct_mapped_file *ct_source_file(const ct_source *s, int i);
/* Which file the byte p of a tensor's data lies in, and at which offset. */
int ct_source_locate(const ct_source *s, const uint8_t *p, uint64_t *offset);
/* NULL when absent. */
const ct_tensor *ct_source_tensor(const ct_source *s, const char *name);
uint64_t ct_source_file_bytes(const ct_source *s);
/* The configuration: from the GGUF's keys, or from config.json in the folder `path`, whose last component names a model
 * that has no name of its own. */
int ct_source_config(ct_config *c, const ct_source *s, const char *path, carat_error *err);

#endif
