/* Key/values of a GGUF file: one pass that checks every bound and copies nothing but the keys, then typed reads.
 * Values stay in the mapping. Invariant: whatever a ct_gguf_kv points to was walked to its end at open, so the
 * getters need no further bounds than kv->end. A string array of a million entries costs one load an entry. */
#include <inttypes.h>
#include <string.h>

#include "base/half.h"
#include "formats/gguf_priv.h"

/* Arrays of arrays exist in the format, not in any model; deeper ones would only cost stack. */
#define MAX_ARRAY_DEPTH 4
#define MAX_KEY 65535

static const struct {
    const char *name;
    size_t bytes; /* 0: variable */
} kinds[CT_GGUF_N_TYPE] = {
    [CT_GGUF_U8] = {"u8", 1},       [CT_GGUF_I8] = {"i8", 1},     [CT_GGUF_U16] = {"u16", 2},
    [CT_GGUF_I16] = {"i16", 2},     [CT_GGUF_U32] = {"u32", 4},   [CT_GGUF_I32] = {"i32", 4},
    [CT_GGUF_F32] = {"f32", 4},     [CT_GGUF_BOOL] = {"bool", 1}, [CT_GGUF_STRING] = {"string", 0},
    [CT_GGUF_ARRAY] = {"array", 0}, [CT_GGUF_U64] = {"u64", 8},   [CT_GGUF_I64] = {"i64", 8},
    [CT_GGUF_F64] = {"f64", 8},
};

/* ---- reading ------------------------------------------------------------------------------------------ */

int ct_gguf_read_name(ct_gguf_cursor *c, ct_str *out, size_t max, const char *what, uint64_t i,
                      carat_error *err) {
    if (ct_gguf_left(c) < 8) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %s %" PRIu64 " at byte %zu: file ends (%zu bytes) inside its length", c->where,
                       what, i, ct_gguf_pos(c), (size_t)(c->end - c->begin));
    }
    const uint64_t len = ct_load_u64(c->p);
    if (len == 0 || len > max) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %s %" PRIu64 " at byte %zu: name length %" PRIu64 ", expected 1 to %zu", c->where,
                       what, i, ct_gguf_pos(c), len, max);
    }
    if (len > ct_gguf_left(c) - 8) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %s %" PRIu64 " at byte %zu: name of %" PRIu64
                       " bytes, but the file ends after %zu more",
                       c->where, what, i, ct_gguf_pos(c), len, ct_gguf_left(c) - 8);
    }
    *out = (ct_str){(const char *)c->p + 8, (size_t)len};
    if (memchr(out->s, 0, out->len)) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %s %" PRIu64 " at byte %zu: name holds a NUL byte", c->where,
                       what, i, ct_gguf_pos(c));
    }
    c->p += 8 + out->len;
    return 0;
}

static int read_type(ct_gguf_cursor *c, const char *key, const char *what, ct_gguf_type *out,
                     carat_error *err) {
    if (ct_gguf_left(c) < 4) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.100s: file ends inside the %stype", c->where, key,
                       what);
    }
    const uint32_t t = ct_load_u32(c->p);
    if (t >= CT_GGUF_N_TYPE) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.100s: %stype %" PRIu32 ", expected 0 to %d", c->where,
                       key, what, t, CT_GGUF_N_TYPE - 1);
    }
    *out = (ct_gguf_type)t;
    c->p += 4;
    return 0;
}

/* Booleans are promised to be 0 or 1: anything else means that reader and writer disagree about the layout. */
static int check_bools(const ct_gguf_cursor *c, const char *key, uint64_t n, carat_error *err) {
    for (uint64_t i = 0; i < n; i++) {
        if (c->p[i] > 1) {
            return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.100s: bool %" PRIu64 " is %d, expected 0 or 1",
                           c->where, key, i, c->p[i]);
        }
    }
    return 0;
}

static int skip_strings(ct_gguf_cursor *c, const char *key, uint64_t n, carat_error *err) {
    for (uint64_t i = 0; i < n; i++) {
        const size_t left = ct_gguf_left(c);
        if (left < 8) {
            return CT_FAIL(err, CARAT_EFORMAT,
                           "%s: key %.100s: file ends inside string %" PRIu64 " of %" PRIu64, c->where, key,
                           i, n);
        }
        const uint64_t len = ct_load_u64(c->p);
        if (len > left - 8) {
            return CT_FAIL(err, CARAT_EFORMAT,
                           "%s: key %.100s: string %" PRIu64 " of %" PRIu64 " has %" PRIu64
                           " bytes, but the file ends after %zu more",
                           c->where, key, i, n, len, left - 8);
        }
        c->p += 8 + (size_t)len;
    }
    return 0;
}

static int read_array_head(ct_gguf_cursor *c, const char *key, ct_gguf_type *elem, uint64_t *n,
                           carat_error *err) {
    CT_TRY(read_type(c, key, "element ", elem, err));
    if (ct_gguf_left(c) < 8) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.100s: file ends inside the array length", c->where,
                       key);
    }
    *n = ct_load_u64(c->p);
    c->p += 8;
    const size_t least = *elem == CT_GGUF_STRING ? 8 : *elem == CT_GGUF_ARRAY ? 12 : kinds[*elem].bytes;
    if (*n > ct_gguf_left(c) / least) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: key %.100s: array of %" PRIu64 " %s, but only %zu bytes are left", c->where, key,
                       *n, kinds[*elem].name, ct_gguf_left(c));
    }
    return 0;
}

/* The elements of an array; its head has been read, and for fixed-size types shown to fit. */
static int skip_elements(ct_gguf_cursor *c, const char *key, ct_gguf_type elem, uint64_t n, int depth,
                         carat_error *err) {
    if (elem == CT_GGUF_STRING) return skip_strings(c, key, n, err);
    if (elem != CT_GGUF_ARRAY) {
        if (elem == CT_GGUF_BOOL) CT_TRY(check_bools(c, key, n, err));
        c->p += (size_t)n * kinds[elem].bytes;
        return 0;
    }
    if (depth >= MAX_ARRAY_DEPTH) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.100s: arrays nested deeper than %d", c->where, key,
                       MAX_ARRAY_DEPTH);
    }
    for (uint64_t i = 0; i < n; i++) {
        ct_gguf_type sub;
        uint64_t n_sub;
        CT_TRY(read_array_head(c, key, &sub, &n_sub, err));
        CT_TRY(skip_elements(c, key, sub, n_sub, depth + 1, err));
    }
    return 0;
}

static int read_value(ct_gguf_cursor *c, ct_gguf_kv *kv, carat_error *err) {
    CT_TRY(read_type(c, kv->key, "", &kv->type, err));
    kv->elem_type = kv->type;
    kv->n = 1;
    if (kv->type == CT_GGUF_ARRAY) {
        CT_TRY(read_array_head(c, kv->key, &kv->elem_type, &kv->n, err));
        kv->data = c->p;
        CT_TRY(skip_elements(c, kv->key, kv->elem_type, kv->n, 1, err));
    } else if (kv->type == CT_GGUF_STRING) {
        const uint8_t *start = c->p;
        CT_TRY(skip_strings(c, kv->key, 1, err));
        kv->data = start + 8;
    } else {
        const size_t bytes = kinds[kv->type].bytes;
        if (ct_gguf_left(c) < bytes) {
            return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.100s: file ends inside its %s value", c->where,
                           kv->key, kinds[kv->type].name);
        }
        if (kv->type == CT_GGUF_BOOL) CT_TRY(check_bools(c, kv->key, 1, err));
        kv->data = c->p;
        c->p += bytes;
    }
    kv->end = c->p;
    return 0;
}

int ct_gguf_read_kvs(ct_gguf_cursor *c, ct_gguf_kvs *kvs, uint64_t n, ct_arena *arena, carat_error *err) {
    /* The smallest entry: an 8-byte length, a one-byte key, a 4-byte type, a one-byte value. */
    if (n > ct_gguf_left(c) / 14) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: header counts %" PRIu64 " keys, but only %zu bytes follow",
                       c->where, n, ct_gguf_left(c));
    }
    for (uint64_t i = 0; i < n; i++) {
        ct_str name;
        CT_TRY(ct_gguf_read_name(c, &name, MAX_KEY, "key", i, err));
        if (ct_names_find(&kvs->names, name.s, name.len) != CT_NAMES_ABSENT) {
            return CT_FAIL(err, CARAT_EFORMAT, "%s: key %.*s appears twice", c->where,
                           (int)(name.len < 100 ? name.len : 100), name.s);
        }
        ct_gguf_kv kv = {.key = ct_arena_strdup_n(arena, name.s, name.len)};
        if (!kv.key || !ct_grow((void **)&kvs->v, &kvs->cap, kvs->n + 1, sizeof *kvs->v) ||
            !ct_names_add(&kvs->names, kv.key, name.len, kvs->n)) {
            return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for %" PRIu64 " keys", c->where, n);
        }
        CT_TRY(read_value(c, &kv, err));
        kvs->v[kvs->n++] = kv;
    }
    return 0;
}

/* ---- typed reads -------------------------------------------------------------------------------------- */

static bool load_i64(ct_gguf_type t, const uint8_t *p, int64_t *out) {
    switch (t) {
    case CT_GGUF_U8:
    case CT_GGUF_BOOL: *out = *p; return true;
    case CT_GGUF_I8: *out = (int8_t)*p; return true;
    case CT_GGUF_U16: *out = ct_load_u16(p); return true;
    case CT_GGUF_I16: *out = (int16_t)ct_load_u16(p); return true;
    case CT_GGUF_U32: *out = ct_load_u32(p); return true;
    case CT_GGUF_I32: *out = (int32_t)ct_load_u32(p); return true;
    case CT_GGUF_I64: *out = (int64_t)ct_load_u64(p); return true;
    case CT_GGUF_U64: {
        const uint64_t u = ct_load_u64(p);
        if (u > INT64_MAX) return false;
        *out = (int64_t)u;
        return true;
    }
    default: return false;
    }
}

static bool load_f64(ct_gguf_type t, const uint8_t *p, double *out) {
    if (t == CT_GGUF_F32) {
        *out = (double)ct_f32_from_bits(ct_load_u32(p));
        return true;
    }
    if (t == CT_GGUF_F64) {
        const uint64_t u = ct_load_u64(p);
        memcpy(out, &u, sizeof u);
        return true;
    }
    int64_t i;
    if (t == CT_GGUF_BOOL || !load_i64(t, p, &i)) return false;
    /* Integers beyond 2^53 would be rounded. */
    if (i > (INT64_C(1) << 53) || i < -(INT64_C(1) << 53)) return false;
    *out = (double)i;
    return true;
}

bool ct_gguf_as_i64(const ct_gguf_kv *kv, int64_t *out) { return kv && load_i64(kv->type, kv->data, out); }

bool ct_gguf_as_f64(const ct_gguf_kv *kv, double *out) { return kv && load_f64(kv->type, kv->data, out); }

bool ct_gguf_as_bool(const ct_gguf_kv *kv, bool *out) {
    if (!kv || kv->type != CT_GGUF_BOOL) return false;
    *out = *kv->data != 0;
    return true;
}

bool ct_gguf_as_str(const ct_gguf_kv *kv, ct_str *out) {
    if (!kv || kv->type != CT_GGUF_STRING) return false;
    *out = (ct_str){(const char *)kv->data, (size_t)(kv->end - kv->data)};
    return true;
}

/* Address of element i of a scalar or of an array of a fixed-size type; NULL when there is none. */
static const uint8_t *element(const ct_gguf_kv *kv, uint64_t i) {
    if (!kv || i >= kv->n || kinds[kv->elem_type].bytes == 0) return NULL;
    return kv->data + (size_t)i * kinds[kv->elem_type].bytes;
}

bool ct_gguf_arr_i64(const ct_gguf_kv *kv, uint64_t i, int64_t *out) {
    const uint8_t *p = element(kv, i);
    return p && load_i64(kv->elem_type, p, out);
}

bool ct_gguf_arr_f64(const ct_gguf_kv *kv, uint64_t i, double *out) {
    const uint8_t *p = element(kv, i);
    return p && load_f64(kv->elem_type, p, out);
}

bool ct_gguf_arr_next_str(const ct_gguf_kv *kv, const uint8_t **cursor, ct_str *out) {
    if (!kv || kv->type != CT_GGUF_ARRAY || kv->elem_type != CT_GGUF_STRING || *cursor >= kv->end)
        return false;
    *out = (ct_str){(const char *)*cursor + 8, (size_t)ct_load_u64(*cursor)};
    *cursor += 8 + out->len;
    return true;
}
