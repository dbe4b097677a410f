/* Split GGUF sets: a good one opens as one file; every way a set can be incomplete or inconsistent is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/gguf.h"

#define P1 "h:3,1,4 k:general.name,8 s:one k:split.no,2 w:0 k:split.count,2 w:3 k:split.tensors.count,5 d:4 " \
           "t:a,0,0,1 p:32 d:10"
#define P2 "h:3,2,3 k:split.no,2 w:1 k:split.count,2 w:3 k:only.in.two,4 d:7 t:b,0,0,1 t:c,0,32,1 p:32 d:20 p:32 d:30"
#define P3 "h:3,1,3 k:general.name,8 s:three k:split.no,2 w:2 k:split.count,2 w:3 t:d,0,0,1 p:32 d:40"

static char *dir;

static void save(const char *name, const char *line) {
    craft c = {0};
    char *path = craft_path(dir, name);
    craft_line(&c, line);
    assert_true(craft_save(path, c.p, c.n));
    free(path);
    craft_free(&c);
}

static int open_named(ct_gguf **g, const char *name, carat_error *err) {
    char *path = craft_path(dir, name);
    const int rc = ct_gguf_open(g, path, err);
    free(path);
    return rc;
}

static int make_dir(void **state) {
    (void)state;
    dir = craft_tmpdir();
    return 0;
}

static int drop_dir(void **state) {
    (void)state;
    craft_rmdir(dir);
    return 0;
}

static void split__opens_as_one_file(void **state) {
    (void)state;
    save("m-00001-of-00003.gguf", P1);
    save("m-00002-of-00003.gguf", P2);
    save("m-00003-of-00003.gguf", P3);
    ct_gguf *g;
    carat_error err = {0};
    if (open_named(&g, "m-00001-of-00003.gguf", &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_gguf_n_files(g), 3);
    assert_int_equal(ct_gguf_n_tensor(g), 4);
    static const char *const names[] = {"a", "b", "c", "d"};
    static const int files[] = {0, 1, 1, 2};
    for (int i = 0; i < 4; i++) {
        const ct_tensor *t = ct_gguf_tensor(g, names[i]);
        assert_non_null(t);
        assert_int_equal(t->file, files[i]);
        assert_int_equal(t->data[0], 10 * (i + 1));
        assert_ptr_equal(t->data, ct_gguf_file(g, t->file)->data + t->offset);
    }
    ct_str s;
    int64_t v;
    assert_true(ct_gguf_as_str(ct_gguf_find(g, "general.name"), &s)); /* keys of the first file win */
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.s, "one", 3);
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "only.in.two"), &v) && v == 7);
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "split.no"), &v) && v == 0);
    assert_int_equal(ct_gguf_n_kv(g), 5);
    ct_gguf_close(&g);
}

static const struct {
    const char *open;        /* which name to open */
    const char *name[3];     /* files of the set; NULL = absent */
    const char *line[3];
    int code;
    const char *about;
} broken[] = {
    {"m-00002-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}, {P1, P2, P3},
     CARAT_EFORMAT, "this is part 2 of 3 of a split model; open part 1 (...-00001-of-00003.gguf)"},
    {"m-00003-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}, {P1, P2, P3},
     CARAT_EFORMAT, "this is part 3 of 3"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", NULL, "m-00003-of-00003.gguf"}, {P1, NULL, P3},
     CARAT_EIO, "m-00002-of-00003.gguf: part 2 of 3 is missing"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", NULL}, {P1, P2, NULL},
     CARAT_EIO, "m-00003-of-00003.gguf: part 3 of 3 is missing"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}, {P1, P3, P2},
     CARAT_EFORMAT, "m-00002-of-00003.gguf: split.no 2 and split.count 3, expected 1 and 3"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,1,0 t:d,0,0,1 p:32 d:40"}, CARAT_EFORMAT, "m-00003-of-00003.gguf: key split.no is missing"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,1,1 k:split.no,2 w:2 t:d,0,0,1 p:32 d:40"}, CARAT_EFORMAT, "key split.count is missing"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,1,2 k:split.no,2 w:2 k:split.count,2 w:4 t:d,0,0,1 p:32 d:40"}, CARAT_EFORMAT,
     "split.no 2 and split.count 4, expected 2 and 3"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,1,2 k:split.no,2 w:2 k:split.no,2 w:2"}, CARAT_EFORMAT, "key split.no appears twice"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,1,2 k:split.no,2 w:2 k:split.count,2 w:3 t:a,0,0,1 p:32 d:40"}, CARAT_EFORMAT,
     "tensor a appears twice"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,0,2 k:split.no,2 w:2 k:split.count,2 w:3"}, CARAT_EFORMAT,
     "split.tensors.count is 4, but the 3 file(s) hold 3 tensors"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, P2, "h:3,1,2 k:split.no,2 w:2 k:split.count,2 w:3 t:d,0,0,1 p:32 w:1"}, CARAT_EFORMAT,
     "m-00003-of-00003.gguf: d: data [0,+4) lies outside the 2"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, "r:rubbish", P3}, CARAT_EFORMAT, "m-00002-of-00003.gguf: not a GGUF file"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"},
     {P1, "", P3}, CARAT_EFORMAT, "m-00002-of-00003.gguf: not a GGUF file (0 bytes)"},
    {"m-00001-of-00002.gguf", {"m-00001-of-00002.gguf", NULL, NULL}, {P1, NULL, NULL}, CARAT_EFORMAT,
     "name must end in -00001-of-00003.gguf"},
    {"model.gguf", {"model.gguf", NULL, NULL}, {P1, NULL, NULL}, CARAT_EFORMAT, "name must end in -00001-of-00003.gguf"},
    {"x.gguf", {"x.gguf", NULL, NULL}, {P2, NULL, NULL}, CARAT_EFORMAT, "this is part 2 of 3"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", NULL, NULL}, {"h:3,0,0", NULL, NULL}, CARAT_EFORMAT,
     "named as part 1 of 3, but the key split.count is missing"},
    {"m-00002-of-00003.gguf", {"m-00002-of-00003.gguf", NULL, NULL}, {"h:3,0,0", NULL, NULL}, CARAT_EFORMAT,
     "named as part 2 of 3"},
    {"m-00002-of-00003.gguf", {"m-00002-of-00003.gguf", NULL, NULL}, {P1, NULL, NULL}, CARAT_EFORMAT,
     "name must end in -00001-of-00003.gguf"},
    {"m-00001-of-00003.gguf", {"m-00001-of-00003.gguf", NULL, NULL},
     {"h:3,0,2 k:split.count,2 w:1 k:split.no,2 w:0", NULL, NULL}, CARAT_EFORMAT, "name must end in -00001-of-00001.gguf"},
};

static void split__rejects_broken_sets(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        make_dir(NULL);
        for (int f = 0; f < 3; f++) {
            if (broken[i].name[f]) save(broken[i].name[f], broken[i].line[f]);
        }
        carat_error err = {0};
        ct_gguf *g;
        const int rc = open_named(&g, broken[i].open, &err);
        const char *bad = craft_bad_failure(rc, &err, broken[i].code, broken[i].about);
        if (bad) fail_msg("set %zu %s: %s\n  expected: %s", i, bad, err.msg, broken[i].about);
        assert_null(g);
        drop_dir(NULL);
    }
    print_message("%zu broken sets\n", sizeof broken / sizeof broken[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(split__opens_as_one_file, make_dir, drop_dir),
        cmocka_unit_test(split__rejects_broken_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
