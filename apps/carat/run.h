/* One answer: what run.c fills while it generates, and run_report.c prints. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "args.h"
#include "carat.h"
#include "expert_use.h"
#include "memwatch.h"

typedef struct {
    cli_common common;
    const char *prompt, *file, *system;
    const char *trace; /* where routing is written; NULL = nowhere */
    const char *session; /* file to resume from and save to; NULL: none */
    bool raw, stats;
    int32_t n_max;  /* tokens to answer with; -1 = until the model stops or the context is full */
    int32_t n_ctx;  /* 0 = what prompt and answer need */
    float temp, top_p, min_p, repeat_penalty;
    int32_t top_k;
    int32_t think;  /* index into "on|off" */
    int32_t screen; /* index into "off|auto|always" */
    int32_t lookup; /* a carat_lookup: index into "off|auto|always" */
    cli_seed seed;
    cli_list image, audio;
    const char *memory_trace; /* file that memory through time is written to */
} run_args;

typedef struct {
    char *s; /* not terminated */
    size_t n, cap;
} run_text;

typedef struct {
    const run_args *args;
    uint64_t seed;
    carat_model *m;
    carat_session *s;
    carat_sampler *sm;
    carat_detok *detok;
    struct expert_recorder *trace;
    carat_plan plan;           /* of the session: what is where */
    expert_recent recent;      /* with --json or --stats, of models with experts */
    carat_route_fn next_route; /* that is told of routing too; NULL = nobody */
    void *next_route_ud;
    int32_t *tok;              /* prompt, then answer */
    size_t n_tok, n_prompt, cap_tok;
    bool chat;                 /* the prompt went through the chat template */
    int32_t id_think, id_answer; /* tokens that open and close a thought; -1 when there are none */
    bool in_thought, thought_shown;
    size_t n_name;             /* bytes of the channel's name taken off this thought */
    run_text answer, thought;
    int32_t n_decoded;         /* tokens made ready after the first, which decode_ms covers */
    const char *stop;          /* "stop", "length", "context", "interrupted" */
    double start_ms, first_ms, end_ms; /* clock: the prompt is at hand; first token chosen; last one evaluated */
    double load_ms, prefill_ms;        /* durations */
    memwatch *watch;                   /* with --json or --memory-trace */
    bool has_found;                    /* --session names a file that is there: this is what it says */
    carat_snapshot_info found;
    int32_t n_loaded, n_reused, n_saved; /* tokens of --session: loaded, of these held on to by the prompt, saved */
} run_state;

/* --session, in the order of an answer (run_session.c). All print their errors, return an exit status, and do nothing
 * without the option. */
int run_session_find(run_state *r);
/* n_rewind of the session's options. */
int32_t run_session_n_rewind(const run_state *r, int32_t n_ctx);
int run_session_load(run_state *r);
int run_session_save(run_state *r);

/* The JSON object of design.md, section 2. Returns the exit status. */
int run_print_json(const run_state *r);
/* One closing line, or with --stats a table, on stderr. */
void run_print_stats(const run_state *r);

#endif
