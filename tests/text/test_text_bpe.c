/* Encoding against a slow, literal BPE written here: no cutting, no cache, no heap, strings in place of ids.
 * Random vocabularies of a few characters make every kind of overlap, tie and skipped merge common. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "base/rng.h"
#include "maker.h"
#include "text/text_int.h"

/* ---- a vocabulary under test ---- */

enum { MAX_PIECES = 400, MAX_MERGE_LIST = 200, PIECE_LEN = 64 };

typedef struct {
    char piece[MAX_PIECES][PIECE_LEN];
    int32_t type[MAX_PIECES];
    int n;
    char l[MAX_MERGE_LIST][PIECE_LEN], r[MAX_MERGE_LIST][PIECE_LEN];
    int n_merge;
    bool bytes;
} language;

static int find(const language *g, const char *s) {
    for (int i = 0; i < g->n; i++) {
        if (strcmp(g->piece[i], s) == 0) return i;
    }
    return -1;
}

static int add(language *g, const char *s, int32_t type) {
    const int at = find(g, s);
    if (at >= 0 || g->n == MAX_PIECES || strlen(s) >= PIECE_LEN) return at;
    strcpy(g->piece[g->n], s);
    g->type[g->n] = type;
    return g->n++;
}

static const char *const letters[] = {
    "a", "b", "c", "d", "\xe2\x96\x81", "\n", "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x98\x80"};
#define N_LETTER (sizeof letters / sizeof *letters)

static uint32_t below(ct_rng *r, uint32_t n) { return (uint32_t)(ct_rng_u64(r) % n); }

static void make_language(language *g, ct_rng *r, bool bytes) {
    char s[2 * PIECE_LEN];
    memset(g, 0, sizeof *g);
    g->bytes = bytes;
    add(g, "<unk>", 3);
    for (int b = 0; bytes && b < 256; b++) {
        snprintf(s, sizeof s, "<0x%02X>", b);
        add(g, s, 6);
    }
    const int first = g->n;
    for (size_t i = 0; i < N_LETTER; i++) {
        if (i < 2 || below(r, 8)) add(g, letters[i], 1); /* now and then a letter is missing */
    }
    const int n_merge = 1 + (int)below(r, 60);
    for (int i = 0; i < n_merge; i++) {
        const char *a = g->piece[first + (int)below(r, (uint32_t)(g->n - first))];
        const char *b = g->piece[first + (int)below(r, (uint32_t)(g->n - first))];
        snprintf(s, sizeof s, "%s%s", a, b);
        if (strlen(s) > 24) continue;
        strcpy(g->l[g->n_merge], a);
        strcpy(g->r[g->n_merge++], b);
        if (below(r, 10)) add(g, s, 1); /* else: a merge whose result is no piece, unless another makes it one */
    }
}

static ct_tokenizer *open_language(const language *g) {
    const char *tokens[MAX_PIECES], *merges[MAX_MERGE_LIST];
    char joined[MAX_MERGE_LIST][2 * PIECE_LEN];
    for (int i = 0; i < g->n; i++) tokens[i] = g->piece[i];
    for (int i = 0; i < g->n_merge; i++) {
        snprintf(joined[i], sizeof joined[i], "%s %s", g->l[i], g->r[i]);
        merges[i] = joined[i];
    }
    const maker_gguf f = {.model = "gemma4",
                          .tokens = tokens,
                          .n_tokens = (size_t)g->n,
                          .types = g->type,
                          .n_types = (size_t)g->n,
                          .merges = merges,
                          .n_merges = (size_t)g->n_merge,
                          .bos = -1,
                          .eos = -1,
                          .unk = 0};
    ct_tokenizer *t = NULL;
    carat_error err = {0};
    if (maker_from_gguf(&t, &f, &err)) fail_msg("%s", err.msg);
    return t;
}

/* ---- the literal BPE ---- */

/* Last entry wins, as a dictionary would have it. */
static int rank_of(const language *g, const char *a, const char *b) {
    char s[2 * PIECE_LEN];
    for (int i = g->n_merge; i-- > 0;) {
        if (strcmp(g->l[i], a) || strcmp(g->r[i], b)) continue;
        snprintf(s, sizeof s, "%s%s", a, b);
        return find(g, s) >= 0 ? i : -1;
    }
    return -1;
}

/* Ids of a text without spaces replaced; returns their number. */
static size_t slow_encode(const language *g, const char *text, size_t len, int32_t *out) {
    char(*sym)[PIECE_LEN] = calloc(3 * len + 1, PIECE_LEN);
    size_t n = 0;
    bool unk = false;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int ok;
        char one[8] = {0};
        const int k = ct_utf8_decode((const uint8_t *)text + at, len - at, &cp, &ok);
        if (text[at] == ' ')
            strcpy(one, "\xe2\x96\x81");
        else
            memcpy(one, text + at, (size_t)k);
        at += (size_t)k;
        if (find(g, one) >= 0) {
            if (unk) strcpy(sym[n++], "<unk>");
            unk = false;
            strcpy(sym[n++], one);
        } else if (g->bytes) {
            for (const char *p = one; *p; p++) snprintf(sym[n++], PIECE_LEN, "<0x%02X>", (unsigned)(uint8_t)*p);
        } else {
            unk = true;
        }
    }
    if (unk) strcpy(sym[n++], "<unk>");
    for (;;) {
        int best = -1;
        size_t where = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const int rank = rank_of(g, sym[i], sym[i + 1]);
            if (rank >= 0 && (best < 0 || rank < best)) best = rank, where = i;
        }
        if (best < 0) break;
        char both[2 * PIECE_LEN];
        snprintf(both, sizeof both, "%s%s", sym[where], sym[where + 1]);
        strcpy(sym[where], both);
        memmove(sym[where + 1], sym[where + 2], (n - where - 2) * PIECE_LEN);
        n--;
    }
    for (size_t i = 0; i < n; i++) out[i] = find(g, sym[i]);
    free(sym);
    return n;
}

static void check_same(const language *g, const ct_tokenizer *t, const char *text, size_t len) {
    int32_t *want = calloc(3 * len + 1, sizeof *want);
    const size_t n = slow_encode(g, text, len, want);
    ct_ids got = {0};
    carat_error err = {0};
    assert_int_equal(ct_tokenizer_encode(t, text, len, true, &got, &err), 0);
    assert_int_equal(got.n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(got.id[i], want[i]);
    ct_ids_free(&got);
    free(want);
}

static size_t random_text(ct_rng *r, char *s, size_t n_letter) {
    size_t len = 0;
    const uint32_t kinds = 1 + below(r, N_LETTER + 2); /* few kinds make long repeats */
    for (size_t i = 0; i < n_letter; i++) {
        const uint32_t k = below(r, kinds);
        const char *c = k < N_LETTER ? letters[k] : k == N_LETTER ? " " : "\xd0\xb8";
        memcpy(s + len, c, strlen(c));
        len += strlen(c);
    }
    return len;
}

static void encode__equals_a_literal_bpe(void **state) {
    (void)state;
    static language g;
    char text[4 * 600];
    ct_rng r;
    ct_rng_seed(&r, 11);
    for (int k = 0; k < 150; k++) {
        make_language(&g, &r, k % 3 != 0);
        ct_tokenizer *t = open_language(&g);
        assert_int_equal(t->m.cut, k % 3 != 0);
        for (int i = 0; i < 12; i++) check_same(&g, t, text, random_text(&r, text, 1 + below(&r, 40)));
        for (int i = 0; i < 2; i++) check_same(&g, t, text, random_text(&r, text, 100 + below(&r, 150)));
        ct_tokenizer_free(&t);
    }
}

/* Merges of byte pieces are legal; cutting the text would miss them. */
static void encode__merges_byte_pieces(void **state) {
    (void)state;
    static language g;
    ct_rng r;
    ct_rng_seed(&r, 12);
    memset(&g, 0, sizeof g);
    g.bytes = true;
    char s[8];
    add(&g, "<unk>", 3);
    for (int b = 0; b < 256; b++) {
        snprintf(s, sizeof s, "<0x%02X>", b);
        add(&g, s, 6);
    }
    add(&g, "a", 1);
    add(&g, "a<0xD0>", 1);
    add(&g, "<0xD0><0xB8>", 1);
    strcpy(g.l[0], "a"), strcpy(g.r[0], "<0xD0>");
    strcpy(g.l[1], "<0xD0>"), strcpy(g.r[1], "<0xB8>");
    g.n_merge = 2;
    ct_tokenizer *t = open_language(&g);
    assert_false(t->m.cut);
    check_same(&g, t, "a\xd0\xb8", 3);
    check_same(&g, t,
               "\xd0\xb8"
               "a\xd0\xb8 \xd0\xb8",
               8);
    ct_tokenizer_free(&t);
}

static void merges__of_which_the_last_counts(void **state) {
    (void)state;
    static language g;
    memset(&g, 0, sizeof g);
    for (int i = 0; i < 3; i++) add(&g, letters[i], 1);
    add(&g, "ab", 1);
    add(&g, "bc", 1);
    const char *const pair[3][2] = {{"a", "b"}, {"b", "c"}, {"a", "b"}};
    for (int i = 0; i < 3; i++) strcpy(g.l[i], pair[i][0]), strcpy(g.r[i], pair[i][1]);
    g.n_merge = 3;
    ct_tokenizer *t = open_language(&g);
    check_same(&g, t, "abc", 3);
    ct_ids ids = {0};
    assert_int_equal(ct_tokenizer_encode(t, "abc", 3, true, &ids, NULL), 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.id[1], find(&g, "bc"));
    ct_ids_free(&ids);
    ct_tokenizer_free(&t);
}

/* A megabyte that merges throughout: quadratic work would take hours, and a second is generous even with sanitizers. */
static void encode__long_runs_take_n_log_n(void **state) {
    (void)state;
    static language g;
    memset(&g, 0, sizeof g);
    add(&g, "a", 1);
    add(&g, "\xe2\x96\x81", 1);
    for (int len = 2; len <= 8; len *= 2) {
        char half[16], whole[16];
        memset(half, 'a', sizeof half);
        memset(whole, 'a', sizeof whole);
        half[len / 2] = whole[len] = '\0';
        add(&g, whole, 1);
        strcpy(g.l[g.n_merge], half);
        strcpy(g.r[g.n_merge++], half);
    }
    strcpy(g.l[g.n_merge], "\xe2\x96\x81"), strcpy(g.r[g.n_merge++], "\xe2\x96\x81");
    add(&g, "\xe2\x96\x81\xe2\x96\x81", 1);
    ct_tokenizer *t = open_language(&g);
    const size_t n = 1000000;
    char *text = malloc(n);
    for (int k = 0; k < 2; k++) {
        ct_ids ids = {0};
        memset(text, k ? ' ' : 'a', n);
        const double start = ct_now_ms();
        assert_int_equal(ct_tokenizer_encode(t, text, n, true, &ids, NULL), 0);
        assert_true(ct_now_ms() - start < 20000);
        assert_int_equal(ids.n, k ? n / 2 : n / 8);
        ct_ids_free(&ids);
    }
    free(text);
    ct_tokenizer_free(&t);
}

static void encode__repairs_ill_formed_text(void **state) {
    (void)state;
    static const struct {
        const char *bad, *good;
    } pair[] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xe2\x96", "\xef\xbf\xbd"},
        {"\xf0\x9f\x98"
         "a",
         "\xef\xbf\xbd"
         "a"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"aaaaaaaaaaaaaaaaaaaa\x80", "aaaaaaaaaaaaaaaaaaaa\xef\xbf\xbd"},
    };
    static language g;
    ct_rng r;
    ct_rng_seed(&r, 13);
    make_language(&g, &r, true);
    ct_tokenizer *t = open_language(&g);
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        ct_ids a = {0}, b = {0};
        assert_int_equal(ct_tokenizer_encode(t, pair[i].bad, strlen(pair[i].bad), true, &a, NULL), 0);
        assert_int_equal(ct_tokenizer_encode(t, pair[i].good, strlen(pair[i].good), true, &b, NULL), 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
        ct_ids_free(&a);
        ct_ids_free(&b);
    }
    ct_tokenizer_free(&t);
}

static void encode__appends_and_accepts_nothing(void **state) {
    (void)state;
    static language g;
    ct_rng r;
    ct_rng_seed(&r, 14);
    make_language(&g, &r, true);
    ct_tokenizer *t = open_language(&g);
    ct_ids ids = {0};
    assert_int_equal(ct_tokenizer_encode(t, "", 0, true, &ids, NULL), 0);
    assert_int_equal(ids.n, 0);
    assert_int_equal(ct_tokenizer_encode(t, "a\0b", 3, true, &ids, NULL), 0);
    const size_t n = ids.n;
    assert_true(n > 0);
    assert_int_equal(ct_tokenizer_encode(t, "a", 1, true, &ids, NULL), 0);
    assert_int_equal(ids.n, n + 1);
    assert_int_equal(ids.id[n], find(&g, "a"));
    ct_ids_free(&ids);
    ct_tokenizer_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode__equals_a_literal_bpe),     cmocka_unit_test(encode__merges_byte_pieces),
        cmocka_unit_test(merges__of_which_the_last_counts), cmocka_unit_test(encode__long_runs_take_n_log_n),
        cmocka_unit_test(encode__repairs_ill_formed_text),  cmocka_unit_test(encode__appends_and_accepts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
