/* carat bench --ple: what a row of the table of per-layer embeddings costs in each place the table can have. bench_ple.c
 * measures, bench_ple_report.c prints. */
#ifndef CLI_BENCH_PLE_H
#define CLI_BENCH_PLE_H

#include <stdio.h>

#include "bench.h"

/* X(enum, key, description) */
#define PLE_MODE_LIST(X)                               \
    X(PLE_RESIDENT, "resident", "resident")            \
    X(PLE_MAPPED_WARM, "mapped_warm", "mapped, warm")  \
    X(PLE_MAPPED_COLD, "mapped_cold", "mapped, cold")  \
    X(PLE_STREAMED_WARM, "streamed_warm", "streamed, warm") \
    X(PLE_STREAMED_COLD, "streamed_cold", "streamed, cold") \
    X(PLE_ZERO, "zero", "zero")
typedef enum {
#define X(id, key, text) id,
    PLE_MODE_LIST(X)
#undef X
    PLE_N_MODE
} ple_mode;

/* A mode in one round: a prompt, then tokens one by one. */
typedef struct {
    double prefill_ms, decode_ms;
    carat_session_stats prefill, decode; /* counted over each by itself */
    uint64_t anon, file;                 /* resident behind it */
    uint64_t peak;                       /* of the session, from opening the model on */
} ple_pass;

/* What each round has one of. X(enum, key in the JSON) */
#define PLE_VALUE_LIST(X)                              \
    X(PLE_TOK_S, "tok_s")                              \
    X(PLE_RATIO, "of_resident") /* speed, to that in the same round */ \
    X(PLE_PREFILL_TOK_S, "prefill_tok_s")              \
    X(PLE_PREFILL_STALL, "prefill_stall_ms_token")     \
    X(PLE_STALL, "stall_ms_token") /* waited for rows, page faults included */ \
    X(PLE_SHARE, "stall_share")    /* of the time of a token */ \
    X(PLE_LOOKUP_P50, "lookup_p50_us") /* until a row was there, once it was needed */ \
    X(PLE_LOOKUP_P99, "lookup_p99_us")                 \
    X(PLE_LOOKUP_MAX, "lookup_max_us")                 \
    X(PLE_DISK_P50, "disk_p50_us") /* from asking to having */ \
    X(PLE_DISK_P99, "disk_p99_us")                     \
    X(PLE_ROWS, "disk_reads_token")                    \
    X(PLE_BYTES, "disk_bytes_token")                   \
    X(PLE_HITS, "hit_rate")        /* of the cache of rows */ \
    X(PLE_ANON, "anon_bytes")                          \
    X(PLE_FILE, "file_bytes")                          \
    X(PLE_PEAK, "peak_bytes")
typedef enum {
#define X(id, key) id,
    PLE_VALUE_LIST(X)
#undef X
    PLE_N_VALUE
} ple_value;

typedef struct {
    ple_pass *pass;                /* [n_rep] */
    double *token_ms;              /* [n_rep, n_gen] */
    bench_spread value[PLE_N_VALUE]; /* over rounds */
    double p50, p95, p99, most;    /* of token_ms */
} ple_row;

typedef struct {
    const bench_args *args;
    char name[96], arch[32], cpu[32];
    int32_t n_threads;
    uint64_t file_bytes, table_bytes, row_bytes;
    uint64_t stayed;             /* most bytes of the table that could not be evicted */
    ple_row row[PLE_N_MODE];
} ple_state;


/* The whole of carat bench --ple. Returns the exit status. */
int bench_ple(const bench_args *a);
/* svg: where the plot goes, NULL = nowhere. */
int bench_ple_print(const ple_state *s, FILE *svg);

#endif
