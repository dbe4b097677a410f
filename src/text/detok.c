/* Streaming detokenizer: pieces become bytes (U+2581 a space, <0xXX> one byte), bytes become whole characters.
 *
 * Bytes wait only while they can still become a character; as soon as they cannot, they are U+FFFD, one for each
 * maximal ill-formed part. So the pushes and the flush together say what decoding all bytes at once would. Nothing is
 * stripped from the beginning: Gemma's decoder keeps a leading space. All memory is taken when the object is made. */
#include "text/detok.h"

#include "text/text_int.h"

#define MAX_PENDING 3

struct ct_detok {
    const ct_tokenizer *t;
    uint8_t *bytes; /* pending bytes, then those of the current token */
    size_t n_pending;
    char *text; /* what the last call gave out */
    bool show_control;
};

int ct_detok_new(ct_detok **out, const ct_tokenizer *t, bool show_control, carat_error *err) {
    *out = NULL;
    ct_detok *d = ct_alloc(sizeof *d);
    const size_t n = t->v.max_len + MAX_PENDING;
    if (d) {
        d->t = t;
        d->show_control = show_control;
        d->bytes = ct_alloc(n);
        d->text = ct_alloc(3 * n + 1); /* every byte may become U+FFFD */
    }
    if (!d || !d->bytes || !d->text) {
        ct_detok_free(&d);
        return CT_FAIL(err, CARAT_ENOMEM, "no memory for a detokenizer");
    }
    *out = d;
    return 0;
}

void ct_detok_free(ct_detok **d) {
    if (!d || !*d) return;
    ct_free((*d)->bytes);
    ct_free((*d)->text);
    ct_free(*d);
    *d = NULL;
}

/* Append the bytes of id behind the pending ones; returns how many there are now. */
static size_t append_token(ct_detok *d, int32_t id) {
    size_t n = d->n_pending, len;
    const char *s = ct_vocab_piece(&d->t->v, id, &len);
    const int byte = ct_piece_byte(s, len);
    if (byte >= 0) {
        d->bytes[n++] = (uint8_t)byte;
        return n;
    }
    for (size_t i = 0; i < len;) {
        if (len - i >= 3 && memcmp(s + i, CT_META_UTF8, 3) == 0) {
            d->bytes[n++] = ' ';
            i += 3;
        } else {
            d->bytes[n++] = (uint8_t)s[i++];
        }
    }
    return n;
}

/* Turn bytes[0,n) into text, all but an unfinished character at the end. */
static size_t emit(ct_detok *d, size_t n, size_t *n_left) {
    const size_t tail = ct_utf8_incomplete_tail(d->bytes, n);
    size_t at = 0, w = 0;
    while (at < n - tail) {
        uint32_t cp;
        int ok;
        const size_t len = (size_t)ct_utf8_decode(d->bytes + at, n - tail - at, &cp, &ok);
        memcpy(d->text + w, ok ? (const char *)d->bytes + at : "\xef\xbf\xbd", ok ? len : 3);
        w += ok ? len : 3;
        at += len;
    }
    memmove(d->bytes, d->bytes + n - tail, tail);
    *n_left = tail;
    d->text[w] = '\0';
    return w;
}

int ct_detok_push(ct_detok *d, int32_t id, const char **text, size_t *len, carat_error *err) {
    *text = d->text;
    *len = 0;
    d->text[0] = '\0';
    if (id < 0 || id >= d->t->v.n)
        return CT_FAIL(err, CARAT_EINVAL, "token %d is outside the vocabulary of %d", (int)id, (int)d->t->v.n);
    if (!d->show_control && d->t->v.kind[id] == CT_TOK_CONTROL) return 0;
    *len = emit(d, append_token(d, id), &d->n_pending);
    return 0;
}

void ct_detok_flush(ct_detok *d, const char **text, size_t *len) {
    *len = d->n_pending ? 3 : 0; /* what waits is one unfinished character: one ill-formed part */
    memcpy(d->text, "\xef\xbf\xbd", 3);
    d->text[*len] = '\0';
    d->n_pending = 0;
    *text = d->text;
}
