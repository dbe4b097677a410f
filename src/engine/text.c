/* Text side of the public API: tokenizing, detokenizing, chat templates of a model. */
#include <string.h>

#include "base/mem.h"
#include "engine/engine_int.h"
#include "text/detok.h"

int ct_engine_need_text(const carat_model *m, carat_error *err) {
    if (m->tokenizer) return 0;
    return CT_FAIL(err, CARAT_EUNSUPPORTED, "the model has no vocabulary (tokenizer.json or tokenizer.ggml.* keys); use token ids");
}

/* Size-then-fill: hand out what fits, report the whole. */
static void give_ids(const ct_ids *ids, int32_t *tok, size_t cap, size_t *n_out) {
    const size_t n = ids->n < cap ? ids->n : cap;
    if (n) memcpy(tok, ids->id, n * sizeof *tok);
    *n_out = ids->n;
}

static int append_id(ct_ids *ids, int32_t id, carat_error *err) {
    if (!ct_grow((void **)&ids->id, &ids->cap, ids->n + 1, sizeof *ids->id)) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    ids->id[ids->n++] = id;
    return 0;
}

int carat_tokenize(const carat_model *m, const char *text, size_t text_len, unsigned flags, int32_t *tok, size_t cap, size_t *n_out,
                   carat_error *err) {
    CT_TRY(ct_engine_need_text(m, err));
    ct_ids ids = {0};
    const int32_t bos = ct_tokenizer_bos(m->tokenizer);
    const bool special = flags & CARAT_TOKENIZE_SPECIAL;
    int rc = 0;
    if ((flags & CARAT_TOKENIZE_BOS) && bos >= 0) {
        /* Exactly once: a text that begins with <bos> (read as such) brings its own. */
        size_t len;
        const char *piece = ct_tokenizer_piece(m->tokenizer, bos, &len);
        if (!(special && text_len >= len && memcmp(text, piece, len) == 0)) rc = append_id(&ids, bos, err);
    }
    if (!rc) rc = ct_tokenizer_encode(m->tokenizer, text, text_len, special, &ids, err);
    if (!rc) give_ids(&ids, tok, cap, n_out);
    ct_ids_free(&ids);
    return rc;
}

const char *carat_token_piece(const carat_model *m, int32_t tok, size_t *len) {
    return m->tokenizer ? ct_tokenizer_piece(m->tokenizer, tok, len) : NULL;
}

bool carat_token_is_control(const carat_model *m, int32_t tok) {
    return m->tokenizer && ct_tokenizer_is_control(m->tokenizer, tok);
}

bool carat_token_is_stop(const carat_model *m, int32_t tok) { return m->tokenizer && ct_tokenizer_is_stop(m->tokenizer, tok); }

int32_t carat_token_find(const carat_model *m, const char *piece) {
    return m->tokenizer ? ct_tokenizer_find(m->tokenizer, piece, strlen(piece)) : -1;
}

struct carat_detok {
    ct_detok *d;
};

int carat_detok_new(carat_detok **out, const carat_model *m, bool show_control, carat_error *err) {
    *out = NULL;
    CT_TRY(ct_engine_need_text(m, err));
    carat_detok *d = ct_alloc(sizeof *d);
    if (!d) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    const int rc = ct_detok_new(&d->d, m->tokenizer, show_control, err);
    if (rc) {
        ct_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

int carat_detok_push(carat_detok *d, int32_t tok, const char **text, size_t *len, carat_error *err) {
    return ct_detok_push(d->d, tok, text, len, err);
}

void carat_detok_flush(carat_detok *d, const char **text, size_t *len) { ct_detok_flush(d->d, text, len); }

void carat_detok_free(carat_detok **d) {
    if (!*d) return;
    ct_detok_free(&(*d)->d);
    ct_free(*d);
    *d = NULL;
}

/* Large Gemma 4 variants open an answer with an empty thought when thinking is off; the E-types do not. What tells them
 * apart in a file is the per-layer embeddings (gemma4-spec 1.2, 5.2). */
static ct_chat_kind chat_kind(const carat_model *m) {
    if (m->cfg.arch == CT_ARCH_GEMMA3) return CT_CHAT_GEMMA3;
    return m->cfg.d_ple > 0 ? CT_CHAT_GEMMA4 : CT_CHAT_GEMMA4_LARGE;
}

int carat_chat_tokens(const carat_model *m, const carat_message *msg, size_t n_msg, unsigned flags, int32_t *tok, size_t cap,
                      size_t *n_out, carat_error *err) {
    CT_TRY(ct_engine_need_text(m, err));
    ct_chat *c = NULL;
    ct_ids ids = {0};
    int rc = ct_chat_render(&c, chat_kind(m), msg, n_msg, flags, err);
    for (size_t i = 0; !rc && i < ct_chat_n_span(c); i++) {
        const ct_chat_span *s = ct_chat_span_at(c, i);
        rc = ct_tokenizer_encode(m->tokenizer, s->s, s->len, s->special, &ids, err);
    }
    if (!rc) give_ids(&ids, tok, cap, n_out);
    ct_ids_free(&ids);
    ct_chat_free(&c);
    return rc;
}

int carat_chat_text(const carat_model *m, const carat_message *msg, size_t n_msg, unsigned flags, char **out, carat_error *err) {
    *out = NULL;
    ct_chat *c = NULL;
    CT_TRY(ct_chat_render(&c, chat_kind(m), msg, n_msg, flags, err));
    size_t n = 0;
    for (size_t i = 0; i < ct_chat_n_span(c); i++) n += ct_chat_span_at(c, i)->len;
    char *text = ct_alloc(n + 1);
    size_t at = 0;
    for (size_t i = 0; text && i < ct_chat_n_span(c); i++) {
        const ct_chat_span *s = ct_chat_span_at(c, i);
        if (s->len) memcpy(text + at, s->s, s->len);
        at += s->len;
    }
    ct_chat_free(&c);
    if (!text) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    *out = text;
    return 0;
}

void carat_free(void *p) { ct_free(p); }
