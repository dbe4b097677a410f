/* Tokenizer from the tokenizer.ggml.* keys of a GGUF file. Models: "gemma4" (tokens, types, merges) and "llama"
 * (tokens, types, scores; merges where the file has them). Everything is copied, the file may be closed afterwards.
 *
 * What files get wrong, and what happens to it (REF gemma4-spec 4.5): types of control tokens are corrected by text;
 * pieces of spaces that the converter spelled with ' ' get their U+2581 back, or no merge would know them; the score
 * of user-defined tokens (converters write -1000) is taken as SentencePiece's own 0, which puts their merges first;
 * add_bos_token and add_space_prefix are not asked, Gemma has a <bos> and no prefix whatever they say. */
#include <inttypes.h>
#include <math.h>

#include "text/text_int.h"

#define KEY "tokenizer.ggml."

typedef struct {
    const ct_gguf *g;
    carat_error *err;
    size_t n;
    ct_str *piece;
    uint8_t *kind;
    ct_arena respelled;
} reader;

static int array_of(const reader *r, const char *key, const ct_gguf_kv **out, bool strings, size_t n) {
    const ct_gguf_kv *kv = ct_gguf_find(r->g, key);
    *out = kv;
    if (!kv) return CT_FAIL(r->err, CARAT_EFORMAT, "%s is missing", key);
    if (kv->type != CT_GGUF_ARRAY || (kv->elem_type == CT_GGUF_STRING) != strings || kv->elem_type == CT_GGUF_ARRAY)
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s is not an array of %s", key, strings ? "strings" : "numbers");
    if (n && kv->n != n)
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s has %" PRIu64 " elements, expected %zu as in " KEY "tokens", key,
                       kv->n, n);
    return 0;
}

/* Our kind for a file's type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
static ct_tok_kind kind_of_type(int64_t type, const ct_str *piece) {
    if (ct_piece_byte(piece->s, piece->len) >= 0) return CT_TOK_BYTE;
    if (type == 2 || type == 3) return CT_TOK_CONTROL;
    return type == 4 ? CT_TOK_USER : CT_TOK_NORMAL;
}

/* Put U+2581 in place of every ' '. */
static int respell(reader *r, ct_str *piece) {
    size_t n_space = 0, w = 0;
    for (size_t i = 0; i < piece->len; i++) n_space += piece->s[i] == ' ';
    if (n_space == 0) return 0;
    char *s = ct_arena_alloc(&r->respelled, piece->len + 2 * n_space);
    if (!s) return CT_FAIL(r->err, CARAT_ENOMEM, "tokenizer: no memory for a piece of %zu bytes", piece->len);
    for (size_t i = 0; i < piece->len; i++) {
        if (piece->s[i] == ' ') {
            memcpy(s + w, CT_META_UTF8, 3);
            w += 3;
        } else {
            s[w++] = piece->s[i];
        }
    }
    *piece = (ct_str){s, w};
    return 0;
}

static int read_pieces(reader *r) {
    const ct_gguf_kv *tokens, *types = NULL;
    CT_TRY(array_of(r, KEY "tokens", &tokens, true, 0));
    if (tokens->n >= CT_MAX_VOCAB)
        return CT_FAIL(r->err, CARAT_EUNSUPPORTED, KEY "tokens has %" PRIu64 " elements, at most %zu are supported",
                       tokens->n, CT_MAX_VOCAB - 1);
    r->n = (size_t)tokens->n;
    if (ct_gguf_find(r->g, KEY "token_type")) CT_TRY(array_of(r, KEY "token_type", &types, false, r->n));
    r->piece = ct_alloc_array(r->n, sizeof *r->piece);
    r->kind = ct_alloc(r->n);
    if (!r->piece || !r->kind)
        return CT_FAIL(r->err, CARAT_ENOMEM, "tokenizer: no memory for a vocabulary of %zu tokens", r->n);
    const uint8_t *cursor = tokens->data;
    bool has_eos = false;
    for (size_t i = 0; i < r->n; i++) {
        int64_t type = 1;
        if (!ct_gguf_arr_next_str(tokens, &cursor, &r->piece[i]))
            return CT_FAIL(r->err, CARAT_EFORMAT, KEY "tokens ends at element %zu of %zu", i, r->n);
        if (types && (!ct_gguf_arr_i64(types, i, &type) || type < 0 || type > 6))
            return CT_FAIL(r->err, CARAT_EFORMAT, KEY "token_type[%zu] is not a token type (0 to 6)", i);
        r->kind[i] = (uint8_t)kind_of_type(type, &r->piece[i]);
        if (r->kind[i] == CT_TOK_USER) CT_TRY(respell(r, &r->piece[i]));
        has_eos = has_eos || (r->piece[i].len == 5 && memcmp(r->piece[i].s, "<eos>", 5) == 0);
    }
    for (size_t i = 0; i < r->n; i++)
        r->kind[i] = (uint8_t)ct_tok_kind_known(r->piece[i].s, r->piece[i].len, (ct_tok_kind)r->kind[i], has_eos);
    return 0;
}

static int read_merges(const reader *r, ct_tokenizer *t) {
    const ct_gguf_kv *merges;
    CT_TRY(array_of(r, KEY "merges", &merges, true, 0));
    if (merges->n > CT_MAX_MERGES)
        return CT_FAIL(r->err, CARAT_EUNSUPPORTED, KEY "merges has %" PRIu64 " elements, at most %zu are supported",
                       merges->n, CT_MAX_MERGES);
    CT_TRY(ct_merges_begin(&t->m, &t->v, (size_t)merges->n, r->err));
    const uint8_t *cursor = merges->data;
    ct_str s;
    for (uint64_t i = 0; i < merges->n; i++) {
        if (!ct_gguf_arr_next_str(merges, &cursor, &s))
            return CT_FAIL(r->err, CARAT_EFORMAT, KEY "merges ends at element %" PRIu64 " of %" PRIu64, i, merges->n);
        /* The left part may itself be a space in theory, so the separator is never the first byte. */
        const char *gap = s.len > 2 ? memchr(s.s + 1, ' ', s.len - 1) : NULL;
        if (!gap || gap + 1 == s.s + s.len)
            return CT_FAIL(r->err, CARAT_EFORMAT, KEY "merges[%" PRIu64 "] is not two pieces with a space between", i);
        const size_t n_l = (size_t)(gap - s.s);
        ct_merges_add(&t->m, &t->v, s.s, n_l, gap + 1, s.len - n_l - 1);
    }
    return ct_merges_finish(&t->m, &t->v, r->err);
}

static int read_scores(const reader *r, ct_tokenizer *t) {
    const ct_gguf_kv *kv;
    CT_TRY(array_of(r, KEY "scores", &kv, false, r->n));
    float *score = ct_alloc_array(r->n, sizeof *score);
    if (!score) return CT_FAIL(r->err, CARAT_ENOMEM, "tokenizer: no memory for %zu scores", r->n);
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++) {
        double x;
        if (!ct_gguf_arr_f64(kv, i, &x) || isnan(x))
            rc = CT_FAIL(r->err, CARAT_EFORMAT, KEY "scores[%zu] is not a number", i);
        else
            score[i] = r->kind[i] == CT_TOK_USER ? 0.0f : (float)x;
    }
    if (rc == 0) rc = ct_merges_from_scores(&t->m, &t->v, score, r->err);
    ct_free(score);
    return rc;
}

/* Ids of one key into ids[max]; *n = 0 when the key is absent. */
static int read_ids(const reader *r, const char *key, int64_t *ids, uint64_t max, uint64_t *n) {
    const ct_gguf_kv *kv = ct_gguf_find(r->g, key);
    *n = 0;
    if (!kv) return 0;
    if (kv->n > max)
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s has %" PRIu64 " ids, expected at most %" PRIu64, key, kv->n, max);
    for (uint64_t i = 0; i < kv->n; i++) {
        if (!ct_gguf_arr_i64(kv, i, &ids[i])) return CT_FAIL(r->err, CARAT_EFORMAT, "%s is not a token id", key);
        if (ids[i] < 0 || (uint64_t)ids[i] >= r->n)
            return CT_FAIL(r->err, CARAT_EFORMAT, "%s is %" PRId64 ", expected an id below %zu", key, ids[i], r->n);
    }
    *n = kv->n;
    return 0;
}

static int read_facts(const reader *r, ct_tok_facts *f) {
    static const char *const eos_keys[] = {KEY "eos_token_id", KEY "eot_token_id", KEY "eom_token_id"};
    int64_t ids[CT_MAX_STOP];
    uint64_t n;
    CT_TRY(read_ids(r, KEY "bos_token_id", ids, 1, &n));
    if (n) f->bos = (int32_t)ids[0];
    CT_TRY(read_ids(r, KEY "unknown_token_id", ids, 1, &n));
    if (n) f->unk = (int32_t)ids[0];
    for (size_t k = 0; k < sizeof eos_keys / sizeof *eos_keys; k++) {
        CT_TRY(read_ids(r, eos_keys[k], ids, CT_MAX_STOP / 4, &n));
        for (uint64_t i = 0; i < n; i++) ct_tok_facts_add_eos(f, ids[i]);
    }
    return 0;
}

static int read_model(reader *r, ct_tokenizer *t) {
    ct_str model;
    ct_tok_facts facts;
    ct_tok_facts_init(&facts);
    if (!ct_gguf_as_str(ct_gguf_find(r->g, KEY "model"), &model))
        return CT_FAIL(r->err, CARAT_EFORMAT, KEY "model is missing or not a string");
    const bool gemma4 = model.len == 6 && memcmp(model.s, "gemma4", 6) == 0;
    const bool llama = model.len == 5 && memcmp(model.s, "llama", 5) == 0;
    if (!gemma4 && !llama)
        return CT_FAIL(r->err, CARAT_EUNSUPPORTED, KEY "model is \"%.*s\", expected \"gemma4\" or \"llama\"",
                       (int)(model.len < 64 ? model.len : 64), model.s);
    CT_TRY(read_pieces(r));
    CT_TRY(read_facts(r, &facts));
    CT_TRY(ct_vocab_build(&t->v, r->piece, r->kind, r->n, r->err));
    t->byte_fallback = t->fuse_unk = true;
    CT_TRY(gemma4 || ct_gguf_find(r->g, KEY "merges") ? read_merges(r, t) : read_scores(r, t));
    return ct_tokenizer_finish(t, &facts, r->err);
}

int ct_tokenizer_from_gguf(ct_tokenizer **out, const ct_gguf *g, carat_error *err) {
    *out = NULL;
    ct_tokenizer *t = ct_alloc(sizeof *t);
    if (!t) return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: out of memory");
    reader r = {.g = g, .err = err};
    const int rc = read_model(&r, t);
    ct_free(r.piece);
    ct_free(r.kind);
    ct_arena_free(&r.respelled);
    if (rc)
        ct_tokenizer_free(&t);
    else
        *out = t;
    return rc;
}
