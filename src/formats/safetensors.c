/* safetensors: an 8-byte header length, a JSON directory, then raw tensor data; and sharded folders of such files.
 * Nothing but the headers is read at open. Holes between tensors are allowed, shared bytes are not; every tensor's
 * byte range must be what its dtype and shape say. `__metadata__` is ignored. */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "formats/dir.h"
#include "formats/json.h"
#include "formats/safetensors_priv.h"

/* The format's own limit; a real header has about 130 bytes a tensor. */
#define MAX_HEADER 100000000
#define MAX_INDEX 100000000

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

struct ct_safetensors {
    ct_mapped_file *file;
    const char **path; /* one a file */
    size_t n_file, file_cap, path_cap;
    bool in_memory; /* file[0] is the caller's memory */
    ct_tensor *tensor;
    size_t n_tensor, tensor_cap;
    ct_names names;
    ct_arena arena; /* names and paths */
};

static const char *path_of(const void *ud, int file) {
    return ct_path_tail(((const ct_safetensors *)ud)->path[file]);
}

/* ---- one tensor --------------------------------------------------------------------------------------- */

static int read_dtype(ct_json_val entry, const char *where, ct_tensor *t, carat_error *err) {
    static const struct {
        const char *name;
        ct_dtype dtype;
    } known[] = {{"F32", CT_F32}, {"F16", CT_F16}, {"BF16", CT_BF16}, {"I32", CT_I32}, {"I64", CT_I64}};
    size_t len;
    const char *s = ct_json_str(ct_json_get(entry, "dtype"), &len);
    if (!s)
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: dtype is missing or not a string", where, t->name);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (len == strlen(known[i].name) && memcmp(s, known[i].name, len) == 0) {
            t->dtype = known[i].dtype;
            return 0;
        }
    }
    return CT_FAIL(err, CARAT_EFORMAT,
                   "%s: %.100s has dtype %.32s, which Carat does not read; supported: F32 F16 BF16 "
                   "I32 I64",
                   where, t->name, s);
}

static int read_shape(ct_json_val entry, const char *where, ct_tensor *t, carat_error *err) {
    const ct_json_val shape = ct_json_get(entry, "shape");
    if (!ct_json_is_array(shape)) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: shape is missing or not a list", where, t->name);
    }
    const size_t rank = ct_json_len(shape);
    if (rank > CT_MAX_RANK) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s has rank %zu, expected at most %d", where, t->name,
                       rank, CT_MAX_RANK);
    }
    t->rank = (int)rank;
    t->n_elem = 1;
    for (size_t d = 0; d < CT_MAX_RANK; d++) t->shape[d] = 1;
    bool empty = false;
    for (size_t d = 0; d < rank; d++) {
        int64_t n;
        if (!ct_json_i64(ct_json_at(shape, d), &n) || n < 0) {
            return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: dimension %zu is not a non-negative integer",
                           where, t->name, d);
        }
        t->shape[d] = n;
        empty = empty || n == 0;
        if (n > 0 && n > INT64_MAX / t->n_elem) {
            return CT_FAIL(err, CARAT_EFORMAT,
                           "%s: %.100s: number of elements overflows at dimension %zu (%" PRId64 ")", where,
                           t->name, d, n);
        }
        if (n > 0) t->n_elem *= n;
    }
    if (empty) t->n_elem = 0;
    return 0;
}

/* t->offset and t->data from data_offsets, which count from the end of the header at byte `start`. */
static int read_place(ct_json_val entry, const char *where, const ct_mapped_file *f, size_t start,
                      ct_tensor *t, carat_error *err) {
    if (!ct_mul_size(&t->bytes, (size_t)t->n_elem, ct_dtype_block_bytes(t->dtype))) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: size in bytes overflows", where, t->name);
    }
    const ct_json_val pair = ct_json_get(entry, "data_offsets");
    int64_t from, to;
    if (!ct_json_is_array(pair) || ct_json_len(pair) != 2 || !ct_json_i64(ct_json_at(pair, 0), &from) ||
        !ct_json_i64(ct_json_at(pair, 1), &to) || from < 0 || to < from) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: data_offsets is not a pair of integers in order",
                       where, t->name);
    }
    const uint64_t room = f->size - start;
    if ((uint64_t)to > room) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %.100s: data [%" PRId64 ", %" PRId64 ") lies outside the %" PRIu64
                       " data bytes of the file (truncated download?)",
                       where, t->name, from, to, room);
    }
    if ((uint64_t)(to - from) != t->bytes) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %.100s: data_offsets span %" PRId64 " bytes, but %" PRId64
                       " values of %s take %zu",
                       where, t->name, to - from, t->n_elem, ct_dtype_name(t->dtype), t->bytes);
    }
    t->offset = start + (uint64_t)from;
    t->data = f->data + t->offset;
    return 0;
}

static int read_tensor(ct_safetensors *st, int file, size_t start, const char *name, size_t len,
                       ct_json_val entry, carat_error *err) {
    const char *where = path_of(st, file);
    if (len == 0 || len > CT_MAX_NAME) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: tensor name of %zu bytes (%.60s), expected 1 to %d", where,
                       len, name, CT_MAX_NAME);
    }
    if (!ct_json_is_object(entry)) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: directory entry is not an object", where, name);
    }
    const size_t twin = ct_names_find(&st->names, name, len);
    if (twin != CT_NAMES_ABSENT) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: tensor %.100s is also in %.160s", where, name,
                       path_of(st, st->tensor[twin].file));
    }
    ct_tensor t = {.name = name, .file = file};
    CT_TRY(read_dtype(entry, where, &t, err));
    CT_TRY(read_shape(entry, where, &t, err));
    CT_TRY(read_place(entry, where, &st->file[file], start, &t, err));
    t.name = ct_arena_strdup_n(&st->arena, name, len);
    if (!t.name || !ct_grow((void **)&st->tensor, &st->tensor_cap, st->n_tensor + 1, sizeof *st->tensor) ||
        !ct_names_add(&st->names, t.name, len, st->n_tensor)) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for the tensor directory", where);
    }
    st->tensor[st->n_tensor++] = t;
    return 0;
}

/* ---- one file ----------------------------------------------------------------------------------------- */

static int read_header(ct_safetensors *st, int file, carat_error *err) {
    const ct_mapped_file *f = &st->file[file];
    const char *where = path_of(st, file);
    if (f->size < 8) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: file of %zu bytes is too short for safetensors (8 bytes of length)", where,
                       f->size);
    }
    const uint64_t len = ct_load_u64(f->data);
    if (len < 2 || len > MAX_HEADER || len > f->size - 8) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: header length %" PRIu64 " in a file of %zu bytes, expected 2 to %zu", where, len,
                       f->size, f->size - 8 < MAX_HEADER ? f->size - 8 : MAX_HEADER);
    }
    ct_json *j = NULL;
    CT_TRY(ct_json_parse(&j, (const char *)f->data + 8, (size_t)len, where, err));
    int rc = 0;
    if (!ct_json_is_object(ct_json_root(j))) {
        rc = CT_FAIL(err, CARAT_EFORMAT, "%s: header is not a JSON object", where);
    }
    void *iter = NULL;
    const char *name;
    size_t name_len;
    ct_json_val entry;
    while (rc == 0 && ct_json_next(ct_json_root(j), &iter, &name, &name_len, &entry)) {
        if (strcmp(name, "__metadata__") == 0) continue;
        rc = read_tensor(st, file, 8 + (size_t)len, name, name_len, entry, err);
    }
    ct_json_free(&j);
    return rc;
}

static int add_file(ct_safetensors *st, const char *path, const ct_mapped_file *in_memory, carat_error *err) {
    const size_t n = st->n_file;
    if (!ct_grow((void **)&st->file, &st->file_cap, n + 1, sizeof *st->file) ||
        !ct_grow((void **)&st->path, &st->path_cap, n + 1, sizeof *st->path) ||
        !(st->path[n] = ct_arena_strdup_n(&st->arena, path, strlen(path)))) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open it", ct_path_tail(path));
    }
    if (in_memory) {
        st->file[n] = *in_memory;
    } else {
        CT_TRY(ct_map_file(&st->file[n], path, err));
    }
    st->n_file++;
    return read_header(st, (int)n, err);
}

/* ---- folders ------------------------------------------------------------------------------------------ */

static char *join(ct_arena *a, const char *folder, const char *name) {
    const size_t n = strlen(folder), m = strlen(name);
    char *p = ct_arena_alloc(a, n + m + 2);
    if (!p) return NULL;
    memcpy(p, folder, n);
    p[n] = '/';
    memcpy(p + n + 1, name, m);
    return p;
}

/* Shards lie beside the index: an index must not make us open anything else. */
static bool is_plain_name(const char *s, size_t len) {
    return len > 0 && len <= 255 && strlen(s) == len && !strpbrk(s, "/\\") && !strstr(s, "..") &&
           strcmp(s, ".") != 0;
}

/* Open the shard of one weight_map entry unless it is open already; *file is its position. */
static int open_shard(ct_safetensors *st, ct_names *shards, const char *folder, const char *where,
                      const char *name, ct_json_val entry, size_t *file, carat_error *err) {
    size_t len;
    const char *shard = ct_json_str(entry, &len);
    if (!shard) return CT_FAIL(err, CARAT_EFORMAT, "%s: weight_map of %.100s is not a string", where, name);
    *file = ct_names_find(shards, shard, len);
    if (*file != CT_NAMES_ABSENT) return 0;
    if (!is_plain_name(shard, len)) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s lies in \"%.100s\", which is not a plain file name",
                       where, name, shard);
    }
    const char *path = join(&st->arena, folder, shard);
    *file = st->n_file;
    if (!path || !ct_names_add(shards, path + strlen(folder) + 1, len, *file)) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open shards", where);
    }
    if (!ct_path_exists(path)) {
        return CT_FAIL(err, CARAT_EIO, "%s: shard is missing (weight_map puts %.100s in it)",
                       ct_path_tail(path), name);
    }
    return add_file(st, path, NULL, err);
}

static int open_shards(ct_safetensors *st, ct_names *shards, const char *folder, const char *where,
                       ct_json_val map, carat_error *err) {
    if (!ct_json_is_object(map) || ct_json_len(map) == 0) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: weight_map is missing, empty or not an object", where);
    }
    void *iter = NULL;
    const char *name;
    size_t len, file = 0;
    ct_json_val entry;
    while (ct_json_next(map, &iter, &name, &len, &entry)) {
        CT_TRY(open_shard(st, shards, folder, where, name, entry, &file, err));
        const size_t i = ct_names_find(&st->names, name, len);
        if (i == CT_NAMES_ABSENT || (size_t)st->tensor[i].file != file) {
            return CT_FAIL(err, CARAT_EFORMAT, "%s: weight_map puts %.100s in %.160s, which does not hold it",
                           where, name, path_of(st, (int)file));
        }
    }
    return 0;
}

static int open_index(ct_safetensors *st, const char *folder, const char *path, carat_error *err) {
    ct_json *j = NULL;
    ct_names shards = {0};
    CT_TRY(ct_json_load(&j, path, MAX_INDEX, err));
    const int rc =
        open_shards(st, &shards, folder, ct_path_tail(path), ct_json_get(ct_json_root(j), "weight_map"), err);
    ct_names_free(&shards);
    ct_json_free(&j);
    return rc;
}

static int open_folder(ct_safetensors *st, const char *folder, carat_error *err) {
    const char *single = join(&st->arena, folder, single_name), *index = join(&st->arena, folder, index_name);
    if (!single || !index)
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open it", ct_path_tail(folder));
    if (ct_path_exists(single)) return add_file(st, single, NULL, err);
    if (ct_path_exists(index)) return open_index(st, folder, index, err);
    return CT_FAIL(err, CARAT_EIO, "%s: folder holds neither %s nor %s", ct_path_tail(folder), single_name,
                   index_name);
}

/* ---- open and close ----------------------------------------------------------------------------------- */

static int open_safetensors(ct_safetensors **out, const char *path, const ct_mapped_file *in_memory,
                            carat_error *err) {
    *out = NULL;
    ct_safetensors *st = ct_alloc(sizeof *st);
    if (!st) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open it", ct_path_tail(path));
    st->in_memory = in_memory != NULL;
    int rc =
        !in_memory && ct_path_is_dir(path) ? open_folder(st, path, err) : add_file(st, path, in_memory, err);
    if (rc == 0) rc = ct_dir_check_overlap(st->tensor, st->n_tensor, path_of, st, err);
    if (rc) {
        ct_safetensors_close(&st);
        return rc;
    }
    *out = st;
    return 0;
}

int ct_safetensors_open(ct_safetensors **out, const char *path, carat_error *err) {
    return open_safetensors(out, path, NULL, err);
}

int ct_safetensors_open_memory(ct_safetensors **out, const void *data, size_t size, const char *where,
                               carat_error *err) {
    const ct_mapped_file f = {.data = data, .size = size, .fd = -1};
    return open_safetensors(out, where, &f, err);
}

void ct_safetensors_close(ct_safetensors **pst) {
    ct_safetensors *st = *pst;
    if (!st) return;
    if (!st->in_memory) {
        for (size_t i = 0; i < st->n_file; i++) ct_unmap_file(&st->file[i]);
    }
    ct_names_free(&st->names);
    ct_free(st->tensor);
    ct_free(st->file);
    ct_free(st->path);
    ct_arena_free(&st->arena);
    ct_free(st);
    *pst = NULL;
}

int ct_safetensors_n_files(const ct_safetensors *st) { return (int)st->n_file; }
const ct_mapped_file *ct_safetensors_file(const ct_safetensors *st, int i) { return &st->file[i]; }
size_t ct_safetensors_n_tensor(const ct_safetensors *st) { return st->n_tensor; }
const ct_tensor *ct_safetensors_tensor_at(const ct_safetensors *st, size_t i) { return &st->tensor[i]; }

const ct_tensor *ct_safetensors_tensor(const ct_safetensors *st, const char *name) {
    const size_t i = ct_names_find(&st->names, name, strlen(name));
    return i == CT_NAMES_ABSENT ? NULL : &st->tensor[i];
}
