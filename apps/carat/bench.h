/* One run of carat bench: what bench.c measures, and bench_report.c prints. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdio.h>

#include "args.h"
#include "carat.h"
#include "expert_use.h"
#include "json_out.h"
#include "term.h"

/* common.ple and common.experts without a word. */
enum { BENCH_ALL_PLACES = CARAT_PLACE_ZERO + 1, BENCH_ALL_CACHES };

typedef struct {
    cli_common common;
    int32_t n_prompt, n_gen; /* tokens of a prefill and of a decode; 0 = not measured, -1 = not given */
    cli_list depth;          /* as given: "0", "4K", "0,1K" */
    int32_t n_rep;
    uint64_t buffer;         /* bytes that the read probe reads; 0 = choose */
    bool machine, csv, profile, all_layers, uniform;
    const char *trace;       /* where routing is written; NULL = nowhere */
    cli_list replay;         /* traces of routing */
    cli_list cache_experts, half_life; /* as given: "240", "12.5%,50%"; "64", "0,inf" */
    bool token_by_token;
    bool limit;              /* search for the smallest memory limit: bench_limit.h */
    float limit_share;       /* percent of the free speed that must be kept */
    int32_t n_ctx;           /* of --limit; 0 = what prompt and answer need */
    bool ple_places;         /* --ple without a word: bench_ple.h */
    bool cache_sizes;        /* --experts without a word: bench_cache.h */
    const char *text;        /* what it decodes; NULL = pseudo-random tokens */
    const char *svg;         /* where a plot goes; NULL = nowhere */
} bench_args;

/* One repetition: the machine's limits, and right after them the test. */
typedef struct {
    double read, dot; /* bytes and multiply-adds a second; B and P */
    double disk;      /* bytes a second; D; 0 where no experts are streamed */
    double ms;        /* of all tokens of the test; 0 with --machine */
    uint64_t disk_bytes; /* read for experts */
} bench_rep;

/* What came from disk in a test, summed over its repetitions. */
typedef struct {
    carat_expert_stats experts;
    uint64_t ple_reads, ple_hits, ple_disk_reads, ple_bytes;
    double ple_stall_ms;
} bench_traffic;

typedef struct {
    double median, min, max, q1, q3;
} bench_spread;

typedef struct {
    bool decode;
    int32_t depth, n;
    bench_rep *rep;            /* [n_rep] */
    carat_work work;           /* of one repetition */
    carat_profile profile;     /* summed over the repetitions, where asked for */
    /* From the repetitions. */
    bench_spread tok_s, read, dot, disk;
    bench_traffic traffic;
    bench_spread disk_share;   /* of the time that the bytes read take at D, in each repetition */
    double limit;              /* tokens a second at B and P, whichever takes longer */
    bool limit_is_read;
    double share;              /* tok_s.median / limit */
} bench_test;

typedef struct {
    const bench_args *args;
    carat_model *m;
    carat_session *s;
    carat_probe *probe;
    bench_test *test;
    int n_test;
    bench_spread read, dot;    /* over all repetitions */
    carat_plan plan;
} bench_state;

/* scratch: [n], sorted when it returns. */
/* Make s hold tok[0,n); exactly `fresh` of them must be new. Returns an exit status, its error printed. */
int bench_hold(carat_session *s, const int32_t *tok, int32_t n, int32_t fresh);
/* A choice that nobody looks at, because it takes time in a run too. */
int bench_choose(carat_sampler *sm, const carat_session *s);

bench_spread bench_spread_of(const double *x, int n, double *scratch);
/* Linear between neighbours. */
double bench_quantile(const double *sorted, int n, double q);
/* Everything measured, in the form asked for. Returns the exit status. */
int bench_print(const bench_state *b);

enum { BENCH_MAX_SIZE = 32 };
/* Sizes of caches as given, or the default ones, in experts of the n_key that there are; size: [BENCH_MAX_SIZE]. Returns the exit
 * status. */
int bench_cache_sizes(int32_t *size, int *n_size, const cli_list *l, int32_t n_key);
/* How experts were used: entropy, working sets. */
cli_json *bench_use_json(const expert_facts *f);
void bench_use_print(const expert_facts *f, int32_t n_used);

/* --replay: caches of experts on traces of routing, measured and printed. Returns the exit status. */
int bench_experts(const bench_args *a);

/* The file of --svg, opened before any work; *f stays NULL without it. Returns the exit status. */
int bench_svg_open(FILE **f, const bench_args *a);

/* How all of bench prints: numbers with three digits or four in front of the point, shares as percent, texts of CSV. */
char *bench_rate_text(cli_text buf, double x);
char *bench_share_text(cli_text buf, double share);
void bench_csv_text(const char *s);
const char *bench_kv_name(const bench_args *a);
cli_json *bench_spread_json(const bench_spread *s);

#endif
