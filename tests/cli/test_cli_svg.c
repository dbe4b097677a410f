/* The SVG writer: ticks, texts of values, escaping, what is left out; files stay small and well-formed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "svg.h"

#define MIB 1048576.0

static char out[1 << 20];

/* What a plot or a chart writes, as text. */
static const char *written(const svg_plot *p, const svg_bars *b) {
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_true(p ? svg_write_plot(f, p) : svg_write_bars(f, b));
    rewind(f);
    const size_t n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    fclose(f);
    assert_true(n < sizeof out - 1);
    return out;
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
    return n;
}

/* Elements close in the order they opened, and nothing is no number. */
static void check_well_formed(const char *s) {
    char open[8][16];
    int depth = 0;
    for (const char *p = s; (p = strchr(p, '<')); p++) {
        const char *gt = strchr(p, '>');
        assert_non_null(gt);
        const size_t n = strcspn(p + 1 + (p[1] == '/'), " >/");
        if (p[1] == '/') {
            assert_true(depth > 0);
            depth--;
            if (strncmp(open[depth], p + 2, n) != 0 || open[depth][n]) fail_msg("<%s> ends as %.20s", open[depth], p);
        } else if (gt[-1] != '/') {
            assert_true(depth < 8 && n < sizeof open[0]);
            memcpy(open[depth], p + 1, n);
            open[depth++][n] = '\0';
        }
    }
    assert_int_equal(depth, 0);
    for (const char *p = s; (p = strchr(p, '&')); p++) {
        assert_true(strncmp(p, "&amp;", 5) == 0 || strncmp(p, "&lt;", 4) == 0 || strncmp(p, "&gt;", 4) == 0 ||
                    strncmp(p, "&quot;", 6) == 0);
    }
    assert_null(strstr(s, "nan"));
    assert_null(strstr(s, "inf"));
}

static void check_ticks(svg_unit unit, bool log, double lo, double hi, int n, const double *want) {
    double t[SVG_MAX_TICK];
    const int got = svg_ticks(t, unit, log, lo, hi);
    if (got != n) fail_msg("%g..%g: %d ticks, expected %d", lo, hi, got, n);
    for (int i = 0; i < n; i++) {
        if (fabs(t[i] - want[i]) > 1e-9 * (fabs(want[i]) + 1e-3)) fail_msg("%g..%g: tick %d is %g, not %g", lo, hi, i, t[i], want[i]);
    }
}
#define TICKS(unit, log, lo, hi, ...) \
    check_ticks(unit, log, lo, hi, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__})

static void ticks__are_where_people_look_for_them(void **state) {
    (void)state;
    TICKS(SVG_NUMBER, false, 0, 1, 0, 0.2, 0.4, 0.6, 0.8, 1);
    TICKS(SVG_RATE, false, 0, 23, 0, 5, 10, 15, 20);
    TICKS(SVG_NUMBER, false, -7, 6.9, -6, -4, -2, 0, 2, 4, 6);
    TICKS(SVG_BYTES, false, 0, 1700 * MIB, 0, 256 * MIB, 512 * MIB, 768 * MIB, 1024 * MIB, 1280 * MIB, 1536 * MIB);
    TICKS(SVG_BYTES, false, 1500, 9000, 2048, 4096, 6144, 8192);
    TICKS(SVG_MS, false, 0, 18000, 0, 5000, 10000, 15000);
    TICKS(SVG_MS, false, 0, 1500000, 0, 300000, 600000, 900000, 1200000, 1500000); /* 5 minutes apart */
    TICKS(SVG_MS, true, 0.002, 3000, 0.01, 0.1, 1, 10, 100, 1000);
    TICKS(SVG_RATE, true, 1, 60, 1, 2, 5, 10, 20, 50);
    TICKS(SVG_BYTES, true, 512 * MIB, 16384 * MIB, 512 * MIB, 1024 * MIB, 2048 * MIB, 4096 * MIB, 8192 * MIB, 16384 * MIB);
    TICKS(SVG_NUMBER, true, 41, 47, 41, 42, 43, 44, 45, 46, 47); /* too narrow for decades */
}

static void ticks__are_few_within_the_axis_and_ascend(void **state) {
    (void)state;
    for (double lo = 1e-6; lo < 1e12; lo *= 3.7) {
        for (double width = 1.001; width < 1e9; width *= 2.3) {
            for (int unit = SVG_NUMBER; unit <= SVG_SHARE; unit++) {
                for (int log = 0; log < 2; log++) {
                    double t[SVG_MAX_TICK];
                    const double hi = lo * width, slack = 1e-6 * (hi - lo);
                    const int n = svg_ticks(t, (svg_unit)unit, log, lo, hi);
                    if (n < 1 || n > 12) fail_msg("%g..%g (%d, %d): %d ticks", lo, hi, unit, log, n);
                    for (int i = 0; i < n; i++) {
                        if (t[i] < lo - slack || t[i] > hi + slack) fail_msg("%g..%g (%d, %d): %g", lo, hi, unit, log, t[i]);
                        assert_true(i == 0 || t[i] > t[i - 1]);
                    }
                }
            }
        }
    }
}

static void values__carry_the_unit_people_use(void **state) {
    (void)state;
    static const struct {
        svg_unit unit;
        double v;
        const char *text;
    } want[] = {
        {SVG_BYTES, 0, "0"}, {SVG_BYTES, -0.0, "0"}, {SVG_BYTES, 1023, "1023 B"}, {SVG_BYTES, 1024, "1 KiB"},
        {SVG_BYTES, 1536 * MIB, "1.5 GiB"}, {SVG_BYTES, 1023.9 * MIB, "1 GiB"}, {SVG_MS, 0.004, "4 µs"}, {SVG_MS, 12.5, "12.5 ms"},
        {SVG_MS, 2500, "2.5 s"}, {SVG_MS, 180000, "3 min"}, {SVG_RATE, 41.25, "41.2 tok/s"}, {SVG_RATE, 40, "40 tok/s"},
        {SVG_SHARE, 0.5, "50%"}, {SVG_NUMBER, -3.25, "-3.25"}, {SVG_NUMBER, 12345678, "1.23e+07"}, {SVG_NUMBER, 100, "100"},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        svg_text t;
        assert_string_equal(svg_value_text(t, want[i].unit, want[i].v), want[i].text);
    }
}

static void text__is_escaped_everywhere(void **state) {
    (void)state;
    static const char evil[] = "<b>&\"]]>\x01\x1b[0m</svg>";
    const double x[] = {1, 2};
    const svg_series s = {.name = evil, .x = x, .y = x, .n = 2, .points = true};
    const svg_rule r[] = {{true, 1.5, evil}, {false, 1.5, evil}};
    const svg_plot p = {.title = evil, .caption = evil, .x = {.label = evil}, .y = {.label = evil}, .series = &s, .n_series = 1,
                        .rule = r, .n_rule = 2};
    const char *t = written(&p, NULL);
    check_well_formed(t);
    assert_int_equal(count(t, "&lt;b&gt;&amp;&quot;]]&gt;[0m&lt;/svg&gt;"), 8); /* the title twice */
    assert_null(strpbrk(t, "\x01\x1b"));
    const svg_bar bar = {evil, 1, evil};
    const svg_bars b = {.title = evil, .caption = evil, .axis = {.label = evil}, .bar = &bar, .n_bar = 1};
    t = written(NULL, &b);
    check_well_formed(t);
    assert_int_equal(count(t, "&lt;b&gt;&amp;&quot;]]&gt;[0m&lt;/svg&gt;"), 6);
}

static void plots__leave_out_what_is_no_number(void **state) {
    (void)state;
    const double x[] = {0, 1, 2, 3, NAN, 5}, y[] = {-1, 10, NAN, 1000, 4, INFINITY};
    for (int log = 0; log < 2; log++) {
        const svg_series s = {.name = "a", .x = x, .y = y, .n = 6, .points = true};
        const svg_plot p = {.y = {.log = log}, .series = &s, .n_series = 1};
        const char *t = written(&p, NULL);
        check_well_formed(t);
        assert_int_equal(count(t, "<circle"), log ? 2 : 3); /* -1 has no logarithm */
        const char *line = strstr(t, "class=\"line s0\" d=\"M"); /* the legend's, then the series' */
        line = strstr(line + 1, "class=\"line s0\" d=\"M");
        assert_non_null(line);
        int moves = 0;
        for (const char *c = strchr(line, 'M'); *c != '"'; c++) moves += *c == 'M';
        assert_int_equal(moves, 2); /* a gap where the value is missing */
    }
    const svg_bar bar[] = {{"a", NAN, NULL}, {"b", 0, NULL}, {"c", -2, NULL}, {"d", 5, NULL}};
    const svg_bars b = {.bar = bar, .n_bar = 4};
    assert_int_equal(count(written(NULL, &b), "<rect class=\"f0\""), 3);
    check_well_formed(out);
}

static void plots__of_nothing_or_one_value_are_plots(void **state) {
    (void)state;
    const double at[] = {0.0, 5.0, -5.0, 1e-300, 1e300};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        for (int kind = 0; kind < 8; kind++) {
            const svg_series s = {.name = "one", .x = at + i, .y = at + i, .n = kind < 4, .step = true};
            const svg_axis a = {.unit = (svg_unit)(kind % 5), .log = kind & 1, .from_zero = kind & 2};
            const svg_plot p = {.title = "t", .x = a, .y = a, .series = &s, .n_series = 1};
            check_well_formed(written(&p, NULL));
            const svg_bar bar = {"x", at[i], NULL};
            const svg_bars b = {.axis = a, .bar = &bar, .n_bar = kind < 4};
            check_well_formed(written(NULL, &b));
        }
    }
}

static void plots__of_many_values_stay_small_and_keep_the_spikes(void **state) {
    (void)state;
    enum { N = 200000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) x[i] = i, y[i] = 100 + i % 7;
    y[123456] = 1000;
    const svg_series s = {.name = "many", .x = x, .y = y, .n = N, .step = true};
    const svg_rule r = {.at = 1000};
    const svg_plot p = {.y = {.from_zero = true}, .series = &s, .n_series = 1, .rule = &r, .n_rule = 1};
    const char *t = written(&p, NULL);
    check_well_formed(t);
    assert_true(strlen(t) < 60000);
    /* The spike reaches the height of the rule at the same value. */
    double y_rule;
    assert_int_equal(sscanf(strstr(t, "<path class=\"rule\" d=\"M") + 23, "%*f %lf", &y_rule), 1);
    char spike[32];
    snprintf(spike, sizeof spike, "V%.1f", y_rule);
    assert_int_equal(count(t, spike), 1);
    free(x);
    free(y);
}

static void lines__of_a_step_plot_turn_at_right_angles(void **state) {
    (void)state;
    const double x[] = {0, 1, 2}, y[] = {0, 1, 0.5};
    for (int step = 0; step < 2; step++) {
        const svg_series s = {.x = x, .y = y, .n = 3, .step = step};
        const svg_plot p = {.series = &s, .n_series = 1};
        const char *line = strstr(written(&p, NULL), "class=\"line s0\" d=\"");
        assert_non_null(line);
        line = strchr(line, 'M');
        char path[200];
        snprintf(path, sizeof path, "%.*s", (int)strcspn(line, "\""), line);
        assert_int_equal(count(path, "H"), step ? 2 : 0);
        assert_int_equal(count(path, "L"), step ? 0 : 2);
    }
}

static void plots__stand_one_below_the_other(void **state) {
    (void)state;
    const double x[] = {1, 2}, y[] = {3, 4};
    const svg_series s = {.name = "line", .x = x, .y = y, .n = 2, .points = true};
    const svg_plot p[] = {{.title = "upper", .caption = "of the first", .series = &s, .n_series = 1},
                          {.title = "lower", .caption = "of the second", .x = {.label = "below"}, .series = &s, .n_series = 1}};
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_true(svg_write_plots(f, p, 2));
    rewind(f);
    out[fread(out, 1, sizeof out - 1, f)] = '\0';
    fclose(f);
    check_well_formed(out);
    assert_int_equal(count(out, "<svg "), 1);
    assert_int_equal(count(out, "<circle"), 4);
    const char *upper = strstr(out, ">upper</text>"), *lower = strstr(out, ">lower</text>"), *first = strstr(out, "of the first");
    assert_true(upper && lower && first && upper < first && first < lower);
    /* The second title is below the first caption, and the page has room for the last one. */
    double height = 0.0, y_first = 0.0, y_lower = 0.0, y_last = 0.0;
    assert_int_equal(sscanf(strstr(out, "viewBox"), "viewBox=\"0 0 720 %lf", &height), 1);
    assert_int_equal(sscanf(strstr(strstr(out, "class=\"caption\""), " y="), " y=\"%lf", &y_first), 1);
    assert_int_equal(sscanf(strstr(strstr(first, "class=\"title\""), " y="), " y=\"%lf", &y_lower), 1);
    assert_int_equal(sscanf(strstr(strstr(lower, "class=\"caption\""), " y="), " y=\"%lf", &y_last), 1);
    assert_true(300.0 < y_first && y_first < y_lower && y_lower + 300.0 < y_last && y_last < height);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks__are_where_people_look_for_them),
        cmocka_unit_test(ticks__are_few_within_the_axis_and_ascend),
        cmocka_unit_test(values__carry_the_unit_people_use),
        cmocka_unit_test(text__is_escaped_everywhere),
        cmocka_unit_test(plots__leave_out_what_is_no_number),
        cmocka_unit_test(plots__stand_one_below_the_other),
        cmocka_unit_test(plots__of_nothing_or_one_value_are_plots),
        cmocka_unit_test(plots__of_many_values_stay_small_and_keep_the_spikes),
        cmocka_unit_test(lines__of_a_step_plot_turn_at_right_angles),
    };
    return cmocka_run_group_tests_name("svg", tests, NULL, NULL);
}
