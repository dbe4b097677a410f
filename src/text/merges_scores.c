/* Merges for vocabularies that come with SentencePiece scores instead (GGUF model "llama", Gemma 3 and before).
 *
 * Every way to cut a piece into two pieces is a merge. Order: score of the whole, highest first; among equals longer
 * left part first, then longer right part (in characters), then lower id. This is the order of the tokenizer.json that
 * Hugging Face derives from the same SentencePiece model, so ids agree with it. */
#include <stdlib.h>

#include "text/text_int.h"

/* Longer pieces are not cut: Gemma's longest has 93 bytes, and a hostile file must not cost quadratic time. */
#define MAX_CUT_BYTES 1024

typedef struct {
    int32_t l, r, whole;
    uint16_t len_l, len_r; /* code points */
} cut;

typedef struct {
    const ct_vocab *v;
    cut *c;
    size_t n, cap;
    cut wait[CT_FIND_BATCH]; /* cuts whose parts are still to be looked up, and their texts */
    ct_str l[CT_FIND_BATCH], r[CT_FIND_BATCH];
    size_t n_wait;
} cut_list;

/* Ascending order of the result is descending order of the score; ids break ties. */
static uint64_t sort_key(float score, int32_t id) {
    uint32_t u;
    score += 0.0f; /* -0 is 0 */
    memcpy(&u, &score, sizeof u);
    u = u & 0x80000000u ? ~u : u | 0x80000000u;
    return (uint64_t)~u << 32 | (uint32_t)id;
}

static int by_key(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int by_lengths(const void *a, const void *b) {
    const cut *x = a, *y = b;
    if (x->len_l != y->len_l) return x->len_l > y->len_l ? -1 : 1;
    if (x->len_r != y->len_r) return x->len_r > y->len_r ? -1 : 1;
    return x->whole < y->whole ? -1 : x->whole > y->whole;
}

static size_t count_cps(const char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((uint8_t)s[i] & 0xc0) != 0x80;
    return n;
}

/* Keep those of the waiting cuts whose two parts are pieces, in order. */
static bool flush(cut_list *list) {
    int32_t l[CT_FIND_BATCH], r[CT_FIND_BATCH];
    ct_vocab_find_many(list->v, list->l, list->n_wait, l);
    for (size_t i = 0; i < list->n_wait; i++) {
        if (l[i] < 0) list->r[i].len = 0;
    }
    ct_vocab_find_many(list->v, list->r, list->n_wait, r);
    if (!ct_grow((void **)&list->c, &list->cap, list->n + list->n_wait, sizeof *list->c)) return false;
    for (size_t i = 0; i < list->n_wait; i++) {
        if (r[i] < 0) continue;
        cut *c = &list->c[list->n++];
        *c = list->wait[i];
        c->l = l[i];
        c->r = r[i];
    }
    list->n_wait = 0;
    return true;
}

/* All cuts of one piece, longest left part first. */
static bool cut_piece(cut_list *list, int32_t whole) {
    size_t len;
    const char *s = ct_vocab_piece(list->v, whole, &len);
    if (len > MAX_CUT_BYTES) return true;
    const size_t n_cp = count_cps(s, len);
    size_t len_r = 0;
    for (size_t at = len; at-- > 1;) {
        if (((uint8_t)s[at] & 0xc0) == 0x80) continue;
        len_r++;
        const size_t i = list->n_wait++;
        list->wait[i] = (cut){.whole = whole, .len_l = (uint16_t)(n_cp - len_r), .len_r = (uint16_t)len_r};
        list->l[i] = (ct_str){s, at};
        list->r[i] = (ct_str){s + at, len - at};
        if (list->n_wait == CT_FIND_BATCH && !flush(list)) return false;
    }
    return true;
}

static bool cut_all(cut_list *list, const uint64_t *order) {
    const ct_vocab *v = list->v;
    const size_t n = (size_t)v->n;
    for (size_t i = 0; i < n;) {
        const bool alone = i + 1 == n || order[i + 1] >> 32 != order[i] >> 32;
        if (!alone && !flush(list)) return false; /* a group of equal scores is sorted by itself */
        const size_t first = list->n;
        size_t end = i;
        for (; end < n && order[end] >> 32 == order[i] >> 32; end++) {
            const int32_t id = (int32_t)(uint32_t)order[end];
            size_t len;
            const char *s = ct_vocab_piece(v, id, &len);
            /* Of equal pieces only the first exists for text. */
            if (v->repeated && ct_vocab_find(v, s, len) != id) continue;
            if (!cut_piece(list, id)) return false;
        }
        if (!alone && !flush(list)) return false;
        if (!alone && list->n > first) {
            qsort(list->c + first, list->n - first, sizeof *list->c, by_lengths);
        }
        i = end;
    }
    return flush(list);
}

int ct_merges_from_scores(ct_merges *m, const ct_vocab *v, const float *score, carat_error *err) {
    const size_t n = (size_t)v->n;
    cut_list list = {.v = v};
    int rc = 0;
    bool sorted = true;
    uint64_t *order = ct_alloc_array(n, sizeof *order);
    if (!order) goto nomem;
    for (size_t i = 0; i < n; i++) {
        order[i] = sort_key(score[i], (int32_t)i);
        sorted = sorted && (i == 0 || order[i - 1] < order[i]);
    }
    if (!sorted) qsort(order, n, sizeof *order, by_key);
    if (!cut_all(&list, order)) goto nomem;
    rc = ct_merges_begin(m, v, list.n, err);
    for (size_t i = 0; rc == 0 && i < list.n; i++) ct_merges_add_ids(m, list.c[i].l, list.c[i].r, list.c[i].whole);
    if (rc == 0) rc = ct_merges_finish(m, v, err);
    goto done;
nomem:
    rc = CT_FAIL(err, CARAT_ENOMEM, "tokenizer: no memory to derive merges from the scores of %zu tokens", n);
done:
    ct_free(order);
    ct_free(list.c);
    return rc;
}
