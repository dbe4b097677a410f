/* Private to src/formats (and its tests): the inside of a GGUF file, and opening one that lies in memory. */
#ifndef CT_FORMATS_GGUF_PRIV_H
#define CT_FORMATS_GGUF_PRIV_H

#include "base/mem.h"
#include "formats/dir.h"
#include "formats/gguf.h"

/* A checked reading position. Nothing is read unless it lies before end. */
typedef struct {
    const uint8_t *begin, *p, *end;
    const char *where; /* file name for messages */
} ct_gguf_cursor;

static inline size_t ct_gguf_left(const ct_gguf_cursor *c) { return (size_t)(c->end - c->p); }
static inline size_t ct_gguf_pos(const ct_gguf_cursor *c) { return (size_t)(c->p - c->begin); }

/* Growing list of key/values with its index. */
typedef struct {
    ct_gguf_kv *v;
    size_t n, cap;
    ct_names names;
} ct_gguf_kvs;

/* A count-prefixed name: 1..max bytes, no NUL. `what` says which one in the message ("key 3"). */
int ct_gguf_read_name(ct_gguf_cursor *c, ct_str *out, size_t max, const char *what, uint64_t i,
                      carat_error *err);
/* Read n key/values, all bounds checked, keys copied to arena. */
int ct_gguf_read_kvs(ct_gguf_cursor *c, ct_gguf_kvs *kvs, uint64_t n, ct_arena *arena, carat_error *err);
/* GGUF's number of a type we can write, or ours of its panels. */
uint32_t ct_gguf_number_of_dtype(ct_dtype t, bool panels);

/* As ct_gguf_open, for a file that lies in memory (kept until close); `where` names it. Split sets: EINVAL. */
int ct_gguf_open_memory(ct_gguf **out, const void *data, size_t size, const char *where, carat_error *err);

#endif
