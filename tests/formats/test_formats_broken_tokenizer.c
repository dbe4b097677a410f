/* Broken tokenizer data in well-formed containers: tokenizer.ggml.* keys of a GGUF, and tokenizer.json. Each must be
 * refused with the right code and a one-line message about the right thing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/gguf_priv.h"
#include "text/tokenizer.h"

#define T "tokenizer.ggml."
#define GEMMA4 "k:" T "model,8 s:gemma4 "
#define LLAMA "k:" T "model,8 s:llama "
#define TOKENS "k:" T "tokens,9 d:8 q:5 s:<eos> s:<bos> s:a s:b s:ab "
#define TYPES "k:" T "token_type,9 d:5 q:5 d:3 d:3 d:1 d:1 d:1 "
#define MERGES "k:" T "merges,9 d:8 q:1 q:3 r:a b:32 r:b "
#define SCORES "k:" T "scores,9 d:6 q:5 f:0 f:0 f:-3 f:-4 f:-1 "

static const struct {
    const char *line;
    int code;
    const char *about;
} keys[] = {
    {"h:3,0,0", CARAT_EFORMAT, T "model is missing"},
    {"h:3,0,1 k:" T "model,4 d:1", CARAT_EFORMAT, T "model is missing or not a string"},
    {"h:3,0,1 k:" T "model,9 d:8 q:1 s:gemma4", CARAT_EFORMAT, T "model is missing or not a string"},
    {"h:3,0,1 k:" T "model,8 s:", CARAT_EUNSUPPORTED, T "model is \"\""},
    {"h:3,0,1 k:" T "model,8 s:gpt2", CARAT_EUNSUPPORTED, T "model is \"gpt2\", expected \"gemma4\" or \"llama\""},
    {"h:3,0,1 k:" T "model,8 s:gemma44", CARAT_EUNSUPPORTED, T "model is \"gemma44\""},
    {"h:3,0,1 k:" T "model,8 s:bert", CARAT_EUNSUPPORTED, T "model is \"bert\""},
    {"h:3,0,1 " GEMMA4, CARAT_EFORMAT, T "tokens is missing"},
    {"h:3,0,1 " LLAMA, CARAT_EFORMAT, T "tokens is missing"},
    {"h:3,0,2 " GEMMA4 "k:" T "tokens,8 s:a", CARAT_EFORMAT, T "tokens is not an array of strings"},
    {"h:3,0,2 " GEMMA4 "k:" T "tokens,4 d:1", CARAT_EFORMAT, T "tokens is not an array of strings"},
    {"h:3,0,2 " GEMMA4 "k:" T "tokens,9 d:4 q:1 d:1", CARAT_EFORMAT, T "tokens is not an array of strings"},
    {"h:3,0,2 " GEMMA4 "k:" T "tokens,9 d:9 q:1 d:8 q:1 s:a", CARAT_EFORMAT, T "tokens is not an array of strings"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,9 d:5 q:4 d:1 d:1 d:1 d:1", CARAT_EFORMAT,
     T "token_type has 4 elements, expected 5"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,9 d:5 q:6 d:1 d:1 d:1 d:1 d:1 d:1", CARAT_EFORMAT,
     T "token_type has 6 elements, expected 5"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,9 d:8 q:5 s:1 s:1 s:1 s:1 s:1", CARAT_EFORMAT, T "token_type is not an array"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,5 d:1", CARAT_EFORMAT, T "token_type is not an array of numbers"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,9 d:5 q:5 d:1 d:1 d:7 d:1 d:1", CARAT_EFORMAT, T "token_type[2]"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,9 d:5 q:5 d:1 d:1 d:1 d:1 d:-1", CARAT_EFORMAT, T "token_type[4]"},
    {"h:3,0,3 " GEMMA4 TOKENS "k:" T "token_type,9 d:6 q:5 f:1 f:1 f:1 f:1 f:1", CARAT_EFORMAT, T "token_type[0]"},
    {"h:3,0,3 " GEMMA4 TOKENS TYPES, CARAT_EFORMAT, T "merges is missing"},
    {"h:3,0,4 " GEMMA4 TOKENS TYPES "k:" T "merges,9 d:4 q:1 d:1", CARAT_EFORMAT, T "merges is not an array of strings"},
    {"h:3,0,4 " GEMMA4 TOKENS TYPES "k:" T "merges,8 s:ab", CARAT_EFORMAT, T "merges is not an array of strings"},
    {"h:3,0,4 " GEMMA4 TOKENS TYPES "k:" T "merges,9 d:8 q:1 s:ab", CARAT_EFORMAT, T "merges[0] is not two pieces"},
    {"h:3,0,4 " GEMMA4 TOKENS TYPES "k:" T "merges,9 d:8 q:1 s:", CARAT_EFORMAT, T "merges[0] is not two pieces"},
    {"h:3,0,4 " GEMMA4 TOKENS TYPES "k:" T "merges,9 d:8 q:2 q:3 r:a b:32 r:b q:2 r:a b:32", CARAT_EFORMAT,
     T "merges[1] is not two pieces"},
    {"h:3,0,4 " GEMMA4 TOKENS TYPES "k:" T "merges,9 d:8 q:1 q:2 b:32 r:a", CARAT_EFORMAT, T "merges[0] is not two pieces"},
    {"h:3,0,3 " LLAMA TOKENS TYPES, CARAT_EFORMAT, T "scores is missing"},
    {"h:3,0,4 " LLAMA TOKENS TYPES "k:" T "scores,9 d:6 q:4 f:0 f:0 f:0 f:0", CARAT_EFORMAT,
     T "scores has 4 elements, expected 5"},
    {"h:3,0,4 " LLAMA TOKENS TYPES "k:" T "scores,9 d:8 q:5 s:0 s:0 s:0 s:0 s:0", CARAT_EFORMAT, T "scores is not an array"},
    {"h:3,0,4 " LLAMA TOKENS TYPES "k:" T "scores,6 f:0", CARAT_EFORMAT, T "scores is not an array of numbers"},
    {"h:3,0,4 " LLAMA TOKENS TYPES "k:" T "scores,9 d:6 q:5 f:0 f:0 f:nan f:0 f:0", CARAT_EFORMAT, T "scores[2] is not a number"},
    {"h:3,0,4 " LLAMA TOKENS TYPES "k:" T "scores,9 d:7 q:5 b:0 b:0 b:0 b:0 b:0", CARAT_EFORMAT, T "scores[0] is not a number"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "bos_token_id,4 d:5", CARAT_EFORMAT, T "bos_token_id is 5, expected an id below 5"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "bos_token_id,5 d:-1", CARAT_EFORMAT, T "bos_token_id is -1"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "bos_token_id,8 s:<bos>", CARAT_EFORMAT, T "bos_token_id is not a token id"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "bos_token_id,9 d:4 q:2 d:1 d:2", CARAT_EFORMAT, T "bos_token_id has 2 ids"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "eos_token_id,4 d:0xffffffff", CARAT_EFORMAT, T "eos_token_id is 4294967295"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "eos_token_id,10 q:0xffffffffffffffff", CARAT_EFORMAT,
     T "eos_token_id is not a token id"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "eot_token_id,6 f:1", CARAT_EFORMAT, T "eot_token_id is not a token id"},
    {"h:3,0,5 " GEMMA4 TOKENS TYPES MERGES "k:" T "unknown_token_id,4 d:99", CARAT_EFORMAT, T "unknown_token_id is 99"},
};

static int open_keys(const char *line, carat_error *err) {
    craft c = {0};
    ct_gguf *g;
    ct_tokenizer *t;
    craft_line(&c, line);
    uint8_t *mem = craft_exact(&c);
    int rc = ct_gguf_open_memory(&g, mem, c.n, "keys.gguf", err);
    if (rc) fail_msg("%s\n  the container is broken: %s", line, err->msg);
    rc = ct_tokenizer_from_gguf(&t, g, err);
    if (rc) assert_null(t);
    ct_tokenizer_free(&t);
    ct_gguf_close(&g);
    free(mem);
    craft_free(&c);
    return rc;
}

static void tokenizer__rejects_broken_keys(void **state) {
    (void)state;
    carat_error err = {0};
    if (open_keys("h:3,0,4 " GEMMA4 TOKENS TYPES MERGES, &err)) fail_msg("the good file: %s", err.msg);
    if (open_keys("h:3,0,4 " LLAMA TOKENS TYPES SCORES, &err)) fail_msg("the good file: %s", err.msg);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const int rc = open_keys(keys[i].line, &err);
        const char *bad = craft_bad_failure(rc, &err, keys[i].code, keys[i].about);
        if (bad) fail_msg("%s\n  %s: %s\n  expected: %s", keys[i].line, bad, err.msg, keys[i].about);
    }
    print_message("%zu broken key sets\n", sizeof keys / sizeof keys[0]);
}

/* ---- tokenizer.json ----------------------------------------------------------------------------------- */

#define ADDED "\"added_tokens\":[{\"id\":0,\"content\":\"<eos>\",\"special\":true}]"
#define NORM "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}"
#define VOCAB "\"vocab\":{\"<eos>\":0,\"<bos>\":1,\"a\":2,\"b\":3,\"ab\":4}"
#define MODEL "\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\",\"b\"]]}"
#define WITH_MODEL(m) "{" ADDED "," NORM ",\"model\":" m "}"
#define WITH_ADDED(a) "{\"added_tokens\":" a "," NORM "," MODEL "}"
#define WITH_MERGES(m) WITH_MODEL("{\"type\":\"BPE\"," VOCAB ",\"merges\":" m "}")
#define WITH_VOCAB(v) WITH_MODEL("{\"type\":\"BPE\",\"vocab\":" v ",\"merges\":[]}")

static const struct {
    const char *text;
    int code;
    const char *about;
} documents[] = {
    {"", CARAT_EFORMAT, "JSON line 1"},
    {"{", CARAT_EFORMAT, "JSON line 1"},
    {"{}", CARAT_EFORMAT, "model is missing"},
    {"[]", CARAT_EFORMAT, "model is missing"},
    {"{\"model\":[]}", CARAT_EFORMAT, "model is missing or not an object"},
    {WITH_MODEL("{\"type\":\"Unigram\"," VOCAB ",\"merges\":[]}"), CARAT_EUNSUPPORTED, "model Unigram is not supported"},
    {WITH_MODEL("{\"type\":\"WordPiece\"," VOCAB "}"), CARAT_EUNSUPPORTED, "model WordPiece"},
    {WITH_MODEL("{\"type\":\"BPE\",\"dropout\":0.1," VOCAB ",\"merges\":[]}"), CARAT_EUNSUPPORTED, "model.dropout is 0.1"},
    {WITH_MODEL("{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\"," VOCAB ",\"merges\":[]}"), CARAT_EUNSUPPORTED,
     "continuing_subword_prefix"},
    {WITH_MODEL("{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"," VOCAB ",\"merges\":[]}"), CARAT_EUNSUPPORTED,
     "end_of_word_suffix"},
    {WITH_MODEL("{\"type\":\"BPE\",\"merges\":[]}"), CARAT_EFORMAT, "model.vocab is missing"},
    {WITH_MODEL("{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}"), CARAT_EFORMAT, "model.vocab is missing or not an object"},
    {WITH_MODEL("{\"type\":\"BPE\"," VOCAB "}"), CARAT_EFORMAT, "model.merges is missing"},
    {WITH_MERGES("{}"), CARAT_EFORMAT, "model.merges is missing or not an array"},
    {WITH_MERGES("[1]"), CARAT_EFORMAT, "model.merges[0] is not a pair"},
    {WITH_MERGES("[\"ab\"]"), CARAT_EFORMAT, "model.merges[0] is not a pair"},
    {WITH_MERGES("[\"a \"]"), CARAT_EFORMAT, "model.merges[0] is not a pair"},
    {WITH_MERGES("[[\"a\",\"b\"],[\"a\"]]"), CARAT_EFORMAT, "model.merges[1] is not a pair"},
    {WITH_MERGES("[[\"a\",\"b\",\"c\"]]"), CARAT_EFORMAT, "model.merges[0] is not a pair"},
    {WITH_MERGES("[[\"a\",1]]"), CARAT_EFORMAT, "model.merges[0] is not a pair"},
    {WITH_MERGES("[[\"\",\"b\"]]"), CARAT_EFORMAT, "model.merges[0] is not a pair"},
    {WITH_VOCAB("{\"a\":-1}"), CARAT_EFORMAT, "the id of \"a\" is not an integer from 0"},
    {WITH_VOCAB("{\"a\":1.5}"), CARAT_EFORMAT, "the id of \"a\""},
    {WITH_VOCAB("{\"a\":\"1\"}"), CARAT_EFORMAT, "the id of \"a\""},
    {WITH_VOCAB("{\"a\":2147483648}"), CARAT_EFORMAT, "the id of \"a\""},
    {WITH_VOCAB("{\"a\":9223372036854775807}"), CARAT_EFORMAT, "the id of \"a\""},
    {WITH_VOCAB("{\"a\":1,\"b\":1}"), CARAT_EFORMAT, "id 1 is both \"a\" and \"b\""},
    {WITH_VOCAB("{\"a\":1,\"a\":2}"), CARAT_EFORMAT, "duplicate object key"},
    {WITH_ADDED("[{}]"), CARAT_EFORMAT, "added_tokens[0] has no content"},
    {WITH_ADDED("[1]"), CARAT_EFORMAT, "added_tokens[0] has no content"},
    {WITH_ADDED("[{\"content\":\"x\"}]"), CARAT_EFORMAT, "the id of \"x\""},
    {WITH_ADDED("[{\"id\":-1,\"content\":\"x\"}]"), CARAT_EFORMAT, "the id of \"x\""},
    {WITH_ADDED("[{\"id\":2,\"content\":\"x\"}]"), CARAT_EFORMAT, "id 2 is both \"a\" and \"x\""},
    {WITH_ADDED("[{\"id\":5,\"content\":\"x\",\"lstrip\":true}]"), CARAT_EUNSUPPORTED, "added token \"x\" has lstrip set"},
    {WITH_ADDED("[{\"id\":5,\"content\":\"x\",\"rstrip\":true}]"), CARAT_EUNSUPPORTED, "rstrip"},
    {WITH_ADDED("[{\"id\":5,\"content\":\"x\",\"single_word\":true}]"), CARAT_EUNSUPPORTED, "single_word"},
    {"{" ADDED "," MODEL "}", CARAT_EUNSUPPORTED, "normalizer (none) is not supported"},
    {"{" ADDED ",\"normalizer\":{\"type\":\"NFKC\"}," MODEL "}", CARAT_EUNSUPPORTED, "normalizer NFKC"},
    {"{" ADDED "," NORM ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}," MODEL "}", CARAT_EUNSUPPORTED, "pre_tokenizer ByteLevel"},
    {"{" ADDED "," NORM ",\"decoder\":{\"type\":\"WordPiece\"}," MODEL "}", CARAT_EUNSUPPORTED, "decoder WordPiece"},
};

static int open_document(const char *dir, const char *path, const char *text, carat_error *err) {
    ct_tokenizer *t;
    assert_true(craft_save(path, text, strlen(text)));
    const int rc = ct_tokenizer_from_hf(&t, dir, err);
    if (rc) assert_null(t);
    ct_tokenizer_free(&t);
    return rc;
}

static void tokenizer__rejects_broken_documents(void **state) {
    (void)state;
#if CT_HAVE_JANSSON
    char *dir = craft_tmpdir(), *path = craft_path(dir, "tokenizer.json");
    carat_error err = {0};
    if (open_document(dir, path, "{" ADDED "," NORM "," MODEL "}", &err)) fail_msg("the good file: %s", err.msg);
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        const int rc = open_document(dir, path, documents[i].text, &err);
        const char *bad = craft_bad_failure(rc, &err, documents[i].code, documents[i].about);
        if (bad) fail_msg("%s\n  %s: %s\n  expected: %s", documents[i].text, bad, err.msg, documents[i].about);
    }
    free(path);
    craft_rmdir(dir);
    print_message("%zu broken documents\n", sizeof documents / sizeof documents[0]);
#else
    (void)open_document;
    (void)documents;
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer__rejects_broken_keys),
        cmocka_unit_test(tokenizer__rejects_broken_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
