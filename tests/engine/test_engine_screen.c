/* Screening of the output head. On the bundled models, forced: the k largest logits and whatever equals the k-th are the
 * whole head's bits, the rest are those or -INFINITY, at every position; whole texts are the same for every way to sample
 * that asks for it; what it cannot serve is computed whole and counted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "carat.h"

enum { V = 4096, N = 200 };

static const char prompt[] = "Once upon a time there was a little girl who had a red ball. She loved the ball. One day";
static const char *const names[] = {"e", "moe"};

static carat_model *open_bundled(const char *name) {
    char path[1200];
    const char *root = getenv("CARAT_ROOT");
    carat_model *m = NULL;
    carat_error err = {0};
    snprintf(path, sizeof path, "%s/models/carat-story-%s.gguf", root ? root : ".", name);
    if (carat_model_open(&m, path, NULL, &err)) fail_msg("%s", err.msg);
    carat_model_info info;
    carat_model_get_info(m, &info);
    assert_int_equal(info.n_vocab, V);
    return m;
}

static carat_session *new_session(const carat_model *m, int32_t n_top, bool always, carat_lookup lookup) {
    carat_session *s = NULL;
    carat_error err = {0};
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = N, o.n_chunk = 32, o.n_threads = 2, o.n_top = n_top, o.screen_always = always, o.lookup = lookup;
    if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
    return s;
}

static carat_session_stats stats_of(const carat_session *s) {
    carat_session_stats st;
    carat_session_get_stats(s, &st);
    return st;
}

static int falling(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* top of the whole: see the head of the file. Returns how many were left out. */
static int check_top(const float *top, const float *whole, int k) {
    static float sorted[V];
    memcpy(sorted, whole, sizeof sorted);
    qsort(sorted, V, sizeof *sorted, falling);
    int n_out = 0;
    for (int i = 0; i < V; i++) {
        if (memcmp(&top[i], &whole[i], sizeof *top) == 0) continue;
        n_out++;
        if (top[i] != -INFINITY || whole[i] >= sorted[k - 1]) {
            fail_msg("token %d: %.9g, whole %.9g, %d-th largest %.9g", i, (double)top[i], (double)whole[i], k, (double)sorted[k - 1]);
        }
    }
    return n_out;
}

static void logits__keep_the_largest_exactly(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        carat_model *split = open_bundled(names[v]), *plain = open_bundled(names[v]);
        int32_t tok[N];
        size_t n;
        assert_int_equal(carat_tokenize(plain, prompt, sizeof prompt - 1, CARAT_TOKENIZE_BOS, tok, N, &n, NULL), 0);
        for (size_t i = n; i < N; i++) tok[i] = (tok[i - n] + (int32_t)(i % 5)) % V; /* text, and then nonsense */
        static const int ks[] = {1, 5, 64};
        for (int j = 0; j < 3; j++) {
            carat_session *a = new_session(split, ks[j], true, CARAT_LOOKUP_OFF), *b = new_session(plain, 0, false, CARAT_LOOKUP_OFF);
            int64_t n_out = 0;
            for (size_t i = 1; i <= N; i++) {
                assert_int_equal(carat_session_sync(a, tok, i, NULL), 0);
                assert_int_equal(carat_session_sync(b, tok, i, NULL), 0);
                n_out += check_top(carat_session_logits(a), carat_session_logits(b), ks[j]);
            }
            const carat_session_stats st = stats_of(a);
            print_message("%s, %d largest of %d: %.1f%% of the rows left out\n", names[v], ks[j], V, 100.0 * (double)n_out / N / V);
            assert_int_equal(st.head_screened, N);
            assert_int_equal(st.head_whole, 0);
            assert_int_equal((st.head_panels - st.head_panels_kept) * 16, (uint64_t)n_out);
            assert_true(n_out > N * V / 8);
            carat_session_free(&a), carat_session_free(&b);
        }
        carat_model_close(&split), carat_model_close(&plain);
    }
}

typedef struct {
    const char *name;
    float temp, top_p, min_p, penalty;
    int32_t top_k;
} way;

static carat_sampler_opts opts_of(const way *w, uint64_t seed) {
    carat_sampler_opts o = carat_sampler_opts_default();
    o.temp = w->temp, o.top_k = w->top_k, o.top_p = w->top_p, o.min_p = w->min_p, o.repeat_penalty = w->penalty, o.seed = seed;
    o.repeat_last_n = 24;
    return o;
}

static void write_text(carat_session *s, const carat_sampler_opts *o, int32_t *tok, size_t n_prompt) {
    carat_sampler *sm = NULL;
    assert_int_equal(carat_sampler_new(&sm, V, o, NULL), 0);
    for (size_t i = 0; i < n_prompt; i++) carat_sampler_accept(sm, tok[i]);
    for (size_t i = n_prompt; i < N; i++) {
        assert_int_equal(carat_session_sync(s, tok, i, NULL), 0);
        tok[i] = carat_sampler_next(sm, carat_session_logits(s));
        carat_sampler_accept(sm, tok[i]);
    }
    carat_sampler_free(&sm);
}

static void texts__are_the_same_with_screening(void **state) {
    (void)state;
    static const way ways[] = {
        {"greedy", 0.0f, 1.0f, 0.0f, 1.0f, 0},          {"greedy, penalty", 0.0f, 1.0f, 0.0f, 1.3f, 0},
        {"top-k 40", 1.0f, 1.0f, 0.0f, 1.0f, 40},       {"top-k 64, top-p 0.95", 1.0f, 0.95f, 0.0f, 1.0f, 64},
        {"top-k 30, min-p", 1.5f, 1.0f, 0.05f, 1.0f, 30}, {"top-k 40, penalty", 1.0f, 0.9f, 0.0f, 1.2f, 40},
        {"top-k 2000", 1.0f, 0.95f, 0.0f, 1.0f, 2000},  {"no top-k", 1.0f, 0.95f, 0.0f, 1.0f, 0},
    };
    for (int v = 0; v < 2; v++) {
        carat_model *split = open_bundled(names[v]), *plain = open_bundled(names[v]);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            const carat_sampler_opts o = opts_of(&ways[w], w + 1);
            int32_t want[N], got[N] = {0};
            size_t n;
            assert_int_equal(carat_tokenize(plain, prompt, sizeof prompt - 1, CARAT_TOKENIZE_BOS, want, N, &n, NULL), 0);
            memcpy(got, want, n * sizeof *got);
            carat_session *b = new_session(plain, 0, false, CARAT_LOOKUP_OFF);
            write_text(b, &o, want, n);
            const carat_lookup lookup = w % 2 ? CARAT_LOOKUP_ALWAYS : CARAT_LOOKUP_OFF; /* with it: rows screened and rows whole */
            carat_session *a = new_session(split, carat_sampler_n_top(&o), true, lookup);
            write_text(a, &o, got, n);
            assert_memory_equal(got, want, sizeof want);
            const carat_session_stats st = stats_of(a);
            print_message("%s, %s: %d rows screened, %d fallbacks, %.1f%% of the groups computed\n", names[v], ways[w].name,
                          (int)st.head_screened, (int)st.head_whole,
                          st.head_panels ? 100.0 * (double)st.head_panels_kept / (double)st.head_panels : 100.0);
            /* 1,024 rows are computed first: what more than half of them reach is no threshold; and all are not few. */
            assert_int_equal(st.head_screened > 0, w < 6);
            assert_int_equal(st.head_whole > 0, w == 6);
            carat_session_free(&a), carat_session_free(&b);
        }
        carat_model_close(&split), carat_model_close(&plain);
    }
}

/* A model whose first session asked for all logits has no split head: later ones that ask for few get whole rows. */
static void screening__is_the_first_sessions_choice(void **state) {
    (void)state;
    carat_model *m = open_bundled("e");
    const int32_t tok[3] = {2, 50, 60};
    carat_session *first = new_session(m, 0, false, CARAT_LOOKUP_OFF), *later = new_session(m, 1, true, CARAT_LOOKUP_OFF);
    assert_int_equal(carat_session_sync(first, tok, 3, NULL), 0);
    assert_int_equal(carat_session_sync(later, tok, 3, NULL), 0);
    assert_memory_equal(carat_session_logits(first), carat_session_logits(later), V * sizeof(float));
    assert_int_equal(stats_of(later).head_whole, 1);
    carat_session_free(&first), carat_session_free(&later);
    carat_model_close(&m);
    /* And without being forced, a head of 1 MiB is left alone. */
    m = open_bundled("e");
    first = new_session(m, 1, false, CARAT_LOOKUP_OFF);
    assert_int_equal(carat_session_sync(first, tok, 3, NULL), 0);
    assert_int_equal(stats_of(first).head_screened + stats_of(first).head_whole, 0);
    carat_session_free(&first);
    carat_model_close(&m);
}

static bool all_finite(void *ud, int32_t pos, const float *logits) {
    (void)pos;
    for (int i = 0; i < V; i++) *(bool *)ud &= isfinite(logits[i]) != 0;
    return true;
}

static void sync_logits__gives_all(void **state) {
    (void)state;
    carat_model *m = open_bundled("e");
    const int32_t tok[3] = {2, 50, 60};
    bool all = true;
    carat_session *s = new_session(m, 1, true, CARAT_LOOKUP_OFF);
    assert_int_equal(carat_session_sync_logits(s, tok, 3, true, all_finite, &all, NULL), 0);
    assert_true(all);
    assert_int_equal(carat_session_sync(s, tok, 3, NULL), 0);
    all_finite(&all, 0, carat_session_logits(s));
    assert_false(all);
    carat_session_free(&s);
    carat_model_close(&m);
}

static void n_top__covers_the_penalty(void **state) {
    (void)state;
    carat_sampler_opts o = carat_sampler_opts_default();
    assert_int_equal(carat_sampler_n_top(NULL), 64);
    assert_int_equal(carat_sampler_n_top(&o), 64);
    o.repeat_penalty = 1.1f, o.repeat_last_n = 10;
    assert_int_equal(carat_sampler_n_top(&o), 74);
    o.temp = 0.0f;
    assert_int_equal(carat_sampler_n_top(&o), 11);
    o.repeat_penalty = 0.9f; /* raises what may be anywhere */
    assert_int_equal(carat_sampler_n_top(&o), 0);
    o.repeat_penalty = 1.0f;
    assert_int_equal(carat_sampler_n_top(&o), 1);
    o.temp = 1.0f, o.top_k = 0;
    assert_int_equal(carat_sampler_n_top(&o), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits__keep_the_largest_exactly),
        cmocka_unit_test(texts__are_the_same_with_screening),
        cmocka_unit_test(screening__is_the_first_sessions_choice),
        cmocka_unit_test(sync_logits__gives_all),
        cmocka_unit_test(n_top__covers_the_penalty),
    };
    return cmocka_run_group_tests_name("engine screen", tests, NULL, NULL);
}
