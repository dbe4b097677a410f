/* A cache of experts replayed on a trace of routing: what the live policy (runtime/cache.h, the same code) would have hit and
 * read, what others would have, and what nobody can beat (Belady: who knows the future evicts what is needed last).
 *
 * The rules are those of the live cache. A layer asks for all experts of its chunk together; those resident are pinned, the
 * others are read into slots that are not pinned. Where slots do not suffice, what was read so far is used up and released.
 * Every expert that is needed is read into a slot: nothing passes the cache by. */
#ifndef CLI_EXPERT_SIM_H
#define CLI_EXPERT_SIM_H

#include "expert_trace.h"

/* ---- what is asked for ---- */

typedef struct {
    int32_t key;    /* layer * n_expert + expert */
    int32_t weight; /* tokens of the chunk that use it */
    size_t next;    /* step that asks for it next, SIZE_MAX = none */
} expert_request;

typedef struct {
    const expert_trace *t;
    expert_request *request; /* those of step i: [first[i], first[i + 1]), each key once */
    size_t *first;           /* [n_step + 1] */
    int32_t most;            /* requests of a step */
} expert_requests;

/* Keeps t. Gives *out's arrays: expert_requests_free. */
int expert_requests_of(expert_requests *out, const expert_trace *t, carat_error *err);
void expert_requests_free(expert_requests *q);

/* ---- one cache ---- */

typedef enum {
    EXPERT_DECAY,     /* the live policy, with its half-life; INFINITY: least frequently used */
    EXPERT_LRU,       /* one list for all layers, ordered by last use */
    EXPERT_LAYER_LRU, /* every layer has the same number of slots, and a list of its own */
    EXPERT_BELADY,
} expert_kind;

typedef struct {
    expert_kind kind;
    double half_life; /* of EXPERT_DECAY: tokens */
    int32_t n_slot;
    bool prefetch;    /* of EXPERT_DECAY, in decode: read what the router says of the next layer */
    bool guesses;     /* of EXPERT_DECAY, in decode: count how guesses would fare, without reading any */
} expert_policy;

/* Half-life of the live cache. */
double expert_half_life(void);

typedef struct {
    int64_t n_tok;
    int64_t uses;  /* experts asked for, once a layer and chunk */
    int64_t hits;  /* of these, resident when asked for */
    int64_t loads; /* experts read: what was asked for and missing, and with prefetch what was guessed */
} expert_phase;

/* Guesses at what a layer is about to ask for. Only what is not resident is worth guessing. */
/* X(enum, key, description) */
#define EXPERT_GUESS_LIST(X)                                                                                       \
    X(EXPERT_GUESS_AHEAD, "next_layer_router", "next layer's router, one layer early")                             \
    X(EXPERT_GUESS_BEFORE, "token_before", "what the layer chose for the token before")                            \
    X(EXPERT_GUESS_FREQUENT, "most_frequent", "what the layer chose most often so far, of those not in the cache")
typedef enum {
#define X(id, key, text) id,
    EXPERT_GUESS_LIST(X)
#undef X
    EXPERT_N_GUESS
} expert_guess;

typedef struct {
    expert_phase phase[2];          /* [prefill, decode] */
    int64_t misses;                 /* of decode, where guesses are counted */
    int64_t guessed[EXPERT_N_GUESS]; /* experts that would have been read */
    int64_t right[EXPERT_N_GUESS];   /* of these, asked for at once */
    int64_t *file_uses, *file_hits; /* [n_file] of decode */
} expert_outcome;

/* From an empty cache. ENOMEM. Gives *out's arrays: expert_outcome_free. */
int expert_replay(expert_outcome *out, const expert_requests *q, const expert_policy *p, carat_error *err);
void expert_outcome_free(expert_outcome *o);

#endif
