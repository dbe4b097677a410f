/* The quant room: decoders against values of the gguf package (golden.bin, see make_golden.py), encoders by the error
 * of a round trip over rows of several kinds. Rows are put at odd addresses between canaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/rng.h"
#include "quant/quant.h"

#define GUARD 64
#define N 1024 /* values of a row: whole blocks of every type */

/* What a round trip may lose: rel_rms for a standard normal row, relative to the row's root mean square; and `peak`
 * for any row, the largest error relative to the largest magnitude of the 256 values around it. */
static const struct {
    ct_dtype type;
    double rel_rms, peak;
} bound[] = {
    {CT_F32, 0, 0},           {CT_F16, 2.2e-4, 4.9e-4}, {CT_BF16, 1.7e-3, 3.95e-3}, {CT_Q8_0, 5.6e-3, 3.95e-3},
    {CT_Q4_0, 0.084, 0.13},   {CT_Q4_1, 0.073, 0.09},   {CT_Q5_0, 0.042, 0.05},     {CT_Q5_1, 0.035, 0.035},
    {CT_Q2_K, 0.28, 0.35},    {CT_Q3_K, 0.149, 0.23},   {CT_Q4_K, 0.074, 0.10},     {CT_Q5_K, 0.037, 0.035},
    {CT_Q6_K, 0.018, 0.02},   {CT_IQ4_NL, 0.077, 0.12}, {CT_IQ4_XS, 0.077, 0.125},
};

static uint8_t *guarded(size_t n, size_t shift) {
    uint8_t *p = malloc(n + 2 * GUARD + shift);
    assert_non_null(p);
    memset(p, 0xa5, n + 2 * GUARD + shift);
    return p;
}

static void assert_guards(const uint8_t *p, size_t n, size_t shift) {
    for (size_t i = 0; i < GUARD + shift; i++) assert_int_equal(p[i], 0xa5);
    for (size_t i = 0; i < GUARD; i++) assert_int_equal(p[GUARD + shift + n + i], 0xa5);
}

/* ---- decode ------------------------------------------------------------------------------------------- */

static size_t read_golden(uint8_t *buf, size_t cap) {
    FILE *f = fopen(QUANT_GOLDEN, "rb");
    assert_non_null(f);
    const size_t n = fread(buf, 1, cap, f);
    fclose(f);
    assert_true(n > 0 && n < cap);
    return n;
}

static void check_record(ct_dtype t, const uint8_t *in, size_t n_in, const uint8_t *expected, int64_t n) {
    assert_int_equal(ct_dtype_row_bytes(t, n), n_in);
    for (size_t shift = 0; shift < 4; shift++) {
        uint8_t *src = guarded(n_in, shift), *dst = guarded((size_t)n * 4, 4 * shift);
        memcpy(src + GUARD + shift, in, n_in);
        ct_quant_decoder(t)((float *)(void *)(dst + GUARD + 4 * shift), src + GUARD + shift, n);
        for (int64_t i = 0; i < n; i++) {
            const uint32_t got = ct_load_u32(dst + GUARD + 4 * shift + 4 * i), want = ct_load_u32(expected + 4 * i);
            if (got != want) {
                fail_msg("%s value %d: %a, expected %a", ct_dtype_name(t), (int)i, (double)ct_f32_from_bits(got),
                         (double)ct_f32_from_bits(want));
            }
        }
        assert_guards(dst, (size_t)n * 4, 4 * shift);
        free(src);
        free(dst);
    }
}

static void decode__equals_golden_values_bit_by_bit(void **state) {
    (void)state;
    static uint8_t buf[1 << 16];
    const size_t size = read_golden(buf, sizeof buf);
    int n_seen = 0;
    for (size_t at = 0; at < size; n_seen++) {
        char name[9] = {0};
        memcpy(name, buf + at, 8);
        ct_dtype t;
        assert_true(ct_dtype_parse(name, &t));
        const uint32_t n_in = ct_load_u32(buf + at + 8), n = ct_load_u32(buf + at + 12);
        at += 16;
        assert_true(n_in <= size - at && (size_t)n * 4 <= size - at - n_in);
        check_record(t, buf + at, n_in, buf + at + n_in, n);
        at += n_in + (size_t)n * 4;
    }
    assert_int_equal(n_seen, CT_N_WEIGHT_DTYPE);
}

static void decode__f16_and_bf16_know_every_bit_pattern(void **state) {
    (void)state;
    static uint16_t in[65536], back[65536];
    static float out[65536];
    for (int i = 0; i < 65536; i++) in[i] = (uint16_t)i;
    ct_quant_decoder(CT_F16)(out, in, 65536);
    for (int i = 0; i < 65536; i++) assert_int_equal(ct_f32_bits(out[i]), ct_f32_bits(ct_f16_to_f32((uint16_t)i)));
    ct_quant_encoder(CT_F16)(back, out, 65536);
    for (int i = 0; i < 65536; i++) {
        if (out[i] == out[i]) assert_int_equal(back[i], i);
    }
    ct_quant_decoder(CT_BF16)(out, in, 65536);
    ct_quant_encoder(CT_BF16)(back, out, 65536);
    for (int i = 0; i < 65536; i++) {
        assert_int_equal(ct_f32_bits(out[i]), (uint32_t)i << 16);
        if (out[i] == out[i]) assert_int_equal(back[i], i);
    }
}

/* ---- encode ------------------------------------------------------------------------------------------- */

/* y = decode(encode(x)), with the encoded row at an odd address between canaries. */
static void round_trip(float *y, const float *x, ct_dtype t, int64_t n) {
    const size_t bytes = ct_dtype_row_bytes(t, n);
    uint8_t *enc = guarded(bytes, 1), *again = guarded(bytes, 2);
    ct_quant_encoder(t)(enc + GUARD + 1, x, n);
    ct_quant_encoder(t)(again + GUARD + 2, x, n);
    assert_memory_equal(enc + GUARD + 1, again + GUARD + 2, bytes);
    assert_guards(enc, bytes, 1);
    ct_quant_decoder(t)(y, enc + GUARD + 1, n);
    free(enc);
    free(again);
}

typedef double (*row_fn)(ct_rng *r, int i);
static double row_normal(ct_rng *r, int i) { return (void)i, ct_rng_normal(r); }
static double row_small(ct_rng *r, int i) { return (void)i, 0.02 * ct_rng_normal(r); }
static double row_constant(ct_rng *r, int i) { return (void)r, (void)i, 0.37; }
static double row_negative(ct_rng *r, int i) { return (void)i, -1 - ct_rng_uniform(r); }
static double row_positive(ct_rng *r, int i) { return (void)i, 1 + ct_rng_uniform(r); }
static double row_outlier(ct_rng *r, int i) { return i % 256 == 77 ? -50 : 0.1 * ct_rng_normal(r); }
static double row_one_value(ct_rng *r, int i) { return (void)r, i % 256 == 200 ? 3 : 0; }
static double row_ramp(ct_rng *r, int i) { return (void)r, (i % 256 - 128) * 0.01; }
static double row_steps(ct_rng *r, int i) { return ct_rng_normal(r) * exp2(i / 16 % 16 - 8); }

static void fill(float *x, row_fn row, uint64_t seed) {
    ct_rng r;
    ct_rng_seed(&r, seed);
    for (int i = 0; i < N; i++) x[i] = (float)row(&r, i);
}

static void assert_near_peak(const float *y, const float *x, ct_dtype t, double rel, const char *what) {
    for (int b = 0; b < N; b += 256) {
        double peak = 0;
        for (int i = b; i < b + 256; i++) peak = fmax(peak, fabs((double)x[i]));
        for (int i = b; i < b + 256; i++) {
            if (!(fabs((double)y[i] - (double)x[i]) <= rel * peak)) {
                fail_msg("%s of a %s row: value %d is %g, was %g, peak %g", ct_dtype_name(t), what, i, (double)y[i],
                         (double)x[i], peak);
            }
        }
    }
}

static void encode__stays_within_error_bound_for_every_kind_of_row(void **state) {
    (void)state;
    static const struct {
        const char *name;
        row_fn fn;
    } kind[] = {{"normal", row_normal},     {"small", row_small},       {"constant", row_constant},
                {"negative", row_negative}, {"positive", row_positive}, {"outlier", row_outlier},
                {"one-value", row_one_value}, {"ramp", row_ramp},       {"steps", row_steps}};
    float x[N], y[N];
    for (size_t k = 0; k < sizeof bound / sizeof *bound; k++) {
        for (size_t r = 0; r < sizeof kind / sizeof *kind; r++) {
            fill(x, kind[r].fn, 7 + r);
            round_trip(y, x, bound[k].type, N);
            assert_near_peak(y, x, bound[k].type, bound[k].peak, kind[r].name);
        }
    }
}

static void encode__rms_error_of_normal_rows_is_as_small_as_the_type_allows(void **state) {
    (void)state;
    float x[N], y[N];
    for (size_t k = 0; k < sizeof bound / sizeof *bound; k++) {
        double err = 0, sum = 0;
        for (uint64_t seed = 100; seed < 120; seed++) {
            fill(x, row_normal, seed);
            round_trip(y, x, bound[k].type, N);
            for (int i = 0; i < N; i++) {
                err += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
                sum += (double)x[i] * (double)x[i];
            }
        }
        const double rel = sqrt(err / sum);
        if (getenv("QUANT_VERBOSE")) print_message("%s %.5f\n", ct_dtype_name(bound[k].type), rel);
        if (rel > bound[k].rel_rms) {
            fail_msg("%s: relative rms error %g above %g", ct_dtype_name(bound[k].type), rel, bound[k].rel_rms);
        }
    }
}

static void encode__zero_rows_stay_zero(void **state) {
    (void)state;
    float x[N] = {0}, y[N];
    for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
        memset(y, 0xff, sizeof y);
        round_trip(y, x, (ct_dtype)t, N);
        for (int i = 0; i < N; i++) assert_true(y[i] == 0);
    }
}

static void encode__q8_0_is_never_off_by_more_than_half_a_step(void **state) {
    (void)state;
    ct_rng r;
    ct_rng_seed(&r, 5);
    for (int rep = 0; rep < 4000; rep++) {
        float x[32], y[32];
        uint8_t b[34];
        const double scale = exp2(40 * ct_rng_uniform(&r) - 25); /* down to scales that are f16 subnormals */
        for (int i = 0; i < 32; i++) x[i] = (float)(scale * ct_rng_normal(&r));
        ct_quant_encoder(CT_Q8_0)(b, x, 32);
        ct_quant_decoder(CT_Q8_0)(y, b, 32);
        const double d = (double)ct_f16_to_f32(ct_load_u16(b));
        for (int i = 0; i < 32; i++) assert_true(fabs((double)y[i] - (double)x[i]) <= d * 0.5 * (1 + 1e-5));
    }
}

static void encode__tiny_values_neither_vanish_into_nan_nor_grow(void **state) {
    (void)state;
    static const double size[] = {1e-44, 1e-40, 1e-30, 1e-10, 1e-7, 1e-5};
    float x[N], y[N];
    for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
        fill(x, row_normal, 40 + k);
        for (int i = 0; i < N; i++) x[i] = (float)((double)x[i] * size[k]);
        for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
            round_trip(y, x, (ct_dtype)t, N);
            /* A row this small has a scale and a minimum of a step or two of f16, or none. */
            for (int i = 0; i < N; i++) {
                if (!(fabs((double)y[i] - (double)x[i]) <= 4 * size[k] + 0x1p-23)) {
                    fail_msg("%s: %g became %g", ct_dtype_name((ct_dtype)t), (double)x[i], (double)y[i]);
                }
            }
        }
    }
}

static void encode__values_past_f16_range_saturate(void **state) {
    (void)state;
    float x[N], y[N];
    for (int i = 0; i < N; i++) x[i] = i % 2 ? 1e30f : -1e30f;
    for (int t = CT_Q8_0; t < CT_N_WEIGHT_DTYPE; t++) {
        round_trip(y, x, (ct_dtype)t, N);
        for (int i = 0; i < N; i++) assert_true(isfinite(y[i]));
    }
}

static void encode__accepts_nan_and_infinity_without_undefined_behaviour(void **state) {
    (void)state;
    float x[N], y[N];
    fill(x, row_normal, 3);
    for (int i = 0; i < N; i += 97) x[i] = i % 2 ? NAN : i % 3 ? INFINITY : -INFINITY;
    for (int t = 0; t < CT_N_WEIGHT_DTYPE; t++) {
        round_trip(y, x, (ct_dtype)t, N);
        for (int i = 0; i < N; i++) x[i] = NAN;
        round_trip(y, x, (ct_dtype)t, N);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode__equals_golden_values_bit_by_bit),
        cmocka_unit_test(decode__f16_and_bf16_know_every_bit_pattern),
        cmocka_unit_test(encode__stays_within_error_bound_for_every_kind_of_row),
        cmocka_unit_test(encode__rms_error_of_normal_rows_is_as_small_as_the_type_allows),
        cmocka_unit_test(encode__zero_rows_stay_zero),
        cmocka_unit_test(encode__q8_0_is_never_off_by_more_than_half_a_step),
        cmocka_unit_test(encode__tiny_values_neither_vanish_into_nan_nor_grow),
        cmocka_unit_test(encode__values_past_f16_range_saturate),
        cmocka_unit_test(encode__accepts_nan_and_infinity_without_undefined_behaviour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
