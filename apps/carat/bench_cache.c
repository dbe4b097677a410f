/* carat bench --experts: how fast a mixture is with a cache of so many experts, and what of its hits the policy could have had.
 *
 * Every size has a fresh model, whose cache begins empty. A short warm-up is not counted; then every repetition drops what is
 * held, measures the disk by itself, reads a prompt and decodes. Routing is recorded from the first token on and replayed
 * afterwards with a cache that knows the future, so that both have seen the same; of both only the decoding of the repetitions
 * is compared. Tokens are given: pseudo-random, or those of a text. */
#include "bench_cache.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "expert_trace.h"
#include "open.h"

enum { SEED = 1, WARM_PROMPT = 64, WARM_GEN = 4 };
#define PROBE_DISK_MS 300.0

const int32_t cache_span[CACHE_N_SPAN][2] = {{1, 1}, {2, 4}, {5, 16}, {17, 64}};

typedef struct {
    cache_state *s;
    cache_row *row;
    carat_model *m;
    carat_session *session;
    carat_sampler *sm;
    expert_recorder *recorder;
    expert_trace trace;
    int32_t *tok;        /* [n_prompt + n_gen] */
    ct_rng rng;
    cli_bar bar;
    int64_t n_done, n_total; /* tokens */
} bencher;

static bool on_progress(void *ud, int32_t done, int32_t total) {
    bencher *b = ud;
    (void)total;
    cli_bar_update(&b->bar, b->n_done + done, b->n_total);
    return !cli_interrupted();
}

static uint64_t count_loads(const void *m) { return carat_model_expert_loads(m); }

/* ---- one repetition ---- */

/* Tokens of the next repetition. */
static void draw(bencher *b) {
    const cache_state *s = b->s;
    for (int32_t i = 0; i < s->n_prompt + s->n_gen; i++) {
        b->tok[i] = s->text ? s->text[i] : (int32_t)(ct_rng_u64(&b->rng) % (uint64_t)s->n_vocab);
    }
}

/* Evaluate tok[0,n), of which `fresh` must be new, and choose as a run would. */
static int hold(bencher *b, const int32_t *tok, int32_t n, int32_t fresh) {
    const int status = bench_hold(b->session, tok, n, fresh);
    if (status) return status;
    b->n_done += fresh;
    return bench_choose(b->sm, b->session);
}

/* Another first token, so that nothing of what was held can be gone on from. */
static int drop(bencher *b) {
    const int32_t other = (b->tok[0] + 1) % b->s->n_vocab;
    expert_recorder_phase(b->recorder, false);
    return hold(b, &other, 1, 1);
}

/* Single rows of a prompt's last layers count as decoding in the session's stats: what a phase had is both. */
static carat_expert_stats both(const carat_session *session) {
    carat_session_stats st;
    carat_session_get_stats(session, &st);
    const carat_expert_stats *p = &st.expert_prefill, *d = &st.expert_decode;
    return (carat_expert_stats){p->hits + d->hits, p->misses + d->misses, p->hinted + d->hinted, p->hint_hits + d->hint_hits,
                                p->read_bytes + d->read_bytes, p->stall_ms + d->stall_ms};
}

static int decode(bencher *b, int32_t n_prompt, int32_t n, cache_token *token) {
    uint64_t misses = 0;
    int status = CLI_DONE;
    expert_recorder_phase(b->recorder, true);
    for (int32_t i = 0; i < n && !status; i++) {
        const double from = ct_now_ms();
        status = hold(b, b->tok, n_prompt + i + 1, 1);
        const double ms = ct_now_ms() - from;
        if (!token) continue;
        const uint64_t now = both(b->session).misses;
        token[i] = (cache_token){ms, (int32_t)(now - misses), n_prompt + i};
        misses = now;
    }
    return status;
}

static int run_rep(bencher *b, int i) {
    const cache_state *s = b->s;
    cache_rep *rep = &b->row->rep[i];
    cache_token *token = b->row->token + (size_t)i * (size_t)s->n_gen;
    carat_error err;
    draw(b);
    int status = drop(b);
    if (!status && b->row->n_slot && carat_model_probe_disk(b->m, PROBE_DISK_MS, &rep->disk, &err)) return cli_fail_err("bench", &err);
    memwatch *w = status ? NULL : memwatch_start(MEMWATCH_PERIOD_MS);
    if (!w) return status ? status : cli_fail(CLI_FAILED, "bench", "no memory or thread to watch memory with");
    if (b->row->n_slot) memwatch_count(w, count_loads, b->m);
    expert_recorder_part(b->recorder, i + 1);
    carat_session_reset_stats(b->session);
    double from = ct_now_ms();
    if (s->n_prompt) status = hold(b, b->tok, s->n_prompt, s->n_prompt);
    rep->prefill_ms = ct_now_ms() - from;
    rep->prefill = both(b->session);
    carat_session_reset_stats(b->session);
    from = ct_now_ms();
    if (!status) status = decode(b, s->n_prompt, s->n_gen, token);
    rep->decode_ms = ct_now_ms() - from;
    rep->decode = both(b->session);
    expert_recorder_part(b->recorder, 0);
    memwatch_stop(w);
    memwatch_get(w, &rep->memory);
    memwatch_free(&w);
    return status;
}

static int warm_up(bencher *b) {
    const cache_state *s = b->s;
    const int32_t n = s->n_prompt < WARM_PROMPT ? s->n_prompt : WARM_PROMPT, n_gen = s->n_gen < WARM_GEN ? s->n_gen : WARM_GEN;
    draw(b);
    const int status = n ? hold(b, b->tok, n, n) : CLI_DONE;
    return status ? status : decode(b, n, n_gen, NULL);
}

/* ---- from the repetitions ---- */

static double by(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

static void add_stats(carat_expert_stats *sum, const carat_expert_stats *x) {
    sum->hits += x->hits;
    sum->misses += x->misses;
    sum->hinted += x->hinted;
    sum->hint_hits += x->hint_hits;
    sum->read_bytes += x->read_bytes;
    sum->stall_ms += x->stall_ms;
}

static void raise_to(uint64_t *most, uint64_t v) {
    if (v > *most) *most = v;
}

/* Of the repetitions that had such samples. at: of the field; x: [2 * n_rep] */
static uint64_t middle(const cache_row *r, int n_rep, double *x, size_t at) {
    int n = 0;
    for (int i = 0; i < n_rep; i++) {
        const uint64_t v = *(const uint64_t *)(const void *)((const char *)&r->rep[i].memory + at);
        if (v) x[n++] = (double)v;
    }
    return n ? (uint64_t)bench_spread_of(x, n, x + n_rep).median : 0;
}

static void conclude_memory(cache_row *r, int n, double *x) {
    memwatch_summary *m = &r->memory;
    *m = r->rep[0].memory;
    for (int i = 1; i < n; i++) {
        const memwatch_summary *y = &r->rep[i].memory;
        raise_to(&m->peak, y->peak);
        raise_to(&m->anon_peak, y->anon_peak);
        raise_to(&m->load_peak, y->load_peak);
        raise_to(&m->rest_peak, y->rest_peak);
        m->n += y->n;
        m->load_n += y->load_n;
    }
    m->median = middle(r, n, x, offsetof(memwatch_summary, median));
    m->load_median = middle(r, n, x, offsetof(memwatch_summary, load_median));
    m->rest_median = middle(r, n, x, offsetof(memwatch_summary, rest_median));
}

/* Tokens since decoding came from one topic to the next, 1 for the first; 0: none yet. *left: to the next one, INT32_MAX: none. */
static int32_t since_switch(const cache_state *s, int32_t at, int32_t *left) {
    int32_t since = 0;
    *left = INT32_MAX;
    for (int k = 1; k < s->n_topic; k++) {
        if (s->topic[k] <= s->n_prompt) continue;
        if (s->topic[k] <= at) since = at - s->topic[k] + 1;
        else if (*left == INT32_MAX) *left = s->topic[k] - at;
    }
    return since;
}

/* Tokens whose distance from a switch is in [from, to]; from < 0: before it. x: [2 * n_rep * n_gen] */
static cache_span_use conclude_span(const cache_state *s, const cache_row *r, int32_t from, int32_t to, double *x) {
    cache_span_use u = {0};
    const int n = s->args->n_rep * s->n_gen;
    for (int i = 0; i < n; i++) {
        int32_t left;
        const int32_t since = since_switch(s, r->token[i].at, &left);
        const bool in = from < 0 ? left <= -from : since >= from && since <= to;
        if (!in) continue;
        x[u.n++] = r->token[i].ms;
        u.misses += r->token[i].misses;
    }
    if (u.n) u.ms = bench_spread_of(x, (int)u.n, x + u.n).median;
    u.misses = by(u.misses, (double)u.n);
    return u;
}

/* x: [2 * n_rep * (n_gen + 1)] */
static void conclude_row(const cache_state *s, cache_row *r, double *x) {
    const int n = s->args->n_rep, n_token = n * s->n_gen;
    for (int i = 0; i < n; i++) {
        add_stats(&r->prefill, &r->rep[i].prefill);
        add_stats(&r->decode, &r->rep[i].decode);
        x[i] = 1000.0 * s->n_gen / r->rep[i].decode_ms;
    }
    r->tok_s = bench_spread_of(x, n, x + n);
    for (int i = 0; i < n; i++) x[i] = by(1000.0 * s->n_prompt, r->rep[i].prefill_ms);
    r->prefill_tok_s = bench_spread_of(x, n, x + n);
    for (int i = 0; i < n; i++) x[i] = r->rep[i].disk;
    r->disk = bench_spread_of(x, n, x + n);
    for (int i = 0; i < n; i++) x[i] = by(1e3 * by((double)r->rep[i].decode.read_bytes, r->rep[i].disk), r->rep[i].decode_ms);
    r->disk_share = bench_spread_of(x, n, x + n);
    for (int i = 0; i < n_token; i++) {
        x[i] = r->token[i].ms;
        if (r->token[i].ms > r->worst.ms) r->worst = r->token[i];
    }
    r->p50 = bench_spread_of(x, n_token, x + n_token).median;
    r->p95 = bench_quantile(x + n_token, n_token, 0.95);
    r->p99 = bench_quantile(x + n_token, n_token, 0.99);
    const carat_expert_stats *d = &r->decode, *p = &r->prefill;
    const double uses = (double)(d->hits + d->misses);
    r->hits = by((double)d->hits, uses);
    r->own_hits = by((double)(d->hits - d->hint_hits), uses);
    r->prefill_hits = by((double)(p->hits - p->hint_hits), (double)(p->hits + p->misses));
    r->bytes = (double)d->read_bytes / n_token;
    r->stall = d->stall_ms / n_token;
    conclude_memory(r, n, x);
    if (!s->n_switch) return;
    r->before = conclude_span(s, r, -CACHE_BEFORE, 0, x);
    for (int k = 0; k < CACHE_N_SPAN; k++) r->span[k] = conclude_span(s, r, cache_span[k][0], cache_span[k][1], x);
}

/* What a cache of the row's size had hit, knowing what came. */
static int replay(bencher *b) {
    cache_row *r = b->row;
    carat_error err;
    expert_requests q = {0};
    expert_outcome out = {0};
    const expert_policy p = {.kind = EXPERT_BELADY, .n_slot = r->n_slot};
    int rc = expert_requests_of(&q, &b->trace, &err);
    if (!rc) rc = expert_replay(&out, &q, &p, &err);
    int64_t uses = 0, hits = 0;
    for (int32_t i = 1; i < b->trace.n_file && !rc; i++) {
        uses += out.file_uses[i];
        hits += out.file_hits[i];
    }
    r->belady = by((double)hits, (double)uses);
    expert_outcome_free(&out);
    expert_requests_free(&q);
    return rc ? cli_fail_err("bench", &err) : CLI_DONE;
}

/* ---- one size ---- */

static carat_session_opts session_opts(bencher *b) {
    const cache_state *s = b->s;
    carat_session_opts o = cli_session_opts(&s->args->common, s->n_prompt + s->n_gen);
    o.route_uniform = s->args->uniform;
    o.progress = on_progress;
    o.progress_ud = b;
    return o;
}

static cli_common common_of(const cache_state *s, carat_place experts, uint64_t expert_cache) {
    cli_common c = s->args->common;
    c.json = true; /* no line about each plan */
    c.experts = (int32_t)experts;
    c.expert_cache = expert_cache;
    return c;
}

static int open_row(bencher *b) {
    cache_state *s = b->s;
    cache_row *r = b->row;
    carat_error err;
    const uint64_t cache = (uint64_t)r->n_slot * s->slot_bytes + s->slot_bytes / 2; /* what a slot costs is known to a few bytes */
    const cli_common c = common_of(s, r->n_slot ? CARAT_PLACE_STREAMED : CARAT_PLACE_RESIDENT, r->n_slot ? cache : 0);
    int status = cli_model_open(&b->m, &c, s->path, false);
    if (status) return status;
    carat_session_opts o = session_opts(b);
    if (expert_recorder_keep(&b->recorder, &b->trace, false, b->m, &o, &err)) return cli_fail_err("bench", &err);
    status = cli_session_open(&b->session, b->m, &c, &o);
    if (status) return status;
    carat_session_stats st;
    carat_session_get_stats(b->session, &st);
    r->place = st.experts;
    r->cache_bytes = st.expert_cache_bytes;
    if (r->n_slot && st.n_expert_slot != r->n_slot) {
        return cli_fail(CLI_FAILED, "bench", "--cache-experts %d: there is memory for %d: give a smaller cache%s", (int)r->n_slot,
                        (int)st.n_expert_slot, c.ram ? ", or a larger --ram" : "");
    }
    (void)snprintf(s->cpu, sizeof s->cpu, "%s", st.cpu);
    s->n_threads = st.n_threads;
    carat_sampler_opts so = carat_sampler_opts_default();
    so.temp = 0.0f;
    return carat_sampler_new(&b->sm, s->n_vocab, &so, &err) ? cli_fail_err("bench", &err) : CLI_DONE;
}

static int measure_row(bencher *b, double *scratch) {
    cache_state *s = b->s;
    carat_error err;
    ct_memory_trim(); /* what the row before had is not this one's */
    ct_rng_seed(&b->rng, SEED);
    int status = open_row(b);
    if (!status) status = warm_up(b);
    for (int i = 0; i < s->args->n_rep && !status; i++) status = run_rep(b, i);
    carat_sampler_free(&b->sm);
    carat_session_free(&b->session);
    carat_model_close(&b->m);
    if (expert_recorder_close(&b->recorder, &err) && !status) status = cli_fail_err("bench", &err);
    if (!status && b->row->n_slot) status = replay(b);
    if (!status && b->row == s->row && expert_facts_of(&s->facts, &b->trace, &err)) status = cli_fail_err("bench", &err);
    expert_trace_free(&b->trace);
    if (!status) conclude_row(s, b->row, scratch);
    return status;
}

/* ---- the whole ---- */

/* The plan of a session with these experts. */
static int plan_of(carat_plan *p, bencher *b, carat_place experts, uint64_t expert_cache) {
    carat_error err;
    const cli_common c = common_of(b->s, experts, expert_cache);
    const carat_session_opts o = session_opts(b);
    int status = cli_model_open(&b->m, &c, b->s->path, false);
    if (!status && carat_plan_make(p, b->m, &o, &err)) status = cli_fail_err("bench", &err);
    carat_model_close(&b->m);
    return status;
}

/* How many tokens, and of which text. */
static int choose_tokens(cache_state *s, const carat_model *m, int32_t n_ctx_train) {
    const bench_args *a = s->args;
    int status = a->text ? bench_cache_read_text(s, m) : CLI_DONE;
    if (status) return status;
    s->n_prompt = a->n_prompt >= 0 ? a->n_prompt : a->text ? 16 : 128;
    s->n_gen = a->n_gen >= 0 ? a->n_gen : 64;
    if (a->text) {
        const int32_t most = s->n_text < n_ctx_train ? s->n_text : n_ctx_train;
        if (a->n_gen < 0) s->n_gen = most - s->n_prompt;
        if (s->n_gen < 1 || s->n_prompt > s->n_text - s->n_gen) {
            return cli_fail(CLI_FAILED, "bench", "--text: %s has %d tokens: give a smaller -p or -n", a->text, (int)s->n_text);
        }
    }
    if ((int64_t)s->n_prompt + s->n_gen > n_ctx_train) {
        return cli_fail(CLI_FAILED, "bench", "-p %d and -n %d are %d tokens, the model was trained for a context of %d: give a "
                        "smaller -p or -n", (int)s->n_prompt, (int)s->n_gen, (int)(s->n_prompt + s->n_gen), (int)n_ctx_train);
    }
    for (int k = 1; k < s->n_topic; k++) s->n_switch += s->topic[k] > s->n_prompt && s->topic[k] < s->n_prompt + s->n_gen;
    return CLI_DONE;
}

static int look_at_model(bencher *b) {
    cache_state *s = b->s;
    const cli_common c = common_of(s, CARAT_PLACE_AUTO, 0);
    carat_model_info info;
    int status = cli_model_open(&b->m, &c, s->path, false);
    if (status) return status;
    carat_model_get_info(b->m, &info);
    (void)snprintf(s->name, sizeof s->name, "%s", info.name && *info.name ? info.name : info.arch);
    (void)snprintf(s->arch, sizeof s->arch, "%s", info.arch);
    s->file_bytes = info.file_bytes;
    s->n_vocab = info.n_vocab;
    s->n_used = info.n_expert_used;
    s->n_all = info.n_expert * info.n_layer;
    if (!info.n_expert) status = cli_fail(CLI_FAILED, "bench", "--experts: %s has no experts (26B-A4B has)", s->path);
    else s->expert_bytes = info.role[CARAT_ROLE_EXPERTS].bytes / (uint64_t)s->n_all;
    if (!status) status = choose_tokens(s, b->m, info.n_ctx_train);
    carat_model_close(&b->m);
    return status;
}

/* The rows, and what a slot costs: the difference of two plans. */
static int choose_rows(bencher *b) {
    cache_state *s = b->s;
    int32_t size[BENCH_MAX_SIZE];
    int n = 0;
    carat_plan least, more, resident;
    int status = bench_cache_sizes(size, &n, &s->args->cache_experts, s->n_all);
    for (int i = 0; i < n && !status; i++) {
        if (size[i] < 2 * s->n_used) {
            status = cli_fail(CLI_USAGE, "bench", "--cache-experts: %d are too few: a cache holds at least twice the %d experts of a token "
                              "in a layer", (int)size[i], (int)s->n_used);
        }
        s->row[s->n_row++].n_slot = size[i];
    }
    if (!status) status = plan_of(&least, b, CARAT_PLACE_STREAMED, 1);
    if (!status) status = plan_of(&more, b, CARAT_PLACE_STREAMED, 4 * least.expert_cache_bytes);
    if (!status) status = plan_of(&resident, b, CARAT_PLACE_RESIDENT, 0);
    if (status) return status;
    s->slot_bytes = more.n_expert_slot > least.n_expert_slot
                        ? (more.expert_cache_bytes - least.expert_cache_bytes) / (uint64_t)(more.n_expert_slot - least.n_expert_slot)
                        : least.expert_cache_bytes / (uint64_t)(least.n_expert_slot ? least.n_expert_slot : 1);
    s->has_resident = resident.fits && (resident.experts == CARAT_PLACE_RESIDENT || resident.experts == CARAT_PLACE_MAPPED);
    s->n_row += s->has_resident;
    return CLI_DONE;
}

static int make(bencher *b) {
    cache_state *s = b->s;
    bool ok = true;
    for (int i = 0; i < s->n_row; i++) {
        s->row[i].rep = ct_alloc_array((size_t)s->args->n_rep, sizeof *s->row[i].rep);
        s->row[i].token = ct_alloc_array((size_t)s->args->n_rep * (size_t)s->n_gen, sizeof *s->row[i].token);
        ok = ok && s->row[i].rep && s->row[i].token;
    }
    b->tok = ct_alloc_array((size_t)s->n_prompt + (size_t)s->n_gen, sizeof *b->tok);
    b->n_total = (int64_t)s->n_row * s->args->n_rep * (s->n_prompt + s->n_gen);
    return ok && b->tok ? CLI_DONE : cli_fail(CLI_FAILED, "bench", "out of memory");
}

static void free_state(cache_state *s) {
    for (int i = 0; i <= BENCH_MAX_SIZE; i++) {
        ct_free(s->row[i].rep);
        ct_free(s->row[i].token);
    }
    expert_facts_free(&s->facts);
    ct_free(s->text);
    ct_free(s->topic);
    ct_free(s);
}

int bench_cache(const bench_args *a) {
    char buf[PATH_MAX];
    FILE *svg = NULL;
    double *scratch = NULL;
    cache_state *s = ct_alloc(sizeof *s);
    if (!s) return cli_fail(CLI_FAILED, "bench", "out of memory");
    s->args = a;
    s->path = cli_model_path(&a->common, buf, sizeof buf);
    bencher b = {.s = s};
    int status = s->path ? CLI_DONE : CLI_FAILED;
    cli_catch_interrupt();
    if (!status) status = look_at_model(&b);
    if (!status) status = choose_rows(&b);
    if (!status) status = make(&b);
    if (!status) status = bench_svg_open(&svg, a);
    if (!status) {
        scratch = ct_alloc_array((size_t)a->n_rep * ((size_t)s->n_gen + 1), 2 * sizeof *scratch);
        if (!scratch) status = cli_fail(CLI_FAILED, "bench", "out of memory");
    }
    b.bar = cli_bar_begin("measuring", "tokens");
    for (int i = 0; i < s->n_row && !status; i++) {
        b.row = &s->row[i];
        status = measure_row(&b, scratch);
    }
    cli_bar_end(&b.bar);
    if (!status) status = bench_cache_print(s, svg);
    if (svg) fclose(svg);
    ct_free(scratch);
    ct_free(b.tok);
    free_state(s);
    return status;
}
