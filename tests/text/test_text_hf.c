/* Tokenizers from tokenizer.json: what is honoured, what is refused and how, and that no damage to the file does more
 * than produce an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "maker.h"
#include "text/text_int.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define U "\xe2\x96\x81"
#define NORMALIZER "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" U "\"}"
#define VOCAB "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"ab\":3,\"" U "\":4,\"" U "a\":5,\"<bos>\":6,\"<eos>\":7}"
#define MERGES "\"merges\":[[\"a\",\"b\"],\"" U " a\"]"
#define FILE_WITH(top, model) "{" top ",\"model\":{\"type\":\"BPE\"," model "}}"
#define GOOD_MODEL VOCAB "," MERGES ",\"unk_token\":\"<unk>\",\"fuse_unk\":true"

static int open_json(ct_tokenizer **t, const char *json, const char *extra_name, const char *extra, carat_error *err) {
    return maker_from_json(t, json, strlen(json), extra_name, extra, err);
}

static ct_tokenizer *open_good(const char *json, const char *extra_name, const char *extra) {
    ct_tokenizer *t = NULL;
    carat_error err = {0};
    const int rc = open_json(&t, json, extra_name, extra, &err);
    if (rc == CARAT_EUNSUPPORTED && !CT_HAVE_JANSSON) skip();
    if (rc) fail_msg("%s", err.msg);
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

static void hf__reads_both_spellings_of_merges(void **state) {
    (void)state;
    ct_tokenizer *t = open_good(FILE_WITH(NORMALIZER, GOOD_MODEL), NULL, NULL);
    CHECK_IDS(t, "ab a", true, 3, 5);
    CHECK_IDS(t, " ab", true, 4, 3);
    CHECK_IDS(t, "xya", true, 0, 1);
    ct_tokenizer_free(&t);
}

static void hf__honours_the_flags_of_the_model(void **state) {
    (void)state;
    ct_tokenizer *t =
        open_good(FILE_WITH(NORMALIZER, VOCAB "," MERGES ",\"unk_token\":\"<unk>\",\"fuse_unk\":false"), NULL, NULL);
    CHECK_IDS(t, "xya", true, 0, 0, 1);
    ct_tokenizer_free(&t);
    t = open_good(FILE_WITH(NORMALIZER, VOCAB "," MERGES ",\"unk_token\":null"), NULL, NULL);
    CHECK_IDS(t, "xya", true, 1);
    ct_tokenizer_free(&t);
    t = open_good(FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[],\"ignore_merges\":true"), NULL, NULL);
    CHECK_IDS(t, "ab", true, 3);
    CHECK_IDS(t, " a", true, 5);
    CHECK_IDS(t, "aba", true, 1, 2, 1);
    ct_tokenizer_free(&t);
    t = open_good(FILE_WITH(NORMALIZER, "\"vocab\":{\"<0xC3>\":0,\"<0xA9>\":1,\"<unk>\":2,\"a\":3},\"merges\":[],"
                                        "\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"fuse_unk\":true"),
                  NULL, NULL);
    CHECK_IDS(t, "\xc3\xa9", true, 0, 1);
    CHECK_IDS(t,
              "\xc3\xa8"
              "a",
              true, 2, 3);
    CHECK_IDS(t,
              "\xc3\xa8\xc3\xa9"
              "a",
              true, 0, 1, 2, 3); /* the library's order */
    ct_tokenizer_free(&t);
}

#define ADDED(id, content, flags) "{\"id\":" #id ",\"content\":\"" content "\"" flags "}"

static void hf__matches_added_tokens_leftmost_longest(void **state) {
    (void)state;
    ct_tokenizer *t = open_good(
        FILE_WITH(NORMALIZER ",\"added_tokens\":[" ADDED(8, "<x", ",\"special\":false") "," ADDED(
                      9, "<x>", ",\"special\":true") "," ADDED(10, "x>b",
                                                               "") "," ADDED(11, "a a",
                                                                             ",\"normalized\":true") "," ADDED(12, "b ",
                                                                                                               "") "]",
                  GOOD_MODEL),
        NULL, NULL);
    assert_int_equal(ct_tokenizer_n_vocab(t), 13);
    CHECK_IDS(t, "<x>b", true, 9, 2);
    CHECK_IDS(t, "<xb", true, 8, 2);
    CHECK_IDS(t, "x>b", true, 10);
    /* The control token matched first and hides "<x", as in the library. */
    CHECK_IDS(t, "<x>b", false, 0, 2);
    /* Normalized: found after ' ' became U+2581, which "b " is not. */
    CHECK_IDS(t, "a a", true, 11);
    CHECK_IDS(t, "a" U "a", true, 11);
    CHECK_IDS(t, "b a", true, 12, 1);
    CHECK_IDS(t, "b" U "a", true, 2, 5);
    CHECK_IDS(t, "aa ab a", true, 1, 11, 12, 1);
    ct_tokenizer_free(&t);
}

static void hf__takes_ids_from_the_files_beside(void **state) {
    (void)state;
    static const char json[] = FILE_WITH(NORMALIZER, GOOD_MODEL);
    ct_tokenizer *t = open_good(json, "generation_config.json", "{\"bos_token_id\":5,\"eos_token_id\":[1,2]}");
    assert_int_equal(ct_tokenizer_bos(t), 5);
    assert_true(ct_tokenizer_is_stop(t, 1) && ct_tokenizer_is_stop(t, 2) && ct_tokenizer_is_stop(t, 7));
    assert_false(ct_tokenizer_is_stop(t, 3));
    ct_tokenizer_free(&t);
    t = open_good(json, "generation_config.json", "{\"eos_token_id\":3}");
    assert_int_equal(ct_tokenizer_bos(t), 6);
    assert_true(ct_tokenizer_is_stop(t, 3));
    ct_tokenizer_free(&t);
    t = open_good(json, "tokenizer_config.json", "{\"bos_token\":{\"content\":\"ab\"},\"eos_token\":\"b\"}");
    assert_int_equal(ct_tokenizer_bos(t), 3);
    assert_true(ct_tokenizer_is_stop(t, 2));
    ct_tokenizer_free(&t);
}

static const struct {
    const char *json, *extra_name, *extra;
    int code;
    const char *about;
} broken[] = {
    {"", NULL, NULL, CARAT_EFORMAT, "tokenizer.json"},
    {"[]", NULL, NULL, CARAT_EFORMAT, "model is missing"},
    {"{}", NULL, NULL, CARAT_EFORMAT, "model is missing"},
    {"{\"model\":[]}", NULL, NULL, CARAT_EFORMAT, "model is missing"},
    {"{\"model\":{\"type\":\"Unigram\"}}", NULL, NULL, CARAT_EUNSUPPORTED, "model Unigram"},
    {"{\"model\":{\"type\":\"BPE\"}}", NULL, NULL, CARAT_EFORMAT, "model.vocab"},
    {"{\"model\":{\"vocab\":{}}}", NULL, NULL, CARAT_EFORMAT, "model.merges"},
    {"{\"model\":{" VOCAB ",\"merges\":{}}}", NULL, NULL, CARAT_EFORMAT, "model.merges"},
    {FILE_WITH(NORMALIZER, "\"vocab\":{},\"merges\":[]"), NULL, NULL, CARAT_EFORMAT, "empty"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[[\"a\"]]"), NULL, NULL, CARAT_EFORMAT, "merges[0]"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[[\"a\",\"b\",\"c\"]]"), NULL, NULL, CARAT_EFORMAT, "merges[0]"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[[\"a\",1]]"), NULL, NULL, CARAT_EFORMAT, "merges[0]"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[[\"a\",\"\"]]"), NULL, NULL, CARAT_EFORMAT, "merges[0]"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[\"a b\",\"ab\"]"), NULL, NULL, CARAT_EFORMAT, "merges[1]"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[\" b\"]"), NULL, NULL, CARAT_EFORMAT, "merges[0]"},
    {FILE_WITH(NORMALIZER, VOCAB ",\"merges\":[7]"), NULL, NULL, CARAT_EFORMAT, "merges[0]"},
    {FILE_WITH(NORMALIZER, "\"vocab\":{\"a\":-1},\"merges\":[]"), NULL, NULL, CARAT_EFORMAT, "id of \"a\""},
    {FILE_WITH(NORMALIZER, "\"vocab\":{\"a\":4000000000},\"merges\":[]"), NULL, NULL, CARAT_EFORMAT, "id of \"a\""},
    {FILE_WITH(NORMALIZER, "\"vocab\":{\"a\":\"b\"},\"merges\":[]"), NULL, NULL, CARAT_EFORMAT, "id of \"a\""},
    {FILE_WITH(NORMALIZER, "\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]"), NULL, NULL, CARAT_EFORMAT, "id 1 is both"},
    {FILE_WITH(NORMALIZER ",\"added_tokens\":[" ADDED(1, "q", "") "]", GOOD_MODEL), NULL, NULL, CARAT_EFORMAT,
     "id 1 is both"},
    {FILE_WITH(NORMALIZER ",\"added_tokens\":[{\"id\":9}]", GOOD_MODEL), NULL, NULL, CARAT_EFORMAT, "added_tokens[0]"},
    {FILE_WITH(NORMALIZER ",\"added_tokens\":[{\"content\":\"q\"}]", GOOD_MODEL), NULL, NULL, CARAT_EFORMAT,
     "id of \"q\""},
    {FILE_WITH(NORMALIZER ",\"added_tokens\":[" ADDED(9, "q", ",\"lstrip\":true") "]", GOOD_MODEL), NULL, NULL,
     CARAT_EUNSUPPORTED, "lstrip"},
    {FILE_WITH(NORMALIZER ",\"added_tokens\":[" ADDED(9, "q", ",\"rstrip\":true") "]", GOOD_MODEL), NULL, NULL,
     CARAT_EUNSUPPORTED, "rstrip"},
    {FILE_WITH(NORMALIZER ",\"added_tokens\":[" ADDED(9, "q", ",\"single_word\":true") "]", GOOD_MODEL), NULL, NULL,
     CARAT_EUNSUPPORTED, "single_word"},
    {FILE_WITH("\"normalizer\":null", GOOD_MODEL), NULL, NULL, CARAT_EUNSUPPORTED, "normalizer"},
    {FILE_WITH("\"normalizer\":{\"type\":\"NFC\"}", GOOD_MODEL), NULL, NULL, CARAT_EUNSUPPORTED, "normalizer NFC"},
    {FILE_WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" U "\"}]}",
               GOOD_MODEL),
     NULL, NULL, CARAT_EUNSUPPORTED, "normalizer Prepend"},
    {FILE_WITH(NORMALIZER ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", GOOD_MODEL), NULL, NULL, CARAT_EUNSUPPORTED,
     "pre_tokenizer ByteLevel"},
    {FILE_WITH(NORMALIZER
               ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\"}]}",
               GOOD_MODEL),
     NULL, NULL, CARAT_EUNSUPPORTED, "decoder Strip"},
    {FILE_WITH(NORMALIZER, GOOD_MODEL ",\"dropout\":0.1"), NULL, NULL, CARAT_EUNSUPPORTED, "dropout"},
    {FILE_WITH(NORMALIZER, GOOD_MODEL ",\"end_of_word_suffix\":\"</w>\""), NULL, NULL, CARAT_EUNSUPPORTED,
     "end_of_word_suffix"},
    {FILE_WITH(NORMALIZER, GOOD_MODEL), "generation_config.json", "{\"eos_token_id\":8}", CARAT_EFORMAT,
     "eos_token_id"},
    {FILE_WITH(NORMALIZER, GOOD_MODEL), "generation_config.json", "{\"eos_token_id\":[1,\"x\"]}", CARAT_EFORMAT,
     "eos_token_id"},
    {FILE_WITH(NORMALIZER, GOOD_MODEL), "generation_config.json", "{\"bos_token_id\":-2}", CARAT_EFORMAT,
     "bos_token_id"},
    {FILE_WITH(NORMALIZER, GOOD_MODEL), "generation_config.json", "{", CARAT_EFORMAT, "generation_config.json"},
};

static void hf__refuses_what_it_would_get_wrong(void **state) {
    (void)state;
    if (!CT_HAVE_JANSSON) skip();
    for (size_t i = 0; i < N(broken); i++) {
        ct_tokenizer *t = NULL;
        carat_error err = {0};
        const int rc = open_json(&t, broken[i].json, broken[i].extra_name, broken[i].extra, &err);
        if (rc != broken[i].code) fail_msg("row %zu: %d (%s), expected %d", i, rc, err.msg, broken[i].code);
        assert_null(t);
        if (!strstr(err.msg, broken[i].about)) fail_msg("row %zu says \"%s\", not \"%s\"", i, err.msg, broken[i].about);
    }
    ct_tokenizer *t = NULL;
    carat_error err = {0};
    assert_int_equal(ct_tokenizer_from_hf(&t, "/nonexistent/tokenizer.json", &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "tokenizer.json"));
}

/* Damaged copies of the small Gemma tokenizer: each opens or is refused with one line, and what opens encodes. */
static void hf__survives_damaged_files(void **state) {
    (void)state;
    if (!CT_HAVE_JANSSON) skip();
    static const char text[] = "the <bos> and\n\n\nthere\xff \xf0\x9f\x98\x80<|turn>";
    char *good, *bad;
    size_t size;
    carat_error err = {0};
    ct_rng r;
    ct_rng_seed(&r, 21);
    if (ct_read_file(&good, &size, maker_root_path("tests/oracle/e2b/tokenizer.json"), 1 << 20, &err))
        fail_msg("%s", err.msg);
    bad = malloc(size);
    int n_open = 0;
    for (int k = 0; k < 1500; k++) {
        memcpy(bad, good, size);
        size_t len = k % 5 == 0 ? ct_rng_u64(&r) % size : size;
        const int n_change = 1 + (int)(ct_rng_u64(&r) % 3);
        for (int i = 0; i < n_change; i++) {
            const size_t at = ct_rng_u64(&r) % size;
            const uint64_t how = ct_rng_u64(&r) % 4;
            if (how == 0) bad[at] = (char)ct_rng_u64(&r);
            if (how == 1) bad[at] = "0123456789\"{}[],:-e \\<>"[ct_rng_u64(&r) % 23];
            if (how == 2) memmove(bad + at, bad + at + 1, size - at - 1);
            if (how == 3) memcpy(bad + at, good + ct_rng_u64(&r) % size / 2, (size - at) % 30);
        }
        ct_tokenizer *t = NULL;
        ct_ids ids = {0};
        err.msg[0] = '\0';
        const int rc = maker_from_json(&t, bad, len, NULL, NULL, &err);
        assert_true(rc ? rc < 0 && !t && err.msg[0] : t != NULL);
        if (rc) continue;
        n_open++;
        assert_int_equal(ct_tokenizer_encode(t, text, sizeof text - 1, true, &ids, &err), 0);
        for (size_t i = 0; i < ids.n; i++) assert_in_range(ids.id[i], 0, ct_tokenizer_n_vocab(t) - 1);
        ct_ids_free(&ids);
        ct_tokenizer_free(&t);
    }
    assert_in_range(n_open, 20, 1400); /* both outcomes were seen */
    free(bad);
    ct_free(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hf__reads_both_spellings_of_merges),
        cmocka_unit_test(hf__honours_the_flags_of_the_model),
        cmocka_unit_test(hf__matches_added_tokens_leftmost_longest),
        cmocka_unit_test(hf__takes_ids_from_the_files_beside),
        cmocka_unit_test(hf__refuses_what_it_would_get_wrong),
        cmocka_unit_test(hf__survives_damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
