/* JSON through jansson. The only file that names the library; without it the getters see no values and parsing says
 * how to get it. A ct_json_val is a json_t of the document. Guards that jansson lacks: an upper bound on the number
 * of containers, since an empty one takes 3 bytes of text and 80 times that in memory. */
#include "formats/json.h"

#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "formats/dir.h"

#if CT_HAVE_JANSSON

#include <jansson.h>

struct ct_json {
    json_t *root;
};

/* Real documents spend at least 9 bytes on a container (a merge of tokenizer.json); objects cost far more. */
static int check_density(const char *text, size_t len, const char *where, carat_error *err) {
    const size_t limit = 4096 + len / 8;
    size_t n = 0;
    for (const char *p = text, *end = text + len; (p = memchr(p, '{', (size_t)(end - p))) != NULL; p++) n++;
    if (n <= limit) return 0;
    return CT_FAIL(err, CARAT_EFORMAT, "%s: %zu opening braces in %zu bytes, expected at most %zu", where, n,
                   len, limit);
}

int ct_json_parse(ct_json **out, const char *text, size_t len, const char *where, carat_error *err) {
    *out = NULL;
    where = ct_path_tail(where);
    CT_TRY(check_density(text, len, where, err));
    ct_json *j = ct_alloc(sizeof *j);
    if (!j) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to parse it", where);
    json_error_t e;
    j->root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!j->root) {
        ct_free(j);
        if (json_error_code(&e) == json_error_out_of_memory) {
            return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to parse %zu bytes of JSON", where, len);
        }
        return CT_FAIL(err, CARAT_EFORMAT, "%s: JSON line %d column %d: %s", where, e.line, e.column, e.text);
    }
    *out = j;
    return 0;
}

void ct_json_free(ct_json **pj) {
    ct_json *j = *pj;
    if (!j) return;
    json_decref(j->root);
    ct_free(j);
    *pj = NULL;
}

/* jansson's getters take non-const values; none of those used here writes. */
static json_t *value(ct_json_val v) { return (json_t *)(uintptr_t)v; }

ct_json_val ct_json_root(const ct_json *j) { return j ? j->root : NULL; }

bool ct_json_is_object(ct_json_val v) { return json_is_object((const json_t *)v); }
bool ct_json_is_array(ct_json_val v) { return json_is_array((const json_t *)v); }
bool ct_json_is_null(ct_json_val v) { return json_is_null((const json_t *)v); }

ct_json_val ct_json_get(ct_json_val obj, const char *key) { return json_object_get(value(obj), key); }

size_t ct_json_len(ct_json_val v) {
    return ct_json_is_array(v) ? json_array_size(value(v)) : json_object_size(value(v));
}

ct_json_val ct_json_at(ct_json_val arr, size_t i) { return json_array_get(value(arr), i); }

bool ct_json_next(ct_json_val obj, void **iter, const char **key, size_t *key_len, ct_json_val *val) {
    if (!ct_json_is_object(obj)) return false;
    *iter = *iter ? json_object_iter_next(value(obj), *iter) : json_object_iter(value(obj));
    if (!*iter) return false;
    *key = json_object_iter_key(*iter);
    if (key_len) *key_len = strlen(*key); /* jansson refuses keys that hold a NUL */
    *val = json_object_iter_value(*iter);
    return true;
}

const char *ct_json_str(ct_json_val v, size_t *len) {
    if (!json_is_string((const json_t *)v)) return NULL;
    if (len) *len = json_string_length(value(v));
    return json_string_value(value(v));
}

bool ct_json_i64(ct_json_val v, int64_t *out) {
    if (json_is_integer((const json_t *)v)) {
        *out = json_integer_value(value(v));
        return true;
    }
    double d;
    if (!json_is_real((const json_t *)v)) return false;
    d = json_real_value(value(v));
    /* 3.0 counts; beyond 2^53 a double no longer says which integer was meant. */
    if (!(d >= -0x1p53 && d <= 0x1p53) || (double)(int64_t)d != d) return false;
    *out = (int64_t)d;
    return true;
}

bool ct_json_f64(ct_json_val v, double *out) {
    if (!json_is_number((const json_t *)v)) return false;
    *out = json_number_value(value(v));
    return true;
}

bool ct_json_bool(ct_json_val v, bool *out) {
    if (!json_is_boolean((const json_t *)v)) return false;
    *out = json_is_true((const json_t *)v);
    return true;
}

#else

int ct_json_parse(ct_json **out, const char *text, size_t len, const char *where, carat_error *err) {
    (void)text;
    *out = NULL;
    return CT_FAIL(err, CARAT_EUNSUPPORTED,
                   "%s: %zu bytes of JSON, but this build has no JSON reader; install jansson "
                   "(libjansson-dev, jansson-devel) and build again, or use a .gguf file",
                   ct_path_tail(where), len);
}

void ct_json_free(ct_json **j) { *j = NULL; }
ct_json_val ct_json_root(const ct_json *j) { return (void)j, NULL; }
bool ct_json_is_object(ct_json_val v) { return (void)v, false; }
bool ct_json_is_array(ct_json_val v) { return (void)v, false; }
bool ct_json_is_null(ct_json_val v) { return (void)v, false; }
ct_json_val ct_json_get(ct_json_val obj, const char *key) { return (void)obj, (void)key, NULL; }
size_t ct_json_len(ct_json_val v) { return (void)v, 0; }
ct_json_val ct_json_at(ct_json_val arr, size_t i) { return (void)arr, (void)i, NULL; }
bool ct_json_next(ct_json_val obj, void **iter, const char **key, size_t *key_len, ct_json_val *val) {
    return (void)obj, (void)iter, (void)key, (void)key_len, (void)val, false;
}
const char *ct_json_str(ct_json_val v, size_t *len) { return (void)v, (void)len, NULL; }
bool ct_json_i64(ct_json_val v, int64_t *out) { return (void)v, (void)out, false; }
bool ct_json_f64(ct_json_val v, double *out) { return (void)v, (void)out, false; }
bool ct_json_bool(ct_json_val v, bool *out) { return (void)v, (void)out, false; }

#endif

int ct_json_load(ct_json **out, const char *path, size_t max_bytes, carat_error *err) {
    *out = NULL;
    char *text;
    size_t len;
    CT_TRY(ct_read_file(&text, &len, path, max_bytes, err));
    const int rc = ct_json_parse(out, text, len, path, err);
    ct_free(text);
    return rc;
}
