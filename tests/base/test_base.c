/* The base room: checked arithmetic, allocation, arena, UTF-8, random numbers, types, files, error text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "base/utf8.h"

static void sizes__do_not_overflow(void **state) {
    (void)state;
    size_t x;
    assert_true(ct_mul_size(&x, SIZE_MAX / 2, 2));
    assert_false(ct_mul_size(&x, SIZE_MAX / 2 + 1, 2));
    assert_true(ct_mul_size(&x, 0, SIZE_MAX));
    assert_false(ct_add_size(&x, SIZE_MAX, 1));
    assert_null(ct_alloc_array(SIZE_MAX / 4, 8));
    assert_null(ct_alloc(SIZE_MAX - 3));
}

static void alloc__is_zeroed_and_aligned(void **state) {
    (void)state;
    for (size_t n = 0; n < 3000; n += 61) {
        uint8_t *p = ct_alloc(n);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xab, n);
        ct_free(p);
    }
    ct_free(NULL);
    int *v = NULL;
    size_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(ct_grow((void **)&v, &cap, (size_t)i + 1, sizeof *v));
        v[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(v[i], i);
    ct_free(v);
}

static void arena__keeps_objects_apart(void **state) {
    (void)state;
    ct_arena a = {0};
    uint8_t *p[200];
    for (int i = 0; i < 200; i++) {
        const size_t n = (size_t)(i * 997 % 5000) + (i % 50 == 0 ? 100000u : 1u);
        p[i] = ct_arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        memset(p[i], i, n);
    }
    for (int i = 0; i < 200; i++) assert_int_equal(p[i][0], i);
    assert_string_equal(ct_arena_strdup_n(&a, "abcdef", 3), "abc");
    assert_null(ct_arena_alloc(&a, SIZE_MAX - 10));
    ct_arena_free(&a);
    assert_int_equal(a.bytes, 0);
}

static int decode_all(const char *s, size_t n, uint32_t *out) {
    int k = 0;
    for (size_t i = 0; i < n;) {
        int ok;
        i += (size_t)ct_utf8_decode((const uint8_t *)s + i, n - i, &out[k++], &ok);
    }
    return k;
}

static void utf8__round_trips_every_scalar_value(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xd800 && cp < 0xe000) continue;
        uint8_t b[4];
        uint32_t back;
        int ok;
        const int n = ct_utf8_encode(cp, b);
        assert_int_equal(ct_utf8_decode(b, (size_t)n, &back, &ok), n);
        assert_true(ok);
        assert_int_equal(back, cp);
        for (int cut = 1; cut < n; cut++) assert_int_equal(ct_utf8_incomplete_tail(b, (size_t)cut), cut);
        assert_int_equal(ct_utf8_incomplete_tail(b, (size_t)n), 0);
    }
}

/* As Python's errors="replace": one U+FFFD for each maximal ill-formed subpart (Unicode 3.9, table 3-8). */
static void utf8__replaces_maximal_subparts(void **state) {
    (void)state;
    uint32_t cp[64];
    assert_int_equal(decode_all("\xf1\x80\x80\xe1\x80\xc2" "b", 7, cp), 4);
    assert_int_equal(cp[0], 0xfffd);
    assert_int_equal(cp[3], 'b');
    assert_int_equal(decode_all("\xc0\x80", 2, cp), 2);         /* overlong */
    assert_int_equal(decode_all("\xed\xa0\x80", 3, cp), 3);     /* surrogate */
    assert_int_equal(decode_all("\xf4\x90\x80\x80", 4, cp), 4); /* beyond U+10FFFF */
    assert_int_equal(decode_all("\xe2\x82", 2, cp), 1);         /* cut short */
    assert_int_equal(ct_utf8_incomplete_tail((const uint8_t *)"a\x80", 2), 0);
    assert_int_equal(ct_utf8_incomplete_tail((const uint8_t *)"a\xff", 2), 0);
}

static void rng__is_the_same_everywhere(void **state) {
    (void)state;
    ct_rng r;
    ct_rng_seed(&r, 42);
    const uint64_t first = ct_rng_u64(&r);
    ct_rng_seed(&r, 42);
    assert_int_equal(ct_rng_u64(&r), first);
    double sum = 0, sq = 0;
    for (int i = 0; i < 100000; i++) {
        const double u = ct_rng_uniform(&r), n = ct_rng_normal(&r);
        assert_true(u >= 0 && u < 1);
        sum += n, sq += n * n;
    }
    assert_true(sum / 1e5 < 0.02 && sum / 1e5 > -0.02);
    assert_true(sq / 1e5 < 1.03 && sq / 1e5 > 0.97);
}

static void dtypes__know_their_blocks(void **state) {
    (void)state;
    ct_dtype t;
    assert_true(ct_dtype_parse("q4_k", &t));
    assert_int_equal(t, CT_Q4_K);
    assert_string_equal(ct_dtype_name(t), "Q4_K");
    assert_int_equal(ct_dtype_row_bytes(t, 512), 288);
    assert_int_equal(ct_dtype_row_bytes(t, 500), 0);
    assert_int_equal(ct_dtype_row_bytes(CT_BF16, 3), 6);
    assert_false(ct_dtype_parse("Q9_9", &t));
}

/* Whatever range they are given, hints change no byte and reach nothing outside of the mapping. */
static void files__hints_change_nothing(void **state) {
    (void)state;
    enum { SIZE = (5 << 20) + 77 };
    char path[] = "/tmp/carat-base-XXXXXX";
    const int fd = mkstemp(path);
    static const size_t range[][2] = {{0, 0}, {0, SIZE}, {0, SIZE_MAX}, {1, 1}, {SIZE - 1, 1}, {SIZE - 1, SIZE_MAX}, {SIZE, 1},
                                      {SIZE_MAX, SIZE_MAX}, {3 << 20, 1 << 20}};
    ct_mapped_file f;
    carat_error err;
    uint8_t *want = ct_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) want[i] = (uint8_t)(i * 7 + (i >> 9));
    assert_true(write(fd, want, SIZE) == SIZE);
    assert_int_equal(ct_map_file(&f, path, &err), 0);
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        ct_map_huge(&f, range[i][0], range[i][1]);
        ct_map_prefetch(&f, range[i][0], range[i][1]);
        assert_memory_equal(f.data, want, SIZE);
    }
    ct_map_release(f.data + 5, SIZE - 5);
    assert_memory_equal(f.data, want, SIZE);
    ct_unmap_file(&f);
    ct_free(want);
    close(fd);
    unlink(path);
}

static void files__must_be_regular_and_readable(void **state) {
    (void)state;
    ct_mapped_file f;
    carat_error err = {0};
    assert_int_equal(ct_map_file(&f, "/nonexistent/x", &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "/nonexistent/x"));
    assert_int_equal(ct_map_file(&f, "/", &err), CARAT_EIO);
    assert_int_equal(ct_map_file(&f, "/dev/null", &err), CARAT_EIO);
    char path[] = "/tmp/carat-base-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ct_map_file(&f, path, &err), 0); /* empty */
    assert_non_null(f.data);
    assert_int_equal(f.size, 0);
    ct_unmap_file(&f);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(ct_map_file(&f, path, &err), 0);
    assert_memory_equal(f.data, "hello", 5);
    ct_unmap_file(&f);
    char *text;
    size_t n;
    assert_int_equal(ct_read_file(&text, &n, path, 5, &err), 0);
    assert_string_equal(text, "hello");
    ct_free(text);
    assert_int_equal(ct_read_file(&text, &n, path, 4, &err), CARAT_EFORMAT);
    close(fd);
    unlink(path);
}

/* Files keep these values: they never change. Cuts do not matter; one bit, an order, a length does. */
static void hash__is_of_the_bytes_alone(void **state) {
    (void)state;
    uint8_t x[200];
    for (int i = 0; i < 200; i++) x[i] = (uint8_t)(i * 7 + 3);
    assert_true(ct_hash_of(x, 0) == UINT64_C(0x764ab3941ddb96cf));
    assert_true(ct_hash_of(x, 3) == UINT64_C(0xf75a08169546b8fd));
    assert_true(ct_hash_of(x, 200) == UINT64_C(0x6aab44257c5c43b2));
    for (size_t cut = 0; cut <= 200; cut++) {
        ct_hash h;
        ct_hash_begin(&h);
        ct_hash_add(&h, x, cut / 2);
        ct_hash_add(&h, x + cut / 2, cut - cut / 2);
        (void)ct_hash_value(&h);
        ct_hash_add(&h, x + cut, 200 - cut);
        assert_true(ct_hash_value(&h) == ct_hash_of(x, 200));
    }
    for (size_t n = 1; n <= 70; n++) {
        const uint64_t whole = ct_hash_of(x, n);
        assert_true(whole != ct_hash_of(x, n - 1));
        for (size_t bit = 0; bit < 8 * n; bit++) {
            x[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(ct_hash_of(x, n) != whole);
            x[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    static const uint8_t zero[64];
    for (size_t n = 1; n <= 64; n++) assert_true(ct_hash_of(zero, n) != ct_hash_of(zero, n - 1));
}

static void files__get_their_name_when_they_are_whole(void **state) {
    (void)state;
    char dir[] = "/tmp/carat-base-XXXXXX", path[64], tmp[96];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/out", dir);
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld", path, (long)getpid());
    carat_error err = {0};
    ct_out_file *f = NULL;
    static uint8_t big[700000];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (uint8_t)(i * i >> 3);
    assert_int_equal(ct_out_file_new(&f, path, 0600, &err), 0);
    assert_int_equal(ct_out_file_put(f, "abc", 3, &err), 0);
    ct_out_file_free(&f); /* given up: nothing is left */
    assert_false(ct_path_exists(path) || ct_path_exists(tmp));
    assert_int_equal(ct_out_file_new(&f, path, 0600, &err), 0);
    ct_out_file_forget(f); /* a hint: the bytes are the same */
    assert_int_equal(ct_out_file_put(f, "abc", 3, &err), 0);
    assert_int_equal(ct_out_file_put(f, big, sizeof big, &err), 0);
    assert_int_equal(ct_out_file_put(f, big, 5, &err), 0);
    assert_true(ct_path_exists(tmp) && !ct_path_exists(path));
    assert_int_equal(ct_out_file_finish(f, &err), 0);
    ct_out_file_free(&f);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(ct_path_exists(tmp));

    ct_in_file in;
    static uint8_t got[sizeof big];
    assert_int_equal(ct_in_file_open(&in, path, &err), 0);
    assert_int_equal(in.size, sizeof big + 8);
    in.forget = true;
    assert_int_equal(ct_in_file_read(&in, got, 3, path, &err), 0);
    assert_memory_equal(got, "abc", 3);
    assert_int_equal(ct_in_file_read(&in, got, sizeof big, path, &err), 0);
    assert_memory_equal(got, big, sizeof big);
    assert_int_equal(ct_in_file_read(&in, got, 6, path, &err), CARAT_EFORMAT);
    assert_non_null(strstr(err.msg, "ends 1 bytes too early"));
    ct_in_file_close(&in);
    assert_int_equal(ct_in_file_open(&in, dir, &err), CARAT_EIO);
    assert_int_equal(ct_out_file_new(&f, dir, 0600, &err), CARAT_EIO);
    assert_int_equal(ct_out_file_new(&f, "/dev/null", 0600, &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "is a device"));
    assert_null(f);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void errors__are_one_printable_line(void **state) {
    (void)state;
    carat_error err;
    assert_int_equal(CT_FAIL(&err, CARAT_EFORMAT, "bad name \"%s\"", "a\nb\x01"), CARAT_EFORMAT);
    assert_string_equal(err.msg, "bad name \"a?b?\"");
    assert_int_equal(CT_FAIL(NULL, CARAT_EIO, "nobody listens"), CARAT_EIO);
    assert_string_equal(carat_status_text(CARAT_EFULL), "context is full");
    assert_string_equal(carat_status_text(-999), "unknown status");
}

static void machine__facts_are_plausible(void **state) {
    (void)state;
    assert_true(ct_n_cores() >= 1);
    const double t = ct_now_ms();
    assert_true(ct_now_ms() >= t);
#ifdef __linux__
    const ct_mem_usage u = ct_memory_usage();
    assert_true(u.rss > 0 && u.rss_peak >= u.rss);
    assert_true(ct_memory_available() > 0);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes__do_not_overflow),
        cmocka_unit_test(alloc__is_zeroed_and_aligned),
        cmocka_unit_test(arena__keeps_objects_apart),
        cmocka_unit_test(utf8__round_trips_every_scalar_value),
        cmocka_unit_test(utf8__replaces_maximal_subparts),
        cmocka_unit_test(rng__is_the_same_everywhere),
        cmocka_unit_test(dtypes__know_their_blocks),
        cmocka_unit_test(files__must_be_regular_and_readable),
        cmocka_unit_test(files__hints_change_nothing),
        cmocka_unit_test(hash__is_of_the_bytes_alone),
        cmocka_unit_test(files__get_their_name_when_they_are_whole),
        cmocka_unit_test(errors__are_one_printable_line),
        cmocka_unit_test(machine__facts_are_plausible),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
