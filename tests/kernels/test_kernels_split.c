/* Rows split in two planes: every level's product equals the product with whole rows bit for bit, and the screening by the
 * coarse plane never drops a row that reaches the threshold - over random shapes, raw quant bytes, scales of either sign,
 * extreme inputs, thresholds at every rank. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "kernels/panel.h"
#include "quant/quant.h"

static ct_kernels portable, fast;
static ct_rng rng;

static int below(int n) { return (int)(ct_rng_u64(&rng) % (uint64_t)n); }

static const ct_dtype types[] = {CT_Q8_0, CT_Q6_K};

typedef struct {
    ct_dtype t;
    int d_out, d_in, n_tok, n_plane;
    size_t row_bytes;
    uint8_t *rows, *panels, *coarse, *fine, *xq;
    float *x, *whole; /* whole: [n_tok, d_out] by matmul_panel of the portable level */
    int32_t *span;
} problem;

enum { ENCODED, RAW, ALL_ONES, ALL_ZEROS, N_WEIGHTS };
enum { GAUSS, EXTREMES, ONE_SIGN, TINY, ZERO, BROKEN, N_INPUTS };

static void fill_rows(problem *p, int kind) {
    float *values = ct_alloc_array((size_t)p->d_in, sizeof(float));
    for (int r = 0; r < p->d_out; r++) {
        uint8_t *row = p->rows + (size_t)r * p->row_bytes;
        for (int i = 0; i < p->d_in; i++) values[i] = (float)ct_rng_normal(&rng);
        ct_quant_encoder(p->t)(row, values, p->d_in);
        if (kind == ENCODED) continue;
        for (size_t i = 0; i < p->row_bytes; i++) row[i] = kind == RAW ? (uint8_t)below(256) : kind == ALL_ONES ? 0xff : 0;
        for (size_t i = 0; i < p->row_bytes; i += ct_dtype_block_bytes(p->t)) { /* random scales would be infinite or NaN */
            const float d = (float)ct_rng_normal(&rng) * 0.01f;
            const uint16_t h = ct_f32_to_f16(kind == RAW ? d : fabsf(d));
            memcpy(row + i + (p->t == CT_Q6_K ? 208 : 0), &h, 2);
        }
    }
    ct_free(values);
}

static problem problem_new(ct_dtype t, int d_out, int d_in, int n_tok, int n_plane, int weights, int input) {
    problem p = {.t = t, .d_out = d_out, .d_in = d_in, .n_tok = n_tok, .n_plane = n_plane};
    p.row_bytes = ct_dtype_row_bytes(t, d_in);
    const size_t c = ct_split_coarse_bytes(t, d_in), f = ct_split_fine_bytes(t, d_in);
    assert_int_equal(c + f, p.row_bytes);
    p.rows = ct_alloc(p.row_bytes * (size_t)d_out);
    p.panels = ct_alloc(ct_panel_bytes(d_out, p.row_bytes));
    p.coarse = ct_alloc(ct_panel_bytes(d_out, c));
    p.fine = ct_alloc(ct_panel_bytes(d_out, f));
    p.xq = ct_alloc(ct_x_bytes(n_tok, d_in, n_plane));
    p.x = ct_alloc_array((size_t)(n_tok * d_in), sizeof(float));
    p.whole = ct_alloc_array((size_t)(n_tok * d_out), sizeof(float));
    p.span = ct_alloc_array((size_t)(d_in / 8), sizeof(int32_t));
    fill_rows(&p, weights);
    /* Fine bits all set or all clear and inputs of one sign: there the bound is the value itself. */
    const float sign = below(2) ? 1.0f : -1.0f;
    for (int i = 0; i < n_tok * d_in; i++) {
        const float g = (float)ct_rng_normal(&rng);
        p.x[i] = input == ZERO ? 0.0f : input == TINY ? g * 1e-31f : input == ONE_SIGN ? sign * fabsf(g) : g;
        if (input == EXTREMES) p.x[i] = below(2) ? 5.0f : -5.0f;
    }
    if (input == BROKEN) p.x[below(n_tok * d_in)] = below(2) ? NAN : INFINITY;
    for (int r = 0; r < d_out; r += CT_PANEL_ROWS) {
        const int n = d_out - r < CT_PANEL_ROWS ? d_out - r : CT_PANEL_ROWS;
        const uint8_t *rows = p.rows + (size_t)r * p.row_bytes;
        ct_panel_pack(p.panels + (size_t)r * p.row_bytes, t, rows, p.row_bytes, n);
        ct_split_pack(p.coarse + (size_t)r * c, p.fine + (size_t)r * f, t, rows, p.row_bytes, n);
    }
    portable.quantize(p.xq, p.x, (size_t)d_in, n_tok, d_in, n_plane);
    if (n_tok == 1) ct_x_span(p.span, t, p.xq, d_in, n_plane);
    const ct_matmul a = {.y = p.whole, .ldy = (size_t)d_out, .w = p.panels, .row_bytes = p.row_bytes, .dtype = t, .n_tok = n_tok,
                         .row0 = 0, .row1 = d_out, .d_in = d_in, .xq = p.xq, .n_plane = n_plane};
    portable.matmul_panel[t](&a);
    return p;
}

static void problem_free(problem *p) {
    ct_free(p->rows), ct_free(p->panels), ct_free(p->coarse), ct_free(p->fine), ct_free(p->xq), ct_free(p->x), ct_free(p->whole);
    ct_free(p->span);
}

static ct_split args(const problem *p, float *y, int row0, int row1) {
    return (ct_split){.m = {.y = y, .ldy = (size_t)p->d_out, .w = p->coarse, .row_bytes = ct_split_coarse_bytes(p->t, p->d_in),
                            .dtype = p->t, .n_tok = p->n_tok, .row0 = row0, .row1 = row1, .d_in = p->d_in, .xq = p->xq,
                            .n_plane = p->n_plane},
                      .fine = p->fine, .fine_bytes = ct_split_fine_bytes(p->t, p->d_in), .span = p->span};
}

static problem random_problem(int i, int n_tok) {
    const ct_dtype t = types[i % 2];
    const int block = ct_dtype_block_len(t), d_in = block * (1 + below(block == 256 ? 3 : 12));
    return problem_new(t, 1 + below(100), d_in, n_tok, 1 + i / 2 % 2, i / 4 % N_WEIGHTS, i / 16 % N_INPUTS);
}

static bool same_bits(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }

static void split__is_the_product_with_whole_rows(void **state) {
    (void)state;
    enum { CANARY = 16 };
    for (int i = 0; i < 2 * 2 * N_WEIGHTS * N_INPUTS * 3; i++) {
        problem p = random_problem(i, 1 + below(19));
        const int n = p.n_tok * p.d_out, row0 = below(p.d_out), row1 = row0 + 1 + below(p.d_out - row0);
        float *y = ct_alloc_array((size_t)(n + 2 * CANARY), sizeof(float));
        for (int j = 0; j < n + 2 * CANARY; j++) y[j] = -7.0f;
        const ct_split a = args(&p, y + CANARY, row0, row1);
        fast.matmul_split[p.t](&a);
        for (int j = 0; j < n; j++) {
            const int r = j % p.d_out;
            const float want = r >= row0 && r < row1 ? p.whole[j] : -7.0f;
            if (!same_bits(y[CANARY + j], want)) {
                fail_msg("%s at %s: row %d is %.9g, whole %.9g", ct_dtype_name(p.t), fast.level, r, (double)y[CANARY + j], (double)want);
            }
        }
        for (int j = 0; j < CANARY; j++) assert_true(y[j] == -7.0f && y[n + CANARY + j] == -7.0f);
        ct_free(y);
        problem_free(&p);
    }
}

static int falling(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Dropped rows are below tau, computed ones are the product's bits, which ones is the same at every level. */
static void above__drops_only_what_is_below(void **state) {
    (void)state;
    int64_t n_kept = 0, n_panel = 0;
    for (int i = 0; i < 2 * 2 * N_WEIGHTS * N_INPUTS * 3; i++) {
        problem p = random_problem(i, 1);
        float *y = ct_alloc_array((size_t)p.d_out + 1, sizeof(float)), *want = ct_alloc_array((size_t)p.d_out, sizeof(float));
        float *sorted = ct_alloc_array((size_t)p.d_out, sizeof(float));
        memcpy(sorted, p.whole, (size_t)p.d_out * sizeof(float));
        qsort(sorted, (size_t)p.d_out, sizeof(float), falling);
        const int row0 = below((p.d_out + 15) / 16) * 16;
        for (int k = 0; k < 6; k++) {
            ct_split a = args(&p, y, row0, p.d_out);
            a.tau = k == 5 ? -INFINITY : sorted[k == 4 ? p.d_out - 1 : below(p.d_out)];
            y[p.d_out] = -7.0f;
            const int64_t n = fast.matmul_above[p.t](&a);
            a.m.y = want;
            assert_int_equal(portable.matmul_above[p.t](&a), n);
            int64_t n_computed = 0;
            for (int r = row0; r < p.d_out; r++) {
                assert_true(same_bits(y[r], want[r]));
                if (r % 16 == 0) n_computed += !(y[r] == -INFINITY);
                if (same_bits(y[r], p.whole[r])) continue;
                assert_true(y[r] == -INFINITY);
                if (!(p.whole[r] < a.tau)) {
                    fail_msg("%s at %s: row %d is %.9g, dropped at %.9g", ct_dtype_name(p.t), fast.level, r, (double)p.whole[r],
                             (double)a.tau);
                }
            }
            if (k == 5) assert_int_equal(n, (p.d_out - row0 + 15) / 16);
            assert_int_equal(n, n_computed);
            assert_true(y[p.d_out] == -7.0f);
            n_kept += n, n_panel += (p.d_out - row0 + 15) / 16;
        }
        ct_free(y), ct_free(want), ct_free(sorted);
        problem_free(&p);
    }
    assert_true(n_kept < n_panel); /* and it does drop */
}

/* A row that stands out is all that is computed, which is what screening is for. */
static void above__computes_little_where_one_row_stands_out(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        problem p = problem_new(types[i % 2], 1600, 512, 1, 1 + i / 2 % 2, ENCODED, GAUSS);
        /* row 800 becomes the input itself, scaled */
        float like[512];
        for (int j = 0; j < 512; j++) like[j] = p.x[j];
        ct_quant_encoder(p.t)(p.rows + 800 * p.row_bytes, like, 512);
        const size_t c = ct_split_coarse_bytes(p.t, 512), f = ct_split_fine_bytes(p.t, 512);
        ct_split_pack(p.coarse + 800 * c, p.fine + 800 * f, p.t, p.rows + 800 * p.row_bytes, p.row_bytes, 16);
        float *y = ct_alloc_array(1600, sizeof(float));
        ct_split a = args(&p, y, 0, 1600);
        a.tau = 256.0f; /* about half of row 800, four standard deviations of the others and more than their bounds */
        assert_int_equal(fast.matmul_above[p.t](&a), 1);
        assert_true(y[800] > 400.0f);
        ct_free(y);
        problem_free(&p);
    }
}

int main(void) {
    ct_rng_seed(&rng, 20261126);
    ct_kernels_init(&portable, CT_CPU_PORTABLE);
    int failed = 0;
    for (int l = CT_CPU_PORTABLE; l < CT_N_CPU; l++) {
        if (!ct_cpu_has((ct_cpu_level)l)) continue;
        ct_kernels_init(&fast, (ct_cpu_level)l);
        char name[64];
        snprintf(name, sizeof name, "split rows %s", fast.level);
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(split__is_the_product_with_whole_rows),
            cmocka_unit_test(above__drops_only_what_is_below),
            cmocka_unit_test(above__computes_little_where_one_row_stands_out),
        };
        failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);
    }
    return failed;
}
