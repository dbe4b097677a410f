/* Tokenizer from a Hugging Face tokenizer.json, with the ids of <bos> and the ends of text from
 * tokenizer_config.json and generation_config.json beside it.
 *
 * Only the pipeline that Gemma uses is implemented (BPE over raw characters, ' ' -> U+2581, no real pre-tokenizer,
 * byte fallback). Anything else in the file would tokenize differently, so it is an error and not ignored. */
#include <inttypes.h>
#include <stdio.h>

#include "base/os.h"
#include "formats/json.h"
#include "text/text_int.h"

#define MAX_TOKENIZER_JSON ((size_t)512 << 20)
#define MAX_CONFIG_JSON ((size_t)32 << 20)

typedef struct {
    carat_error *err;
    ct_str *piece; /* [n], holes have s == NULL */
    uint8_t *kind, *normalized;
    size_t n;
} reader;

static bool is_str(ct_json_val v, const char *want) {
    size_t len;
    const char *s = ct_json_str(v, &len);
    return s && len == strlen(want) && memcmp(s, want, len) == 0;
}

static bool absent(ct_json_val v) { return !v || ct_json_is_null(v); }

/* ---- the pipeline ---- */

static bool is_replace(ct_json_val step, const char *from, const char *to) {
    return is_str(ct_json_get(step, "type"), "Replace") &&
           is_str(ct_json_get(ct_json_get(step, "pattern"), "String"), from) &&
           is_str(ct_json_get(step, "content"), to);
}

/* Step i of a part that is one step or a Sequence of `list`; NULL at the end. */
static ct_json_val step_at(ct_json_val part, const char *list, size_t i) {
    if (is_str(ct_json_get(part, "type"), "Sequence")) return ct_json_at(ct_json_get(part, list), i);
    return i == 0 ? part : NULL;
}

static int refuse(carat_error *err, const char *part, ct_json_val step, const char *expected) {
    size_t len;
    const char *type = ct_json_str(ct_json_get(step, "type"), &len);
    return CT_FAIL(err, CARAT_EUNSUPPORTED, "tokenizer.json: %s %s is not supported, expected %s", part,
                   type ? type : "(none)", expected);
}

static int check_pipeline(ct_json_val root, carat_error *err) {
    ct_json_val norm = ct_json_get(root, "normalizer"), pre = ct_json_get(root, "pre_tokenizer");
    ct_json_val dec = ct_json_get(root, "decoder"), step;
    ct_json_val only = step_at(norm, "normalizers", 0);
    if (!is_replace(only, " ", CT_META_UTF8) || step_at(norm, "normalizers", 1))
        return refuse(err, "normalizer", only ? only : norm, "Replace of \" \" by U+2581 alone");
    /* A split at ' ' never finds one after the normalizer. */
    if (!absent(pre) &&
        !(is_str(ct_json_get(pre, "type"), "Split") && is_str(ct_json_get(ct_json_get(pre, "pattern"), "String"), " ")))
        return refuse(err, "pre_tokenizer", pre, "none, or Split at \" \"");
    if (absent(dec)) return 0;
    for (size_t i = 0; (step = step_at(dec, "decoders", i)) != NULL; i++) {
        if (!is_replace(step, CT_META_UTF8, " ") && !is_str(ct_json_get(step, "type"), "ByteFallback") &&
            !is_str(ct_json_get(step, "type"), "Fuse"))
            return refuse(err, "decoder", step, "Replace of U+2581 by \" \", ByteFallback, Fuse");
    }
    return 0;
}

static bool flag(ct_json_val obj, const char *key) {
    bool on = false;
    return ct_json_bool(ct_json_get(obj, key), &on) && on;
}

static int check_model(ct_json_val model, carat_error *err) {
    static const char *const affix[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    ct_json_val type = ct_json_get(model, "type");
    double dropout = 0;
    if (!ct_json_is_object(model))
        return CT_FAIL(err, CARAT_EFORMAT, "tokenizer.json: model is missing or not an object");
    if (type && !is_str(type, "BPE")) return refuse(err, "model", model, "BPE");
    if (ct_json_f64(ct_json_get(model, "dropout"), &dropout) && dropout != 0)
        return CT_FAIL(err, CARAT_EUNSUPPORTED, "tokenizer.json: model.dropout is %g, expected none", dropout);
    for (size_t i = 0; i < 2; i++) {
        ct_json_val v = ct_json_get(model, affix[i]);
        if (!absent(v) && !is_str(v, ""))
            return CT_FAIL(err, CARAT_EUNSUPPORTED, "tokenizer.json: model.%s is set, expected none", affix[i]);
    }
    if (!ct_json_is_object(ct_json_get(model, "vocab")))
        return CT_FAIL(err, CARAT_EFORMAT, "tokenizer.json: model.vocab is missing or not an object");
    if (!ct_json_is_array(ct_json_get(model, "merges")))
        return CT_FAIL(err, CARAT_EFORMAT, "tokenizer.json: model.merges is missing or not an array");
    return 0;
}

/* ---- pieces ---- */

static int put_piece(reader *r, int64_t id, const char *s, size_t len, uint8_t kind) {
    ct_str *p = &r->piece[id];
    if (p->s && (p->len != len || memcmp(p->s, s, len) != 0))
        return CT_FAIL(r->err, CARAT_EFORMAT, "tokenizer.json: id %" PRId64 " is both \"%.64s\" and \"%.64s\"", id,
                       p->s, s);
    *p = (ct_str){s, len};
    r->kind[id] = kind;
    return 0;
}

/* An id of the file, with a bound that keeps what is allocated in proportion to what the file lists. */
static int checked_id(const reader *r, ct_json_val v, const char *s, size_t n_listed, int64_t *id) {
    const int64_t max = (int64_t)(2 * n_listed + 1024);
    if (!ct_json_i64(v, id) || *id < 0 || *id >= max)
        return CT_FAIL(r->err, CARAT_EFORMAT,
                       "tokenizer.json: the id of \"%.64s\" is not an integer from 0 to %" PRId64, s, max - 1);
    return 0;
}

static int count_ids(reader *r, ct_json_val vocab, ct_json_val added) {
    const size_t n_added = ct_json_len(added), n_listed = ct_json_len(vocab) + n_added;
    void *iter = NULL;
    const char *key;
    size_t len;
    ct_json_val val;
    int64_t id, top = -1;
    while (ct_json_next(vocab, &iter, &key, &len, &val)) {
        CT_TRY(checked_id(r, val, key, n_listed, &id));
        if (id > top) top = id;
    }
    for (size_t i = 0; i < n_added; i++) {
        ct_json_val a = ct_json_at(added, i);
        const char *s = ct_json_str(ct_json_get(a, "content"), &len);
        if (!s) return CT_FAIL(r->err, CARAT_EFORMAT, "tokenizer.json: added_tokens[%zu] has no content", i);
        CT_TRY(checked_id(r, ct_json_get(a, "id"), s, n_listed, &id));
        if (id > top) top = id;
    }
    r->n = (size_t)(top + 1);
    if (r->n >= CT_MAX_VOCAB)
        return CT_FAIL(r->err, CARAT_EUNSUPPORTED, "tokenizer.json: ids up to %" PRId64 ", at most %zu are supported",
                       top, CT_MAX_VOCAB - 2);
    return 0;
}

static int read_added(reader *r, ct_json_val added, size_t i) {
    static const char *const no[] = {"single_word", "lstrip", "rstrip"};
    ct_json_val a = ct_json_at(added, i);
    size_t len;
    int64_t id = 0;
    const char *s = ct_json_str(ct_json_get(a, "content"), &len);
    (void)ct_json_i64(ct_json_get(a, "id"), &id); /* checked by count_ids */
    for (size_t k = 0; k < 3; k++) {
        if (flag(a, no[k]))
            return CT_FAIL(r->err, CARAT_EUNSUPPORTED,
                           "tokenizer.json: added token \"%.64s\" has %s set, expected false", s, no[k]);
    }
    r->normalized[id] = flag(a, "normalized");
    return put_piece(r, id, s, len, flag(a, "special") ? CT_TOK_CONTROL : CT_TOK_USER);
}

static int read_pieces(reader *r, ct_json_val vocab, ct_json_val added) {
    CT_TRY(count_ids(r, vocab, added));
    r->piece = ct_alloc_array(r->n, sizeof *r->piece);
    r->kind = ct_alloc(r->n);
    r->normalized = ct_alloc(r->n);
    if (!r->piece || !r->kind || !r->normalized)
        return CT_FAIL(r->err, CARAT_ENOMEM, "tokenizer: no memory for a vocabulary of %zu tokens", r->n);
    memset(r->kind, CT_TOK_HOLE, r->n);
    void *iter = NULL;
    const char *key;
    size_t len;
    ct_json_val val;
    while (ct_json_next(vocab, &iter, &key, &len, &val)) {
        int64_t id = 0;
        (void)ct_json_i64(val, &id);
        CT_TRY(put_piece(r, id, key, len, ct_piece_byte(key, len) >= 0 ? CT_TOK_BYTE : CT_TOK_NORMAL));
    }
    for (size_t i = 0; i < ct_json_len(added); i++) CT_TRY(read_added(r, added, i));
    bool has_eos = false;
    for (size_t i = 0; i < r->n; i++)
        has_eos = has_eos || (r->piece[i].len == 5 && memcmp(r->piece[i].s, "<eos>", 5) == 0);
    for (size_t i = 0; i < r->n; i++) {
        if (r->kind[i] != CT_TOK_HOLE)
            r->kind[i] = (uint8_t)ct_tok_kind_known(r->piece[i].s, r->piece[i].len, (ct_tok_kind)r->kind[i], has_eos);
    }
    return 0;
}

/* ---- merges ---- */

static int read_merges(const reader *r, ct_json_val merges, ct_tokenizer *t) {
    const size_t n = ct_json_len(merges);
    CT_TRY(ct_merges_begin(&t->m, &t->v, n, r->err));
    for (size_t i = 0; i < n; i++) {
        ct_json_val v = ct_json_at(merges, i);
        size_t n_l = 0, n_r = 0;
        const char *rhs = NULL;
        const char *lhs = ct_json_str(v, &n_l);
        if (lhs) { /* older files: one string, "left right" */
            const char *gap = n_l > 2 ? memchr(lhs + 1, ' ', n_l - 1) : NULL;
            if (gap) {
                rhs = gap + 1;
                n_r = n_l - (size_t)(rhs - lhs);
                n_l = (size_t)(gap - lhs);
            }
        } else if (ct_json_len(v) == 2) {
            lhs = ct_json_str(ct_json_at(v, 0), &n_l);
            rhs = ct_json_str(ct_json_at(v, 1), &n_r);
        }
        if (!lhs || !rhs || n_l == 0 || n_r == 0)
            return CT_FAIL(r->err, CARAT_EFORMAT, "tokenizer.json: model.merges[%zu] is not a pair of pieces", i);
        ct_merges_add(&t->m, &t->v, lhs, n_l, rhs, n_r);
    }
    return ct_merges_finish(&t->m, &t->v, r->err);
}

/* ---- the files beside it ---- */

/* Folder and name joined. Gives *out: ct_free. */
static int join(char **out, const char *folder, size_t n_folder, const char *name, carat_error *err) {
    const size_t n = n_folder + strlen(name) + 2;
    *out = ct_alloc(n);
    if (!*out) return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: out of memory");
    (void)snprintf(*out, n, "%.*s%s%s", (int)n_folder, folder, n_folder && folder[n_folder - 1] != '/' ? "/" : "",
                   name);
    return 0;
}

/* Document `name` of the folder; *out stays NULL when there is no such file. */
static int load_beside(ct_json **out, const char *folder, size_t n_folder, const char *name, carat_error *err) {
    char *path;
    *out = NULL;
    CT_TRY(join(&path, folder, n_folder, name, err));
    const int rc = ct_path_exists(path) ? ct_json_load(out, path, MAX_CONFIG_JSON, err) : 0;
    ct_free(path);
    return rc;
}

/* Id of a token given as its text, or as an object with "content". */
static int32_t named_token(const ct_vocab *v, ct_json_val name) {
    size_t len;
    const char *s = ct_json_str(ct_json_is_object(name) ? ct_json_get(name, "content") : name, &len);
    return s ? ct_vocab_find(v, s, len) : -1;
}

static int read_id(const ct_vocab *v, ct_json_val val, const char *key, int64_t *id, carat_error *err) {
    if (ct_json_i64(val, id) && *id >= 0 && *id < v->n) return 0;
    return CT_FAIL(err, CARAT_EFORMAT, "generation_config.json: %s is not a token id below %d", key, (int)v->n);
}

static int read_generation(const ct_vocab *v, ct_json_val root, ct_tok_facts *f, carat_error *err) {
    ct_json_val bos = ct_json_get(root, "bos_token_id"), eos = ct_json_get(root, "eos_token_id");
    int64_t id;
    if (!absent(bos)) {
        CT_TRY(read_id(v, bos, "bos_token_id", &id, err));
        if (f->bos < 0) f->bos = (int32_t)id;
    }
    if (absent(eos)) return 0;
    const size_t n = ct_json_is_array(eos) ? ct_json_len(eos) : 1;
    if (n > CT_MAX_STOP / 2)
        return CT_FAIL(err, CARAT_EFORMAT, "generation_config.json: %zu ids in eos_token_id, expected at most %d", n,
                       CT_MAX_STOP / 2);
    for (size_t i = 0; i < n; i++) {
        CT_TRY(read_id(v, ct_json_is_array(eos) ? ct_json_at(eos, i) : eos, "eos_token_id", &id, err));
        ct_tok_facts_add_eos(f, id);
    }
    return 0;
}

static int read_beside(const ct_vocab *v, const char *folder, size_t n_folder, ct_tok_facts *f, carat_error *err) {
    ct_json *j;
    CT_TRY(load_beside(&j, folder, n_folder, "tokenizer_config.json", err));
    if (j) {
        f->bos = named_token(v, ct_json_get(ct_json_root(j), "bos_token"));
        const int32_t eos = named_token(v, ct_json_get(ct_json_root(j), "eos_token"));
        if (eos >= 0) ct_tok_facts_add_eos(f, eos);
        ct_json_free(&j);
    }
    CT_TRY(load_beside(&j, folder, n_folder, "generation_config.json", err));
    const int rc = j ? read_generation(v, ct_json_root(j), f, err) : 0;
    ct_json_free(&j);
    return rc;
}

/* ---- all of it ---- */

static int read_tokenizer(reader *r, ct_json_val root, const char *folder, size_t n_folder, ct_tokenizer *t) {
    ct_json_val model = ct_json_get(root, "model");
    ct_json_val unk = ct_json_get(model, "unk_token");
    ct_tok_facts facts;
    ct_tok_facts_init(&facts);
    CT_TRY(check_model(model, r->err));
    CT_TRY(check_pipeline(root, r->err));
    CT_TRY(read_pieces(r, ct_json_get(model, "vocab"), ct_json_get(root, "added_tokens")));
    CT_TRY(ct_vocab_build(&t->v, r->piece, r->kind, r->n, r->err));
    t->byte_fallback = flag(model, "byte_fallback");
    t->fuse_unk = flag(model, "fuse_unk");
    t->ignore_merges = flag(model, "ignore_merges");
    CT_TRY(read_merges(r, ct_json_get(model, "merges"), t));
    facts.unk = named_token(&t->v, unk);
    facts.normalized = r->normalized;
    CT_TRY(read_beside(&t->v, folder, n_folder, &facts, r->err));
    CT_TRY(ct_tokenizer_finish(t, &facts, r->err));
    if (facts.unk < 0) t->unk = -1; /* no unk_token: unknown characters vanish, as in Hugging Face */
    return 0;
}

int ct_tokenizer_from_hf(ct_tokenizer **out, const char *path, carat_error *err) {
    *out = NULL;
    size_t n_folder = strlen(path);
    char *file = NULL;
    if (!ct_path_is_dir(path)) {
        while (n_folder > 0 && path[n_folder - 1] != '/') n_folder--;
        file = ct_strdup_n(path, strlen(path));
        if (!file) return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: out of memory");
    } else {
        CT_TRY(join(&file, path, n_folder, "tokenizer.json", err));
    }
    ct_json *j = NULL;
    int rc = ct_json_load(&j, file, MAX_TOKENIZER_JSON, err);
    ct_free(file);
    if (rc) return rc;
    reader r = {.err = err};
    ct_tokenizer *t = ct_alloc(sizeof *t);
    rc = t ? read_tokenizer(&r, ct_json_root(j), path, n_folder, t)
           : CT_FAIL(err, CARAT_ENOMEM, "tokenizer: out of memory");
    ct_free(r.piece);
    ct_free(r.kind);
    ct_free(r.normalized);
    ct_json_free(&j);
    if (rc)
        ct_tokenizer_free(&t);
    else
        *out = t;
    return rc;
}
