/* The sampler against distributions that can be worked out by hand, a plain full-sort twin, and the extremes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "sample/sampler.h"

#define N_GEMMA 262144

static carat_sampler *new_sampler(int32_t n, const carat_sampler_opts *o) {
    carat_sampler *sm = NULL;
    carat_error err;
    assert_int_equal(carat_sampler_new(&sm, n, o, &err), 0);
    assert_non_null(sm);
    return sm;
}

/* Options with every cut off. */
static carat_sampler_opts plain_opts(void) {
    carat_sampler_opts o = carat_sampler_opts_default();
    o.top_k = 0;
    o.top_p = 1.0f;
    return o;
}

static int32_t next_once(int32_t n, const carat_sampler_opts *o, const float *logits) {
    carat_sampler *sm = new_sampler(n, o);
    const int32_t tok = carat_sampler_next(sm, logits);
    carat_sampler_free(&sm);
    return tok;
}

/* Draws `n_draw` tokens into count[n]. */
static void count_draws(int32_t *count, int32_t n, const carat_sampler_opts *o, const float *logits, int32_t n_draw) {
    carat_sampler *sm = new_sampler(n, o);
    memset(count, 0, (size_t)n * sizeof *count);
    for (int32_t i = 0; i < n_draw; i++) {
        const int32_t tok = carat_sampler_next(sm, logits);
        assert_in_range(tok, 0, n - 1);
        count[tok]++;
    }
    carat_sampler_free(&sm);
}

/* sum of (seen - expected)^2 / expected over the tokens that can occur; those that cannot must not. */
static double chi_square(const int32_t *count, const double *p, int32_t n, int32_t n_draw) {
    double x2 = 0.0;
    for (int32_t i = 0; i < n; i++) {
        if (p[i] == 0.0) {
            assert_int_equal(count[i], 0);
            continue;
        }
        const double expected = p[i] * n_draw;
        x2 += (count[i] - expected) * (count[i] - expected) / expected;
    }
    return x2;
}

/* ---- frequencies ---- */

static const float eight[8] = {2.0f, -1.0f, 0.5f, 3.0f, 0.0f, 3.0f, -INFINITY, 1.0f};

/* p over `eight` at temperature t, with only the tokens of `keep` */
static void probs_of_eight(double *p, double t, const int *keep) {
    double sum = 0.0;
    for (int i = 0; i < 8; i++) {
        p[i] = keep[i] ? exp((double)eight[i] / t) : 0.0;
        sum += p[i];
    }
    for (int i = 0; i < 8; i++) p[i] /= sum;
}

static void check_eight(const carat_sampler_opts *o, const int *keep, int n_draw) {
    double p[8];
    int32_t count[8];
    probs_of_eight(p, (double)o->temp, keep);
    count_draws(count, 8, o, eight, n_draw);
    /* 99.9% point of chi-square with 6 degrees of freedom; fewer degrees have a lower one. */
    const double x2 = chi_square(count, p, 8, n_draw);
    assert_true(x2 < 22.46);
    assert_true(n_draw < 1000 || x2 > 0.0);
}

static void sampler__draws_softmax_frequencies(void **state) {
    (void)state;
    carat_sampler_opts o = plain_opts();
    const int all[8] = {1, 1, 1, 1, 1, 1, 0, 1};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        o.seed = seed;
        o.temp = 1.0f;
        check_eight(&o, all, 40000);
        o.temp = 2.5f;
        check_eight(&o, all, 40000);
        o.temp = 1.0f;
        o.top_k = 100; /* more than there are */
        check_eight(&o, all, 40000);
        o.top_k = 0;
    }
}

static void sampler__top_k_keeps_the_k_best_and_lowest_id_of_equals(void **state) {
    (void)state;
    carat_sampler_opts o = plain_opts();
    o.seed = 11;
    o.top_k = 3;
    check_eight(&o, (const int[8]){1, 0, 0, 1, 0, 1, 0, 0}, 20000);
    const float equal[6] = {1, 1, 1, 1, 1, 1};
    int32_t count[6];
    o.top_k = 2;
    count_draws(count, 6, &o, equal, 2000);
    assert_true(count[0] > 900 && count[1] > 900);
    assert_int_equal(count[2] + count[3] + count[4] + count[5], 0);
}

/* softmax of `eight`: ids 3 and 5 hold .377 each, 0 .139, 7 .051, 2 .031, 4 .019, 1 .007 */
static void sampler__top_p_keeps_the_smallest_set_that_reaches_p(void **state) {
    (void)state;
    const int32_t ks[2] = {0, 7}; /* alone, and behind a top-k that cuts nothing: two code paths */
    for (int i = 0; i < 2; i++) {
        carat_sampler_opts o = plain_opts();
        o.top_k = ks[i];
        o.seed = 21;
        o.top_p = 0.76f; /* .754 < p, so the third is needed */
        check_eight(&o, (const int[8]){1, 0, 0, 1, 0, 1, 0, 0}, 20000);
        o.top_p = 0.75f;
        check_eight(&o, (const int[8]){0, 0, 0, 1, 0, 1, 0, 0}, 20000);
        o.top_p = 0.97f;
        check_eight(&o, (const int[8]){1, 0, 1, 1, 0, 1, 0, 1}, 20000);
        o.top_p = 0.1f;
        check_eight(&o, (const int[8]){0, 0, 0, 1, 0, 0, 0, 0}, 500);
        o.top_p = 0.0f;
        check_eight(&o, (const int[8]){0, 0, 0, 1, 0, 0, 0, 0}, 500);
        o.top_p = 1e-30f;
        check_eight(&o, (const int[8]){0, 0, 0, 1, 0, 0, 0, 0}, 500);
    }
}

static void sampler__top_p_is_taken_after_top_k(void **state) {
    (void)state;
    carat_sampler_opts o = plain_opts();
    o.seed = 5;
    o.top_k = 3;    /* 3, 5, 0: .423 .423 .155 after the cut */
    o.top_p = 0.8f; /* before the cut .754 would not reach it, after it .845 does */
    check_eight(&o, (const int[8]){0, 0, 0, 1, 0, 1, 0, 0}, 20000);
}

static void sampler__min_p_is_relative_to_the_best(void **state) {
    (void)state;
    const int32_t ks[2] = {0, 7};
    for (int i = 0; i < 2; i++) {
        carat_sampler_opts o = plain_opts();
        o.top_k = ks[i];
        o.seed = 31;
        o.min_p = 0.1f; /* e^-1 = .37 and e^-2 = .135 stay, e^-2.5 = .08 goes */
        check_eight(&o, (const int[8]){1, 0, 0, 1, 0, 1, 0, 1}, 20000);
        o.min_p = 1.0f;
        check_eight(&o, (const int[8]){0, 0, 0, 1, 0, 1, 0, 0}, 20000);
        o.min_p = 0.1f;
        o.top_p = 0.8f;
        check_eight(&o, (const int[8]){1, 0, 0, 1, 0, 1, 0, 0}, 20000);
    }
}

static void sampler__temperature_is_applied_before_top_p(void **state) {
    (void)state;
    carat_sampler_opts o = plain_opts();
    o.seed = 8;
    o.temp = 4.0f;   /* flat: .210 .210 .164 .127 .112 .099 .077: three hold .58, four .71 */
    o.top_p = 0.7f;
    check_eight(&o, (const int[8]){1, 0, 0, 1, 0, 1, 0, 1}, 20000);
}

/* ---- greedy, seeds ---- */

static void sampler__greedy_takes_lowest_id_of_equals_and_ignores_seed(void **state) {
    (void)state;
    carat_sampler_opts o = carat_sampler_opts_default();
    for (uint64_t seed = 0; seed < 5; seed++) {
        o.seed = seed;
        o.temp = 0.0f;
        assert_int_equal(next_once(8, &o, eight), 3);
        o.temp = 1.0f;
        o.top_k = 1;
        assert_int_equal(next_once(8, &o, eight), 3);
        o.top_k = 64;
        o.temp = 1e-30f; /* nearly greedy: an equal pair is still drawn from */
        const int32_t tok = next_once(8, &o, eight);
        assert_true(tok == 3 || tok == 5);
    }
}

static void sampler__same_seed_gives_same_stream(void **state) {
    (void)state;
    enum { N = 1000 };
    float x[N];
    ct_rng r;
    ct_rng_seed(&r, 99);
    for (int i = 0; i < N; i++) x[i] = (float)ct_rng_normal(&r);
    carat_sampler_opts o = carat_sampler_opts_default();
    int differ = 0;
    o.seed = 42;
    carat_sampler *a = new_sampler(N, &o), *b = new_sampler(N, &o);
    o.seed = 43;
    carat_sampler *c = new_sampler(N, &o);
    for (int i = 0; i < 200; i++) {
        const int32_t t = carat_sampler_next(a, x);
        assert_int_equal(t, carat_sampler_next(b, x));
        differ += t != carat_sampler_next(c, x);
    }
    assert_true(differ > 100);
    carat_sampler_free(&a);
    carat_sampler_free(&b);
    carat_sampler_free(&c);
}

/* Pinned: the stream must not change between machines, compilers or versions without a word in CHANGELOG. */
static void sampler__stream_is_the_same_on_every_machine(void **state) {
    (void)state;
    enum { N = 4096 };
    static float x[N];
    ct_rng r;
    ct_rng_seed(&r, 7);
    for (int i = 0; i < N; i++) x[i] = (float)(ct_rng_uniform(&r) * 12.0 - 6.0);
    static const int32_t expected[3][8] = {
        {1833, 743, 3925, 3848, 559, 1352, 3532, 1902}, /* top-k 64, top-p .95 */
        {743, 479, 2665, 1313, 2344, 3169, 3835, 2015}, /* top-p .95 alone */
        {843, 3976, 1867, 550, 1364, 4094, 1549, 2616}, /* no cut: in order of ids */
    };
    for (int mode = 0; mode < 3; mode++) {
        carat_sampler_opts o = carat_sampler_opts_default();
        o.seed = 123;
        o.temp = 0.8f;
        if (mode >= 1) o.top_k = 0;
        if (mode == 2) o.top_p = 1.0f;
        carat_sampler *sm = new_sampler(N, &o);
        for (int i = 0; i < 8; i++) assert_int_equal(carat_sampler_next(sm, x), expected[mode][i]);
        carat_sampler_free(&sm);
    }
}

/* ---- the twin: full sort, plain loops ---- */

static const float *twin_logits;

static int twin_order(const void *a, const void *b) {
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (twin_logits[i] != twin_logits[j]) return twin_logits[i] > twin_logits[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

static int32_t twin_next(ct_rng *r, const float *x, int32_t n, const carat_sampler_opts *o) {
    int32_t *id = malloc((size_t)n * sizeof *id);
    double *w = malloc((size_t)n * sizeof *w);
    int32_t m = 0;
    for (int32_t i = 0; i < n; i++) {
        if (x[i] > -INFINITY) id[m++] = i;
    }
    twin_logits = x;
    qsort(id, (size_t)m, sizeof *id, twin_order);
    if (o->top_k > 0 && m > o->top_k) m = o->top_k;
    double total = 0.0, before = 0.0;
    for (int32_t i = 0; i < m; i++) total += w[i] = exp(((double)x[id[i]] - (double)x[id[0]]) / (double)o->temp);
    int32_t k = 0;
    for (; k < m && (k == 0 || before < (double)o->top_p * total); k++) before += w[k];
    while (k > 1 && w[k - 1] < (double)o->min_p) k--;
    total = before = 0.0;
    for (int32_t i = 0; i < k; i++) total += w[i];
    const double target = ct_rng_uniform(r) * total;
    int32_t pick = 0;
    for (; pick < k - 1; pick++) {
        before += w[pick];
        if (before > target) break;
    }
    const int32_t tok = id[pick];
    free(id);
    free(w);
    return tok;
}

static void sampler__agrees_with_a_full_sort(void **state) {
    (void)state;
    enum { N = 3000 };
    static float x[N];
    ct_rng r;
    ct_rng_seed(&r, 2024);
    for (int round = 0; round < 300; round++) {
        carat_sampler_opts o = carat_sampler_opts_default();
        const int32_t n = 2 + (int32_t)(ct_rng_u64(&r) % (N - 2));
        const double spread = round % 3 == 0 ? 0.01 : round % 3 == 1 ? 3.0 : 20.0;
        for (int32_t i = 0; i < n; i++) {
            x[i] = (float)(ct_rng_normal(&r) * spread);
            if (round % 5 == 0) x[i] = roundf(x[i]); /* many equals */
            if (ct_rng_u64(&r) % 16 == 0) x[i] = round % 2 ? NAN : -INFINITY;
        }
        o.top_k = (const int32_t[]){0, 2, 17, 64, 1000, 5000}[round % 6];
        o.top_p = (const float[]){0.05f, 0.5f, 0.95f, 0.999f}[round % 4];
        o.min_p = round % 7 == 0 ? 0.05f : 0.0f;
        o.temp = (const float[]){0.3f, 1.0f, 1.7f}[round % 3];
        o.seed = (uint64_t)round;
        ct_rng twin;
        ct_rng_seed(&twin, o.seed);
        carat_sampler *sm = new_sampler(n, &o);
        for (int i = 0; i < 4; i++) assert_int_equal(carat_sampler_next(sm, x), twin_next(&twin, x, n, &o));
        carat_sampler_free(&sm);
    }
}

/* ---- extremes ---- */

static void sampler__never_chooses_nan(void **state) {
    (void)state;
    const float x[6] = {NAN, 1.0f, NAN, 1.0f, -INFINITY, NAN};
    int32_t count[6];
    for (int mode = 0; mode < 4; mode++) {
        carat_sampler_opts o = plain_opts();
        if (mode == 1) o.top_k = 4;
        if (mode == 2) o.top_p = 0.9f;
        if (mode == 3) o.temp = 0.0f;
        count_draws(count, 6, &o, x, 400);
        assert_int_equal(count[1] + count[3], 400);
        if (mode == 3) assert_int_equal(count[1], 400);
        else assert_true(count[1] > 100 && count[3] > 100);
    }
    const float all[3] = {NAN, NAN, NAN};
    const carat_sampler_opts o = carat_sampler_opts_default();
    assert_int_equal(next_once(3, &o, all), -1);
}

static void sampler__plus_infinity_outweighs_everything(void **state) {
    (void)state;
    const float x[5] = {3e38f, INFINITY, NAN, INFINITY, -INFINITY};
    int32_t count[5];
    for (int mode = 0; mode < 4; mode++) {
        carat_sampler_opts o = plain_opts();
        if (mode == 1) o.top_k = 4;
        if (mode == 2) o.top_p = 0.9f;
        if (mode == 3) o.min_p = 0.1f;
        count_draws(count, 5, &o, x, 400);
        assert_int_equal(count[1] + count[3], 400);
        assert_true(count[1] > 100 && count[3] > 100);
    }
}

static void sampler__all_minus_infinity_gives_lowest_id(void **state) {
    (void)state;
    const float x[4] = {NAN, -INFINITY, -INFINITY, -INFINITY};
    carat_sampler_opts o = carat_sampler_opts_default();
    assert_int_equal(next_once(4, &o, x), 1);
    assert_int_equal(next_once(3, &o, x + 1), 0);
    o = plain_opts();
    assert_int_equal(next_once(4, &o, x), 1);
}

static void sampler__extreme_finite_logits_stay_ordered(void **state) {
    (void)state;
    const float x[4] = {-3.4e38f, 3.4e38f, -3.4e38f, 0.0f};
    for (int mode = 0; mode < 3; mode++) {
        carat_sampler_opts o = plain_opts();
        if (mode == 1) o.top_k = 3;
        if (mode == 2) o.top_p = 0.99f;
        o.temp = 3.0f;
        assert_int_equal(next_once(4, &o, x), 1);
    }
}

static void sampler__one_token_vocabulary(void **state) {
    (void)state;
    const float x[1] = {-5.0f};
    carat_sampler_opts o = carat_sampler_opts_default();
    assert_int_equal(next_once(1, &o, x), 0);
    o = plain_opts();
    assert_int_equal(next_once(1, &o, x), 0);
}

static void sampler__all_equal_is_uniform(void **state) {
    (void)state;
    enum { N = 16, DRAWS = 32000 };
    float x[N];
    double p[N];
    int32_t count[N];
    for (int i = 0; i < N; i++) {
        x[i] = -7.25f;
        p[i] = 1.0 / N;
    }
    carat_sampler_opts o = plain_opts();
    o.seed = 77;
    count_draws(count, N, &o, x, DRAWS);
    assert_true(chi_square(count, p, N, DRAWS) < 37.70); /* 99.9%, 15 degrees */
    o = carat_sampler_opts_default(); /* top-p .95 of 16 equals: 16 * .95 = 15.2, so all 16 */
    count_draws(count, N, &o, x, DRAWS);
    assert_true(chi_square(count, p, N, DRAWS) < 37.70);
}

/* ---- penalty ---- */

static void sampler__penalty_divides_positive_and_multiplies_negative(void **state) {
    (void)state;
    carat_sampler_opts o = carat_sampler_opts_default();
    o.temp = 0.0f;
    o.repeat_penalty = 2.0f;
    carat_sampler *sm = new_sampler(3, &o);
    const float x[3] = {1.0f, 1.9f, 0.5f};
    float kept[3];
    memcpy(kept, x, sizeof x);
    assert_int_equal(carat_sampler_next(sm, x), 1);
    carat_sampler_accept(sm, 1);
    carat_sampler_accept(sm, 1); /* twice in the text, penalised once: .95 stays above .5 */
    assert_int_equal(carat_sampler_next(sm, x), 0);
    carat_sampler_accept(sm, 0);
    assert_int_equal(carat_sampler_next(sm, x), 1);
    assert_memory_equal(kept, x, sizeof x);
    const float y[3] = {-1.0f, -1.1f, -1.9f};
    assert_int_equal(carat_sampler_next(sm, y), 2); /* -2, -2.2, -1.9 */
    carat_sampler_free(&sm);
}

static void sampler__penalty_forgets_after_the_window(void **state) {
    (void)state;
    carat_sampler_opts o = carat_sampler_opts_default();
    o.temp = 0.0f;
    o.repeat_penalty = 1.5f;
    o.repeat_last_n = 2;
    carat_sampler *sm = new_sampler(4, &o);
    const float x[4] = {2.0f, 1.8f, 1.0f, 0.0f};
    carat_sampler_accept(sm, 0);
    assert_int_equal(carat_sampler_next(sm, x), 1);
    carat_sampler_accept(sm, 3);
    assert_int_equal(carat_sampler_next(sm, x), 1);
    carat_sampler_accept(sm, 3);
    assert_int_equal(carat_sampler_next(sm, x), 0);
    carat_sampler_accept(sm, -1); /* not a token: no effect */
    carat_sampler_accept(sm, 4);
    assert_int_equal(carat_sampler_next(sm, x), 0);
    carat_sampler_free(&sm);
}

/* ---- options ---- */

static void sampler__rejects_bad_options(void **state) {
    (void)state;
    carat_error err;
    carat_sampler *sm = NULL;
    carat_sampler_opts bad[12];
    for (int i = 0; i < 12; i++) bad[i] = carat_sampler_opts_default();
    bad[0].temp = -0.1f;
    bad[1].temp = NAN;
    bad[2].temp = INFINITY;
    bad[3].top_k = -1;
    bad[4].top_p = 1.01f;
    bad[5].top_p = NAN;
    bad[6].min_p = -0.5f;
    bad[7].repeat_penalty = 0.0f;
    bad[8].repeat_penalty = NAN;
    bad[9].repeat_last_n = -1;
    bad[10].size = 0;
    bad[11].top_p = -0.01f;
    for (int i = 0; i < 12; i++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(carat_sampler_new(&sm, 10, &bad[i], &err), CARAT_EINVAL);
        assert_null(sm);
        assert_int_equal(err.code, CARAT_EINVAL);
        assert_true(strlen(err.msg) > 10);
    }
    assert_int_equal(carat_sampler_new(&sm, 0, NULL, NULL), CARAT_EINVAL);
    assert_int_equal(carat_sampler_new(&sm, 5, NULL, NULL), 0);
    carat_sampler_free(&sm);
    carat_sampler_free(&sm);
    carat_sampler_free(NULL);
}

static void sampler__accepts_options_of_an_older_caller(void **state) {
    (void)state;
    carat_sampler_opts o = carat_sampler_opts_default();
    o.temp = 0.0f;
    o.top_k = -5; /* beyond the old struct: must not be read */
    o.size = offsetof(carat_sampler_opts, top_k);
    assert_int_equal(next_once(8, &o, eight), 3);
}

/* ---- numbers ---- */

static void exp_neg__is_within_two_ulp_of_libm(void **state) {
    (void)state;
    double worst = 0.0;
    for (int i = 0; i <= 200000; i++) {
        const double x = i < 100000 ? -708.0 * i / 100000.0 : -1.0 * (i - 100000) / 100000.0;
        const double d = fabs(ct_exp_neg(x) - exp(x)) / exp(x);
        worst = d > worst ? d : worst;
    }
    assert_true(worst < 4.5e-16);
    assert_true(ct_exp_neg(0.0) == 1.0);
    assert_true(ct_exp_neg(-1e-300) == 1.0);
    assert_true(ct_exp_neg(-709.0) == 0.0);
    assert_true(ct_exp_neg(-1e300) == 0.0);
    assert_true(ct_exp_neg(-INFINITY) == 0.0);
    assert_true(isnan(ct_exp_neg(NAN)));
}

static void logprob__matches_the_formula(void **state) {
    (void)state;
    double sum = 0.0;
    for (int i = 0; i < 8; i++) sum += exp((double)eight[i]);
    double total = 0.0;
    for (int i = 0; i < 8; i++) {
        const double lp = carat_logprob(eight, 8, i);
        total += exp(lp);
        if (i != 6) assert_true(fabs(lp - ((double)eight[i] - log(sum))) < 1e-14);
    }
    assert_true(fabs(total - 1.0) < 1e-14);
    assert_true(carat_logprob(eight, 8, 6) == -INFINITY);
    assert_true(fabs(carat_logprob((const float[]){1e38f, 1e38f, -1e38f}, 3, 1) + log(2.0)) < 1e-14);
    assert_true(carat_logprob((const float[]){-3.0f}, 1, 0) == 0.0);
}

static void logprob__does_not_hide_bad_numbers(void **state) {
    (void)state;
    const float nan_in_it[5] = {1, 2, NAN, 3, 4};
    assert_true(isnan(carat_logprob(nan_in_it, 5, 0)));
    assert_true(isnan(carat_logprob(eight, 8, 8)));
    assert_true(isnan(carat_logprob(eight, 8, -1)));
    assert_true(isnan(carat_logprob((const float[]){-INFINITY, -INFINITY}, 2, 0)));
}

/* ---- the real vocabulary ---- */

static void sampler__is_fast_on_262144_logits(void **state) {
    (void)state;
    float *x = ct_alloc_array(N_GEMMA, sizeof *x);
    assert_non_null(x);
    ct_rng r;
    ct_rng_seed(&r, 4);
    for (int i = 0; i < N_GEMMA; i++) x[i] = (float)(ct_rng_normal(&r) * 4.0);
    for (int mode = 0; mode < 4; mode++) {
        carat_sampler_opts o = carat_sampler_opts_default();
        if (mode == 1) o.top_k = 0;
        if (mode == 2) o.top_k = 0, o.top_p = 1.0f;
        if (mode == 3) o.repeat_penalty = 1.1f;
        carat_sampler *sm = new_sampler(N_GEMMA, &o);
        const double t0 = ct_now_ms();
        for (int i = 0; i < 5; i++) carat_sampler_accept(sm, carat_sampler_next(sm, x));
        const double ms = (ct_now_ms() - t0) / 5.0;
        print_message("mode %d: %.2f ms a token\n", mode, ms);
        /* A guard against quadratic slips only: sanitizers and busy machines must pass it. */
        assert_true(ms < 500.0);
        carat_sampler_free(&sm);
    }
    ct_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler__draws_softmax_frequencies),
        cmocka_unit_test(sampler__top_k_keeps_the_k_best_and_lowest_id_of_equals),
        cmocka_unit_test(sampler__top_p_keeps_the_smallest_set_that_reaches_p),
        cmocka_unit_test(sampler__top_p_is_taken_after_top_k),
        cmocka_unit_test(sampler__min_p_is_relative_to_the_best),
        cmocka_unit_test(sampler__temperature_is_applied_before_top_p),
        cmocka_unit_test(sampler__greedy_takes_lowest_id_of_equals_and_ignores_seed),
        cmocka_unit_test(sampler__same_seed_gives_same_stream),
        cmocka_unit_test(sampler__stream_is_the_same_on_every_machine),
        cmocka_unit_test(sampler__agrees_with_a_full_sort),
        cmocka_unit_test(sampler__never_chooses_nan),
        cmocka_unit_test(sampler__plus_infinity_outweighs_everything),
        cmocka_unit_test(sampler__all_minus_infinity_gives_lowest_id),
        cmocka_unit_test(sampler__extreme_finite_logits_stay_ordered),
        cmocka_unit_test(sampler__one_token_vocabulary),
        cmocka_unit_test(sampler__all_equal_is_uniform),
        cmocka_unit_test(sampler__penalty_divides_positive_and_multiplies_negative),
        cmocka_unit_test(sampler__penalty_forgets_after_the_window),
        cmocka_unit_test(sampler__rejects_bad_options),
        cmocka_unit_test(sampler__accepts_options_of_an_older_caller),
        cmocka_unit_test(exp_neg__is_within_two_ulp_of_libm),
        cmocka_unit_test(logprob__matches_the_formula),
        cmocka_unit_test(logprob__does_not_hide_bad_numbers),
        cmocka_unit_test(sampler__is_fast_on_262144_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
