/* Text to ids: repair ill-formed UTF-8, take out added tokens, cut the rest where no merge can cross (merges.c), and
 * merge each part, remembering the ids of parts already seen.
 *
 * The memory of parts lives for one call: a direct-mapped table whose entries point at an earlier place in the text
 * and at the ids that place got in the output. Ordinary text repeats its words, so most parts are copied. */
#include "text/text_int.h"

#define MAX_TEXT ((size_t)1 << 30) /* offsets are 32 bits, and repair may triple the length */
#define CACHED_BYTES 64
#define MIN_CACHE 256
#define MAX_CACHE 32768

typedef struct {
    size_t out_at;
    uint32_t text_at;
    uint16_t len; /* 0 = free */
    uint16_t n_id;
} cached_part;

typedef struct {
    const ct_tokenizer *t;
    ct_ids *out;
    ct_bpe bpe;
    const uint8_t *text;
    cached_part *cache; /* NULL for short texts */
    uint32_t cache_shift;
} encoder;

void ct_ids_free(ct_ids *ids) {
    ct_free(ids->id);
    memset(ids, 0, sizeof *ids);
}

/* ---- UTF-8 ---- */

/* First ill-formed byte of s[from,n), or n. */
static size_t ill_formed_at(const uint8_t *s, size_t from, size_t n) {
    size_t at = from;
    while (at < n) {
        uint64_t w;
        if (n - at >= 8) {
            memcpy(&w, s + at, 8);
            if (!(w & UINT64_C(0x8080808080808080))) {
                at += 8;
                continue;
            }
        }
        uint32_t cp;
        int ok;
        const int len = ct_utf8_decode(s + at, n - at, &cp, &ok);
        if (!ok) return at;
        at += (size_t)len;
    }
    return n;
}

/* Copy of s[0,n) with U+FFFD for every maximal ill-formed part. Gives *out: ct_free. */
static bool repair_utf8(uint8_t **out, size_t *n_out, const uint8_t *s, size_t n) {
    uint8_t *d = ct_alloc(3 * n);
    if (!d) return false;
    size_t at = 0, w = 0;
    while (at < n) {
        const size_t bad = ill_formed_at(s, at, n);
        memcpy(d + w, s + at, bad - at);
        w += bad - at;
        at = bad;
        if (at == n) break;
        uint32_t cp;
        int ok;
        at += (size_t)ct_utf8_decode(s + at, n - at, &cp, &ok);
        memcpy(d + w, "\xef\xbf\xbd", 3);
        w += 3;
    }
    *out = d;
    *n_out = w;
    return true;
}

/* ---- one part ---- */

static uint64_t hash_part(const uint8_t *s, size_t n) {
    uint64_t h = n, w;
    while (n >= 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
        s += 8, n -= 8;
    }
    w = 0;
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        w = (uint64_t)a << 32 | b;
    } else if (n > 0) {
        w = (uint64_t)s[0] << 16 | (uint64_t)s[n / 2] << 8 | s[n - 1];
    }
    h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
    return (h ^ h >> 32) * UINT64_C(0xff51afd7ed558ccd);
}

static bool push_part(encoder *e, const uint8_t *s, size_t n) {
    if (n == 1) {
        const int32_t id = ct_vocab_cp(&e->t->v, s[0] == ' ' ? CT_META : s[0]);
        if (id >= 0) return ct_ids_push(e->out, &id, 1);
    }
    if (!e->cache || n > CACHED_BYTES) return ct_bpe_run(&e->bpe, s, n);
    cached_part *c = &e->cache[hash_part(s, n) >> e->cache_shift];
    if (c->len == n && memcmp(e->text + c->text_at, s, n) == 0) {
        ct_ids *out = e->out;
        if (c->n_id > out->cap - out->n && !ct_grow((void **)&out->id, &out->cap, out->n + c->n_id, sizeof *out->id))
            return false;
        for (size_t i = 0; i < c->n_id; i++) out->id[out->n + i] = out->id[c->out_at + i];
        out->n += c->n_id;
        return true;
    }
    const size_t out_at = e->out->n;
    if (!ct_bpe_run(&e->bpe, s, n)) return false;
    *c = (cached_part){.out_at = out_at,
                       .text_at = (uint32_t)(s - e->text),
                       .len = (uint16_t)n,
                       .n_id = (uint16_t)(e->out->n - out_at)};
    return true;
}

/* ---- one stretch between added tokens ---- */

/* The id of a stretch that is a piece as a whole, -2 when memory is exhausted. */
static int32_t find_whole(const ct_vocab *v, const uint8_t *s, size_t n) {
    if (n > v->max_len) return -1;
    char *norm = ct_alloc(3 * n);
    if (!norm) return -2;
    size_t w = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') {
            memcpy(norm + w, CT_META_UTF8, 3);
            w += 3;
        } else {
            norm[w++] = (char)s[i];
        }
    }
    const int32_t id = ct_vocab_find(v, norm, w);
    ct_free(norm);
    return id;
}

static uint32_t next_for_pair(const uint8_t **p) {
    const uint32_t cp = ct_utf8_next(p);
    return cp == CT_META ? ' ' : cp;
}

static bool push_plain(encoder *e, const uint8_t *s, size_t n) {
    if (n == 0) return true;
    const ct_merges *m = &e->t->m;
    if (e->t->ignore_merges) {
        const int32_t id = find_whole(&e->t->v, s, n);
        if (id == -2) return false;
        if (id >= 0) return ct_ids_push(e->out, &id, 1);
    }
    if (!m->cut) return ct_bpe_run(&e->bpe, s, n);
    const uint8_t *p = s, *end = s + n, *start = s;
    uint32_t a = next_for_pair(&p);
    while (p < end) {
        const uint8_t *border = p;
        const uint32_t b = next_for_pair(&p);
        if (!ct_merges_may_join(m, a, b)) {
            if (!push_part(e, start, (size_t)(border - start))) return false;
            start = border;
        }
        a = b;
    }
    return push_part(e, start, (size_t)(end - start));
}

/* ---- added tokens ---- */

/* Encode s[from, to) with the added tokens of `trie` taken out; what is between them goes to the next stage. */
static bool push_split(encoder *e, const ct_trie *trie, size_t from, size_t to, bool special) {
    size_t plain = from, at = from, start, end;
    int32_t id;
    while ((id = ct_trie_next(trie, e->text, at, to, &start, &end)) >= 0) {
        at = end;
        /* A control token in untrusted text is text; as in Hugging Face the search goes on behind it. */
        if (!special && e->t->v.kind[id] == CT_TOK_CONTROL) continue;
        if (trie->meta ? !push_plain(e, e->text + plain, start - plain)
                       : !push_split(e, &e->t->normal, plain, start, special))
            return false;
        if (!ct_ids_push(e->out, &id, 1)) return false;
        plain = end;
    }
    return trie->meta ? push_plain(e, e->text + plain, to - plain) : push_split(e, &e->t->normal, plain, to, special);
}

int ct_tokenizer_encode(const ct_tokenizer *t, const char *text, size_t len, bool special, ct_ids *out,
                        carat_error *err) {
    if (len > MAX_TEXT)
        return CT_FAIL(err, CARAT_EINVAL, "text of %zu bytes, at most %zu can be tokenized at once", len, MAX_TEXT);
    if (len == 0) return 0;
    const size_t n_before = out->n;
    uint8_t *repaired = NULL;
    size_t n = len;
    encoder e = {.t = t, .out = out, .bpe = {.t = t, .out = out}, .text = (const uint8_t *)text};
    bool ok = true;
    if (ill_formed_at(e.text, 0, len) < len) {
        ok = repair_utf8(&repaired, &n, e.text, len);
        e.text = repaired;
    }
    if (ok && n >= MIN_CACHE) {
        uint32_t bits = 8;
        while ((size_t)1 << bits < n / 8 && (size_t)1 << bits < MAX_CACHE) bits++;
        e.cache = ct_alloc_array((size_t)1 << bits, sizeof *e.cache);
        e.cache_shift = 64 - bits;
        ok = e.cache != NULL;
    }
    ok = ok && push_split(&e, &t->raw, 0, n, special);
    ct_free(e.cache);
    ct_bpe_free(&e.bpe);
    ct_free(repaired);
    if (ok) return 0;
    out->n = n_before;
    return CT_FAIL(err, CARAT_ENOMEM, "no memory to tokenize %zu bytes", len);
}
