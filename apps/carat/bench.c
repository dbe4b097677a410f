/* carat bench: speed of prefill and decode at given depths of the context, beside what the machine could do at most.
 *
 * A depth is filled once. Every repetition then starts from exactly that many held tokens: its own tokens differ from
 * those of the repetition before in the first one, so that sync drops the others and evaluates all of them; the session
 * is told (n_rewind) to keep its rings long enough for that. A test that finds more or fewer tokens evaluated than it
 * asked for fails. The machine's limits are measured right before each timed part, so that both see the same neighbours
 * on a shared machine. */
#include "bench.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "expert_trace.h"
#include "bench_cache.h"
#include "bench_limit.h"
#include "bench_ple.h"
#include "open.h"
#include "term.h"
#include "verbs.h"

enum { MAX_DEPTH = 64, WARM_PROMPT = 256, WARM_GEN = 8, SEED = 1 };
#define PROBE_READ_MS 30.0
#define PROBE_DOT_MS 10.0
#define BUFFER_MOST (UINT64_C(512) << 20)
#define PROBE_DISK_MS 300.0
#define BUFFER_LEAST (UINT64_C(32) << 20)

#define AT(field) offsetof(bench_args, field)
static const cli_opt opts[] = {
    {"--prompt-tokens", 'p', CLI_INT, AT(n_prompt), "N", 0, 1 << 20,
     "Tokens of a prefill; 0 = measure none. Default: 512; 128 with --limit, --ple and --experts."},
    {"--gen-tokens", 'n', CLI_INT, AT(n_gen), "N", 0, 1 << 20, 
     "Tokens of a decode; 0 = measure none. Default: 128; 48 with --limit, 64 with --ple and --experts."},
    {"--depth", 'd', CLI_LIST, AT(depth), "DEPTH", 0, 0,
     "Tokens held before a test begins, as 4096 or 4K. May be given several times, or as a list: -d 0,1K,4K,16K. "
     "Default: 0."},
    {"--reps", 'r', CLI_INT, AT(n_rep), "R", 1, 10000, "Repetitions of each test. Default: 5."},
    CLI_KV_OPT(bench_args, "f16"),
    CLI_PLACE_OPTS_OR(bench_args, BENCH_ALL_PLACES,
                      " Without a word: measure all of them, cold and warm, and what a row costs in each.", BENCH_ALL_CACHES,
                      " Without a word: measure caches of several sizes."),
    {"--all-layers", 0, CLI_FLAG, AT(all_layers), NULL, 0, 0,
     "Run every layer for every token of a prefill, also where nobody asks for the result: what engines do that leave "
     "nothing out. The work counted is then all of it."},
    {"--uniform-routing", 0, CLI_FLAG, AT(uniform), NULL, 0, 0,
     "Choose experts at random, all alike, instead of by the router: what the cache of streamed experts is worth at worst."},
    {"--profile", 0, CLI_FLAG, AT(profile), NULL, 0, 0,
     "Time, bytes and multiply-adds by step. Time is that of the calling thread; \"waiting\" is what it waits for the "
     "others. Bytes and multiply-adds are counted, not measured."},
    {"--machine", 0, CLI_FLAG, AT(machine), NULL, 0, 0, "Measure the machine's limits only; needs no model."},
    {"--buffer", 0, CLI_SIZE, AT(buffer), "SIZE", 0, 0,
     "Memory that is read to measure the read bandwidth; should be many times the last cache. Default: 512M, less "
     "where memory is short."},
    {"--trace", 0, CLI_TEXT, AT(trace), "FILE", 0, 0,
     "Write which experts every layer chose for every token, for --replay. Each layer then asks the next one's router too, "
     "which costs a little time."},
    {"--replay", 0, CLI_LIST, AT(replay), "FILE", 0, 0,
     "Measure nothing, but replay traces of routing: how experts are used, and what caches of several sizes and policies "
     "would hit and read. Needs no model. Given several times, the traces follow one another."},
    {"--cache-experts", 0, CLI_LIST, AT(cache_experts), "N", 0, 0,
     "With --replay or --experts: sizes of the cache in experts of all layers, or as shares of them: 240,480 or 12.5%,50%. "
     "Default: 12.5%,25%,37.5%,50%,75%."},
    {"--half-life", 0, CLI_LIST, AT(half_life), "TOKENS", 0, 0,
     "With --replay: more policies of decayed frequency, with these half-lives: 16,256; 0 is least recently, inf least "
     "frequently used."},
    {"--token-by-token", 0, CLI_FLAG, AT(token_by_token), NULL, 0, 0,
     "With --replay: replay prompts too as if their tokens had been decoded one by one."},
    {"--svg", 0, CLI_TEXT, AT(svg), "FILE", 0, 0, "With --ple or --experts, without a word behind them: also draw what was measured."},
    {"--text", 0, CLI_TEXT, AT(text), "FILE", 0, 0,
     "With --experts: decode this text instead of pseudo-random tokens. Topics are separated by form feeds or lines of three "
     "dashes; what changes from one to the next is told apart. Default for -p is then 16, for -n the rest."},
    {"--limit", 0, CLI_FLAG, AT(limit), NULL, 0, 0,
     "Search for the smallest memory limit (of a control group, enforced by the system) under which the model still runs at "
     "speed. Needs the right to make control groups."},
    {"--limit-share", 0, CLI_REAL, AT(limit_share), "P", 1, 100,
     "Percent of the free decode speed that must be kept under the limit. Default: 90."},
    {"--ctx", 'c', CLI_INT, AT(n_ctx), "CTX", 1, INT32_MAX,
     "Tokens the context of --limit can hold; memory is taken for all of them. Default: what -p and -n need."},
    {"--csv", 0, CLI_FLAG, AT(csv), NULL, 0, 0, "One line a test, behind a line with the names of the columns."},
};

static void defaults(void *p) {
    bench_args *a = p;
    a->n_prompt = a->n_gen = -1;
    a->n_rep = 5;
    a->limit_share = 90.0f;
}

/* ---- statistics ---- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_quantile(const double *sorted, int n, double q) {
    const double at = q * (n - 1);
    const int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

/* scratch: [n] */
bench_spread bench_spread_of(const double *x, int n, double *scratch) {
    memcpy(scratch, x, (size_t)n * sizeof *x);
    qsort(scratch, (size_t)n, sizeof *scratch, by_value);
    return (bench_spread){bench_quantile(scratch, n, 0.5), scratch[0], scratch[n - 1], bench_quantile(scratch, n, 0.25),
                          bench_quantile(scratch, n, 0.75)};
}

/* ---- depths ---- */

static int by_depth(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* "0", "4096", "4K", "0,1K,4K"; into depth [MAX_DEPTH], ascending, each once. */
static int parse_depths(const cli_list *l, int32_t *depth, int *n_out) {
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        for (const char *p = l->v[i];;) {
            char *end;
            long long x = *p >= '0' && *p <= '9' ? strtoll(p, &end, 10) : -1;
            if (x >= 0 && (*end == 'K' || *end == 'k')) x = x > INT32_MAX ? x : x * 1024, end++;
            if (x < 0 || (*end && *end != ',')) {
                return cli_fail(CLI_USAGE, "bench", "-d: '%s' is no depth: write 4096, 4K or 0,1K,4K", l->v[i]);
            }
            if (x > 1 << 20) return cli_fail(CLI_USAGE, "bench", "-d: %s is outside 0 to %d", l->v[i], 1 << 20);
            if (n == MAX_DEPTH) return cli_fail(CLI_USAGE, "bench", "-d: at most %d depths", MAX_DEPTH);
            depth[n++] = (int32_t)x;
            if (!*end) break;
            p = end + 1;
        }
    }
    if (n == 0) depth[n++] = 0;
    qsort(depth, (size_t)n, sizeof *depth, by_depth);
    *n_out = 0;
    for (int i = 0; i < n; i++) {
        if (i == 0 || depth[i] != depth[i - 1]) depth[(*n_out)++] = depth[i];
    }
    return CLI_DONE;
}

/* ---- one test ---- */

typedef struct {
    bench_state *b;
    carat_sampler *sm;
    int32_t n_vocab;
    int32_t *tok;         /* [n_ctx] */
    ct_rng rng;
    cli_bar bar;
    int64_t n_done, n_total; /* tokens, for the bar */
    expert_recorder *trace;
} bencher;

static bool on_progress(void *ud, int32_t done, int32_t total) {
    bencher *t = ud;
    (void)total;
    cli_bar_update(&t->bar, t->n_done + done, t->n_total);
    return !cli_interrupted();
}

/* New tokens for [from, from + n); the first differs from what was there. */
static void draw(bencher *t, int32_t from, int32_t n) {
    const int32_t before = t->tok[from];
    for (int32_t i = 0; i < n; i++) t->tok[from + i] = (int32_t)(ct_rng_u64(&t->rng) % (uint64_t)t->n_vocab);
    if (t->tok[from] == before) t->tok[from] = (before + 1) % t->n_vocab;
}

int bench_hold(carat_session *s, const int32_t *tok, int32_t n, int32_t fresh) {
    carat_error err;
    const int rc = carat_session_sync(s, tok, (size_t)n, &err);
    if (rc == CARAT_ECANCEL) return cli_fail(CLI_FAILED, "bench", "interrupted");
    if (rc) return cli_fail_err("bench", &err);
    if (carat_session_n_evaluated(s) == fresh) return CLI_DONE;
    return cli_fail(CLI_FAILED, "bench", "%d tokens were evaluated where %d were to be measured", (int)carat_session_n_evaluated(s),
                    (int)fresh);
}

int bench_choose(carat_sampler *sm, const carat_session *s) {
    if (carat_sampler_next(sm, carat_session_logits(s)) >= 0) return CLI_DONE;
    return cli_fail(CLI_FAILED, "bench", "the model's logits are not numbers (NaN): the file is damaged, get or make it again");
}

/* Hold tok[0,n); exactly `expect` of them must be new. */
static int hold(bencher *t, int32_t n, int32_t expect) {
    const int status = bench_hold(t->b->s, t->tok, n, expect);
    if (!status) t->n_done += expect;
    return status;
}

static int prefill(bencher *t, int32_t depth, int32_t n) {
    expert_recorder_phase(t->trace, false);
    return hold(t, depth + n, n);
}

/* The tokens are given, so that every run does the same; a greedy choice is made all the same, because it takes time. */
static int decode(bencher *t, int32_t depth, int32_t n) {
    expert_recorder_phase(t->trace, true);
    for (int32_t i = 0; i < n; i++) {
        const int status = hold(t, depth + i + 1, 1);
        if (status) return status;
        if (carat_sampler_next(t->sm, carat_session_logits(t->b->s)) < 0) {
            return cli_fail(CLI_FAILED, "bench", "the model's logits are not numbers (NaN): the file is damaged, get or make "
                            "it again");
        }
    }
    return CLI_DONE;
}

static bench_traffic traffic_of(const bench_state *b, bool is_decode) {
    carat_session_stats st;
    carat_session_get_stats(b->s, &st);
    return (bench_traffic){is_decode ? st.expert_decode : st.expert_prefill, st.ple_reads, st.ple_hits, st.ple_disk_reads,
                           st.ple_read_bytes, st.ple_stall_ms};
}

/* sum += after - before; returns the bytes that experts took. */
static uint64_t add_traffic(bench_traffic *sum, const bench_traffic *before, const bench_traffic *after) {
    sum->experts.hits += after->experts.hits - before->experts.hits;
    sum->experts.misses += after->experts.misses - before->experts.misses;
    sum->experts.hinted += after->experts.hinted - before->experts.hinted;
    sum->experts.hint_hits += after->experts.hint_hits - before->experts.hint_hits;
    sum->experts.read_bytes += after->experts.read_bytes - before->experts.read_bytes;
    sum->experts.stall_ms += after->experts.stall_ms - before->experts.stall_ms;
    sum->ple_reads += after->ple_reads - before->ple_reads;
    sum->ple_hits += after->ple_hits - before->ple_hits;
    sum->ple_disk_reads += after->ple_disk_reads - before->ple_disk_reads;
    sum->ple_bytes += after->ple_bytes - before->ple_bytes;
    sum->ple_stall_ms += after->ple_stall_ms - before->ple_stall_ms;
    return after->experts.read_bytes - before->experts.read_bytes;
}

static int run_test(bencher *t, bench_test *test, int i) {
    bench_state *b = t->b;
    bench_rep *rep = &test->rep[i];
    carat_error err;
    draw(t, test->depth, test->n);
    if (b->plan.experts == CARAT_PLACE_STREAMED && carat_model_probe_disk(b->m, PROBE_DISK_MS, &rep->disk, &err)) {
        return cli_fail_err("bench", &err);
    }
    const bench_traffic before = traffic_of(b, test->decode);
    rep->read = carat_probe_read(b->probe, PROBE_READ_MS);
    rep->dot = carat_probe_dot(b->probe, PROBE_DOT_MS);
    if (b->args->profile) carat_session_profile_start(b->s);
    const double start = ct_now_ms();
    const int status = test->decode ? decode(t, test->depth, test->n) : prefill(t, test->depth, test->n);
    rep->ms = ct_now_ms() - start;
    const bench_traffic after = traffic_of(b, test->decode);
    rep->disk_bytes = add_traffic(&test->traffic, &before, &after);
    if (b->args->profile) {
        carat_profile p;
        carat_session_profile_stop(b->s);
        carat_session_profile_get(b->s, &p);
        for (int k = 0; k < CARAT_N_STEP; k++) test->profile.ms[k] += p.ms[k];
    }
    return status;
}

/* Tests [at, at + n) have the same depth; `held` tokens are there already. */
static int run_depth(bencher *t, bench_test *test, int n, int32_t held, int32_t n_warm_prompt, int32_t n_warm_gen) {
    const int32_t depth = test->depth;
    int status = CLI_DONE;
    if (depth > held) {
        draw(t, held, depth - held);
        status = prefill(t, held, depth - held);
    }
    if (!status && n_warm_prompt) {
        draw(t, depth, n_warm_prompt);
        status = prefill(t, depth, n_warm_prompt);
    }
    if (!status && n_warm_gen) {
        draw(t, depth, n_warm_gen);
        status = decode(t, depth, n_warm_gen);
    }
    for (int i = 0; i < t->b->args->n_rep; i++) {
        for (int k = 0; k < n && !status; k++) status = run_test(t, &test[k], i);
    }
    return status;
}

/* ---- the whole ---- */

/* scratch: [2 * n_rep] */
static void conclude_test(bench_test *t, int n_rep, double *scratch) {
    for (int i = 0; i < n_rep; i++) scratch[i] = 1000.0 * t->n / t->rep[i].ms;
    t->tok_s = bench_spread_of(scratch, n_rep, scratch + n_rep);
    for (int i = 0; i < n_rep; i++) scratch[i] = t->rep[i].read;
    t->read = bench_spread_of(scratch, n_rep, scratch + n_rep);
    for (int i = 0; i < n_rep; i++) scratch[i] = t->rep[i].dot;
    t->dot = bench_spread_of(scratch, n_rep, scratch + n_rep);
    for (int i = 0; i < n_rep; i++) scratch[i] = t->rep[i].disk;
    t->disk = bench_spread_of(scratch, n_rep, scratch + n_rep);
    for (int i = 0; i < n_rep; i++) {
        const bench_rep *r = &t->rep[i];
        scratch[i] = r->disk > 0.0 ? 1e3 * (double)r->disk_bytes / r->disk / r->ms : 0.0;
    }
    t->disk_share = bench_spread_of(scratch, n_rep, scratch + n_rep);
    const double read_s = (double)t->work.total_bytes / t->read.median, dot_s = (double)t->work.total_macs / t->dot.median;
    t->limit_is_read = read_s >= dot_s;
    t->limit = t->n / (t->limit_is_read ? read_s : dot_s);
    t->share = t->tok_s.median / t->limit;
}

static int conclude(bench_state *b) {
    const int n_rep = b->args->n_rep, n = b->n_test * n_rep;
    double *x = ct_alloc_array((size_t)n, 2 * sizeof *x);
    if (!x) return cli_fail(CLI_FAILED, "bench", "out of memory");
    for (int i = 0; i < n; i++) x[i] = b->test[i / n_rep].rep[i % n_rep].read;
    b->read = bench_spread_of(x, n, x + n);
    for (int i = 0; i < n; i++) x[i] = b->test[i / n_rep].rep[i % n_rep].dot;
    b->dot = bench_spread_of(x, n, x + n);
    for (int i = 0; i < b->n_test && !b->args->machine; i++) conclude_test(&b->test[i], n_rep, x);
    ct_free(x);
    return CLI_DONE;
}

static int add_test(bench_state *b, bool is_decode, int32_t depth, int32_t n) {
    bench_test *t = &b->test[b->n_test];
    *t = (bench_test){.decode = is_decode, .depth = depth, .n = n};
    t->rep = ct_alloc_array((size_t)b->args->n_rep, sizeof *t->rep);
    if (!t->rep) return cli_fail(CLI_FAILED, "bench", "out of memory");
    b->n_test++;
    if (!b->s) return CLI_DONE;
    carat_error err;
    return carat_session_count_work(b->s, depth, n, is_decode, &t->work, &err) ? cli_fail_err("bench", &err) : CLI_DONE;
}

/* A buffer that leaves the model its room; under --ram it is an eighth of it, which the model does not get. */
static uint64_t buffer_bytes(const bench_args *a) {
    uint64_t bytes = a->buffer ? a->buffer : BUFFER_MOST;
    const uint64_t left = a->common.ram ? a->common.ram / 8 : ct_memory_available() / 2; /* mapped weights are to stay */
    if (!a->buffer && left && left < bytes) bytes = left > BUFFER_LEAST ? left : BUFFER_LEAST;
    return bytes;
}

static int open_probe(bench_state *b) {
    const bench_args *a = b->args;
    const uint64_t bytes = buffer_bytes(a);
    carat_error err;
    return carat_probe_new(&b->probe, a->common.n_threads, bytes, &err) ? cli_fail_err("bench", &err) : CLI_DONE;
}

static int measure_machine(bench_state *b) {
    int status = open_probe(b);
    if (!status) status = add_test(b, false, 0, 0);
    for (int i = 0; i < b->args->n_rep && !status; i++) {
        bench_rep *rep = &b->test[0].rep[i];
        rep->read = carat_probe_read(b->probe, PROBE_READ_MS);
        rep->dot = carat_probe_dot(b->probe, PROBE_DOT_MS);
        if (cli_interrupted()) status = cli_fail(CLI_FAILED, "bench", "interrupted");
    }
    return status;
}

static int open_model(bench_state *b, bencher *t, int32_t max_depth) {
    const bench_args *a = b->args;
    char buf[PATH_MAX];
    cli_common common = a->common;
    if (common.ram && common.ram <= buffer_bytes(a)) {
        cli_text need, limit;
        return cli_fail(CLI_FAILED, "bench", "--ram %s: leaves no room beside the %s that are read to measure bandwidth: give a larger --ram, or "
                        "a smaller --buffer", cli_size_text(limit, common.ram), cli_size_text(need, buffer_bytes(a)));
    }
    if (common.ram) common.ram_aside = buffer_bytes(a);
    const char *path = cli_model_path(&common, buf, sizeof buf);
    int status = path ? cli_model_open(&b->m, &common, path, false) : CLI_FAILED;
    if (status) return status;
    carat_model_info info;
    carat_model_get_info(b->m, &info);
    t->n_vocab = info.n_vocab;
    const int32_t n_most = a->n_prompt > a->n_gen ? a->n_prompt : a->n_gen;
    if (max_depth + n_most > info.n_ctx_train) {
        return cli_fail(CLI_FAILED, "bench", "depth %d and %d tokens behind it are %d, the model was trained for a context of "
                        "%d: give a smaller -d, -p or -n", (int)max_depth, (int)n_most, (int)(max_depth + n_most),
                        (int)info.n_ctx_train);
    }
    carat_session_opts o = cli_session_opts(&a->common, max_depth + n_most);
    o.n_rewind = n_most;
    o.all_rows = a->all_layers;
    o.route_uniform = a->uniform;
    o.progress = on_progress;
    o.progress_ud = t;
    carat_error err;
    if (a->trace && expert_recorder_open(&t->trace, a->trace, b->m, &o, &err)) return cli_fail_err("bench", &err);
    status = cli_session_open(&b->s, b->m, &common, &o);
    if (status) return status;
    if (carat_plan_make(&b->plan, b->m, &o, &err)) return cli_fail_err("bench", &err);
    carat_sampler_opts so = carat_sampler_opts_default();
    so.temp = 0.0f;
    if (carat_sampler_new(&t->sm, info.n_vocab, &so, &err)) return cli_fail_err("bench", &err);
    t->tok = ct_alloc_array((size_t)(max_depth + n_most), sizeof *t->tok);
    return t->tok ? open_probe(b) : cli_fail(CLI_FAILED, "bench", "out of memory");
}

static int measure_model(bench_state *b, const int32_t *depth, int n_depth) {
    const bench_args *a = b->args;
    bencher t = {.b = b};
    int status = open_model(b, &t, depth[n_depth - 1]);
    const int32_t warm_p = a->n_prompt < WARM_PROMPT ? a->n_prompt : WARM_PROMPT;
    const int32_t warm_n = a->n_gen < WARM_GEN ? a->n_gen : WARM_GEN;
    t.n_total = depth[n_depth - 1] + (int64_t)n_depth * (warm_p + warm_n + (int64_t)a->n_rep * (a->n_prompt + a->n_gen));
    for (int i = 0; i < n_depth && !status; i++) {
        if (a->n_prompt) status = add_test(b, false, depth[i], a->n_prompt);
        if (a->n_gen && !status) status = add_test(b, true, depth[i], a->n_gen);
    }
    ct_rng_seed(&t.rng, SEED);
    t.bar = cli_bar_begin("measuring", "tokens");
    const int per_depth = (a->n_prompt > 0) + (a->n_gen > 0);
    for (int i = 0; i < n_depth && !status; i++) {
        status = run_depth(&t, b->test + i * per_depth, per_depth, i ? depth[i - 1] : 0, warm_p, warm_n);
    }
    cli_bar_end(&t.bar);
    carat_error err;
    if (expert_recorder_close(&t.trace, &err) && !status) status = cli_fail_err("bench", &err);
    carat_sampler_free(&t.sm);
    ct_free(t.tok);
    return status;
}

/* --ple or --experts without a word: the first option that has no place beside it; NULL = there is none. */
static const char *other_than_table(const bench_args *a) {
    return a->ple_places && a->cache_sizes ? "--experts" : a->machine ? "--machine" : a->limit ? "--limit" : a->profile ? "--profile"
           : a->depth.n ? "--depth" : a->all_layers ? "--all-layers" : a->trace ? "--trace" : a->buffer ? "--buffer"
           : a->half_life.n ? "--half-life" : a->token_by_token ? "--token-by-token" : a->ple_places && a->replay.n ? "--replay"
           : a->ple_places && a->uniform ? "--uniform-routing" : a->cache_sizes && a->common.expert_cache ? "--expert-cache" : NULL;
}

static int check_table(const bench_args *a) {
    const char *table = a->ple_places ? "--ple" : "--experts", *other = other_than_table(a);
    if (other) return cli_fail(CLI_USAGE, "bench", "%s: %s has no place beside it", table, other);
    return a->n_gen == 0 ? cli_fail(CLI_USAGE, "bench", "%s: needs -n of at least 1", table) : CLI_DONE;
}

static int check_args(const bench_args *a) {
    if (a->common.json && a->csv) return cli_fail(CLI_USAGE, "bench", "--json and --csv: give one of them");
    if (a->buffer && a->buffer < BUFFER_LEAST) {
        return cli_fail(CLI_USAGE, "bench", "--buffer: must be at least %dM, or caches are measured", (int)(BUFFER_LEAST >> 20));
    }
    if (a->machine && a->common.n_pos) return cli_fail(CLI_USAGE, "bench", "--machine: takes no MODEL");
    if (!a->replay.n && a->cache_experts.n && !a->cache_sizes) return cli_fail(CLI_USAGE, "bench", "--cache-experts: needs --replay or --experts");
    if (!a->replay.n && (a->half_life.n || a->token_by_token)) {
        return cli_fail(CLI_USAGE, "bench", "%s: needs --replay", a->half_life.n ? "--half-life" : "--token-by-token");
    }
    if (a->replay.n && a->common.n_pos) return cli_fail(CLI_USAGE, "bench", "--replay: takes no MODEL");
    if (a->replay.n && (a->machine || a->trace || a->csv || a->profile || a->depth.n || a->all_layers)) {
        return cli_fail(CLI_USAGE, "bench", "--replay: %s has no place beside it",
                        a->machine ? "--machine" : a->trace ? "--trace" : a->csv ? "--csv" : a->profile ? "--profile"
                        : a->depth.n ? "--depth" : "--all-layers");
    }
    if (a->machine && a->trace) return cli_fail(CLI_USAGE, "bench", "--machine: --trace has no place beside it");
    if (a->machine && (a->profile || a->depth.n || a->all_layers)) {
        return cli_fail(CLI_USAGE, "bench", "--machine: %s has no place beside it",
                        a->profile ? "--profile" : a->depth.n ? "--depth" : "--all-layers");
    }
    if (a->n_ctx && !a->limit) return cli_fail(CLI_USAGE, "bench", "-c: belongs to --limit; -d says how many tokens are held");
    if (a->limit) {
        const char *other = a->machine ? "--machine" : a->profile ? "--profile" : a->all_layers ? "--all-layers"
                            : a->depth.n ? "--depth" : a->csv ? "--csv" : a->buffer ? "--buffer" : NULL;
        if (other) return cli_fail(CLI_USAGE, "bench", "--limit: %s has no place beside it", other);
        if (a->n_prompt == 0 || a->n_gen == 0) return cli_fail(CLI_USAGE, "bench", "--limit: needs -p and -n of at least 1");
    }
    if (a->text && !a->cache_sizes) return cli_fail(CLI_USAGE, "bench", "--text: needs --experts, without a word behind it");
    if (a->svg && !a->ple_places && !a->cache_sizes) {
        return cli_fail(CLI_USAGE, "bench", "--svg: needs --ple or --experts, without a word behind them");
    }
    if (a->ple_places || a->cache_sizes) {
        const int status = check_table(a);
        if (status) return status;
    }
    if (a->n_prompt == 0 && a->n_gen == 0) return cli_fail(CLI_USAGE, "bench", "-p 0 and -n 0: leave nothing to measure");
    return CLI_DONE;
}

static int run(const void *p) {
    bench_args args = *(const bench_args *)p;
    const bench_args *a = &args;
    if (a->common.ple == BENCH_ALL_PLACES) args.ple_places = true, args.common.ple = CARAT_PLACE_AUTO;
    if (a->common.experts == BENCH_ALL_CACHES) args.cache_sizes = a->replay.n == 0, args.common.experts = CARAT_PLACE_AUTO;
    if (a->n_prompt < 0 && !a->cache_sizes) args.n_prompt = a->limit || a->ple_places ? 128 : 512;
    if (a->n_gen < 0 && !a->cache_sizes) args.n_gen = a->limit ? 48 : a->ple_places ? 64 : 128;
    bench_state b = {.args = a};
    int32_t depth[MAX_DEPTH];
    int n_depth = 0;
    int status = check_args(a);
    if (!status && a->replay.n) return bench_experts(a);
    if (!status && a->limit) return bench_limit(a);
    if (!status && a->ple_places) return bench_ple(a);
    if (!status && a->cache_sizes) return bench_cache(a);
    if (!status) status = parse_depths(&a->depth, depth, &n_depth);
    if (!status) {
        b.test = ct_alloc_array((size_t)n_depth, 2 * sizeof *b.test);
        if (!b.test) status = cli_fail(CLI_FAILED, "bench", "out of memory");
    }
    cli_catch_interrupt();
    if (!status) status = a->machine ? measure_machine(&b) : measure_model(&b, depth, n_depth);
    if (!status) status = conclude(&b);
    if (!status) status = bench_print(&b);
    for (int i = 0; i < b.n_test; i++) ct_free(b.test[i].rep);
    ct_free(b.test);
    carat_probe_free(&b.probe);
    carat_session_free(&b.s);
    carat_model_close(&b.m);
    return status;
}

const cli_verb cli_verb_bench = {
    .name = "bench",
    .brief = "measure speed, and how near it is to the machine's limit",
    .synopsis = "[MODEL]",
    .about = "Tokens a second of reading a prompt (prefill) and of writing an answer (decode), at every depth: that many "
             "tokens are held already. Without MODEL the bundled model is measured.\n\n"
             "Tokens are pseudo-random and the same in every run. A depth is filled once, then a short warm-up is not counted, "
             "and every repetition starts again from exactly that depth: prefill evaluates -p tokens at once, logits of "
             "the last one included; decode evaluates -n tokens one by one, each with its logits and a greedy choice. "
             "Told are the median, the least and the most.\n\n"
             "The limit: the machine's read bandwidth B (all threads read a large buffer) and its peak P of 8-bit "
             "multiply-adds (all threads do nothing else) are measured right before each repetition. Bytes and "
             "multiply-adds that a test cannot do without are counted from the model's shapes; at B and P they would take "
             "a time, and the longer of the two gives the limit. A model that fits a cache may exceed B.\n\n"
             "--replay compares caches of experts on traces of routing that --trace of run and bench wrote. Caches begin "
             "empty. A hit is an expert that was there when its layer asked for it, counted once a layer and chunk.\n\n"
             "--ple, without a word behind it, measures what a row of per-layer embeddings costs wherever the table can be: in each "
             "of -r rounds every place has the model opened anew, in another order each time, and reads the same prompt of -p and "
             "writes the same -n tokens, no two alike. Cold: rows that the session has never seen, and that were taken out of the page "
             "cache before; warm: the same tokens once more. Told are medians over rounds, and times of tokens over all.\n\n"
             "--experts, without a word behind it, measures caches of streamed experts of the sizes --cache-experts, and all in memory where "
             "they fit. Every size has the model opened anew. Each repetition measures what the disk gives (D), then reads a prompt of -p "
             "and decodes -n tokens. The routing of all of it is replayed with a cache that knows the future (Belady): the gap is what "
             "a better policy could gain. Hits not ahead are those without experts that were read ahead in time. Share of D: of the time, "
             "how much of it the bytes read take at D.\n\n"
             "--limit measures memory instead, as a small machine feels it: each run opens the model anew in a control group "
             "with a memory limit and no swap, after the file has been taken out of the page cache, reads a prompt of -p and "
             "writes -n tokens. A binary search finds the smallest limit, to 2% or 8 MiB, that keeps --limit-share of the "
             "decode speed without one; told beside it are the file's size, the anonymous memory, the pages of the file that "
             "are resident, and what the group was charged with at its peak.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(bench_args),
    .max_pos = 1,
    .defaults = defaults,
    .run = run,
};
