/* KV cache geometry: rings, rewinds; the memory plan; the tier's counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/kv.h"
#include "runtime/plan.h"

static void kv__addresses_wrap_at_the_ring(void **state) {
    (void)state;
    const ct_kv_geometry g[2] = {{2, 16, 10}, {1, 32, 100}};
    ct_kv kv;
    assert_int_equal(ct_kv_init(&kv, g, 2, CT_F16, NULL), 0);
    assert_int_equal(kv.bytes, 2 * 2 * (16 * 2 * 16 + 112 * 32)); /* whole tiles of 16 slots */
    assert_int_equal(kv.bytes, ct_kv_bytes(g, 2, CT_F16));
    ct_kv_store *s = &kv.store[0];
    assert_int_equal(s->cap, 16);
    assert_ptr_equal(ct_kv_tile(s, s->k, 3, 0), ct_kv_tile(s, s->k, 19, 0));
    assert_int_equal((uint8_t *)ct_kv_tile(s, s->k, 4, 1) - (uint8_t *)s->k, 2 * 16 * 16); /* head 1 behind head 0 */
    s = &kv.store[1];
    assert_ptr_equal(ct_kv_tile(s, s->v, 31, 0), ct_kv_tile(s, s->v, 16, 0));
    assert_int_equal((uint8_t *)ct_kv_tile(s, s->v, 112 + 35, 0) - (uint8_t *)s->v, 2 * 2 * 16 * 32);
    ct_kv_free(&kv);
}

static void kv__rewinds_only_while_the_window_is_there(void **state) {
    (void)state;
    /* Window 8, chunk 4: 11 slots, made 16. */
    const ct_kv_geometry g[1] = {{1, 16, 11}};
    ct_kv kv;
    assert_int_equal(ct_kv_init(&kv, g, 1, CT_F32, NULL), 0);
    for (int pos = 0; pos < 40; pos += 4) ct_kv_advance(&kv, pos, 4);
    /* Positions 24…39 are held. Token n sees n-7…: the earliest n is 31. */
    for (int n = 0; n <= 40; n++) assert_int_equal(ct_kv_can_rewind(&kv, n, 8), n >= 31);
    /* Going back does not bring overwritten positions back. */
    ct_kv_advance(&kv, 31, 1);
    assert_false(ct_kv_can_rewind(&kv, 30, 8));
    ct_kv_reset(&kv);
    ct_kv_advance(&kv, 0, 11);
    for (int n = 0; n <= 11; n++) assert_true(ct_kv_can_rewind(&kv, n, 8));
    ct_kv_free(&kv);
}

/* A store that never wraps (a full layer, or a ring not yet full) keeps everything; the tightest ring is what decides. */
static void kv__rewinds_anywhere_before_a_ring_is_full(void **state) {
    (void)state;
    const ct_kv_geometry g[2] = {{1, 16, 11}, {1, 16, 100}};
    ct_kv kv;
    assert_int_equal(ct_kv_init(&kv, g, 2, CT_F16, NULL), 0);
    assert_true(ct_kv_can_rewind(&kv, 0, 8)); /* nothing was written */
    for (int n_high = 1; n_high <= 16; n_high++) {
        ct_kv_advance(&kv, n_high - 1, 1);
        for (int n = 0; n <= n_high; n++) assert_true(ct_kv_can_rewind(&kv, n, 8));
    }
    ct_kv_advance(&kv, 16, 1); /* position 0 is gone: token 7 still sees it, token 8 does not */
    assert_false(ct_kv_can_rewind(&kv, 7, 8));
    assert_true(ct_kv_can_rewind(&kv, 8, 8));
    assert_true(ct_kv_can_rewind(&kv, 3, 1)); /* a window of one sees itself alone */
    ct_kv_free(&kv);
}

/* What a store never had is as far away as what a ring has overwritten, until all begins again. */
static void kv__does_not_rewind_to_what_was_not_loaded(void **state) {
    (void)state;
    const ct_kv_geometry g[2] = {{1, 16, 30}, {1, 16, 100}};
    ct_kv kv;
    assert_int_equal(ct_kv_init(&kv, g, 2, CT_F16, NULL), 0);
    ct_kv_advance(&kv, 0, 50);
    kv.store[0].low = 40;
    assert_int_equal(ct_kv_first(&kv, &kv.store[0]), 40);
    assert_int_equal(ct_kv_first(&kv, &kv.store[1]), 0);
    for (int n = 0; n <= 50; n++) assert_int_equal(ct_kv_can_rewind(&kv, n, 8), n >= 47);
    ct_kv_advance(&kv, 50, 30); /* the ring of 32 has moved on past it */
    assert_int_equal(ct_kv_first(&kv, &kv.store[0]), 48);
    ct_kv_reset(&kv);
    assert_true(ct_kv_can_rewind(&kv, 0, 8));
    assert_int_equal(ct_kv_first(&kv, &kv.store[0]), 0);
    ct_kv_free(&kv);
}

/* Large arrays come from elsewhere (huge pages); as zeroed as the small ones, and given back. */
static void kv__large_stores_are_zeroed_and_whole(void **state) {
    (void)state;
    const ct_kv_geometry g[2] = {{2, 512, 16384}, {1, 64, 100}};
    ct_kv kv;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ct_kv_init(&kv, g, 2, CT_Q8_0, NULL), 0);
        assert_int_equal(kv.bytes, 2 * (2 * 16384 * 16 + 112 * 2) * 34);
        const size_t end = kv.store[0].tile_bytes - 1;
        assert_int_equal(end + 1, 16 * 16 * 34);
        uint8_t *first = ct_kv_tile(&kv.store[0], kv.store[0].v, 0, 0), *last = ct_kv_tile(&kv.store[0], kv.store[0].v, 16383, 1);
        assert_int_equal(first[0] | last[end], 0);
        first[0] = last[end] = 1;
        ct_kv_free(&kv);
    }
}

static void kv__sizes_do_not_overflow(void **state) {
    (void)state;
    /* The largest that model/config.c lets through: a context of 2^30, 1024 heads of 4096, 256 owners, f32. */
    static ct_kv_geometry g[256];
    for (int i = 0; i < 256; i++) g[i] = (ct_kv_geometry){1024, 4096, 1 << 30};
    assert_true(ct_kv_bytes(g, 256, CT_F32) == UINT64_C(1) << 63);
}

static void plan__knows_the_total_before_it_allocates(void **state) {
    (void)state;
    ct_plan p;
    void *a = NULL, *b = NULL;
    ct_plan_init(&p);
    ct_plan_add(&p, &a, 3, 4);
    ct_plan_add(&p, &b, 100, 8);
    assert_int_equal(p.bytes, 64 + 832);
    assert_null(a);
    assert_int_equal(ct_plan_commit(&p, "test", NULL), 0);
    assert_int_equal((uint8_t *)b - (uint8_t *)a, 64);
    assert_int_equal((uintptr_t)a % 64, 0);
    ct_plan_free(&p);
    ct_plan_add(&p, &a, INT64_MAX, 1024);
    carat_error err = {0};
    assert_int_equal(ct_plan_commit(&p, "test", &err), CARAT_ENOMEM);
    ct_plan_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kv__addresses_wrap_at_the_ring),
        cmocka_unit_test(kv__rewinds_only_while_the_window_is_there),
        cmocka_unit_test(kv__rewinds_anywhere_before_a_ring_is_full),
        cmocka_unit_test(kv__does_not_rewind_to_what_was_not_loaded),
        cmocka_unit_test(kv__large_stores_are_zeroed_and_whole),
        cmocka_unit_test(kv__sizes_do_not_overflow),
        cmocka_unit_test(plan__knows_the_total_before_it_allocates),
    };
    return cmocka_run_group_tests_name("runtime kv", tests, NULL, NULL);
}
