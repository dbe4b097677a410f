/* Every instruction-set level this machine has against the portable reference, over random shapes, tails, misaligned
 * rows, extremes, all weight types; outputs ringed by canaries. Levels that exist today use no fused multiply-add and
 * keep the reference's order of additions, so the comparison is memcmp, no tolerance.
 *
 *   test_kernels_levels [--bench]    with --bench: time each kernel at each level instead */
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
#include "kernels/kernels.h"
#include "quant/quant.h"

#define CANARY 0x7fc0babeu
#define N_CANARY 32

static ct_kernels ref, fast;
static ct_rng rng;

typedef struct {
    float *base, *p;
    size_t n;
} guarded;

/* n floats at an offset of `skew` floats from 64-byte alignment, canaries on both sides. */
static guarded guard_new(size_t n, size_t skew) {
    guarded g = {.n = n};
    g.base = ct_alloc_array(n + 2 * N_CANARY + skew, sizeof(float));
    g.p = g.base + N_CANARY + skew;
    for (size_t i = 0; i < N_CANARY; i++) {
        const uint32_t c = CANARY;
        memcpy(g.p - 1 - i, &c, 4);
        memcpy(g.p + n + i, &c, 4);
    }
    return g;
}

static void guard_check(const guarded *g) {
    for (size_t i = 0; i < N_CANARY; i++) {
        assert_int_equal(ct_f32_bits(g->p[-1 - (ptrdiff_t)i]), CANARY);
        assert_int_equal(ct_f32_bits(g->p[g->n + i]), CANARY);
    }
}

static void guard_free(guarded *g) { ct_free(g->base); }

enum { GAUSS, TINY, HUGE_ONE, ALTERNATING, ZERO, N_PATTERN };

static void fill(float *x, size_t n, int pattern) {
    for (size_t i = 0; i < n; i++) {
        switch (pattern) {
        case GAUSS: x[i] = (float)ct_rng_normal(&rng); break;
        case TINY: x[i] = (float)ct_rng_normal(&rng) * 1e-41f; break; /* denormals */
        case HUGE_ONE: x[i] = i == n / 2 ? 1e18f : (float)ct_rng_normal(&rng); break;
        case ALTERNATING: x[i] = (i & 1) ? -1000.0f : 1000.0f; break;
        default: x[i] = 0.0f; break;
        }
    }
}

static void assert_same(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            fail_msg("%s at %s: element %zu is %.9g, reference %.9g", what, fast.level, i, (double)b[i], (double)a[i]);
        }
    }
}

static int below(int n) { return (int)(ct_rng_u64(&rng) % (uint64_t)n); }

static void matmul_case(ct_dtype t, int d_out, int d_in, int n_tok, int pattern) {
    const size_t row = ct_dtype_row_bytes(t, d_in), skew = (size_t)below(4);
    uint8_t *w_base = ct_alloc(row * (size_t)d_out + 8), *w = w_base + below(4); /* misaligned rows */
    float *values = ct_alloc_array((size_t)d_in, sizeof(float));
    for (int r = 0; r < d_out; r++) {
        fill(values, (size_t)d_in, pattern == HUGE_ONE ? GAUSS : pattern);
        ct_quant_encoder(t)(w + (size_t)r * row, values, d_in);
    }
    guarded x = guard_new((size_t)(n_tok * d_in), skew);
    fill(x.p, x.n, pattern);
    guarded y0 = guard_new((size_t)(n_tok * d_out), skew), y1 = guard_new(y0.n, skew);
    guarded scratch = guard_new(ct_matmul_scratch(d_in), 0);
    const int row0 = below(d_out), row1 = row0 + 1 + below(d_out - row0);
    ct_matmul a = {y0.p, (size_t)d_out, w, row, t, x.p, (size_t)d_in, n_tok, row0, row1, d_in, scratch.p, NULL, 0, false};
    ref.matmul[t](&a);
    a.y = y1.p;
    fast.matmul[t](&a);
    assert_same(y0.p, y1.p, y0.n, ct_dtype_name(t));
    guard_check(&x), guard_check(&y0), guard_check(&y1), guard_check(&scratch);
    guard_free(&x), guard_free(&y0), guard_free(&y1), guard_free(&scratch);
    ct_free(values);
    ct_free(w_base);
}

static void matmul__equals_reference(void **state) {
    (void)state;
    for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
        const int block = ct_dtype_block_len((ct_dtype)t);
        for (int i = 0; i < 40; i++) {
            const int d_in = block == 1 ? 1 + below(100) : block * (1 + below(block == 256 ? 3 : 9));
            matmul_case((ct_dtype)t, 1 + below(37), d_in, 1 + below(11), i % N_PATTERN);
        }
    }
}

/* The promise behind "same answer for any chunking and thread count": tiles of rows and tokens change no bit. */
static void matmul__does_not_depend_on_tiling(void **state) {
    (void)state;
    enum { D_OUT = 19, D_IN = 96, N_TOK = 9 };
    float w[D_OUT * D_IN], x[N_TOK * D_IN], whole[N_TOK * D_OUT], part[N_TOK * D_OUT] = {0};
    fill(w, D_OUT * D_IN, GAUSS);
    fill(x, N_TOK * D_IN, GAUSS);
    float *scratch = ct_alloc_array(ct_matmul_scratch(D_IN), sizeof(float));
    ct_matmul a = {whole, D_OUT, (const uint8_t *)w, D_IN * 4, CT_F32, x, D_IN, N_TOK, 0, D_OUT, D_IN, scratch, NULL, 0, false};
    fast.matmul[CT_F32](&a);
    for (int t = 0; t < N_TOK; t++) {
        for (int r = 0; r < D_OUT; r++) {
            ct_matmul one = a;
            one.y = part + t * D_OUT;
            one.x = x + t * D_IN;
            one.n_tok = 1, one.row0 = r, one.row1 = r + 1;
            fast.matmul[CT_F32](&one);
        }
    }
    assert_same(whole, part, N_TOK * D_OUT, "tiling");
    ct_free(scratch);
}

static void elementwise__equals_reference(void **state) {
    (void)state;
    for (int i = 0; i < 300; i++) {
        const size_t n = (size_t)(1 + below(130)), skew = (size_t)below(4);
        guarded x = guard_new(n, skew), w = guard_new(n, skew), y0 = guard_new(n, skew), y1 = guard_new(n, skew);
        fill(x.p, n, i % N_PATTERN), fill(w.p, n, GAUSS);
        ref.rms_norm(y0.p, x.p, i & 1 ? w.p : NULL, (int64_t)n, 1e-6f);
        fast.rms_norm(y1.p, x.p, i & 1 ? w.p : NULL, (int64_t)n, 1e-6f);
        assert_same(y0.p, y1.p, n, "rms_norm");
        ref.gelu_mul(y0.p, x.p, w.p, (int64_t)n);
        fast.gelu_mul(y1.p, x.p, w.p, (int64_t)n);
        assert_same(y0.p, y1.p, n, "gelu_mul");
        ref.axpy(y0.p, 1.7f, x.p, (int64_t)n);
        fast.axpy(y1.p, 1.7f, x.p, (int64_t)n);
        assert_same(y0.p, y1.p, n, "axpy");
        ref.softmax(y0.p, (int64_t)n);
        fast.softmax(y1.p, (int64_t)n);
        assert_same(y0.p, y1.p, n, "softmax");
        memcpy(y0.p, x.p, n * 4), memcpy(y1.p, x.p, n * 4);
        ref.softcap(y0.p, 30.0f, (int64_t)n);
        fast.softcap(y1.p, 30.0f, (int64_t)n);
        assert_same(y0.p, y1.p, n, "softcap");
        guard_check(&x), guard_check(&w), guard_check(&y0), guard_check(&y1);
        guard_free(&x), guard_free(&w), guard_free(&y0), guard_free(&y1);
    }
}

/* The reference itself against libm in double: what the polynomial promises. */
static void reference__is_close_to_libm(void **state) {
    (void)state;
    for (int i = -9000; i <= 9000; i++) {
        const float x = (float)i * 0.01f;
        float one = 1.0f, y = 0;
        ref.gelu_mul(&y, &x, &one, 1);
        const double u = 0.7978845608028654 * ((double)x + 0.044715 * pow((double)x, 3)), g = 0.5 * (double)x * (1 + tanh(u));
        assert_true(fabs((double)y - g) <= 4e-7 * (1 + fabs(g)));
        float s[2] = {x, 0};
        ref.softmax(s, 2);
        const double p = 1 / (1 + exp(-(double)x));
        assert_true(fabs((double)s[0] - p) <= 4e-7 * p + 1e-37);
        y = x;
        ref.softcap(&y, 30.0f, 1);
        assert_true(fabs((double)y - 30 * tanh((double)x / 30)) <= 1e-5);
    }
    /* What screening the output head relies on (forward/head.c). */
    for (int i = -20000; i <= 20000; i++) {
        static const float caps[] = {1.0f, 30.0f, 50.0f};
        for (int c = 0; c < 3; c++) {
            const float x = (float)i * (i % 2 ? 0.001f : 0.1f);
            float y = x;
            ref.softcap(&y, caps[c], 1);
            assert_true(fabs((double)y - (double)caps[c] * tanh((double)x / (double)caps[c])) <= (double)caps[c] * 0x1p-20);
        }
    }
    float extreme[3] = {-INFINITY, 0.0f, -200.0f};
    ref.softmax(extreme, 3);
    assert_true(extreme[0] == 0.0f && extreme[1] == 1.0f && extreme[2] == 0.0f);
}

/* Numbers that are none, or too large, go through every kernel without leaving it undefined. */
static void elementwise__keeps_nan_and_infinity(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        float x[37], one[37], y[37];
        for (int i = 0; i < 37; i++) x[i] = i % 5 == 2 ? bad[b] : 0.5f, one[i] = 1.0f;
        fast.gelu_mul(y, x, one, 37);
        assert_true(fabs((double)y[0] - 0.345714) < 1e-5); /* the neighbours do not notice */
        if (b == 0) assert_true(isnan(y[2]));
        if (b == 1) assert_true(isinf(y[2]));
        memcpy(y, x, sizeof y);
        fast.softcap(y, 30.0f, 37);
        assert_true(b == 0 ? isnan(y[2]) : fabsf(y[2]) <= 30.0f);
        memcpy(y, x, sizeof y);
        fast.softmax(y, 37);
        assert_true(b < 2 ? isnan(y[0]) : y[0] >= 0.0f && y[0] <= 1.0f);
        fast.rms_norm(y, x, NULL, 37, 1e-6f);
    }
}

/* The definition of the format, written out. */
static double half_value(uint32_t h) {
    const int e = (h >> 10) & 31, m = h & 1023;
    const double v = e == 31 ? (m ? (double)NAN : (double)INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static void half__is_exact_for_every_value(void **state) {
    (void)state;
    uint16_t h[256];
    float y[256];
    for (uint32_t at = 0; at < 65536; at += 256) {
        for (uint32_t i = 0; i < 256; i++) h[i] = (uint16_t)(at + i);
        ct_quant_decoder(CT_F16)(y, h, 256);
        for (uint32_t i = 0; i < 256; i++) {
            const float one = ct_f16_to_f32(h[i]), want = (float)half_value(at + i);
            assert_int_equal(ct_f32_bits(y[i]), ct_f32_bits(one));
            if (isnan(want)) {
                assert_true(isnan(one));
                assert_int_equal(ct_f32_bits(one) >> 31, (at + i) >> 15); /* sign and payload stay */
                assert_int_equal(ct_f32_bits(one) >> 13 & 1023, (at + i) & 1023);
            } else {
                assert_int_equal(ct_f32_bits(one), ct_f32_bits(want));
            }
        }
    }
}

static void half__round_trips_every_value(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = ct_f16_to_f32((uint16_t)h);
        if (isnan(f)) continue;
        assert_int_equal(ct_f32_to_f16(f), h);
        /* Halfway to the next value rounds to even. */
        if ((h & 0x7fff) < 0x7bff) {
            const float next = ct_f16_to_f32((uint16_t)(h + 1)), mid = f + (next - f) / 2;
            assert_int_equal(ct_f32_to_f16(mid), (h & 1) ? h + 1 : h);
        }
    }
    assert_true(isnan(ct_f16_to_f32(ct_f32_to_f16(NAN))));
    assert_int_equal(ct_f32_to_f16(1e9f), 0x7c00);
}

static void bench(void) {
    enum { D_OUT = 2048, D_IN = 2048 };
    for (int l = 0; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
            for (int n_tok = 1; n_tok <= 64; n_tok *= 64) {
                const size_t row = ct_dtype_row_bytes((ct_dtype)t, D_IN);
                uint8_t *w = ct_alloc(row * D_OUT);
                float *x = ct_alloc_array(64 * D_IN, 4), *y = ct_alloc_array(64 * D_OUT, 4);
                float *scratch = ct_alloc_array(ct_matmul_scratch(D_IN), 4);
                fill(x, D_IN, GAUSS);
                for (int r = 0; r < D_OUT; r++) ct_quant_encoder((ct_dtype)t)(w + (size_t)r * row, x, D_IN);
                ct_matmul a = {y, D_OUT, w, row, (ct_dtype)t, x, D_IN, n_tok, 0, D_OUT, D_IN, scratch, NULL, 0, false};
                double best = 1e30;
                for (int rep = 0; rep < (l ? 7 : 2); rep++) {
                    const double t0 = ct_now_ms();
                    fast.matmul[t](&a);
                    const double ms = ct_now_ms() - t0;
                    best = ms < best ? ms : best;
                }
                printf("%-7s %-7s %2d tok  %7.2f GB/s of weights  %7.2f GMAC/s\n", fast.level, ct_dtype_name((ct_dtype)t), n_tok,
                       (double)row * D_OUT / best / 1e6, (double)D_OUT * D_IN * n_tok / best / 1e6);
                ct_free(w), ct_free(x), ct_free(y), ct_free(scratch);
            }
        }
    }
}

int main(int argc, char **argv) {
    ct_rng_seed(&rng, 20261124);
    ct_kernels_init(&ref, CT_CPU_REF);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    int failed = 0;
    for (int l = 0; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        char name[64];
        snprintf(name, sizeof name, "kernels %s", fast.level);
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(matmul__equals_reference),     cmocka_unit_test(matmul__does_not_depend_on_tiling),
            cmocka_unit_test(elementwise__equals_reference), cmocka_unit_test(reference__is_close_to_libm),
            cmocka_unit_test(half__round_trips_every_value), cmocka_unit_test(half__is_exact_for_every_value),
            cmocka_unit_test(elementwise__keeps_nan_and_infinity),
        };
        failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);
    }
    return failed;
}
