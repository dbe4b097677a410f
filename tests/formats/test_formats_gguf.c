/* GGUF reader: good files of every value and tensor type, lookups, alignment, truncation at every byte.
 * Broken files are in test_formats_broken.c, split sets in test_formats_split.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/gguf_priv.h"

/* Open a file given in craft notation; it must be good. *keep is the memory it lies in. */
static ct_gguf *open_line(const char *line, uint8_t **keep) {
    craft c = {0};
    carat_error err = {0};
    ct_gguf *g = NULL;
    craft_line(&c, line);
    *keep = craft_exact(&c);
    if (ct_gguf_open_memory(&g, *keep, c.n, "good.gguf", &err)) fail_msg("%s\n  in: %s", err.msg, line);
    craft_free(&c);
    return g;
}

static const char scalars[] =
    "h:3,0,13 k:u8,0 b:200 k:i8,1 b:-100 k:u16,2 w:60000 k:i16,3 w:-30000 k:u32,4 d:4000000000 k:i32,5 d:-2000000000 "
    "k:f32,6 f:0.5 k:bool,7 b:1 k:str,8 s:hello k:arr,9 d:5 q:3 d:-1 d:0 d:7 k:u64,10 q:0x8000000000000000 "
    "k:i64,11 q:-5 k:f64,12 F:-2.25";

static void gguf__reads_every_scalar_type(void **state) {
    (void)state;
    uint8_t *mem;
    ct_gguf *g = open_line(scalars, &mem);
    static const struct {
        const char *key;
        bool is_int, is_float;
        int64_t i;
        double f;
    } want[] = {
        {"u8", true, true, 200, 200},
        {"i8", true, true, -100, -100},
        {"u16", true, true, 60000, 60000},
        {"i16", true, true, -30000, -30000},
        {"u32", true, true, 4000000000, 4000000000.0},
        {"i32", true, true, -2000000000, -2000000000.0},
        {"f32", false, true, 0, 0.5},
        {"bool", true, false, 1, 0},
        {"str", false, false, 0, 0},
        {"arr", false, false, 0, 0},
        {"u64", false, false, 0, 0}, /* beyond both int64 and what a double holds exactly */
        {"i64", true, true, -5, -5},
        {"f64", false, true, 0, -2.25},
    };
    assert_int_equal(ct_gguf_n_kv(g), 13);
    assert_int_equal(ct_gguf_version(g), 3);
    assert_int_equal(ct_gguf_n_files(g), 1);
    for (size_t k = 0; k < 13; k++) {
        const ct_gguf_kv *kv = ct_gguf_find(g, want[k].key);
        assert_ptr_equal(kv, ct_gguf_kv_at(g, k));
        assert_int_equal(kv->type, k); /* the file lists them in the order of their numbers */
        int64_t i = 99;
        double f = 99;
        assert_int_equal(ct_gguf_as_i64(kv, &i), want[k].is_int);
        assert_int_equal(ct_gguf_as_f64(kv, &f), want[k].is_float);
        if (want[k].is_int) assert_int_equal(i, want[k].i);
        if (want[k].is_float) assert_true(f == want[k].f);
        int64_t ai;
        double af;
        if (strcmp(want[k].key, "arr") != 0) { /* scalars read as arrays of one */
            assert_int_equal(ct_gguf_arr_i64(kv, 0, &ai), want[k].is_int);
            assert_int_equal(ct_gguf_arr_f64(kv, 0, &af), want[k].is_float);
            assert_false(ct_gguf_arr_i64(kv, 1, &ai));
        }
    }
    bool b = false;
    ct_str s;
    assert_true(ct_gguf_as_bool(ct_gguf_find(g, "bool"), &b) && b);
    assert_false(ct_gguf_as_bool(ct_gguf_find(g, "u8"), &b));
    assert_true(ct_gguf_as_str(ct_gguf_find(g, "str"), &s));
    assert_int_equal(s.len, 5);
    assert_memory_equal(s.s, "hello", 5);
    assert_false(ct_gguf_as_str(ct_gguf_find(g, "u8"), &s));
    assert_null(ct_gguf_find(g, "u"));
    assert_null(ct_gguf_find(g, ""));
    assert_false(ct_gguf_as_i64(NULL, &(int64_t){0}));
    ct_gguf_close(&g);
    assert_null(g);
    ct_gguf_close(&g);
    free(mem);
}

static void gguf__reads_integers_as_doubles_only_without_loss(void **state) {
    (void)state;
    uint8_t *mem;
    ct_gguf *g = open_line("h:3,0,6 k:exact,11 q:0x20000000000000 k:above,11 q:0x20000000000001 k:low,11 q:-9007199254740992 "
                           "k:below,11 q:-9007199254740993 k:u64,10 q:0x7fffffffffffffff k:list,9 d:11 q:2 q:5 "
                           "q:0x20000000000001", &mem);
    double f;
    int64_t i;
    assert_true(ct_gguf_as_f64(ct_gguf_find(g, "exact"), &f) && f == 9007199254740992.0);
    assert_false(ct_gguf_as_f64(ct_gguf_find(g, "above"), &f));
    assert_true(ct_gguf_as_f64(ct_gguf_find(g, "low"), &f) && f == -9007199254740992.0);
    assert_false(ct_gguf_as_f64(ct_gguf_find(g, "below"), &f));
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "u64"), &i) && i == INT64_MAX);
    assert_false(ct_gguf_as_f64(ct_gguf_find(g, "u64"), &f));
    assert_true(ct_gguf_arr_f64(ct_gguf_find(g, "list"), 0, &f) && f == 5);
    assert_false(ct_gguf_arr_f64(ct_gguf_find(g, "list"), 1, &f));
    ct_gguf_close(&g);
    free(mem);
}

static void gguf__reads_arrays_of_every_type(void **state) {
    (void)state;
    uint8_t *mem;
    ct_gguf *g = open_line(
        "h:2,0,15 k:a0,9 d:0 q:2 b:1 b:255 k:a1,9 d:1 q:2 b:1 b:255 k:a2,9 d:2 q:2 w:1 w:65535 k:a3,9 d:3 q:2 w:1 "
        "w:-1 k:a4,9 d:4 q:2 d:1 d:0xffffffff k:a5,9 d:5 q:2 d:1 d:-1 k:a6,9 d:6 q:2 f:1 f:-0.5 k:a7,9 d:7 q:2 b:1 b:0 "
        "k:a8,9 d:8 q:3 s:one s: s:three k:a10,9 d:10 q:2 q:1 q:0xffffffffffffffff k:a11,9 d:11 q:2 q:1 q:-1 "
        "k:a12,9 d:12 q:2 F:1 F:-0.5 k:empty,9 d:4 q:0 k:none,9 d:8 q:0 k:last,4 d:77",
        &mem);
    static const struct {
        const char *key;
        int64_t second;
        bool ok;
    } ints[] = {{"a0", 255, true}, {"a1", -1, true}, {"a2", 65535, true}, {"a3", -1, true}, {"a4", 4294967295, true},
                {"a5", -1, true},  {"a7", 0, true},  {"a10", 0, false},   {"a11", -1, true}, {"a6", 0, false}};
    int64_t i;
    double f;
    for (size_t k = 0; k < sizeof ints / sizeof ints[0]; k++) {
        const ct_gguf_kv *kv = ct_gguf_find(g, ints[k].key);
        assert_int_equal(kv->n, 2);
        assert_int_equal(ct_gguf_arr_i64(kv, 1, &i), ints[k].ok);
        if (ints[k].ok) assert_int_equal(i, ints[k].second);
        assert_false(ct_gguf_arr_i64(kv, 2, &i));
        assert_false(ct_gguf_arr_i64(kv, UINT64_MAX, &i));
    }
    assert_true(ct_gguf_arr_f64(ct_gguf_find(g, "a6"), 1, &f) && f == -0.5);
    assert_true(ct_gguf_arr_f64(ct_gguf_find(g, "a12"), 1, &f) && f == -0.5);
    assert_true(ct_gguf_arr_f64(ct_gguf_find(g, "a1"), 1, &f) && f == -1);
    assert_false(ct_gguf_arr_i64(ct_gguf_find(g, "empty"), 0, &i));
    const ct_gguf_kv *kv = ct_gguf_find(g, "a8");
    const uint8_t *cur = kv->data;
    ct_str s;
    static const char *const words[] = {"one", "", "three"};
    for (int k = 0; k < 3; k++) {
        assert_true(ct_gguf_arr_next_str(kv, &cur, &s));
        assert_int_equal(s.len, strlen(words[k]));
        assert_memory_equal(s.s, words[k], s.len);
    }
    assert_false(ct_gguf_arr_next_str(kv, &cur, &s));
    assert_false(ct_gguf_arr_i64(kv, 0, &i));
    kv = ct_gguf_find(g, "none");
    cur = kv->data;
    assert_false(ct_gguf_arr_next_str(kv, &cur, &s));
    cur = ct_gguf_find(g, "a4")->data;
    assert_false(ct_gguf_arr_next_str(ct_gguf_find(g, "a4"), &cur, &s));
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "last"), &i) && i == 77);
    assert_int_equal(ct_gguf_version(g), 2);
    ct_gguf_close(&g);
    free(mem);
}

static void gguf__skips_nested_arrays(void **state) {
    (void)state;
    uint8_t *mem;
    /* [[1,2],["a",""],[[true]],[]] and then a key that shows the walk ended in the right place */
    ct_gguf *g = open_line("h:3,0,2 k:nest,9 d:9 q:4 d:0 q:2 b:1 b:2 d:8 q:2 s:a s: d:9 q:1 d:7 q:1 b:1 d:5 q:0 "
                           "k:after,4 d:5", &mem);
    const ct_gguf_kv *kv = ct_gguf_find(g, "nest");
    int64_t i;
    assert_int_equal(kv->n, 4);
    assert_int_equal(kv->elem_type, CT_GGUF_ARRAY);
    assert_false(ct_gguf_arr_i64(kv, 0, &i));
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "after"), &i) && i == 5);
    ct_gguf_close(&g);
    free(mem);
}

static void gguf__turns_dimensions_round(void **state) {
    (void)state;
    uint8_t *mem;
    ct_gguf *g = open_line("h:3,2,0 t:w,8,0,64,3,2 t:v,0,416,5 p:32 z:408 z:8 z:20", &mem);
    const ct_tensor *t = ct_gguf_tensor(g, "w");
    assert_ptr_equal(t, ct_gguf_tensor_at(g, 0));
    assert_int_equal(t->rank, 3);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->shape[2], 64);
    assert_int_equal(t->shape[3], 1);
    assert_int_equal(t->n_elem, 384);
    assert_int_equal(t->bytes, 408);
    t = ct_gguf_tensor(g, "v");
    assert_int_equal(t->rank, 1);
    assert_int_equal(t->shape[0], 5);
    assert_int_equal(t->bytes, 20);
    assert_int_equal(t->offset - ct_gguf_tensor(g, "w")->offset, 416);
    assert_ptr_equal(t->data, mem + t->offset);
    assert_null(ct_gguf_tensor(g, "W"));
    ct_gguf_close(&g);
    free(mem);
}

static void gguf__reads_every_tensor_type(void **state) {
    (void)state;
    for (int d = 0; d < CT_N_DTYPE; d++) {
        char line[200];
        snprintf(line, sizeof line, "h:3,1,0 t:x,%u,0,512,2 p:32 z:%zu", (unsigned)ct_gguf_number_of_dtype((ct_dtype)d, false),
                 2 * ct_dtype_row_bytes((ct_dtype)d, 512));
        uint8_t *mem;
        ct_gguf *g = open_line(line, &mem);
        assert_int_equal(ct_gguf_tensor(g, "x")->dtype, d);
        assert_int_equal(ct_gguf_tensor(g, "x")->bytes, 2 * ct_dtype_row_bytes((ct_dtype)d, 512));
        ct_gguf_close(&g);
        free(mem);
    }
}

/* Panels of Q8_0 and of a stack of Q4_0: as many bytes as in rows. */
static void gguf__reads_panels_under_numbers_of_its_own(void **state) {
    (void)state;
    uint8_t *mem;
    ct_gguf *g = open_line("h:3,3,0 t:a,0x43540008,0,32,48 t:b,0x43540002,1632,64,16,3 t:c,8,3360,32,16 p:32 z:3904", &mem);
    const ct_tensor *a = ct_gguf_tensor(g, "a"), *b = ct_gguf_tensor(g, "b"), *c = ct_gguf_tensor(g, "c");
    assert_true(a->panels && a->dtype == CT_Q8_0 && a->bytes == 48 * 34);
    assert_true(b->panels && b->dtype == CT_Q4_0 && b->rank == 3 && b->bytes == 3 * 16 * 2 * 18);
    assert_true(!c->panels && c->dtype == CT_Q8_0 && c->bytes == 16 * 34);
    ct_gguf_close(&g);
    free(mem);
}

static void gguf__type_numbers_are_ggml_s(void **state) {
    (void)state;
    static const struct {
        ct_dtype t;
        unsigned number;
    } want[] = {{CT_F32, 0},   {CT_F16, 1},   {CT_Q4_0, 2},  {CT_Q4_1, 3},  {CT_Q5_0, 6},    {CT_Q5_1, 7},
                {CT_Q8_0, 8},  {CT_Q2_K, 10}, {CT_Q3_K, 11}, {CT_Q4_K, 12}, {CT_Q5_K, 13},   {CT_Q6_K, 14},
                {CT_IQ4_NL, 20}, {CT_IQ4_XS, 23}, {CT_I32, 26}, {CT_I64, 27}, {CT_BF16, 30}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(ct_gguf_number_of_dtype(want[i].t, false), want[i].number);
    }
    assert_int_equal(sizeof want / sizeof want[0], CT_N_DTYPE);
}

static void gguf__follows_the_alignment_key(void **state) {
    (void)state;
    for (int align = 8; align <= 65536; align *= 2) {
        char line[200];
        snprintf(line, sizeof line, "h:3,2,1 k:general.alignment,4 d:%d t:a,0,0,1 t:b,0,%d,1 p:%d d:11 p:%d d:22", align,
                 align, align, align);
        uint8_t *mem;
        ct_gguf *g = open_line(line, &mem);
        const ct_tensor *a = ct_gguf_tensor(g, "a"), *b = ct_gguf_tensor(g, "b");
        assert_int_equal(a->offset % (size_t)align, 0);
        assert_int_equal(a->data[0], 11);
        assert_int_equal(b->data[0], 22);
        ct_gguf_close(&g);
        free(mem);
    }
}

static void gguf__accepts_odd_but_legal_files(void **state) {
    (void)state;
    static const char *const good[] = {
        "h:3,0,0",                                              /* nothing at all */
        "h:3,0,1 k:a,0 b:1",                                    /* no tensors, no padding */
        "h:3,0,0 r:trailing",                                   /* bytes after the end */
        "h:3,1,0 t:x,0,64,1 p:32 z:64 z:4",                     /* a hole in front */
        "h:3,2,0 t:x,0,64,1 t:y,0,0,1 p:32 z:4 p:64 z:4 p:64 z:60", /* data in another order */
        "h:3,1,0 t:x,0,0,1 p:32 z:4 r:tail",                    /* unused bytes at the end */
        "h:3,1,0 t:x,0,0,1,1,1,1 p:32 z:4",                     /* rank 4 */
        "h:3,0,1 k:split.count,2 w:1",                          /* a set of one */
        "h:3,0,2 k:split.count,2 w:1 k:split.no,2 w:0",
        "h:3,1,2 k:split.count,4 d:1 k:split.tensors.count,5 d:1 t:x,0,0,1 p:32 z:4",
        "h:3,0,1 k:general.alignment,10 q:32",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint8_t *mem;
        ct_gguf *g = open_line(good[i], &mem);
        assert_non_null(g);
        ct_gguf_close(&g);
        free(mem);
    }
}

static void gguf__finds_thousands_of_names(void **state) {
    (void)state;
    enum { N = 3000 };
    craft c = {0};
    char name[40];
    craft_line(&c, "h:3,3000,3000");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "key.%d", i);
        craft_str(&c, name);
        craft_int(&c, CT_GGUF_U32, 4);
        craft_int(&c, (uint64_t)i, 4);
    }
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t:blk.%d,0,%d,1", i, 32 * i);
        craft_line(&c, name);
    }
    craft_line(&c, "p:32");
    for (int i = 0; i < N; i++) {
        craft_int(&c, (uint64_t)i, 4);
        craft_line(&c, "z:28");
    }
    carat_error err = {0};
    ct_gguf *g;
    if (ct_gguf_open_memory(&g, c.p, c.n, "many.gguf", &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < N; i++) {
        int64_t v;
        snprintf(name, sizeof name, "key.%d", i);
        assert_true(ct_gguf_as_i64(ct_gguf_find(g, name), &v) && v == i);
        snprintf(name, sizeof name, "blk.%d", i);
        const ct_tensor *t = ct_gguf_tensor(g, name);
        assert_string_equal(t->name, name);
        assert_memory_equal(t->data, &i, 4);
    }
    assert_null(ct_gguf_find(g, "key.3000"));
    ct_gguf_close(&g);
    craft_free(&c);
}

static void gguf__walks_a_vocabulary_of_half_a_million_strings(void **state) {
    (void)state;
    enum { N = 515000 };
    craft c = {0};
    char word[32];
    craft_line(&c, "h:3,0,1 k:merges,9 d:8 q:515000");
    for (int i = 0; i < N; i++) {
        snprintf(word, sizeof word, "m%d %d", i, i % 7);
        craft_str(&c, word);
    }
    carat_error err = {0};
    ct_gguf *g;
    if (ct_gguf_open_memory(&g, c.p, c.n, "vocab.gguf", &err)) fail_msg("%s", err.msg);
    const ct_gguf_kv *kv = ct_gguf_find(g, "merges");
    const uint8_t *cur = kv->data;
    ct_str s;
    int n = 0;
    while (ct_gguf_arr_next_str(kv, &cur, &s)) n++;
    assert_int_equal(n, N);
    assert_memory_equal(s.s, "m514999 0", 7);
    ct_gguf_close(&g);
    craft_free(&c);
}

static void gguf__rejects_every_truncation(void **state) {
    (void)state;
    craft c = {0};
    craft_line(&c, "h:3,2,5 k:n,9 d:9 q:2 d:8 q:1 s:ab d:4 q:1 d:9 k:s,8 s:text k:b,7 b:1 k:f,12 F:1 k:a,9 d:5 q:2 d:1 "
                   "d:2 t:x,8,0,32,2 t:y,30,96,3 p:32 z:68 z:28 z:6");
    for (size_t n = 0; n <= c.n; n++) {
        const craft part = {c.p, n, n};
        uint8_t *mem = craft_exact(&part);
        carat_error err = {0};
        ct_gguf *g = NULL;
        const int rc = ct_gguf_open_memory(&g, mem, n, "cut.gguf", &err);
        if (n == c.n) {
            assert_int_equal(rc, 0);
        } else {
            const char *bad = craft_bad_failure(rc, &err, CARAT_EFORMAT, "cut.gguf: ");
            if (bad) fail_msg("first %zu of %zu bytes: %s: %s", n, c.n, bad, err.msg);
            assert_null(g);
        }
        ct_gguf_close(&g);
        free(mem);
    }
    craft_free(&c);
}

static void gguf__opens_a_file_and_reports_a_missing_one(void **state) {
    (void)state;
    char *dir = craft_tmpdir(), *path = craft_path(dir, "a.gguf"), *none = craft_path(dir, "none.gguf");
    craft c = {0};
    carat_error err = {0};
    ct_gguf *g;
    craft_line(&c, "h:3,1,0 t:x,0,0,1 p:32 d:42");
    assert_true(craft_save(path, c.p, c.n));
    assert_int_equal(ct_gguf_open(&g, path, &err), 0);
    assert_int_equal(ct_gguf_file(g, 0)->size, c.n);
    assert_int_equal(ct_gguf_tensor(g, "x")->data[0], 42);
    ct_gguf_close(&g);
    assert_null(craft_bad_failure(ct_gguf_open(&g, none, &err), &err, CARAT_EIO, "none.gguf"));
    assert_null(craft_bad_failure(ct_gguf_open(&g, dir, &err), &err, CARAT_EIO, "folder"));
    assert_int_equal(ct_gguf_open(&g, none, NULL), CARAT_EIO); /* err may be NULL */
    craft_free(&c);
    free(path);
    free(none);
    craft_rmdir(dir);
}

/* A message must stay useful when the path alone would fill it. */
static void gguf__message_survives_a_long_path(void **state) {
    (void)state;
    char where[1200];
    memset(where, 'd', sizeof where);
    memcpy(where + sizeof where - 12, "/model.gguf", 12);
    carat_error err = {0};
    ct_gguf *g;
    craft c = {0};
    craft_line(&c, "h:3,1,0 t:blk.0.ffn_up.weight,16,0,256 p:32 z:66");
    assert_null(craft_bad_failure(ct_gguf_open_memory(&g, c.p, c.n, where, &err), &err, CARAT_EFORMAT,
                                  "model.gguf: blk.0.ffn_up.weight has type IQ2_XXS (16), which Carat does not read; "
                                  "supported: F32 F16 BF16"));
    craft_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__reads_every_scalar_type),
        cmocka_unit_test(gguf__reads_integers_as_doubles_only_without_loss),
        cmocka_unit_test(gguf__reads_arrays_of_every_type),
        cmocka_unit_test(gguf__skips_nested_arrays),
        cmocka_unit_test(gguf__turns_dimensions_round),
        cmocka_unit_test(gguf__reads_every_tensor_type),
        cmocka_unit_test(gguf__type_numbers_are_ggml_s),
        cmocka_unit_test(gguf__reads_panels_under_numbers_of_its_own),
        cmocka_unit_test(gguf__follows_the_alignment_key),
        cmocka_unit_test(gguf__accepts_odd_but_legal_files),
        cmocka_unit_test(gguf__finds_thousands_of_names),
        cmocka_unit_test(gguf__walks_a_vocabulary_of_half_a_million_strings),
        cmocka_unit_test(gguf__rejects_every_truncation),
        cmocka_unit_test(gguf__opens_a_file_and_reports_a_missing_one),
        cmocka_unit_test(gguf__message_survives_a_long_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
