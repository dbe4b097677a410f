/* GGUF files: header, tensor directory, split sets. Key/values are read in gguf_kv.c.
 * Opening touches only the front of each file; tensor data is never read here. Every count is checked against the
 * bytes left before anything is allocated for it, every tensor against the end of the file and against its neighbours.
 * GGUF lists dimensions fastest first; they are turned round here and nowhere else. */
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "formats/gguf_priv.h"

#define DEFAULT_ALIGNMENT 32
#define MIN_ALIGNMENT 8
#define MAX_ALIGNMENT 65536
#define HEADER_BYTES 24
/* Length of "-00001-of-00003.gguf". */
#define SPLIT_SUFFIX 20
#define MAX_SPLIT 99999

struct ct_gguf {
    ct_mapped_file *file;
    const char **path; /* names for messages, one a file */
    size_t n_file, file_cap, path_cap;
    bool in_memory; /* file[0] is the caller's memory */
    uint32_t version;
    ct_gguf_kvs kvs;
    ct_tensor *tensor;
    size_t n_tensor, tensor_cap;
    ct_names names; /* of tensors */
    ct_arena arena; /* keys, names, paths */
};

/* Name of a file for messages. */
static const char *path_of(const void *ud, int file) {
    return ct_path_tail(((const ct_gguf *)ud)->path[file]);
}

/* ---- tensor types ------------------------------------------------------------------------------------- */

/* Every number GGUF files have been seen to use, so that a message can name what it refuses. */
static const struct {
    const char *name;
    int dtype; /* a ct_dtype, -1: not read here */
} types[] = {
    [0] = {"F32", CT_F32},     [1] = {"F16", CT_F16},     [2] = {"Q4_0", CT_Q4_0},
    [3] = {"Q4_1", CT_Q4_1},   [4] = {"Q4_2", -1},        [5] = {"Q4_3", -1},
    [6] = {"Q5_0", CT_Q5_0},   [7] = {"Q5_1", CT_Q5_1},   [8] = {"Q8_0", CT_Q8_0},
    [9] = {"Q8_1", -1},        [10] = {"Q2_K", CT_Q2_K},  [11] = {"Q3_K", CT_Q3_K},
    [12] = {"Q4_K", CT_Q4_K},  [13] = {"Q5_K", CT_Q5_K},  [14] = {"Q6_K", CT_Q6_K},
    [15] = {"Q8_K", -1},       [16] = {"IQ2_XXS", -1},    [17] = {"IQ2_XS", -1},
    [18] = {"IQ3_XXS", -1},    [19] = {"IQ1_S", -1},      [20] = {"IQ4_NL", CT_IQ4_NL},
    [21] = {"IQ3_S", -1},      [22] = {"IQ2_S", -1},      [23] = {"IQ4_XS", CT_IQ4_XS},
    [24] = {"I8", -1},         [25] = {"I16", -1},        [26] = {"I32", CT_I32},
    [27] = {"I64", CT_I64},    [28] = {"F64", -1},        [29] = {"IQ1_M", -1},
    [30] = {"BF16", CT_BF16},  [31] = {"Q4_0_4_4", -1},   [32] = {"Q4_0_4_8", -1},
    [33] = {"Q4_0_8_8", -1},   [34] = {"TQ1_0", -1},      [35] = {"TQ2_0", -1},
    [36] = {"IQ4_NL_4_4", -1}, [37] = {"IQ4_NL_4_8", -1}, [38] = {"IQ4_NL_8_8", -1},
    [39] = {"MXFP4", -1},      [40] = {"NVFP4", -1},      [41] = {"Q1_0", -1},
};
#define N_TYPES (sizeof types / sizeof types[0])

/* " F32 F16 ..." for messages */
static const char supported[] =
#define X(id, text, len, bytes) " " text
    CT_DTYPE_LIST(X)
#undef X
    ;

/* Our own numbers, "CT" above the number of the rows' type: to other engines an unknown type, which they refuse. */
#define PANELS UINT32_C(0x43540000)
#define PANELS_MASK UINT32_C(0xffff0000)

uint32_t ct_gguf_number_of_dtype(ct_dtype t, bool panels) {
    uint32_t i = 0;
    while (i < N_TYPES && types[i].dtype != (int)t) i++;
    return panels ? PANELS | i : i;
}

static int find_dtype(const ct_gguf_cursor *c, uint32_t number, ct_tensor *t, carat_error *err) {
    const char *name = t->name;
    t->panels = (number & PANELS_MASK) == PANELS;
    const uint32_t of_rows = t->panels ? number & ~PANELS_MASK : number;
    if (of_rows < N_TYPES && types[of_rows].dtype >= 0) {
        t->dtype = (ct_dtype)types[of_rows].dtype;
        if (!t->panels || ct_dtype_has_panels(t->dtype)) return 0;
    }
    if (t->panels) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %.100s has type %s in panels (0x%08" PRIx32 "), expected panels of Q4_0, Q8_0, Q4_K, Q5_K or Q6_K",
                       c->where, name, of_rows < N_TYPES ? types[of_rows].name : "unknown", number);
    }
    return CT_FAIL(err, CARAT_EFORMAT,
                   "%s: %.100s has type %s (%" PRIu32 "), which Carat does not read; supported:%s", c->where,
                   name, number < N_TYPES ? types[number].name : "unknown", number, supported);
}

/* ---- one file ----------------------------------------------------------------------------------------- */

static int read_header(ct_gguf_cursor *c, uint32_t *version, uint64_t *n_tensor, uint64_t *n_kv,
                       carat_error *err) {
    const size_t size = ct_gguf_left(c);
    if (size < 4 || memcmp(c->p, "GGUF", 4) != 0) {
        const uint8_t *p = c->p;
        if (size < 4) return CT_FAIL(err, CARAT_EFORMAT, "%s: not a GGUF file (%zu bytes)", c->where, size);
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: not a GGUF file (starts with %02x %02x %02x %02x, expected 47 47 55 46)",
                       c->where, p[0], p[1], p[2], p[3]);
    }
    if (size < HEADER_BYTES) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: file of %zu bytes ends inside the GGUF header (%d bytes)",
                       c->where, size, HEADER_BYTES);
    }
    const uint32_t v = ct_load_u32(c->p + 4);
    if (v != 0 && (v & 0xffffu) == 0) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: big-endian GGUF (version bytes 0x%08" PRIx32 "); Carat reads little-endian files",
                       c->where, v);
    }
    if (v != 2 && v != 3) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: GGUF version %" PRIu32 ", expected 2 or 3%s", c->where, v,
                       v == 1 ? "; convert the model again with current tools" : "");
    }
    *version = v;
    *n_tensor = ct_load_u64(c->p + 8);
    *n_kv = ct_load_u64(c->p + 16);
    c->p += HEADER_BYTES;
    return 0;
}

static const ct_gguf_kv *find_in(const ct_gguf_kvs *kvs, const char *key) {
    const size_t i = ct_names_find(&kvs->names, key, strlen(key));
    return i == CT_NAMES_ABSENT ? NULL : &kvs->v[i];
}

static int read_alignment(const ct_gguf_cursor *c, const ct_gguf_kvs *kvs, size_t *out, carat_error *err) {
    *out = DEFAULT_ALIGNMENT;
    const ct_gguf_kv *kv = find_in(kvs, "general.alignment");
    if (!kv) return 0;
    int64_t a;
    if (!ct_gguf_as_i64(kv, &a) || kv->type == CT_GGUF_BOOL) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key general.alignment is not an integer", c->where);
    }
    if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1)) != 0) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: key general.alignment is %" PRId64 ", expected a power of two from %d to %d",
                       c->where, a, MIN_ALIGNMENT, MAX_ALIGNMENT);
    }
    *out = (size_t)a;
    return 0;
}

/* A panel holds CT_PANEL_ROWS rows of one matrix, or of one expert's in a stack. */
static int check_panels(const ct_gguf_cursor *c, const ct_tensor *t, carat_error *err) {
    if (t->rank != 2 && t->rank != 3) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s lies as panels and has rank %d, expected 2 or 3", c->where, t->name, t->rank);
    }
    if (t->shape[t->rank - 2] % CT_PANEL_ROWS != 0) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s lies as panels and has %" PRId64 " rows, expected a multiple of %d",
                       c->where, t->name, t->shape[t->rank - 2], CT_PANEL_ROWS);
    }
    return 0;
}

static int read_shape(ct_gguf_cursor *c, ct_tensor *t, uint32_t rank, carat_error *err) {
    t->rank = (int)rank;
    t->n_elem = 1;
    for (int d = 0; d < CT_MAX_RANK; d++) t->shape[d] = 1;
    for (uint32_t d = 0; d < rank; d++) {
        const uint64_t n = ct_load_u64(c->p + 8 * d);
        if (n == 0)
            return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: dimension %" PRIu32 " is 0", c->where, t->name,
                           d);
        if (n > (uint64_t)(INT64_MAX / t->n_elem)) {
            return CT_FAIL(err, CARAT_EFORMAT,
                           "%s: %.100s: number of elements overflows at dimension %" PRIu32 " (%" PRIu64 ")",
                           c->where, t->name, d, n);
        }
        t->n_elem *= (int64_t)n;
        t->shape[rank - 1 - d] = (int64_t)n;
    }
    c->p += 8 * (size_t)rank;
    return 0;
}

/* One directory entry. t->offset is relative to the data section until place_tensors. */
static int read_tensor(ct_gguf *g, ct_gguf_cursor *c, uint64_t i, ct_tensor *t, carat_error *err) {
    ct_str name;
    CT_TRY(ct_gguf_read_name(c, &name, CT_MAX_NAME, "tensor", i, err));
    t->name = ct_arena_strdup_n(&g->arena, name.s, name.len);
    if (!t->name) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for tensor names", c->where);
    if (ct_names_find(&g->names, t->name, name.len) != CT_NAMES_ABSENT) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: tensor %.100s appears twice", c->where, t->name);
    }
    if (ct_gguf_left(c) < 4)
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: file ends inside its rank", c->where, t->name);
    const uint32_t rank = ct_load_u32(c->p);
    if (rank < 1 || rank > CT_MAX_RANK) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s has rank %" PRIu32 ", expected 1 to %d", c->where,
                       t->name, rank, CT_MAX_RANK);
    }
    c->p += 4;
    if (ct_gguf_left(c) < 8 * (size_t)rank + 12) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: file ends inside its directory entry", c->where,
                       t->name);
    }
    CT_TRY(read_shape(c, t, rank, err));
    CT_TRY(find_dtype(c, ct_load_u32(c->p), t, err));
    if (t->panels) CT_TRY(check_panels(c, t, err));
    t->offset = ct_load_u64(c->p + 4);
    c->p += 12;
    const int64_t row = t->shape[t->rank - 1], block = ct_dtype_block_len(t->dtype);
    if (row % block != 0) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: %.100s has rows of %" PRId64 " values, not a multiple of the %" PRId64
                       " of a %s block",
                       c->where, t->name, row, block, ct_dtype_name(t->dtype));
    }
    if (!ct_mul_size(&t->bytes, (size_t)(t->n_elem / block), ct_dtype_block_bytes(t->dtype))) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: %.100s: size in bytes overflows", c->where, t->name);
    }
    if (!ct_names_add(&g->names, t->name, name.len, g->n_tensor)) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for the tensor index", c->where);
    }
    return 0;
}

/* Turn relative offsets into places in the mapping. */
static int place_tensors(ct_gguf *g, const ct_gguf_cursor *c, size_t first, size_t align, int file,
                         carat_error *err) {
    const size_t size = (size_t)(c->end - c->begin), pos = ct_gguf_pos(c);
    /* Files without tensors may end before the padding that would lead to the data. */
    const size_t pad = (align - pos % align) % align;
    const size_t start = pad > size - pos ? size : pos + pad;
    const uint64_t room = size - start;
    for (size_t i = first; i < g->n_tensor; i++) {
        ct_tensor *t = &g->tensor[i];
        if (t->offset % align != 0) {
            return CT_FAIL(err, CARAT_EFORMAT,
                           "%s: %.100s: data offset %" PRIu64 " is not a multiple of the alignment %zu",
                           c->where, t->name, t->offset, align);
        }
        if (t->offset > room || t->bytes > room - t->offset) {
            return CT_FAIL(err, CARAT_EFORMAT,
                           "%s: %.100s: data [%" PRIu64 ",+%zu) lies outside the %" PRIu64
                           " data bytes of the file (truncated download?)",
                           c->where, t->name, t->offset, t->bytes, room);
        }
        t->offset += start;
        t->data = c->begin + t->offset;
        t->file = file;
    }
    return 0;
}

/* Parse file[i]; its keys go to kvs, its tensors to g. */
static int read_file(ct_gguf *g, int i, ct_gguf_kvs *kvs, carat_error *err) {
    const ct_mapped_file *f = &g->file[i];
    ct_gguf_cursor c = {f->data, f->data, f->data + f->size, path_of(g, i)};
    uint32_t version = 0;
    uint64_t n_tensor = 0, n_kv = 0;
    size_t align = DEFAULT_ALIGNMENT;
    CT_TRY(read_header(&c, &version, &n_tensor, &n_kv, err));
    if (i == 0) g->version = version;
    CT_TRY(ct_gguf_read_kvs(&c, kvs, n_kv, &g->arena, err));
    CT_TRY(read_alignment(&c, kvs, &align, err));
    /* The smallest entry: length, one byte of name, rank, one dimension, type, offset. */
    if (n_tensor > ct_gguf_left(&c) / 33) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: header counts %" PRIu64 " tensors, but only %zu bytes follow the keys", c.where,
                       n_tensor, ct_gguf_left(&c));
    }
    const size_t first = g->n_tensor;
    for (uint64_t k = 0; k < n_tensor; k++) {
        ct_tensor t = {0};
        CT_TRY(read_tensor(g, &c, k, &t, err));
        if (!ct_grow((void **)&g->tensor, &g->tensor_cap, g->n_tensor + 1, sizeof *g->tensor)) {
            return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for %" PRIu64 " tensors", c.where, n_tensor);
        }
        g->tensor[g->n_tensor++] = t;
    }
    return place_tensors(g, &c, first, align, i, err);
}

/* ---- split sets --------------------------------------------------------------------------------------- */

static bool read_5_digits(const char *s, int *out) {
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        *out = *out * 10 + (s[i] - '0');
    }
    return true;
}

/* Does the name end in -PPPPP-of-NNNNN.gguf? */
static bool split_name(const char *path, int *part, int *n_part) {
    const size_t len = strlen(path);
    if (len < SPLIT_SUFFIX) return false;
    const char *s = path + len - SPLIT_SUFFIX;
    return s[0] == '-' && read_5_digits(s + 1, part) && memcmp(s + 6, "-of-", 4) == 0 &&
           read_5_digits(s + 10, n_part) && memcmp(s + 15, ".gguf", 5) == 0;
}

/* A count of the split convention; *out stays as it is when the key is absent. Never negative when present, so that
 * callers may use -1 for absent. */
static int split_key(const ct_gguf_kvs *kvs, const char *where, const char *key, int64_t *out,
                     carat_error *err) {
    const ct_gguf_kv *kv = find_in(kvs, key);
    if (!kv) return 0;
    if (!ct_gguf_as_i64(kv, out))
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key %s is not an integer", where, key);
    if (*out < 0) return CT_FAIL(err, CARAT_EFORMAT, "%s: key %s is %" PRId64 ", below 0", where, key, *out);
    return 0;
}

/* How many parts the set of the first file has; refuses a file that is not the first of its set. */
static int check_first(const ct_gguf *g, int64_t *n_part, carat_error *err) {
    const char *path = path_of(g, 0);
    int64_t count = -1, no = -1;
    int name_part = 1, name_count = 1;
    CT_TRY(split_key(&g->kvs, path, "split.count", &count, err));
    CT_TRY(split_key(&g->kvs, path, "split.no", &no, err));
    const bool named = split_name(path, &name_part, &name_count);
    *n_part = 1;
    if (count == -1 && name_count <= 1) return 0;
    if (count == -1) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: named as part %d of %d, but the key split.count is missing",
                       path, name_part, name_count);
    }
    if (count < 1 || count > MAX_SPLIT) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key split.count is %" PRId64 ", expected 1 to %d", path,
                       count, MAX_SPLIT);
    }
    if (no > 0 && no < count) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: this is part %" PRId64 " of %" PRId64
                       " of a split model; open part 1 (...-00001-of-%05" PRId64 ".gguf)",
                       path, no + 1, count, count);
    }
    if (count == 1 && name_count <= 1) return 0;
    if (no == -1) return CT_FAIL(err, CARAT_EFORMAT, "%s: key split.no is missing", path);
    if (no != 0) return CT_FAIL(err, CARAT_EFORMAT, "%s: key split.no is %" PRId64 ", expected 0", path, no);
    if (!named || name_part != 1 || name_count != count) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: the keys say part 1 of %" PRId64 ", so the name must end in -00001-of-%05" PRId64
                       ".gguf",
                       path, count, count);
    }
    *n_part = count;
    return 0;
}

static int add_file(ct_gguf *g, const char *path, const ct_mapped_file *in_memory, carat_error *err) {
    const size_t n = g->n_file;
    if (!ct_grow((void **)&g->file, &g->file_cap, n + 1, sizeof *g->file) ||
        !ct_grow((void **)&g->path, &g->path_cap, n + 1, sizeof *g->path) ||
        !(g->path[n] = ct_arena_strdup_n(&g->arena, path, strlen(path)))) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open it", ct_path_tail(path));
    }
    if (in_memory) {
        g->file[n] = *in_memory;
    } else {
        CT_TRY(ct_map_file(&g->file[n], path, err));
    }
    g->n_file++;
    return 0;
}

/* Keys of the first file win; the others hold little more than their part number. */
static int merge_keys(ct_gguf *g, const ct_gguf_kvs *from, carat_error *err) {
    for (size_t i = 0; i < from->n; i++) {
        const char *key = from->v[i].key;
        if (find_in(&g->kvs, key)) continue;
        if (!ct_grow((void **)&g->kvs.v, &g->kvs.cap, g->kvs.n + 1, sizeof *g->kvs.v) ||
            !ct_names_add(&g->kvs.names, key, strlen(key), g->kvs.n)) {
            return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for keys", path_of(g, 0));
        }
        g->kvs.v[g->kvs.n++] = from->v[i];
    }
    return 0;
}

static int check_part(const ct_gguf_kvs *kvs, const char *path, int64_t part, int64_t n_part,
                      carat_error *err) {
    int64_t no = -1, count = -1;
    CT_TRY(split_key(kvs, path, "split.no", &no, err));
    CT_TRY(split_key(kvs, path, "split.count", &count, err));
    if (no == -1 || count == -1) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: key split.%s is missing", path, no == -1 ? "no" : "count");
    }
    if (no != part || count != n_part) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: split.no %" PRId64 " and split.count %" PRId64 ", expected %" PRId64
                       " and %" PRId64 " (not a part of the same model?)",
                       path, no, count, part, n_part);
    }
    return 0;
}

/* Part i of the set of file 0. */
static int open_part(ct_gguf *g, int64_t part, int64_t n_part, carat_error *err) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "-%05" PRId64 "-of-%05" PRId64 ".gguf", part + 1, n_part);
    const size_t len = strlen(g->path[0]);
    char *path = ct_strdup_n(g->path[0], len);
    if (!path) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open it", path_of(g, 0));
    memcpy(path + len - SPLIT_SUFFIX, suffix, SPLIT_SUFFIX);
    int rc = 0;
    if (!ct_path_exists(path)) {
        rc = CT_FAIL(err, CARAT_EIO, "%s: part %" PRId64 " of %" PRId64 " is missing", ct_path_tail(path),
                     part + 1, n_part);
    } else {
        rc = add_file(g, path, NULL, err);
    }
    ct_free(path);
    if (rc) return rc;
    ct_gguf_kvs kvs = {0};
    rc = read_file(g, (int)part, &kvs, err);
    if (rc == 0) rc = check_part(&kvs, path_of(g, (int)part), part, n_part, err);
    if (rc == 0) rc = merge_keys(g, &kvs, err);
    ct_names_free(&kvs.names);
    ct_free(kvs.v);
    return rc;
}

/* ---- open and close ----------------------------------------------------------------------------------- */

static int open_all(ct_gguf *g, const char *path, const ct_mapped_file *in_memory, carat_error *err) {
    CT_TRY(add_file(g, path, in_memory, err));
    CT_TRY(read_file(g, 0, &g->kvs, err));
    int64_t n_part, n_total = -1;
    CT_TRY(check_first(g, &n_part, err));
    if (n_part > 1 && in_memory)
        return CT_FAIL(err, CARAT_EINVAL, "%s: a split set cannot be opened from memory", path_of(g, 0));
    for (int64_t i = 1; i < n_part; i++) CT_TRY(open_part(g, i, n_part, err));
    CT_TRY(split_key(&g->kvs, path_of(g, 0), "split.tensors.count", &n_total, err));
    if (n_total != -1 && (uint64_t)n_total != g->n_tensor) {
        return CT_FAIL(err, CARAT_EFORMAT,
                       "%s: split.tensors.count is %" PRId64 ", but the %" PRId64 " file(s) hold %zu tensors",
                       path_of(g, 0), n_total, n_part, g->n_tensor);
    }
    return ct_dir_check_overlap(g->tensor, g->n_tensor, path_of, g, err);
}

static int open_gguf(ct_gguf **out, const char *path, const ct_mapped_file *in_memory, carat_error *err) {
    *out = NULL;
    ct_gguf *g = ct_alloc(sizeof *g);
    if (!g) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to open it", ct_path_tail(path));
    g->in_memory = in_memory != NULL;
    const int rc = open_all(g, path, in_memory, err);
    if (rc) {
        ct_gguf_close(&g);
        return rc;
    }
    *out = g;
    return 0;
}

int ct_gguf_open(ct_gguf **out, const char *path, carat_error *err) {
    return open_gguf(out, path, NULL, err);
}

int ct_gguf_open_memory(ct_gguf **out, const void *data, size_t size, const char *where, carat_error *err) {
    const ct_mapped_file f = {.data = data, .size = size, .fd = -1};
    return open_gguf(out, where, &f, err);
}

void ct_gguf_close(ct_gguf **pg) {
    ct_gguf *g = *pg;
    if (!g) return;
    if (!g->in_memory) {
        for (size_t i = 0; i < g->n_file; i++) ct_unmap_file(&g->file[i]);
    }
    ct_names_free(&g->names);
    ct_names_free(&g->kvs.names);
    ct_free(g->kvs.v);
    ct_free(g->tensor);
    ct_free(g->file);
    ct_free(g->path);
    ct_arena_free(&g->arena);
    ct_free(g);
    *pg = NULL;
}

/* ---- what is in it ------------------------------------------------------------------------------------ */

int ct_gguf_n_files(const ct_gguf *g) { return (int)g->n_file; }
const ct_mapped_file *ct_gguf_file(const ct_gguf *g, int i) { return &g->file[i]; }
uint32_t ct_gguf_version(const ct_gguf *g) { return g->version; }

size_t ct_gguf_n_kv(const ct_gguf *g) { return g->kvs.n; }
const ct_gguf_kv *ct_gguf_kv_at(const ct_gguf *g, size_t i) { return &g->kvs.v[i]; }
const ct_gguf_kv *ct_gguf_find(const ct_gguf *g, const char *key) { return find_in(&g->kvs, key); }

size_t ct_gguf_n_tensor(const ct_gguf *g) { return g->n_tensor; }
const ct_tensor *ct_gguf_tensor_at(const ct_gguf *g, size_t i) { return &g->tensor[i]; }

const ct_tensor *ct_gguf_tensor(const ct_gguf *g, const char *name) {
    const size_t i = ct_names_find(&g->names, name, strlen(name));
    return i == CT_NAMES_ABSENT ? NULL : &g->tensor[i];
}
