/* carat bench --ple: the table of per-layer embeddings in memory, mapped, streamed and left out, each cold and warm.
 *
 * Rounds: in each one every place has a fresh model and session, one after the other, in an order that moves on by one from round
 * to round, so that what the machine does besides hits all alike. All read the same tokens, no two of them the same: in the
 * first pass no row has been seen by the session, and just before it the table was taken out of the page cache (cold); the
 * second pass reads the same tokens once more behind another first one (warm). Rows of the short warm-up before are others. */
#include "bench_ple.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "memwatch.h"
#include "open.h"
#include "term.h"

enum { SEED = 1, WARM_PROMPT = 32, WARM_GEN = 16, N_WARM = WARM_PROMPT + WARM_GEN };

/* What is opened once a round, and the modes measured in it: the cold or only one first. */
static const struct {
    carat_place place;
    ple_mode first, second; /* PLE_N_MODE: none */
} visit[] = {
    {CARAT_PLACE_RESIDENT, PLE_RESIDENT, PLE_N_MODE},
    {CARAT_PLACE_MAPPED, PLE_MAPPED_COLD, PLE_MAPPED_WARM},
    {CARAT_PLACE_STREAMED, PLE_STREAMED_COLD, PLE_STREAMED_WARM},
    {CARAT_PLACE_ZERO, PLE_ZERO, PLE_N_MODE},
};
enum { N_VISIT = sizeof visit / sizeof *visit };

typedef struct {
    ple_state *s;
    const char *path;
    int32_t n_vocab, n_tok;   /* n_tok: prompt and answer */
    int32_t *warm, *tok;      /* [N_WARM] and [n_tok]; all different */
    cli_bar bar;
    int64_t n_done, n_total;  /* tokens */
    /* Of a visit. */
    carat_model *m;
    carat_session *session;
    carat_sampler *sm;
} bencher;

static bool on_progress(void *ud, int32_t done, int32_t total) {
    bencher *b = ud;
    (void)total;
    cli_bar_update(&b->bar, b->n_done + done, b->n_total);
    return !cli_interrupted();
}

/* ---- one pass ---- */

/* Evaluate tok[0,n), of which `fresh` must be new, and choose as a run would. */
static int hold(bencher *b, const int32_t *tok, int32_t n, int32_t fresh) {
    const int status = bench_hold(b->session, tok, n, fresh);
    if (status) return status;
    b->n_done += fresh;
    return bench_choose(b->sm, b->session);
}

/* tok: [n_prompt + n_gen]; token_ms: [n_gen]. */
static int pass(bencher *b, const int32_t *tok, ple_pass *p, double *token_ms) {
    const int32_t n_prompt = b->s->args->n_prompt, n_gen = b->s->args->n_gen;
    int status = CLI_DONE;
    carat_session_reset_stats(b->session);
    double from = ct_now_ms();
    if (n_prompt) status = hold(b, tok, n_prompt, n_prompt);
    p->prefill_ms = ct_now_ms() - from;
    carat_session_get_stats(b->session, &p->prefill);
    carat_session_reset_stats(b->session);
    const double begun = ct_now_ms();
    for (int32_t i = 0; i < n_gen && !status; i++) {
        from = ct_now_ms();
        status = hold(b, tok, n_prompt + i + 1, 1);
        token_ms[i] = ct_now_ms() - from;
    }
    p->decode_ms = ct_now_ms() - begun;
    carat_session_get_stats(b->session, &p->decode);
    const ct_mem_usage u = ct_memory_usage();
    p->anon = u.rss_anon;
    p->file = u.rss_file;
    return status;
}

/* Other tokens, so that threads, weights and buffers are there before anything is measured. */
static int warm_up(bencher *b) {
    int status = hold(b, b->warm, WARM_PROMPT, WARM_PROMPT);
    for (int32_t i = WARM_PROMPT; i < N_WARM && !status; i++) status = hold(b, b->warm, i + 1, 1);
    return status;
}

/* ---- one place in one round ---- */

static int open_visit(bencher *b, carat_place place) {
    const bench_args *a = b->s->args;
    carat_error err;
    cli_common common = a->common;
    common.json = true; /* no line about each plan */
    common.ple = (int32_t)place;
    int status = cli_model_open(&b->m, &common, b->path, false);
    if (status) return status;
    carat_session_opts o = cli_session_opts(&common, b->n_tok > N_WARM ? b->n_tok : N_WARM);
    o.progress = on_progress;
    o.progress_ud = b;
    status = cli_session_open(&b->session, b->m, &common, &o);
    if (status) return status;
    carat_sampler_opts so = carat_sampler_opts_default();
    so.temp = 0.0f;
    return carat_sampler_new(&b->sm, b->n_vocab, &so, &err) ? cli_fail_err("bench", &err) : CLI_DONE;
}

static int evict(bencher *b, carat_place place) {
    if (place != CARAT_PLACE_MAPPED && place != CARAT_PLACE_STREAMED) return CLI_DONE;
    uint64_t left;
    carat_error err;
    if (carat_model_evict_ple(b->m, &left, &err)) return cli_fail_err("bench", &err);
    if (left > b->s->stayed) b->s->stayed = left;
    return CLI_DONE;
}

static int measure_visit(bencher *b, int v, int round) {
    const int32_t n_gen = b->s->args->n_gen;
    int status = open_visit(b, visit[v].place);
    if (!status) status = warm_up(b);
    if (!status) status = evict(b, visit[v].place);
    for (int k = 0; k < 2 && !status; k++) {
        const ple_mode mode = k ? visit[v].second : visit[v].first;
        if (mode == PLE_N_MODE) break;
        ple_row *row = &b->s->row[mode];
        const int32_t first = b->tok[0];
        if (k) b->tok[0] = b->warm[0]; /* nothing of the first pass can be gone on from */
        status = pass(b, b->tok, &row->pass[round], row->token_ms + (size_t)round * (size_t)n_gen);
        b->tok[0] = first;
    }
    if (!status && b->s->n_threads == 0) {
        const carat_session_stats *st = &b->s->row[visit[v].first].pass[round].decode;
        (void)snprintf(b->s->cpu, sizeof b->s->cpu, "%s", st->cpu);
        b->s->n_threads = st->n_threads;
    }
    carat_sampler_free(&b->sm);
    carat_session_free(&b->session);
    carat_model_close(&b->m);
    return status;
}

static int watch_visit(bencher *b, int v, int round) {
    ct_memory_trim(); /* what the visit before had is not this one's */
    memwatch *w = memwatch_start(MEMWATCH_PERIOD_MS);
    if (!w) return cli_fail(CLI_FAILED, "bench", "no memory or thread to watch memory with");
    const int status = measure_visit(b, v, round);
    memwatch_summary m;
    memwatch_stop(w);
    memwatch_get(w, &m);
    memwatch_free(&w);
    b->s->row[visit[v].first].pass[round].peak = m.peak;
    if (visit[v].second != PLE_N_MODE) b->s->row[visit[v].second].pass[round].peak = m.peak;
    return status;
}

/* ---- from the rounds ---- */

static double by(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

static void values_of(const ple_state *s, const ple_pass *p, const ple_pass *resident, double v[PLE_N_VALUE]) {
    const carat_session_stats *d = &p->decode;
    const double n_prompt = s->args->n_prompt, n_gen = s->args->n_gen;
    v[PLE_TOK_S] = by(1000.0 * n_gen, p->decode_ms);
    v[PLE_RATIO] = by(resident->decode_ms, p->decode_ms);
    v[PLE_PREFILL_TOK_S] = by(1000.0 * n_prompt, p->prefill_ms);
    v[PLE_PREFILL_STALL] = by(p->prefill.ple_stall_ms, n_prompt);
    v[PLE_STALL] = d->ple_stall_ms / n_gen;
    v[PLE_SHARE] = by(d->ple_stall_ms, p->decode_ms);
    v[PLE_LOOKUP_P50] = d->ple_lookup.p50_us;
    v[PLE_LOOKUP_P99] = d->ple_lookup.p99_us;
    v[PLE_LOOKUP_MAX] = d->ple_lookup.max_us;
    v[PLE_DISK_P50] = d->ple_disk.p50_us;
    v[PLE_DISK_P99] = d->ple_disk.p99_us;
    v[PLE_ROWS] = (double)d->ple_disk_reads / n_gen;
    v[PLE_BYTES] = (double)d->ple_read_bytes / n_gen;
    v[PLE_HITS] = by((double)d->ple_hits, (double)d->ple_reads);
    v[PLE_ANON] = (double)p->anon;
    v[PLE_FILE] = (double)p->file;
    v[PLE_PEAK] = (double)p->peak;
}

/* x: [n_rep, PLE_N_VALUE], then [2 * n_rep]; sorted: [n_rep * n_gen] */
static void conclude_row(const ple_state *s, ple_row *row, double *x, double *sorted) {
    const int n_rep = s->args->n_rep, n_token = n_rep * s->args->n_gen;
    double *one = x + (size_t)n_rep * PLE_N_VALUE;
    for (int i = 0; i < n_rep; i++) values_of(s, &row->pass[i], &s->row[PLE_RESIDENT].pass[i], x + (size_t)i * PLE_N_VALUE);
    for (int v = 0; v < PLE_N_VALUE; v++) {
        for (int i = 0; i < n_rep; i++) one[i] = x[(size_t)i * PLE_N_VALUE + (size_t)v];
        row->value[v] = bench_spread_of(one, n_rep, one + n_rep);
    }
    const bench_spread ms = bench_spread_of(row->token_ms, n_token, sorted);
    row->p50 = ms.median;
    row->p95 = bench_quantile(sorted, n_token, 0.95);
    row->p99 = bench_quantile(sorted, n_token, 0.99);
    row->most = ms.max;
}

static int conclude(ple_state *s) {
    const size_t n_rep = (size_t)s->args->n_rep;
    double *x = ct_alloc_array(n_rep, (PLE_N_VALUE + 2) * sizeof *x), *y = ct_alloc_array(n_rep * (size_t)s->args->n_gen, sizeof *y);
    for (int i = 0; i < PLE_N_MODE && x && y; i++) conclude_row(s, &s->row[i], x, y);
    const bool ok = x && y;
    ct_free(x);
    ct_free(y);
    return ok ? CLI_DONE : cli_fail(CLI_FAILED, "bench", "out of memory");
}

/* ---- the whole ---- */

/* n different ids of n_vocab, the same in every run. */
static bool draw(int32_t *out, int32_t n, int32_t n_vocab) {
    int32_t *id = ct_alloc_array((size_t)n_vocab, sizeof *id);
    ct_rng rng;
    ct_rng_seed(&rng, SEED);
    for (int32_t i = 0; i < n_vocab && id; i++) id[i] = i;
    for (int32_t i = 0; i < n && id; i++) {
        const int32_t k = i + (int32_t)(ct_rng_u64(&rng) % (uint64_t)(n_vocab - i));
        out[i] = id[k];
        id[k] = id[i];
    }
    ct_free(id);
    return id != NULL;
}

/* What the model is, before anything is opened for good. */
static int look_at_model(bencher *b) {
    ple_state *s = b->s;
    const bench_args *a = s->args;
    cli_common common = a->common;
    carat_model_info info;
    int status = cli_model_open(&b->m, &common, b->path, false);
    if (status) return status;
    carat_model_get_info(b->m, &info);
    (void)snprintf(s->name, sizeof s->name, "%s", info.name && *info.name ? info.name : info.arch);
    (void)snprintf(s->arch, sizeof s->arch, "%s", info.arch);
    s->file_bytes = info.file_bytes;
    s->table_bytes = info.role[CARAT_ROLE_PLE_TABLE].bytes;
    s->row_bytes = s->table_bytes / (uint64_t)info.n_vocab;
    b->n_vocab = info.n_vocab;
    b->n_tok = a->n_prompt + a->n_gen;
    if (!info.d_ple) {
        status = cli_fail(CLI_FAILED, "bench", "--ple: %s has no per-layer embeddings (E2B and E4B have)", b->path);
    } else if (b->n_tok > info.n_ctx_train) {
        status = cli_fail(CLI_FAILED, "bench", "-p %d and -n %d are %d tokens, the model was trained for a context of %d: give a "
                          "smaller -p or -n", (int)a->n_prompt, (int)a->n_gen, (int)b->n_tok, (int)info.n_ctx_train);
    } else if (b->n_tok + N_WARM > info.n_vocab) {
        status = cli_fail(CLI_FAILED, "bench", "--ple: reads %d different tokens, the vocabulary has %d: give a smaller -p or -n",
                          (int)b->n_tok + N_WARM, (int)info.n_vocab);
    }
    carat_model_close(&b->m);
    return status;
}

static int make(bencher *b) {
    ple_state *s = b->s;
    const size_t n_rep = (size_t)s->args->n_rep, n_gen = (size_t)s->args->n_gen;
    bool ok = true;
    for (int i = 0; i < PLE_N_MODE; i++) {
        s->row[i].pass = ct_alloc_array(n_rep, sizeof *s->row[i].pass);
        s->row[i].token_ms = ct_alloc_array(n_rep * n_gen, sizeof *s->row[i].token_ms);
        ok = ok && s->row[i].pass && s->row[i].token_ms;
    }
    b->warm = ct_alloc_array((size_t)b->n_tok + N_WARM, sizeof *b->warm);
    b->tok = b->warm ? b->warm + N_WARM : NULL;
    if (ok && b->warm && draw(b->warm, b->n_tok + N_WARM, b->n_vocab)) return CLI_DONE;
    return cli_fail(CLI_FAILED, "bench", "out of memory");
}

int bench_ple(const bench_args *a) {
    char buf[PATH_MAX];
    FILE *svg = NULL;
    ple_state *s = ct_alloc(sizeof *s);
    if (!s) return cli_fail(CLI_FAILED, "bench", "out of memory");
    s->args = a;
    bencher b = {.s = s, .path = cli_model_path(&a->common, buf, sizeof buf)};
    int status = b.path ? CLI_DONE : CLI_FAILED;
    cli_catch_interrupt();
    if (!status) status = look_at_model(&b);
    if (!status) status = make(&b);
    if (!status) status = bench_svg_open(&svg, a);
    b.n_total = (int64_t)a->n_rep * (N_VISIT * N_WARM + (int64_t)PLE_N_MODE * b.n_tok);
    b.bar = cli_bar_begin("measuring", "tokens");
    for (int round = 0; round < a->n_rep && !status; round++) {
        for (int i = 0; i < N_VISIT && !status; i++) status = watch_visit(&b, (i + round) % N_VISIT, round);
    }
    cli_bar_end(&b.bar);
    if (!status) status = conclude(s);
    if (!status) status = bench_ple_print(s, svg);
    if (svg) fclose(svg);
    for (int i = 0; i < PLE_N_MODE; i++) {
        ct_free(s->row[i].pass);
        ct_free(s->row[i].token_ms);
    }
    ct_free(b.warm);
    ct_free(s);
    return status;
}
