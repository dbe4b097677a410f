/* How experts are used: the spread of counts, and what a trace of routing says about time: how many different experts some
 * tokens need together, how many of a token's experts the token before used, how often the next layer's router is right
 * when it is asked one layer too early. */
#ifndef CLI_EXPERT_USE_H
#define CLI_EXPERT_USE_H

#include <stdbool.h>
#include <stdint.h>

#include "carat.h"
#include "expert_trace.h"

/* How a layer's choices of experts were spread. */
typedef struct {
    uint64_t evals;
    int32_t used;   /* distinct experts */
    double entropy; /* bits; log2 n_expert when even */
    double least, most; /* shares of the expert used least and most */
} expert_use;

/* count: [n_expert] */
expert_use expert_use_of(const uint64_t *count, int32_t n_expert);

/* X(tokens): windows over which working sets are told */
#define EXPERT_WINDOW_LIST(X) X(1) X(4) X(16) X(64) X(256)
enum { EXPERT_N_WINDOW = 5 };
extern const int32_t expert_window[EXPERT_N_WINDOW];

/* Which experts the last tokens used, kept while a model runs. */
typedef struct {
    int32_t n_layer, n_expert;
    int64_t *n_tok; /* [n_layer] so far */
    int64_t *last;  /* [n_layer, n_expert] token of the layer that used it last, from 1; 0 = none */
} expert_recent;

/* False when memory is exhausted. Gives r's arrays: expert_recent_free, which accepts a zeroed r. */
bool expert_recent_init(expert_recent *r, int32_t n_layer, int32_t n_expert);
/* A layer chose expert[n_tok, n_used]. Allocates nothing. */
void expert_recent_note(expert_recent *r, int32_t layer, int32_t n_tok, int32_t n_used, const int32_t *expert);
/* Different experts of a layer in its last n tokens, on average over the layers that had so many; 0 = none had. */
double expert_recent_set(const expert_recent *r, int64_t n);
void expert_recent_free(expert_recent *r);

typedef struct {
    int32_t n_layer, n_expert;
    int64_t n_tok[2];        /* tokens of [prefill, decode] */
    uint64_t *count;         /* [n_layer, n_expert] */
    expert_use *use;         /* [n_layer]; evals 0 where a layer has no experts */
    double working_set[EXPERT_N_WINDOW]; /* different experts of a layer in so many tokens, on average; 0 = trace too short */
    double repeated;         /* share of a token's experts that the layer chose for the token before, too */
    double ahead;            /* share of a token's experts that the router said one layer earlier; -1 = nobody asked */
} expert_facts;

/* Of all tokens of the trace in their order, whatever the chunks. ENOMEM. Gives *out's arrays: expert_facts_free. */
int expert_facts_of(expert_facts *out, const expert_trace *t, carat_error *err);
void expert_facts_free(expert_facts *f);

#endif
