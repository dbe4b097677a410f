/* carat bench --experts: caches of streamed experts of several sizes, live. bench_cache.c measures, bench_cache_report.c prints. */
#ifndef CLI_BENCH_CACHE_H
#define CLI_BENCH_CACHE_H

#include "bench.h"
#include "expert_sim.h"
#include "memwatch.h"

/* A decoded token. */
typedef struct {
    double ms;
    int32_t misses; /* experts that it had to wait for */
    int32_t at;     /* of the text, or of the random tokens */
} cache_token;

/* A repetition: the disk by itself, then a prompt, then tokens one by one. */
typedef struct {
    double disk;                     /* bytes a second; 0: none are streamed */
    double prefill_ms, decode_ms;
    carat_expert_stats prefill, decode;
    memwatch_summary memory;
} cache_rep;

/* Tokens since the topic changed: [from, to], 1 = the first of the new one. The last ones before it are apart. */
enum { CACHE_N_SPAN = 4, CACHE_BEFORE = 16 };
extern const int32_t cache_span[CACHE_N_SPAN][2];

typedef struct {
    int64_t n;
    double misses, ms; /* a token: mean, median */
} cache_span_use;

typedef struct {
    int32_t n_slot;    /* 0: all experts are in memory */
    carat_place place;
    uint64_t cache_bytes;
    cache_rep *rep;    /* [n_rep] */
    cache_token *token; /* [n_rep, n_gen] */
    /* From these. */
    bench_spread tok_s, prefill_tok_s, disk, disk_share;
    double p50, p95, p99;
    cache_token worst;
    carat_expert_stats prefill, decode; /* sums */
    double hits, own_hits; /* shares of the experts decoding asked for: there or on their way; without what was read ahead */
    double belady;         /* share that knowing the future would have had */
    double prefill_hits;
    double bytes, stall;   /* a decoded token; ms */
    memwatch_summary memory; /* peaks are the highest, medians the middle ones of the repetitions */
    cache_span_use before, span[CACHE_N_SPAN]; /* of texts with topics */
} cache_row;

typedef struct {
    const bench_args *args;
    const char *path;
    char name[96], arch[32], cpu[32];
    int32_t n_threads, n_vocab;
    int32_t n_prompt, n_gen;
    int32_t n_all, n_used;  /* experts of all layers; chosen for a token in a layer */
    uint64_t expert_bytes, file_bytes;
    uint64_t slot_bytes;
    int32_t *text;          /* [n_text] NULL: pseudo-random tokens */
    int32_t n_text;
    int32_t *topic;         /* [n_topic] first token of each */
    int n_topic, n_switch;  /* of these, those that decoding comes to from another one */
    cache_row row[BENCH_MAX_SIZE + 1];
    int n_row;
    bool has_resident;      /* it is the last row */
    expert_facts facts;     /* of the first row's choices */
} cache_state;

/* The whole of carat bench --experts. Returns the exit status. */
int bench_cache(const bench_args *a);
/* svg: where the plot goes, NULL = nowhere. */
int bench_cache_print(const cache_state *s, FILE *svg);
/* Topics of a text, separated by form feeds or lines of three dashes or more, as tokens. */
int bench_cache_read_text(cache_state *s, const carat_model *m);

#endif
