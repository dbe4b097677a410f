/* A session on disk, so that a long prompt is evaluated once. Little-endian, in this order:
 *
 *   header   64 bytes   HEADER below, its checksum last
 *   table    for each store: heads u32, d_head u32, first position kept u32, 0 u32; checksum u64
 *   tokens   n_tok ids i32; checksum u64
 *   stores   of each: keys, then values: head by head, position by position from the first kept to the last token's, a
 *            row of d_head values as the KV type stores a row; checksum u64
 *
 * Positions, not slots: rings of any size, contexts and chunks of any length load it; the cache's tiles are known to
 * kernels/tile.h alone. A ring gives all of the past it still holds, and a session takes as much of that as its own has
 * room for. Logits are not kept: a sync always evaluates the last token.
 *
 * Everything up to the tokens is checked before the session changes, lengths before anything is sized by them. */
#include <string.h>

#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/engine_int.h"
#include "kernels/tile.h"

#define VERSION 1
static const char magic[8] = "CARATKV\n";

/* Offsets of the header's fields. */
enum {
    AT_VERSION = 8,      /* u32 */
    AT_N_STORE = 12,     /* u32 */
    AT_FINGERPRINT = 16, /* u64, of the model */
    AT_KV = 24,          /* u32, a carat_kv_type */
    AT_N_TOK = 28,       /* u32 */
    AT_BYTES = 32,       /* u64, of the file */
    AT_N_REWIND = 40,    /* u32, positions kept before the window, of the layer that keeps most */
    AT_CHECK = 56,       /* u64, of the bytes before it; those between are 0 */
    HEADER_BYTES = 64
};
enum { STORE_BYTES = 16, CHECK_BYTES = 8 };

static void put_u32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static void put_u64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }

static size_t row_bytes(const ct_kv *kv, const ct_kv_store *s) { return ct_dtype_row_bytes(kv->type, s->d_head); }

/* Bytes of positions [first, n) of a store, checksum included. */
static uint64_t store_bytes(const ct_kv *kv, const ct_kv_store *s, int64_t first, int64_t n) {
    return 2 * (uint64_t)s->n_head_kv * (uint64_t)(n - first) * row_bytes(kv, s) + CHECK_BYTES;
}

static uint64_t head_bytes(int n_store, int64_t n_tok) {
    return HEADER_BYTES + (uint64_t)n_store * STORE_BYTES + CHECK_BYTES + (uint64_t)n_tok * sizeof(int32_t) + CHECK_BYTES;
}

/* Room for the rows of a tile of any store. NULL when there is none. */
static uint8_t *new_rows(const ct_kv *kv) {
    size_t n = 1;
    for (int i = 0; i < kv->n_store; i++) n = row_bytes(kv, &kv->store[i]) > n ? row_bytes(kv, &kv->store[i]) : n;
    return ct_alloc(CT_KV_TILE * n);
}

static carat_kv_type public_kv(ct_dtype t) { return t == CT_F16 ? CARAT_KV_F16 : t == CT_F32 ? CARAT_KV_F32 : CARAT_KV_Q8_0; }

/* ---- saving ------------------------------------------------------------------------------------------- */

/* A piece that a checksum covers, with the checksum behind it. */
static int put_checked(ct_out_file *f, const void *p, size_t n, carat_error *err) {
    const uint64_t check = ct_hash_of(p, n);
    CT_TRY(ct_out_file_put(f, p, n, err));
    return ct_out_file_put(f, &check, sizeof check, err);
}

static int save_store(ct_out_file *f, const ct_kv *kv, const ct_kv_store *s, int64_t first, int64_t n, uint8_t *row,
                      carat_error *err) {
    ct_hash h;
    ct_hash_begin(&h);
    for (int half = 0; half < 2; half++) {
        for (int head = 0; head < s->n_head_kv; head++) {
            for (int64_t pos = first; pos < n;) {
                const int lane = (int)(pos % CT_KV_TILE);
                const int m = n - pos < CT_KV_TILE - lane ? (int)(n - pos) : CT_KV_TILE - lane;
                ct_tile_get(row, ct_kv_tile(s, half ? s->v : s->k, pos, head), kv->type, s->d_head, half == 0, lane, m);
                const size_t bytes = (size_t)m * row_bytes(kv, s);
                ct_hash_add(&h, row, bytes);
                CT_TRY(ct_out_file_put(f, row, bytes, err));
                pos += m;
            }
        }
    }
    const uint64_t check = ct_hash_value(&h);
    return ct_out_file_put(f, &check, sizeof check, err);
}

/* First position of a store that is kept. */
static int64_t first_of(const carat_session *s, int i) {
    const int64_t first = ct_kv_first(&s->fw.kv, &s->fw.kv.store[i]);
    return first < s->n_past ? first : s->n_past;
}

/* Positions that sliding stores keep besides their window. */
static int64_t n_rewind_of(const carat_session *s) {
    const ct_config *c = &s->model->cfg;
    int64_t most = 0;
    for (int layer = 0; layer < c->n_layer; layer++) {
        if (c->layer[layer].kv_layer != layer || c->layer[layer].attn != CT_ATTN_SLIDING) continue;
        const int64_t n = s->n_past - first_of(s, s->fw.kv_store[layer]) - c->w_swa + 1;
        if (n > most) most = n;
    }
    return most;
}

static int save_all(const carat_session *s, ct_out_file *f, uint8_t *table, uint8_t *row, uint64_t fingerprint,
                    carat_error *err) {
    const ct_kv *kv = &s->fw.kv;
    uint64_t bytes = head_bytes(kv->n_store, s->n_past);
    for (int i = 0; i < kv->n_store; i++) {
        uint8_t *p = table + (size_t)i * STORE_BYTES;
        put_u32(p, (uint32_t)kv->store[i].n_head_kv);
        put_u32(p + 4, (uint32_t)kv->store[i].d_head);
        put_u32(p + 8, (uint32_t)first_of(s, i));
        bytes += store_bytes(kv, &kv->store[i], first_of(s, i), s->n_past);
    }
    uint8_t head[HEADER_BYTES] = {0};
    memcpy(head, magic, sizeof magic);
    put_u32(head + AT_VERSION, VERSION);
    put_u32(head + AT_N_STORE, (uint32_t)kv->n_store);
    put_u64(head + AT_FINGERPRINT, fingerprint);
    put_u32(head + AT_KV, (uint32_t)public_kv(kv->type));
    put_u32(head + AT_N_TOK, (uint32_t)s->n_past);
    put_u64(head + AT_BYTES, bytes);
    put_u32(head + AT_N_REWIND, (uint32_t)n_rewind_of(s));
    CT_TRY(put_checked(f, head, AT_CHECK, err));
    CT_TRY(put_checked(f, table, (size_t)kv->n_store * STORE_BYTES, err));
    CT_TRY(put_checked(f, s->tok, (size_t)s->n_past * sizeof *s->tok, err));
    for (int i = 0; i < kv->n_store; i++) CT_TRY(save_store(f, kv, &kv->store[i], first_of(s, i), s->n_past, row, err));
    return ct_out_file_finish(f, err);
}

int carat_session_save(const carat_session *s, const char *path, carat_error *err) {
    uint64_t fingerprint;
    if (!path || !*path) return CT_FAIL(err, CARAT_EINVAL, "carat_session_save: no path");
    CT_TRY(carat_model_fingerprint(&fingerprint, s->model, err));
    uint8_t *row = new_rows(&s->fw.kv), *table = ct_alloc_array((size_t)s->fw.kv.n_store, STORE_BYTES);
    ct_out_file *f = NULL;
    int rc = row && table ? 0 : CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to write it", ct_path_shown(path));
    /* What a session holds is somebody's text: nobody else's to read. */
    if (!rc) rc = ct_out_file_new(&f, path, 0600, err);
    if (!rc && s->model->opts.ram) ct_out_file_forget(f); /* the ceiling is on page cache too */
    if (!rc) rc = save_all(s, f, table, row, fingerprint, err);
    ct_out_file_free(&f);
    ct_free(row);
    ct_free(table);
    return rc;
}

/* ---- loading ------------------------------------------------------------------------------------------ */

static int damaged(const char *path, const char *what, carat_error *err) {
    return CT_FAIL(err, CARAT_EFORMAT, "%s: is damaged: %s: save it again", ct_path_shown(path), what);
}

/* n bytes and their checksum; at p there is room for both. */
static int read_checked(ct_in_file *f, uint8_t *p, size_t n, const char *path, const char *what, carat_error *err) {
    CT_TRY(ct_in_file_read(f, p, n + CHECK_BYTES, path, err));
    return ct_load_u64(p + n) == ct_hash_of(p, n) ? 0 : damaged(path, what, err);
}

/* The header, of this version and undamaged; its fields are not looked at. */
static int read_header(ct_in_file *f, uint8_t head[HEADER_BYTES], const char *path, carat_error *err) {
    if (f->size < HEADER_BYTES) return CT_FAIL(err, CARAT_EFORMAT, "%s: is no saved session", ct_path_shown(path));
    CT_TRY(ct_in_file_read(f, head, HEADER_BYTES, path, err));
    if (memcmp(head, magic, sizeof magic) != 0) return CT_FAIL(err, CARAT_EFORMAT, "%s: is no saved session", ct_path_shown(path));
    const uint32_t version = ct_load_u32(head + AT_VERSION);
    if (version != VERSION) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: is a saved session of version %u, expected %d: save it again", ct_path_shown(path),
                       (unsigned)version, VERSION);
    }
    if (ct_load_u64(head + AT_CHECK) != ct_hash_of(head, AT_CHECK)) return damaged(path, "its header", err);
    const uint32_t n_tok = ct_load_u32(head + AT_N_TOK);
    if (ct_load_u32(head + AT_KV) > CARAT_KV_Q8_0 || n_tok > INT32_MAX || ct_load_u32(head + AT_N_REWIND) > n_tok) {
        return damaged(path, "its header", err);
    }
    if (ct_load_u64(head + AT_BYTES) != f->size) {
        return CT_FAIL(err, CARAT_EFORMAT, "%s: is damaged: %llu bytes, expected %llu: save it again", ct_path_shown(path),
                       (unsigned long long)f->size, (unsigned long long)ct_load_u64(head + AT_BYTES));
    }
    return 0;
}

/* Does the session take what the header speaks of? */
static int check_header(const carat_session *s, const uint8_t *head, const char *path, carat_error *err) {
    static const ct_dtype type[] = {[CARAT_KV_F16] = CT_F16, [CARAT_KV_F32] = CT_F32, [CARAT_KV_Q8_0] = CT_Q8_0};
    uint64_t fingerprint;
    CT_TRY(carat_model_fingerprint(&fingerprint, s->model, err));
    const uint64_t theirs = ct_load_u64(head + AT_FINGERPRINT);
    const uint32_t kv = ct_load_u32(head + AT_KV), n_tok = ct_load_u32(head + AT_N_TOK);
    if (theirs != fingerprint) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: was saved with another model (fingerprint %016llx, this one has %016llx)",
                       ct_path_shown(path), (unsigned long long)theirs, (unsigned long long)fingerprint);
    }
    if (type[kv] != s->fw.kv.type) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: holds keys and values as %s, this session keeps %s", ct_path_shown(path),
                       ct_dtype_name(type[kv]), ct_dtype_name(s->fw.kv.type));
    }
    if (n_tok > (uint32_t)s->fw.o.n_ctx) {
        return CT_FAIL(err, CARAT_EFULL, "%s: holds %u tokens, the context %d (use a larger -c)", ct_path_shown(path),
                       (unsigned)n_tok, s->fw.o.n_ctx);
    }
    if (ct_load_u32(head + AT_N_STORE) != (uint32_t)s->fw.kv.n_store) return damaged(path, "its header", err);
    return 0;
}

/* Is the table the session's, with all that going on from n needs, and does it account for the file's bytes? */
static int check_table(const carat_session *s, const uint8_t *table, int32_t n, uint64_t size, const char *path,
                       carat_error *err) {
    const ct_kv *kv = &s->fw.kv;
    const ct_config *c = &s->model->cfg;
    uint64_t bytes = head_bytes(kv->n_store, n);
    for (int layer = 0; layer < c->n_layer; layer++) {
        if (c->layer[layer].kv_layer != layer) continue;
        const int i = s->fw.kv_store[layer];
        const ct_kv_store *st = &kv->store[i];
        const uint8_t *p = table + (size_t)i * STORE_BYTES;
        const uint32_t first = ct_load_u32(p + 8);
        const int64_t needed = c->layer[layer].attn == CT_ATTN_FULL ? 0 : (int64_t)n - c->w_swa + 1;
        if (ct_load_u32(p) != (uint32_t)st->n_head_kv || ct_load_u32(p + 4) != (uint32_t)st->d_head || first > (uint32_t)n ||
            (int64_t)first > (needed > 0 ? needed : 0)) {
            return damaged(path, "its table of layers", err);
        }
        bytes += store_bytes(kv, st, first, n);
    }
    return bytes == size ? 0 : damaged(path, "its length", err);
}

static int load_store(ct_in_file *f, const ct_kv *kv, ct_kv_store *s, int64_t first, int64_t n, uint8_t *row, const char *path,
                      carat_error *err) {
    ct_hash h;
    ct_hash_begin(&h);
    s->low = first > n - s->cap ? first : n - s->cap;
    for (int half = 0; half < 2; half++) {
        for (int head = 0; head < s->n_head_kv; head++) {
            for (int64_t pos = first; pos < n;) {
                const int lane = (int)(pos % CT_KV_TILE);
                int m = n - pos < CT_KV_TILE - lane ? (int)(n - pos) : CT_KV_TILE - lane;
                if (pos < s->low && pos + m > s->low) m = (int)(s->low - pos);
                const size_t bytes = (size_t)m * row_bytes(kv, s);
                CT_TRY(ct_in_file_read(f, row, bytes, path, err));
                ct_hash_add(&h, row, bytes);
                if (pos >= s->low) {
                    ct_tile_put(ct_kv_tile(s, half ? s->v : s->k, pos, head), row, kv->type, s->d_head, half == 0, lane, m);
                }
                pos += m;
            }
        }
    }
    uint8_t check[CHECK_BYTES];
    CT_TRY(ct_in_file_read(f, check, sizeof check, path, err));
    return ct_load_u64(check) == ct_hash_value(&h) ? 0 : damaged(path, "keys and values", err);
}

/* From here on the session is empty, until all is there. */
static int load_stores(carat_session *s, ct_in_file *f, const uint8_t *table, int32_t n, uint8_t *row, const char *path,
                       carat_error *err) {
    ct_kv *kv = &s->fw.kv;
    ct_lookup_cut(&s->lookup, 0);
    ct_kv_reset(kv);
    s->n_past = s->n_ahead = s->n_evaluated = 0;
    s->logits = NULL;
    int rc = 0;
    for (int i = 0; i < kv->n_store && !rc; i++) {
        rc = load_store(f, kv, &kv->store[i], ct_load_u32(table + (size_t)i * STORE_BYTES + 8), n, row, path, err);
    }
    if (rc) ct_kv_reset(kv);
    else ct_kv_advance(kv, 0, n);
    return rc;
}

static int check_ids(const carat_session *s, const uint8_t *id, int32_t n, const char *path, carat_error *err) {
    for (int32_t i = 0; i < n; i++) {
        if (ct_load_u32(id + (size_t)i * 4) >= (uint32_t)s->model->cfg.n_vocab) return damaged(path, "its tokens", err);
    }
    return 0;
}

static int load_all(carat_session *s, ct_in_file *f, const char *path, carat_error *err) {
    uint8_t head[HEADER_BYTES];
    CT_TRY(read_header(f, head, path, err));
    CT_TRY(check_header(s, head, path, err));
    const int32_t n = (int32_t)ct_load_u32(head + AT_N_TOK); /* at most the context */
    const size_t table_bytes = (size_t)s->fw.kv.n_store * STORE_BYTES, id_bytes = (size_t)n * sizeof *s->tok;
    uint8_t *table = ct_alloc(table_bytes + CHECK_BYTES), *id = ct_alloc(id_bytes + CHECK_BYTES), *row = new_rows(&s->fw.kv);
    int rc = table && id && row ? 0 : CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to read it", ct_path_shown(path));
    if (!rc) rc = read_checked(f, table, table_bytes, path, "its table of layers", err);
    if (!rc) rc = check_table(s, table, n, f->size, path, err);
    if (!rc) rc = read_checked(f, id, id_bytes, path, "its tokens", err);
    if (!rc) rc = check_ids(s, id, n, path, err);
    if (!rc) rc = load_stores(s, f, table, n, row, path, err);
    if (!rc) {
        memcpy(s->tok, id, id_bytes);
        s->n_past = n;
        if (s->lookup_mode) ct_lookup_push(&s->lookup, n);
    }
    ct_free(table);
    ct_free(id);
    ct_free(row);
    return rc;
}

int carat_session_load(carat_session *s, const char *path, carat_error *err) {
    ct_in_file f;
    if (!path) return CT_FAIL(err, CARAT_EINVAL, "carat_session_load: no path");
    CT_TRY(ct_in_file_open(&f, path, err));
    f.forget = s->model->opts.ram > 0;
    const int rc = load_all(s, &f, path, err);
    ct_in_file_close(&f);
    return rc;
}

int carat_snapshot_get_info(carat_snapshot_info *out, const char *path, carat_error *err) {
    ct_in_file f;
    uint8_t head[HEADER_BYTES];
    memset(out, 0, sizeof *out);
    if (!path) return CT_FAIL(err, CARAT_EINVAL, "carat_snapshot_get_info: no path");
    CT_TRY(ct_in_file_open(&f, path, err));
    const int rc = read_header(&f, head, path, err);
    ct_in_file_close(&f);
    if (rc) return rc;
    *out = (carat_snapshot_info){
        .fingerprint = ct_load_u64(head + AT_FINGERPRINT),
        .bytes = f.size,
        .n_tok = (int32_t)ct_load_u32(head + AT_N_TOK),
        .n_rewind = (int32_t)ct_load_u32(head + AT_N_REWIND),
        .kv = (carat_kv_type)ct_load_u32(head + AT_KV),
    };
    return 0;
}
