/* JSON documents of model folders: a thin door over jansson, so that no other room names the library.
 * Values are borrowed from their document. Every getter tolerates NULL and wrong types by saying so (false/NULL/0).
 * Without jansson, ct_json_parse fails with CARAT_EUNSUPPORTED. */
#ifndef CT_FORMATS_JSON_H
#define CT_FORMATS_JSON_H

#include "base/status.h"

typedef struct ct_json ct_json;          /* a document (owner) */
typedef const void *ct_json_val;         /* a value inside; NULL = absent */

/* text need not be NUL-terminated; `where` names the file in messages. Depth and duplicate keys are limited by the
 * library. Gives *out: ct_json_free. */
int ct_json_parse(ct_json **out, const char *text, size_t len, const char *where, carat_error *err);
int ct_json_load(ct_json **out, const char *path, size_t max_bytes, carat_error *err);
void ct_json_free(ct_json **j);
ct_json_val ct_json_root(const ct_json *j);

bool ct_json_is_object(ct_json_val v);
bool ct_json_is_array(ct_json_val v);
bool ct_json_is_null(ct_json_val v);     /* JSON null (false for an absent value) */
ct_json_val ct_json_get(ct_json_val obj, const char *key);        /* NULL when absent or not an object */
size_t ct_json_len(ct_json_val arr_or_obj);
ct_json_val ct_json_at(ct_json_val arr, size_t i);
/* Iterate an object: *iter starts NULL. */
bool ct_json_next(ct_json_val obj, void **iter, const char **key, size_t *key_len, ct_json_val *val);
const char *ct_json_str(ct_json_val v, size_t *len);              /* NULL when not a string; len may be NULL */
bool ct_json_i64(ct_json_val v, int64_t *out);                    /* integers only (also 3.0) */
bool ct_json_f64(ct_json_val v, double *out);                     /* any number */
bool ct_json_bool(ct_json_val v, bool *out);

#endif
