/* What carat bench --ple prints: three tables for people, one JSON object, or CSV; and the plot of --svg. */
#include <errno.h>
#include <string.h>

#include "bench_ple.h"
#include "svg.h"

static const struct {
    const char *key, *text;
} mode[PLE_N_MODE] = {
#define X(id, key, text) {key, text},
    PLE_MODE_LIST(X)
#undef X
};

static const char *const value_key[PLE_N_VALUE] = {
#define X(id, key) key,
    PLE_VALUE_LIST(X)
#undef X
};

static bool is_streamed(int m) { return m == PLE_STREAMED_WARM || m == PLE_STREAMED_COLD; }

/* Does the value mean anything in this mode? Reads from disk and hits are those of the cache of rows. */
static bool has_value(const ple_state *s, int m, int v) {
    if (v == PLE_PREFILL_TOK_S || v == PLE_PREFILL_STALL) return s->args->n_prompt > 0;
    if (v == PLE_DISK_P50 || v == PLE_DISK_P99) return is_streamed(m) && s->row[m].value[PLE_ROWS].max > 0.0;
    return is_streamed(m) || (v != PLE_ROWS && v != PLE_BYTES && v != PLE_HITS);
}

static double median(const ple_state *s, int m, int v) { return s->row[m].value[v].median; }

/* ---- JSON and CSV ---- */

static cli_json *row_json(const ple_state *s, int m) {
    const ple_row *row = &s->row[m];
    cli_json *o = cli_json_object(), *ms = cli_json_object();
    cli_json_put_str(o, "mode", mode[m].key);
    cli_json_put_real(ms, "p50", row->p50);
    cli_json_put_real(ms, "p95", row->p95);
    cli_json_put_real(ms, "p99", row->p99);
    cli_json_put_real(ms, "max", row->most);
    cli_json_put(o, "token_ms", ms);
    for (int v = 0; v < PLE_N_VALUE; v++) {
        if (has_value(s, m, v)) cli_json_put(o, value_key[v], bench_spread_json(&row->value[v]));
        else cli_json_put_null(o, value_key[v]);
    }
    return o;
}

static int print_json(const ple_state *s) {
    const bench_args *a = s->args;
    cli_json *o = cli_json_object(), *modes = cli_json_array();
    cli_json_put_str(o, "model", s->name);
    cli_json_put_str(o, "arch", s->arch);
    cli_json_put_bytes(o, "file_bytes", s->file_bytes);
    cli_json_put_bytes(o, "table_bytes", s->table_bytes);
    cli_json_put_bytes(o, "row_bytes", s->row_bytes);
    cli_json_put_int(o, "threads", s->n_threads);
    cli_json_put_str(o, "cpu", s->cpu);
    cli_json_put_str(o, "kv", bench_kv_name(a));
    cli_json_put_int(o, "prompt_tokens", a->n_prompt);
    cli_json_put_int(o, "gen_tokens", a->n_gen);
    cli_json_put_int(o, "reps", a->n_rep);
    cli_json_put_bytes(o, "not_evicted_bytes", s->stayed);
    for (int m = 0; m < PLE_N_MODE; m++) cli_json_add(modes, row_json(s, m));
    cli_json_put(o, "modes", modes);
    return cli_json_print(o, "bench");
}

static int print_csv(const ple_state *s) {
    cli_printf("model,mode,threads,cpu,kv,prompt_tokens,gen_tokens,reps,tok_s_q1,tok_s_q3,token_p50_ms,token_p95_ms,token_p99_ms,token_max_ms");
    for (int v = 0; v < PLE_N_VALUE; v++) cli_printf(",%s", value_key[v]);
    cli_printf("\n");
    for (int m = 0; m < PLE_N_MODE; m++) {
        const ple_row *row = &s->row[m];
        const bench_args *a = s->args;
        bench_csv_text(s->name);
        cli_printf(",%s,%d,%s,%s,%d,%d,%d", mode[m].key, (int)s->n_threads, s->cpu, bench_kv_name(a), (int)a->n_prompt, (int)a->n_gen,
                   (int)a->n_rep);
        cli_printf(",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g", row->value[PLE_TOK_S].q1, row->value[PLE_TOK_S].q3, row->p50, row->p95, row->p99,
                   row->most);
        for (int v = 0; v < PLE_N_VALUE; v++) cli_printf(has_value(s, m, v) ? ",%.10g" : ",", median(s, m, v));
        cli_printf("\n");
    }
    return CLI_DONE;
}

/* ---- for people ---- */

static void print_speed(const ple_state *s) {
    cli_table *t = cli_table_new("lrrrrrrr");
    cli_table_row(t, "table", "tokens/s", "[q1..q3]", "of resident", "token p50", "p95", "p99, ms", "prefill tokens/s");
    cli_table_line(t);
    for (int m = 0; m < PLE_N_MODE; m++) {
        const ple_row *row = &s->row[m];
        cli_text tok_s, q1, q3, ratio, p50, p95, p99, prefill;
        char range[72];
        (void)snprintf(range, sizeof range, "[%s..%s]", bench_rate_text(q1, row->value[PLE_TOK_S].q1),
                       bench_rate_text(q3, row->value[PLE_TOK_S].q3));
        cli_table_row(t, mode[m].text, bench_rate_text(tok_s, median(s, m, PLE_TOK_S)), range,
                      bench_share_text(ratio, median(s, m, PLE_RATIO)), bench_rate_text(p50, row->p50), bench_rate_text(p95, row->p95),
                      bench_rate_text(p99, row->p99),
                      has_value(s, m, PLE_PREFILL_TOK_S) ? bench_rate_text(prefill, median(s, m, PLE_PREFILL_TOK_S)) : "");
    }
    cli_table_print(t, false);
}

/* A number, or nothing where it means none. */
static const char *number(cli_text buf, const ple_state *s, int m, int v) {
    return has_value(s, m, v) ? bench_rate_text(buf, median(s, m, v)) : "";
}

static void print_rows(const ple_state *s) {
    cli_table *t = cli_table_new("lrrrrrrrrrr");
    cli_table_row(t, "a row, in us", "p50", "p99", "most", "waited a token", "of its time", "disk p50", "p99", "reads a token", "bytes", "hits");
    cli_table_line(t);
    for (int m = 0; m < PLE_N_MODE; m++) {
        cli_text p50, p99, most, stall, share, d50, d99, rows, bytes, hits;
        (void)snprintf(stall, sizeof stall, "%.4f ms", median(s, m, PLE_STALL));
        (void)snprintf(share, sizeof share, "%.2f%%", 100.0 * median(s, m, PLE_SHARE));
        cli_table_row(t, mode[m].text, number(p50, s, m, PLE_LOOKUP_P50), number(p99, s, m, PLE_LOOKUP_P99),
                      bench_rate_text(most, s->row[m].value[PLE_LOOKUP_MAX].max), stall, share, number(d50, s, m, PLE_DISK_P50),
                      number(d99, s, m, PLE_DISK_P99), number(rows, s, m, PLE_ROWS),
                      has_value(s, m, PLE_BYTES) ? cli_size_text(bytes, (uint64_t)median(s, m, PLE_BYTES)) : "",
                      has_value(s, m, PLE_HITS) ? bench_share_text(hits, median(s, m, PLE_HITS)) : "");
    }
    cli_table_print(t, false);
}

static void print_memory(const ple_state *s) {
    cli_table *t = cli_table_new("lrrr");
    cli_table_row(t, "resident memory", "anonymous", "file pages", "peak, loading included");
    cli_table_line(t);
    for (int m = 0; m < PLE_N_MODE; m++) {
        cli_text anon, file, peak;
        cli_table_row(t, mode[m].text, cli_size_text(anon, (uint64_t)median(s, m, PLE_ANON)),
                      cli_size_text(file, (uint64_t)median(s, m, PLE_FILE)), cli_size_text(peak, (uint64_t)s->row[m].value[PLE_PEAK].max));
    }
    cli_table_print(t, false);
}

static int print_tables(const ple_state *s) {
    const bench_args *a = s->args;
    cli_text table, row, stayed;
    cli_printf("%s, %d thread%s, %s, KV %s; per-layer embeddings of %s, %s a row\nprompt of %d, answer of %d tokens, median of %d round%s\n\n",
               s->name, (int)s->n_threads, s->n_threads == 1 ? "" : "s", s->cpu, bench_kv_name(a), cli_size_text(table, s->table_bytes),
               cli_size_text(row, s->row_bytes), (int)a->n_prompt, (int)a->n_gen, (int)a->n_rep, a->n_rep == 1 ? "" : "s");
    print_speed(s);
    cli_printf("\n");
    print_rows(s);
    cli_printf("\n");
    print_memory(s);
    if (s->stayed > s->table_bytes / 100) {
        cli_printf("\n%s of the table stayed in the page cache, held by other processes or a file system without a disk: mapped, cold is\n"
                   "less cold than it should be\n", cli_size_text(stayed, s->stayed));
    }
    return CLI_DONE;
}

/* ---- the plot ---- */

static bool write_svg(FILE *f, const ple_state *s) {
    char note[PLE_N_MODE][96], title[160], caption[480];
    svg_bar bar[PLE_N_MODE];
    cli_text table, row;
    for (int m = 0; m < PLE_N_MODE; m++) {
        svg_text stall, p99;
        (void)snprintf(note[m], sizeof note[m], "waits %s, p99 %s", svg_value_text(stall, SVG_MS, median(s, m, PLE_STALL)),
                       svg_value_text(p99, SVG_MS, s->row[m].p99));
        bar[m] = (svg_bar){.label = mode[m].text, .value = s->row[m].p50, .note = note[m]};
    }
    (void)snprintf(title, sizeof title, "Where per-layer embeddings are: %s", s->name);
    (void)snprintf(caption, sizeof caption, "Median time of a decoded token; what it waits for its row of the table; 99th percentile. "
                   "Table of %s, %s a row. carat %s bench --ple, %d threads, answers of %d tokens behind prompts of %d, %d interleaved "
                   "round%s; cold: rows that the session has never seen, taken out of the page cache before.",
                   cli_size_text(table, s->table_bytes), cli_size_text(row, s->row_bytes), carat_version(), (int)s->n_threads,
                   (int)s->args->n_gen, (int)s->args->n_prompt, (int)s->args->n_rep, s->args->n_rep == 1 ? "" : "s");
    const svg_bars b = {.title = title, .caption = caption, .axis = {.label = "time of a token", .unit = SVG_MS}, .bar = bar,
                        .n_bar = PLE_N_MODE};
    return svg_write_bars(f, &b);
}

int bench_ple_print(const ple_state *s, FILE *svg) {
    errno = 0;
    if (svg && (!write_svg(svg, s) || fflush(svg) != 0)) {
        return cli_fail(CLI_FAILED, "bench", "--svg: %s: cannot be written: %s", s->args->svg, strerror(errno ? errno : EIO));
    }
    return s->args->common.json ? print_json(s) : s->args->csv ? print_csv(s) : print_tables(s);
}
