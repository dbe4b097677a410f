/* The JSON door: getters on right and wrong values, broken documents, size limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/json.h"

static ct_json *parse(const char *text) {
    carat_error err = {0};
    ct_json *j;
    if (ct_json_parse(&j, text, strlen(text), "good.json", &err)) fail_msg("%s", err.msg);
    return j;
}

static void json__getters_say_what_is_there(void **state) {
    (void)state;
    ct_json *j = parse("{\"i\":-7,\"r\":2.5,\"w\":3.0,\"big\":9007199254740993,\"far\":1e300,\"s\":\"a\\u0000b\","
                       "\"t\":true,\"f\":false,\"n\":null,\"a\":[1,\"x\",[]],\"o\":{\"k\":{}},\"e\":\"\"}");
    const ct_json_val o = ct_json_root(j);
    int64_t i = 0;
    double d = 0;
    bool b = true;
    size_t len = 0;
    assert_true(ct_json_is_object(o));
    assert_false(ct_json_is_array(o));
    assert_int_equal(ct_json_len(o), 12);
    assert_true(ct_json_i64(ct_json_get(o, "i"), &i) && i == -7);
    assert_true(ct_json_f64(ct_json_get(o, "i"), &d) && d == -7);
    assert_true(ct_json_f64(ct_json_get(o, "r"), &d) && d == 2.5);
    assert_false(ct_json_i64(ct_json_get(o, "r"), &i));
    assert_true(ct_json_i64(ct_json_get(o, "w"), &i) && i == 3);
    assert_true(ct_json_i64(ct_json_get(o, "big"), &i) && i == 9007199254740993);
    assert_false(ct_json_i64(ct_json_get(o, "far"), &i));
    assert_true(ct_json_f64(ct_json_get(o, "far"), &d) && d == 1e300);
    assert_true(ct_json_bool(ct_json_get(o, "t"), &b) && b);
    assert_true(ct_json_bool(ct_json_get(o, "f"), &b) && !b);
    assert_false(ct_json_bool(ct_json_get(o, "i"), &b));
    assert_true(ct_json_is_null(ct_json_get(o, "n")));
    assert_false(ct_json_is_null(ct_json_get(o, "absent")));
    assert_memory_equal(ct_json_str(ct_json_get(o, "s"), &len), "a\0b", 3);
    assert_int_equal(len, 3);
    assert_string_equal(ct_json_str(ct_json_get(o, "e"), NULL), "");
    assert_null(ct_json_str(ct_json_get(o, "i"), NULL));
    const ct_json_val a = ct_json_get(o, "a");
    assert_true(ct_json_is_array(a));
    assert_int_equal(ct_json_len(a), 3);
    assert_true(ct_json_i64(ct_json_at(a, 0), &i) && i == 1);
    assert_true(ct_json_is_array(ct_json_at(a, 2)));
    assert_null(ct_json_at(a, 3));
    assert_null(ct_json_at(o, 0));
    assert_null(ct_json_get(a, "k"));
    assert_true(ct_json_is_object(ct_json_get(ct_json_get(o, "o"), "k")));
    ct_json_free(&j);
    assert_null(j);
    ct_json_free(&j);
}

static void json__getters_tolerate_absence(void **state) {
    (void)state;
    int64_t i = 5;
    double d;
    bool b;
    void *iter = NULL;
    const char *key;
    ct_json_val v;
    assert_null(ct_json_root(NULL));
    assert_null(ct_json_get(NULL, "k"));
    assert_null(ct_json_at(NULL, 0));
    assert_int_equal(ct_json_len(NULL), 0);
    assert_false(ct_json_is_object(NULL) || ct_json_is_array(NULL) || ct_json_is_null(NULL));
    assert_false(ct_json_i64(NULL, &i) || ct_json_f64(NULL, &d) || ct_json_bool(NULL, &b));
    assert_int_equal(i, 5);
    assert_null(ct_json_str(NULL, NULL));
    assert_false(ct_json_next(NULL, &iter, &key, NULL, &v));
}

static void json__walks_objects_in_order(void **state) {
    (void)state;
    ct_json *j = parse("{\"z\":0,\"a\":1,\"m\":2,\"\xc3\xa9\":3}");
    static const char *const want[] = {"z", "a", "m", "\xc3\xa9"};
    void *iter = NULL;
    const char *key;
    size_t len;
    ct_json_val v;
    int64_t n = 0, i;
    while (ct_json_next(ct_json_root(j), &iter, &key, &len, &v)) {
        assert_string_equal(key, want[n]);
        assert_int_equal(len, strlen(want[n]));
        assert_true(ct_json_i64(v, &i) && i == n);
        n++;
    }
    assert_int_equal(n, 4);
    ct_json_free(&j);
}

static void json__text_needs_no_nul(void **state) {
    (void)state;
    static const craft text = {(uint8_t *)(uintptr_t)"[1,2]", 5, 5};
    uint8_t *mem = craft_exact(&text);
    ct_json *j;
    assert_int_equal(ct_json_parse(&j, (const char *)mem, 5, "x", NULL), 0);
    assert_int_equal(ct_json_len(ct_json_root(j)), 2);
    ct_json_free(&j);
    free(mem);
}

static const char *const broken[] = {
    "", " ", "{", "}", "[", "]", "[1,", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}",
    "{\"a\":1 \"b\":2}", "{\"a\":1,\"a\":2}", "{\"a\":01}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":1e}",
    "{\"a\":0x10}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":1e999}", "{\"a\":18446744073709551616}",
    "{\"a\":-9223372036854775809}", "{\"a\":tru}", "{\"a\":TRUE}", "{\"a\":nul}", "{\"a\":\"}", "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\x01\"}",
    "{\"a\":\"new\nline\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc3\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}",
    "{\"\\u0000\":1}", "{} x", "[]]", "{}{}", "12", "\"text\"", "null", "/* c */ {}", "\xef\xbb\xbf{}",
};

static void json__rejects_broken_documents(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        carat_error err = {0};
        ct_json *j = (ct_json *)(uintptr_t)1;
        const int rc = ct_json_parse(&j, broken[i], strlen(broken[i]), "bad.json", &err);
        const char *bad = craft_bad_failure(rc, &err, CARAT_EFORMAT, "bad.json: JSON line ");
        if (bad) fail_msg("document %zu \"%s\" %s: %s", i, broken[i], bad, err.msg);
        assert_null(j);
    }
    print_message("%zu broken documents\n", sizeof broken / sizeof broken[0]);
}

static void json__message_points_at_the_line(void **state) {
    (void)state;
    static const char text[] = "{\n  \"a\": 1,\n  \"b\": oops\n}";
    carat_error err = {0};
    ct_json *j;
    assert_null(craft_bad_failure(ct_json_parse(&j, text, strlen(text), "config.json", &err), &err, CARAT_EFORMAT,
                                  "config.json: JSON line 3 column"));
}

static void json__limits_depth(void **state) {
    (void)state;
    enum { N = 200000 };
    char *text = malloc(N);
    memset(text, '[', N);
    carat_error err = {0};
    ct_json *j;
    assert_null(craft_bad_failure(ct_json_parse(&j, text, N, "deep.json", &err), &err, CARAT_EFORMAT, "deep.json: "));
    free(text);
}

static void json__limits_memory_for_a_text(void **state) {
    (void)state;
    craft c = {0};
    craft_bytes(&c, "[{}", 3);
    for (int i = 0; i < 30000; i++) craft_bytes(&c, ",{}", 3);
    craft_bytes(&c, "]", 1);
    carat_error err = {0};
    ct_json *j;
    assert_null(craft_bad_failure(ct_json_parse(&j, (char *)c.p, c.n, "many.json", &err), &err, CARAT_EFORMAT,
                                  "many.json: 30001 opening braces in 90004 bytes"));
    craft_free(&c);
}

static void json__loads_files_up_to_a_size(void **state) {
    (void)state;
    char *dir = craft_tmpdir(), *path = craft_path(dir, "c.json"), *none = craft_path(dir, "none.json");
    assert_true(craft_save(path, "{\"a\":1}", 7));
    carat_error err = {0};
    ct_json *j;
    if (ct_json_load(&j, path, 7, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_json_len(ct_json_root(j)), 1);
    ct_json_free(&j);
    assert_null(craft_bad_failure(ct_json_load(&j, path, 6, &err), &err, CARAT_EFORMAT, "c.json"));
    assert_null(j);
    assert_null(craft_bad_failure(ct_json_load(&j, none, 100, &err), &err, CARAT_EIO, "none.json"));
    assert_null(craft_bad_failure(ct_json_load(&j, dir, 100, &err), &err, CARAT_EIO, "folder"));
    free(path);
    free(none);
    craft_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json__getters_say_what_is_there),
        cmocka_unit_test(json__getters_tolerate_absence),
        cmocka_unit_test(json__walks_objects_in_order),
        cmocka_unit_test(json__text_needs_no_nul),
        cmocka_unit_test(json__rejects_broken_documents),
        cmocka_unit_test(json__message_points_at_the_line),
        cmocka_unit_test(json__limits_depth),
        cmocka_unit_test(json__limits_memory_for_a_text),
        cmocka_unit_test(json__loads_files_up_to_a_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
