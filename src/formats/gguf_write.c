/* GGUF v3 writer. Keys and directory are collected in memory, tensor data is streamed through to the file.
 * The file is created at once, so that an unwritable folder shows before hours of work, under a temporary name in the
 * same folder; only a complete file is renamed. Failures of the void calls are kept and reported by begin. */
#include "formats/gguf_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/half.h"
#include "formats/gguf_priv.h"

#define DEFAULT_ALIGNMENT 32

typedef struct {
    uint8_t *p;
    size_t n, cap;
} bytes;

struct ct_gguf_writer {
    char *path;
    ct_out_file *file;
    bool begun, finished;
    carat_error failed; /* first failure of a put; code 0 = none */
    bytes kv;           /* encoded key/values */
    uint64_t n_kv;
    size_t align;
    ct_names keys, names;
    ct_tensor *tensor; /* offset is relative to the data section */
    size_t n_tensor, tensor_cap;
    size_t at;    /* tensor being written */
    size_t done;  /* bytes of it written */
    ct_arena arena; /* key and tensor names */
};

/* ---- collecting --------------------------------------------------------------------------------------- */

static bool append(bytes *b, const void *p, size_t n) {
    size_t need;
    if (!ct_add_size(&need, b->n, n) || !ct_grow((void **)&b->p, &b->cap, need, 1)) return false;
    if (n) memcpy(b->p + b->n, p, n);
    b->n = need;
    return true;
}

static bool append_u32(bytes *b, uint32_t v) { return append(b, &v, sizeof v); }
static bool append_u64(bytes *b, uint64_t v) { return append(b, &v, sizeof v); }
static bool append_str(bytes *b, const char *s, size_t n) { return append_u64(b, n) && append(b, s, n); }

/* Start a key/value. False when it must not be added: the reason is remembered, or one was before. */
static bool start_kv(ct_gguf_writer *w, const char *key, ct_gguf_type type) {
    if (w->failed.code) return false;
    const size_t len = strlen(key);
    if (w->begun)
        return CT_FAIL(&w->failed, CARAT_EINVAL, "%s: key %.100s put after begin", w->path, key), false;
    if (len == 0 || len > 65535) {
        return CT_FAIL(&w->failed, CARAT_EINVAL, "%s: key of %zu bytes, expected 1 to 65535", w->path, len),
               false;
    }
    if (ct_names_find(&w->keys, key, len) != CT_NAMES_ABSENT) {
        return CT_FAIL(&w->failed, CARAT_EINVAL, "%s: key %.100s put twice", w->path, key), false;
    }
    const char *own = ct_arena_strdup_n(&w->arena, key, len);
    if (!own || !ct_names_add(&w->keys, own, len, w->n_kv) || !append_str(&w->kv, key, len) ||
        !append_u32(&w->kv, type)) {
        return CT_FAIL(&w->failed, CARAT_ENOMEM, "%s: no memory for keys", w->path), false;
    }
    w->n_kv++;
    return true;
}

static void add(ct_gguf_writer *w, const void *p, size_t n) {
    if (!w->failed.code && !append(&w->kv, p, n))
        CT_FAIL(&w->failed, CARAT_ENOMEM, "%s: no memory for keys", w->path);
}

static void put_scalar(ct_gguf_writer *w, const char *key, ct_gguf_type type, const void *p, size_t n) {
    if (start_kv(w, key, type)) add(w, p, n);
}

static bool start_array(ct_gguf_writer *w, const char *key, ct_gguf_type elem, uint64_t n) {
    if (!start_kv(w, key, CT_GGUF_ARRAY)) return false;
    const uint32_t t = elem;
    add(w, &t, sizeof t);
    add(w, &n, sizeof n);
    return true;
}

/* The alignment key of the file being written rules where its own data goes. */
static void take_alignment(ct_gguf_writer *w, const char *key, int64_t a) {
    if (strcmp(key, "general.alignment") != 0 || w->failed.code) return;
    if (a < 8 || a > 65536 || (a & (a - 1)) != 0) {
        CT_FAIL(&w->failed, CARAT_EINVAL,
                "%s: general.alignment %" PRId64 ", expected a power of two from 8 to 65536", w->path, a);
        return;
    }
    w->align = (size_t)a;
}

void ct_gguf_put_u32(ct_gguf_writer *w, const char *key, uint32_t v) {
    take_alignment(w, key, v);
    put_scalar(w, key, CT_GGUF_U32, &v, sizeof v);
}

void ct_gguf_put_u64(ct_gguf_writer *w, const char *key, uint64_t v) {
    take_alignment(w, key, v > INT64_MAX ? -1 : (int64_t)v);
    put_scalar(w, key, CT_GGUF_U64, &v, sizeof v);
}

void ct_gguf_put_f32(ct_gguf_writer *w, const char *key, float v) {
    put_scalar(w, key, CT_GGUF_F32, &v, sizeof v);
}

void ct_gguf_put_bool(ct_gguf_writer *w, const char *key, bool v) {
    const uint8_t b = v;
    put_scalar(w, key, CT_GGUF_BOOL, &b, 1);
}

void ct_gguf_put_str(ct_gguf_writer *w, const char *key, const char *s, size_t len) {
    const uint64_t n = len;
    if (!start_kv(w, key, CT_GGUF_STRING)) return;
    add(w, &n, sizeof n);
    add(w, s, len);
}

void ct_gguf_put_arr_str(ct_gguf_writer *w, const char *key, const ct_str *v, size_t n) {
    if (!start_array(w, key, CT_GGUF_STRING, n)) return;
    for (size_t i = 0; i < n; i++) {
        const uint64_t len = v[i].len;
        add(w, &len, sizeof len);
        add(w, v[i].s, v[i].len);
    }
}

void ct_gguf_put_arr_f32(ct_gguf_writer *w, const char *key, const float *v, size_t n) {
    if (start_array(w, key, CT_GGUF_F32, n)) add(w, v, n * sizeof *v);
}

void ct_gguf_put_arr_i32(ct_gguf_writer *w, const char *key, const int32_t *v, size_t n) {
    if (start_array(w, key, CT_GGUF_I32, n)) add(w, v, n * sizeof *v);
}

void ct_gguf_put_arr_bool(ct_gguf_writer *w, const char *key, const bool *v, size_t n) {
    if (!start_array(w, key, CT_GGUF_BOOL, n)) return;
    for (size_t i = 0; i < n; i++) {
        const uint8_t b = v[i];
        add(w, &b, 1);
    }
}

void ct_gguf_put_copy(ct_gguf_writer *w, const ct_gguf_kv *kv) {
    /* The copy is one file, whatever its source was. */
    if (strncmp(kv->key, "split.", 6) == 0) return;
    const size_t n = (size_t)(kv->end - kv->data);
    int64_t a;
    if (ct_gguf_as_i64(kv, &a)) take_alignment(w, kv->key, a);
    if (kv->type == CT_GGUF_STRING) {
        ct_gguf_put_str(w, kv->key, (const char *)kv->data, n);
    } else if (kv->type == CT_GGUF_ARRAY) {
        if (start_array(w, kv->key, kv->elem_type, kv->n)) add(w, kv->data, n);
    } else {
        put_scalar(w, kv->key, kv->type, kv->data, n);
    }
}

static int put_tensor(ct_gguf_writer *w, const char *name, ct_dtype t, bool panels, int rank, const int64_t *shape,
                      carat_error *err) {
    const size_t len = strlen(name);
    if (w->begun) return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s put after begin", w->path, name);
    if (len == 0 || len > CT_MAX_NAME || ct_names_find(&w->names, name, len) != CT_NAMES_ABSENT) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s: name is empty, too long or used twice", w->path,
                       name);
    }
    if ((unsigned)t >= CT_N_DTYPE || rank < 1 || rank > CT_MAX_RANK) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s: type %d rank %d", w->path, name, (int)t, rank);
    }
    if (panels && (!ct_dtype_has_panels(t) || rank < 2 || rank > 3 || shape[rank - 2] % CT_PANEL_ROWS != 0)) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s: type %s rank %d cannot lie as panels, or its rows are no multiple of %d",
                       w->path, name, ct_dtype_name(t), rank, CT_PANEL_ROWS);
    }
    ct_tensor e = {.dtype = t, .panels = panels, .rank = rank, .n_elem = 1};
    for (int d = 0; d < rank; d++) {
        if (shape[d] <= 0 || shape[d] > INT64_MAX / e.n_elem) {
            return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s: dimension %d is %" PRId64, w->path, name, d,
                           shape[d]);
        }
        e.n_elem *= shape[d];
        e.shape[d] = shape[d];
    }
    const int64_t block = ct_dtype_block_len(t);
    if (shape[rank - 1] % block != 0 ||
        !ct_mul_size(&e.bytes, (size_t)(e.n_elem / block), ct_dtype_block_bytes(t))) {
        return CT_FAIL(err, CARAT_EINVAL,
                       "%s: tensor %.100s: rows of %" PRId64 " values in %s blocks of %" PRId64, w->path,
                       name, shape[rank - 1], ct_dtype_name(t), block);
    }
    e.name = ct_arena_strdup_n(&w->arena, name, len);
    if (!e.name || !ct_names_add(&w->names, e.name, len, w->n_tensor) ||
        !ct_grow((void **)&w->tensor, &w->tensor_cap, w->n_tensor + 1, sizeof *w->tensor)) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for the tensor directory", w->path);
    }
    w->tensor[w->n_tensor++] = e;
    return 0;
}

int ct_gguf_put_tensor(ct_gguf_writer *w, const char *name, ct_dtype t, int rank, const int64_t *shape,
                       carat_error *err) {
    return put_tensor(w, name, t, false, rank, shape, err);
}

int ct_gguf_put_panels(ct_gguf_writer *w, const char *name, ct_dtype t, int rank, const int64_t *shape,
                       carat_error *err) {
    return put_tensor(w, name, t, true, rank, shape, err);
}

/* ---- the file ----------------------------------------------------------------------------------------- */

/* Zeroes from position pos up to the alignment. */
static int emit_padding(ct_gguf_writer *w, size_t pos, carat_error *err) {
    static const uint8_t zero[64];
    for (size_t n = (w->align - pos % w->align) % w->align; n > 0;) {
        const size_t k = n < sizeof zero ? n : sizeof zero;
        CT_TRY(ct_out_file_put(w->file, zero, k, err));
        n -= k;
    }
    return 0;
}

int ct_gguf_writer_new(ct_gguf_writer **out, const char *path, carat_error *err) {
    *out = NULL;
    ct_gguf_writer *w = ct_alloc(sizeof *w);
    if (!w) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to write it", path);
    w->align = DEFAULT_ALIGNMENT;
    w->path = ct_strdup_n(path, strlen(path));
    int rc = w->path ? 0 : CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to write it", path);
    if (rc == 0) rc = ct_out_file_new(&w->file, path, 0666, err);
    if (rc) {
        ct_gguf_writer_free(&w);
        return rc;
    }
    *out = w;
    return 0;
}

void ct_gguf_writer_free(ct_gguf_writer **pw) {
    ct_gguf_writer *w = *pw;
    if (!w) return;
    ct_out_file_free(&w->file);
    ct_names_free(&w->keys);
    ct_names_free(&w->names);
    ct_free(w->kv.p);
    ct_free(w->tensor);
    ct_free(w->path);
    ct_arena_free(&w->arena);
    ct_free(w);
    *pw = NULL;
}

/* Directory, with the offsets that the alignment gives. */
static bool encode_directory(ct_gguf_writer *w, bytes *b) {
    uint64_t offset = 0;
    for (size_t i = 0; i < w->n_tensor; i++) {
        ct_tensor *t = &w->tensor[i];
        t->offset = offset;
        if (!append_str(b, t->name, strlen(t->name)) || !append_u32(b, (uint32_t)t->rank)) return false;
        for (int d = t->rank - 1; d >= 0; d--) {
            if (!append_u64(b, (uint64_t)t->shape[d])) return false;
        }
        if (!append_u32(b, ct_gguf_number_of_dtype(t->dtype, t->panels)) || !append_u64(b, offset)) return false;
        const uint64_t padded = t->bytes + (w->align - t->bytes % w->align) % w->align;
        if (padded < t->bytes || offset > UINT64_MAX - padded) return false;
        offset += padded;
    }
    return true;
}

int ct_gguf_writer_begin(ct_gguf_writer *w, carat_error *err) {
    if (w->failed.code) return CT_FAIL(err, w->failed.code, "%s", w->failed.msg);
    if (w->begun) return CT_FAIL(err, CARAT_EINVAL, "%s: begun twice", w->path);
    bytes head = {0}, dir = {0};
    int rc = 0;
    if (!append(&head, "GGUF", 4) || !append_u32(&head, 3) || !append_u64(&head, w->n_tensor) ||
        !append_u64(&head, w->n_kv) || !encode_directory(w, &dir)) {
        rc =
            CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for the directory, or data beyond 2^64 bytes", w->path);
    }
    if (rc == 0) rc = ct_out_file_put(w->file, head.p, head.n, err);
    if (rc == 0) rc = ct_out_file_put(w->file, w->kv.p, w->kv.n, err);
    if (rc == 0) rc = ct_out_file_put(w->file, dir.p, dir.n, err);
    if (rc == 0) rc = emit_padding(w, head.n + w->kv.n + dir.n, err);
    if (rc == 0) w->begun = true;
    ct_free(head.p);
    ct_free(dir.p);
    return rc;
}

int ct_gguf_write(ct_gguf_writer *w, const void *data, size_t n, carat_error *err) {
    if (!w->begun || w->finished)
        return CT_FAIL(err, CARAT_EINVAL, "%s: data written outside begin and finish", w->path);
    if (n == 0) return 0;
    if (w->at == w->n_tensor) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: %zu bytes after the last tensor", w->path, n);
    }
    const ct_tensor *t = &w->tensor[w->at];
    if (n > t->bytes - w->done) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s takes %zu more bytes, not %zu", w->path, t->name,
                       t->bytes - w->done, n);
    }
    CT_TRY(ct_out_file_put(w->file, data, n, err));
    w->done += n;
    if (w->done == t->bytes) {
        CT_TRY(emit_padding(w, t->bytes, err));
        w->at++;
        w->done = 0;
    }
    return 0;
}

int ct_gguf_writer_finish(ct_gguf_writer *w, carat_error *err) {
    if (!w->begun || w->finished)
        return CT_FAIL(err, CARAT_EINVAL, "%s: finish without begin, or twice", w->path);
    if (w->at != w->n_tensor) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: tensor %.100s has %zu of %zu bytes", w->path,
                       w->tensor[w->at].name, w->done, w->tensor[w->at].bytes);
    }
    CT_TRY(ct_out_file_finish(w->file, err));
    w->finished = true;
    return 0;
}
