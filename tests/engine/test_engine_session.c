/* Sessions: the same logits whatever the chunking, the number of threads, the path to a prefix; rings past the window;
 * rewinding; refusals. On the random checkpoints of tests/oracle, whose windows are 8 tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "oracle_util.h"

static const char *const variants[] = {"e2b", "e4b", "31b", "26b-a4b", "gemma3"};
#define N_VARIANT (sizeof variants / sizeof *variants)
#define N_TOK 75 /* nine windows */

static void make_tokens(int32_t *tok, int n, int n_vocab, uint64_t seed) {
    ct_rng r;
    ct_rng_seed(&r, seed);
    for (int i = 0; i < n; i++) tok[i] = (int32_t)(ct_rng_u64(&r) % (uint64_t)n_vocab);
}

static int n_vocab_of(const oracle_case *o) {
    carat_model_info info;
    carat_model_get_info(o->model, &info);
    return info.n_vocab;
}

static carat_session_opts small_opts(void) {
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = 128;
    o.n_threads = 1;
    return o;
}

/* Whether the model's heads can be kept so; the smallest of these checkpoints have heads of 16. */
static bool has_kv(const oracle_case *o, carat_kv_type kv) {
    carat_session_opts opts = small_opts();
    opts.kv = kv;
    carat_plan plan;
    const int rc = carat_plan_make(&plan, o->model, &opts, NULL);
    assert_true(rc == 0 || (rc == CARAT_EUNSUPPORTED && kv == CARAT_KV_Q8_0));
    return rc == 0;
}

/* Prefill in chunks of any size, and one token at a time, are the same bits. */
static void logits__do_not_depend_on_chunking(void **state) {
    (void)state;
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case o;
        oracle_open(&o, variants[v], NULL);
        const int n_vocab = n_vocab_of(&o);
        const size_t n = (size_t)N_TOK * (size_t)n_vocab;
        int32_t tok[N_TOK];
        make_tokens(tok, N_TOK, n_vocab, 1);
        float *whole = calloc(n, sizeof *whole), *part = calloc(n, sizeof *part);
        static const int chunks[] = {1, 3, 7, 8, 9, 16};
        static const carat_kv_type types[] = {CARAT_KV_F16, CARAT_KV_F32, CARAT_KV_Q8_0};
        for (int kv = 0; kv < 3; kv++) {
            carat_session_opts opts = small_opts();
            opts.kv = types[kv];
            if (!has_kv(&o, opts.kv)) continue;
            opts.n_chunk = 128;
            oracle_logits(o.model, &opts, tok, N_TOK, whole);
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
                opts.n_chunk = chunks[c];
                opts.n_logits = chunks[c] / 2;
                oracle_logits(o.model, &opts, tok, N_TOK, part);
                assert_memory_equal(whole, part, n * sizeof *whole);
            }
        }
        free(whole), free(part);
        oracle_close(&o);
    }
}

static void logits__do_not_depend_on_threads(void **state) {
    (void)state;
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case o;
        oracle_open(&o, variants[v], NULL);
        const int n_vocab = n_vocab_of(&o);
        const size_t n = (size_t)N_TOK * (size_t)n_vocab;
        int32_t tok[N_TOK];
        make_tokens(tok, N_TOK, n_vocab, 2);
        float *one = calloc(n, sizeof *one), *many = calloc(n, sizeof *many);
        static const int threads[] = {1, 2, 3, 8};
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            carat_session_opts opts = small_opts();
            opts.n_threads = threads[t];
            opts.n_chunk = 32;
            oracle_logits(o.model, &opts, tok, N_TOK, t ? many : one);
            if (t) assert_memory_equal(one, many, n * sizeof *one);
        }
        free(one), free(many);
        oracle_close(&o);
    }
}

/* Contexts of many spans of keys: tiles of queries (prefill) and spans of keys (one token, a few) as work items, in one
 * round and in several, for any number of threads. */
static void logits__of_long_contexts_are_the_same_bits(void **state) {
    (void)state;
    enum { N = 4700 };
    static const char *const long_variants[] = {"e2b", "31b"};
    for (size_t v = 0; v < 2; v++) {
        oracle_case o;
        oracle_open(&o, long_variants[v], NULL);
        const int n_vocab = n_vocab_of(&o);
        int32_t *tok = calloc(N, sizeof *tok);
        float *want = calloc((size_t)n_vocab, sizeof *want);
        make_tokens(tok, N, n_vocab, 11);
        static const struct {
            int n_threads, n_chunk, n_alone; /* the last n_alone tokens one by one */
        } how[] = {{2, 512, 0}, {1, 300, 1}, {3, 256, 2}, {5, 7, 0}, {8, 1000, 300}};
        for (int kv = 0; kv < 3; kv += 2) {
            for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
                if (how[i].n_chunk == 7 && kv) continue; /* slow, and shown for the other type */
                carat_session_opts opts = carat_session_opts_default();
                opts.n_ctx = N;
                opts.kv = (carat_kv_type)kv;
                opts.n_threads = how[i].n_threads;
                opts.n_chunk = how[i].n_chunk;
                carat_session *s = NULL;
                carat_error err = {0};
                assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
                for (int n = N - how[i].n_alone; n <= N; n++) assert_int_equal(carat_session_sync(s, tok, (size_t)n, &err), 0);
                if (i == 0) memcpy(want, carat_session_logits(s), (size_t)n_vocab * sizeof *want);
                assert_memory_equal(want, carat_session_logits(s), (size_t)n_vocab * sizeof *want);
                carat_session_free(&s);
            }
        }
        free(tok), free(want);
        oracle_close(&o);
    }
}

/* The last token's logits by sync (upper layers only for the last row) and by sync_logits (all rows everywhere). */
static void sync__equals_sync_logits(void **state) {
    (void)state;
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case o;
        oracle_open(&o, variants[v], NULL);
        const int n_vocab = n_vocab_of(&o);
        int32_t tok[N_TOK];
        make_tokens(tok, N_TOK, n_vocab, 3);
        float *all = calloc((size_t)N_TOK * (size_t)n_vocab, sizeof *all);
        carat_session_opts opts = small_opts();
        opts.n_chunk = 20;
        oracle_logits(o.model, &opts, tok, N_TOK, all);
        carat_session *s = NULL;
        carat_error err = {0};
        assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
        assert_int_equal(carat_session_sync(s, tok, N_TOK, &err), 0);
        assert_memory_equal(carat_session_logits(s), all + (size_t)(N_TOK - 1) * (size_t)n_vocab, (size_t)n_vocab * sizeof *all);
        carat_session_free(&s);
        free(all);
        oracle_close(&o);
    }
}

/* Any path of cuts and branches ends with the logits of a fresh session. */
static void sync__reuses_prefixes_exactly(void **state) {
    (void)state;
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case o;
        oracle_open(&o, variants[v], NULL);
        const int n_vocab = n_vocab_of(&o);
        carat_session_opts opts = small_opts();
        opts.n_chunk = 5;
        carat_session *s = NULL, *fresh = NULL;
        carat_error err = {0};
        assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
        int32_t tok[N_TOK];
        make_tokens(tok, N_TOK, n_vocab, 4);
        ct_rng r;
        ct_rng_seed(&r, 5);
        int n_reused = 0;
        for (int step = 0; step < 40; step++) {
            const int n = 1 + (int)(ct_rng_u64(&r) % N_TOK);
            const int branch = (int)(ct_rng_u64(&r) % (uint64_t)n);
            if (step % 3 == 0) tok[branch] = (int32_t)(ct_rng_u64(&r) % (uint64_t)n_vocab);
            assert_int_equal(carat_session_sync(s, tok, (size_t)n, &err), 0);
            assert_int_equal(carat_session_n_past(s), n);
            n_reused += carat_session_n_evaluated(s) < n;
            assert_int_equal(carat_session_new(&fresh, o.model, &opts, &err), 0);
            assert_int_equal(carat_session_sync(fresh, tok, (size_t)n, &err), 0);
            assert_memory_equal(carat_session_logits(s), carat_session_logits(fresh), (size_t)n_vocab * sizeof(float));
            carat_session_free(&fresh);
        }
        assert_true(n_reused > 0);
        carat_session_free(&s);
        oracle_close(&o);
    }
}

static void sync__appends_without_evaluating_again(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "e2b", NULL);
    carat_session_opts opts = small_opts();
    carat_session *s = NULL;
    carat_error err = {0};
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    assert_null(carat_session_logits(s));
    int32_t tok[N_TOK];
    make_tokens(tok, N_TOK, n_vocab_of(&o), 6);
    assert_int_equal(carat_session_sync(s, tok, 50, &err), 0);
    assert_int_equal(carat_session_n_evaluated(s), 50);
    assert_int_equal(carat_session_sync(s, tok, 51, &err), 0);
    assert_int_equal(carat_session_n_evaluated(s), 1);
    assert_int_equal(carat_session_sync(s, tok, 51, &err), 0); /* asked again: only the last, for fresh logits */
    assert_int_equal(carat_session_n_evaluated(s), 1);
    carat_session_free(&s);
    oracle_close(&o);
}

/* A sliding layer holds its window and a chunk, however long the context. */
static void sliding_layers__hold_a_ring(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "e2b", NULL);
    carat_session_opts a = carat_session_opts_default(), b = a;
    a.n_chunk = b.n_chunk = 16;
    a.n_ctx = 1008, b.n_ctx = 2016; /* whole tiles */
    carat_plan plan_a, plan_b;
    carat_error err = {0};
    assert_int_equal(carat_plan_make(&plan_a, o.model, &a, &err), 0);
    assert_int_equal(carat_plan_make(&plan_b, o.model, &b, &err), 0);
    /* e2b (oracle/README.md): one full owner with 1 KV head of 64; f16 K and V = 256 bytes a token. */
    assert_int_equal(plan_b.kv_bytes - plan_a.kv_bytes, 1008 * 256);
    a.kv = b.kv = CARAT_KV_Q8_0; /* two blocks a head, 34 bytes each */
    assert_int_equal(carat_plan_make(&plan_a, o.model, &a, &err), 0);
    assert_int_equal(carat_plan_make(&plan_b, o.model, &b, &err), 0);
    assert_int_equal(plan_b.kv_bytes - plan_a.kv_bytes, 1008 * 2 * 2 * 34);
    carat_session *s = NULL;
    assert_int_equal(carat_session_new(&s, o.model, &a, &err), 0);
    carat_session_stats st;
    carat_session_get_stats(s, &st);
    assert_int_equal(st.kv_bytes, plan_a.kv_bytes);
    carat_session_free(&s);
    oracle_close(&o);
}

static bool cancel_at_second(void *ud, int32_t done, int32_t total) {
    (void)total;
    (*(int *)ud)++;
    return done < 10;
}

static void sync__can_be_cancelled_and_goes_on(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "31b", NULL);
    const int n_vocab = n_vocab_of(&o);
    int calls = 0;
    carat_session_opts opts = small_opts();
    opts.n_chunk = 10;
    opts.progress = cancel_at_second;
    opts.progress_ud = &calls;
    carat_session *s = NULL, *fresh = NULL;
    carat_error err = {0};
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    int32_t tok[N_TOK];
    make_tokens(tok, N_TOK, n_vocab, 7);
    assert_int_equal(carat_session_sync(s, tok, 30, &err), CARAT_ECANCEL);
    assert_int_equal(carat_session_n_past(s), 10);
    assert_null(carat_session_logits(s));
    assert_int_equal(carat_session_sync(s, tok, 20, &err), 0); /* reuses the ten */
    assert_int_equal(carat_session_n_evaluated(s), 10);
    opts.progress = NULL;
    assert_int_equal(carat_session_new(&fresh, o.model, &opts, &err), 0);
    assert_int_equal(carat_session_sync(fresh, tok, 20, &err), 0);
    assert_memory_equal(carat_session_logits(s), carat_session_logits(fresh), (size_t)n_vocab * sizeof(float));
    assert_true(calls >= 3);
    carat_session_free(&s);
    carat_session_free(&fresh);
    oracle_close(&o);
}

static void sync__refuses_bad_tokens(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "e4b", NULL);
    carat_session_opts opts = small_opts();
    carat_session *s = NULL;
    carat_error err = {0};
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    int32_t tok[200] = {5, -1};
    assert_int_equal(carat_session_sync(s, tok, 2, &err), CARAT_EINVAL);
    tok[1] = n_vocab_of(&o);
    assert_int_equal(carat_session_sync(s, tok, 2, &err), CARAT_EINVAL);
    assert_non_null(strstr(err.msg, "outside the vocabulary"));
    assert_int_equal(carat_session_sync(s, tok, 0, &err), CARAT_EINVAL);
    assert_int_equal(carat_session_sync(s, tok, 200, &err), CARAT_EFULL);
    tok[1] = 6;
    assert_int_equal(carat_session_sync(s, tok, 2, &err), 0); /* and is still usable */
    carat_session_free(&s);
    opts.n_ctx = 1 << 30;
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), CARAT_EINVAL);
    assert_null(s);
    oracle_close(&o);
}

static void expert_counts__add_up(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "26b-a4b", NULL);
    carat_session_opts opts = small_opts();
    carat_session *s = NULL;
    carat_error err = {0};
    carat_model_info info;
    carat_model_get_info(o.model, &info);
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    int32_t tok[N_TOK];
    make_tokens(tok, N_TOK, info.n_vocab, 8);
    assert_int_equal(carat_session_sync(s, tok, N_TOK, &err), 0);
    const uint64_t *counts = carat_session_expert_counts(s);
    uint64_t total = 0, first = 0;
    for (int i = 0; i < info.n_layer * info.n_expert; i++) total += counts[i];
    for (int i = 0; i < info.n_expert; i++) first += counts[i];
    assert_int_equal(first, (uint64_t)N_TOK * (uint64_t)info.n_expert_used);
    carat_session_stats st;
    carat_session_get_stats(s, &st);
    assert_int_equal(st.expert_evals, total);
    carat_session_free(&s);
    oracle_close(&o);
}

static void cpu_level__changes_no_bit(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "e2b", NULL);
    const int n_vocab = n_vocab_of(&o);
    int32_t tok[N_TOK];
    make_tokens(tok, N_TOK, n_vocab, 9);
    const size_t n = (size_t)N_TOK * (size_t)n_vocab;
    float *best = calloc(n, sizeof *best), *ref = calloc(n, sizeof *ref);
    carat_session_opts opts = small_opts();
    oracle_logits(o.model, &opts, tok, N_TOK, best);
    carat_model_opts mo = carat_model_opts_default();
    mo.cpu = "ref";
    carat_model *m = NULL;
    carat_error err = {0};
    assert_int_equal(carat_model_open(&m, o.folder, &mo, &err), 0);
    oracle_logits(m, &opts, tok, N_TOK, ref);
    assert_memory_equal(best, ref, n * sizeof *best);
    carat_model_close(&m);
    mo.cpu = "quantum";
    assert_int_equal(carat_model_open(&m, o.folder, &mo, &err), CARAT_EINVAL);
    free(best), free(ref);
    oracle_close(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits__do_not_depend_on_chunking),
        cmocka_unit_test(logits__do_not_depend_on_threads),
        cmocka_unit_test(logits__of_long_contexts_are_the_same_bits),
        cmocka_unit_test(sync__equals_sync_logits),
        cmocka_unit_test(sync__reuses_prefixes_exactly),
        cmocka_unit_test(sync__appends_without_evaluating_again),
        cmocka_unit_test(sliding_layers__hold_a_ring),
        cmocka_unit_test(sync__can_be_cancelled_and_goes_on),
        cmocka_unit_test(sync__refuses_bad_tokens),
        cmocka_unit_test(expert_counts__add_up),
        cmocka_unit_test(cpu_level__changes_no_bit),
    };
    return cmocka_run_group_tests_name("engine session", tests, NULL, NULL);
}
