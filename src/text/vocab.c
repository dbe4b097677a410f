/* The vocabulary: pieces in one block of memory, a hash from text to id, and a two-level table from single code
 * points to ids, which is where encoding starts.
 *
 * Does not know files, merges or special tokens. Equal pieces are kept (ids must stay what the file says); text finds
 * the first of them. Pieces need not be well-formed UTF-8: such a piece can be decoded and never be encoded to. */
#include "text/text_int.h"

#define SLOT_FREE UINT32_MAX
#define SLOT_ID(s) ((s) & (CT_MAX_VOCAB - 1))
#define SLOT_TAG(h) ((uint32_t)((h) >> 53) << 21)

/* Eight bytes a step; quality matters little, collisions are compared in full. */
static uint64_t hash_text(const char *s, size_t len) {
    uint64_t h = len * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t w;
    while (len >= 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
        s += 8, len -= 8;
    }
    w = 0;
    memcpy(&w, s, len);
    h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
    return (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Where the text is, or the free slot where it would go. */
static uint32_t find_slot(const ct_vocab *v, const char *s, size_t len, uint64_t h) {
    const uint32_t tag = SLOT_TAG(h);
    for (uint32_t i = (uint32_t)h & v->slot_mask;; i = (i + 1) & v->slot_mask) {
        const uint32_t e = v->slot[i];
        if (e == SLOT_FREE) return i;
        if ((e & ~(uint32_t)(CT_MAX_VOCAB - 1)) != tag) continue;
        size_t n;
        const char *p = ct_vocab_piece(v, (int32_t)SLOT_ID(e), &n);
        if (n == len && memcmp(p, s, len) == 0) return i;
    }
}

int32_t ct_vocab_find(const ct_vocab *v, const char *s, size_t len) {
    if (len == 0 || len > v->max_len) return -1;
    const uint32_t e = v->slot[find_slot(v, s, len, hash_text(s, len))];
    return e == SLOT_FREE ? -1 : (int32_t)SLOT_ID(e);
}

#if defined(__GNUC__)
#define PREFETCH(p) __builtin_prefetch(p)
#else
#define PREFETCH(p) ((void)(p))
#endif

void ct_vocab_find_many(const ct_vocab *v, const ct_str *q, size_t n, int32_t *id) {
    uint64_t h[CT_FIND_BATCH];
    uint32_t first[CT_FIND_BATCH];
    for (size_t i = 0; i < n; i++) {
        if (q[i].len == 0 || q[i].len > v->max_len) continue;
        h[i] = hash_text(q[i].s, q[i].len);
        PREFETCH(&v->slot[h[i] & v->slot_mask]);
    }
    /* Most texts are found in their first slot, or not at all: fetch that piece's offset and bytes ahead. */
    for (size_t i = 0; i < n; i++) {
        if (q[i].len == 0 || q[i].len > v->max_len) continue;
        first[i] = v->slot[h[i] & v->slot_mask];
        if (first[i] != SLOT_FREE) PREFETCH(&v->off[SLOT_ID(first[i])]);
    }
    for (size_t i = 0; i < n; i++) {
        if (q[i].len == 0 || q[i].len > v->max_len) continue;
        if (first[i] != SLOT_FREE) PREFETCH(v->blob + v->off[SLOT_ID(first[i])]);
    }
    for (size_t i = 0; i < n; i++) {
        id[i] = -1;
        if (q[i].len == 0 || q[i].len > v->max_len) continue;
        const uint32_t e = v->slot[find_slot(v, q[i].s, q[i].len, h[i])];
        if (e != SLOT_FREE) id[i] = (int32_t)SLOT_ID(e);
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int ct_piece_byte(const char *s, size_t len) {
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    const int hi = hex_digit(s[3]), lo = hex_digit(s[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/* The code point a piece consists of, or -1. */
static int32_t single_cp(const char *s, size_t len) {
    uint32_t cp;
    int ok;
    if (len == 0 || len > 4) return -1;
    const int used = ct_utf8_decode((const uint8_t *)s, len, &cp, &ok);
    return ok && (size_t)used == len ? (int32_t)cp : -1;
}

static bool copy_pieces(ct_vocab *v, const ct_str *piece, size_t n, size_t total) {
    v->blob = ct_alloc(total);
    v->off = ct_alloc_array(n + 1, sizeof *v->off);
    if (!v->blob || !v->off) return false;
    v->bytes += total + (n + 1) * sizeof *v->off;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        v->off[i] = (uint32_t)at;
        if (piece[i].len) memcpy(v->blob + at, piece[i].s, piece[i].len);
        at += piece[i].len + 1;
    }
    v->off[n] = (uint32_t)at;
    return true;
}

static bool hash_pieces(ct_vocab *v) {
    size_t n_slot = 16; /* filled to two thirds at most */
    while (n_slot < (size_t)v->n + (size_t)v->n / 2) n_slot *= 2;
    v->slot = ct_alloc_array(n_slot, sizeof *v->slot);
    if (!v->slot) return false;
    v->bytes += n_slot * sizeof *v->slot;
    v->slot_mask = (uint32_t)(n_slot - 1);
    memset(v->slot, 0xff, n_slot * sizeof *v->slot);
    for (int32_t id = 0; id < v->n; id++) {
        size_t len;
        const char *s = ct_vocab_piece(v, id, &len);
        if (len == 0) continue;
        const uint64_t h = hash_text(s, len);
        const uint32_t at = find_slot(v, s, len, h);
        /* Tag 0x7ff with the highest id would read as free; that id is never given out (see CT_MAX_VOCAB check). */
        if (v->slot[at] == SLOT_FREE)
            v->slot[at] = SLOT_TAG(h) | (uint32_t)id;
        else
            v->repeated = true;
    }
    return true;
}

static bool index_cps(ct_vocab *v) {
    v->cp_page = ct_alloc_array(0x1100, sizeof *v->cp_page);
    if (!v->cp_page) return false;
    uint16_t n_page = 0;
    for (int32_t id = 0; id < v->n; id++) {
        size_t len;
        const char *s = ct_vocab_piece(v, id, &len);
        const int32_t cp = single_cp(s, len);
        if (cp >= 0 && !v->cp_page[cp >> 8]) v->cp_page[cp >> 8] = ++n_page;
    }
    const size_t n_id = (size_t)n_page * 256;
    v->cp_id = ct_alloc_array(n_id, sizeof *v->cp_id);
    if (!v->cp_id) return false;
    v->bytes += 0x1100 * sizeof *v->cp_page + n_id * sizeof *v->cp_id;
    for (size_t i = 0; i < n_id; i++) v->cp_id[i] = -1;
    for (int32_t id = 0; id < v->n; id++) {
        size_t len;
        const char *s = ct_vocab_piece(v, id, &len);
        const int32_t cp = single_cp(s, len);
        if (cp < 0) continue;
        int32_t *at = &v->cp_id[((size_t)v->cp_page[cp >> 8] - 1) * 256 + (size_t)(cp & 255)];
        if (*at < 0) *at = id;
    }
    return true;
}

int ct_vocab_build(ct_vocab *v, const ct_str *piece, const uint8_t *kind, size_t n, carat_error *err) {
    memset(v, 0, sizeof *v);
    if (n == 0) return CT_FAIL(err, CARAT_EFORMAT, "tokenizer: the vocabulary is empty");
    if (n >= CT_MAX_VOCAB)
        return CT_FAIL(err, CARAT_EUNSUPPORTED, "tokenizer: %zu tokens, at most %zu are supported", n,
                       CT_MAX_VOCAB - 1);
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (piece[i].len > v->max_len) v->max_len = piece[i].len;
        if (piece[i].len >= UINT32_MAX - total - 1)
            return CT_FAIL(err, CARAT_EFORMAT, "tokenizer: the pieces together exceed 4 GiB");
        total += piece[i].len + 1;
    }
    v->n = (int32_t)n;
    v->kind = ct_alloc(n);
    if (!v->kind || !copy_pieces(v, piece, n, total) || !hash_pieces(v) || !index_cps(v))
        return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: no memory for a vocabulary of %zu tokens", n);
    v->bytes += n;
    memcpy(v->kind, kind, n);
    for (int b = 0; b < 256; b++) {
        static const char hex[] = "0123456789ABCDEF"; /* as Hugging Face spells them when encoding */
        const char name[6] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
        v->byte_id[b] = ct_vocab_find(v, name, sizeof name);
    }
    return 0;
}

void ct_vocab_free(ct_vocab *v) {
    ct_free(v->blob);
    ct_free(v->off);
    ct_free(v->kind);
    ct_free(v->slot);
    ct_free(v->cp_page);
    ct_free(v->cp_id);
    memset(v, 0, sizeof *v);
}
