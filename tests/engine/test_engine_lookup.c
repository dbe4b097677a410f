/* Prompt lookup. The unit: it finds the longest match, forgets exactly, learns, and guesses only what pays. The session:
 * with it every position's logits are the bits they are without, past the window, at the end of the context, through
 * cancelling and changed minds. The bundled models: the same texts for every way to sample, and guesses that come true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "engine/lookup.h"
#include "oracle_util.h"

/* ---- the unit ---- */

static ct_lookup new_lookup(const int32_t *tok, int32_t cap, int32_t n_max) {
    ct_lookup l;
    carat_error err = {0};
    if (ct_lookup_init(&l, tok, cap, n_max, &err)) fail_msg("%s", err.msg);
    return l;
}

static void lookup__takes_the_longest_match_and_of_these_the_latest(void **state) {
    (void)state;
    /* "3 4" occurs thrice; behind 2 it was followed by 50, then by 60, behind 7 by 70. */
    static const int32_t tok[] = {1, 2, 3, 4, 50, 9, 2, 3, 4, 60, 9, 7, 3, 4, 70, 8, 2, 3, 4};
    enum { N = sizeof tok / sizeof *tok };
    ct_lookup l = new_lookup(tok, N, 4);
    int32_t out[4] = {0};
    ct_lookup_push(&l, N);
    assert_int_equal(l.len, 3);
    assert_int_equal(ct_lookup_guess(&l, out, 3, true), 3);
    static const int32_t want[] = {60, 9, 7};
    assert_memory_equal(out, want, sizeof want);
    assert_int_equal(ct_lookup_guess(&l, out, 0, true), 0);
    assert_int_equal(ct_lookup_guess(&l, out, 100, true), 4); /* n_max */
    ct_lookup_free(&l);
}

static void lookup__finds_nothing_in_text_without_a_repeated_pair(void **state) {
    (void)state;
    static const int32_t tok[] = {1, 2, 3, 1, 3, 2, 1, 1, 4, 2};
    ct_lookup l = new_lookup(tok, 10, 4);
    int32_t out[4];
    for (int32_t n = 1; n <= 10; n++) {
        ct_lookup_push(&l, n);
        assert_int_equal(ct_lookup_guess(&l, out, 4, true), 0);
    }
    ct_lookup_free(&l);
}

static void lookup__goes_on_with_itself_where_the_text_runs_in_a_circle(void **state) {
    (void)state;
    static const int32_t tok[] = {9, 5, 6, 7, 5, 6, 7, 5, 6};
    ct_lookup l = new_lookup(tok, 9, 8);
    int32_t out[8];
    ct_lookup_push(&l, 9);
    assert_int_equal(ct_lookup_guess(&l, out, 8, true), 8);
    static const int32_t want[] = {7, 5, 6, 7, 5, 6, 7, 5};
    assert_memory_equal(out, want, sizeof want);
    ct_lookup_free(&l);
}

/* Random cuts and pushes leave the index of a text that was pushed at once; guesses stay within the text's tokens. */
static void lookup__forgets_exactly(void **state) {
    (void)state;
    enum { CAP = 300 };
    int32_t tok[CAP], out[16];
    ct_rng r;
    ct_rng_seed(&r, 1);
    ct_lookup l = new_lookup(tok, CAP, 16);
    int32_t n = 0;
    for (int round = 0; round < 400; round++) {
        const int32_t keep = (int32_t)(ct_rng_u64(&r) % (uint64_t)(n + 1)), to = keep + (int32_t)(ct_rng_u64(&r) % (uint64_t)(CAP - keep + 1));
        ct_lookup_cut(&l, keep);
        for (int32_t i = keep; i < to; i++) tok[i] = (int32_t)(ct_rng_u64(&r) % 5);
        if (round % 2) {
            ct_lookup_push(&l, to);
        } else {
            for (int32_t i = keep + 1; i <= to; i++) ct_lookup_push(&l, i);
        }
        n = l.n;
        assert_int_equal(n, to);
        const int32_t k = ct_lookup_guess(&l, out, 16, true);
        for (int32_t i = 0; i < k; i++) assert_in_range(out[i], 0, 4);
        for (int32_t i = 1; i <= l.len; i++) assert_int_equal(tok[l.at - i], tok[n - i]);
        ct_lookup fresh = new_lookup(tok, CAP, 16);
        ct_lookup_push(&fresh, n);
        assert_memory_equal(l.head, fresh.head, ((size_t)l.mask + 1) * sizeof *l.head);
        if (n > 1) assert_memory_equal(l.prev + 1, fresh.prev + 1, (size_t)(n - 1) * sizeof *l.prev);
        ct_lookup_free(&fresh);
    }
    ct_lookup_free(&l);
}

/* Tokens `auto` guesses at the end of a text in which a phrase of n_phrase tokens stands 200 times between tokens that
 * never repeat, when the phrase came to its end the first `whole` of each hundred times and else stopped after two. The
 * text ends two tokens into the phrase; a row more costs `slope` of a pass. */
static int32_t worth_of(int n_phrase, int whole, double slope) {
    static int32_t tok[4000];
    int32_t out[15], n = 0, fresh = 100;
    ct_lookup l = new_lookup(tok, 4000, 15);
    for (int i = 0; i < 100; i++) ct_lookup_timed(&l, 1, 10.0), ct_lookup_timed(&l, 11, 10.0 * (1.0 + 10.0 * slope));
    ct_lookup_timed(&l, 1, 10.0);
    for (int i = 0; i <= 200; i++) {
        const int stop = i < 200 && i % 100 < whole ? n_phrase : 2;
        tok[n++] = fresh++;
        ct_lookup_push(&l, n);
        for (int j = 0; j < stop; j++) tok[n++] = 1 + j, ct_lookup_push(&l, n);
    }
    const int32_t k = ct_lookup_guess(&l, out, 15, false);
    ct_lookup_free(&l);
    return k;
}

static void auto__guesses_only_what_pays(void **state) {
    (void)state;
    assert_int_equal(worth_of(10, 0, 0.2), 0); /* what never came true */
    assert_int_equal(worth_of(10, 0, 0.05), 0);
    assert_in_range(worth_of(10, 100, 0.2), 4, 9); /* towards the end of the phrase, and not beyond */
    assert_int_equal(worth_of(10, 100, 3.0), 0); /* a row more costs three passes */
    assert_true(worth_of(10, 100, 0.01) >= worth_of(10, 100, 0.2));
    const int32_t cheap = worth_of(4, 60, 0.05), dear = worth_of(4, 60, 0.5);
    assert_true(cheap > dear); /* the cheaper a row, the more of them */
}

static void auto__waits_for_a_measured_pass_and_measures_again(void **state) {
    (void)state;
    static int32_t tok[200];
    for (int i = 0; i < 200; i++) tok[i] = 1 + i % 20;
    int32_t out[8];
    ct_lookup l = new_lookup(tok, 200, 8);
    ct_lookup_push(&l, 100);
    assert_int_equal(ct_lookup_guess(&l, out, 8, false), 0);
    ct_lookup_timed(&l, 1, 5.0);
    assert_true(ct_lookup_guess(&l, out, 8, false) > 0);
    int n_guess = 0, n_plain = 0;
    for (int i = 0; i < 300; i++) {
        const int32_t k = ct_lookup_guess(&l, out, 8, false);
        if (k) n_guess++;
        else n_plain++;
        ct_lookup_timed(&l, k + 1, 5.0 + 0.5 * k);
    }
    assert_in_range(n_plain, 3, 6);
    ct_lookup_free(&l);
}

/* ---- the session, on random checkpoints with windows of 8 tokens ---- */

static const char *const variants[] = {"e2b", "e4b", "31b", "26b-a4b", "gemma3"};
#define N_VARIANT (sizeof variants / sizeof *variants)
#define N_TOK 128
#define N_PROMPT 30

static int n_vocab_of(const carat_model *m) {
    carat_model_info info;
    carat_model_get_info(m, &info);
    return info.n_vocab;
}

/* Twenty tokens again and again, one in `every` of them another. */
static void make_repeats(int32_t *tok, int n, int n_vocab, int every, uint64_t seed) {
    ct_rng r;
    ct_rng_seed(&r, seed);
    for (int i = 0; i < n; i++) {
        const bool other = i >= 20 && ct_rng_u64(&r) % (uint64_t)every == 0;
        tok[i] = i < 20 || other ? (int32_t)(ct_rng_u64(&r) % (uint64_t)n_vocab) : tok[i - 20];
    }
}

static carat_session *new_session(const carat_model *m, carat_lookup mode, int n_lookup, int n_chunk) {
    carat_session *s = NULL;
    carat_error err = {0};
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = N_TOK, o.n_chunk = n_chunk, o.n_threads = 1, o.lookup = mode, o.n_lookup = n_lookup;
    if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
    return s;
}

static void logits__are_the_same_bits_with_guesses(void **state) {
    (void)state;
    static const struct { carat_lookup mode; int n_lookup, n_chunk, every; } plan[] = {
        {CARAT_LOOKUP_ALWAYS, 0, 0, 12}, {CARAT_LOOKUP_ALWAYS, 3, 4, 12}, {CARAT_LOOKUP_ALWAYS, 200, 16, 7},
        {CARAT_LOOKUP_ALWAYS, 15, 2, 30}, {CARAT_LOOKUP_AUTO, 0, 0, 20},
    };
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case o;
        oracle_open(&o, variants[v], NULL);
        const int n_vocab = n_vocab_of(o.model);
        float *all = calloc((size_t)N_TOK * (size_t)n_vocab, sizeof *all);
        for (size_t p = 0; p < sizeof plan / sizeof *plan; p++) {
            int32_t tok[N_TOK];
            make_repeats(tok, N_TOK, n_vocab, plan[p].every, p + 1);
            carat_session_opts opts = carat_session_opts_default();
            opts.n_ctx = N_TOK, opts.n_threads = 1;
            oracle_logits(o.model, &opts, tok, N_TOK, all);
            carat_session *s = new_session(o.model, plan[p].mode, plan[p].n_lookup, plan[p].n_chunk);
            int n_free = 0;
            for (int n = N_PROMPT; n <= N_TOK; n++) { /* to the last place of the context */
                assert_int_equal(carat_session_sync(s, tok, (size_t)n, NULL), 0);
                assert_int_equal(carat_session_n_past(s), n);
                /* A ring never makes a wrong guess cost the prefix. */
                if (n > N_PROMPT) assert_in_range(carat_session_n_evaluated(s), 0, 1);
                n_free += carat_session_n_evaluated(s) == 0;
                assert_memory_equal(carat_session_logits(s), all + (size_t)(n - 1) * (size_t)n_vocab, (size_t)n_vocab * sizeof *all);
            }
            carat_session_stats st;
            carat_session_get_stats(s, &st);
            assert_int_equal(st.lookup_accepted, n_free);
            assert_int_equal(st.lookup_passes + st.lookup_plain + st.lookup_accepted, N_TOK - N_PROMPT);
            assert_true(st.lookup_accepted <= st.lookup_guessed);
            if (plan[p].mode == CARAT_LOOKUP_ALWAYS) {
                assert_true(st.lookup_accepted > 30);
                assert_true(st.lookup_guessed > st.lookup_accepted); /* some were wrong, or this proves little */
            }
            carat_session_free(&s);
        }
        free(all);
        oracle_close(&o);
    }
}

/* Any order of steps, jumps ahead, rewritten ends and sync_logits. */
static bool ignore_row(void *ud, int32_t pos, const float *logits) {
    (void)ud, (void)pos, (void)logits;
    return true;
}

static void sync__with_guesses_takes_any_path(void **state) {
    (void)state;
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case o;
        oracle_open(&o, variants[v], NULL);
        const int n_vocab = n_vocab_of(o.model);
        int32_t tok[N_TOK];
        make_repeats(tok, N_TOK, n_vocab, 15, 3);
        carat_session *s = new_session(o.model, CARAT_LOOKUP_ALWAYS, 6, 8), *fresh = NULL;
        ct_rng r;
        ct_rng_seed(&r, 4);
        int n = N_PROMPT;
        for (int step = 0; step < 150; step++) {
            const uint64_t dice = ct_rng_u64(&r) % 16;
            if (dice == 0) n = 1 + (int)(ct_rng_u64(&r) % N_TOK);
            else if (dice == 1) n += 3;
            else if (dice != 2) n++; /* 2: the same again */
            if (dice == 3) tok[n / 2] = (int32_t)(ct_rng_u64(&r) % (uint64_t)n_vocab);
            if (n > N_TOK) n = N_PROMPT;
            if (dice == 4) {
                assert_int_equal(carat_session_sync_logits(s, tok, (size_t)n, false, ignore_row, NULL, NULL), 0);
            } else {
                assert_int_equal(carat_session_sync(s, tok, (size_t)n, NULL), 0);
            }
            assert_int_equal(carat_session_n_past(s), n);
            if (step % 3) continue;
            fresh = new_session(o.model, CARAT_LOOKUP_OFF, 0, 0);
            assert_int_equal(carat_session_sync(fresh, tok, (size_t)n, NULL), 0);
            assert_memory_equal(carat_session_logits(s), carat_session_logits(fresh), (size_t)n_vocab * sizeof(float));
            carat_session_free(&fresh);
        }
        carat_session_stats st;
        carat_session_get_stats(s, &st);
        assert_true(st.lookup_accepted > 20);
        carat_session_free(&s);
        oracle_close(&o);
    }
}

static bool may_go_on(void *ud, int32_t done, int32_t total) {
    (void)done, (void)total;
    return *(bool *)ud;
}

static void sync__with_guesses_can_be_cancelled(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "e2b", NULL);
    const int n_vocab = n_vocab_of(o.model);
    int32_t tok[N_TOK];
    make_repeats(tok, N_TOK, n_vocab, 10, 5);
    float *all = calloc((size_t)N_TOK * (size_t)n_vocab, sizeof *all);
    bool go_on = true;
    carat_session_opts opts = carat_session_opts_default();
    opts.n_ctx = N_TOK, opts.n_threads = 1;
    oracle_logits(o.model, &opts, tok, N_TOK, all);
    opts.lookup = CARAT_LOOKUP_ALWAYS, opts.n_lookup = 5, opts.progress = may_go_on, opts.progress_ud = &go_on;
    carat_session *s = NULL;
    carat_error err = {0};
    assert_int_equal(carat_session_new(&s, o.model, &opts, &err), 0);
    assert_int_equal(carat_session_sync(s, tok, N_PROMPT, NULL), 0);
    int n_cancelled = 0;
    for (int n = N_PROMPT + 1; n <= N_TOK; n++) {
        go_on = n % 2 == 0;
        if (carat_session_sync(s, tok, (size_t)n, &err)) {
            n_cancelled++;
            assert_int_equal(err.code, CARAT_ECANCEL);
            assert_int_equal(carat_session_n_past(s), n - 1);
            assert_null(carat_session_logits(s));
            go_on = true;
            assert_int_equal(carat_session_sync(s, tok, (size_t)n, NULL), 0);
            assert_int_equal(carat_session_n_evaluated(s), 1);
        }
        assert_memory_equal(carat_session_logits(s), all + (size_t)(n - 1) * (size_t)n_vocab, (size_t)n_vocab * sizeof *all);
    }
    assert_true(n_cancelled > 3);
    carat_session_free(&s);
    free(all);
    oracle_close(&o);
}

static void tap_row(void *ud, const char *name, const float *x, int32_t pos, int32_t n_tok, int32_t n) {
    (void)x, (void)pos, (void)n;
    if (strcmp(name, "embed") == 0) *(int *)ud += n_tok;
}

/* Taps show the text and nothing else. */
static void lookup__is_off_where_there_is_a_tap(void **state) {
    (void)state;
    oracle_case o;
    oracle_open(&o, "31b", NULL);
    int32_t tok[N_TOK];
    int n_tapped = 0;
    make_repeats(tok, N_TOK, n_vocab_of(o.model), 50, 6);
    carat_session_opts opts = carat_session_opts_default();
    opts.n_ctx = N_TOK, opts.n_threads = 1, opts.lookup = CARAT_LOOKUP_ALWAYS, opts.tap = tap_row, opts.tap_ud = &n_tapped;
    carat_session *s = NULL;
    assert_int_equal(carat_session_new(&s, o.model, &opts, NULL), 0);
    for (int n = N_PROMPT; n <= 60; n++) assert_int_equal(carat_session_sync(s, tok, (size_t)n, NULL), 0);
    assert_int_equal(n_tapped, 60);
    carat_session_free(&s);
    oracle_close(&o);
}

/* ---- whole texts of the bundled models ---- */

static const carat_sampler_opts greedy = {.temp = 0.0f}, plain = {.temp = 1.0f, .top_p = 1.0f},
    cuts = {.temp = 1.0f, .top_k = 64, .top_p = 0.95f}, tail = {.temp = 0.8f, .top_p = 0.9f, .min_p = 0.02f},
    penalty = {.temp = 1.0f, .top_k = 40, .top_p = 1.0f, .repeat_penalty = 1.2f};

/* A text of n tokens behind the prompt, stop tokens read over: the longer, the more windows. */
static void write_text(carat_session *s, const carat_sampler_opts *how, uint64_t seed, int32_t *tok, int n_prompt, int n) {
    carat_sampler *sm = NULL;
    carat_sampler_opts o = carat_sampler_opts_default();
    o.temp = how->temp, o.top_k = how->top_k, o.top_p = how->top_p > 0.0f ? how->top_p : 1.0f, o.min_p = how->min_p;
    if (how->repeat_penalty > 0.0f) o.repeat_penalty = how->repeat_penalty;
    o.seed = seed;
    carat_error err = {0};
    if (carat_sampler_new(&sm, 4096, &o, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < n_prompt; i++) carat_sampler_accept(sm, tok[i]);
    for (int i = n_prompt; i < n; i++) {
        if (carat_session_sync(s, tok, (size_t)i, &err)) fail_msg("%s", err.msg);
        tok[i] = carat_sampler_next(sm, carat_session_logits(s));
        carat_sampler_accept(sm, tok[i]);
    }
    carat_sampler_free(&sm);
}

static void bundled_models__write_the_same_texts(void **state) {
    (void)state;
    static const struct { const char *name; const carat_sampler_opts *o; } how[] = {
        {"greedy", &greedy}, {"temperature 1", &plain}, {"top-k 64, top-p 0.95", &cuts}, {"top-p, min-p", &tail},
        {"repeat penalty", &penalty},
    };
    static const char prompt[] = "Tom said: \"The red ball is in the big box.\" Mia said: \"The red ball is in the big box.\" "
                                 "Sam said: \"The red ball";
    enum { N = 220 };
    for (int moe = 0; moe < 2; moe++) {
        char path[1200];
        const char *root = getenv("CARAT_ROOT");
        snprintf(path, sizeof path, "%s/models/carat-story-%s.gguf", root ? root : ".", moe ? "moe" : "e");
        carat_model *m = NULL;
        carat_error err = {0};
        if (carat_model_open(&m, path, NULL, &err)) fail_msg("%s", err.msg);
        carat_model_info info;
        carat_model_get_info(m, &info);
        assert_int_equal(info.n_vocab, 4096);
        int n_right = 0;
        for (size_t h = 0; h < sizeof how / sizeof *how; h++) {
            int32_t want[N], got[N];
            size_t n = 0;
            assert_int_equal(carat_tokenize(m, prompt, sizeof prompt - 1, CARAT_TOKENIZE_BOS, want, N, &n, NULL), 0);
            memcpy(got, want, n * sizeof *got);
            carat_session_opts o = carat_session_opts_default();
            o.n_ctx = N, o.n_chunk = 32, o.n_threads = 1;
            carat_session *s = NULL;
            if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
            write_text(s, how[h].o, h + 1, want, (int)n, N);
            carat_session_free(&s);
            for (carat_lookup mode = CARAT_LOOKUP_AUTO; mode <= CARAT_LOOKUP_ALWAYS; mode++) {
                memset(got + n, 0, (N - n) * sizeof *got);
                o.lookup = mode;
                if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
                write_text(s, how[h].o, h + 1, got, (int)n, N);
                assert_memory_equal(got, want, sizeof want);
                carat_session_stats st;
                carat_session_get_stats(s, &st);
                print_message("%s, %s, %s: %d passes with %d guesses, %d right; %d fallbacks\n", moe ? "moe" : "e", how[h].name,
                              mode == CARAT_LOOKUP_AUTO ? "auto" : "always", (int)st.lookup_passes, (int)st.lookup_guessed,
                              (int)st.lookup_accepted, (int)st.lookup_plain);
                if (mode == CARAT_LOOKUP_ALWAYS) n_right += (int)st.lookup_accepted;
                carat_session_free(&s);
            }
        }
        assert_true(n_right > 100); /* or the same texts prove nothing */
        carat_model_close(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup__takes_the_longest_match_and_of_these_the_latest),
        cmocka_unit_test(lookup__finds_nothing_in_text_without_a_repeated_pair),
        cmocka_unit_test(lookup__goes_on_with_itself_where_the_text_runs_in_a_circle),
        cmocka_unit_test(lookup__forgets_exactly),
        cmocka_unit_test(auto__guesses_only_what_pays),
        cmocka_unit_test(auto__waits_for_a_measured_pass_and_measures_again),
        cmocka_unit_test(logits__are_the_same_bits_with_guesses),
        cmocka_unit_test(sync__with_guesses_takes_any_path),
        cmocka_unit_test(sync__with_guesses_can_be_cancelled),
        cmocka_unit_test(lookup__is_off_where_there_is_a_tap),
        cmocka_unit_test(bundled_models__write_the_same_texts),
    };
    return cmocka_run_group_tests_name("engine lookup", tests, NULL, NULL);
}
