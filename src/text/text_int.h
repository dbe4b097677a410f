/* Private parts of the text room: vocabulary, merge table, added-token trie, and how they make a tokenizer.
 *
 * A tokenizer is built in three steps by vocab_gguf.c or vocab_hf.c: ct_vocab_build (all pieces), ct_merges_* (ranks
 * in order), ct_tokenizer_finish (added tokens, special ids, code-point pairs). After that nothing changes.
 * Inside the room U+2581 (the visible space of SentencePiece) is called META. Texts being encoded are not rewritten:
 * a raw ' ' is read as META where it stands. */
#ifndef CT_TEXT_INT_H
#define CT_TEXT_INT_H

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

#define CT_META 0x2581u
#define CT_META_UTF8 "\xe2\x96\x81"

/* Ids and ranks are packed into one 64-bit merge entry: 21 + 21 + 22 bits. */
#define CT_MAX_VOCAB ((size_t)1 << 21)
#define CT_MAX_MERGES (((size_t)1 << 22) - 1)
#define CT_NO_RANK ((uint32_t)CT_MAX_MERGES)

typedef enum {
    CT_TOK_NORMAL,
    CT_TOK_CONTROL, /* recognised only where the caller trusts the text; hidden when decoding */
    CT_TOK_USER,    /* added token, always recognised, visible */
    CT_TOK_BYTE,    /* <0xXX> */
    CT_TOK_HOLE     /* an id without a piece */
} ct_tok_kind;

/* ---- vocabulary: id -> piece and back (vocab.c) ---- */

typedef struct {
    int32_t n;
    size_t max_len; /* bytes of the longest piece */
    char *blob;     /* pieces one after the other, each with a final NUL */
    uint32_t *off;  /* [n + 1] */
    uint8_t *kind;  /* [n] ct_tok_kind */
    uint32_t *slot; /* text -> id, open addressing: 11 bits of hash, 21 bits of id; all ones = free */
    uint32_t slot_mask;
    bool repeated; /* some piece occurs twice */
    int32_t byte_id[256];
    uint16_t *cp_page; /* [0x1100] code point / 256 -> 1 + page */
    int32_t *cp_id;    /* [pages, 256] */
    size_t bytes;
} ct_vocab;

/* Copies piece[n] and kind[n]. Of equal pieces the first id is the one text finds. */
int ct_vocab_build(ct_vocab *v, const ct_str *piece, const uint8_t *kind, size_t n, carat_error *err);
void ct_vocab_free(ct_vocab *v);
int32_t ct_vocab_find(const ct_vocab *v, const char *s, size_t len);
/* id[i] = ct_vocab_find of q[i], for n <= CT_FIND_BATCH: several times faster than one by one, because the lookups
 * wait for memory together and not in turn. An empty q[i] gives -1. */
#define CT_FIND_BATCH 64
void ct_vocab_find_many(const ct_vocab *v, const ct_str *q, size_t n, int32_t *id);
/* Value of a piece that reads <0xXX>, else -1. */
int ct_piece_byte(const char *s, size_t len);

static inline const char *ct_vocab_piece(const ct_vocab *v, int32_t id, size_t *len) {
    *len = v->off[id + 1] - v->off[id] - 1;
    return v->blob + v->off[id];
}

/* Id of the piece that is exactly this code point, -1 when there is none. */
static inline int32_t ct_vocab_cp(const ct_vocab *v, uint32_t cp) {
    const uint16_t page = v->cp_page[cp >> 8];
    return page ? v->cp_id[((size_t)page - 1) * 256 + (cp & 255)] : -1;
}

/* ---- merges: (left id, right id) -> rank, rank -> result id (merges.c) ---- */

typedef struct {
    uint64_t *entry; /* [cap] left << 43 | right << 22 | rank; all ones = free */
    uint32_t cap;
    uint32_t n; /* ranks given out, skipped ones included */
    uint32_t n_max;
    int32_t *result;              /* [n_max] by rank */
    struct ct_merge_batch *batch; /* only while building */
    /* Pairs of neighbouring code points that a merge can cross, see merges.c. */
    uint32_t ascii_pair[128][4];
    uint64_t *bloom;
    uint32_t bloom_mask;
    bool cut; /* false: text must not be cut at all (merges of byte pieces, or unknown characters possible) */
    size_t bytes;
} ct_merges;

int ct_merges_begin(ct_merges *m, const ct_vocab *v, size_t n_max, carat_error *err);
/* Rank = order of the calls. A merge whose parts or result are not pieces takes its rank and does nothing.
 * Keeps l and r until finish. */
void ct_merges_add(ct_merges *m, const ct_vocab *v, const char *l, size_t n_l, const char *r, size_t n_r);
void ct_merges_add_ids(ct_merges *m, int32_t l, int32_t r, int32_t result);
int ct_merges_finish(ct_merges *m, const ct_vocab *v, carat_error *err);
/* begin .. finish from SentencePiece scores, score: [v->n] (merges_scores.c). */
int ct_merges_from_scores(ct_merges *m, const ct_vocab *v, const float *score, carat_error *err);
void ct_merges_free(ct_merges *m);

static inline uint32_t ct_merges_slot(uint64_t key, uint32_t cap) {
    const uint32_t h = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
    return (uint32_t)(((uint64_t)h * cap) >> 32);
}

/* CT_NO_RANK when the two do not merge. */
static inline uint32_t ct_merges_rank(const ct_merges *m, int32_t l, int32_t r) {
    const uint64_t key = (uint64_t)l << 21 | (uint64_t)r;
    for (uint32_t i = ct_merges_slot(key, m->cap);; i = i + 1 == m->cap ? 0 : i + 1) {
        const uint64_t e = m->entry[i];
        if (e >> 22 == key) return (uint32_t)e & CT_NO_RANK;
        if (e == UINT64_MAX) return CT_NO_RANK;
    }
}

static inline uint64_t ct_pair_hash(uint32_t a, uint32_t b) {
    return (((uint64_t)a << 21 | b) + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* May a merge ever cross from code point a to its right neighbour b? META is passed as ' '. May err towards true. */
static inline bool ct_merges_may_join(const ct_merges *m, uint32_t a, uint32_t b) {
    if ((a | b) < 128) return (m->ascii_pair[a][b >> 5] >> (b & 31)) & 1;
    const uint64_t h = ct_pair_hash(a, b);
    const uint64_t bits = UINT64_C(1) << (h >> 58) | UINT64_C(1) << (h >> 52 & 63);
    return (m->bloom[h >> 20 & m->bloom_mask] & bits) == bits;
}

/* ---- added tokens: leftmost, then longest (added.c) ---- */

typedef struct {
    uint32_t child, next; /* 0 = none: the root is nobody's child */
    int32_t id;           /* token that ends here, -1 */
    uint8_t byte;
} ct_trie_node;

typedef struct {
    ct_trie_node *node;
    size_t n, cap;
    uint32_t first[256]; /* root's children */
    bool meta;           /* texts are matched as if ' ' were META (tokens marked "normalized") */
} ct_trie;

/* Insert pieces id[n] of v; t->meta is set before. */
int ct_trie_build(ct_trie *t, const ct_vocab *v, const int32_t *id, size_t n, carat_error *err);
void ct_trie_free(ct_trie *t);
/* First token in s[from, n): its id, with [*start, *end); -1 when there is none. */
int32_t ct_trie_next(const ct_trie *t, const uint8_t *s, size_t from, size_t n, size_t *start, size_t *end);

/* ---- BPE of one stretch of text (bpe.c) ---- */

typedef struct {
    const ct_tokenizer *t;
    ct_ids *out;
    int32_t *id; /* work arrays of long stretches, grown on demand */
    uint32_t *rank, *prev, *next;
    uint64_t *heap;
    size_t cap_id, cap_rank, cap_prev, cap_next, cap_heap;
} ct_bpe;

/* Append the ids of s[0,n), well-formed UTF-8. False: no memory. */
bool ct_bpe_run(ct_bpe *b, const uint8_t *s, size_t n);
void ct_bpe_free(ct_bpe *b);

bool ct_ids_push(ct_ids *ids, const int32_t *id, size_t n);

/* ---- the tokenizer (tokenizer.c) ---- */

#define CT_MAX_STOP 32

struct ct_tokenizer {
    ct_vocab v;
    ct_merges m;
    ct_trie raw, normal; /* added tokens matched in the text as it is, and in the text after ' ' -> META */
    int32_t bos, unk;
    int32_t stop[CT_MAX_STOP];
    int n_stop;
    bool byte_fallback, fuse_unk, ignore_merges;
};

/* What the builders know beyond vocabulary and merges. */
typedef struct {
    int32_t bos, unk; /* -1 = look for the usual text */
    int32_t eos[CT_MAX_STOP];
    int n_eos;
    const uint8_t *normalized; /* [n] added tokens matched after normalisation; may be NULL */
} ct_tok_facts;

/* Kind by text for what every Gemma file means the same by; `kind` is what the file said. */
ct_tok_kind ct_tok_kind_known(const char *s, size_t len, ct_tok_kind kind, bool has_eos);
void ct_tok_facts_init(ct_tok_facts *f);
/* Remember an end-of-text id; ids outside the vocabulary are the caller's error to report. */
void ct_tok_facts_add_eos(ct_tok_facts *f, int64_t id);
int ct_tokenizer_finish(ct_tokenizer *t, const ct_tok_facts *f, carat_error *err);

/* Decode one code point of text known to be well-formed. */
static inline uint32_t ct_utf8_next(const uint8_t **p) {
    const uint8_t *s = *p;
    if (s[0] < 0x80) {
        *p = s + 1;
        return s[0];
    }
    if (s[0] < 0xe0) {
        *p = s + 2;
        return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
    }
    if (s[0] < 0xf0) {
        *p = s + 3;
        return (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    }
    *p = s + 4;
    return (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

#endif
