/* GGUF writer: what it writes the reader reads back unchanged; misuse is an error; nothing half-written is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/gguf_priv.h"
#include "formats/gguf_write.h"

static char *dir, *path;

static int make_dir(void **state) {
    (void)state;
    dir = craft_tmpdir();
    path = craft_path(dir, "out.gguf");
    return 0;
}

static int drop_dir(void **state) {
    (void)state;
    free(path);
    craft_rmdir(dir);
    return 0;
}

static int n_files(void) {
    int n = 0;
    DIR *d = opendir(dir);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void put_all_kinds(ct_gguf_writer *w) {
    static const ct_str words[] = {{"one", 3}, {"", 0}, {"th\0ree", 6}};
    static const float floats[] = {1.5f, -2.0f};
    static const int32_t ints[] = {-1, 0, 2147483647};
    static const bool bools[] = {true, false, true, true};
    ct_gguf_put_u32(w, "u32", 4000000000u);
    ct_gguf_put_u64(w, "u64", 1ull << 62);
    ct_gguf_put_f32(w, "f32", 1e-6f);
    ct_gguf_put_bool(w, "yes", true);
    ct_gguf_put_bool(w, "no", false);
    ct_gguf_put_str(w, "str", "h\xc3\xa9", 3);
    ct_gguf_put_str(w, "nothing", "", 0);
    ct_gguf_put_arr_str(w, "words", words, 3);
    ct_gguf_put_arr_f32(w, "floats", floats, 2);
    ct_gguf_put_arr_i32(w, "ints", ints, 3);
    ct_gguf_put_arr_bool(w, "bools", bools, 4);
    ct_gguf_put_arr_i32(w, "empty", NULL, 0);
}

static void check_all_kinds(const ct_gguf *g) {
    int64_t i;
    double f;
    bool b;
    ct_str s;
    assert_int_equal(ct_gguf_n_kv(g), 12);
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "u32"), &i) && i == 4000000000);
    assert_true(ct_gguf_as_i64(ct_gguf_find(g, "u64"), &i) && i == (int64_t)1 << 62);
    assert_true(ct_gguf_as_f64(ct_gguf_find(g, "f32"), &f) && (float)f == 1e-6f);
    assert_true(ct_gguf_as_bool(ct_gguf_find(g, "yes"), &b) && b);
    assert_true(ct_gguf_as_bool(ct_gguf_find(g, "no"), &b) && !b);
    assert_true(ct_gguf_as_str(ct_gguf_find(g, "str"), &s) && s.len == 3 && memcmp(s.s, "h\xc3\xa9", 3) == 0);
    assert_true(ct_gguf_as_str(ct_gguf_find(g, "nothing"), &s) && s.len == 0);
    const ct_gguf_kv *kv = ct_gguf_find(g, "words");
    const uint8_t *cur = kv->data;
    assert_int_equal(kv->n, 3);
    assert_true(ct_gguf_arr_next_str(kv, &cur, &s) && s.len == 3);
    assert_true(ct_gguf_arr_next_str(kv, &cur, &s) && s.len == 0);
    assert_true(ct_gguf_arr_next_str(kv, &cur, &s) && s.len == 6 && memcmp(s.s, "th\0ree", 6) == 0);
    assert_true(ct_gguf_arr_f64(ct_gguf_find(g, "floats"), 1, &f) && f == -2);
    assert_true(ct_gguf_arr_i64(ct_gguf_find(g, "ints"), 2, &i) && i == 2147483647);
    assert_true(ct_gguf_arr_i64(ct_gguf_find(g, "bools"), 1, &i) && i == 0);
    assert_true(ct_gguf_arr_i64(ct_gguf_find(g, "bools"), 3, &i) && i == 1);
    assert_int_equal(ct_gguf_find(g, "empty")->n, 0);
}

static uint8_t pattern(size_t tensor, size_t i) { return (uint8_t)(tensor * 31 + i * 7 + (i >> 8)); }

/* One tensor of every type and of ranks 1 to 4, written in pieces of odd sizes. */
static void writer__round_trips_every_type(void **state) {
    (void)state;
    carat_error err = {0};
    ct_gguf_writer *w;
    char name[32];
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
    put_all_kinds(w);
    size_t size[CT_N_DTYPE];
    for (int d = 0; d < CT_N_DTYPE; d++) {
        const int64_t shape[4] = {d % 3 + 1, 2, 3, 256};
        const int rank = d % 4 + 1;
        snprintf(name, sizeof name, "t.%d", d);
        assert_int_equal(ct_gguf_put_tensor(w, name, (ct_dtype)d, rank, shape + 4 - rank, &err), 0);
        size[d] = ct_dtype_row_bytes((ct_dtype)d, 256);
        for (int k = 4 - rank; k < 3; k++) size[d] *= (size_t)shape[k];
    }
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    for (size_t d = 0; d < CT_N_DTYPE; d++) {
        uint8_t *data = malloc(size[d]);
        for (size_t i = 0; i < size[d]; i++) data[i] = pattern(d, i);
        for (size_t at = 0, k = 1; at < size[d]; at += k, k = k * 3 + 1) {
            if (k > size[d] - at) k = size[d] - at;
            assert_int_equal(ct_gguf_write(w, data + at, k, &err), 0);
        }
        free(data);
    }
    assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
    ct_gguf_writer_free(&w);
    assert_null(w);
    assert_int_equal(n_files(), 1);
    ct_gguf *g;
    if (ct_gguf_open(&g, path, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_gguf_version(g), 3);
    check_all_kinds(g);
    assert_int_equal(ct_gguf_n_tensor(g), CT_N_DTYPE);
    for (size_t d = 0; d < CT_N_DTYPE; d++) {
        snprintf(name, sizeof name, "t.%zu", d);
        const ct_tensor *t = ct_gguf_tensor(g, name);
        assert_int_equal(t->dtype, d);
        assert_int_equal(t->rank, d % 4 + 1);
        assert_int_equal(t->shape[t->rank - 1], 256);
        if (t->rank == 4) assert_int_equal(t->shape[0], d % 3 + 1);
        assert_int_equal(t->bytes, size[d]);
        assert_int_equal(t->offset % 32, 0);
        for (size_t i = 0; i < t->bytes; i++) assert_int_equal(t->data[i], pattern(d, i));
    }
    ct_gguf_close(&g);
}

static void writer__marks_panels(void **state) {
    (void)state;
    static const struct {
        ct_dtype t;
        unsigned number;
    } want[] = {{CT_Q4_0, 0x43540002}, {CT_Q8_0, 0x43540008}, {CT_Q4_K, 0x4354000c}, {CT_Q5_K, 0x4354000d}, {CT_Q6_K, 0x4354000e}};
    const int64_t shape[] = {2, 16, 256}, odd[] = {2, 24, 256};
    for (int d = 0; d < CT_N_DTYPE; d++) {
        carat_error err = {0};
        ct_gguf_writer *w;
        ct_gguf *g;
        size_t i = 0;
        while (i < 5 && want[i].t != (ct_dtype)d) i++;
        assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
        assert_int_equal(ct_gguf_put_panels(w, "x", (ct_dtype)d, 3, shape, &err), i < 5 ? 0 : CARAT_EINVAL);
        assert_int_equal(ct_gguf_put_panels(w, "y", (ct_dtype)d, 3, odd, &err), CARAT_EINVAL);
        assert_int_equal(ct_gguf_put_panels(w, "y", (ct_dtype)d, 1, shape + 2, &err), CARAT_EINVAL);
        if (i < 5) {
            const size_t n = 32 * ct_dtype_row_bytes((ct_dtype)d, 256);
            uint8_t *data = calloc(n, 1);
            assert_int_equal(ct_gguf_number_of_dtype((ct_dtype)d, true), want[i].number);
            assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
            assert_int_equal(ct_gguf_write(w, data, n, &err), 0);
            assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
            assert_int_equal(ct_gguf_open(&g, path, &err), 0);
            assert_true(ct_gguf_tensor(g, "x")->panels && ct_gguf_tensor(g, "x")->bytes == n);
            ct_gguf_close(&g);
            free(data);
        }
        ct_gguf_writer_free(&w);
    }
}

/* Copying every key of a file of all 13 types gives the same keys; split keys stay behind. */
static void writer__copies_keys_as_they_are(void **state) {
    (void)state;
    craft c = {0};
    craft_line(&c,
               "h:3,0,17 k:u8,0 b:200 k:i8,1 b:-100 k:u16,2 w:60000 k:i16,3 w:-30000 k:u32,4 d:4000000000 "
               "k:i32,5 d:-2 k:f32,6 f:0.5 k:bool,7 b:1 k:str,8 s:hello k:arr,9 d:5 q:3 d:-1 d:0 d:7 "
               "k:u64,10 q:-1 k:i64,11 q:-5 k:f64,12 F:-2.25 k:nest,9 d:9 q:2 d:8 q:1 s:ab d:7 q:1 b:1 "
               "k:general.alignment,4 d:128 k:split.count,2 w:1 k:split.no,2 w:0");
    carat_error err = {0};
    ct_gguf *a, *b;
    ct_gguf_writer *w;
    const int64_t shape[] = {3};
    assert_int_equal(ct_gguf_open_memory(&a, c.p, c.n, "a.gguf", &err), 0);
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
    for (size_t i = 0; i < ct_gguf_n_kv(a); i++) ct_gguf_put_copy(w, ct_gguf_kv_at(a, i));
    assert_int_equal(ct_gguf_put_tensor(w, "x", CT_F32, 1, shape, &err), 0);
    assert_int_equal(ct_gguf_put_tensor(w, "y", CT_F32, 1, shape, &err), 0);
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    assert_int_equal(ct_gguf_write(w, "abcdefghijkl", 12, &err), 0);
    assert_int_equal(ct_gguf_write(w, "ABCDEFGHIJKL", 12, &err), 0);
    assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
    ct_gguf_writer_free(&w);
    if (ct_gguf_open(&b, path, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_gguf_n_kv(b), 15);
    for (size_t i = 0; i < 15; i++) {
        const ct_gguf_kv *x = ct_gguf_kv_at(a, i), *y = ct_gguf_kv_at(b, i);
        assert_string_equal(x->key, y->key);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->elem_type, y->elem_type);
        assert_int_equal(x->n, y->n);
        assert_int_equal(x->end - x->data, y->end - y->data);
        assert_memory_equal(x->data, y->data, (size_t)(x->end - x->data));
    }
    assert_int_equal(ct_gguf_tensor(b, "y")->offset % 128, 0);
    assert_memory_equal(ct_gguf_tensor(b, "y")->data, "ABCDEFGHIJKL", 12);
    ct_gguf_close(&a);
    ct_gguf_close(&b);
    craft_free(&c);
}

static void writer__leaves_nothing_when_discarded(void **state) {
    (void)state;
    carat_error err = {0};
    ct_gguf_writer *w;
    const int64_t shape[] = {8};
    assert_true(craft_save(path, "old", 3));
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
    assert_int_equal(n_files(), 2);
    assert_int_equal(ct_gguf_put_tensor(w, "x", CT_F32, 1, shape, &err), 0);
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    assert_int_equal(ct_gguf_write(w, "abcd", 4, &err), 0);
    assert_null(
        craft_bad_failure(ct_gguf_writer_finish(w, &err), &err, CARAT_EINVAL, "tensor x has 4 of 32 bytes"));
    ct_gguf_writer_free(&w);
    ct_gguf_writer_free(&w);
    assert_int_equal(n_files(), 1);
    char got[4] = {0};
    FILE *f = fopen(path, "rb"); /* the file that was there is untouched */
    assert_int_equal(fread(got, 1, 4, f), 3);
    fclose(f);
    assert_string_equal(got, "old");
}

static void writer__two_at_once_do_not_collide(void **state) {
    (void)state;
    carat_error err = {0};
    ct_gguf_writer *a, *b;
    assert_int_equal(ct_gguf_writer_new(&a, path, &err), 0);
    assert_int_equal(ct_gguf_writer_new(&b, path, &err), 0);
    ct_gguf_put_u32(a, "a", 1);
    assert_int_equal(ct_gguf_writer_begin(a, &err), 0);
    assert_int_equal(ct_gguf_writer_finish(a, &err), 0);
    ct_gguf_writer_free(&b);
    ct_gguf_writer_free(&a);
    ct_gguf *g;
    assert_int_equal(ct_gguf_open(&g, path, &err), 0);
    assert_non_null(ct_gguf_find(g, "a"));
    ct_gguf_close(&g);
    assert_int_equal(n_files(), 1);
}

static void writer__refuses_misuse(void **state) {
    (void)state;
    carat_error err = {0};
    ct_gguf_writer *w;
    const int64_t ok[] = {2, 32}, zero[] = {0, 32}, odd[] = {2, 33}, huge[] = {INT64_MAX, 4},
                  negative[] = {-1};
    char name[300];
    memset(name, 'n', sizeof name);
    name[299] = 0;
    assert_null(craft_bad_failure(ct_gguf_writer_new(&w, "/nonexistent/folder/x.gguf", &err), &err, CARAT_EIO,
                                  "cannot create"));
    assert_null(w);
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
    assert_null(
        craft_bad_failure(ct_gguf_put_tensor(w, "", CT_F32, 2, ok, &err), &err, CARAT_EINVAL, "name"));
    assert_null(
        craft_bad_failure(ct_gguf_put_tensor(w, name, CT_F32, 2, ok, &err), &err, CARAT_EINVAL, "too long"));
    assert_null(craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_F32, 2, zero, &err), &err, CARAT_EINVAL,
                                  "dimension 0"));
    assert_null(craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_F32, 1, negative, &err), &err, CARAT_EINVAL,
                                  "dimension"));
    assert_null(craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_F32, 2, huge, &err), &err, CARAT_EINVAL,
                                  "dimension 1"));
    assert_null(
        craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_Q8_0, 2, odd, &err), &err, CARAT_EINVAL, "33"));
    assert_null(
        craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_F32, 5, ok, &err), &err, CARAT_EINVAL, "rank 5"));
    assert_null(
        craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_F32, 0, ok, &err), &err, CARAT_EINVAL, "rank 0"));
    assert_null(
        craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_N_DTYPE, 2, ok, &err), &err, CARAT_EINVAL, "type"));
    assert_null(
        craft_bad_failure(ct_gguf_write(w, "a", 1, &err), &err, CARAT_EINVAL, "outside begin and finish"));
    assert_null(
        craft_bad_failure(ct_gguf_writer_finish(w, &err), &err, CARAT_EINVAL, "finish without begin"));
    assert_int_equal(ct_gguf_put_tensor(w, "x", CT_Q8_0, 2, ok, &err), 0);
    assert_null(craft_bad_failure(ct_gguf_put_tensor(w, "x", CT_Q8_0, 2, ok, &err), &err, CARAT_EINVAL,
                                  "used twice"));
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    assert_null(craft_bad_failure(ct_gguf_writer_begin(w, &err), &err, CARAT_EINVAL, "begun twice"));
    assert_null(craft_bad_failure(ct_gguf_put_tensor(w, "y", CT_Q8_0, 2, ok, &err), &err, CARAT_EINVAL,
                                  "after begin"));
    uint8_t data[80] = {0};
    assert_null(craft_bad_failure(ct_gguf_write(w, data, 69, &err), &err, CARAT_EINVAL,
                                  "x takes 68 more bytes, not 69"));
    assert_int_equal(ct_gguf_write(w, data, 60, &err), 0);
    assert_null(
        craft_bad_failure(ct_gguf_write(w, data, 9, &err), &err, CARAT_EINVAL, "x takes 8 more bytes"));
    assert_int_equal(ct_gguf_write(w, data, 8, &err), 0);
    assert_null(
        craft_bad_failure(ct_gguf_write(w, data, 1, &err), &err, CARAT_EINVAL, "after the last tensor"));
    assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
    assert_null(craft_bad_failure(ct_gguf_writer_finish(w, &err), &err, CARAT_EINVAL, "twice"));
    ct_gguf_writer_free(&w);
}

static void put_twice(ct_gguf_writer *w) {
    ct_gguf_put_u32(w, "k", 1);
    ct_gguf_put_bool(w, "k", true);
}
static void put_empty(ct_gguf_writer *w) { ct_gguf_put_u32(w, "", 1); }
static void put_alignment(ct_gguf_writer *w) { ct_gguf_put_u32(w, "general.alignment", 48); }
static void put_alignment64(ct_gguf_writer *w) { ct_gguf_put_u64(w, "general.alignment", UINT64_MAX); }

static void writer__begin_reports_what_a_put_could_not(void **state) {
    (void)state;
    static const struct {
        void (*put)(ct_gguf_writer *w);
        const char *about;
    } cases[] = {{put_twice, "key k put twice"},
                 {put_empty, "key of 0 bytes"},
                 {put_alignment, "general.alignment 48"},
                 {put_alignment64, "general.alignment -1"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        carat_error err = {0};
        ct_gguf_writer *w;
        assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
        cases[i].put(w);
        ct_gguf_put_u32(w, "later", 1); /* what comes after does not hide it */
        assert_null(craft_bad_failure(ct_gguf_writer_begin(w, &err), &err, CARAT_EINVAL, cases[i].about));
        ct_gguf_writer_free(&w);
        assert_int_equal(n_files(), 0);
    }
}

static void writer__empty_file_is_readable(void **state) {
    (void)state;
    carat_error err = {0};
    ct_gguf_writer *w;
    ct_gguf *g;
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), 0);
    assert_int_equal(ct_gguf_writer_begin(w, &err), 0);
    assert_int_equal(ct_gguf_writer_finish(w, &err), 0);
    ct_gguf_writer_free(&w);
    assert_int_equal(ct_gguf_open(&g, path, &err), 0);
    assert_int_equal(ct_gguf_n_kv(g) + ct_gguf_n_tensor(g), 0);
    ct_gguf_close(&g);
}

/* A fifo stands for a device: whatever is not a regular file must be there as it was afterwards. */
static void writer__refuses_what_is_not_a_file(void **state) {
    (void)state;
    ct_gguf_writer *w = NULL;
    carat_error err = {0};
    struct stat st;
    assert_int_equal(ct_gguf_writer_new(&w, dir, &err), CARAT_EIO);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(ct_gguf_writer_new(&w, path, &err), CARAT_EIO);
    assert_null(w);
    assert_non_null(strstr(err.msg, "expected a name for a new file"));
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(n_files(), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writer__round_trips_every_type, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__marks_panels, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__copies_keys_as_they_are, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__leaves_nothing_when_discarded, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__two_at_once_do_not_collide, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__refuses_misuse, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__begin_reports_what_a_put_could_not, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__refuses_what_is_not_a_file, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(writer__empty_file_is_readable, make_dir, drop_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
