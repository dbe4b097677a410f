/* What carat run says about an answer: its JSON object, the closing line, the table of --stats. */
#include <math.h>
#include <string.h>

#include "base/os.h"
#include "expert_use.h"
#include "json_out.h"
#include "plan_text.h"
#include "run.h"
#include "term.h"

/* Tokens a second; 0 where nothing was measured. */
static double rate(int64_t n, double ms) { return n > 0 && ms > 0.0 ? 1000.0 * (double)n / ms : 0.0; }

/* Tokens of the prompt that were evaluated. */
static int64_t n_read(const run_state *r) { return (int64_t)r->n_prompt - r->n_reused; }

static int64_t n_answer(const run_state *r) { return (int64_t)(r->n_tok - r->n_prompt); }

/* ---- JSON ---- */

static cli_json *timing_json(const run_state *r) {
    cli_json *t = cli_json_object();
    const double decode_ms = r->end_ms - r->first_ms;
    cli_json_put_real(t, "load_ms", r->load_ms);
    cli_json_put_real(t, "prefill_ms", r->prefill_ms);
    cli_json_put_real(t, "prefill_tok_s", rate(n_read(r), r->prefill_ms));
    cli_json_put_real(t, "first_token_ms", r->first_ms - r->start_ms);
    cli_json_put_real(t, "decode_ms", decode_ms);
    cli_json_put_real(t, "decode_tok_s", rate(r->n_decoded, decode_ms));
    return t;
}

static const char *const mode[] = {"off", "auto", "always"};

static cli_json *screen_json(const run_state *r) {
    carat_session_stats st;
    carat_session_get_stats(r->s, &st);
    cli_json *l = cli_json_object();
    cli_json_put_str(l, "mode", mode[r->args->screen]);
    cli_json_put_int(l, "screened", (int64_t)st.head_screened);
    cli_json_put_int(l, "fallbacks", (int64_t)st.head_whole);
    cli_json_put_int(l, "groups", (int64_t)st.head_panels);
    cli_json_put_int(l, "computed", (int64_t)st.head_panels_kept);
    return l;
}

static cli_json *lookup_json(const run_state *r) {
    carat_session_stats st;
    carat_session_get_stats(r->s, &st);
    cli_json *l = cli_json_object();
    cli_json_put_str(l, "mode", mode[r->args->lookup]);
    cli_json_put_int(l, "passes", (int64_t)st.lookup_passes);
    cli_json_put_int(l, "drafted", (int64_t)st.lookup_guessed);
    cli_json_put_int(l, "accepted", (int64_t)st.lookup_accepted);
    cli_json_put_int(l, "fallbacks", (int64_t)st.lookup_plain);
    return l;
}

static cli_json *session_json(const run_state *r) {
    cli_json *l = cli_json_object();
    cli_json_put_text(l, "file", r->args->session, strlen(r->args->session));
    cli_json_put_int(l, "loaded_tokens", r->n_loaded);
    cli_json_put_int(l, "reused_tokens", r->n_reused);
    cli_json_put_int(l, "saved_tokens", r->n_saved);
    return l;
}

static cli_json *expert_layer_json(const uint64_t *count, int32_t n_expert, int32_t layer) {
    const expert_use u = expert_use_of(count, n_expert);
    if (u.evals == 0) return NULL;
    cli_json *l = cli_json_object();
    cli_json_put_int(l, "layer", layer);
    cli_json_put_int(l, "evals", (int64_t)u.evals);
    cli_json_put_int(l, "used", u.used);
    cli_json_put_real(l, "entropy_bits", u.entropy);
    cli_json_put_real(l, "effective", exp2(u.entropy));
    cli_json_put_real(l, "least_share", u.least);
    cli_json_put_real(l, "most_share", u.most);
    cli_json *counts = cli_json_array();
    for (int32_t i = 0; i < n_expert; i++) cli_json_add_int(counts, (int64_t)count[i]);
    cli_json_put(l, "counts", counts);
    return l;
}

static cli_json *expert_cache_json(const carat_expert_stats *s) {
    cli_json *o = cli_json_object();
    cli_json_put_int(o, "hits", (int64_t)s->hits);
    cli_json_put_int(o, "misses", (int64_t)s->misses);
    cli_json_put_int(o, "read_ahead", (int64_t)s->hinted);
    cli_json_put_int(o, "read_ahead_used", (int64_t)s->hint_hits);
    cli_json_put_bytes(o, "read_bytes", s->read_bytes);
    cli_json_put_real(o, "stall_ms", s->stall_ms);
    return o;
}

/* {} for a model without experts. */
static cli_json *experts_json(const run_state *r, const carat_session_stats *st) {
    cli_json *e = cli_json_object();
    carat_model_info info;
    carat_model_get_info(r->m, &info);
    const uint64_t *count = carat_session_expert_counts(r->s);
    if (!count || info.n_expert == 0) return e;
    cli_json_put_int(e, "n_expert", info.n_expert);
    cli_json_put_int(e, "n_expert_used", info.n_expert_used);
    cli_json_put_int(e, "evals", (int64_t)st->expert_evals);
    cli_json_put_str(e, "mode", carat_place_key(st->experts));
    cli_json_put_bytes(e, "cache_bytes", st->expert_cache_bytes);
    cli_json_put_int(e, "cache_slots", st->n_expert_slot);
    cli_json_put(e, "prefill", expert_cache_json(&st->expert_prefill));
    cli_json_put(e, "decode", expert_cache_json(&st->expert_decode));
    cli_json *windows = cli_json_array();
    for (int i = 0; i < EXPERT_N_WINDOW; i++) {
        const double n = expert_recent_set(&r->recent, expert_window[i]);
        cli_json *w = cli_json_object();
        cli_json_put_int(w, "tokens", expert_window[i]);
        cli_json_put_real(w, "experts", n > 0.0 ? n : NAN);
        cli_json_add(windows, w);
    }
    cli_json_put(e, "working_set", windows); /* of the last tokens */
    cli_json *layers = cli_json_array();
    for (int32_t i = 0; i < info.n_layer; i++) {
        cli_json *l = expert_layer_json(count + (size_t)i * (size_t)info.n_expert, info.n_expert, i);
        if (l) cli_json_add(layers, l);
    }
    cli_json_put(e, "layers", layers);
    return e;
}

static cli_json *latency_json(const carat_latency *l) {
    cli_json *o = cli_json_object();
    cli_json_put_int(o, "n", (int64_t)l->n);
    cli_json_put_real(o, "p50", l->p50_us);
    cli_json_put_real(o, "p99", l->p99_us);
    cli_json_put_real(o, "max", l->max_us);
    return o;
}

/* Memory through time. Peaks at loads of experts are null where nothing counts them. */
static cli_json *samples_json(const run_state *r) {
    memwatch_summary s;
    memwatch_get(r->watch, &s);
    cli_json *o = cli_json_object();
    cli_json_put_bytes(o, "n", s.n);
    cli_json_put_real(o, "period_ms", s.period_ms);
    cli_json_put_bytes(o, "peak_bytes", s.peak);
    cli_json_put_bytes(o, "median_bytes", s.median);
    cli_json_put_bytes(o, "anon_peak_bytes", s.anon_peak);
    cli_json_put_bytes(o, "charged_peak_bytes", s.charged_peak);
    if (s.counts) {
        cli_json_put_bytes(o, "at_switches", s.load_n);
        cli_json_put_bytes(o, "at_switches_peak_bytes", s.load_peak);
        cli_json_put_bytes(o, "at_switches_median_bytes", s.load_median);
        cli_json_put_bytes(o, "elsewhere_peak_bytes", s.rest_peak);
        cli_json_put_bytes(o, "elsewhere_median_bytes", s.rest_median);
    } else {
        cli_json_put_null(o, "at_switches_peak_bytes");
    }
    cli_json_put_real(o, "cpu_ms", s.cpu_ms);
    return o;
}

static cli_json *memory_json(const run_state *r) {
    carat_session_stats st;
    carat_session_get_stats(r->s, &st);
    const ct_mem_usage u = ct_memory_usage();
    cli_json *m = cli_json_object();
    cli_json_put_bytes(m, "peak_rss_bytes", u.rss_peak);
    cli_json_put_bytes(m, "resident_bytes", u.rss);
    cli_json_put_bytes(m, "packed_bytes", st.packed_bytes);
    cli_json_put_bytes(m, "mapped_bytes", st.mapped_bytes);
    cli_json_put_bytes(m, "kv_bytes", st.kv_bytes);
    cli_json_put_bytes(m, "scratch_bytes", st.scratch_bytes);
    cli_json_put_bytes(m, "model_bytes", st.model_bytes);
    cli_json_put_bytes(m, "reader_bytes", st.reader_bytes);
    cli_json *ple = cli_json_object();
    cli_json_put_str(ple, "mode", st.ple == CARAT_PLACE_AUTO ? "none" : carat_place_key(st.ple));
    cli_json_put_bytes(ple, "table_bytes", st.ple_table_bytes);
    cli_json_put_bytes(ple, "cache_bytes", st.ple_cache_bytes);
    cli_json_put_bytes(ple, "reads", st.ple_reads);
    cli_json_put_bytes(ple, "hits", st.ple_hits);
    cli_json_put_bytes(ple, "disk_reads", st.ple_disk_reads);
    cli_json_put_bytes(ple, "read_bytes", st.ple_read_bytes);
    cli_json_put_real(ple, "stall_ms", st.ple_stall_ms);
    cli_json_put(ple, "lookup_us", latency_json(&st.ple_lookup));
    cli_json_put(ple, "disk_us", latency_json(&st.ple_disk));
    cli_json_put(m, "ple", ple);
    cli_json_put(m, "experts", experts_json(r, &st));
    cli_json_put(m, "samples", samples_json(r));
    cli_json_put(m, "plan", cli_plan_json(&r->plan));
    return m;
}

int run_print_json(const run_state *r) {
    cli_json *o = cli_json_object();
    cli_json_put_int(o, "prompt_tokens", (int64_t)r->n_prompt);
    cli_json_put_int(o, "tokens", n_answer(r));
    cli_json *ids = cli_json_array();
    for (size_t i = r->n_prompt; i < r->n_tok; i++) cli_json_add_int(ids, r->tok[i]);
    cli_json_put(o, "token_ids", ids);
    cli_json_put_text(o, "text", r->answer.s, r->answer.n);
    if (r->thought.n) cli_json_put_text(o, "thought", r->thought.s, r->thought.n);
    cli_json_put_str(o, "stop", r->stop);
    cli_json_put_int(o, "seed", (int64_t)r->seed);
    cli_json_put(o, "timing", timing_json(r));
    cli_json_put(o, "lookup", lookup_json(r));
    cli_json_put(o, "screen", screen_json(r));
    if (r->args->session) cli_json_put(o, "session", session_json(r));
    else cli_json_put_null(o, "session");
    cli_json_put(o, "memory", memory_json(r));
    return cli_json_print(o, "run");
}

/* ---- for people ---- */

static const char *place_of(const carat_plan *p, int role) {
    return p->resident[role] ? "resident" : p->mapped[role] ? "mapped" : p->streamed[role] ? "streamed" : "";
}

static void print_roles(const run_state *r, const carat_model_info *info) {
    cli_table *t = cli_table_new("lrrrl");
    cli_text bytes, share, token;
    cli_table_row(t, "bytes by role", "in the file", "share", "a token reads", "are");
    cli_table_line(t);
    for (int i = 0; i < CARAT_N_ROLE; i++) {
        const carat_ledger_row *row = &info->role[i];
        if (row->bytes == 0) continue;
        (void)snprintf(share, sizeof share, "%.1f%%", 100.0 * (double)row->bytes / (double)info->file_bytes);
        cli_table_row(t, carat_role_text((carat_role)i), cli_size_text(bytes, row->bytes), share,
                      cli_size_text(token, row->bytes_token), place_of(&r->plan, i));
    }
    cli_table_print(t, true);
}

static void print_speed(const run_state *r) {
    cli_table *t = cli_table_new("lrrr");
    cli_text n, ms, tok_s;
    cli_table_row(t, "load", "", cli_time_text(ms, r->load_ms), "");
    (void)snprintf(tok_s, sizeof tok_s, "%.1f tokens/s", rate(n_read(r), r->prefill_ms));
    (void)snprintf(n, sizeof n, "%zu tokens", r->n_prompt);
    cli_table_row(t, "prompt", n, cli_time_text(ms, r->prefill_ms), tok_s);
    (void)snprintf(tok_s, sizeof tok_s, "%.1f tokens/s", rate(r->n_decoded, r->end_ms - r->first_ms));
    (void)snprintf(n, sizeof n, "%lld tokens", (long long)n_answer(r));
    cli_table_row(t, "answer", n, cli_time_text(ms, r->end_ms - r->first_ms), tok_s);
    cli_table_row(t, "first token after", "", cli_time_text(ms, r->first_ms - r->start_ms), "");
    cli_table_print(t, true);
}

/* What was spared. Silent where nothing was. */
static void print_spared(const carat_session_stats *st) {
    if (st->head_screened) {
        fprintf(stderr, "output head: screened for %llu tokens, %.1f%% of its rows computed beyond the first; whole for %llu\n\n",
                (unsigned long long)st->head_screened, 100.0 * (double)st->head_panels_kept / (double)st->head_panels,
                (unsigned long long)st->head_whole);
    }
    if (st->lookup_passes == 0) return;
    fprintf(stderr, "lookup: %llu tokens guessed in %llu passes, %llu of them right; %llu passes without a guess\n\n",
            (unsigned long long)st->lookup_guessed, (unsigned long long)st->lookup_passes,
            (unsigned long long)st->lookup_accepted, (unsigned long long)st->lookup_plain);
}

static void print_session(const run_state *r) {
    carat_snapshot_info info;
    cli_text size;
    if (!r->args->session || r->n_saved == 0 || carat_snapshot_get_info(&info, r->args->session, NULL)) return;
    fprintf(stderr, "session: %d tokens loaded, %d of them reused; %d saved to %s, %s\n\n", (int)r->n_loaded, (int)r->n_reused,
            (int)r->n_saved, r->args->session, cli_size_text(size, info.bytes));
}

static void print_memory(const run_state *r) {
    carat_session_stats st;
    carat_session_get_stats(r->s, &st);
    const ct_mem_usage u = ct_memory_usage();
    cli_text rss, peak, file, kv, scratch, ctx;
    cli_table *t = cli_table_new("lrl");
    (void)snprintf(ctx, sizeof ctx, "for %d tokens", (int)carat_session_n_ctx(r->s));
    cli_table_row(t, "resident memory", cli_size_text(rss, u.rss), "now");
    cli_table_row(t, "", cli_size_text(peak, u.rss_peak), "at its peak");
    cli_table_row(t, "  of the model file", cli_size_text(file, u.rss_file), "mapped, shared with other programs");
    cli_table_row(t, "  KV cache", cli_size_text(kv, st.kv_bytes), ctx);
    cli_table_row(t, "  buffers", cli_size_text(scratch, st.scratch_bytes), "");
    cli_table_print(t, true);
}

/* Layers that use few experts, or some far more than others, show here; each layer by itself is in the JSON. */
static void print_experts(const run_state *r, const carat_model_info *info) {
    const uint64_t *count = carat_session_expert_counts(r->s);
    if (!count || info->n_expert == 0) return;
    int32_t n_layer = 0, least = INT32_MAX, most = 0;
    double sum = 0.0, effective = 0.0;
    for (int32_t i = 0; i < info->n_layer; i++) {
        const expert_use u = expert_use_of(count + (size_t)i * (size_t)info->n_expert, info->n_expert);
        if (u.evals == 0) continue;
        n_layer++;
        sum += u.entropy;
        effective += exp2(u.entropy);
        if (u.used < least) least = u.used;
        if (u.used > most) most = u.used;
    }
    if (n_layer == 0) return;
    fprintf(stderr, "experts: %d of %d chosen for each token in each of %d layers; %d to %d of a layer's were used,\n"
            "entropy %.2f bits on average (%.2f when all are chosen alike), as if they were %.1f\n", (int)info->n_expert_used,
            (int)info->n_expert, (int)n_layer, (int)least, (int)most, sum / n_layer, log2((double)info->n_expert), effective / n_layer);
    const char *between = "different ones of a layer in the last";
    for (int i = 0; i < EXPERT_N_WINDOW; i++) {
        const double n = expert_recent_set(&r->recent, expert_window[i]);
        if (n > 0.0) fprintf(stderr, "%s %d token%s: %.1f", between, (int)expert_window[i], expert_window[i] == 1 ? "" : "s", n), between = ",";
    }
    fprintf(stderr, "\n\n");
}

/* What came from disk, and what it was waited for. */
static void print_streamed(const carat_session_stats *st) {
    if (st->ple != CARAT_PLACE_AUTO) {
        cli_text ms, bytes;
        fprintf(stderr, "per-layer embeddings %s: %llu rows looked up, waited %s", carat_place_key(st->ple), (unsigned long long)st->ple_reads,
                cli_time_text(ms, st->ple_stall_ms));
        if (st->ple_lookup.n) fprintf(stderr, "; a row p50 %.1f us, p99 %.1f us", st->ple_lookup.p50_us, st->ple_lookup.p99_us);
        if (st->ple == CARAT_PLACE_STREAMED) {
            fprintf(stderr, "; %llu read from disk, %s", (unsigned long long)st->ple_disk_reads, cli_size_text(bytes, st->ple_read_bytes));
        }
        fprintf(stderr, "\n\n");
    }
    if (st->experts != CARAT_PLACE_STREAMED) return;
    cli_table *t = cli_table_new("lrrrrr");
    cli_table_row(t, "experts from disk", "hits", "misses", "read ahead", "read", "waited");
    cli_table_line(t);
    for (int i = 0; i < 2; i++) {
        const carat_expert_stats *x = i ? &st->expert_decode : &st->expert_prefill;
        cli_text hits, misses, ahead, bytes, ms;
        cli_table_row(t, i ? "single tokens" : "prompts", cli_count_text(hits, (int64_t)x->hits), cli_count_text(misses, (int64_t)x->misses),
                      cli_count_text(ahead, (int64_t)x->hinted), cli_size_text(bytes, x->read_bytes), cli_time_text(ms, x->stall_ms));
    }
    cli_table_print(t, true);
    fputc('\n', stderr);
}

void run_print_stats(const run_state *r) {
    carat_session_stats st;
    carat_session_get_stats(r->s, &st);
    carat_model_info info;
    carat_model_get_info(r->m, &info);
    if (r->args->stats) {
        fprintf(stderr, "\n%s, %d thread%s, %s, seed %llu, ended by: %s\n\n", info.name ? info.name : info.arch,
                (int)st.n_threads, st.n_threads == 1 ? "" : "s", st.cpu, (unsigned long long)r->seed, r->stop);
        print_speed(r);
        fputc('\n', stderr);
        print_spared(&st);
        print_session(r);
        print_memory(r);
        fputc('\n', stderr);
        print_streamed(&st);
        print_experts(r, &info);
        print_roles(r, &info);
    } else if (cli_is_terminal(2) && n_answer(r) == 0 && strcmp(r->stop, "interrupted") == 0) {
        fprintf(stderr, "interrupted while reading the prompt of %zu tokens\n", r->n_prompt);
    } else if (cli_is_terminal(2)) {
        cli_text ms;
        fprintf(stderr, "%lld tokens, %.1f tokens/s, first after %s, seed %llu%s\n", (long long)n_answer(r),
                rate(r->n_decoded, r->end_ms - r->first_ms), cli_time_text(ms, r->first_ms - r->start_ms),
                (unsigned long long)r->seed, strcmp(r->stop, "interrupted") == 0 ? ", interrupted" : "");
    }
}
