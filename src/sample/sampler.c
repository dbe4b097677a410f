/* Choose the next token from logits: repeat penalty, temperature, top-k, top-p, min-p, draw.
 *
 * Everything is a cut of a list of candidates that is ordered by (logit, then lower id). The list is never longer
 * than the cuts need: top-k selects with a heap of k, top-p alone pops a heap of all until the mass is reached, and
 * where nothing has to be ordered (no top-k, no top-p) the draw walks the vocabulary in order of ids.
 * Weights and sums are double, in a fixed order, with our own exp and (by the build's -ffp-contract=off) without fused
 * operations: the text depends on logits and seed only.
 * Does not know the vocabulary, and allocates in carat_sampler_new alone. */
#include "sample/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

typedef struct {
    float logit;
    int32_t id;
} candidate;

struct carat_sampler {
    carat_sampler_opts opts;
    int32_t n_vocab;
    ct_rng rng;
    int32_t *recent;   /* [repeat_last_n] ring; NULL when there is no penalty */
    int32_t n_recent;  /* filled entries */
    int32_t at_recent; /* next to overwrite */
    float *penalised;  /* [n_vocab] copy of the logits; NULL when there is no penalty */
    candidate *cand;   /* [cap_cand] */
    double *weight;    /* [cap_cand] */
    int32_t cap_cand;
};

/* ---- numbers ---- */

/* e^x for x in [-708, 0]; NaN stays NaN. Without a branch, so that compilers vectorise loops over it. */
static inline double exp_core(double x) {
    /* Adding 1.5 * 2^52 leaves round(x / ln 2) in the low bits of the mantissa. ln 2 is split in two, so that k * hi is
     * exact; |r| <= 0.347, where the Taylor term after the 13th is below 2^-57. */
    const double shifted = x * 0x1.71547652b82fep+0 + 0x1.8p52;
    const double k = shifted - 0x1.8p52;
    const double r = (x - k * 0x1.62e42fefa0000p-1) - k * 0x1.cf79abc9e3b3ap-40;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023u) << 52; /* the mantissa's low 11 bits are k; the rest is shifted out */
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

double ct_exp_neg(double x) { return x < -708.0 ? 0.0 : exp_core(x); }

double carat_logprob(const float *logits, int32_t n, int32_t tok) {
    if (tok < 0 || tok >= n) return (double)NAN;
    float max = -INFINITY;
    for (int32_t i = 0; i < n; i++) max = logits[i] > max ? logits[i] : max;
    if (!isfinite(max)) return (double)NAN;
    /* Eight sums let the additions overlap; their number is part of the result, so it is fixed. A NaN anywhere makes the
     * total NaN: a measurement must not look past it. */
    enum { LANES = 8, BLOCK = 64 };
    double sum[LANES] = {0.0}, e[BLOCK];
    for (int32_t at = 0; at < n; at += BLOCK) {
        const int32_t m = n - at < BLOCK ? n - at : BLOCK;
        for (int32_t i = 0; i < m; i++) {
            const double x = (double)logits[at + i] - (double)max;
            e[i] = x < -708.0 ? -708.0 : x; /* 10^-308 is as good as nothing in a sum that holds a 1 */
        }
        for (int32_t i = m; i < BLOCK; i++) e[i] = -708.0;
        for (int32_t i = 0; i < BLOCK; i++) e[i] = exp_core(e[i]);
        for (int32_t i = 0; i < BLOCK; i++) sum[i % LANES] += e[i];
    }
    double total = 0.0;
    for (int j = 0; j < LANES; j++) total += sum[j];
    return (double)logits[tok] - (double)max - log(total);
}

/* ---- heaps of candidates ---- */

/* The order of everything here: higher logit first, then lower id. Never called with NaN. */
static bool is_better(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Restore the heap below i. With best_on_top the root is the best candidate, else the worst. */
static void sift_down(candidate *h, int32_t n, int32_t i, bool best_on_top) {
    const candidate x = h[i];
    while (i < n / 2) {
        int32_t c = 2 * i + 1;
        if (c + 1 < n && is_better(h[c + 1], h[c]) == best_on_top) c++;
        if (is_better(h[c], x) != best_on_top) break;
        h[i] = h[c];
        i = c;
    }
    h[i] = x;
}

static void build_heap(candidate *h, int32_t n, bool best_on_top) {
    for (int32_t i = n / 2 - 1; i >= 0; i--) sift_down(h, n, i, best_on_top);
}

/* The k best of logits, best first, in c[0,k). Returns how many there are (fewer when others are NaN or -inf). */
static int32_t select_top_k(candidate *c, int32_t k, const float *logits, int32_t n) {
    int32_t m = 0, i = 0;
    for (; i < n && m < k; i++) {
        if (logits[i] > -INFINITY) c[m++] = (candidate){logits[i], i};
    }
    build_heap(c, m, false);
    /* Ids ascend, so an equal logit loses against the root whatever its id; NaN compares false. */
    for (; i < n; i++) {
        if (logits[i] > c[0].logit) {
            c[0] = (candidate){logits[i], i};
            sift_down(c, m, 0, false);
        }
    }
    for (int32_t left = m - 1; left > 0; left--) {
        const candidate worst = c[0];
        c[0] = c[left];
        c[left] = worst;
        sift_down(c, left, 0, false);
    }
    return m;
}

/* ---- cuts and the draw ---- */

/* Weight of a logit against the largest one. Infinity minus infinity is no number: with an infinite maximum only its
 * equals count. */
static double weigh_logit(float logit, float max, double temp) {
    if (isinf(max)) return logit == max ? 1.0 : 0.0;
    return ct_exp_neg(((double)logit - (double)max) / temp);
}

static int32_t argmax(const float *x, int32_t n) {
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        if (best < 0 ? x[i] == x[i] : x[i] > x[best]) best = i;
    }
    return best;
}

/* Draw from n candidates with these weights (not normalised, in this order). */
static int32_t draw(carat_sampler *sm, int32_t n) {
    double total = 0.0;
    for (int32_t i = 0; i < n; i++) total += sm->weight[i];
    const double target = ct_rng_uniform(&sm->rng) * total;
    double sum = 0.0;
    int32_t last = 0;
    for (int32_t i = 0; i < n; i++) {
        if (sm->weight[i] <= 0.0) continue;
        last = i;
        sum += sm->weight[i];
        if (sum > target) break;
    }
    return sm->cand[last].id;
}

/* min-p on a list ordered best first: the weight of the best is 1. */
static int32_t cut_min_p(const carat_sampler *sm, int32_t n) {
    int32_t m = 1;
    while (m < n && sm->weight[m] >= (double)sm->opts.min_p) m++;
    return m;
}

static int32_t next_with_top_k(carat_sampler *sm, const float *logits, float max) {
    int32_t n = select_top_k(sm->cand, sm->cap_cand, logits, sm->n_vocab);
    double total = 0.0;
    for (int32_t i = 0; i < n; i++) {
        sm->weight[i] = weigh_logit(sm->cand[i].logit, max, (double)sm->opts.temp);
        total += sm->weight[i];
    }
    if (sm->opts.top_p < 1.0f) {
        /* REF transformers TopPLogitsWarper: a token stays when the tokens before it hold less than top_p. */
        double before = sm->weight[0];
        int32_t m = 1;
        while (m < n && before < (double)sm->opts.top_p * total) before += sm->weight[m++];
        n = m;
    }
    return draw(sm, cut_min_p(sm, n));
}

/* All candidates that have a weight and pass min-p, in order of ids. */
static int32_t gather(carat_sampler *sm, const float *logits, float max, double min_weight, double *total) {
    int32_t n = 0;
    *total = 0.0;
    for (int32_t i = 0; i < sm->n_vocab; i++) {
        if (!(logits[i] > -INFINITY)) continue;
        const double w = weigh_logit(logits[i], max, (double)sm->opts.temp);
        if (w <= 0.0 || w < min_weight) continue;
        sm->cand[n] = (candidate){logits[i], i};
        sm->weight[n] = w;
        *total += w;
        n++;
    }
    return n;
}

static int32_t next_of_all(carat_sampler *sm, const float *logits, float max) {
    double total;
    const bool has_top_p = sm->opts.top_p < 1.0f;
    int32_t left = gather(sm, logits, max, has_top_p ? 0.0 : (double)sm->opts.min_p, &total);
    if (!has_top_p) return draw(sm, left);
    /* Pop the best until they hold top_p. Popped ones collect behind the heap, in falling order backwards; their weights
     * are kept in the order of popping, which never overtakes the shrinking heap's own (unused) weights. */
    const int32_t n_all = left;
    build_heap(sm->cand, left, true);
    double before = 0.0;
    int32_t m = 0;
    while (left > 0 && (m == 0 || before < (double)sm->opts.top_p * total)) {
        const candidate best = sm->cand[0];
        sm->cand[0] = sm->cand[--left];
        sift_down(sm->cand, left, 0, true);
        sm->cand[left] = best;
        sm->weight[m] = weigh_logit(best.logit, max, (double)sm->opts.temp);
        before += sm->weight[m++];
    }
    /* Best first, at the front. */
    for (int32_t lo = left, hi = n_all - 1; lo < hi; lo++, hi--) {
        const candidate t = sm->cand[lo];
        sm->cand[lo] = sm->cand[hi];
        sm->cand[hi] = t;
    }
    memmove(sm->cand, sm->cand + left, (size_t)m * sizeof *sm->cand);
    return draw(sm, cut_min_p(sm, m));
}

/* Each recent token is penalised once, however often it occurs: the result is computed from the original logit. */
static const float *apply_penalty(carat_sampler *sm, const float *logits) {
    if (!sm->penalised || sm->n_recent == 0) return logits;
    memcpy(sm->penalised, logits, (size_t)sm->n_vocab * sizeof *logits);
    for (int32_t i = 0; i < sm->n_recent; i++) {
        const float x = logits[sm->recent[i]];
        sm->penalised[sm->recent[i]] = x > 0.0f ? x / sm->opts.repeat_penalty : x * sm->opts.repeat_penalty;
    }
    return sm->penalised;
}

int32_t carat_sampler_next(carat_sampler *sm, const float *logits) {
    logits = apply_penalty(sm, logits);
    const int32_t best = argmax(logits, sm->n_vocab);
    if (best < 0 || sm->opts.temp == 0.0f || sm->opts.top_k == 1 || logits[best] == -INFINITY) return best;
    if (sm->opts.top_k > 0) return next_with_top_k(sm, logits, logits[best]);
    return next_of_all(sm, logits, logits[best]);
}

void carat_sampler_accept(carat_sampler *sm, int32_t tok) {
    if (!sm->recent || tok < 0 || tok >= sm->n_vocab) return;
    sm->recent[sm->at_recent] = tok;
    sm->at_recent = (sm->at_recent + 1) % sm->opts.repeat_last_n;
    if (sm->n_recent < sm->opts.repeat_last_n) sm->n_recent++;
}

/* ---- making ---- */

carat_sampler_opts carat_sampler_opts_default(void) {
    return (carat_sampler_opts){
        .size = sizeof(carat_sampler_opts),
        .temp = 1.0f,
        .top_k = 64,
        .top_p = 0.95f,
        .min_p = 0.0f,
        .repeat_penalty = 1.0f,
        .repeat_last_n = 64,
        .seed = 0,
    };
}

static int check_opts(const carat_sampler_opts *o, carat_error *err) {
    if (!(o->temp >= 0.0f) || isinf(o->temp)) {
        return CT_FAIL(err, CARAT_EINVAL, "temperature is %g, expected 0 or more", (double)o->temp);
    }
    if (o->top_k < 0) return CT_FAIL(err, CARAT_EINVAL, "top-k is %d, expected 0 (off) or more", (int)o->top_k);
    if (!(o->top_p >= 0.0f && o->top_p <= 1.0f)) {
        return CT_FAIL(err, CARAT_EINVAL, "top-p is %g, expected 0 to 1", (double)o->top_p);
    }
    if (!(o->min_p >= 0.0f && o->min_p <= 1.0f)) {
        return CT_FAIL(err, CARAT_EINVAL, "min-p is %g, expected 0 to 1", (double)o->min_p);
    }
    if (!(o->repeat_penalty > 0.0f) || isinf(o->repeat_penalty)) {
        return CT_FAIL(err, CARAT_EINVAL, "repeat penalty is %g, expected more than 0", (double)o->repeat_penalty);
    }
    if (o->repeat_last_n < 0) {
        return CT_FAIL(err, CARAT_EINVAL, "repeat window is %d, expected 0 or more", (int)o->repeat_last_n);
    }
    return 0;
}

/* A penalty of 1 or more only lowers logits, of at most repeat_last_n tokens: of the repeat_last_n + k largest at least k
 * keep theirs, and everything else stays below these, at equal logits by its higher id as before. */
int32_t carat_sampler_n_top(const carat_sampler_opts *opts) {
    const carat_sampler_opts o = opts ? *opts : carat_sampler_opts_default();
    const int32_t k = o.temp == 0.0f || o.top_k == 1 ? 1 : o.top_k;
    if (k <= 0 || o.repeat_penalty == 1.0f || o.repeat_last_n <= 0) return k > 0 ? k : 0;
    return o.repeat_penalty > 1.0f && k <= INT32_MAX - o.repeat_last_n ? k + o.repeat_last_n : 0;
}

int carat_sampler_new(carat_sampler **out, int32_t n_vocab, const carat_sampler_opts *opts, carat_error *err) {
    *out = NULL;
    carat_sampler_opts o = carat_sampler_opts_default();
    if (opts) {
        if (opts->size == 0) {
            return CT_FAIL(err, CARAT_EINVAL, "sampler options have size 0: make them with carat_sampler_opts_default");
        }
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
        o.size = sizeof o;
    }
    if (n_vocab < 1) return CT_FAIL(err, CARAT_EINVAL, "vocabulary of %d tokens, expected at least 1", (int)n_vocab);
    CT_TRY(check_opts(&o, err));

    carat_sampler *sm = ct_alloc(sizeof *sm);
    if (!sm) goto nomem;
    sm->opts = o;
    sm->n_vocab = n_vocab;
    ct_rng_seed(&sm->rng, o.seed);
    if (o.temp > 0.0f && o.top_k != 1) {
        sm->cap_cand = o.top_k > 0 && o.top_k < n_vocab ? o.top_k : n_vocab;
        sm->cand = ct_alloc_array((size_t)sm->cap_cand, sizeof *sm->cand);
        sm->weight = ct_alloc_array((size_t)sm->cap_cand, sizeof *sm->weight);
        if (!sm->cand || !sm->weight) goto nomem;
    }
    if (o.repeat_penalty != 1.0f && o.repeat_last_n > 0) {
        sm->recent = ct_alloc_array((size_t)o.repeat_last_n, sizeof *sm->recent);
        sm->penalised = ct_alloc_array((size_t)n_vocab, sizeof *sm->penalised);
        if (!sm->recent || !sm->penalised) goto nomem;
    }
    *out = sm;
    return 0;
nomem:
    carat_sampler_free(&sm);
    return CT_FAIL(err, CARAT_ENOMEM, "out of memory for a sampler over %d tokens", (int)n_vocab);
}

void carat_sampler_free(carat_sampler **sm) {
    if (!sm || !*sm) return;
    ct_free((*sm)->recent);
    ct_free((*sm)->penalised);
    ct_free((*sm)->cand);
    ct_free((*sm)->weight);
    ct_free(*sm);
    *sm = NULL;
}
