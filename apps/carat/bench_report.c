/* What carat bench prints: tables for people, one JSON object, or CSV. */
#include <errno.h>
#include <string.h>

#include "bench.h"
#include "base/os.h"
#include "json_out.h"
#include "plan_text.h"
#include "term.h"

static const char *test_name(const bench_test *t) { return t->decode ? "decode" : "prefill"; }

const char *bench_kv_name(const bench_args *a) {
    switch ((carat_kv_type)a->common.kv) {
    case CARAT_KV_F32: return "f32";
    case CARAT_KV_Q8_0: return "q8_0";
    default: return "f16";
    }
}

/* Text with so many decimals that three digits show, or four in front of the point. */
char *bench_rate_text(cli_text buf, double x) {
    (void)snprintf(buf, sizeof(cli_text), "%.*f", x < 9.995 ? 2 : x < 999.5 ? 1 : 0, x);
    return buf;
}

static char *range_text(cli_text buf, double min, double max) {
    cli_text a, b;
    (void)snprintf(buf, sizeof(cli_text), "%.14s..%.14s", bench_rate_text(a, min), bench_rate_text(b, max));
    return buf;
}

char *bench_share_text(cli_text buf, double share) {
    (void)snprintf(buf, sizeof(cli_text), "%.1f%%", 100.0 * share);
    return buf;
}

int bench_svg_open(FILE **f, const bench_args *a) {
    if (a->svg && !(*f = fopen(a->svg, "w"))) return cli_fail(CLI_FAILED, "bench", "--svg: %s: %s", a->svg, strerror(errno));
    return CLI_DONE;
}

/* ---- JSON ---- */

cli_json *bench_spread_json(const bench_spread *s) {
    cli_json *o = cli_json_object();
    cli_json_put_real(o, "median", s->median);
    cli_json_put_real(o, "min", s->min);
    cli_json_put_real(o, "max", s->max);
    cli_json_put_real(o, "q1", s->q1);
    cli_json_put_real(o, "q3", s->q3);
    return o;
}

static cli_json *machine_json(const bench_state *b) {
    carat_probe_info info;
    carat_probe_get_info(b->probe, &info);
    cli_json *o = cli_json_object();
    cli_json_put_int(o, "threads", info.n_threads);
    cli_json_put_bytes(o, "buffer_bytes", info.buffer_bytes);
    cli_json_put_str(o, "read_method", info.read);
    cli_json_put_str(o, "dot_method", info.dot);
    cli_json_put(o, "read_bytes_s", bench_spread_json(&b->read));
    cli_json_put(o, "macs_s", bench_spread_json(&b->dot));
    return o;
}

static cli_json *reps_json(const bench_test *t, int n_rep) {
    cli_json *a = cli_json_array();
    for (int i = 0; i < n_rep; i++) {
        cli_json *r = cli_json_object();
        if (t->n) {
            cli_json_put_real(r, "ms", t->rep[i].ms);
            cli_json_put_real(r, "tok_s", 1000.0 * t->n / t->rep[i].ms);
        }
        cli_json_put_real(r, "read_bytes_s", t->rep[i].read);
        cli_json_put_real(r, "macs_s", t->rep[i].dot);
        cli_json_add(a, r);
    }
    return a;
}

/* Time of the step in one repetition. */
static double step_ms(const bench_state *b, const bench_test *t, int step) { return t->profile.ms[step] / b->args->n_rep; }

static double whole_ms(const bench_state *b, const bench_test *t) {
    double sum = 0.0;
    for (int i = 0; i < CARAT_N_STEP; i++) sum += step_ms(b, t, i);
    return sum;
}

/* An amount in a time, by the second; 0 where no time was spent. */
static double by_second(uint64_t n, double ms) { return ms > 0.0 ? 1000.0 * (double)n / ms : 0.0; }

static cli_json *steps_json(const bench_state *b, const bench_test *t) {
    cli_json *a = cli_json_array();
    const double whole = whole_ms(b, t);
    for (int i = 0; i < CARAT_N_STEP; i++) {
        cli_json *s = cli_json_object();
        const double ms = step_ms(b, t, i);
        cli_json_put_str(s, "step", carat_step_key((carat_step)i));
        cli_json_put_real(s, "ms", ms);
        cli_json_put_real(s, "ms_token", ms / t->n);
        cli_json_put_real(s, "share", whole > 0.0 ? ms / whole : 0.0);
        cli_json_put_bytes(s, "bytes", t->work.bytes[i]);
        cli_json_put_bytes(s, "macs", t->work.macs[i]);
        cli_json_put_real(s, "bytes_s", by_second(t->work.bytes[i], ms));
        cli_json_put_real(s, "macs_s", by_second(t->work.macs[i], ms));
        cli_json_add(a, s);
    }
    return a;
}

static cli_json *traffic_json(const bench_test *t, int n_rep) {
    cli_json *o = cli_json_object();
    const bench_traffic *x = &t->traffic;
    const double n = (double)t->n * n_rep;
    cli_json_put(o, "disk_bytes_s", bench_spread_json(&t->disk));
    cli_json_put_int(o, "hits", (int64_t)x->experts.hits);
    cli_json_put_int(o, "misses", (int64_t)x->experts.misses);
    cli_json_put_int(o, "read_ahead", (int64_t)x->experts.hinted);
    cli_json_put_int(o, "read_ahead_used", (int64_t)x->experts.hint_hits);
    cli_json_put_real(o, "bytes_token", (double)x->experts.read_bytes / n);
    cli_json_put_real(o, "stall_ms_token", x->experts.stall_ms / n);
    cli_json_put(o, "disk_share", bench_spread_json(&t->disk_share));
    return o;
}

static cli_json *ple_json(const bench_test *t, int n_rep) {
    cli_json *o = cli_json_object();
    const bench_traffic *x = &t->traffic;
    cli_json_put_int(o, "reads", (int64_t)x->ple_reads);
    cli_json_put_int(o, "hits", (int64_t)x->ple_hits);
    cli_json_put_int(o, "disk_reads", (int64_t)x->ple_disk_reads);
    cli_json_put_bytes(o, "read_bytes", x->ple_bytes);
    cli_json_put_real(o, "stall_ms_token", x->ple_stall_ms / ((double)t->n * n_rep));
    return o;
}

static cli_json *test_json(const bench_state *b, const bench_test *t) {
    cli_json *o = cli_json_object();
    cli_json_put_str(o, "test", test_name(t));
    cli_json_put_int(o, "depth", t->depth);
    cli_json_put_int(o, "tokens", t->n);
    cli_json_put(o, "tok_s", bench_spread_json(&t->tok_s));
    cli_json_put_bytes(o, "bytes", t->work.total_bytes);
    cli_json_put_bytes(o, "macs", t->work.total_macs);
    cli_json_put(o, "read_bytes_s", bench_spread_json(&t->read));
    cli_json_put(o, "macs_s", bench_spread_json(&t->dot));
    cli_json_put_str(o, "limit", t->limit_is_read ? "read" : "dot");
    cli_json_put_real(o, "limit_tok_s", t->limit);
    cli_json_put_real(o, "share", t->share);
    cli_json_put(o, "reps", reps_json(t, b->args->n_rep));
    if (b->plan.experts == CARAT_PLACE_STREAMED) cli_json_put(o, "experts", traffic_json(t, b->args->n_rep));
    if (b->plan.ple != CARAT_PLACE_AUTO) cli_json_put(o, "ple", ple_json(t, b->args->n_rep));
    if (b->args->profile) cli_json_put(o, "profile", steps_json(b, t));
    return o;
}

static int print_json(const bench_state *b) {
    cli_json *o = cli_json_object();
    if (b->s) {
        carat_model_info info;
        carat_session_stats st;
        carat_model_get_info(b->m, &info);
        carat_session_get_stats(b->s, &st);
        cli_json_put_str(o, "model", info.name);
        cli_json_put_str(o, "arch", info.arch);
        cli_json_put_bytes(o, "file_bytes", info.file_bytes);
        cli_json_put_bytes(o, "bytes_token", info.bytes_token);
        cli_json_put_int(o, "threads", st.n_threads);
        cli_json_put_str(o, "cpu", st.cpu);
        cli_json_put_str(o, "kv", bench_kv_name(b->args));
        cli_json_put_bool(o, "all_layers", b->args->all_layers);
        cli_json_put_bytes(o, "kv_bytes", st.kv_bytes);
        cli_json_put_bytes(o, "scratch_bytes", st.scratch_bytes);
        cli_json_put(o, "plan", cli_plan_json(&b->plan));
        cli_json_put_bytes(o, "peak_rss_bytes", ct_memory_usage().rss_peak);
    }
    cli_json_put_int(o, "reps", b->args->n_rep);
    cli_json *machine = machine_json(b);
    if (!b->s) cli_json_put(machine, "reps", reps_json(&b->test[0], b->args->n_rep));
    cli_json_put(o, "machine", machine);
    if (b->s) {
        cli_json *tests = cli_json_array();
        for (int i = 0; i < b->n_test; i++) cli_json_add(tests, test_json(b, &b->test[i]));
        cli_json_put(o, "tests", tests);
    }
    return cli_json_print(o, "bench");
}

/* ---- CSV ---- */

/* RFC 4180: quotes are doubled, and around. */
void bench_csv_text(const char *s) {
    cli_printf("\"");
    for (; *s; s++) cli_printf(*s == '"' ? "\"\"" : "%c", *s);
    cli_printf("\"");
}

static int print_csv(const bench_state *b) {
    if (!b->s) {
        cli_printf("threads,reps,read_bytes_s_median,read_bytes_s_min,read_bytes_s_max,macs_s_median,macs_s_min,macs_s_max\n");
        carat_probe_info info;
        carat_probe_get_info(b->probe, &info);
        cli_printf("%d,%d,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g\n", (int)info.n_threads, (int)b->args->n_rep, b->read.median, b->read.min,
                   b->read.max, b->dot.median, b->dot.min, b->dot.max);
        return CLI_DONE;
    }
    carat_model_info info;
    carat_session_stats st;
    carat_model_get_info(b->m, &info);
    carat_session_get_stats(b->s, &st);
    cli_printf("model,test,depth,tokens,threads,cpu,kv,all_layers,reps,tok_s_median,tok_s_min,tok_s_q1,tok_s_q3,tok_s_max,bytes,macs,"
               "read_bytes_s,macs_s,limit,limit_tok_s,share\n");
    for (int i = 0; i < b->n_test; i++) {
        const bench_test *t = &b->test[i];
        bench_csv_text(info.name && *info.name ? info.name : info.arch);
        cli_printf(",%s,%d,%d,%d,%s,%s,%d,%d", test_name(t), (int)t->depth, (int)t->n, (int)st.n_threads, st.cpu, bench_kv_name(b->args),
                   (int)b->args->all_layers, (int)b->args->n_rep);
        cli_printf(",%.6g,%.6g,%.6g,%.6g,%.6g,%llu,%llu", t->tok_s.median, t->tok_s.min, t->tok_s.q1, t->tok_s.q3, t->tok_s.max,
                   (unsigned long long)t->work.total_bytes, (unsigned long long)t->work.total_macs);
        cli_printf(",%.6g,%.6g,%s,%.6g,%.4f\n", t->read.median, t->dot.median, t->limit_is_read ? "read" : "dot", t->limit, t->share);
    }
    return CLI_DONE;
}

/* ---- for people ---- */

static void print_machine(const bench_state *b) {
    carat_probe_info info;
    carat_probe_get_info(b->probe, &info);
    cli_text size, x, range;
    cli_table *t = cli_table_new("lrll");
    (void)snprintf(x, sizeof x, "%.1f GB/s", b->read.median / 1e9);
    char range_of[48], how[96];
    (void)snprintf(range_of, sizeof range_of, "[%s]", range_text(range, b->read.min / 1e9, b->read.max / 1e9));
    (void)snprintf(how, sizeof how, "%s, %s buffer", info.read, cli_size_text(size, info.buffer_bytes));
    cli_table_row(t, "B: read bandwidth", x, range_of, how);
    (void)snprintf(x, sizeof x, "%.1f GMAC/s", b->dot.median / 1e9);
    (void)snprintf(range_of, sizeof range_of, "[%s]", range_text(range, b->dot.min / 1e9, b->dot.max / 1e9));
    cli_table_row(t, "P: 8-bit peak", x, range_of, info.dot);
    cli_table_print(t, false);
}

static void print_tests(const bench_state *b) {
    cli_table *t = cli_table_new("lrrrrrl");
    cli_table_row(t, "test", "depth", "tokens/s", "[least..most]", "limit", "share", "of");
    cli_table_line(t);
    for (int i = 0; i < b->n_test; i++) {
        const bench_test *x = &b->test[i];
        cli_text name, depth, median, range, limit, share;
        char range_of[48];
        (void)snprintf(name, sizeof name, "%s %d", test_name(x), (int)x->n);
        (void)snprintf(range_of, sizeof range_of, "[%s]", range_text(range, x->tok_s.min, x->tok_s.max));
        cli_table_row(t, name, cli_count_text(depth, x->depth), bench_rate_text(median, x->tok_s.median), range_of,
                      bench_rate_text(limit, x->limit), bench_share_text(share, x->share), x->limit_is_read ? "B" : "P");
    }
    cli_table_print(t, false);
}

/* Experts that came from disk, beside what the disk gives. */
static void print_traffic(const bench_state *b) {
    cli_table *t = cli_table_new("lrrrrrr");
    cli_table_row(t, "experts from disk", "hits", "read a token", "waited a token", "D", "[least..most]", "share of D");
    cli_table_line(t);
    for (int i = 0; i < b->n_test; i++) {
        const bench_test *x = &b->test[i];
        const double n = (double)x->n * b->args->n_rep, used = (double)(x->traffic.experts.hits + x->traffic.experts.misses);
        cli_text hits, bytes, ms, disk, range, share, name;
        char range_of[48];
        (void)snprintf(name, sizeof name, "%s at %d", test_name(x), (int)x->depth);
        (void)snprintf(disk, sizeof disk, "%.2f GB/s", x->disk.median / 1e9);
        (void)snprintf(range_of, sizeof range_of, "[%s]", range_text(range, x->disk.min / 1e9, x->disk.max / 1e9));
        cli_table_row(t, name, bench_share_text(hits, used > 0.0 ? (double)x->traffic.experts.hits / used : 0.0),
                      cli_size_text(bytes, (uint64_t)((double)x->traffic.experts.read_bytes / n)),
                      cli_time_text(ms, x->traffic.experts.stall_ms / n), disk, range_of, bench_share_text(share, x->disk_share.median));
    }
    cli_table_print(t, false);
    cli_printf("\n");
}

static void print_work(const bench_state *b) {
    cli_table *t = cli_table_new("lrrr");
    cli_table_row(t, "needed for a token", "depth", "read", "multiply-adds");
    cli_table_line(t);
    for (int i = 0; i < b->n_test; i++) {
        const bench_test *x = &b->test[i];
        cli_text depth, bytes, macs;
        cli_table_row(t, test_name(x), cli_count_text(depth, x->depth), cli_size_text(bytes, x->work.total_bytes / (uint64_t)x->n),
                      cli_short_text(macs, (int64_t)(x->work.total_macs / (uint64_t)x->n)));
    }
    cli_table_print(t, false);
}

static void print_profile(const bench_state *b, const bench_test *x) {
    cli_text head, ms, share, read, dot;
    const double whole = whole_ms(b, x);
    (void)snprintf(head, sizeof head, "%s %d at %d", test_name(x), (int)x->n, (int)x->depth);
    cli_table *t = cli_table_new("lrrrr");
    cli_table_row(t, head, "ms a token", "share", "GB/s", "GMAC/s");
    cli_table_line(t);
    for (int i = 0; i < CARAT_N_STEP; i++) {
        const double step = step_ms(b, x, i);
        if (step <= 0.0 && x->work.bytes[i] == 0) continue;
        (void)snprintf(ms, sizeof ms, "%.4f", step / x->n);
        (void)snprintf(read, sizeof read, "%.1f", by_second(x->work.bytes[i], step) / 1e9);
        (void)snprintf(dot, sizeof dot, "%.1f", by_second(x->work.macs[i], step) / 1e9);
        cli_table_row(t, carat_step_key((carat_step)i), ms, bench_share_text(share, whole > 0.0 ? step / whole : 0.0),
                      x->work.bytes[i] ? read : "", x->work.macs[i] ? dot : "");
    }
    cli_table_line(t);
    (void)snprintf(ms, sizeof ms, "%.4f", whole / x->n);
    (void)snprintf(read, sizeof read, "%.1f", by_second(x->work.total_bytes, whole) / 1e9);
    (void)snprintf(dot, sizeof dot, "%.1f", by_second(x->work.total_macs, whole) / 1e9);
    cli_table_row(t, "together", ms, "", read, dot);
    cli_printf("\n");
    cli_table_print(t, false);
}

int bench_print(const bench_state *b) {
    if (b->args->common.json) return print_json(b);
    if (b->args->csv) return print_csv(b);
    if (b->s) {
        carat_model_info info;
        carat_session_stats st;
        carat_model_get_info(b->m, &info);
        carat_session_get_stats(b->s, &st);
        cli_printf("%s, %d thread%s, %s, KV %s%s, median of %d\n\n", info.name && *info.name ? info.name : info.arch,
                   (int)st.n_threads, st.n_threads == 1 ? "" : "s", st.cpu, bench_kv_name(b->args),
                   b->args->all_layers ? ", all layers" : "", (int)b->args->n_rep);
        print_tests(b);
        cli_printf("\n");
        print_work(b);
        cli_printf("\n");
        if (b->plan.experts == CARAT_PLACE_STREAMED) print_traffic(b);
    }
    print_machine(b);
    for (int i = 0; i < b->n_test && b->args->profile; i++) print_profile(b, &b->test[i]);
    return CLI_DONE;
}
