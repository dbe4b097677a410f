/* What carat bench --experts prints: tables for people, one JSON object, or CSV; and the plot of --svg. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench_cache.h"
#include "svg.h"

static double share_of(const cache_state *s, const cache_row *r) { return r->n_slot ? (double)r->n_slot / s->n_all : 1.0; }

/* What gap to the optimum the policy leaves; what was read ahead is no business of either. */
static double gap(const cache_row *r) { return r->belady - r->own_hits; }

/* ---- JSON ---- */

static cli_json *phase_json(const carat_expert_stats *x, double n_tok) {
    cli_json *o = cli_json_object();
    const double uses = (double)(x->hits + x->misses);
    cli_json_put_int(o, "hits", (int64_t)x->hits);
    cli_json_put_int(o, "misses", (int64_t)x->misses);
    cli_json_put_int(o, "read_ahead", (int64_t)x->hinted);
    cli_json_put_int(o, "read_ahead_used", (int64_t)x->hint_hits);
    cli_json_put_real(o, "hit_rate", uses > 0.0 ? (double)x->hits / uses : NAN);
    cli_json_put_real(o, "own_hit_rate", uses > 0.0 ? (double)(x->hits - x->hint_hits) / uses : NAN);
    cli_json_put_real(o, "bytes_token", n_tok > 0.0 ? (double)x->read_bytes / n_tok : NAN);
    cli_json_put_real(o, "stall_ms_token", n_tok > 0.0 ? x->stall_ms / n_tok : NAN);
    return o;
}

static cli_json *span_json(const char *what, int32_t from, int32_t to, const cache_span_use *u) {
    cli_json *o = cli_json_object();
    cli_json_put_str(o, "tokens", what);
    cli_json_put_int(o, "from", from);
    cli_json_put_int(o, "to", to);
    cli_json_put_int(o, "n", u->n);
    cli_json_put_real(o, "misses_token", u->n ? u->misses : NAN);
    cli_json_put_real(o, "token_ms", u->n ? u->ms : NAN);
    return o;
}

static cli_json *switches_json(const cache_row *r) {
    cli_json *a = cli_json_array();
    cli_json_add(a, span_json("before", -CACHE_BEFORE, -1, &r->before));
    for (int k = 0; k < CACHE_N_SPAN; k++) cli_json_add(a, span_json("after", cache_span[k][0], cache_span[k][1], &r->span[k]));
    return a;
}

static cli_json *memory_json(const memwatch_summary *m) {
    cli_json *o = cli_json_object();
    cli_json_put_bytes(o, "samples", m->n);
    cli_json_put_bytes(o, "peak_bytes", m->peak);
    cli_json_put_bytes(o, "median_bytes", m->median);
    cli_json_put_bytes(o, "anon_peak_bytes", m->anon_peak);
    if (m->counts) {
        cli_json_put_bytes(o, "at_switches", m->load_n);
        cli_json_put_bytes(o, "at_switches_peak_bytes", m->load_peak);
        cli_json_put_bytes(o, "at_switches_median_bytes", m->load_median);
        cli_json_put_bytes(o, "elsewhere_peak_bytes", m->rest_peak);
        cli_json_put_bytes(o, "elsewhere_median_bytes", m->rest_median);
    } else {
        cli_json_put_null(o, "at_switches_peak_bytes");
    }
    return o;
}

static cli_json *row_json(const cache_state *s, const cache_row *r) {
    const double n_rep = s->args->n_rep;
    cli_json *o = cli_json_object(), *ms = cli_json_object(), *worst = cli_json_object();
    cli_json_put_int(o, "experts", r->n_slot ? r->n_slot : s->n_all);
    cli_json_put_real(o, "share", share_of(s, r));
    cli_json_put_str(o, "mode", carat_place_key(r->place));
    cli_json_put_bytes(o, "cache_bytes", r->cache_bytes);
    cli_json_put(o, "tok_s", bench_spread_json(&r->tok_s));
    if (s->n_prompt) cli_json_put(o, "prefill_tok_s", bench_spread_json(&r->prefill_tok_s));
    cli_json_put_real(ms, "p50", r->p50);
    cli_json_put_real(ms, "p95", r->p95);
    cli_json_put_real(ms, "p99", r->p99);
    cli_json_put_real(ms, "max", r->worst.ms);
    cli_json_put(o, "token_ms", ms);
    cli_json_put_real(worst, "ms", r->worst.ms);
    cli_json_put_int(worst, "misses", r->worst.misses);
    cli_json_put_int(worst, "token", r->worst.at);
    cli_json_put(o, "worst_token", worst);
    if (r->n_slot) {
        cli_json_put(o, "prefill", phase_json(&r->prefill, n_rep * s->n_prompt));
        cli_json_put(o, "decode", phase_json(&r->decode, n_rep * s->n_gen));
        cli_json_put_real(o, "belady_hit_rate", r->belady);
        cli_json_put_real(o, "gap", gap(r));
        cli_json_put(o, "disk_bytes_s", bench_spread_json(&r->disk));
        cli_json_put(o, "disk_share", bench_spread_json(&r->disk_share));
    }
    cli_json_put(o, "memory", memory_json(&r->memory));
    if (s->n_switch) cli_json_put(o, "switches", switches_json(r));
    return o;
}

static int print_json(const cache_state *s) {
    const bench_args *a = s->args;
    cli_json *o = cli_json_object(), *rows = cli_json_array();
    cli_json_put_str(o, "model", s->name);
    cli_json_put_str(o, "arch", s->arch);
    cli_json_put_bytes(o, "file_bytes", s->file_bytes);
    cli_json_put_int(o, "threads", s->n_threads);
    cli_json_put_str(o, "cpu", s->cpu);
    cli_json_put_str(o, "kv", bench_kv_name(a));
    cli_json_put_int(o, "experts_in_all", s->n_all);
    cli_json_put_int(o, "experts_used", s->n_used);
    cli_json_put_bytes(o, "expert_bytes", s->expert_bytes);
    cli_json_put_str(o, "routing", a->uniform ? "uniform" : "learned");
    if (a->text) cli_json_put_str(o, "text", a->text);
    else cli_json_put_null(o, "text");
    cli_json_put_int(o, "topics", s->n_topic);
    cli_json_put_int(o, "switches", s->n_switch);
    cli_json_put_int(o, "prompt_tokens", s->n_prompt);
    cli_json_put_int(o, "gen_tokens", s->n_gen);
    cli_json_put_int(o, "reps", a->n_rep);
    for (int i = 0; i < s->n_row; i++) cli_json_add(rows, row_json(s, &s->row[i]));
    cli_json_put(o, "caches", rows);
    cli_json_put(o, "use", bench_use_json(&s->facts));
    return cli_json_print(o, "bench");
}

/* ---- CSV ---- */

static int print_csv(const cache_state *s) {
    cli_printf("model,experts,share,mode,threads,cpu,routing,prompt_tokens,gen_tokens,reps,tok_s,tok_s_q1,tok_s_q3,prefill_tok_s,token_p50_ms,"
               "token_p95_ms,token_p99_ms,token_max_ms,worst_misses,hit_rate,own_hit_rate,belady_hit_rate,prefill_own_hit_rate,bytes_token,"
               "stall_ms_token,disk_bytes_s,disk_share,peak_bytes,at_switches_peak_bytes,elsewhere_peak_bytes\n");
    for (int i = 0; i < s->n_row; i++) {
        const cache_row *r = &s->row[i];
        bench_csv_text(s->name);
        cli_printf(",%d,%.6g,%s,%d,%s,%s,%d,%d,%d", (int)(r->n_slot ? r->n_slot : s->n_all), share_of(s, r), carat_place_key(r->place),
                   (int)s->n_threads, s->cpu, s->args->uniform ? "uniform" : "learned", (int)s->n_prompt, (int)s->n_gen,
                   (int)s->args->n_rep);
        cli_printf(",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%d", r->tok_s.median, r->tok_s.q1, r->tok_s.q3, r->prefill_tok_s.median,
                   r->p50, r->p95, r->p99, r->worst.ms, (int)r->worst.misses);
        if (r->n_slot) {
            cli_printf(",%.6g,%.6g,%.6g,%.6g,%.10g,%.6g,%.6g,%.6g,%llu,%llu,%llu\n", r->hits, r->own_hits, r->belady, r->prefill_hits,
                       r->bytes, r->stall, r->disk.median, r->disk_share.median, (unsigned long long)r->memory.peak,
                       (unsigned long long)r->memory.load_peak, (unsigned long long)r->memory.rest_peak);
        } else {
            cli_printf(",,,,,,,,,%llu,,\n", (unsigned long long)r->memory.peak);
        }
    }
    return CLI_DONE;
}

/* ---- for people ---- */

static const char *row_name(char buf[48], const cache_state *s, const cache_row *r) {
    cli_text n, share;
    if (!r->n_slot) return carat_place_key(r->place);
    (void)snprintf(buf, 48, "%s (%s)", cli_count_text(n, r->n_slot), bench_share_text(share, share_of(s, r)));
    return buf;
}

static void print_speed(const cache_state *s) {
    cli_table *t = cli_table_new("lrrrrrrrr");
    cli_table_row(t, "cached experts", "tokens/s", "[q1..q3]", "token p50", "p95", "p99", "most, ms", "it missed",
                  s->n_prompt ? "prefill tokens/s" : "");
    cli_table_line(t);
    for (int i = 0; i < s->n_row; i++) {
        const cache_row *r = &s->row[i];
        cli_text tok_s, q1, q3, p50, p95, p99, most, missed = "", prefill;
        char name[48], range[72];
        (void)snprintf(range, sizeof range, "[%s..%s]", bench_rate_text(q1, r->tok_s.q1), bench_rate_text(q3, r->tok_s.q3));
        if (r->n_slot) (void)snprintf(missed, sizeof missed, "%d", (int)r->worst.misses);
        cli_table_row(t, row_name(name, s, r), bench_rate_text(tok_s, r->tok_s.median), range, bench_rate_text(p50, r->p50),
                      bench_rate_text(p95, r->p95), bench_rate_text(p99, r->p99), bench_rate_text(most, r->worst.ms), missed,
                      s->n_prompt ? bench_rate_text(prefill, r->prefill_tok_s.median) : "");
    }
    cli_table_print(t, false);
}

static void print_hits(const cache_state *s) {
    cli_table *t = cli_table_new("lrrrrrrrrr");
    cli_table_row(t, "cached experts", "decode hits", "not ahead", "Belady", "gap", "prefill hits", "a token reads", "and waits", "D",
                  "share of D");
    cli_table_line(t);
    for (int i = 0; i < s->n_row; i++) {
        const cache_row *r = &s->row[i];
        cli_text hits, own, belady, less, prefill, bytes, ms, disk, share;
        char name[48];
        if (!r->n_slot) continue;
        (void)snprintf(disk, sizeof disk, "%.2f GB/s", r->disk.median / 1e9);
        cli_table_row(t, row_name(name, s, r), bench_share_text(hits, r->hits), bench_share_text(own, r->own_hits),
                      bench_share_text(belady, r->belady), bench_share_text(less, gap(r)),
                      s->n_prompt ? bench_share_text(prefill, r->prefill_hits) : "", cli_size_text(bytes, (uint64_t)r->bytes),
                      cli_time_text(ms, r->stall), disk, bench_share_text(share, r->disk_share.median));
    }
    cli_table_print(t, false);
}

static void print_memory(const cache_state *s) {
    cli_table *t = cli_table_new("lrrrrrr");
    cli_table_row(t, "resident memory", "cache", "peak", "as experts came", "median", "else", "median");
    cli_table_line(t);
    for (int i = 0; i < s->n_row; i++) {
        const cache_row *r = &s->row[i];
        const memwatch_summary *m = &r->memory;
        cli_text cache, peak, load, load_mid, rest, rest_mid;
        char name[48];
        cli_table_row(t, row_name(name, s, r), r->n_slot ? cli_size_text(cache, r->cache_bytes) : "", cli_size_text(peak, m->peak),
                      m->load_n ? cli_size_text(load, m->load_peak) : "", m->load_n ? cli_size_text(load_mid, m->load_median) : "",
                      m->counts && m->rest_peak ? cli_size_text(rest, m->rest_peak) : "",
                      m->counts && m->rest_peak ? cli_size_text(rest_mid, m->rest_median) : cli_size_text(rest_mid, m->median));
    }
    cli_table_print(t, false);
}

static void add_span(cli_table *t, const char *name, const char *when, const cache_span_use *u) {
    cli_text n, misses, ms;
    if (u->n) cli_table_row(t, name, when, cli_count_text(n, u->n), bench_rate_text(misses, u->misses), bench_rate_text(ms, u->ms));
}

static void print_switches(const cache_state *s) {
    cli_printf("When the topic changes, %d time%s in each repetition:\n", s->n_switch, s->n_switch == 1 ? "" : "s");
    cli_table *t = cli_table_new("llrrr");
    cli_table_row(t, "cached experts", "tokens", "measured", "missed a token", "token, ms");
    cli_table_line(t);
    for (int i = 0; i < s->n_row; i++) {
        const cache_row *r = &s->row[i];
        char name[48], when[48];
        (void)snprintf(when, sizeof when, "last %d before", CACHE_BEFORE);
        add_span(t, row_name(name, s, r), when, &r->before);
        for (int k = 0; k < CACHE_N_SPAN; k++) {
            if (k == 0) (void)snprintf(when, sizeof when, "first of the new topic");
            else (void)snprintf(when, sizeof when, "%d to %d", (int)cache_span[k][0], (int)cache_span[k][1]);
            add_span(t, "", when, &r->span[k]);
        }
    }
    cli_table_print(t, false);
}

static int print_tables(const cache_state *s) {
    const bench_args *a = s->args;
    cli_text size, all;
    cli_printf("%s, %d thread%s, %s, KV %s; %s experts of %s, %d a token and layer\n", s->name, (int)s->n_threads,
               s->n_threads == 1 ? "" : "s", s->cpu, bench_kv_name(a), cli_count_text(all, s->n_all), cli_size_text(size, s->expert_bytes),
               (int)s->n_used);
    cli_printf("prompt of %d, answer of %d tokens of %s%s, %s routing, median of %d\n\n", (int)s->n_prompt, (int)s->n_gen,
               a->text ? a->text : "no text (pseudo-random; --text FILE for one)", a->text && s->n_topic > 1 ? ", topics apart" : "",
               a->uniform ? "uniform" : "learned", (int)a->n_rep);
    print_speed(s);
    cli_printf("\n");
    print_hits(s);
    cli_printf("\n");
    print_memory(s);
    cli_printf("\n");
    if (s->n_switch) {
        print_switches(s);
        cli_printf("\n");
    }
    bench_use_print(&s->facts, s->n_used);
    return CLI_DONE;
}

/* ---- the plot ---- */

static bool write_svg(FILE *f, const cache_state *s) {
    double share[BENCH_MAX_SIZE], tok_s[BENCH_MAX_SIZE], hits[BENCH_MAX_SIZE], belady[BENCH_MAX_SIZE], prefill[BENCH_MAX_SIZE];
    size_t n = 0;
    char title[160], caption[480];
    cli_text size;
    for (int i = 0; i < s->n_row; i++) {
        const cache_row *r = &s->row[i];
        size_t at = n;
        if (!r->n_slot) continue;
        while (at > 0 && share[at - 1] > share_of(s, r)) at--; /* ascending, as a line goes */
        memmove(share + at + 1, share + at, (n - at) * sizeof *share);
        memmove(tok_s + at + 1, tok_s + at, (n - at) * sizeof *share);
        memmove(hits + at + 1, hits + at, (n - at) * sizeof *share);
        memmove(belady + at + 1, belady + at, (n - at) * sizeof *share);
        memmove(prefill + at + 1, prefill + at, (n - at) * sizeof *share);
        share[at] = share_of(s, r);
        tok_s[at] = r->tok_s.median;
        hits[at] = r->own_hits;
        belady[at] = r->belady;
        prefill[at] = s->n_prompt ? r->prefill_hits : NAN;
        n++;
    }
    (void)snprintf(title, sizeof title, "A cache of experts: %s", s->name);
    (void)snprintf(caption, sizeof caption, "%d experts in all layers, %s each. carat %s bench --experts, %d threads, prompts of %d and "
                   "answers of %d tokens, %s, %s routing, medians of %d. Hits are told without what was read ahead; the optimum knows "
                   "which experts come.", (int)s->n_all, cli_size_text(size, s->expert_bytes), carat_version(), (int)s->n_threads,
                   (int)s->n_prompt, (int)s->n_gen, s->text ? "of a text" : "pseudo-random", s->args->uniform ? "uniform" : "learned",
                   (int)s->args->n_rep);
    const svg_series speed = {.x = share, .y = tok_s, .n = n, .points = true};
    const svg_series rate[] = {{.name = "decode", .x = share, .y = hits, .n = n, .points = true},
                               {.name = "prefill", .x = share, .y = prefill, .n = n, .points = true},
                               {.name = "decode, the optimum", .x = share, .y = belady, .n = n, .points = true, .dashed = true}};
    const svg_rule resident = {.at = s->row[s->n_row - 1].tok_s.median, .label = "all in memory"};
    const svg_axis x = {.label = "experts in the cache", .unit = SVG_SHARE, .from_zero = true};
    const svg_plot plot[] = {{.title = title, .x = x, .y = {.label = "decode", .unit = SVG_RATE, .from_zero = true}, .series = &speed,
                              .n_series = 1, .rule = &resident, .n_rule = s->has_resident},
                             {.title = "Hits", .caption = caption, .x = x, .y = {.label = "of the experts asked for", .unit = SVG_SHARE,
                              .from_zero = true}, .series = rate, .n_series = 3}};
    return svg_write_plots(f, plot, 2);
}

int bench_cache_print(const cache_state *s, FILE *svg) {
    errno = 0;
    if (svg && (!write_svg(svg, s) || fflush(svg) != 0)) {
        return cli_fail(CLI_FAILED, "bench", "--svg: %s: cannot be written: %s", s->args->svg, strerror(errno ? errno : EIO));
    }
    return s->args->common.json ? print_json(s) : s->args->csv ? print_csv(s) : print_tables(s);
}
