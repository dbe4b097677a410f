/* Measuring: counted work against the ledger and against a count by hand, the options that bench needs (every row through
 * every layer, rings that can go back), the profile of a session, and the machine's probes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "kernels/probe/probe.h"
#include "oracle_util.h"

static const char *const names[] = {"e2b", "e4b", "31b", "26b-a4b", "gemma3"};

static carat_session *new_session(const carat_model *m, carat_session_opts o) {
    carat_session *s = NULL;
    carat_error err = {0};
    if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
    return s;
}

static carat_session_opts options(int n_ctx, int n_chunk) {
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = n_ctx, o.n_chunk = n_chunk, o.n_threads = 1;
    return o;
}

static carat_work count(const carat_session *s, int depth, int n, bool one_by_one) {
    carat_work w;
    carat_error err = {0};
    if (carat_session_count_work(s, depth, n, one_by_one, &w, &err)) fail_msg("%s", err.msg);
    uint64_t bytes = 0, macs = 0;
    for (int i = 0; i < CARAT_N_STEP; i++) bytes += w.bytes[i], macs += w.macs[i];
    assert_int_equal(bytes, w.total_bytes);
    assert_int_equal(macs, w.total_macs);
    return w;
}

static void count_work__of_a_decoded_token_reads_what_the_ledger_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        oracle_case c;
        oracle_open(&c, names[i], NULL);
        carat_session *s = new_session(c.model, options(64, 16));
        carat_model_info info;
        carat_model_get_info(c.model, &info);
        for (int depth = 0; depth < 60; depth += 29) {
            const carat_work w = count(s, depth, 1, true);
            assert_int_equal(w.total_bytes - w.bytes[CARAT_STEP_ATTENTION], info.bytes_token);
        }
        carat_session_free(&s);
        oracle_close(&c);
    }
}

/* tests/oracle/e2b: d_model 32, 2 query heads and 1 of keys, 32 values a head (64 in the full layers 4 and 9), window 8,
 * layers 5 to 9 without keys of their own and with a feed-forward twice as wide, 346 tokens, bf16. */
static void count_work__is_what_a_hand_counts(void **state) {
    (void)state;
    oracle_case c;
    oracle_open(&c, "e2b", NULL);
    carat_session_opts o = options(64, 16);
    carat_session *s = new_session(c.model, o);
    const uint64_t ple = 3 * 32 * 32, ffn = 3 * 32 * 32, head = 346 * 32;
    const uint64_t sliding = 4 * (64 * 32 + 2 * 32 * 32 + 32 * 64 + ffn + ple), kv4 = 2 * 64 * 32;
    const uint64_t full = 128 * 32 + kv4 + 32 * 128 + ffn + ple;
    const uint64_t shared = 4 * (64 * 32 + 32 * 64 + 2 * ffn + ple) + (128 * 32 + 32 * 128 + 2 * ffn + ple);

    carat_work w = count(s, 0, 1, true);
    assert_int_equal(w.total_macs, sliding + full + shared + head + 8 * (2 * 2 * 32) + 2 * (2 * 2 * 64));
    assert_int_equal(w.bytes[CARAT_STEP_ATTENTION], 8 * (2 * 32 * 2) + 2 * (2 * 64 * 2));
    assert_int_equal(w.bytes[CARAT_STEP_HEAD], 2 * head);
    assert_int_equal(w.bytes[CARAT_STEP_EMBED], 2 * 32);

    w = count(s, 20, 1, false); /* the window holds 8 */
    assert_int_equal(w.macs[CARAT_STEP_ATTENTION], 8 * 8 * (2 * 2 * 32) + 2 * 21 * (2 * 2 * 64));
    assert_int_equal(w.bytes[CARAT_STEP_ATTENTION], 8 * 8 * (2 * 32 * 2) + 2 * 21 * (2 * 64 * 2));

    /* 4 tokens at once: of layer 4 three need only keys and values, and nothing behind it. 1 + 2 + 3 + 4 keys seen. */
    w = count(s, 0, 4, false);
    const uint64_t need = 4 * sliding + 4 * (2 * 2 * 32) * 10 + 3 * kv4 + full + (2 * 2 * 64) * 4 + shared + 4 * (2 * 2 * 32) * 4 +
                          (2 * 2 * 64) * 4 + head;
    assert_int_equal(w.total_macs, need);
    carat_session_free(&s);

    o.all_rows = true;
    s = new_session(c.model, o);
    w = count(s, 0, 4, false);
    assert_int_equal(w.total_macs, 4 * (sliding + full + shared) + (8 * (2 * 2 * 32) + 2 * (2 * 2 * 64)) * 10 + head);
    carat_session_free(&s);
    oracle_close(&c);
}

static void count_work__adds_up_over_tokens_and_chunks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        oracle_case c;
        oracle_open(&c, names[i], NULL);
        carat_session_opts o = options(64, 5);
        o.all_rows = true;
        carat_session *small = new_session(c.model, o);
        o.n_chunk = 64;
        carat_session *large = new_session(c.model, o);
        const carat_work a = count(small, 7, 23, false), b = count(large, 7, 23, false), one = count(large, 7, 23, true);
        assert_int_equal(a.total_macs, b.total_macs);
        assert_int_equal(one.total_macs, b.total_macs + 22 * b.macs[CARAT_STEP_HEAD]);
        assert_true(a.total_bytes > b.total_bytes); /* weights once a chunk */
        uint64_t sum = 0;
        for (int t = 0; t < 23; t++) sum += count(large, 7 + t, 1, true).total_bytes;
        assert_int_equal(sum, one.total_bytes);
        carat_session_free(&small);
        carat_session_free(&large);
        oracle_close(&c);
    }
}

static void count_work__counts_the_experts_of_a_chunk_once(void **state) {
    (void)state;
    oracle_case c;
    oracle_open(&c, "26b-a4b", NULL);
    carat_model_info info;
    carat_model_get_info(c.model, &info);
    carat_session *s = new_session(c.model, options(64, 64));
    const uint64_t one = count(s, 0, 1, true).bytes[CARAT_STEP_EXPERTS], all = one / (uint64_t)info.n_expert_used * (uint64_t)info.n_expert;
    assert_int_equal(count(s, 0, 2, true).bytes[CARAT_STEP_EXPERTS], 2 * one);
    const carat_work w = count(s, 0, 32, false);
    assert_true(w.bytes[CARAT_STEP_EXPERTS] <= all);
    assert_true(w.bytes[CARAT_STEP_EXPERTS] > all / 2);
    assert_true(w.macs[CARAT_STEP_ROUTER] > 0);
    carat_session_free(&s);
    oracle_close(&c);
}

static void count_work__refuses_what_does_not_fit(void **state) {
    (void)state;
    oracle_case c;
    oracle_open(&c, "e2b", NULL);
    carat_session *s = new_session(c.model, options(16, 16));
    carat_work w;
    carat_error err;
    const int32_t bad[][2] = {{0, 0}, {-1, 1}, {0, 17}, {16, 1}, {INT32_MAX, INT32_MAX}, {1, INT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(carat_session_count_work(s, bad[i][0], bad[i][1], false, &w, &err), CARAT_EINVAL);
    }
    assert_int_equal(carat_session_count_work(s, 15, 1, false, &w, &err), 0);
    carat_session_free(&s);
    oracle_close(&c);
}

static void sync__with_every_layer_for_every_row_gives_the_same_logits(void **state) {
    (void)state;
    oracle_case c;
    oracle_open(&c, "e2b", NULL);
    carat_model_info info;
    carat_model_get_info(c.model, &info);
    int32_t tok[40];
    for (int i = 0; i < 40; i++) tok[i] = 5 + i * 7 % 300;
    carat_session_opts o = options(64, 16);
    carat_session *a = new_session(c.model, o);
    o.all_rows = true;
    carat_session *b = new_session(c.model, o);
    carat_error err;
    assert_int_equal(carat_session_sync(a, tok, 40, &err), 0);
    assert_int_equal(carat_session_sync(b, tok, 40, &err), 0);
    assert_memory_equal(carat_session_logits(a), carat_session_logits(b), (size_t)info.n_vocab * sizeof(float));
    carat_session_free(&a);
    carat_session_free(&b);
    oracle_close(&c);
}

/* Window 8: a ring of 7 + 4 slots forgets at once, one of 7 + 24 does not. */
static void sync__goes_back_as_far_as_n_rewind_says(void **state) {
    (void)state;
    oracle_case c;
    oracle_open(&c, "e2b", NULL);
    carat_model_info info;
    carat_model_get_info(c.model, &info);
    int32_t tok[54];
    for (int i = 0; i < 54; i++) tok[i] = 5 + i * 7 % 300;
    carat_session_opts o = options(64, 4);
    carat_session *plain = new_session(c.model, o);
    o.n_rewind = 24;
    carat_session *far_back = new_session(c.model, o);
    carat_error err;
    carat_session *const both[] = {plain, far_back};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(carat_session_sync(both[i], tok, 54, &err), 0);
        const int32_t kept = tok[30];
        tok[30] = kept + 1;
        assert_int_equal(carat_session_sync(both[i], tok, 54, &err), 0);
        tok[30] = kept;
    }
    assert_int_equal(carat_session_n_evaluated(plain), 54);
    assert_int_equal(carat_session_n_evaluated(far_back), 24);
    assert_memory_equal(carat_session_logits(plain), carat_session_logits(far_back), (size_t)info.n_vocab * sizeof(float));
    carat_session_stats a, b;
    carat_session_get_stats(plain, &a);
    carat_session_get_stats(far_back, &b);
    assert_true(b.kv_bytes > a.kv_bytes);
    carat_plan plan;
    assert_int_equal(carat_plan_make(&plan, c.model, &o, &err), 0);
    assert_int_equal(plan.kv_bytes, b.kv_bytes);
    o.n_rewind = -1;
    carat_session *none = NULL;
    assert_int_equal(carat_session_new(&none, c.model, &o, &err), CARAT_EINVAL);
    carat_session_free(&plain);
    carat_session_free(&far_back);
    oracle_close(&c);
}

static void profile__sums_to_the_whole_and_changes_no_logit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        oracle_case c;
        oracle_open(&c, names[i], NULL);
        carat_model_info info;
        carat_model_get_info(c.model, &info);
        int32_t tok[48];
        for (int k = 0; k < 48; k++) tok[k] = 5 + k * 7 % 200;
        carat_session_opts o = options(64, 16);
        o.n_threads = 2;
        carat_session *s = new_session(c.model, o), *off = new_session(c.model, o);
        carat_error err;
        carat_profile p;
        const double before = ct_now_ms();
        carat_session_profile_start(s);
        for (size_t n = 40; n <= 48; n++) assert_int_equal(carat_session_sync(s, tok, n, &err), 0);
        carat_session_profile_stop(s);
        const double whole = ct_now_ms() - before;
        for (size_t n = 40; n <= 48; n++) assert_int_equal(carat_session_sync(off, tok, n, &err), 0);
        assert_memory_equal(carat_session_logits(s), carat_session_logits(off), (size_t)info.n_vocab * sizeof(float));
        carat_session_profile_get(s, &p);
        const carat_work w = count(s, 40, 8, true);
        double sum = 0.0;
        for (int k = 0; k < CARAT_N_STEP; k++) {
            assert_true(p.ms[k] >= 0.0);
            if (w.bytes[k]) assert_true(p.ms[k] > 0.0); /* every step that has work shows */
            sum += p.ms[k];
        }
        assert_true(sum <= whole);
        assert_true(sum >= 0.9 * whole);
        if (!info.n_expert) assert_true(p.ms[CARAT_STEP_EXPERTS] == 0.0 && p.ms[CARAT_STEP_ROUTER] == 0.0);
        if (!info.d_ple) assert_true(p.ms[CARAT_STEP_PLE] == 0.0);
        carat_profile again; /* stopped: nothing moves, sync included */
        assert_int_equal(carat_session_sync(s, tok, 48, &err), 0);
        carat_session_profile_get(s, &again);
        assert_memory_equal(&p, &again, sizeof p);
        carat_session_free(&s);
        carat_session_free(&off);
        oracle_close(&c);
    }
}

static void step__has_a_key_and_a_text(void **state) {
    (void)state;
    assert_string_equal(carat_step_key(CARAT_STEP_WAITING), "waiting");
    for (int i = 0; i < CARAT_N_STEP; i++) {
        assert_true(strlen(carat_step_key((carat_step)i)) > 2);
        assert_true(strlen(carat_step_text((carat_step)i)) > 2);
        for (int k = 0; k < i; k++) assert_string_not_equal(carat_step_key((carat_step)i), carat_step_key((carat_step)k));
    }
    assert_string_equal(carat_step_key(CARAT_N_STEP), "?");
}

static void probe__measures_and_refuses_a_buffer_that_caches_hold(void **state) {
    (void)state;
    carat_probe *p = NULL;
    carat_error err;
    assert_int_equal(carat_probe_new(&p, -1, 0, &err), CARAT_EINVAL);
    assert_int_equal(carat_probe_new(&p, 2000, 0, &err), CARAT_EINVAL);
    assert_int_equal(carat_probe_new(&p, 1, 1 << 20, &err), CARAT_EINVAL);
    assert_null(p);
    carat_probe_free(&p);
    assert_int_equal(carat_probe_new(&p, 2, 33 << 20, &err), 0);
    carat_probe_info info;
    carat_probe_get_info(p, &info);
    assert_int_equal(info.n_threads, 2);
    assert_int_equal(info.buffer_bytes, 32 << 20);
    assert_true(strlen(info.read) && strlen(info.dot));
    /* A machine that reads a byte, or adds, less than ten million times a second is none; nor is one beyond these. */
    const double read = carat_probe_read(p, 1.0), dot = carat_probe_dot(p, 1.0);
    assert_true(read > 1e7 && read < 1e14);
    assert_true(dot > 1e7 && dot < 1e16);
    carat_probe_free(&p);
    assert_null(p);
}

/* Every way of reading and multiplying ends after what it was given, and leaves the surroundings alone. */
static void probe__runs_every_way_the_machine_has(void **state) {
    (void)state;
    static uint8_t block[4 * CT_PROBE_BLOCK];
    memset(block, 7, sizeof block);
    int n = 0;
    for (; ct_probe_reader_at(n); n++) {
        const ct_probe_reader *r = ct_probe_reader_at(n);
        assert_true(r->has());
        (void)r->read(block, sizeof block);
        (void)r->read(block + 1, CT_PROBE_BLOCK);
    }
    assert_true(n >= 1);
    for (n = 0; ct_probe_dot_at(n); n++) {
        const ct_probe_dot *d = ct_probe_dot_at(n);
        assert_true(d->has() && d->macs > 0);
        /* Twice the rounds take longer: nothing was left out. Ratios far apart, for a busy machine. */
        double few = 1e9, many = 1e9;
        for (int i = 0; i < 5; i++) {
            double t = ct_now_ms();
            (void)d->run(2000);
            if (ct_now_ms() - t < few) few = ct_now_ms() - t;
            t = ct_now_ms();
            (void)d->run(40000);
            if (ct_now_ms() - t < many) many = ct_now_ms() - t;
        }
        assert_true(many > 4.0 * few);
    }
    assert_true(n >= 1);
    for (size_t i = 0; i < sizeof block; i++) assert_int_equal(block[i], 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(count_work__of_a_decoded_token_reads_what_the_ledger_says),
        cmocka_unit_test(count_work__is_what_a_hand_counts),
        cmocka_unit_test(count_work__adds_up_over_tokens_and_chunks),
        cmocka_unit_test(count_work__counts_the_experts_of_a_chunk_once),
        cmocka_unit_test(count_work__refuses_what_does_not_fit),
        cmocka_unit_test(sync__with_every_layer_for_every_row_gives_the_same_logits),
        cmocka_unit_test(sync__goes_back_as_far_as_n_rewind_says),
        cmocka_unit_test(profile__sums_to_the_whole_and_changes_no_logit),
        cmocka_unit_test(step__has_a_key_and_a_text),
        cmocka_unit_test(probe__measures_and_refuses_a_buffer_that_caches_hold),
        cmocka_unit_test(probe__runs_every_way_the_machine_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
