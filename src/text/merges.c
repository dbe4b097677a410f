/* The merge table, and the set of neighbouring code points that merges can cross.
 *
 * BPE without pre-tokenization (Gemma has none) runs over the whole text. But merges are local: two neighbours are
 * only ever joined by a merge whose result contains the code points on both sides of the border next to each other.
 * So where the pair (last code point on the left, first on the right) occurs in no merge result, the text can be cut
 * and the parts encoded by themselves with the same outcome. The pairs are kept exactly for ASCII (META counting as
 * ' ') and in a Bloom filter otherwise: a false "may join" only makes a part longer.
 * Two things break the argument, and `cut` is cleared for them: merges that take a <0xXX> piece or the unknown token
 * as an operand (their text is not what stands in the input), and unknown characters (a run of them is fused across
 * whatever is in between). Neither occurs in a real Gemma vocabulary. */
#include "text/text_int.h"

/* Merges that wait to be looked up together. */
#define BATCH (CT_FIND_BATCH / 2)
struct ct_merge_batch {
    size_t n;
    ct_str part[2 * BATCH]; /* left, right, left, ... */
    char *joined;           /* [BATCH, max_len] */
};

int ct_merges_begin(ct_merges *m, const ct_vocab *v, size_t n_max, carat_error *err) {
    memset(m, 0, sizeof *m);
    if (n_max > CT_MAX_MERGES)
        return CT_FAIL(err, CARAT_EUNSUPPORTED, "tokenizer: %zu merges, at most %zu are supported", n_max,
                       CT_MAX_MERGES);
    m->n_max = (uint32_t)n_max;
    m->cap = (uint32_t)(n_max + n_max / 2 + 16);
    m->cut = true;
    m->entry = ct_alloc_array(m->cap, sizeof *m->entry);
    m->result = ct_alloc_array(n_max + 1, sizeof *m->result);
    m->batch = ct_alloc(sizeof *m->batch);
    if (m->batch) m->batch->joined = ct_alloc_array(BATCH, v->max_len);
    if (!m->entry || !m->result || !m->batch || !m->batch->joined)
        return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: no memory for %zu merges", n_max);
    m->bytes = m->cap * sizeof *m->entry + (n_max + 1) * sizeof *m->result;
    memset(m->entry, 0xff, m->cap * sizeof *m->entry);
    return 0;
}

static void free_batch(ct_merges *m) {
    if (m->batch) ct_free(m->batch->joined);
    ct_free(m->batch);
    m->batch = NULL;
}

void ct_merges_add_ids(ct_merges *m, int32_t l, int32_t r, int32_t result) {
    const uint32_t rank = m->n++;
    m->result[rank] = result;
    if (l < 0 || r < 0 || result < 0) return;
    const uint64_t key = (uint64_t)l << 21 | (uint64_t)r;
    uint32_t i = ct_merges_slot(key, m->cap);
    while (m->entry[i] != UINT64_MAX && m->entry[i] >> 22 != key) i = i + 1 == m->cap ? 0 : i + 1;
    m->entry[i] = key << 22 | rank; /* a merge listed twice has its last rank, as in Hugging Face */
}

static void add_batch(ct_merges *m, const ct_vocab *v) {
    struct ct_merge_batch *b = m->batch;
    ct_str whole[BATCH] = {{0}};
    int32_t part_id[2 * BATCH], whole_id[BATCH];
    for (size_t i = 0; i < b->n; i++) {
        const ct_str l = b->part[2 * i], r = b->part[2 * i + 1];
        if (l.len > v->max_len || r.len > v->max_len - l.len) continue; /* longer than any piece */
        char *joined = b->joined + i * v->max_len;
        memcpy(joined, l.s, l.len);
        memcpy(joined + l.len, r.s, r.len);
        whole[i] = (ct_str){joined, l.len + r.len};
    }
    ct_vocab_find_many(v, whole, b->n, whole_id);
    ct_vocab_find_many(v, b->part, 2 * b->n, part_id);
    for (size_t i = 0; i < b->n; i++) ct_merges_add_ids(m, part_id[2 * i], part_id[2 * i + 1], whole_id[i]);
    b->n = 0;
}

void ct_merges_add(ct_merges *m, const ct_vocab *v, const char *l, size_t n_l, const char *r, size_t n_r) {
    struct ct_merge_batch *b = m->batch;
    b->part[2 * b->n] = (ct_str){l, n_l};
    b->part[2 * b->n + 1] = (ct_str){r, n_r};
    if (++b->n == BATCH) add_batch(m, v);
}

static void add_pair(ct_merges *m, uint32_t a, uint32_t b) {
    if (a == CT_META) a = ' ';
    if (b == CT_META) b = ' ';
    if ((a | b) < 128) {
        m->ascii_pair[a][b >> 5] |= UINT32_C(1) << (b & 31);
        return;
    }
    const uint64_t h = ct_pair_hash(a, b);
    m->bloom[h >> 20 & m->bloom_mask] |= UINT64_C(1) << (h >> 58) | UINT64_C(1) << (h >> 52 & 63);
}

static void add_pairs_of(ct_merges *m, const char *s, size_t len) {
    uint32_t last = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int ok;
        const size_t from = at;
        at += (size_t)ct_utf8_decode((const uint8_t *)s + at, len - at, &cp, &ok);
        if (from > 0) add_pair(m, last, cp);
        last = cp;
    }
}

int ct_merges_finish(ct_merges *m, const ct_vocab *v, carat_error *err) {
    enum { RESULT = 1, IS_BYTE = 2 };
    add_batch(m, v);
    free_batch(m);
    uint8_t *seen = ct_alloc((size_t)v->n);
    size_t n_word = 64; /* 8 bits of filter for every piece: few false hits at 256 KiB for Gemma */
    while (n_word * 8 < (size_t)v->n) n_word *= 2;
    m->bloom = ct_alloc_array(n_word, sizeof *m->bloom);
    m->bloom_mask = (uint32_t)(n_word - 1);
    if (!seen || !m->bloom) {
        ct_free(seen);
        return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: no memory for the pairs of %u merges", m->n);
    }
    m->bytes += n_word * sizeof *m->bloom;
    for (int b = 0; b < 256; b++) {
        if (v->byte_id[b] >= 0) seen[v->byte_id[b]] = IS_BYTE;
    }
    for (uint32_t i = 0; i < m->cap; i++) {
        const uint64_t e = m->entry[i];
        if (e == UINT64_MAX) continue;
        if ((seen[e >> 43] | seen[e >> 22 & (CT_MAX_VOCAB - 1)]) & IS_BYTE) m->cut = false;
        seen[m->result[e & CT_NO_RANK]] |= RESULT;
    }
    for (int32_t id = 0; id < v->n; id++) {
        size_t len;
        const char *s = ct_vocab_piece(v, id, &len);
        if (seen[id] & RESULT) add_pairs_of(m, s, len);
    }
    ct_free(seen);
    return 0;
}

void ct_merges_free(ct_merges *m) {
    ct_free(m->entry);
    ct_free(m->result);
    free_batch(m);
    ct_free(m->bloom);
    memset(m, 0, sizeof *m);
}
