/* safetensors: good files, shard folders, and broken ones, each with the right code and message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/safetensors_priv.h"

/* A directory of one tensor named x. */
#define X(dtype, shape, offsets) "{\"x\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define E(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define F32 "\"F32\""

static const struct {
    const char *header;
    int64_t delta; /* added to the header length */
    size_t n_data;
    const char *about;
} broken[] = {
    /* header length */
    {"", 0, 0, "header length 0 in a file of 8 bytes"},
    {"{}", -1, 0, "header length 1 in a file of 10 bytes"},
    {"{}", -2, 0, "header length 0 in a file of 10 bytes"},
    {"{}", 1, 0, "header length 3 in a file of 10 bytes, expected 2 to 2"},
    {"{}", 1000, 0, "header length 1002 in a file of 10 bytes"},
    {"{}", 99999999, 0, "header length 100000001"},
    {"{}", INT64_MAX, 0, "header length 9223372036854775809"},
    {"{}", -3, 0, "header length 18446744073709551615"},
    {"{}", -10, 0, "header length 18446744073709551608"},
    /* JSON */
    {"[]", 0, 0, "header is not a JSON object"},
    {"[1,2]", 0, 0, "header is not a JSON object"},
    {"{]", 0, 0, "JSON line 1 column 2"},
    {"{\"x\"", 0, 0, "JSON line 1"},
    {"{\"x\":", 0, 0, "JSON line 1"},
    {"{\"x\":{}", 0, 0, "JSON line 1"},
    {"\"x\"", 0, 0, "JSON line 1"},
    {"12", 0, 0, "JSON line 1"},
    {"{\"x\":{}}}", 0, 0, "JSON line 1"},
    {"{} {}", 0, 0, "JSON line 1"},
    {"{\"\xff\xfe\":{}}", 0, 0, "JSON line 1"},
    {"{\"\\u0000\":{}}", 0, 0, "JSON line 1"},
    {"{" E("x", "F32", "[1]", "[0,4]") "," E("x", "F32", "[1]", "[4,8]") "}", 0, 8, "duplicate object key"},
    /* entries */
    {"{\"x\":1}", 0, 4, "x: directory entry is not an object"},
    {"{\"x\":null}", 0, 4, "x: directory entry is not an object"},
    {"{\"x\":[]}", 0, 4, "x: directory entry is not an object"},
    {"{\"x\":\"F32\"}", 0, 4, "x: directory entry is not an object"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, "tensor name of 0 bytes"},
    /* dtype */
    {"{\"x\":{}}", 0, 4, "x: dtype is missing"},
    {"{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, "x: dtype is missing"},
    {X("1", "[1]", "[0,4]"), 0, 4, "x: dtype is missing or not a string"},
    {X("null", "[1]", "[0,4]"), 0, 4, "x: dtype is missing or not a string"},
    {X("\"\"", "[1]", "[0,4]"), 0, 4, "x has dtype , which Carat does not read"},
    {X("\"f32\"", "[1]", "[0,4]"), 0, 4, "x has dtype f32"},
    {X("\"F64\"", "[1]", "[0,8]"), 0, 8, "x has dtype F64, which Carat does not read; supported: F32 F16 BF16 I32 I64"},
    {X("\"I8\"", "[4]", "[0,4]"), 0, 4, "x has dtype I8"},
    {X("\"U8\"", "[4]", "[0,4]"), 0, 4, "x has dtype U8"},
    {X("\"BOOL\"", "[4]", "[0,4]"), 0, 4, "x has dtype BOOL"},
    {X("\"I16\"", "[2]", "[0,4]"), 0, 4, "x has dtype I16"},
    {X("\"U64\"", "[1]", "[0,8]"), 0, 8, "x has dtype U64"},
    {X("\"F8_E4M3\"", "[4]", "[0,4]"), 0, 4, "x has dtype F8_E4M3"},
    {X("\"F32\\u0000\"", "[1]", "[0,4]"), 0, 4, "x has dtype F32"},
    {"{" E("model.layers.0.mlp.up_proj.weight", "F8_E5M2", "[4]", "[0,4]") "}", 0, 4,
     "model.layers.0.mlp.up_proj.weight has dtype F8_E5M2"},
    /* shape */
    {"{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 0, 4, "x: shape is missing or not a list"},
    {X(F32, "1", "[0,4]"), 0, 4, "x: shape is missing or not a list"},
    {X(F32, "{}", "[0,4]"), 0, 4, "x: shape is missing or not a list"},
    {X(F32, "[1,1,1,1,1]", "[0,4]"), 0, 4, "x has rank 5, expected at most 4"},
    {X(F32, "[-1]", "[0,4]"), 0, 4, "x: dimension 0 is not a non-negative integer"},
    {X(F32, "[1,\"1\"]", "[0,4]"), 0, 4, "x: dimension 1 is not a non-negative integer"},
    {X(F32, "[1.5]", "[0,4]"), 0, 4, "x: dimension 0 is not a non-negative integer"},
    {X(F32, "[1e300]", "[0,4]"), 0, 4, "x: dimension 0 is not a non-negative integer"},
    {X(F32, "[null]", "[0,4]"), 0, 4, "x: dimension 0 is not a non-negative integer"},
    {X(F32, "[true]", "[0,4]"), 0, 4, "x: dimension 0 is not a non-negative integer"},
    {X(F32, "[[1]]", "[0,4]"), 0, 4, "x: dimension 0 is not a non-negative integer"},
    {X(F32, "[99999999999999999999]", "[0,4]"), 0, 4, "too big"},
    {X(F32, "[4294967296,4294967296]", "[0,4]"), 0, 4, "x: number of elements overflows at dimension 1"},
    {X(F32, "[4294967296,2147483648]", "[0,4]"), 0, 4, "x: number of elements overflows at dimension 1"},
    {X(F32, "[0,4294967296,4294967296]", "[0,0]"), 0, 4, "x: number of elements overflows at dimension 2"},
    {X(F32, "[9223372036854775807]", "[0,4]"), 0, 4, "x: size in bytes overflows"},
    {X("\"I64\"", "[4611686018427387904]", "[0,4]"), 0, 4, "x: size in bytes overflows"},
    /* places */
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "4"), 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[]"), 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[0]"), 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[0,4,8]"), 0, 8, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[\"0\",4]"), 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[0,null]"), 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[-4,0]"), 0, 4, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[4,0]"), 0, 4, "x: data_offsets is not a pair of integers in order"},
    {X(F32, "[1]", "[0.5,4.5]"), 0, 8, "x: data_offsets is not a pair"},
    {X(F32, "[1]", "[0,4]"), 0, 3, "x: data [0, 4) lies outside the 3 data bytes"},
    {X(F32, "[1]", "[0,4]"), 0, 0, "x: data [0, 4) lies outside the 0 data bytes"},
    {X(F32, "[1]", "[4,8]"), 0, 7, "x: data [4, 8) lies outside the 7 data bytes"},
    {X(F32, "[1]", "[9223372036854775803,9223372036854775807]"), 0, 4, "x: data [9223372036854775803"},
    {X(F32, "[0]", "[5,5]"), 0, 4, "x: data [5, 5) lies outside the 4 data bytes"},
    {X(F32, "[1]", "[0,3]"), 0, 4, "x: data_offsets span 3 bytes, but 1 values of F32 take 4"},
    {X(F32, "[2]", "[0,4]"), 0, 4, "x: data_offsets span 4 bytes, but 2 values of F32 take 8"},
    {X("\"BF16\"", "[2,2]", "[0,16]"), 0, 16, "x: data_offsets span 16 bytes, but 4 values of BF16 take 8"},
    {X(F32, "[]", "[0,0]"), 0, 4, "x: data_offsets span 0 bytes, but 1 values of F32 take 4"},
    {X(F32, "[0,4]", "[0,4]"), 0, 4, "x: data_offsets span 4 bytes, but 0 values of F32 take 0"},
    {"{" E("x", "F32", "[1]", "[0,4]") "," E("y", "F32", "[1]", "[0,4]") "}", 0, 4, "tensors x and y overlap"},
    {"{" E("x", "F32", "[2]", "[0,8]") "," E("y", "F16", "[1]", "[6,8]") "}", 0, 8, "tensors x and y overlap"},
    {"{" E("x", "F16", "[1]", "[7,9]") "," E("y", "F32", "[2]", "[0,8]") "}", 0, 9, "tensors y and x overlap"},
};
enum { N_BROKEN = sizeof broken / sizeof broken[0] };

static int open_bytes(ct_safetensors **st, const craft *c, uint8_t **keep, carat_error *err) {
    *keep = craft_exact(c);
    return ct_safetensors_open_memory(st, *keep, c->n, "bad.safetensors", err);
}

static void safetensors__rejects_broken_files(void **state) {
    (void)state;
    char *dir = craft_tmpdir(), *path = craft_path(dir, "bad.safetensors");
    for (size_t i = 0; i < N_BROKEN; i++) {
        craft c = {0};
        craft_safetensors(&c, broken[i].header, broken[i].delta, broken[i].n_data);
        uint8_t *mem;
        carat_error err = {0};
        ct_safetensors *st = (ct_safetensors *)(uintptr_t)1;
        int rc = open_bytes(&st, &c, &mem, &err);
        const char *bad = craft_bad_failure(rc, &err, CARAT_EFORMAT, broken[i].about);
        if (bad) fail_msg("%s\n  %s: %s\n  expected: %s", broken[i].header, bad, err.msg, broken[i].about);
        if (strncmp(err.msg, "bad.safetensors: ", 17) != 0) fail_msg("does not name the file: %s", err.msg);
        assert_null(st);
        free(mem);
        assert_true(craft_save(path, c.p, c.n));
        rc = ct_safetensors_open(&st, path, &err);
        bad = craft_bad_failure(rc, &err, CARAT_EFORMAT, broken[i].about);
        if (bad) fail_msg("%s\n  on disk %s: %s", broken[i].header, bad, err.msg);
        craft_free(&c);
    }
    free(path);
    craft_rmdir(dir);
    print_message("%d broken files\n", N_BROKEN);
}

static void safetensors__rejects_every_truncation(void **state) {
    (void)state;
    craft c = {0};
    craft_safetensors(&c, "{" E("x", "F32", "[2,1]", "[0,8]") "," E("y", "BF16", "[]", "[8,10]") "}", 0, 10);
    for (size_t n = 0; n <= c.n; n++) {
        const craft part = {c.p, n, n};
        uint8_t *mem;
        carat_error err = {0};
        ct_safetensors *st;
        const int rc = open_bytes(&st, &part, &mem, &err);
        const char *bad = n == c.n ? NULL : craft_bad_failure(rc, &err, CARAT_EFORMAT, "bad.safetensors: ");
        if (bad || (n == c.n && rc)) fail_msg("first %zu of %zu bytes: %s: %s", n, c.n, bad ? bad : "", err.msg);
        ct_safetensors_close(&st);
        free(mem);
    }
    craft_free(&c);
}

static void safetensors__reads_every_dtype_and_rank(void **state) {
    (void)state;
    craft c = {0};
    uint8_t *mem;
    carat_error err = {0};
    ct_safetensors *st;
    craft_safetensors(&c,
                      "{\"__metadata__\":{\"format\":\"pt\",\"x\":3},"
                      E("f32", "F32", "[2,3]", "[0,24]") "," E("f16", "F16", "[4]", "[24,32]") ","
                      E("bf16", "BF16", "[1,2,2,1]", "[40,48]") "," E("i32", "I32", "[1,1]", "[32,36]") ","
                      E("i64", "I64", "[]", "[48,56]") "," E("none", "F32", "[0,7]", "[56,56]") ","
                      "\"extra\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[56,60],\"note\":[1,{}]}}   ",
                      0, 64);
    if (open_bytes(&st, &c, &mem, &err)) fail_msg("%s", err.msg);
    static const struct {
        const char *name;
        ct_dtype dtype;
        int rank;
        int64_t n;
        size_t at, bytes;
    } want[] = {{"f32", CT_F32, 2, 6, 0, 24},  {"f16", CT_F16, 1, 4, 24, 8},  {"bf16", CT_BF16, 4, 4, 40, 8},
                {"i32", CT_I32, 2, 1, 32, 4},  {"i64", CT_I64, 0, 1, 48, 8},  {"none", CT_F32, 2, 0, 56, 0},
                {"extra", CT_F32, 1, 1, 56, 4}};
    assert_int_equal(ct_safetensors_n_tensor(st), 7);
    assert_int_equal(ct_safetensors_n_files(st), 1);
    for (size_t i = 0; i < 7; i++) {
        const ct_tensor *t = ct_safetensors_tensor(st, want[i].name);
        assert_non_null(t);
        assert_ptr_equal(t, ct_safetensors_tensor_at(st, i));
        assert_int_equal(t->dtype, want[i].dtype);
        assert_int_equal(t->rank, want[i].rank);
        assert_int_equal(t->n_elem, want[i].n);
        assert_int_equal(t->bytes, want[i].bytes);
        assert_int_equal(t->offset, c.n - 64 + want[i].at);
        assert_ptr_equal(t->data, mem + t->offset);
    }
    const ct_tensor *t = ct_safetensors_tensor(st, "bf16");
    assert_int_equal(t->shape[1], 2);
    assert_int_equal(t->shape[3], 1);
    t = ct_safetensors_tensor(st, "f32");
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->shape[2], 1);
    assert_null(ct_safetensors_tensor(st, "__metadata__"));
    assert_null(ct_safetensors_tensor(st, "F32"));
    ct_safetensors_close(&st);
    assert_null(st);
    ct_safetensors_close(&st);
    free(mem);
    craft_free(&c);
}

/* ---- folders ------------------------------------------------------------------------------------------ */

#define INDEX(map) "{\"metadata\":{\"total_size\":12},\"weight_map\":" map "}"
#define MAP_ABC "{\"a\":\"s-1.safetensors\",\"b\":\"s-2.safetensors\",\"c\":\"s-1.safetensors\"}"
#define AC "{" E("a", "F32", "[1]", "[0,4]") "," E("c", "F32", "[1]", "[4,8]") "}"
#define B "{" E("b", "F32", "[1]", "[0,4]") "}"

/* Fill a fresh folder: shard headers (NULL = absent; every shard has 8 data bytes) and an index (NULL = absent). */
static char *make_folder(const char *one, const char *two, const char *index) {
    char *dir = craft_tmpdir();
    const char *name[] = {"s-1.safetensors", "s-2.safetensors"};
    const char *head[] = {one, two};
    for (int i = 0; i < 2; i++) {
        if (!head[i]) continue;
        craft c = {0};
        char *p = craft_path(dir, name[i]);
        craft_safetensors(&c, head[i], 0, 8);
        assert_true(craft_save(p, c.p, c.n));
        free(p);
        craft_free(&c);
    }
    if (index) {
        char *p = craft_path(dir, "model.safetensors.index.json");
        assert_true(craft_save(p, index, strlen(index)));
        free(p);
    }
    return dir;
}

static void safetensors__opens_shards(void **state) {
    (void)state;
    char *dir = make_folder(AC, B, INDEX(MAP_ABC));
    carat_error err = {0};
    ct_safetensors *st;
    if (ct_safetensors_open(&st, dir, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_safetensors_n_files(st), 2);
    assert_int_equal(ct_safetensors_n_tensor(st), 3);
    assert_int_equal(ct_safetensors_tensor(st, "a")->file, 0);
    assert_int_equal(ct_safetensors_tensor(st, "b")->file, 1);
    assert_int_equal(ct_safetensors_tensor(st, "c")->file, 0);
    const ct_tensor *t = ct_safetensors_tensor(st, "c");
    assert_ptr_equal(t->data, ct_safetensors_file(st, 0)->data + t->offset);
    assert_int_equal(t->data[0], 4);
    ct_safetensors_close(&st);
    craft_rmdir(dir);
}

static void safetensors__opens_a_folder_of_one_file(void **state) {
    (void)state;
    char *dir = make_folder(NULL, NULL, "this index is not looked at");
    char *p = craft_path(dir, "model.safetensors");
    craft c = {0};
    carat_error err = {0};
    ct_safetensors *st;
    craft_safetensors(&c, AC, 0, 8);
    assert_true(craft_save(p, c.p, c.n));
    if (ct_safetensors_open(&st, dir, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_safetensors_n_tensor(st), 2);
    ct_safetensors_close(&st);
    craft_free(&c);
    free(p);
    craft_rmdir(dir);
}

static const struct {
    const char *one, *two, *index;
    int code;
    const char *about;
} broken_folder[] = {
    {AC, B, NULL, CARAT_EIO, "folder holds neither model.safetensors nor model.safetensors.index.json"},
    {NULL, NULL, NULL, CARAT_EIO, "folder holds neither"},
    {AC, B, "", CARAT_EFORMAT, "index.json: JSON line 1"},
    {AC, B, "{", CARAT_EFORMAT, "index.json: JSON line 1"},
    {AC, B, "[]", CARAT_EFORMAT, "weight_map is missing"},
    {AC, B, "{}", CARAT_EFORMAT, "weight_map is missing"},
    {AC, B, INDEX("{}"), CARAT_EFORMAT, "weight_map is missing, empty"},
    {AC, B, INDEX("[]"), CARAT_EFORMAT, "weight_map is missing, empty or not an object"},
    {AC, B, INDEX("{\"a\":1}"), CARAT_EFORMAT, "weight_map of a is not a string"},
    {AC, B, INDEX("{\"a\":null}"), CARAT_EFORMAT, "weight_map of a is not a string"},
    {AC, B, INDEX("{\"a\":\"\"}"), CARAT_EFORMAT, "a lies in \"\", which is not a plain file name"},
    {AC, B, INDEX("{\"a\":\".\"}"), CARAT_EFORMAT, "not a plain file name"},
    {AC, B, INDEX("{\"a\":\"..\"}"), CARAT_EFORMAT, "not a plain file name"},
    {AC, B, INDEX("{\"a\":\"../s-1.safetensors\"}"), CARAT_EFORMAT, "a lies in \"../s-1.safetensors\""},
    {AC, B, INDEX("{\"a\":\"/etc/passwd\"}"), CARAT_EFORMAT, "a lies in \"/etc/passwd\""},
    {AC, B, INDEX("{\"a\":\"./s-1.safetensors\"}"), CARAT_EFORMAT, "not a plain file name"},
    {AC, B, INDEX("{\"a\":\"sub/s-1.safetensors\"}"), CARAT_EFORMAT, "not a plain file name"},
    {AC, B, INDEX("{\"a\":\"sub\\\\s-1.safetensors\"}"), CARAT_EFORMAT, "not a plain file name"},
    {AC, B, INDEX("{\"a\":\"s-1.safetensors\\u0000x\"}"), CARAT_EFORMAT, "not a plain file name"},
    {AC, NULL, INDEX(MAP_ABC), CARAT_EIO, "s-2.safetensors: shard is missing (weight_map puts b in it)"},
    {NULL, B, INDEX(MAP_ABC), CARAT_EIO, "s-1.safetensors: shard is missing (weight_map puts a in it)"},
    {AC, "{}", INDEX(MAP_ABC), CARAT_EFORMAT, "weight_map puts b in "},
    {B, AC, INDEX(MAP_ABC), CARAT_EFORMAT, "weight_map puts a in "},
    {AC, B, INDEX("{\"a\":\"s-1.safetensors\",\"b\":\"s-1.safetensors\"}"), CARAT_EFORMAT, "which does not hold it"},
    {AC, B, INDEX("{\"c\":\"s-1.safetensors\",\"b\":\"s-2.safetensors\",\"a\":\"s-2.safetensors\"}"), CARAT_EFORMAT,
     "weight_map puts a in "},
    {AC, B, INDEX("{\"a\":\"s-1.safetensors\",\"d\":\"s-2.safetensors\"}"), CARAT_EFORMAT, "weight_map puts d in"},
    {AC, AC, INDEX(MAP_ABC), CARAT_EFORMAT, "s-2.safetensors: tensor a is also in "},
    {AC, "{{", INDEX(MAP_ABC), CARAT_EFORMAT, "s-2.safetensors: JSON line 1"},
    {AC, "{" E("b", "F64", "[1]", "[0,8]") "}", INDEX(MAP_ABC), CARAT_EFORMAT, "s-2.safetensors: b has dtype F64"},
};

static void safetensors__rejects_broken_folders(void **state) {
    (void)state;
    const size_t n = sizeof broken_folder / sizeof broken_folder[0];
    for (size_t i = 0; i < n; i++) {
        char *dir = make_folder(broken_folder[i].one, broken_folder[i].two, broken_folder[i].index);
        carat_error err = {0};
        ct_safetensors *st;
        const int rc = ct_safetensors_open(&st, dir, &err);
        const char *bad = craft_bad_failure(rc, &err, broken_folder[i].code, broken_folder[i].about);
        if (bad) fail_msg("folder %zu %s: %s\n  expected: %s", i, bad, err.msg, broken_folder[i].about);
        assert_null(st);
        craft_rmdir(dir);
    }
    print_message("%zu broken folders\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors__rejects_broken_files),
        cmocka_unit_test(safetensors__rejects_every_truncation),
        cmocka_unit_test(safetensors__reads_every_dtype_and_rank),
        cmocka_unit_test(safetensors__opens_shards),
        cmocka_unit_test(safetensors__opens_a_folder_of_one_file),
        cmocka_unit_test(safetensors__rejects_broken_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
