/* Memory through time: what the log keeps when it is full, peaks and medians with and without loads, the text of statm; and
 * that the watch itself sees memory come. No speed is judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "memwatch.h"

static void log__keeps_all_samples_while_there_is_room(void **state) {
    (void)state;
    memwatch_entry e[8];
    uint64_t scratch[8];
    memwatch_log l;
    memwatch_log_init(&l, e, 8);
    assert_int_equal(memwatch_log_median(&l, scratch, true, true), 0);
    for (uint64_t i = 0; i < 8; i++) {
        memwatch_log_add(&l, &(memwatch_sample){.t_ms = (double)i, .anon = 10 * i, .file = 1, .charged = 100 - i, .loads = i / 3});
    }
    assert_int_equal(l.n, 8);
    assert_int_equal(l.stride, 1);
    assert_int_equal(l.peak, 71);
    assert_int_equal(l.anon_peak, 70);
    assert_int_equal(l.charged_peak, 100);
    /* Loads moved at samples 3 and 6. */
    assert_int_equal(l.n_load, 2);
    assert_int_equal(l.load_peak, 61);
    assert_int_equal(l.rest_peak, 71);
    for (size_t i = 0; i < 8; i++) assert_int_equal(e[i].loaded, i == 3 || i == 6);
    assert_int_equal(memwatch_log_median(&l, scratch, true, true), 41);
    assert_int_equal(memwatch_log_median(&l, scratch, true, false), 61);
    assert_int_equal(memwatch_log_median(&l, scratch, false, true), 41); /* 1 11 21 41 51 71 */
}

static void log__halves_when_it_is_full_and_loses_no_peak(void **state) {
    (void)state;
    enum { CAP = 16 };
    for (uint64_t n = 1; n < 700; n++) {
        for (uint64_t spike = n / 3; spike < n; spike += n / 3 + 1) {
            memwatch_entry e[CAP];
            memwatch_log l;
            memwatch_log_init(&l, e, CAP);
            for (uint64_t i = 0; i < n; i++) {
                const bool here = i == spike;
                memwatch_log_add(&l, &(memwatch_sample){.t_ms = (double)i, .anon = here ? 1000 : 5, .file = 2, .loads = i >= spike});
            }
            assert_int_equal(l.n_sample, n);
            assert_true(l.n <= CAP && (n <= CAP || l.n >= CAP / 2));
            assert_int_equal(l.n, (n + l.stride - 1) / l.stride);
            assert_int_equal(l.peak, 1002);
            size_t seen = 0, loaded = 0;
            for (size_t i = 0; i < l.n; i++) {
                assert_int_equal((uint64_t)e[i].first.t_ms, i * l.stride);
                assert_int_equal(e[i].peak == 1002, spike / l.stride == i);
                seen += e[i].peak == 1002;
                loaded += e[i].loaded;
            }
            assert_int_equal(seen, 1);
            assert_int_equal(loaded, 1);
            assert_int_equal(l.n_load, 1);
            assert_int_equal(l.load_peak, 1002);
            assert_int_equal(l.rest_peak, n > 1 ? 7 : 0);
        }
    }
}

static void statm__is_read_or_refused(void **state) {
    (void)state;
    uint64_t anon = 7, file = 7;
    assert_true(memwatch_parse_statm("5000 300 120 40 0 900 0\n", &anon, &file));
    assert_int_equal(anon, 180);
    assert_int_equal(file, 120);
    assert_true(memwatch_parse_statm("5000 100 120 40 0 900 0\n", &anon, &file)); /* the counters are not read at one time */
    assert_int_equal(anon, 0);
    assert_int_equal(file, 100);
    static const char *const bad[] = {"", "\n", "5000", "5000 300", "5000 300 120", "a b c d", "5000 -3 120 4", " 1 2 3 4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(memwatch_parse_statm(bad[i], &anon, &file));
}

static uint64_t read_counter(const void *ud) { return atomic_load((const _Atomic uint64_t *)ud); }

static void watch__sees_memory_come_and_loads_move(void **state) {
    (void)state;
    enum { BYTES = 48 << 20 };
    _Atomic uint64_t loads = 41; /* what was loaded before is no load of now */
    memwatch *w = memwatch_start(0.5);
    assert_non_null(w);
    memwatch_count(w, read_counter, &loads);
    const struct timespec nap = {0, 5000000};
    nanosleep(&nap, NULL);
    char *p = malloc(BYTES);
    assert_non_null(p);
    memset(p, 1, BYTES);
    atomic_fetch_add(&loads, 3);
    memwatch_mark(w, MEMWATCH_FIRST_TOKEN);
    memwatch_mark(NULL, MEMWATCH_END);
    memwatch_stop(w); /* takes a sample: the load and the memory are seen even if the thread never ran in between */
    memwatch_summary s;
    memwatch_get(w, &s);
    assert_true(s.n >= 1);
    assert_true(s.counts);
    assert_true(s.load_n >= 1);
#ifdef __linux__
    assert_true(s.anon_peak >= BYTES);
    assert_true(s.peak >= s.anon_peak && s.load_peak >= BYTES && s.load_peak <= s.peak && s.rest_peak <= s.peak);
    assert_true(s.median > 0 && s.median <= s.peak);
#endif
    assert_int_equal(p[BYTES - 1], 1);
    free(p);
    FILE *f = tmpfile();
    assert_true(memwatch_write_csv(w, f));
    rewind(f);
    char line[200];
    int rows = 0;
    assert_non_null(fgets(line, sizeof line, f));
    assert_string_equal(line, "t_ms,rss_anon,rss_file,charged,loads,rss_peak\n");
    double t_before = -1.0;
    while (fgets(line, sizeof line, f)) {
        double t;
        unsigned long long v[5];
        char end;
        assert_int_equal(sscanf(line, "%lf,%llu,%llu,%llu,%llu,%llu%c", &t, v, v + 1, v + 2, v + 3, v + 4, &end), 7);
        assert_true(t >= t_before && end == '\n' && v[4] >= v[0] + v[1] && (v[3] == 0 || v[3] == 3));
        t_before = t;
        rows++;
    }
    assert_true(rows >= 1 && (uint64_t)rows <= s.n);
    fclose(f);
    f = tmpfile();
    assert_true(memwatch_write_svg(w, f, "title", "caption"));
    assert_true(ftell(f) > 1000);
    fclose(f);
    memwatch_free(&w);
    assert_null(w);
    memwatch_free(&w);
    memwatch_get(NULL, &s);
    assert_int_equal(s.n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log__keeps_all_samples_while_there_is_room),
        cmocka_unit_test(log__halves_when_it_is_full_and_loses_no_peak),
        cmocka_unit_test(statm__is_read_or_refused),
        cmocka_unit_test(watch__sees_memory_come_and_loads_move),
    };
    return cmocka_run_group_tests_name("memwatch", tests, NULL, NULL);
}
