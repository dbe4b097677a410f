/* Integer products over panels. Two comparisons: the portable definition against exact arithmetic on the decoded
 * weights and activations, within a bound computed from the numbers that were rounded; every other level against the
 * portable one, bit for bit. Random shapes, row ranges, tails of tiles, raw quant bytes at their extremes, canaries.
 *
 *   test_kernels_panel [--bench]    with --bench: time each level instead */
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
#include "kernels/panel.h"
#include "quant/quant.h"

static ct_kernels portable, fast;
static ct_rng rng;

static int below(int n) { return (int)(ct_rng_u64(&rng) % (uint64_t)n); }

static const ct_dtype types[] = {CT_Q4_0, CT_Q8_0, CT_Q4_K, CT_Q5_K, CT_Q6_K};
enum { N_TYPE = sizeof types / sizeof types[0] };

/* ---- a product and everything it reads ------------------------------------------------------------------- */

typedef struct {
    ct_dtype t;
    int d_out, d_in, n_tok, n_plane;
    size_t row_bytes;
    uint8_t *rows, *panels, *xq;
    float *x;
} product;

enum { ENCODED, RAW, ALL_ONES, ALL_ZEROS, N_WEIGHTS };
enum { GAUSS, EXTREMES, TINY, HUGE_ONE, ZERO, N_INPUTS };

/* Scales of random bytes would be infinite or NaN; make each an ordinary f16 of either sign. */
static void fix_scales(uint8_t *block, ct_dtype t) {
    const int at[2] = {t == CT_Q6_K ? 208 : 0, 2}, n = t == CT_Q4_K || t == CT_Q5_K ? 2 : 1;
    for (int i = 0; i < n; i++) {
        const uint16_t h = ct_f32_to_f16((float)ct_rng_normal(&rng) * 0.01f);
        memcpy(block + at[i], &h, 2);
    }
}

static void fill_weights(product *p, int kind) {
    float *values = ct_alloc_array((size_t)p->d_in, sizeof(float));
    for (int r = 0; r < p->d_out; r++) {
        uint8_t *row = p->rows + (size_t)r * p->row_bytes;
        if (kind == ENCODED) {
            for (int i = 0; i < p->d_in; i++) values[i] = (float)ct_rng_normal(&rng);
            ct_quant_encoder(p->t)(row, values, p->d_in);
            continue;
        }
        for (size_t i = 0; i < p->row_bytes; i++) row[i] = kind == RAW ? (uint8_t)below(256) : kind == ALL_ONES ? 0xff : 0;
        for (size_t i = 0; i < p->row_bytes; i += ct_dtype_block_bytes(p->t)) fix_scales(row + i, p->t);
    }
    ct_free(values);
}

static void fill_input(product *p, int kind) {
    const size_t n = (size_t)p->n_tok * (size_t)p->d_in;
    for (size_t i = 0; i < n; i++) {
        const float g = (float)ct_rng_normal(&rng);
        p->x[i] = kind == GAUSS ? g : kind == EXTREMES ? (below(2) ? 5.0f : -5.0f) : kind == TINY ? g * 1e-31f : 0.0f;
        if (kind == HUGE_ONE) p->x[i] = i == n / 2 ? 1e18f : g;
    }
}

static product product_new(ct_dtype t, int d_out, int d_in, int n_tok, int n_plane, int weights, int input) {
    product p = {.t = t, .d_out = d_out, .d_in = d_in, .n_tok = n_tok, .n_plane = n_plane};
    p.row_bytes = ct_dtype_row_bytes(t, d_in);
    p.rows = ct_alloc(p.row_bytes * (size_t)d_out);
    p.panels = ct_alloc(ct_panel_bytes(d_out, p.row_bytes));
    p.xq = ct_alloc(ct_x_bytes(n_tok, d_in, n_plane));
    p.x = ct_alloc_array((size_t)n_tok * (size_t)d_in, sizeof(float));
    fill_weights(&p, weights);
    fill_input(&p, input);
    for (int r = 0; r < d_out; r += CT_PANEL_ROWS) {
        ct_panel_pack(p.panels + (size_t)r * p.row_bytes, t, p.rows + (size_t)r * p.row_bytes, p.row_bytes,
                      d_out - r < CT_PANEL_ROWS ? d_out - r : CT_PANEL_ROWS);
    }
    portable.quantize(p.xq, p.x, (size_t)d_in, n_tok, d_in, n_plane);
    return p;
}

static void product_free(product *p) {
    ct_free(p->rows);
    ct_free(p->panels);
    ct_free(p->xq);
    ct_free(p->x);
}

static ct_matmul args(const product *p, float *y, int row0, int row1) {
    return (ct_matmul){.y = y, .ldy = (size_t)p->d_out, .w = p->panels, .row_bytes = p->row_bytes, .dtype = p->t, .n_tok = p->n_tok,
                       .row0 = row0, .row1 = row1, .d_in = p->d_in, .xq = p->xq, .n_plane = p->n_plane};
}

/* What the tiles hold of token tok, value i; *d: its block's scale. */
static double tile_value(const product *p, int tok, int i, float *d) {
    const uint8_t *x = p->xq;
    int t0 = 0, n_t = ct_x_tile(p->n_tok, p->n_plane);
    while (tok >= t0 + n_t) {
        x += ct_x_bytes(n_t, p->d_in, p->n_plane);
        t0 += n_t;
        n_t = ct_x_tile(p->n_tok - t0, p->n_plane);
    }
    x += (size_t)(i / CT_X_BLOCK) * (size_t)(n_t * CT_X_BLOCK_BYTES(p->n_plane));
    memcpy(d, x + n_t * CT_X_BLOCK * p->n_plane + (tok - t0) * 4, 4);
    const int at = (tok - t0) * CT_X_BLOCK + i % CT_X_BLOCK, hi = (int8_t)x[at];
    return p->n_plane == 1 ? hi : 256 * hi + (int8_t)x[at + n_t * CT_X_BLOCK];
}

/* ---- tests ------------------------------------------------------------------------------------------------ */

static void quantize__is_within_half_a_step(void **state) {
    (void)state;
    for (int plane = 1; plane <= 2; plane++) {
        for (int kind = 0; kind < N_INPUTS; kind++) {
            product p = product_new(CT_Q8_0, 1, 32 * (1 + below(5)), 1 + below(20), plane, ENCODED, kind);
            for (int t = 0; t < p.n_tok; t++) {
                for (int i = 0; i < p.d_in; i++) {
                    float d;
                    const double q = tile_value(&p, t, i, &d), x = (double)p.x[t * p.d_in + i];
                    /* half a step, two roundings of x / d, and what CT_X_TINY drops */
                    const double bound = 0.5 * (double)d + fabs(x) * 0x1p-22 + (double)CT_X_TINY;
                    if (!(fabs(x - (double)d * q) <= bound)) fail_msg("x %g, stored %g, step %g", x, (double)d * q, (double)d);
                }
            }
            product_free(&p);
        }
    }
}

static void quantize__equals_portable(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        const int n_tok = 1 + below(21), d_in = 32 * (1 + below(6)), plane = 1 + i % 2;
        product p = product_new(CT_Q8_0, 1, d_in, n_tok, plane, ENCODED, i / 2 % N_INPUTS);
        if (i % 7 == 0) p.x[below(n_tok * d_in)] = i % 2 ? NAN : -INFINITY;
        portable.quantize(p.xq, p.x, (size_t)d_in, n_tok, d_in, plane);
        const size_t n = ct_x_bytes(n_tok, d_in, plane);
        uint8_t *out = ct_alloc(n + 64);
        memset(out + n, 0xa5, 64);
        fast.quantize(out, p.x, (size_t)d_in, n_tok, d_in, plane);
        assert_memory_equal(out, p.xq, n);
        for (int j = 0; j < 64; j++) assert_int_equal(out[n + (size_t)j], 0xa5);
        ct_free(out);
        product_free(&p);
    }
}

/* Exact value of one element in double, and how far f32 roundings may carry the sum from it: one fused multiply-add and
 * a product of scales per term, each within 2^-23 of the magnitudes added so far. */
static void definition__is_within_its_bound_of_exact_arithmetic(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPE * N_WEIGHTS * N_INPUTS * 2; i++) {
        const ct_dtype t = types[i % N_TYPE];
        const int block = ct_dtype_block_len(t), d_in = block * (1 + below(block == 256 ? 3 : 12));
        product p = product_new(t, 1 + below(35), d_in, 1 + below(12), 1 + i / (N_TYPE * N_WEIGHTS * N_INPUTS), i / N_TYPE % N_WEIGHTS,
                                i / (N_TYPE * N_WEIGHTS) % N_INPUTS);
        float *y = ct_alloc_array((size_t)(p.n_tok * p.d_out), sizeof(float)), *w = ct_alloc_array((size_t)d_in, sizeof(float));
        const ct_matmul a = args(&p, y, 0, p.d_out);
        portable.matmul_panel[t](&a);
        for (int r = 0; r < p.d_out; r++) {
            ct_quant_decoder(t)(w, p.rows + (size_t)r * p.row_bytes, d_in);
            for (int tok = 0; tok < p.n_tok; tok++) {
                double exact = 0, magnitude = 0;
                for (int j = 0; j < d_in; j++) {
                    float d;
                    const double q = tile_value(&p, tok, j, &d);
                    exact += (double)w[j] * (double)d * q;
                    /* a minimum taken off separately is as large as any weight of the block: 63 * dmin */
                    magnitude += (fabs((double)w[j]) + (t == CT_Q4_K || t == CT_Q5_K ? 63 * 0.06 : 0)) * fabs((double)d * q);
                }
                const double bound = magnitude * (double)(d_in / 16 + 8) * 0x1p-23 + 1e-37;
                const double got = (double)y[tok * p.d_out + r];
                if (!(fabs(got - exact) <= bound)) {
                    fail_msg("%s row %d: %.9g, exact %.9g, bound %.3g", ct_dtype_name(t), r, got, exact, bound);
                }
            }
        }
        ct_free(w);
        ct_free(y);
        product_free(&p);
    }
}

static void assert_same_bits(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            fail_msg("%s at %s: element %zu is %.9g, portable %.9g", what, fast.level, i, (double)b[i], (double)a[i]);
        }
    }
}

static void product__equals_portable_in_any_row_range(void **state) {
    (void)state;
    enum { CANARY = 16 };
    for (int i = 0; i < 400; i++) {
        const ct_dtype t = types[i % N_TYPE];
        const int block = ct_dtype_block_len(t), d_in = block * (1 + below(block == 256 ? 3 : 12));
        product p = product_new(t, 1 + below(70), d_in, 1 + below(19), 1 + i / N_TYPE % 2, i / N_TYPE % N_WEIGHTS, i / 3 % N_INPUTS);
        if (i % 11 == 0) {
            p.x[below(p.n_tok * d_in)] = NAN;
            portable.quantize(p.xq, p.x, (size_t)d_in, p.n_tok, d_in, p.n_plane);
        }
        const size_t n = (size_t)(p.n_tok * p.d_out);
        float *y0 = ct_alloc_array(n, sizeof(float)), *y1 = ct_alloc_array(n + 2 * CANARY, sizeof(float));
        for (size_t j = 0; j < n; j++) y0[j] = -7.0f;
        for (size_t j = 0; j < n + 2 * CANARY; j++) y1[j] = -7.0f;
        const int row0 = below(p.d_out), row1 = row0 + 1 + below(p.d_out - row0);
        ct_matmul a = args(&p, y0, row0, row1);
        portable.matmul_panel[t](&a);
        a.y = y1 + CANARY;
        fast.matmul_panel[t](&a);
        assert_same_bits(y0, y1 + CANARY, n, ct_dtype_name(t));
        for (int j = 0; j < CANARY; j++) assert_true(y1[j] == -7.0f && y1[n + CANARY + (size_t)j] == -7.0f);
        ct_free(y0);
        ct_free(y1);
        product_free(&p);
    }
}

/* The promise behind "same answer for any chunking": a token's result is the same alone and in any tile. */
static void product__does_not_depend_on_tiles(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPE * 2; i++) {
        const ct_dtype t = types[i % N_TYPE];
        enum { N_TOK = 23, D_OUT = 32 };
        product p = product_new(t, D_OUT, 512, N_TOK, 1 + i / N_TYPE, ENCODED, GAUSS);
        float whole[N_TOK * D_OUT], part[N_TOK * D_OUT];
        ct_matmul a = args(&p, whole, 0, D_OUT);
        fast.matmul_panel[t](&a);
        for (int tok = 0; tok < N_TOK;) {
            const int n = 1 + below(N_TOK - tok);
            fast.quantize(p.xq, p.x + tok * p.d_in, (size_t)p.d_in, n, p.d_in, p.n_plane);
            a.y = part + tok * D_OUT, a.n_tok = n;
            fast.matmul_panel[t](&a);
            tok += n;
        }
        assert_same_bits(whole, part, N_TOK * D_OUT, "tiles");
        product_free(&p);
    }
}

static void row__comes_back_as_it_was_packed(void **state) {
    (void)state;
    for (int t = 0; t < CT_N_DTYPE; t++) assert_int_equal(ct_panel_has((ct_dtype)t), ct_dtype_has_panels((ct_dtype)t));
    for (int i = 0; i < N_TYPE * 8; i++) {
        const ct_dtype t = types[i % N_TYPE];
        product p = product_new(t, 1 + below(40), ct_dtype_block_len(t) * (1 + below(5)), 1, 1, RAW, GAUSS);
        uint8_t *row = ct_alloc(p.row_bytes + 16);
        for (int r = 0; r < p.d_out; r++) {
            memset(row, 0xa5, p.row_bytes + 16);
            ct_panel_row(row, t, p.panels + (size_t)(r / CT_PANEL_ROWS) * CT_PANEL_ROWS * p.row_bytes, r % CT_PANEL_ROWS, p.row_bytes);
            assert_memory_equal(row, p.rows + (size_t)r * p.row_bytes, p.row_bytes);
            for (int j = 0; j < 16; j++) assert_int_equal(row[p.row_bytes + (size_t)j], 0xa5);
        }
        ct_free(row);
        product_free(&p);
    }
}

/* Level ref is given panels too, when a file lies so, and computes what their rows mean. */
static void ref__takes_panels_as_the_rows_they_hold(void **state) {
    (void)state;
    ct_kernels ref;
    ct_kernels_init(&ref, CT_CPU_REF);
    for (int i = 0; i < N_TYPE * 4; i++) {
        const ct_dtype t = types[i % N_TYPE];
        product p = product_new(t, 1 + below(50), ct_dtype_block_len(t) * (1 + below(3)), 1 + below(5), 1, i % 2 ? RAW : ENCODED, GAUSS);
        const size_t n = (size_t)(p.n_tok * p.d_out);
        float *y0 = ct_alloc_array(n, sizeof(float)), *y1 = ct_alloc_array(n, sizeof(float));
        float *scratch = ct_alloc_array(ct_matmul_scratch(p.d_in), sizeof(float));
        const int row0 = below(p.d_out), row1 = row0 + 1 + below(p.d_out - row0);
        ct_matmul a = args(&p, y0, row0, row1);
        a.w = p.rows, a.x = p.x, a.ldx = (size_t)p.d_in, a.scratch = scratch;
        ref.matmul[t](&a);
        a.y = y1, a.w = p.panels, a.panels = true;
        ref.matmul[t](&a);
        assert_memory_equal(y0, y1, n * sizeof(float));
        ct_free(scratch);
        ct_free(y0);
        ct_free(y1);
        product_free(&p);
    }
}

/* ---- bench ------------------------------------------------------------------------------------------------- */

static double best_ms(const ct_matmul *a, int reps) {
    double best = 1e30;
    for (int i = 0; i < reps; i++) {
        const double t0 = ct_now_ms();
        fast.matmul_panel[a->dtype](a);
        const double ms = ct_now_ms() - t0;
        best = ms < best ? ms : best;
    }
    return best;
}

static void bench(void) {
    enum { D_OUT = 2048, D_IN = 2048, N_TOK = 64 };
    for (int l = 0; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        if (!fast.quantize) continue;
        for (int i = 0; i < N_TYPE * 2; i++) {
            product p = product_new(types[i / 2], D_OUT, D_IN, N_TOK, 1 + i % 2, ENCODED, GAUSS);
            float *y = ct_alloc_array(D_OUT * N_TOK, sizeof(float));
            ct_matmul a = args(&p, y, 0, D_OUT);
            const double many = best_ms(&a, l == CT_CPU_PORTABLE ? 1 : 7);
            fast.quantize(p.xq, p.x, D_IN, 1, D_IN, p.n_plane);
            a.n_tok = 1;
            const double one = best_ms(&a, 15), macs = (double)D_OUT * D_IN;
            printf("%-10s %-5s %d plane%s  1 token %6.1f GB/s of weights %6.1f GMAC/s   %d tokens %6.1f GMAC/s\n", fast.level,
                   ct_dtype_name(p.t), p.n_plane, p.n_plane == 1 ? " " : "s", (double)p.row_bytes * D_OUT / one / 1e6,
                   macs / one / 1e6, N_TOK, macs * N_TOK / many / 1e6);
            ct_free(y);
            product_free(&p);
        }
        float *x = ct_alloc_array(D_IN * N_TOK, sizeof(float));
        uint8_t *xq = ct_alloc(ct_x_bytes(N_TOK, D_IN, 2));
        for (int plane = 1; plane <= 2; plane++) {
            double best = 1e30;
            for (int rep = 0; rep < 20; rep++) {
                const double t0 = ct_now_ms();
                fast.quantize(xq, x, D_IN, N_TOK, D_IN, plane);
                const double ms = ct_now_ms() - t0;
                best = ms < best ? ms : best;
            }
            printf("%-10s quantize %d plane  %6.2f G values/s\n", fast.level, plane, D_IN * N_TOK / best / 1e6);
        }
        ct_free(x);
        ct_free(xq);
    }
}

int main(int argc, char **argv) {
    ct_rng_seed(&rng, 20261125);
    ct_kernels_init(&portable, CT_CPU_PORTABLE);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    int failed = 0;
    for (int l = CT_CPU_PORTABLE; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        char name[64];
        snprintf(name, sizeof name, "panels %s", fast.level);
        const struct CMUnitTest definition[] = {
            cmocka_unit_test(quantize__is_within_half_a_step),
            cmocka_unit_test(definition__is_within_its_bound_of_exact_arithmetic),
            cmocka_unit_test(row__comes_back_as_it_was_packed),
            cmocka_unit_test(ref__takes_panels_as_the_rows_they_hold),
        };
        const struct CMUnitTest level[] = {
            cmocka_unit_test(quantize__equals_portable),
            cmocka_unit_test(product__equals_portable_in_any_row_range),
            cmocka_unit_test(product__does_not_depend_on_tiles),
        };
        if (l == CT_CPU_PORTABLE) failed += cmocka_run_group_tests_name(name, definition, NULL, NULL);
        failed += cmocka_run_group_tests_name(name, level, NULL, NULL);
    }
    return failed;
}
