/* GGUF v3 writer: collect keys and a tensor directory, then stream the data tensor by tensor, in the order
 * declared. Output goes to `path.tmp-<pid>` in the same folder and is renamed on success: nothing half-written
 * ever has the final name. */
#ifndef CT_FORMATS_GGUF_WRITE_H
#define CT_FORMATS_GGUF_WRITE_H

#include "formats/gguf.h"

typedef struct ct_gguf_writer ct_gguf_writer;

int ct_gguf_writer_new(ct_gguf_writer **out, const char *path, carat_error *err);
/* Discards an unfinished file. */
void ct_gguf_writer_free(ct_gguf_writer **w);

/* Keys, before ct_gguf_writer_begin. Out of memory is remembered and reported by begin. Borrow everything. */
void ct_gguf_put_u32(ct_gguf_writer *w, const char *key, uint32_t v);
void ct_gguf_put_u64(ct_gguf_writer *w, const char *key, uint64_t v);
void ct_gguf_put_f32(ct_gguf_writer *w, const char *key, float v);
void ct_gguf_put_bool(ct_gguf_writer *w, const char *key, bool v);
void ct_gguf_put_str(ct_gguf_writer *w, const char *key, const char *s, size_t len);
void ct_gguf_put_arr_str(ct_gguf_writer *w, const char *key, const ct_str *v, size_t n);
void ct_gguf_put_arr_f32(ct_gguf_writer *w, const char *key, const float *v, size_t n);
void ct_gguf_put_arr_i32(ct_gguf_writer *w, const char *key, const int32_t *v, size_t n);
void ct_gguf_put_arr_bool(ct_gguf_writer *w, const char *key, const bool *v, size_t n);
/* Copy a key/value of another file as it is. split.* keys are left out: the copy is one file. */
void ct_gguf_put_copy(ct_gguf_writer *w, const ct_gguf_kv *kv);
/* shape: slowest first (flipped here); n_elem in the last dimension a multiple of the block length. */
int ct_gguf_put_tensor(ct_gguf_writer *w, const char *name, ct_dtype t, int rank, const int64_t *shape, carat_error *err);
/* As ct_gguf_put_tensor, for a tensor whose data comes as panels: see ct_tensor.panels for what can. */
int ct_gguf_put_panels(ct_gguf_writer *w, const char *name, ct_dtype t, int rank, const int64_t *shape, carat_error *err);

/* Write header, keys, directory. */
int ct_gguf_writer_begin(ct_gguf_writer *w, carat_error *err);
/* Append bytes to the current tensor; moves on to the next one when it is complete. Writing past the end of a
 * tensor is EINVAL. */
int ct_gguf_write(ct_gguf_writer *w, const void *data, size_t n, carat_error *err);
/* All tensors must be complete. fsync, rename. */
int ct_gguf_writer_finish(ct_gguf_writer *w, carat_error *err);

#endif
