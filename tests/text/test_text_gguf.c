/* Tokenizers from GGUF keys: both models, the oddities of published files, and refusal of what is inconsistent. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "maker.h"
#include "text/text_int.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define U "\xe2\x96\x81"

static const char *const tokens[] = {"<pad>",   "<eos>",      "<bos>", "<unk>", "</s>",   "<|turn>",
                                     "<turn|>", "<|channel>", "\n",    "\n\n",  "  ",     U,
                                     "a",       "b",          "ab",    U "a",   "<0x0A>", "a"};
enum { PAD, EOS, BOS, UNK, STRIKE, TURN, TURN_END, CHANNEL, NL, NL2, SPACES, META, A, B, AB, META_A, BYTE, A_AGAIN };
/* <eos> typed normal, </s> control, <|channel> user-defined: as in published files. */
static const int32_t types[] = {3, 1, 3, 2, 3, 3, 3, 4, 1, 1, 4, 1, 1, 1, 1, 1, 6, 1};
static const char *const merges[] = {"\n \n", U " " U, "a b", U " a", "a zzz", "b a"};

static const maker_gguf good = {.model = "gemma4",
                                .tokens = tokens,
                                .n_tokens = N(tokens),
                                .types = types,
                                .n_types = N(types),
                                .merges = merges,
                                .n_merges = N(merges),
                                .bos = BOS,
                                .eos = EOS,
                                .unk = UNK};

static ct_tokenizer *open_good(const maker_gguf *g) {
    ct_tokenizer *t = NULL;
    carat_error err = {0};
    if (maker_from_gguf(&t, g, &err)) fail_msg("%s", err.msg);
    return t;
}

static void check_ids(const ct_tokenizer *t, const char *text, bool special, const int32_t *want, size_t n) {
    ct_ids ids = {0};
    assert_int_equal(ct_tokenizer_encode(t, text, strlen(text), special, &ids, NULL), 0);
    assert_int_equal(ids.n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids.id[i], want[i]);
    ct_ids_free(&ids);
}
#define CHECK_IDS(t, text, special, ...)                                                                               \
    check_ids(t, text, special, (const int32_t[]){__VA_ARGS__}, N(((const int32_t[]){__VA_ARGS__})))

static void gguf__reads_merges(void **state) {
    (void)state;
    ct_tokenizer *t = open_good(&good);
    CHECK_IDS(t, "ab", true, AB);
    CHECK_IDS(t, " ab", true, META, AB); /* "ab" comes before " a" */
    CHECK_IDS(t, " a", true, META_A);
    CHECK_IDS(t, "ba", true, B, A); /* its result is no piece */
    CHECK_IDS(t, "\n\n\n", true, NL2, NL);
    CHECK_IDS(t, "\r", true, UNK);
    CHECK_IDS(t, "\r\t", true, UNK); /* fused */
    CHECK_IDS(t, "\r\ta\r", true, UNK, A, UNK);
    ct_tokenizer_free(&t);
}

static void gguf__corrects_types_by_text(void **state) {
    (void)state;
    ct_tokenizer *t = open_good(&good);
    assert_true(ct_tokenizer_is_control(t, EOS));
    assert_true(ct_tokenizer_is_control(t, CHANNEL));
    assert_true(ct_tokenizer_is_control(t, UNK));
    assert_false(ct_tokenizer_is_control(t, STRIKE));
    assert_false(ct_tokenizer_is_control(t, A));
    CHECK_IDS(t, "<|turn>a</s>", true, TURN, A, STRIKE);
    CHECK_IDS(t, "a</s>", false, A, STRIKE);
    ct_tokenizer_free(&t);
}

static void gguf__restores_pieces_of_spaces(void **state) {
    (void)state;
    ct_tokenizer *t = open_good(&good);
    size_t len;
    assert_string_equal(ct_tokenizer_piece(t, SPACES, &len), U U);
    CHECK_IDS(t, "  ", true, SPACES);
    CHECK_IDS(t, "   ", true, SPACES, META);
    CHECK_IDS(t, U U, true, SPACES);
    ct_tokenizer_free(&t);
}

static void gguf__stops_where_gemma_stops(void **state) {
    (void)state;
    maker_gguf g = good;
    g.eos = STRIKE; /* a file's mistake */
    ct_tokenizer *t = open_good(&g);
    assert_true(ct_tokenizer_is_stop(t, EOS));
    assert_true(ct_tokenizer_is_stop(t, TURN_END));
    assert_false(ct_tokenizer_is_stop(t, STRIKE));
    assert_false(ct_tokenizer_is_stop(t, TURN));
    assert_false(ct_tokenizer_is_stop(t, -1));
    ct_tokenizer_free(&t);
    g.eos = A;
    t = open_good(&g);
    assert_true(ct_tokenizer_is_stop(t, A));
    ct_tokenizer_free(&t);
}

static void gguf__finds_the_first_of_equal_pieces(void **state) {
    (void)state;
    ct_tokenizer *t = open_good(&good);
    size_t len;
    assert_int_equal(ct_tokenizer_find(t, "a", 1), A);
    assert_string_equal(ct_tokenizer_piece(t, A_AGAIN, &len), "a");
    CHECK_IDS(t, "a", true, A);
    ct_tokenizer_free(&t);
}

static void gguf__does_without_types_and_ids(void **state) {
    (void)state;
    maker_gguf g = good;
    g.types = NULL;
    g.bos = g.eos = g.unk = -1;
    ct_tokenizer *t = open_good(&g);
    assert_int_equal(ct_tokenizer_bos(t), BOS);
    assert_true(ct_tokenizer_is_stop(t, EOS));
    assert_true(ct_tokenizer_is_control(t, TURN));
    assert_int_equal(ct_tokenizer_byte(t, BYTE), 10);
    CHECK_IDS(t, "ab\r", true, AB, UNK);
    ct_tokenizer_free(&t);
}

/* Scores: best first, then the longer left part. The user-defined "bb" is listed with -1000 and counts as 0. */
static void gguf__derives_merges_from_scores(void **state) {
    (void)state;
    static const char *const t_tokens[] = {"<unk>", "a", "b", "c", "ab", "bc", "abc", "cc", "ccc", "bb", "<s>"};
    enum { S_A = 1, S_B, S_C, S_AB, S_BC, S_ABC, S_CC, S_CCC, S_BB, S_S };
    static const int32_t t_types[] = {2, 1, 1, 1, 1, 1, 1, 1, 1, 4, 1};
    static const float scores[] = {0, -9, -9, -9, -3, -2, -4, -5, -5, -1000, -7};
    const maker_gguf g = {.model = "llama",
                          .tokens = t_tokens,
                          .n_tokens = N(t_tokens),
                          .types = t_types,
                          .n_types = N(t_types),
                          .scores = scores,
                          .n_scores = N(scores),
                          .bos = -1,
                          .eos = -1,
                          .unk = 0};
    ct_tokenizer *t = open_good(&g);
    assert_int_equal(t->m.n, 8); /* bb; bc; ab; ab+c, a+bc; cc+c, c+c, c+cc in this order */
    assert_int_equal(ct_merges_rank(&t->m, S_B, S_B), 0);
    assert_int_equal(ct_merges_rank(&t->m, S_B, S_C), 1);
    assert_int_equal(ct_merges_rank(&t->m, S_A, S_B), 2);
    assert_int_equal(ct_merges_rank(&t->m, S_AB, S_C), 3);
    assert_int_equal(ct_merges_rank(&t->m, S_A, S_BC), 4);
    assert_int_equal(ct_merges_rank(&t->m, S_CC, S_C), 5);
    assert_int_equal(ct_merges_rank(&t->m, S_C, S_CC), 6);
    assert_int_equal(ct_merges_rank(&t->m, S_C, S_C), 7);
    CHECK_IDS(t, "abc", true, S_ABC);
    CHECK_IDS(t, "abb", true, S_A, S_BB);
    CHECK_IDS(t, "cccc", true, S_CCC, S_C); /* cc first, nothing else can */
    ct_tokenizer_free(&t);
}

static const float nan_scores[N(tokens)] = {NAN};
static const int32_t bad_types[N(tokens)] = {9};
static const char *const no_gap[] = {"ab"}, *const gap_first[] = {" ab"}, *const gap_last[] = {"ab "},
                         *const empty[] = {""};

#define TOK tokens, N(tokens)
#define MRG merges, N(merges)
#define NO NULL, 0
static const struct {
    maker_gguf g; /* model, tokens, scores, types, merges, bos, eos, unk */
    int code;
    const char *about;
} broken[] = {
    {{NULL, TOK, NO, NO, MRG, -1, -1, -1}, CARAT_EFORMAT, "tokenizer.ggml.model is missing"},
    {{"gpt2", TOK, NO, NO, MRG, -1, -1, -1}, CARAT_EUNSUPPORTED, "model is \"gpt2\""},
    {{"", TOK, NO, NO, MRG, -1, -1, -1}, CARAT_EUNSUPPORTED, "model is \"\""},
    {{"gemma4", NO, NO, NO, MRG, -1, -1, -1}, CARAT_EFORMAT, "tokens is missing"},
    {{"gemma4", tokens, 0, NO, NO, MRG, -1, -1, -1}, CARAT_EFORMAT, "empty"},
    {{"gemma4", TOK, NO, NO, NO, -1, -1, -1}, CARAT_EFORMAT, "merges is missing"},
    {{"llama", TOK, NO, NO, NO, -1, -1, -1}, CARAT_EFORMAT, "scores is missing"},
    {{"llama", TOK, nan_scores, 3, NO, NO, -1, -1, -1}, CARAT_EFORMAT, "scores has 3 elements, expected 18"},
    {{"llama", TOK, nan_scores, N(tokens), NO, NO, -1, -1, -1}, CARAT_EFORMAT, "scores[0]"},
    {{"gemma4", TOK, NO, types, 17, MRG, -1, -1, -1}, CARAT_EFORMAT, "token_type has 17 elements, expected 18"},
    {{"gemma4", TOK, NO, types, 0, MRG, -1, -1, -1}, CARAT_EFORMAT, "token_type has 0 elements"},
    {{"gemma4", TOK, NO, bad_types, N(tokens), MRG, -1, -1, -1}, CARAT_EFORMAT, "token_type[0]"},
    {{"gemma4", TOK, NO, NO, no_gap, 1, -1, -1, -1}, CARAT_EFORMAT, "merges[0]"},
    {{"gemma4", TOK, NO, NO, gap_first, 1, -1, -1, -1}, CARAT_EFORMAT, "merges[0]"},
    {{"gemma4", TOK, NO, NO, gap_last, 1, -1, -1, -1}, CARAT_EFORMAT, "merges[0]"},
    {{"gemma4", TOK, NO, NO, empty, 1, -1, -1, -1}, CARAT_EFORMAT, "merges[0]"},
    {{"gemma4", TOK, NO, NO, MRG, 18, -1, -1}, CARAT_EFORMAT, "bos_token_id is 18, expected an id below 18"},
    {{"gemma4", TOK, NO, NO, MRG, -1, 4294967295, -1}, CARAT_EFORMAT, "eos_token_id is 4294967295"},
    {{"gemma4", TOK, NO, NO, MRG, -1, -1, 18}, CARAT_EFORMAT, "unknown_token_id is 18"},
};

static void gguf__refuses_inconsistent_keys(void **state) {
    (void)state;
    for (size_t i = 0; i < N(broken); i++) {
        ct_tokenizer *t = NULL;
        carat_error err = {0};
        assert_int_equal(maker_from_gguf(&t, &broken[i].g, &err), broken[i].code);
        assert_null(t);
        if (!strstr(err.msg, broken[i].about)) fail_msg("row %zu says \"%s\", not \"%s\"", i, err.msg, broken[i].about);
    }
}

/* Ill-formed pieces exist only for decoding; as added tokens they must not tear characters of the text apart. */
static void gguf__tolerates_ill_formed_pieces(void **state) {
    (void)state;
    static const char *const odd[] = {"<unk>", "\xe2", "\xe2\x96", "a\xff", "\x96\x81", "a", "", U};
    static const int32_t odd_types[] = {2, 4, 4, 1, 4, 1, 4, 4};
    static const char *const odd_merges[] = {"a \xff", "\xe2 \x96\x81", "a a\xff"};
    const maker_gguf g = {.model = "gemma4",
                          .tokens = odd,
                          .n_tokens = N(odd),
                          .types = odd_types,
                          .n_types = N(odd_types),
                          .merges = odd_merges,
                          .n_merges = N(odd_merges),
                          .bos = -1,
                          .eos = -1,
                          .unk = 0};
    ct_tokenizer *t = open_good(&g);
    CHECK_IDS(t, U "a", true, 7, 5);
    CHECK_IDS(t, "\xe2\x96\x82", true, 0);
    CHECK_IDS(t, "a\xff", true, 5, 0);
    ct_tokenizer_free(&t);
}

/* Damaged files open or are refused with one line, and what opens encodes to ids it has. */
static void gguf__survives_damaged_files(void **state) {
    (void)state;
    static const char text[] = " ab\n\n\n  <|turn>b\xff\xe2\x96\x81"
                               "a\r</s>";
    static const float scores[N(tokens)] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -2, -1000, -3, -4, -5, -6, -7, 0, -8};
    maker_gguf g = good;
    ct_rng r;
    ct_rng_seed(&r, 41);
    int n_open = 0;
    for (int model = 0; model < 2; model++) {
        char *file;
        size_t size;
        if (model == 1) g.model = "llama", g.merges = NULL, g.scores = scores, g.n_scores = N(scores);
        maker_gguf_bytes(&file, &size, &g);
        for (int k = 0; k < 1000; k++) {
            char *bad = ct_strdup_n(file, size);
            const int n_change = 1 + (int)(ct_rng_u64(&r) % 3);
            for (int i = 0; i < n_change; i++) {
                const size_t at = ct_rng_u64(&r) % size;
                bad[at] = ct_rng_u64(&r) % 2 ? (char)ct_rng_u64(&r) : (char)(bad[at] ^ 1 << ct_rng_u64(&r) % 8);
            }
            ct_tokenizer *t = NULL;
            ct_ids ids = {0};
            carat_error err = {0};
            const int rc = maker_from_gguf_bytes(&t, bad, k % 10 ? size : ct_rng_u64(&r) % size, &err);
            ct_free(bad);
            assert_true(rc ? rc < 0 && !t && err.msg[0] : t != NULL);
            if (rc) continue;
            n_open++;
            assert_int_equal(ct_tokenizer_encode(t, text, sizeof text - 1, k % 2, &ids, &err), 0);
            for (size_t i = 0; i < ids.n; i++) assert_in_range(ids.id[i], 0, ct_tokenizer_n_vocab(t) - 1);
            ct_ids_free(&ids);
            ct_tokenizer_free(&t);
        }
        ct_free(file);
    }
    assert_in_range(n_open, 100, 1900); /* both outcomes were seen */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__reads_merges),
        cmocka_unit_test(gguf__corrects_types_by_text),
        cmocka_unit_test(gguf__restores_pieces_of_spaces),
        cmocka_unit_test(gguf__stops_where_gemma_stops),
        cmocka_unit_test(gguf__finds_the_first_of_equal_pieces),
        cmocka_unit_test(gguf__does_without_types_and_ids),
        cmocka_unit_test(gguf__derives_merges_from_scores),
        cmocka_unit_test(gguf__refuses_inconsistent_keys),
        cmocka_unit_test(gguf__tolerates_ill_formed_pieces),
        cmocka_unit_test(gguf__survives_damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
