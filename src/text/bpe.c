/* Byte-pair merging of one stretch of text, exactly: the lowest rank first, the leftmost of equals.
 *
 * Symbols start as single characters; one that is no piece becomes its bytes (<0xXX>), or the unknown token.
 * Short stretches (nearly all) scan for the lowest rank in arrays on the stack. Long ones use a heap over a linked
 * list, so a megabyte of one letter takes n log n. Stale heap entries are recognised by their rank: a position only
 * ever grows, so it never shows the same pair twice. */
#include "text/text_int.h"

#define SHORT_BYTES 48
#define SHORT_SYMBOLS (SHORT_BYTES * 3) /* a ' ' may become the three bytes of META */
#define NONE UINT32_MAX

bool ct_ids_push(ct_ids *ids, const int32_t *id, size_t n) {
    if (n > SIZE_MAX - ids->n) return false;
    if (ids->n + n > ids->cap && !ct_grow((void **)&ids->id, &ids->cap, ids->n + n, sizeof *ids->id)) return false;
    if (n) memcpy(ids->id + ids->n, id, n * sizeof *id);
    ids->n += n;
    return true;
}

/* Ids of the bytes of cp into out; 0 when a byte has none. */
static int byte_ids(const ct_tokenizer *t, uint32_t cp, int32_t out[4]) {
    uint8_t utf8[4];
    const int n = ct_utf8_encode(cp, utf8);
    if (!t->byte_fallback) return 0;
    for (int i = 0; i < n; i++) {
        out[i] = t->v.byte_id[utf8[i]];
        if (out[i] < 0) return 0;
    }
    return n;
}

/* Symbols of s[0,n) into id, which has room for 3n; returns their number. */
static size_t split_symbols(const ct_tokenizer *t, const uint8_t *s, size_t n, int32_t *id) {
    size_t n_id = 0;
    bool unk = false; /* an unknown token waits: following ones fuse with it */
    for (const uint8_t *p = s, *end = s + n; p < end;) {
        uint32_t cp = ct_utf8_next(&p);
        if (cp == ' ') cp = CT_META;
        const int32_t one = ct_vocab_cp(&t->v, cp);
        int32_t bytes[4];
        int n_byte;
        if (one >= 0) {
            if (unk) id[n_id++] = t->unk;
            unk = false;
            id[n_id++] = one;
        } else if ((n_byte = byte_ids(t, cp, bytes)) > 0) {
            /* Hugging Face lets bytes overtake a waiting unknown token; so do we. */
            for (int i = 0; i < n_byte; i++) id[n_id++] = bytes[i];
        } else if (t->unk >= 0) {
            if (unk && !t->fuse_unk) id[n_id++] = t->unk;
            unk = true;
        }
    }
    if (unk) id[n_id++] = t->unk;
    return n_id;
}

static size_t merge_short(const ct_merges *m, int32_t *id, size_t n) {
    uint32_t rank[SHORT_SYMBOLS];
    for (size_t i = 0; i + 1 < n; i++) rank[i] = ct_merges_rank(m, id[i], id[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (rank[i] < rank[best]) best = i;
        }
        if (rank[best] == CT_NO_RANK) break;
        id[best] = m->result[rank[best]];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            rank[i - 1] = rank[i];
        }
        if (best + 1 < n) rank[best] = ct_merges_rank(m, id[best], id[best + 1]);
        if (best > 0) rank[best - 1] = ct_merges_rank(m, id[best - 1], id[best]);
    }
    return n;
}

/* ---- long stretches: a 4-ary min-heap of rank << 32 | position ---- */

static void sift_down(uint64_t *h, size_t n, size_t at) {
    const uint64_t x = h[at];
    for (;;) {
        const size_t first = at * 4 + 1;
        if (first >= n) break;
        const size_t last = first + 4 < n ? first + 4 : n;
        size_t least = first;
        for (size_t c = first + 1; c < last; c++) {
            if (h[c] < h[least]) least = c;
        }
        if (h[least] >= x) break;
        h[at] = h[least];
        at = least;
    }
    h[at] = x;
}

static void sift_up(uint64_t *h, size_t at) {
    const uint64_t x = h[at];
    while (at > 0 && h[(at - 1) / 4] > x) {
        h[at] = h[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    h[at] = x;
}

/* Rank of the pair that begins at `at`, remembered and put on the heap when it can merge. */
static size_t rate(ct_bpe *b, uint32_t at, size_t n_heap) {
    const uint32_t right = b->next[at];
    const uint32_t rank = right == NONE ? CT_NO_RANK : ct_merges_rank(&b->t->m, b->id[at], b->id[right]);
    b->rank[at] = rank;
    if (rank != CT_NO_RANK) b->heap[n_heap++] = (uint64_t)rank << 32 | at;
    return n_heap;
}

static void merge_long(ct_bpe *b, size_t n) {
    size_t n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        b->prev[i] = i == 0 ? NONE : (uint32_t)i - 1;
        b->next[i] = i + 1 == n ? NONE : (uint32_t)i + 1;
    }
    for (size_t i = 0; i < n; i++) n_heap = rate(b, (uint32_t)i, n_heap);
    for (size_t i = n_heap / 4 + 1; i-- > 0;) {
        if (i < n_heap) sift_down(b->heap, n_heap, i);
    }
    while (n_heap > 0) {
        const uint32_t rank = (uint32_t)(b->heap[0] >> 32), at = (uint32_t)b->heap[0];
        b->heap[0] = b->heap[--n_heap];
        if (n_heap) sift_down(b->heap, n_heap, 0);
        if (b->rank[at] != rank) continue;
        const uint32_t gone = b->next[at], right = b->next[gone], left = b->prev[at];
        b->id[at] = b->t->m.result[rank];
        b->rank[gone] = CT_NO_RANK;
        b->next[at] = right;
        if (right != NONE) b->prev[right] = at;
        /* Every merge takes one entry off and puts at most two on: 2n are room enough. */
        size_t n_new = rate(b, at, n_heap);
        if (n_new > n_heap) sift_up(b->heap, n_heap);
        n_heap = n_new;
        if (left == NONE) continue;
        n_new = rate(b, left, n_heap);
        if (n_new > n_heap) sift_up(b->heap, n_heap);
        n_heap = n_new;
    }
}

static bool reserve(ct_bpe *b, size_t n) {
    return ct_grow((void **)&b->rank, &b->cap_rank, n, sizeof *b->rank) &&
           ct_grow((void **)&b->prev, &b->cap_prev, n, sizeof *b->prev) &&
           ct_grow((void **)&b->next, &b->cap_next, n, sizeof *b->next) &&
           ct_grow((void **)&b->heap, &b->cap_heap, 2 * n, sizeof *b->heap);
}

static bool run_long(ct_bpe *b, const uint8_t *s, size_t n) {
    /* META becomes three symbols only where the vocabulary lacks it. */
    const size_t room = ct_vocab_cp(&b->t->v, CT_META) >= 0 ? n : 3 * n;
    if (!ct_grow((void **)&b->id, &b->cap_id, room, sizeof *b->id)) return false;
    const size_t n_sym = split_symbols(b->t, s, n, b->id);
    if (n_sym >= NONE || !reserve(b, n_sym)) return false;
    if (n_sym == 0) return true;
    merge_long(b, n_sym);
    size_t n_id = 0;
    for (uint32_t at = 0; at != NONE; at = b->next[at]) b->id[n_id++] = b->id[at];
    return ct_ids_push(b->out, b->id, n_id);
}

bool ct_bpe_run(ct_bpe *b, const uint8_t *s, size_t n) {
    if (n > SHORT_BYTES) return run_long(b, s, n);
    int32_t id[SHORT_SYMBOLS];
    const size_t n_sym = split_symbols(b->t, s, n, id);
    return ct_ids_push(b->out, id, merge_short(&b->t->m, id, n_sym));
}

void ct_bpe_free(ct_bpe *b) {
    ct_free(b->id);
    ct_free(b->rank);
    ct_free(b->prev);
    ct_free(b->next);
    ct_free(b->heap);
    memset(b, 0, sizeof *b);
}
