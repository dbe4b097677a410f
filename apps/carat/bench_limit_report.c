/* What carat bench --limit prints: two tables for people, or one JSON object. */
#include <string.h>

#include "bench_limit.h"
#include "json_out.h"
#include "term.h"

static const char *const outcome[] = {"ok", "too slow", "cut off", "out of memory", "refused", "broken"};

/* ---- JSON ---- */

static cli_json *probe_json(const limit_probe *p) {
    cli_json *o = cli_json_object();
    if (p->limit == UINT64_MAX) cli_json_put_null(o, "limit_bytes");
    else cli_json_put_bytes(o, "limit_bytes", p->limit);
    cli_json_put_str(o, "outcome", outcome[p->outcome]);
    if (p->outcome == LIMIT_REFUSED) cli_json_put_str(o, "why", p->why);
    cli_json_put_real(o, "wall_ms", p->wall_ms);
    cli_json_put_bytes(o, "charged_peak_bytes", p->charged_peak);
    if (p->r.phase < LIMIT_FIRST_TOKEN) return o;
    cli_json_put_str(o, "ple", p->r.ple == CARAT_PLACE_AUTO ? "none" : carat_place_key(p->r.ple));
    cli_json_put_str(o, "experts", p->r.experts == CARAT_PLACE_AUTO ? "none" : carat_place_key(p->r.experts));
    cli_json_put_real(o, "load_ms", p->r.load_ms);
    cli_json_put_real(o, "first_token_ms", p->r.first_ms);
    if (p->r.phase < LIMIT_DONE) return o;
    cli_json_put_real(o, "decode_tok_s", p->tok_s);
    if (p->free_tok_s > 0.0) cli_json_put_real(o, "share", p->tok_s / p->free_tok_s);
    cli_json_put_bytes(o, "anon_peak_bytes", p->r.anon_peak);
    cli_json_put_bytes(o, "rss_peak_bytes", p->r.rss_peak);
    cli_json_put_bytes(o, "rss_file_bytes", p->r.file_end);
    return o;
}

static int print_json(const limit_state *s) {
    const bench_args *a = s->args;
    cli_json *o = cli_json_object(), *list = cli_json_array();
    cli_json_put_str(o, "model", s->free->r.name);
    cli_json_put_bytes(o, "file_bytes", s->free->r.file_bytes);
    cli_json_put_int(o, "threads", s->free->r.n_threads);
    cli_json_put_str(o, "cpu", s->free->r.cpu);
    cli_json_put_int(o, "ctx", s->n_ctx);
    cli_json_put_int(o, "prompt_tokens", a->n_prompt);
    cli_json_put_int(o, "gen_tokens", a->n_gen);
    cli_json_put_real(o, "limit_share", a->limit_share / 100.0);
    cli_json_put_int(o, "cgroup_version", s->version);
    cli_json_put_bytes(o, "step_bytes", s->step);
    cli_json_put_bytes(o, "cached_elsewhere_bytes", s->cached_elsewhere);
    cli_json_put(o, "free", probe_json(s->free));
    cli_json_put(o, "smallest", probe_json(s->least));
    for (int i = 0; i < s->n_probe; i++) cli_json_add(list, probe_json(&s->probe[i]));
    cli_json_put(o, "probes", list);
    return cli_json_print(o, "bench");
}

/* ---- for people ---- */

static char *speed_text(cli_text buf, double tok_s) {
    (void)snprintf(buf, sizeof(cli_text), "%.*f", tok_s < 9.995 ? 2 : tok_s < 999.5 ? 1 : 0, tok_s);
    return buf;
}

static const char *limit_text(cli_text buf, uint64_t limit) {
    return limit == UINT64_MAX ? "none" : cli_size_text(buf, limit);
}

static void print_summary(const limit_state *s) {
    const limit_probe *f = s->free, *l = s->least;
    cli_text a, b;
    cli_table *t = cli_table_new("lrr");
    cli_table_row(t, "memory limit", "none", cli_size_text(b, l->limit));
    cli_table_line(t);
    cli_table_row(t, "decode, tokens/s", speed_text(a, f->tok_s), speed_text(b, l->tok_s));
    cli_table_row(t, "first token after", cli_time_text(a, f->r.first_ms), cli_time_text(b, l->r.first_ms));
    cli_table_row(t, "charged at its peak", cli_size_text(a, f->charged_peak), cli_size_text(b, l->charged_peak));
    cli_table_row(t, "anonymous at its peak", cli_size_text(a, f->r.anon_peak), cli_size_text(b, l->r.anon_peak));
    cli_table_row(t, "file pages at the end", cli_size_text(a, f->r.file_end), cli_size_text(b, l->r.file_end));
    if (f->r.ple != CARAT_PLACE_AUTO) cli_table_row(t, "per-layer embeddings", carat_place_key(f->r.ple), carat_place_key(l->r.ple));
    if (f->r.experts != CARAT_PLACE_AUTO) cli_table_row(t, "experts", carat_place_key(f->r.experts), carat_place_key(l->r.experts));
    cli_table_print(t, false);
}

static void print_probes(const limit_state *s) {
    cli_table *t = cli_table_new("rlrrrrr");
    cli_table_row(t, "tried", "", "tokens/s", "share", "first token", "charged", "anonymous");
    cli_table_line(t);
    for (int i = 0; i < s->n_probe; i++) {
        const limit_probe *p = &s->probe[i];
        cli_text limit, tok_s, share = "", first, charged, anon;
        const bool begun = p->r.phase >= LIMIT_FIRST_TOKEN, done = p->r.phase == LIMIT_DONE;
        if (done && p->free_tok_s > 0.0) (void)snprintf(share, sizeof share, "%.0f%%", 100.0 * p->tok_s / p->free_tok_s);
        cli_table_row(t, limit_text(limit, p->limit), outcome[p->outcome], done ? speed_text(tok_s, p->tok_s) : "", share,
                      begun ? cli_time_text(first, p->r.first_ms) : "", p->charged_peak ? cli_size_text(charged, p->charged_peak) : "",
                      done ? cli_size_text(anon, p->r.anon_peak) : "");
    }
    cli_table_print(t, false);
}

int bench_limit_print(const limit_state *s) {
    if (s->args->common.json) return print_json(s);
    const limit_result *r = &s->free->r;
    cli_text file, limit, step, held;
    cli_printf("%s, file of %s, %d thread%s, %s, prompt of %d, answer of %d tokens, context of %d\n\n", r->name,
               cli_size_text(file, r->file_bytes), (int)r->n_threads, r->n_threads == 1 ? "" : "s", r->cpu, (int)s->args->n_prompt,
               (int)s->args->n_gen, (int)s->n_ctx);
    print_summary(s);
    cli_printf("\nsmallest limit with %.0f%% of the free speed: %s (to within %s)\n\n", s->args->limit_share,
               cli_size_text(limit, s->least->limit), cli_size_text(step, s->step));
    print_probes(s);
    if (s->cached_elsewhere > r->file_bytes / 100) {
        cli_printf("\n%s of the file stayed in memory, held by other processes or a file system without a disk: limits are larger in truth\n",
                   cli_size_text(held, s->cached_elsewhere));
    }
    return CLI_DONE;
}
