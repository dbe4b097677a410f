/* The streaming detokenizer says what decoding everything at once would, never anything but well-formed text, and
 * never later than it must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "maker.h"
#include "text/detok.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define U "\xe2\x96\x81"
#define FFFD "\xef\xbf\xbd"

/* Ids: bytes are 0-255, then these. The last pieces are ill-formed, as a broken file could have them. */
enum { BOS = 256, A, SPACE_B, EURO, LINE, THINK, CUT_EURO, REST_EURO, N_PIECE };
static const char *const extra[] = {"<bos>", "a", U "b" U, "\xe2\x82\xac", "\n", "<|think|>", "x\xe2\x82", "\xac\x80y"};

static ct_tokenizer *open_bytes(void) {
    static char names[256][8];
    const char *tokens[N_PIECE];
    static const char *const merges[] = {"a a"};
    for (int b = 0; b < 256; b++) {
        snprintf(names[b], sizeof names[b], "<0x%02X>", b);
        tokens[b] = names[b];
    }
    for (size_t i = 0; i < N(extra); i++) tokens[256 + i] = extra[i];
    const maker_gguf g = {.model = "gemma4",
                          .tokens = tokens,
                          .n_tokens = N_PIECE,
                          .merges = merges,
                          .n_merges = 1,
                          .bos = -1,
                          .eos = -1,
                          .unk = -1};
    ct_tokenizer *t = NULL;
    carat_error err = {0};
    if (maker_from_gguf(&t, &g, &err)) fail_msg("%s", err.msg);
    return t;
}

static ct_detok *open_detok(const ct_tokenizer *t, bool show) {
    ct_detok *d = NULL;
    assert_int_equal(ct_detok_new(&d, t, show, NULL), 0);
    return d;
}

/* The text of one push must be exactly want. */
static void push(ct_detok *d, int32_t id, const char *want) {
    const char *text;
    size_t len;
    assert_int_equal(ct_detok_push(d, id, &text, &len, NULL), 0);
    assert_string_equal(text, want);
    assert_int_equal(len, strlen(want));
}

static void flush(ct_detok *d, const char *want) {
    const char *text;
    size_t len;
    ct_detok_flush(d, &text, &len);
    assert_string_equal(text, want);
    assert_int_equal(len, strlen(want));
}

static void detok__holds_back_unfinished_characters(void **state) {
    (void)state;
    ct_tokenizer *t = open_bytes();
    ct_detok *d = open_detok(t, false);
    push(d, 0xf0, "");
    push(d, 0x9f, "");
    push(d, 0x98, "");
    push(d, 0x80, "\xf0\x9f\x98\x80");
    push(d, 0x41, "A");
    push(d, SPACE_B, " b ");
    push(d, EURO, "\xe2\x82\xac");
    push(d, CUT_EURO, "x");
    push(d, REST_EURO, "\xe2\x82\xac" FFFD "y");
    flush(d, "");
    ct_detok_free(&d);
    assert_null(d);
    ct_detok_free(&d);
    ct_tokenizer_free(&t);
}

static void detok__replaces_as_soon_as_it_is_known(void **state) {
    (void)state;
    ct_tokenizer *t = open_bytes();
    ct_detok *d = open_detok(t, false);
    push(d, 0xff, FFFD);
    push(d, 0x80, FFFD);
    push(d, 0xe2, "");
    push(d, A, FFFD "a");
    push(d, 0xe2, "");
    push(d, 0x82, "");
    push(d, 0xe2, FFFD);
    push(d, 0x82, "");
    push(d, 0xac, "\xe2\x82\xac");
    push(d, 0xe0, "");
    push(d, 0x80, FFFD FFFD); /* an overlong form is wrong at its second byte */
    push(d, 0xf0, "");
    push(d, 0x9f, "");
    flush(d, FFFD);
    flush(d, "");
    push(d, A, "a");
    ct_detok_free(&d);
    ct_tokenizer_free(&t);
}

static void detok__hides_control_tokens(void **state) {
    (void)state;
    ct_tokenizer *t = open_bytes();
    ct_detok *d = open_detok(t, false);
    push(d, BOS, "");
    push(d, SPACE_B, " b "); /* the leading space stays */
    push(d, THINK, "");
    ct_detok_free(&d);
    d = open_detok(t, true);
    push(d, BOS, "<bos>");
    push(d, THINK, "<|think|>");
    ct_detok_free(&d);
    ct_tokenizer_free(&t);
}

static void detok__refuses_ids_outside_the_vocabulary(void **state) {
    (void)state;
    ct_tokenizer *t = open_bytes();
    ct_detok *d = open_detok(t, true);
    const char *text;
    size_t len = 9;
    carat_error err = {0};
    push(d, 0xe2, "");
    assert_int_equal(ct_detok_push(d, N_PIECE, &text, &len, &err), CARAT_EINVAL);
    assert_int_equal(len, 0);
    assert_non_null(strstr(err.msg, "264"));
    assert_int_equal(ct_detok_push(d, -1, &text, &len, &err), CARAT_EINVAL);
    push(d, 0x82, ""); /* and nothing was lost */
    push(d, 0xac, "\xe2\x82\xac");
    ct_detok_free(&d);
    ct_tokenizer_free(&t);
}

/* ---- the property ---- */

static size_t raw_bytes(int32_t id, bool show, uint8_t *out) {
    if (id < 256) {
        out[0] = (uint8_t)id;
        return 1;
    }
    if (!show && (id == BOS || id == THINK)) return 0;
    size_t n = 0;
    for (const char *s = extra[id - 256]; *s;) {
        if (strncmp(s, U, 3) == 0) {
            out[n++] = ' ';
            s += 3;
        } else {
            out[n++] = (uint8_t)*s++;
        }
    }
    return n;
}

static void append_checked(char *all, size_t *n, const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int ok;
        at += (size_t)ct_utf8_decode((const uint8_t *)text + at, len - at, &cp, &ok);
        assert_true(ok);
    }
    memcpy(all + *n, text, len);
    *n += len;
}

static void detok__streams_what_decoding_at_once_gives(void **state) {
    (void)state;
    enum { MAX_TOKENS = 60 };
    static const uint8_t likely[] = {0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xc3,
                                     0xa9, 0xed, 0xa0, 0xf4, 0x90, 0x8f, 0xff, 0x41};
    ct_tokenizer *t = open_bytes();
    ct_rng r;
    ct_rng_seed(&r, 31);
    for (int k = 0; k < 4000; k++) {
        const bool show = k % 2 == 0;
        uint8_t bytes[MAX_TOKENS * 12];
        char want[sizeof bytes * 3], got[sizeof want];
        size_t n_byte = 0, n_want = 0, n_got = 0, len;
        const char *text;
        ct_detok *d = open_detok(t, show);
        const int n = 1 + (int)(ct_rng_u64(&r) % MAX_TOKENS);
        for (int i = 0; i < n; i++) {
            const uint64_t x = ct_rng_u64(&r);
            const int32_t id = x % 8 == 0   ? (int32_t)(256 + (x >> 8) % N(extra))
                               : x % 8 == 1 ? (int32_t)(x >> 8) & 255
                                            : likely[(x >> 8) % N(likely)];
            n_byte += raw_bytes(id, show, bytes + n_byte);
            assert_int_equal(ct_detok_push(d, id, &text, &len, NULL), 0);
            append_checked(got, &n_got, text, len);
        }
        ct_detok_flush(d, &text, &len);
        append_checked(got, &n_got, text, len);
        for (size_t at = 0; at < n_byte;) {
            uint32_t cp;
            int ok;
            const size_t used = (size_t)ct_utf8_decode(bytes + at, n_byte - at, &cp, &ok);
            n_want += (size_t)ct_utf8_encode(cp, (uint8_t *)want + n_want);
            at += used;
        }
        assert_int_equal(n_got, n_want);
        assert_memory_equal(got, want, n_want);
        ct_detok_free(&d);
    }
    ct_tokenizer_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(detok__holds_back_unfinished_characters),
        cmocka_unit_test(detok__replaces_as_soon_as_it_is_known),
        cmocka_unit_test(detok__hides_control_tokens),
        cmocka_unit_test(detok__refuses_ids_outside_the_vocabulary),
        cmocka_unit_test(detok__streams_what_decoding_at_once_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
