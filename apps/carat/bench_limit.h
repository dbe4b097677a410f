/* carat bench --limit: the smallest enforced memory limit at which a run keeps its speed. bench_limit.c measures,
 * bench_limit_report.c prints. */
#ifndef CLI_BENCH_LIMIT_H
#define CLI_BENCH_LIMIT_H

#include "bench.h"
#include "carat.h"

/* How far a child got; it tells its parent at every step. */
typedef enum { LIMIT_STARTED, LIMIT_FIRST_TOKEN, LIMIT_DONE } limit_phase;

/* What a child measured: plain data through a pipe. */
typedef struct {
    limit_phase phase;
    double load_ms, first_ms;    /* model and session ready; first token chosen; both since the child's start */
    double decode_ms;            /* of all tokens behind the first */
    uint64_t anon_peak, rss_peak, charged_peak, file_end; /* sampled; file pages of the process at the end */
    uint64_t file_bytes;
    carat_place ple, experts;
    int32_t n_threads;
    char name[96], cpu[32];
} limit_result;

typedef enum {
    LIMIT_OK,      /* complete, and fast enough */
    LIMIT_SLOW,    /* complete, but slower */
    LIMIT_CUT,     /* so slow that it was ended */
    LIMIT_OOM,     /* the system ended it for lack of memory */
    LIMIT_REFUSED, /* the program says that it needs more: why */
    LIMIT_BROKEN,  /* anything else */
} limit_outcome;

typedef struct {
    uint64_t limit;      /* bytes; UINT64_MAX = free */
    limit_outcome outcome;
    limit_result r;      /* as far as r.phase goes */
    double tok_s;        /* of the decode; 0 where it did not end */
    double free_tok_s;   /* the speed without a limit that it was compared with; 0 = it is a free run */
    uint64_t charged_peak; /* of the group, by the kernel where it tells, else sampled; 0 = not told */
    double wall_ms;
    char why[256];       /* what the child said; empty = nothing */
} limit_probe;

enum { LIMIT_MAX_PROBE = 48 };

typedef struct {
    const bench_args *args;
    const char *path;
    int32_t n_ctx;
    limit_probe probe[LIMIT_MAX_PROBE]; /* in order; the free ones first */
    int n_probe;
    const limit_probe *free, *least; /* the fastest of the free runs; the smallest limit that is OK */
    double best_tok_s;               /* of all runs */
    uint64_t step;                   /* how exactly the limit is known: the next lower one tried, or known to fail, is so far */
    uint64_t cached_elsewhere;       /* bytes of the file that could not be evicted, at most */
    int version;                     /* of control groups */
} limit_state;

/* The whole of carat bench --limit. Returns the exit status. */
int bench_limit(const bench_args *a);
int bench_limit_print(const limit_state *s);

#endif
