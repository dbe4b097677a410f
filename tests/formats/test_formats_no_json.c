/* The JSON door in a build without jansson: json.c is compiled into this test with CT_HAVE_JANSSON undefined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/json.h"
#include "formats/safetensors_priv.h"

static void json__says_how_to_get_it(void **state) {
    (void)state;
    carat_error err = {0};
    ct_json *j = (ct_json *)(uintptr_t)1;
    assert_null(craft_bad_failure(ct_json_parse(&j, "{}", 2, "config.json", &err), &err, CARAT_EUNSUPPORTED,
                                  "config.json: 2 bytes of JSON, but this build has no JSON reader; install jansson"));
    assert_null(j);
    ct_json_free(&j);
}

static void safetensors__says_how_to_get_json(void **state) {
    (void)state;
    craft c = {0};
    carat_error err = {0};
    ct_safetensors *st;
    craft_safetensors(&c, "{}", 0, 0);
    assert_null(craft_bad_failure(ct_safetensors_open_memory(&st, c.p, c.n, "x.safetensors", &err), &err,
                                  CARAT_EUNSUPPORTED, "install jansson"));
    assert_null(st);
    craft_free(&c);
}

static void json__getters_see_nothing(void **state) {
    (void)state;
    static const int thing;
    const ct_json_val v = &thing;
    int64_t i;
    double d;
    bool b;
    void *iter = NULL;
    const char *key;
    ct_json_val w;
    assert_null(ct_json_root(NULL));
    assert_false(ct_json_is_object(v) || ct_json_is_array(v) || ct_json_is_null(v));
    assert_null(ct_json_get(v, "a"));
    assert_null(ct_json_at(v, 0));
    assert_int_equal(ct_json_len(v), 0);
    assert_null(ct_json_str(v, NULL));
    assert_false(ct_json_i64(v, &i) || ct_json_f64(v, &d) || ct_json_bool(v, &b));
    assert_false(ct_json_next(v, &iter, &key, NULL, &w));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json__says_how_to_get_it),
        cmocka_unit_test(safetensors__says_how_to_get_json),
        cmocka_unit_test(json__getters_see_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
