/* carat bench --replay: caches of experts compared on traces of routing. Computes everything first (a table of policies by
 * cache size, filled by expert_replay), then prints it: tables for people, or one JSON object. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench.h"
#include "expert_sim.h"
#include "expert_use.h"
#include "json_out.h"
#include "open.h"
#include "term.h"

enum { MAX_HALF_LIFE = 16, MAX_POLICY = MAX_HALF_LIFE + 6 };

/* A row of the table. */
typedef struct {
    expert_policy p;  /* n_slot is that of the size */
    char name[40];
    const char *key;  /* in the JSON */
} policy;

typedef struct {
    const bench_args *args;
    expert_trace t;
    expert_facts facts;
    expert_requests requests;
    int32_t n_key;             /* experts of all layers */
    int32_t size[BENCH_MAX_SIZE];
    int n_size;
    policy policy[MAX_POLICY];
    int n_policy, i_live, i_belady; /* which are the live one, without prefetch, and the bound */
    expert_outcome *outcome;   /* [n_size, n_policy] */
} replay;

static const expert_outcome *outcome_of(const replay *r, int size, int i) { return &r->outcome[size * r->n_policy + i]; }

/* ---- what was asked for ---- */

/* "240" experts or "37.5%" of all, into slots; 0 = neither. */
static int32_t parse_size(const char *s, const char **end, int32_t n_key) {
    char *stop;
    if (*s < '0' || *s > '9') return 0;
    double x = strtod(s, &stop);
    if (*stop == '%') {
        x = x > 100.0 ? 0.0 : floor(x / 100.0 * n_key + 0.5);
        stop++;
    }
    *end = stop;
    return x >= 1.0 && x <= n_key && x == floor(x) ? (int32_t)x : 0;
}

int bench_cache_sizes(int32_t *size, int *n_size, const cli_list *l, int32_t n_key) {
    static const char *const def[] = {"12.5%,25%,37.5%,50%,75%"};
    *n_size = 0;
    for (int i = 0; i < (l->n ? l->n : 1); i++) {
        for (const char *p = l->n ? l->v[i] : def[0];;) {
            const char *end = p;
            const int32_t n = parse_size(p, &end, n_key);
            if (n == 0 || (*end && *end != ',')) {
                return cli_fail(CLI_USAGE, "bench", "--cache-experts: '%s' is no size of a cache: write numbers from 1 to the "
                                "%d experts of all layers, or shares as 37.5%%", p, (int)n_key);
            }
            if (*n_size == BENCH_MAX_SIZE) return cli_fail(CLI_USAGE, "bench", "--cache-experts: at most %d sizes", BENCH_MAX_SIZE);
            size[(*n_size)++] = n;
            if (!*end) break;
            p = end + 1;
        }
    }
    return CLI_DONE;
}

static policy *add_policy(replay *r, expert_kind kind, double half_life, const char *key, const char *name) {
    policy *p = &r->policy[r->n_policy++];
    *p = (policy){.p = {.kind = kind, .half_life = half_life}, .key = key};
    if (name) (void)snprintf(p->name, sizeof p->name, "%s", name);
    else (void)snprintf(p->name, sizeof p->name, "decayed frequency, H %.10g", half_life);
    return p;
}

static int add_half_lives(replay *r) {
    const cli_list *l = &r->args->half_life;
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        for (const char *p = l->v[i];;) {
            char *end;
            double x = *p >= '0' && *p <= '9' ? strtod(p, &end) : -1.0;
            if (strncmp(p, "inf", 3) == 0) {
                x = INFINITY;
                end = (char *)p + 3;
            }
            if (!(x >= 0.0) || (*end && *end != ',')) {
                return cli_fail(CLI_USAGE, "bench", "--half-life: '%s' is no number of tokens: write 64, 0 or inf", p);
            }
            if (n++ == MAX_HALF_LIFE) return cli_fail(CLI_USAGE, "bench", "--half-life: at most %d", MAX_HALF_LIFE);
            add_policy(r, EXPERT_DECAY, x, "decay", NULL);
            if (!*end) break;
            p = end + 1;
        }
    }
    return CLI_DONE;
}

static int choose_policies(replay *r) {
    add_policy(r, EXPERT_LRU, 0.0, "lru", "least recent (LRU)");
    add_policy(r, EXPERT_LAYER_LRU, 0.0, "layer_lru", "LRU, equal slots a layer");
    add_policy(r, EXPERT_DECAY, INFINITY, "lfu", "least frequent (LFU)");
    const int status = add_half_lives(r);
    if (status) return status;
    const double half_life = expert_half_life();
    r->i_live = r->n_policy;
    policy *live = add_policy(r, EXPERT_DECAY, half_life, "live", NULL);
    (void)snprintf(live->name, sizeof live->name, "Carat's, H %.10g", half_life);
    live->p.guesses = true;
    if (r->facts.ahead >= 0.0) {
        add_policy(r, EXPERT_DECAY, half_life, "live_ahead", "  and next layer's router")->p.prefetch = true;
    }
    r->i_belady = r->n_policy;
    add_policy(r, EXPERT_BELADY, 0.0, "belady", "knowing the future (Belady)");
    return CLI_DONE;
}

/* ---- doing it ---- */

static int read_traces(replay *r) {
    carat_error err;
    for (int i = 0; i < r->args->replay.n; i++) {
        if (expert_trace_read(&r->t, r->args->replay.v[i], &err)) return cli_fail_err("bench", &err);
    }
    if (r->args->token_by_token && expert_trace_split(&r->t, &err)) return cli_fail_err("bench", &err);
    if (expert_facts_of(&r->facts, &r->t, &err) || expert_requests_of(&r->requests, &r->t, &err)) return cli_fail_err("bench", &err);
    r->n_key = expert_trace_layers(&r->t) * r->t.n_expert;
    return CLI_DONE;
}

static int replay_all(replay *r) {
    carat_error err;
    r->outcome = ct_alloc_array((size_t)r->n_size * (size_t)r->n_policy, sizeof *r->outcome);
    if (!r->outcome) return cli_fail(CLI_FAILED, "bench", "out of memory");
    const int n = r->n_size * r->n_policy;
    cli_bar bar = cli_bar_begin("replaying", "caches");
    int status = CLI_DONE;
    for (int i = 0; i < n && !status; i++) {
        cli_bar_update(&bar, i, n);
        expert_policy p = r->policy[i % r->n_policy].p;
        p.n_slot = r->size[i / r->n_policy];
        if (cli_interrupted()) status = cli_fail(CLI_FAILED, "bench", "interrupted");
        else if (expert_replay(&r->outcome[i], &r->requests, &p, &err)) status = cli_fail_err("bench", &err);
    }
    cli_bar_end(&bar);
    return status;
}

static double share(int64_t part, int64_t whole) { return whole > 0 ? (double)part / (double)whole : 0.0; }

static double hit_rate(const expert_phase *p) { return share(p->hits, p->uses); }

/* ---- JSON ---- */

static cli_json *phase_json(const replay *r, const expert_phase *p) {
    cli_json *o = cli_json_object();
    cli_json_put_int(o, "tokens", p->n_tok);
    cli_json_put_int(o, "uses", p->uses);
    cli_json_put_int(o, "hits", p->hits);
    cli_json_put_int(o, "loads", p->loads);
    cli_json_put_real(o, "hit_rate", hit_rate(p));
    cli_json_put_real(o, "bytes_token", share(p->loads, p->n_tok) * (double)expert_trace_expert_bytes(&r->t));
    return o;
}

static cli_json *policy_json(const replay *r, int size, int i) {
    const policy *p = &r->policy[i];
    const expert_outcome *x = outcome_of(r, size, i);
    cli_json *o = cli_json_object();
    cli_json_put_str(o, "policy", p->key);
    if (p->p.kind == EXPERT_DECAY) cli_json_put_real(o, "half_life", p->p.half_life);
    cli_json_put(o, "prefill", phase_json(r, &x->phase[0]));
    cli_json_put(o, "decode", phase_json(r, &x->phase[1]));
    if (!p->p.prefetch) cli_json_put_real(o, "gap", hit_rate(&outcome_of(r, size, r->i_belady)->phase[1]) - hit_rate(&x->phase[1]));
    cli_json *files = cli_json_array();
    for (int32_t k = 0; k < r->t.n_file; k++) {
        cli_json *f = cli_json_object();
        cli_json_put_int(f, "uses", x->file_uses[k]);
        cli_json_put_int(f, "hits", x->file_hits[k]);
        cli_json_add(files, f);
    }
    cli_json_put(o, "decode_files", files);
    return o;
}

static const struct {
    const char *key, *text;
} guess_name[EXPERT_N_GUESS] = {
#define X(id, key, text) {key, text},
    EXPERT_GUESS_LIST(X)
#undef X
};

static cli_json *guesses_json(const expert_outcome *x) {
    cli_json *a = cli_json_array();
    for (int g = 0; g < EXPERT_N_GUESS; g++) {
        cli_json *o = cli_json_object();
        cli_json_put_str(o, "guess", guess_name[g].key);
        cli_json_put_int(o, "misses", x->misses);
        cli_json_put_int(o, "guessed", x->guessed[g]);
        cli_json_put_int(o, "right", x->right[g]);
        cli_json_put_real(o, "coverage", share(x->right[g], x->misses));
        cli_json_put_real(o, "precision", share(x->right[g], x->guessed[g]));
        cli_json_add(a, o);
    }
    return a;
}

cli_json *bench_use_json(const expert_facts *f) {
    cli_json *o = cli_json_object(), *windows = cli_json_array(), *layers = cli_json_array();
    for (int i = 0; i < EXPERT_N_WINDOW; i++) {
        cli_json *w = cli_json_object();
        cli_json_put_int(w, "tokens", expert_window[i]);
        cli_json_put_real(w, "experts", f->working_set[i] > 0.0 ? f->working_set[i] : NAN);
        cli_json_add(windows, w);
    }
    for (int32_t l = 0; l < f->n_layer; l++) {
        const expert_use *u = &f->use[l];
        cli_json *x = cli_json_object(), *counts = cli_json_array();
        cli_json_put_int(x, "layer", l);
        cli_json_put_int(x, "evals", (int64_t)u->evals);
        cli_json_put_int(x, "used", u->used);
        cli_json_put_real(x, "entropy_bits", u->entropy);
        cli_json_put_real(x, "effective", u->evals ? exp2(u->entropy) : 0.0);
        cli_json_put_real(x, "least_share", u->least);
        cli_json_put_real(x, "most_share", u->most);
        for (int32_t e = 0; e < f->n_expert; e++) cli_json_add_int(counts, (int64_t)f->count[(size_t)l * (size_t)f->n_expert + (size_t)e]);
        cli_json_put(x, "counts", counts);
        cli_json_add(layers, x);
    }
    cli_json_put(o, "working_set", windows);
    cli_json_put_real(o, "repeated", f->repeated);
    cli_json_put_real(o, "ahead", f->ahead >= 0.0 ? f->ahead : NAN);
    cli_json_put(o, "layers", layers);
    return o;
}

static int print_json(const replay *r) {
    cli_json *o = cli_json_object(), *files = cli_json_array(), *caches = cli_json_array();
    for (int i = 0; i < r->args->replay.n; i++) cli_json_add_text(files, r->args->replay.v[i], strlen(r->args->replay.v[i]));
    cli_json_put(o, "traces", files);
    cli_json_put_int(o, "layers", expert_trace_layers(&r->t));
    cli_json_put_int(o, "experts", r->t.n_expert);
    cli_json_put_int(o, "experts_used", r->t.n_used);
    cli_json_put_bytes(o, "expert_bytes", expert_trace_expert_bytes(&r->t));
    cli_json_put_int(o, "prefill_tokens", r->facts.n_tok[0]);
    cli_json_put_int(o, "decode_tokens", r->facts.n_tok[1]);
    cli_json_put(o, "use", bench_use_json(&r->facts));
    for (int s = 0; s < r->n_size; s++) {
        cli_json *c = cli_json_object(), *policies = cli_json_array();
        cli_json_put_int(c, "experts", r->size[s]);
        cli_json_put_real(c, "share", share(r->size[s], r->n_key));
        for (int i = 0; i < r->n_policy; i++) cli_json_add(policies, policy_json(r, s, i));
        cli_json_put(c, "policies", policies);
        cli_json_put(c, "guesses", guesses_json(outcome_of(r, s, r->i_live)));
        cli_json_add(caches, c);
    }
    cli_json_put(o, "caches", caches);
    return cli_json_print(o, "bench");
}

/* ---- for people ---- */

static char *percent(cli_text buf, double x) {
    (void)snprintf(buf, sizeof(cli_text), "%.1f%%", 100.0 * x);
    return buf;
}

void bench_use_print(const expert_facts *f, int32_t n_used) {
    cli_text a, b, c, d, e, g;
    cli_table *t = cli_table_new("rrrrrrr");
    cli_table_row(t, "layer", "tokens", "experts used", "entropy, bits", "effective", "least used", "most");
    cli_table_line(t);
    for (int32_t l = 0; l < f->n_layer; l++) {
        const expert_use *u = &f->use[l];
        if (u->evals == 0) continue;
        cli_text layer;
        (void)snprintf(layer, sizeof layer, "%d", (int)l);
        (void)snprintf(b, sizeof b, "%d of %d", (int)u->used, (int)f->n_expert);
        (void)snprintf(c, sizeof c, "%.2f", u->entropy);
        (void)snprintf(d, sizeof d, "%.1f", exp2(u->entropy));
        cli_table_row(t, layer, cli_count_text(a, (int64_t)u->evals / n_used), b, c, d, percent(e, u->least), percent(g, u->most));
    }
    cli_table_print(t, false);
    cli_printf("\nDifferent experts of a layer that some tokens need together:\n");
    t = cli_table_new("rrr");
    cli_table_row(t, "tokens", "experts", "of a layer's");
    cli_table_line(t);
    for (int i = 0; i < EXPERT_N_WINDOW; i++) {
        if (f->working_set[i] <= 0.0) continue;
        (void)snprintf(b, sizeof b, "%.1f", f->working_set[i]);
        cli_table_row(t, cli_count_text(a, expert_window[i]), b, percent(c, f->working_set[i] / f->n_expert));
    }
    cli_table_print(t, false);
    cli_printf("\nOf a token's experts, %s were used by the token before", percent(a, f->repeated));
    if (f->ahead >= 0.0) cli_printf("; the next layer's router, asked one\nlayer early, names %s", percent(b, f->ahead));
    cli_printf(".\n\n");
}

/* What a token reads: bytes, or experts where their size is unknown. */
static char *read_text(cli_text buf, const replay *r, const expert_phase *p) {
    const uint64_t bytes = expert_trace_expert_bytes(&r->t);
    const double loads = share(p->loads, p->n_tok);
    if (p->n_tok == 0) buf[0] = '\0';
    else if (bytes) cli_size_text(buf, (uint64_t)(loads * (double)bytes));
    else (void)snprintf(buf, sizeof(cli_text), "%.1f experts", loads);
    return buf;
}

static void print_size(const replay *r, int size) {
    cli_text count, of, a, b, c, d, e;
    char head[96];
    (void)snprintf(head, sizeof head, "cache of %s experts (%s)", cli_count_text(count, r->size[size]),
                   percent(of, share(r->size[size], r->n_key)));
    cli_table *t = cli_table_new("lrrrrr");
    cli_table_row(t, head, "decode hits", "to Belady", "a token reads", "prefill hits", "a token reads");
    cli_table_line(t);
    const double bound = hit_rate(&outcome_of(r, size, r->i_belady)->phase[1]);
    for (int i = 0; i < r->n_policy; i++) {
        const expert_phase *p = outcome_of(r, size, i)->phase;
        if (i == r->i_belady) cli_table_line(t);
        /* What is read before it is asked for is no business of Belady's. */
        const bool bounded = p[1].uses && !r->policy[i].p.prefetch;
        cli_table_row(t, r->policy[i].name, p[1].uses ? percent(a, hit_rate(&p[1])) : "", bounded ? percent(b, bound - hit_rate(&p[1])) : "",
                      read_text(c, r, &p[1]), p[0].uses ? percent(d, hit_rate(&p[0])) : "", read_text(e, r, &p[0]));
    }
    cli_table_print(t, false);
    cli_printf("\n");
}

static void print_guesses(const replay *r) {
    cli_printf("Guesses at the experts a layer is about to miss, in decode with Carat's policy:\n");
    cli_table *t = cli_table_new("rlrr");
    cli_table_row(t, "cache", "guess", "of the misses", "of the guesses right");
    cli_table_line(t);
    for (int s = 0; s < r->n_size; s++) {
        const expert_outcome *x = outcome_of(r, s, r->i_live);
        for (int g = 0; g < EXPERT_N_GUESS; g++) {
            if (g == EXPERT_GUESS_AHEAD && r->facts.ahead < 0.0) continue;
            cli_text of, a, b;
            cli_table_row(t, percent(of, share(r->size[s], r->n_key)), guess_name[g].text, percent(a, share(x->right[g], x->misses)),
                          x->guessed[g] ? percent(b, share(x->right[g], x->guessed[g])) : "none made");
        }
    }
    cli_table_print(t, false);
}

static int print_tables(const replay *r) {
    cli_text a, b, c;
    cli_printf("%d layers of %d experts, %d used for a token", (int)expert_trace_layers(&r->t), (int)r->t.n_expert, (int)r->t.n_used);
    const uint64_t bytes = expert_trace_expert_bytes(&r->t);
    if (bytes) cli_printf(", %s each", cli_size_text(c, bytes));
    cli_printf("; %s tokens of prefill, %s of decode\n\n", cli_count_text(a, r->facts.n_tok[0]), cli_count_text(b, r->facts.n_tok[1]));
    bench_use_print(&r->facts, r->t.n_used);
    for (int s = 0; s < r->n_size; s++) print_size(r, s);
    if (r->facts.n_tok[1]) print_guesses(r);
    return CLI_DONE;
}

int bench_experts(const bench_args *a) {
    replay r = {.args = a};
    cli_catch_interrupt();
    int status = read_traces(&r);
    if (!status) status = bench_cache_sizes(r.size, &r.n_size, &a->cache_experts, r.n_key);
    if (!status) status = choose_policies(&r);
    if (!status) status = replay_all(&r);
    if (!status) status = a->common.json ? print_json(&r) : print_tables(&r);
    for (int i = 0; r.outcome && i < r.n_size * r.n_policy; i++) expert_outcome_free(&r.outcome[i]);
    ct_free(r.outcome);
    expert_requests_free(&r.requests);
    expert_facts_free(&r.facts);
    expert_trace_free(&r.t);
    return status;
}
