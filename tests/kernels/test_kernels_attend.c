/* Attention, rope and rows of the KV cache: every level this machine has against the portable definition, bit for bit,
 * over random shapes, types, rings, windows and tiles; and the definition against a softmax in double precision, within
 * the bound that its number of roundings gives.
 *
 *   test_kernels_attend [--bench]    with --bench: time attention at each level instead */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "kernels/fmaf.h"
#include "kernels/kernels.h"
#include "kernels/tile.h"
#include "quant/quant.h"

#define CANARY 0x7fc0babeu
#define N_CANARY 32

static ct_kernels ref, fast;
static ct_rng rng;
static const ct_dtype kv_types[] = {CT_F32, CT_F16, CT_Q8_0};

static int below(int n) { return (int)(ct_rng_u64(&rng) % (uint64_t)n); }

/* ---- a cache and a tile ------------------------------------------------------------------------------- */

enum { GAUSS, TINY, HUGE_ONE, ALTERNATING, ZERO, LARGE, N_PATTERN };

static float draw(int pattern, size_t i) {
    const float g = (float)ct_rng_normal(&rng);
    switch (pattern) {
    case TINY: return g * 1e-41f; /* denormals */
    case HUGE_ONE: return i % 97 == 13 ? 1e18f : g;
    case ALTERNATING: return i & 1 ? -1000.0f : 1000.0f;
    case ZERO: return 0.0f;
    case LARGE: return g * 50.0f; /* scores apart by more than exp can tell */
    default: return g;
    }
}

typedef struct {
    ct_attend a;
    uint8_t *kv_base;     /* a.k and a.v lie in it, at odd addresses where the type allows */
    float *q_base, *scratch_base;
    size_t n_scratch;
} tile_case;

static void put_canaries(float *x, size_t n) {
    const uint32_t c = CANARY;
    for (size_t i = 0; i < n; i++) memcpy(&x[i], &c, sizeof c);
}

static void check_canaries(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(ct_f32_bits(x[i]), CANARY);
}

static size_t padded(int d_head) { return ((size_t)d_head + CT_LANES - 1) / CT_LANES * CT_LANES; }

/* Positions up to the tile's last, as a session would write them: a later one over an earlier one. Buffers end where the
 * last tile ends. */
static void tile_new(tile_case *c, ct_dtype kv, int d_head, int n_head, int n_tok, int64_t pos, int64_t window, int64_t cap,
                     int pattern) {
    cap = (cap + CT_LANES - 1) / CT_LANES * CT_LANES;
    const size_t bytes = CT_LANES * ct_dtype_row_bytes(kv, (int64_t)padded(d_head)), gap = 4 * (size_t)below(3);
    const size_t stride = bytes + gap, size = (size_t)(cap / CT_LANES) * stride - gap;
    const size_t skew = kv == CT_F32 ? 4 : kv == CT_F16 ? 2 : 1, ldq = (size_t)(n_head * d_head + below(4));
    c->kv_base = malloc(2 * size + skew);
    memset(c->kv_base, 0, 2 * size + skew);
    uint8_t *k = c->kv_base + skew, *v = k + size;
    float *x = ct_alloc_array((size_t)d_head, sizeof *x);
    for (int64_t p = pos + n_tok > cap ? pos + n_tok - cap : 0; p < pos + n_tok; p++) {
        const size_t at = (size_t)(p % cap / CT_LANES) * stride;
        for (int i = 0; i < d_head; i++) x[i] = draw(pattern, (size_t)i);
        ref.store_key(k + at, kv, (int)(p % CT_LANES), x, d_head);
        for (int i = 0; i < d_head; i++) x[i] = draw(pattern == HUGE_ONE ? GAUSS : pattern, (size_t)i);
        ref.store_value(v + at, kv, (int)(p % CT_LANES), x, d_head);
    }
    ct_free(x);
    c->q_base = ct_alloc_array((size_t)n_tok * ldq + 1, sizeof(float));
    for (size_t i = 0; i < (size_t)n_tok * ldq + 1; i++) c->q_base[i] = (float)ct_rng_normal(&rng);
    c->n_scratch = ct_attend_scratch(d_head);
    c->scratch_base = ct_alloc_array(c->n_scratch + 2 * N_CANARY + 1, sizeof(float));
    float *scratch = c->scratch_base + N_CANARY + 1;
    put_canaries(scratch - N_CANARY, c->n_scratch + 2 * N_CANARY);
    c->a = (ct_attend){.q = c->q_base + 1,
                       .ldq = ldq,
                       .n_tok = n_tok,
                       .n_head = n_head,
                       .pos = pos,
                       .window = window,
                       .k = k,
                       .v = v,
                       .tile_bytes = stride,
                       .kv = kv,
                       .cap = cap,
                       .d_head = d_head,
                       .scale = 0.25f,
                       .scratch = scratch};
}

static uint8_t *tile_at(const ct_attend *a, const void *base, int64_t p) {
    return (uint8_t *)(uintptr_t)base + (size_t)(p % a->cap / CT_LANES) * a->tile_bytes;
}

/* Element d of the key or value of position p: the layout of kernels.h, written out. */
static float element(const ct_attend *a, bool value, int64_t p, int d) {
    const uint8_t *tile = tile_at(a, value ? a->v : a->k, p);
    const size_t lane = (size_t)(p % CT_LANES), ld = padded(a->d_head), at = value ? lane * ld + (size_t)d : (size_t)d * CT_LANES + lane;
    uint16_t half;
    float f;
    switch (a->kv) {
    case CT_F32: memcpy(&f, tile + 4 * at, 4); return f;
    case CT_F16: memcpy(&half, tile + 2 * at, 2); return ct_f16_to_f32(half);
    default: break;
    }
    const size_t block = (size_t)d / 32, n_block = ld / 32, in = (size_t)d % 32;
    const uint8_t *scales = value ? tile + block * 2 * CT_LANES : tile + block * 34 * CT_LANES;
    const uint8_t *q = value ? tile + n_block * 2 * CT_LANES + lane * ld + (size_t)d : scales + 2 * CT_LANES + in * CT_LANES + lane;
    memcpy(&half, scales + 2 * lane, 2);
    return ct_f16_to_f32(half) * (float)(int8_t)*q;
}

static void tile_free(tile_case *c) {
    check_canaries(c->a.scratch - N_CANARY, N_CANARY);
    check_canaries(c->a.scratch + c->n_scratch, N_CANARY);
    free(c->kv_base), ct_free(c->q_base), ct_free(c->scratch_base);
}

/* Any tile that a session could ask for: full layers, rings that have wrapped or not, windows cut by spans. */
static void tile_random(tile_case *c, ct_dtype kv, int pattern) {
    static const int tokens[] = {1, 1, 2, 3, 4, 7, 16, 32};
    const int d_head = kv == CT_Q8_0 ? 32 * (1 + below(5)) : below(3) ? 16 * (1 + below(12)) : 1 + below(100);
    const int n_tok = tokens[below(8)], n_head = 1 + below(CT_ATTEND_TILE / n_tok);
    const int64_t pos = below(4) ? below(700) : below(40);
    const int64_t window = below(2) ? 1 + below(below(2) ? 600 : 20) : 0;
    const int64_t cap = window ? window - 1 + n_tok + below(20) : pos + n_tok + below(5);
    tile_new(c, kv, d_head, n_head, n_tok, pos, window, cap, pattern);
}

static int64_t last_span(const ct_attend *a) { return (a->pos + a->n_tok - 1) / CT_SPAN; }

/* The whole of attention: out[n_tok * n_head, d_head]. */
static void attention(const ct_kernels *k, const ct_attend *a, float *out) {
    const size_t n_q = (size_t)(a->n_tok * a->n_head), d = (size_t)a->d_head, ld = ct_attend_part(a->d_head);
    float *part = ct_alloc_array(n_q * ld, sizeof *part), max_sum[CT_ATTEND_TILE][2];
    for (size_t i = 0; i < n_q; i++) {
        const float none[2] = CT_ATTEND_NONE;
        memcpy(max_sum[i], none, sizeof none);
    }
    memset(out, 0, n_q * d * sizeof *out);
    for (int64_t s = 0; s <= last_span(a); s++) {
        put_canaries(part, n_q * ld);
        k->attend(part, a, s);
        for (size_t i = 0; i < n_q; i++) k->attend_merge(out + i * d, max_sum[i], part + i * ld, a->d_head);
    }
    for (size_t i = 0; i < n_q * d; i++) out[i] /= max_sum[i / d][1];
    ct_free(part);
}

static void assert_same(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            fail_msg("%s at %s: element %zu is %.9g, expected %.9g", what, fast.level, i, (double)b[i], (double)a[i]);
        }
    }
}

/* ---- levels ------------------------------------------------------------------------------------------- */

static void attend__equals_the_definition(void **state) {
    (void)state;
    for (int n = 0; n < 240; n++) {
        tile_case c;
        tile_random(&c, kv_types[n % 3], n % N_PATTERN);
        const size_t n_q = (size_t)(c.a.n_tok * c.a.n_head), ld = ct_attend_part(c.a.d_head), d = (size_t)c.a.d_head;
        float *want = ct_alloc_array(n_q * ld, sizeof *want), *base = ct_alloc_array(n_q * ld + 2 * N_CANARY + 1, sizeof *base);
        float *got = base + N_CANARY + 1;
        for (int64_t s = 0; s <= last_span(&c.a) + 1; s++) { /* the one behind the last as well: no keys */
            put_canaries(got - N_CANARY, n_q * ld + 2 * N_CANARY);
            ref.attend(want, &c.a, s);
            fast.attend(got, &c.a, s);
            check_canaries(got - N_CANARY, N_CANARY);
            check_canaries(got + n_q * ld, N_CANARY);
            for (size_t i = 0; i < n_q; i++) {
                assert_same(want + i * ld, got + i * ld, 1, "maximum");
                if (want[i * ld] == -INFINITY) continue;
                assert_same(want + i * ld + 1, got + i * ld + 1, 1, "sum");
                assert_same(want + i * ld + CT_LANES, got + i * ld + CT_LANES, d, "values");
            }
        }
        ct_free(want), ct_free(base);
        tile_free(&c);
    }
}

static void merge__equals_the_definition(void **state) {
    (void)state;
    static const float max[] = {0.0f, -3.0f, 2.5f, -200.0f, 3e38f, -3e38f, -FLT_MAX, -INFINITY, INFINITY};
    enum { N = 9, D = 37 };
    for (int n = 0; n < N * N; n++) {
        float part[CT_LANES + 48], acc[2][D], max_sum[2][2];
        for (int i = 0; i < CT_LANES + 48; i++) part[i] = (float)ct_rng_normal(&rng);
        part[0] = max[n / N];
        for (int i = 0; i < D; i++) acc[0][i] = acc[1][i] = (float)ct_rng_normal(&rng);
        max_sum[0][0] = max_sum[1][0] = max[n % N];
        max_sum[0][1] = max_sum[1][1] = 1.5f;
        ref.attend_merge(acc[0], max_sum[0], part, D);
        fast.attend_merge(acc[1], max_sum[1], part, D);
        assert_same(max_sum[0], max_sum[1], 2, "merged sum");
        assert_same(acc[0], acc[1], D, "merged values");
    }
}

/* The promise behind "same answer for any chunking and thread count". */
static void attend__does_not_depend_on_the_tile(void **state) {
    (void)state;
    for (int n = 0; n < 60; n++) {
        tile_case c;
        tile_random(&c, kv_types[n % 3], n % 5 ? GAUSS : LARGE);
        const size_t d = (size_t)c.a.d_head, n_q = (size_t)(c.a.n_tok * c.a.n_head);
        float *whole = ct_alloc_array(n_q * d, sizeof *whole), *alone = ct_alloc_array(d, sizeof *alone);
        attention(&fast, &c.a, whole);
        for (int t = 0; t < c.a.n_tok; t++) {
            for (int h = 0; h < c.a.n_head; h++) {
                ct_attend one = c.a;
                one.q += (size_t)t * c.a.ldq + (size_t)h * d;
                one.pos += t;
                one.n_tok = one.n_head = 1;
                attention(&fast, &one, alone);
                assert_same(alone, whole + (size_t)(t * c.a.n_head + h) * d, d, "a query alone");
            }
        }
        ct_free(whole), ct_free(alone);
        tile_free(&c);
    }
}

/* A query that is no number, or a key or value that is none, is seen by nobody who should not. */
static void attend__keeps_nan_to_those_who_see_it(void **state) {
    (void)state;
    for (int n = 0; n < 90; n++) {
        const ct_dtype kv = kv_types[n % 3];
        const int d = 32 * (1 + below(3)), n_head = 1 + below(3), n_tok = 1 + below(10);
        const int64_t pos = 200 + below(200), window = below(2) ? 1 + below(90) : 0;
        tile_case c;
        tile_new(&c, kv, d, n_head, n_tok, pos, window, window ? window - 1 + n_tok : pos + n_tok, GAUSS);
        const size_t n_q = (size_t)(n_head * n_tok), size = n_q * (size_t)d;
        float *before = ct_alloc_array(size, sizeof *before), *after = ct_alloc_array(size, sizeof *after);
        attention(&fast, &c.a, before);
        const int bad_tok = below(n_tok), bad_head = below(n_head);
        const int64_t bad_pos = pos - (window ? window - 1 : pos) + below((int)(n_tok + (window ? window - 1 : pos)));
        if (n % 2) { /* a query */
            c.q_base[1 + (size_t)bad_tok * c.a.ldq + (size_t)(bad_head * d) + (size_t)below(d)] = NAN;
        } else { /* a position's key, or its value */
            float *x = ct_alloc_array((size_t)d, sizeof *x);
            x[below(d)] = NAN;
            (n & 4 ? ref.store_key : ref.store_value)(tile_at(&c.a, n & 4 ? c.a.k : c.a.v, bad_pos), kv, (int)(bad_pos % CT_LANES), x, d);
            ct_free(x);
        }
        attention(&fast, &c.a, after);
        for (size_t i = 0; i < n_q; i++) {
            const int64_t p = pos + (int64_t)(i / (size_t)n_head);
            const bool sees = n % 2 ? i == (size_t)(bad_tok * n_head + bad_head)
                                    : bad_pos <= p && (!window || bad_pos > p - window);
            int n_nan = 0;
            for (int j = 0; j < d; j++) n_nan += isnan(after[i * (size_t)d + (size_t)j]);
            if (sees) {
                assert_true(n_nan > 0);
            } else {
                assert_memory_equal(before + i * (size_t)d, after + i * (size_t)d, (size_t)d * sizeof *before);
            }
        }
        ct_free(before), ct_free(after);
        tile_free(&c);
    }
}

/* ---- the definition ----------------------------------------------------------------------------------- */

/* One query's softmax attention in double, and how far the definition may be from it. */
static void check_against_double(const ct_attend *a, int t, int h, const float *out) {
    const int64_t hi = a->pos + t + 1, lo = a->window && hi > a->window ? hi - a->window : 0;
    const int d = a->d_head;
    const double u = ldexp(1, -24);
    const float *q = a->q + (size_t)t * a->ldq + (size_t)h * (size_t)d;
    double *s = ct_alloc_array((size_t)(hi - lo), sizeof *s), *sum = ct_alloc_array((size_t)d, sizeof *sum);
    double *size = ct_alloc_array((size_t)d, sizeof *size);
    double max = -INFINITY, score_error = 0, total = 0;
    for (int64_t p = lo; p < hi; p++) {
        double dot = 0, magnitude = 0;
        for (int i = 0; i < d; i++) {
            const double x = (double)q[i] * (double)element(a, false, p, i);
            dot += x, magnitude += fabs(x);
        }
        s[p - lo] = (double)a->scale * dot;
        max = fmax(max, s[p - lo]);
        /* The additions of a block, those of the blocks, the scale. */
        const int block = d < CT_ATTEND_BLOCK ? d : CT_ATTEND_BLOCK;
        score_error = fmax(score_error, (double)a->scale * magnitude * u * (double)(block + d / CT_ATTEND_BLOCK + 1));
    }
    for (int64_t p = lo; p < hi; p++) {
        const double w = exp(s[p - lo] - max);
        total += w;
        for (int i = 0; i < d; i++) {
            const double x = (double)element(a, true, p, i);
            sum[i] += w * x, size[i] += w * fabs(x);
        }
    }
    /* A weight is off by its score's and the maximum's error, and by rounding of their difference (at most 88 before exp
     * is zero) and of exp, once in the span and once in each merge it goes through; a sum by its number of additions. */
    const double n_span = (double)(hi / CT_SPAN - lo / CT_SPAN + 1);
    const double relative = 1.01 * (4 * score_error + u * ((88 + 4) * (n_span + 1) + 2 * n_span + CT_SPAN + 4));
    for (int i = 0; i < d; i++) {
        const double got = (double)out[i], bound = 2 * relative * size[i] / total + 1e-30;
        if (!(fabs(got - sum[i] / total) <= bound)) {
            fail_msg("%s: element %d is %.9g, in double %.9g, bound %.2g", fast.level, i, got, sum[i] / total, bound);
        }
    }
    ct_free(s), ct_free(sum), ct_free(size);
}

static void attend__is_the_softmax_in_double(void **state) {
    (void)state;
    for (int n = 0; n < 40; n++) {
        tile_case c;
        static const int patterns[] = {GAUSS, GAUSS, ZERO, LARGE};
        tile_random(&c, kv_types[n % 3], patterns[n % 4]);
        const size_t d = (size_t)c.a.d_head;
        float *out = ct_alloc_array((size_t)(c.a.n_tok * c.a.n_head) * d, sizeof *out);
        attention(&fast, &c.a, out);
        for (int t = 0; t < c.a.n_tok; t += 5) {
            const int h = below(c.a.n_head);
            check_against_double(&c.a, t, h, out + (size_t)(t * c.a.n_head + h) * d);
        }
        ct_free(out);
        tile_free(&c);
    }
}

static void fmaf__rounds_once(void **state) {
    (void)state;
    for (int n = 0; n < 2000000; n++) {
        float f[3];
        uint32_t u[3];
        for (int i = 0; i < 3; i++) {
            u[i] = (uint32_t)ct_rng_u64(&rng);
            if (n % 3) u[i] = (u[i] & 0x807fffffu) | (120 + u[i] % 16) << 23; /* near one another */
            f[i] = ct_f32_from_bits(u[i]);
        }
        if (n % 5 == 0) f[2] = -f[0] * f[1];                                            /* cancels: the product's own rounding */
        if (n % 5 == 1) f[0] *= 1e-20f, f[1] *= 1e-20f, f[2] *= 1e-40f;                 /* denormal results */
        const float want = fmaf(f[0], f[1], f[2]), got = ct_fmaf_in_double(f[0], f[1], f[2]);
        if (ct_f32_bits(want) != ct_f32_bits(got) && !(isnan(want) && isnan(got))) {
            fail_msg("%a * %a + %a is %a, expected %a", (double)f[0], (double)f[1], (double)f[2], (double)got, (double)want);
        }
    }
}

/* ---- rope and rows of the cache ----------------------------------------------------------------------- */

static void rope__equals_the_definition(void **state) {
    (void)state;
    for (int n = 0; n < 100; n++) {
        const int half = 1 + below(130), n_rot = below(half + 1);
        float x[2][262], cos[130], sin[130];
        put_canaries(x[0], 262), put_canaries(x[1], 262);
        for (int i = 0; i < 2 * half; i++) x[0][1 + i] = x[1][1 + i] = (float)ct_rng_normal(&rng);
        for (int i = 0; i < n_rot; i++) cos[i] = (float)ct_rng_normal(&rng), sin[i] = (float)ct_rng_normal(&rng);
        ref.rope(x[0] + 1, cos, sin, n_rot, 2 * half);
        fast.rope(x[1] + 1, cos, sin, n_rot, 2 * half);
        assert_memory_equal(x[0], x[1], sizeof x[0]);
    }
}

/* What is stored is where the layout says, rounded as its type does, and nothing beside it is touched. */
static void store__puts_a_row_into_its_lane(void **state) {
    (void)state;
    static const float special[] = {NAN, INFINITY, -INFINITY, 3e38f, 65520.0f, 1e-45f, 6e-8f, -0.0f};
    for (int n = 0; n < 300; n++) {
        const ct_dtype kv = kv_types[n % 3];
        const int d = kv == CT_Q8_0 ? 32 * (1 + below(5)) : 1 + below(200), lane = below(CT_LANES);
        const size_t bytes = CT_LANES * ct_dtype_row_bytes(kv, (int64_t)padded(d));
        float *x = ct_alloc_array((size_t)d, sizeof *x), *before = ct_alloc_array((size_t)(CT_LANES * d), sizeof *before);
        uint8_t *tile = malloc(bytes + 4);
        for (size_t i = 0; i < bytes + 4; i++) tile[i] = (uint8_t)(kv == CT_Q8_0 ? 0x20 + i % 7 : i % 2 ? 0x34 : 0x17);
        for (int i = 0; i < d; i++) x[i] = draw(n % N_PATTERN, (size_t)i);
        if (n % 4 == 0) x[below(d)] = special[below(8)];
        const bool value = n % 2;
        const ct_attend a = {.k = tile, .v = tile, .tile_bytes = bytes, .kv = kv, .cap = CT_LANES, .d_head = d};
        for (int l = 0; l < CT_LANES; l++)
            for (int i = 0; i < d; i++) before[l * d + i] = element(&a, value, l, i);
        (value ? fast.store_value : fast.store_key)(tile, kv, lane, x, d);
        for (int i = 0; i < 4; i++) assert_int_equal(tile[bytes + (size_t)i], kv == CT_Q8_0 ? 0x20 + (bytes + (size_t)i) % 7 : (bytes + (size_t)i) % 2 ? 0x34 : 0x17);
        for (int l = 0; l < CT_LANES; l++) {
            for (int i = 0; i < d; i++) {
                const float got = element(&a, value, l, i), old = before[l * d + i];
                if (l != lane) {
                    assert_memory_equal(&got, &old, sizeof got);
                } else if (kv != CT_Q8_0) {
                    const float want = kv == CT_F32 ? x[i] : ct_f16_to_f32(ct_f32_to_f16(x[i]));
                    assert_true(isnan(want) ? isnan(got) : ct_f32_bits(got) == ct_f32_bits(want));
                } else { /* half a step of the block; what is not finite is not made finite */
                    float peak = 0;
                    bool finite = true;
                    for (int j = i / 32 * 32; j < i / 32 * 32 + 32; j++) peak = fmaxf(peak, fabsf(x[j])), finite = finite && isfinite(x[j]);
                    if (!finite) assert_true(isnan(got));
                    else if (peak < 65504.0f * 127) assert_true(fabsf(got - x[i]) <= peak / 127 * 0.505f + 0x1p-24f * 127);
                }
            }
        }
        ct_free(x), ct_free(before);
        free(tile);
    }
}

/* What a lane gives is the row as the type stores it; taken by another tile it is there as if stored there, and no other
 * lane has changed. */
static void tiles__give_and_take_rows(void **state) {
    (void)state;
    for (int n = 0; n < 300; n++) {
        const ct_dtype kv = kv_types[n % 3];
        const int d = kv == CT_Q8_0 ? 32 * (1 + below(5)) : 1 + below(200), lane = below(CT_LANES), m = 1 + below(CT_LANES - lane);
        const bool keys = n / 3 % 2;
        const size_t bytes = CT_LANES * ct_dtype_row_bytes(kv, (int64_t)padded(d)), row = ct_dtype_row_bytes(kv, d);
        uint8_t *a = malloc(bytes), *b = malloc(bytes), *want = malloc(bytes), *rows = malloc((size_t)m * row), *one = malloc(row);
        float *x = ct_alloc_array((size_t)d, sizeof *x);
        for (size_t i = 0; i < bytes; i++) a[i] = (uint8_t)ct_rng_u64(&rng), b[i] = want[i] = (uint8_t)ct_rng_u64(&rng);
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < d; j++) x[j] = draw(GAUSS, (size_t)j);
            (keys ? ref.store_key : ref.store_value)(a, kv, lane + i, x, d);
            (keys ? ref.store_key : ref.store_value)(want, kv, lane + i, x, d);
            ct_quant_encoder(kv)(one, x, d);
            ct_tile_get(rows + (size_t)i * row, a, kv, d, keys, lane + i, 1);
            assert_memory_equal(rows + (size_t)i * row, one, row);
        }
        memset(rows, 0, (size_t)m * row);
        ct_tile_get(rows, a, kv, d, keys, lane, m);
        ct_tile_put(b, rows, kv, d, keys, lane, m);
        assert_memory_equal(b, want, bytes);
        free(a), free(b), free(want), free(rows), free(one);
        ct_free(x);
    }
}

/* ---- times -------------------------------------------------------------------------------------------- */

static void bench_case(const char *what, ct_dtype kv, int d, int n_head, int n_tok, int64_t pos, int64_t window) {
    const int64_t cap = (pos + n_tok + CT_LANES - 1) / CT_LANES * CT_LANES, seen = window ? window : pos;
    const size_t row = ct_dtype_row_bytes(kv, d), tile = CT_LANES * row, ld = ct_attend_part(d);
    uint8_t *k = ct_alloc(row * (size_t)cap), *v = ct_alloc(row * (size_t)cap);
    float *x = ct_alloc_array((size_t)(d * n_head * n_tok), 4);
    for (int i = 0; i < d * n_head * n_tok; i++) x[i] = (float)ct_rng_normal(&rng);
    for (int64_t p = 0; p < cap; p++) {
        ref.store_key(k + (size_t)(p / CT_LANES) * tile, kv, (int)(p % CT_LANES), x, d);
        ref.store_value(v + (size_t)(p / CT_LANES) * tile, kv, (int)(p % CT_LANES), x, d);
    }
    float *part = ct_alloc_array(ld * CT_ATTEND_TILE, 4), *acc = ct_alloc_array((size_t)d, 4), max_sum[2] = CT_ATTEND_NONE;
    float *scratch = ct_alloc_array(ct_attend_scratch(d), 4);
    const ct_attend a = {x, (size_t)(d * n_head), n_tok, n_head, pos, window, k, v, tile, kv, cap, d, 0.05f, scratch};
    double best = 1e30;
    for (int rep = 0; rep < 5; rep++) {
        const double t0 = ct_now_ms();
        for (int64_t s = window ? (pos - window + 1) / CT_SPAN : 0; s <= last_span(&a); s++) {
            fast.attend(part, &a, s);
            for (int i = 0; i < n_head * n_tok; i++) fast.attend_merge(acc, max_sum, part + (size_t)i * ld, d);
        }
        best = fmin(best, ct_now_ms() - t0);
    }
    printf("%-7s %-5s %-28s %7.2f GMAC/s  %6.2f GB/s of cache\n", fast.level, ct_dtype_name(kv), what,
           2.0 * (double)(seen * d) * n_head * n_tok / best / 1e6, 2.0 * (double)row * (double)seen / best / 1e6);
    ct_free(k), ct_free(v), ct_free(x), ct_free(part), ct_free(acc), ct_free(scratch);
}

static void bench(void) {
    for (int l = 0; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        if (l != CT_CPU_REF && fast.attend == ref.attend) continue;
        for (int t = 0; t < 3; t++) {
            bench_case("prefill 256, window 512", kv_types[t], 256, 8, 4, 2000, 512);
            if (l == CT_CPU_REF) continue;
            bench_case("prefill 512, 4096 keys", kv_types[t], 512, 8, 4, 4096, 0);
            bench_case("decode 512, 8 heads, 16384", kv_types[t], 512, 8, 1, 16384, 0);
            bench_case("decode 256, 2 heads, 16384", kv_types[t], 256, 2, 1, 16384, 0);
        }
    }
}

int main(int argc, char **argv) {
    ct_rng_seed(&rng, 20261125);
    ct_kernels_init(&ref, CT_CPU_REF);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    int failed = 0;
    void (*tested)(float *, const ct_attend *, int64_t) = NULL;
    for (int l = 0; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        if (fast.attend == tested) continue; /* the level adds nothing here */
        tested = fast.attend;
        char name[64];
        snprintf(name, sizeof name, "attention %s", fast.level);
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(attend__equals_the_definition),       cmocka_unit_test(merge__equals_the_definition),
            cmocka_unit_test(attend__does_not_depend_on_the_tile), cmocka_unit_test(attend__keeps_nan_to_those_who_see_it),
            cmocka_unit_test(attend__is_the_softmax_in_double),    cmocka_unit_test(rope__equals_the_definition),
            cmocka_unit_test(store__puts_a_row_into_its_lane),
        };
        failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(fmaf__rounds_once), cmocka_unit_test(tiles__give_and_take_rows)};
    return failed + cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
