/* GGUF v2 and v3, one file or a split set: key/values and tensor directory of memory-mapped files.
 * Every count, length, offset and type is checked before use; nothing in a key or tensor is trusted.
 * Tensors may lie as panels (ct_tensor.panels), under type numbers of our own: 0x43540000 | the number of the type.
 * REF: the GGUF description in llama.cpp's docs (little-endian; alignment general.alignment, default 32). */
#ifndef CT_FORMATS_GGUF_H
#define CT_FORMATS_GGUF_H

#include "base/os.h"
#include "base/status.h"
#include "base/tensor.h"

typedef enum {
    CT_GGUF_U8 = 0, CT_GGUF_I8, CT_GGUF_U16, CT_GGUF_I16, CT_GGUF_U32, CT_GGUF_I32, CT_GGUF_F32,
    CT_GGUF_BOOL, CT_GGUF_STRING, CT_GGUF_ARRAY, CT_GGUF_U64, CT_GGUF_I64, CT_GGUF_F64,
    CT_GGUF_N_TYPE
} ct_gguf_type;

typedef struct {
    const char *s; /* inside the mapping, NOT NUL-terminated */
    size_t len;
} ct_str;

typedef struct {
    const char *key;        /* NUL-terminated, owned by the file */
    ct_gguf_type type;
    ct_gguf_type elem_type; /* for arrays: type of the elements; arrays of arrays are kept, but not indexable */
    uint64_t n;             /* elements (1 for scalars) */
    const uint8_t *data;    /* first value in the mapping (after the string length for strings: see ct_gguf_str) */
    const uint8_t *end;     /* one past the last byte */
} ct_gguf_kv;

typedef struct ct_gguf ct_gguf;

/* Open path; if it is part 1 of a split set (`-00001-of-0000N.gguf`), open all parts; any other part, or a missing
 * or inconsistent one, is an error that says so. Gives *out: ct_gguf_close. */
int ct_gguf_open(ct_gguf **out, const char *path, carat_error *err);
void ct_gguf_close(ct_gguf **g);

int ct_gguf_n_files(const ct_gguf *g);
const ct_mapped_file *ct_gguf_file(const ct_gguf *g, int i);
uint32_t ct_gguf_version(const ct_gguf *g);

size_t ct_gguf_n_kv(const ct_gguf *g);
const ct_gguf_kv *ct_gguf_kv_at(const ct_gguf *g, size_t i);
/* NULL when absent. Keys of the first file win. Hashed lookup. */
const ct_gguf_kv *ct_gguf_find(const ct_gguf *g, const char *key);

/* Typed reads of scalars; false when the value's type cannot be read as asked without loss. */
bool ct_gguf_as_i64(const ct_gguf_kv *kv, int64_t *out);  /* any integer type or bool */
bool ct_gguf_as_f64(const ct_gguf_kv *kv, double *out);   /* any float or integer type */
bool ct_gguf_as_bool(const ct_gguf_kv *kv, bool *out);
bool ct_gguf_as_str(const ct_gguf_kv *kv, ct_str *out);
/* Element i of a numeric array (also accepts i == 0 on a scalar). */
bool ct_gguf_arr_i64(const ct_gguf_kv *kv, uint64_t i, int64_t *out);
bool ct_gguf_arr_f64(const ct_gguf_kv *kv, uint64_t i, double *out);
/* Walk a string array: *cursor starts as kv->data; false at the end. Bounds were checked at open. */
bool ct_gguf_arr_next_str(const ct_gguf_kv *kv, const uint8_t **cursor, ct_str *out);

size_t ct_gguf_n_tensor(const ct_gguf *g);
const ct_tensor *ct_gguf_tensor_at(const ct_gguf *g, size_t i);
const ct_tensor *ct_gguf_tensor(const ct_gguf *g, const char *name); /* NULL when absent. Hashed lookup. */

#endif
