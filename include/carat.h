/* carat.h - run Google's Gemma 4 (and Gemma 3) text models in C. The one public header.
 *
 * If it is not in this file it is not API. Two objects:
 *   carat_model    weights, vocabulary, configuration. Immutable after open; share it between threads.
 *   carat_session  one timeline: KV cache, logits, position. One thread at a time.
 * The main verb is carat_session_sync: "make this session hold exactly these tokens".
 *
 *     carat_error err;
 *     carat_model *m = NULL;
 *     carat_session *s = NULL;
 *     if (carat_model_open(&m, "gemma-4-E2B-it-Q4_0.gguf", NULL, &err)) { puts(err.msg); return 1; }
 *     if (carat_session_new(&s, m, NULL, &err)) { puts(err.msg); return 1; }
 *     int32_t tok[256]; size_t n;
 *     carat_tokenize(m, "Hello", 5, CARAT_TOKENIZE_BOS, tok, 256, &n, &err);
 *     carat_session_sync(s, tok, n, &err);
 *     const float *logits = carat_session_logits(s);       // [n_vocab]
 *     carat_session_free(&s); carat_model_close(&m);
 *
 * Rules that hold everywhere:
 *   - Every fallible call returns 0 or a negative CARAT_E… and fills `err` (which may be NULL) with one line.
 *   - Out-parameters come first; close and free take the address, clear it, and accept NULL inside.
 *   - Docstrings use three words for ownership: *borrows* (until the call returns), *keeps* (must outlive
 *     the object), *gives* (the caller frees with the function named).
 *   - The library never exits, prints, reads the environment, installs signal handlers or keeps mutable globals.
 *   - Shapes are row-major, slowest dimension first.
 */
#ifndef CARAT_H
#define CARAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARAT_VERSION_MAJOR 0
#define CARAT_VERSION_MINOR 1
#define CARAT_VERSION_PATCH 0

#if defined(_WIN32)
#define CARAT_API
#else
#define CARAT_API __attribute__((visibility("default")))
#endif

/* ---- status ------------------------------------------------------------------------------------------- */

/* X(name, value, text) */
#define CARAT_STATUS_LIST(X)                                                  \
    X(CARAT_OK, 0, "ok")                                                      \
    X(CARAT_ENOMEM, -1, "out of memory")                                      \
    X(CARAT_EIO, -2, "file cannot be read or written")                        \
    X(CARAT_EFORMAT, -3, "malformed file")                                    \
    X(CARAT_EMODEL, -4, "unsupported or inconsistent model")                  \
    X(CARAT_EFULL, -5, "context is full")                                     \
    X(CARAT_ECANCEL, -6, "cancelled")                                         \
    X(CARAT_EINVAL, -7, "invalid argument")                                   \
    X(CARAT_EUNSUPPORTED, -8, "not available in this build or for this model")

typedef enum {
#define X(name, value, text) name = value,
    CARAT_STATUS_LIST(X)
#undef X
} carat_status;

typedef struct {
    int code;      /* a carat_status */
    char msg[512]; /* one line: what, where, expected and found */
} carat_error;

/* Fixed English text of a status code. Never NULL. */
CARAT_API const char *carat_status_text(int code);
/* "0.1.0" */
CARAT_API const char *carat_version(void);

/* ---- model -------------------------------------------------------------------------------------------- */

typedef struct carat_model carat_model;
typedef struct carat_session carat_session;

/* Where a part of the weights is while the model runs. */
typedef enum {
    CARAT_PLACE_AUTO = 0,     /* the plan decides: carat_plan_make */
    CARAT_PLACE_RESIDENT = 1, /* in memory of this process, read once */
    CARAT_PLACE_MAPPED = 2,   /* where the file is mapped: the system keeps of it what it likes */
    CARAT_PLACE_STREAMED = 3, /* on disk, read past the page cache when needed into a cache of fixed size */
    CARAT_PLACE_ZERO = 4,     /* nowhere, all zero: of the per-layer embeddings only, to measure what they do */
} carat_place;

/* "resident"; "?" for what is none. */
CARAT_API const char *carat_place_key(carat_place p);

typedef struct {
    size_t size;         /* sizeof(carat_model_opts), set by the default maker */
    bool vocab_only;     /* read configuration and vocabulary, check no weights (for tokenizing) */
    const char *cpu;     /* cap of the instruction set: "ref", "portable", "avx2", … NULL = the machine's best */
    uint64_t ram;        /* bytes that this process may come to hold, page cache it causes included; 0: the fastest plan that
                          * fits what is free. With a ceiling weights are read past the page cache and nothing is left mapped
                          * but names and vocabulary */
    carat_place ple;     /* the table of per-layer embeddings: AUTO, or any other */
    carat_place experts; /* AUTO, RESIDENT or STREAMED; MAPPED without a ceiling */
    uint64_t expert_cache; /* bytes for streamed experts; 0: what the ceiling leaves. More than all of them is not taken */
    bool no_expert_ahead;  /* do not read ahead the experts that the next layer's router would choose now (to measure what
                            * that gains) */
} carat_model_opts;

CARAT_API carat_model_opts carat_model_opts_default(void);

/* Open a .gguf file (the first of a split set) or a Hugging Face folder and check every name, shape and
 * hyperparameter. Weights stay in the file, memory-mapped,
 * until the first session puts them where the plan says. Borrows path and opts (NULL = defaults).
 * Gives *out: carat_model_close. EIO, EFORMAT, EMODEL, ENOMEM, EINVAL. */
CARAT_API int carat_model_open(carat_model **out, const char *path, const carat_model_opts *opts, carat_error *err);
/* Sessions of the model must have been freed. */
CARAT_API void carat_model_close(carat_model **m);

/* Roles of the ledger: every byte of a model file belongs to exactly one. */
/* X(enum, key, description) */
#define CARAT_ROLE_LIST(X)                                                         \
    X(CARAT_ROLE_TOKEN_EMBD, "token_embedding", "token embedding (also the output head)") \
    X(CARAT_ROLE_OUTPUT, "output_head", "output head, where not tied")             \
    X(CARAT_ROLE_PLE_TABLE, "ple_table", "per-layer embedding table (one row a token)") \
    X(CARAT_ROLE_PLE_PROJ, "ple_projections", "per-layer embedding projections")   \
    X(CARAT_ROLE_ATTENTION, "attention", "attention projections")                  \
    X(CARAT_ROLE_MLP, "dense_mlp", "dense feed-forward")                           \
    X(CARAT_ROLE_EXPERTS, "experts", "mixture-of-experts feed-forward")            \
    X(CARAT_ROLE_ROUTER, "router", "expert router")                                \
    X(CARAT_ROLE_NORM, "norms", "norms and scalars")                               \
    X(CARAT_ROLE_VISION, "vision", "vision tower and projector")                   \
    X(CARAT_ROLE_AUDIO, "audio", "audio tower and projector")                      \
    X(CARAT_ROLE_UNUSED, "unused", "present in the file, never read")

typedef enum {
#define X(id, key, text) id,
    CARAT_ROLE_LIST(X)
#undef X
    CARAT_N_ROLE
} carat_role;

typedef struct {
    int64_t params;        /* stored parameters */
    uint64_t bytes;        /* in the file */
    int64_t params_token;  /* multiplied, or looked up, per decoded token */
    uint64_t bytes_token;  /* read from memory per decoded token (weights only) */
    int32_t n_tensor;
} carat_ledger_row;

/* Facts of an open model. Strings point into the model. */
typedef struct {
    const char *arch;        /* "gemma4", "gemma3" */
    const char *name;        /* general.name, or the folder's name */
    const char *format;      /* "gguf", "safetensors" */
    int32_t n_vocab, n_layer, d_model, n_ctx_train;
    int32_t n_expert, n_expert_used;
    int32_t d_ple;           /* 0: no per-layer embeddings */
    int32_t w_swa;           /* sliding window, tokens */
    bool has_text;           /* a vocabulary was found, tokenizing works */
    uint64_t file_bytes;     /* all files together */
    uint64_t heap_bytes;     /* of the open model: vocabulary, norms as f32, tables */
    carat_ledger_row role[CARAT_N_ROLE];
    int64_t params_total;     /* all stored parameters of used roles */
    int64_t params_effective; /* total without the PLE table: what E2B and E4B are named after */
    int64_t params_active;    /* multiplied per decoded token (experts used only, output head included) */
    int64_t params_lookup;    /* only ever read by row: PLE table, and the embedding where not tied */
    uint64_t bytes_token;     /* weight bytes touched per decoded token */
} carat_model_info;

/* Borrows m; fills *out. Never fails. */
CARAT_API void carat_model_get_info(const carat_model *m, carat_model_info *out);
CARAT_API const char *carat_role_key(carat_role r);
CARAT_API const char *carat_role_text(carat_role r);

/* ---- text --------------------------------------------------------------------------------------------- */

enum {
    CARAT_TOKENIZE_BOS = 1,     /* put <bos> in front where the model wants one and the text has none */
    CARAT_TOKENIZE_SPECIAL = 2, /* read control tokens such as <|turn> in the text (never for untrusted text) */
};

/* Text (UTF-8, text_len bytes, may hold NULs; ill-formed parts become U+FFFD) to ids.
 * *n_out is the number of ids the text has; only the first `cap` are written (tok may be NULL when cap is 0),
 * so call once to size and once to fill. Borrows text. EINVAL, ENOMEM, EUNSUPPORTED (no vocabulary). */
CARAT_API int carat_tokenize(const carat_model *m, const char *text, size_t text_len, unsigned flags,
                             int32_t *tok, size_t cap, size_t *n_out, carat_error *err);

/* Raw vocabulary text of a token (with U+2581 for spaces); NULL for an id outside the vocabulary.
 * Points into the model; *len is its length in bytes. */
CARAT_API const char *carat_token_piece(const carat_model *m, int32_t tok, size_t *len);

/* Is the id a control token (one that steers, and is no text)? False for ids outside the vocabulary. */
CARAT_API bool carat_token_is_control(const carat_model *m, int32_t tok);
/* True for tokens that end generation (<eos>, <turn|>, <|tool_response>; <end_of_turn> for Gemma 3). */
CARAT_API bool carat_token_is_stop(const carat_model *m, int32_t tok);
/* Id of a token by its exact text, -1 when there is none. */
CARAT_API int32_t carat_token_find(const carat_model *m, const char *piece);

/* Streaming detokenizer: ids in, whole UTF-8 characters out. */
typedef struct carat_detok carat_detok;
CARAT_API int carat_detok_new(carat_detok **out, const carat_model *m, bool show_control, carat_error *err);
/* Text that token completes: *text points into d until the next call, *len bytes (0 when a character is unfinished). */
CARAT_API int carat_detok_push(carat_detok *d, int32_t tok, const char **text, size_t *len, carat_error *err);
/* What is left at the end: unfinished bytes become U+FFFD. Resets d. */
CARAT_API void carat_detok_flush(carat_detok *d, const char **text, size_t *len);
CARAT_API void carat_detok_free(carat_detok **d);

typedef struct {
    const char *role;    /* "system", "user", "model" (or "assistant") */
    const char *content; /* UTF-8, NUL-terminated */
} carat_message;

enum {
    CARAT_CHAT_THINK = 1,      /* thinking on */
    CARAT_CHAT_NO_PROMPT = 2,  /* do not open a model turn at the end */
};

/* Render a conversation with the model's chat template to ids, <bos> included. Content is never read for
 * control tokens. Same size-then-fill convention as carat_tokenize. */
CARAT_API int carat_chat_tokens(const carat_model *m, const carat_message *msg, size_t n_msg, unsigned flags,
                                int32_t *tok, size_t cap, size_t *n_out, carat_error *err);
/* The same as text, for display and tests. *out NUL-terminated. Gives *out: carat_free. */
CARAT_API int carat_chat_text(const carat_model *m, const carat_message *msg, size_t n_msg, unsigned flags,
                              char **out, carat_error *err);
CARAT_API void carat_free(void *p);

/* ---- session ------------------------------------------------------------------------------------------ */

/* What keys and values are kept as. CARAT_KV_Q8_0: 8 bits and an f16 scale a block of 32 (8.5 bits a value), for models
 * whose head sizes are multiples of 32. */
typedef enum { CARAT_KV_F16 = 0, CARAT_KV_F32 = 1, CARAT_KV_Q8_0 = 2 } carat_kv_type;

/* Prompt lookup: where the end of the text has stood before, a sync of one new token evaluates what followed there in
 * the same pass, as a guess. A next sync that goes on as guessed finds its logits ready and evaluates nothing. The logits
 * are the same bits as without, so is every text; what changes is the time, and the memory for n_lookup rows of logits. */
typedef enum {
    CARAT_LOOKUP_OFF = 0,
    CARAT_LOOKUP_AUTO = 1,   /* guess only where, by what came true so far and what passes took, it pays */
    CARAT_LOOKUP_ALWAYS = 2, /* guess wherever the text repeats two tokens */
} carat_lookup;

/* Progress of long work, before every chunk: done of total tokens evaluated. Return false to cancel (ECANCEL). */
typedef bool (*carat_progress_fn)(void *ud, int32_t done, int32_t total);

/* Named intermediate of a layer: x is [n_tok, n] f32 for the tokens [pos, pos + n_tok). Borrow only. */
typedef void (*carat_tap_fn)(void *ud, const char *name, const float *x, int32_t pos, int32_t n_tok, int32_t n);

/* Routing: layer `layer` chose expert[n_tok, n_used], best first, for the tokens [pos, pos + n_tok). ahead: [n_tok, n_used],
 * what the next layer's router says of the state this layer's router saw, or NULL where nobody asked it. Borrow only. */
typedef void (*carat_route_fn)(void *ud, int32_t layer, int32_t pos, int32_t n_tok, int32_t n_used, const int32_t *expert,
                               const int32_t *ahead);

typedef struct {
    size_t size;               /* set by the default maker */
    int32_t n_ctx;             /* tokens the session can hold, at most n_ctx_train; 0 = min(n_ctx_train, 4096) */
    int32_t n_threads;         /* 0 = the cores this process may use */
    int32_t n_chunk;           /* tokens evaluated at once in prefill, at most 4096; 0 = 256 */
    int32_t n_logits;          /* rows of logits computed at once by sync_logits; 0 = 1 (4 bytes * n_vocab each) */
    int32_t n_rewind;          /* tokens that sync can drop without evaluating what is before them again; at least n_chunk.
                                * Costs memory in the layers with a sliding window only. */
    bool all_rows;             /* run every layer for every token, also where nobody asks for the result (to measure
                                * what leaving that out saves; logits stay the same) */
    carat_kv_type kv;
    int32_t n_top;             /* 0: all logits are wanted. k > 0: sync leaves the k largest, and what equals the k-th, exactly
                                * as they are, and may leave others at -INFINITY: for carat_sampler_next with
                                * carat_sampler_n_top. The output head is then screened, and read in part, where that pays;
                                * the model's first session decides on its layout. sync_logits gives all, always */
    bool screen_always;        /* with n_top: screen also a head that caches hold, and where it did not pay (for tests) */
    carat_lookup lookup;       /* default off; always off where there is a tap, which would show guesses as text */
    int32_t n_lookup;          /* tokens guessed at once, at most 255; 0 = 15 */
    carat_progress_fn progress; /* may be NULL */
    void *progress_ud;          /* keeps */
    carat_tap_fn tap;           /* may be NULL; called from the thread that calls sync */
    void *tap_ud;               /* keeps */
    carat_route_fn route;       /* may be NULL; called from the thread that calls sync, for guesses too */
    void *route_ud;             /* keeps */
    bool route_uniform;         /* choose experts at random, all alike, instead of by the router: what a cache of them is worth
                                 * at worst. The answer is worth nothing */
    bool route_ahead;           /* ask the next layer's router too, for `route`'s ahead: one small product more a layer */
} carat_session_opts;

CARAT_API carat_session_opts carat_session_opts_default(void);

/* Where everything is going to be: made from the ledger, the session's options and the ceiling. */
typedef struct {
    uint64_t ram;           /* the ceiling: given, or what was free when there is not enough for everything; 0: none needed */
    uint64_t available;     /* free for this process (containers' limits respected) when the plan was made; 0: not known */
    bool fits;
    uint64_t smallest;      /* least ceiling that these options can have */
    carat_place weights;    /* what every token multiplies: RESIDENT, or MAPPED (parts may be copied all the same) */
    carat_place ple, experts; /* AUTO: the model has none */
    uint64_t resident[CARAT_N_ROLE], mapped[CARAT_N_ROLE], streamed[CARAT_N_ROLE]; /* bytes of each role, by where they are */
    /* What the process holds, total_bytes in all: */
    uint64_t resident_bytes;     /* weights in memory */
    uint64_t mapped_bytes;       /* pages of the file that every token reads */
    uint64_t ple_cache_bytes;    /* slots of streamed rows */
    uint64_t expert_cache_bytes; /* slots of streamed experts */
    uint64_t reader_bytes;       /* buffers of the threads that read */
    uint64_t kv_bytes, scratch_bytes;
    uint64_t model_bytes;        /* vocabulary, norms as f32, tables; and the pages of the file that hold names */
    uint64_t other_bytes;        /* set aside for the program itself, stacks, page tables */
    uint64_t total_bytes;
    int32_t n_chunk;             /* tokens of a prompt evaluated at once */
    int32_t n_expert_slot, n_expert_all; /* experts the cache holds, and all there are */
} carat_plan;

/* Plan of the first session of a model with these options (NULL = defaults). Borrows all. That it does not fit is no error:
 * see out->fits. EINVAL for options that no session could have. */
CARAT_API int carat_plan_make(carat_plan *out, const carat_model *m, const carat_session_opts *opts, carat_error *err);

/* Keeps m. All memory the session will ever use is allocated here; the first session of a model also puts its weights where
 * the plan says, with this session's threads, and later ones live with that. ENOMEM where the model's ceiling does not
 * suffice: the message says what would. Gives *out: carat_session_free. */
CARAT_API int carat_session_new(carat_session **out, const carat_model *m, const carat_session_opts *opts,
                                carat_error *err);
CARAT_API void carat_session_free(carat_session **s);

/* Make the session hold exactly tok[0,n), n > 0: reuses the common prefix, drops the rest, evaluates what is
 * new (always at least the last token, so logits are fresh; with lookup, what was not evaluated as a guess). Borrows tok.
 * Allocates nothing.
 * EFULL when n > n_ctx, EINVAL for ids outside the vocabulary: nothing has changed. ECANCEL: the session holds a valid
 * shorter prefix. */
CARAT_API int carat_session_sync(carat_session *s, const int32_t *tok, size_t n, carat_error *err);

/* Logits after soft-capping that follow the last token: [n_vocab] f32, valid until the next sync or sync_logits.
 * NULL before the first one, and after one that was cancelled. */
CARAT_API const float *carat_session_logits(const carat_session *s);

/* As sync, and hands the logits of every newly evaluated position to `row` in order:
 * logits: [n_vocab] f32, borrow only; return false to cancel. Drops any held prefix first when `from_start`. */
typedef bool (*carat_logits_fn)(void *ud, int32_t pos, const float *logits);
CARAT_API int carat_session_sync_logits(carat_session *s, const int32_t *tok, size_t n, bool from_start,
                                        carat_logits_fn row, void *ud, carat_error *err);

/* Tokens held, and how many the last sync evaluated (the rest was reused). */
CARAT_API int32_t carat_session_n_past(const carat_session *s);
CARAT_API int32_t carat_session_n_evaluated(const carat_session *s);
CARAT_API int32_t carat_session_n_ctx(const carat_session *s);

/* Times of many short things. Percentiles are at most 9% too large. */
typedef struct {
    uint64_t n;
    double p50_us, p99_us, max_us;
    double sum_ms;
} carat_latency;

/* What a session had of the cache of streamed experts. */
typedef struct {
    uint64_t hits, misses;   /* experts needed that were in memory or on their way, and that were not */
    uint64_t hinted, hint_hits; /* experts read ahead, and of these needed */
    uint64_t read_bytes;     /* for both */
    double stall_ms;         /* waited */
} carat_expert_stats;

typedef struct {
    uint64_t kv_bytes;       /* KV cache */
    uint64_t scratch_bytes;  /* activations, logits, thread stacks' scratch */
    uint64_t model_bytes;    /* heap of the model: vocabulary, norms as f32, tables */
    uint64_t packed_bytes;   /* weights in memory, most in the layout of the fast kernels; shared by the model's sessions */
    uint64_t mapped_bytes;   /* what may be read through the mapped file(s): what is not in memory, all of it without packing */
    uint64_t ple_table_bytes;
    carat_place ple;         /* AUTO: the model has no per-layer embeddings */
    uint64_t ple_cache_bytes;
    uint64_t ple_reads;      /* rows looked up */
    uint64_t ple_hits;       /* of these, streamed ones that an earlier token had brought */
    uint64_t ple_disk_reads, ple_read_bytes; /* reads from disk, and the bytes of them */
    double ple_stall_ms;     /* waited for rows, page faults of mapped ones included */
    carat_latency ple_lookup; /* of single rows: until it was there, once it was needed */
    carat_latency ple_disk;  /* of reads from disk: from asking to having */
    carat_place experts;     /* AUTO: the model has none */
    uint64_t expert_cache_bytes; /* shared by the model's sessions */
    int32_t n_expert_slot;
    carat_expert_stats expert_prefill, expert_decode; /* of chunks of several tokens, and of single ones */
    uint64_t reader_bytes;   /* buffers of the reading threads; like the experts' cache shared by the model's sessions */
    uint64_t expert_evals;   /* (token, expert) pairs evaluated */
    uint64_t head_screened;   /* rows of logits for which the output head was screened */
    uint64_t head_whole;      /* rows of which only n_top were asked for, and the head was computed whole: fallbacks */
    uint64_t head_panels;     /* groups of 16 rows of the head screened, and of these computed */
    uint64_t head_panels_kept;
    uint64_t lookup_passes;   /* evaluations of a token with guesses behind it */
    uint64_t lookup_guessed;  /* guesses evaluated */
    uint64_t lookup_accepted; /* of these, the ones that became text */
    uint64_t lookup_plain;    /* evaluations of one token without guesses, lookup being on: nothing found, or not worth it */
    int32_t n_threads;
    const char *cpu;         /* kernel level in use */
} carat_session_stats;
CARAT_API void carat_session_get_stats(const carat_session *s, carat_session_stats *out);

/* What carat_session_get_stats counts and times begins again at zero, so that what follows is seen by itself. Sizes and places
 * stay, and so do carat_session_expert_counts. By the thread that syncs. */
CARAT_API void carat_session_reset_stats(carat_session *s);

/* Experts read so far by all sessions of the model, for whoever watches memory beside: any thread may ask at any time after the
 * first session was made. */
CARAT_API uint64_t carat_model_expert_loads(const carat_model *m);

/* How often each expert of each layer was chosen since the session began, for guesses too: [n_layer, n_expert] counts,
 * NULL for models without experts. Points into s. */
CARAT_API const uint64_t *carat_session_expert_counts(const carat_session *s);

/* ---- save and resume ---------------------------------------------------------------------------------- */

/* A session saved to a file: its tokens, keys and values, so that a long text is evaluated once. It belongs to the model
 * it was made with and to the KV type; contexts, chunks, threads and instruction sets may differ between who saves and who
 * loads. Checksums cover all of it. It holds the text that was read: the file is its owner's alone to read (0600). */

/* A number that tells models apart: of the configuration, the tensor directory (names, types, layout, shapes) and a sample
 * of the weights. The same for copies of a file, on every machine and in every version. The first call reads a megabyte at
 * most; files that differ only in weights it does not look at share it. Per-layer embeddings put to zero (opts.ple) make
 * another model. EINVAL for a model opened for its vocabulary only, EIO, ENOMEM. */
CARAT_API int carat_model_fingerprint(uint64_t *out, const carat_model *m, carat_error *err);

/* Write what s holds. A layer with a sliding window gives all of the past it still has: after loading, sync can go back as
 * far as s can now. The file takes its name when it is complete and on the disk; if that fails (EIO: no such folder, disk
 * full, path is no regular file; ENOMEM), what had the name before is untouched. Borrows path. Guesses and logits are no
 * part of it. */
CARAT_API int carat_session_save(const carat_session *s, const char *path, carat_error *err);

/* Make s hold what was saved. There are no logits until the next sync, which goes on from here as if s had never been left:
 * the same bits. Borrows path.
 * EMODEL: saved with another model. EINVAL: another KV type. EFULL: more tokens than n_ctx. EFORMAT: no saved session, of
 * another version, cut short or damaged. EIO, ENOMEM. On failure s is as it was, except that damage found in the keys and
 * values, behind all else, leaves it empty (n_past 0). */
CARAT_API int carat_session_load(carat_session *s, const char *path, carat_error *err);

typedef struct {
    uint64_t fingerprint; /* of the model */
    uint64_t bytes;       /* of the file */
    int32_t n_tok;        /* tokens: the n_ctx it needs at least */
    int32_t n_rewind;     /* of these, the last ones that a session can drop without evaluating what is before them again, where its
                           * own n_rewind has room for that */
    carat_kv_type kv;
} carat_snapshot_info;

/* What a saved session says of itself, before there is one to load it into. Borrows path. EFORMAT, EIO. */
CARAT_API int carat_snapshot_get_info(carat_snapshot_info *out, const char *path, carat_error *err);

/* ---- measuring ---------------------------------------------------------------------------------------- */

/* Steps of evaluating a token: what time, bytes and operations are told apart by. */
/* X(enum, key, description) */
#define CARAT_STEP_LIST(X)                                                            \
    X(CARAT_STEP_OTHER, "other", "norms, rope, residuals, whatever is not listed")    \
    X(CARAT_STEP_EMBED, "embed", "token embedding, one row a token")                  \
    X(CARAT_STEP_PROJECTIONS, "projections", "attention projections: q, k, v, output") \
    X(CARAT_STEP_ATTENTION, "attention", "attention over the keys and values held")   \
    X(CARAT_STEP_FFN, "ffn", "dense feed-forward")                                    \
    X(CARAT_STEP_ROUTER, "router", "choice of experts")                               \
    X(CARAT_STEP_EXPERTS, "experts", "mixture-of-experts feed-forward")               \
    X(CARAT_STEP_PLE, "ple", "per-layer embeddings: rows and projections")            \
    X(CARAT_STEP_HEAD, "head", "output head")                                         \
    X(CARAT_STEP_SAMPLING, "sampling", "between two evaluations: choosing a token, and the rest of the caller") \
    X(CARAT_STEP_WAITING, "waiting", "the calling thread waits for the others at the end of a parallel part")

typedef enum {
#define X(id, key, text) id,
    CARAT_STEP_LIST(X)
#undef X
    CARAT_N_STEP
} carat_step;

CARAT_API const char *carat_step_key(carat_step s);
CARAT_API const char *carat_step_text(carat_step s);

/* Work of an evaluation, counted from shapes and types, not measured. */
typedef struct {
    uint64_t bytes[CARAT_N_STEP]; /* read: weights once a chunk, keys and values once a chunk and layer */
    uint64_t macs[CARAT_N_STEP];  /* multiply-adds of the matrix products and of attention; elementwise work is left out */
    uint64_t total_bytes, total_macs;
} carat_work;

/* Work of n tokens that follow `depth` held ones, n > 0, with the chunk size, KV type and all_rows of s: evaluated as
 * one sync (a prompt), or one by one (an answer, each with its logits). Only needed work counts. The experts of a chunk
 * count as if all its choices were different, as far as there are experts: exact for one token, at most that for more.
 * EINVAL when depth + n does not fit the context. */
CARAT_API int carat_session_count_work(const carat_session *s, int32_t depth, int32_t n, bool one_by_one, carat_work *out,
                                       carat_error *err);

/* Where the time went, between start and stop (or now), on the thread that calls sync. The sum over all steps is the
 * whole time. */
typedef struct {
    double ms[CARAT_N_STEP];
} carat_profile;

/* Start from zero. Costs two readings of the clock for each step of a layer; nothing while it is off. */
CARAT_API void carat_session_profile_start(carat_session *s);
CARAT_API void carat_session_profile_stop(carat_session *s);
CARAT_API void carat_session_profile_get(const carat_session *s, carat_profile *out);

/* What the machine can do at most: threads of its own that only read, or only multiply. */
typedef struct carat_probe carat_probe;

typedef struct {
    int32_t n_threads;
    uint64_t buffer_bytes; /* what is read */
    const char *read;      /* the way of reading, and of multiplying, that was the fastest here: static text */
    const char *dot;
} carat_probe_info;

/* n_threads: 0 = the cores this process may use. bytes: size of the buffer to read, which must be much larger than the
 * caches (at least 16 MiB); 0 = 512 MiB. Tries every way the machine has, for some tenths of a second, and keeps the
 * fastest. Gives *out: carat_probe_free. ENOMEM, EINVAL. */
CARAT_API int carat_probe_new(carat_probe **out, int32_t n_threads, uint64_t bytes, carat_error *err);
/* Bytes a second that all threads together read from memory; takes about ms milliseconds, at least one pass. */
CARAT_API double carat_probe_read(carat_probe *p, double ms);
/* 8-bit multiply-adds a second of all threads together, summed in 32 bits; takes about ms milliseconds. */
CARAT_API double carat_probe_dot(carat_probe *p, double ms);
CARAT_API void carat_probe_get_info(const carat_probe *p, carat_probe_info *out);
CARAT_API void carat_probe_free(carat_probe **p);

/* Bytes a second that the disk gives, at the size and number of the reads that streamed experts make; takes about ms
 * milliseconds, and 16 MiB. Of a model that has a session. EUNSUPPORTED where no experts are streamed; EIO, ENOMEM. */
CARAT_API int carat_model_probe_disk(const carat_model *m, double ms, double *bytes_s, carat_error *err);

/* Take the table of per-layer embeddings out of the system's page cache, so that its next rows come from the disk. *left: bytes
 * that stay, because others have them mapped, or because the system does not tell. For tables that are resident, what the
 * system keeps beside them. EUNSUPPORTED for a model without such a table, or opened for its vocabulary only. */
CARAT_API int carat_model_evict_ple(const carat_model *m, uint64_t *left, carat_error *err);

/* ---- sampling ----------------------------------------------------------------------------------------- */

typedef struct carat_sampler carat_sampler;

typedef struct {
    size_t size;           /* set by the default maker */
    float temp;            /* 0 = greedy; default 1.0 */
    int32_t top_k;         /* 0 = off; default 64 */
    float top_p;           /* 1 = off; default 0.95 */
    float min_p;           /* 0 = off */
    float repeat_penalty;  /* 1 = off: divides positive and multiplies negative logits of recent tokens */
    int32_t repeat_last_n; /* how many recent tokens count; default 64 */
    uint64_t seed;         /* same seed, same text */
} carat_sampler_opts;

CARAT_API carat_sampler_opts carat_sampler_opts_default(void);

/* How many of the largest logits decide what a sampler of these options chooses, recent tokens' penalty included; 0: all
 * do. Borrows opts (NULL = defaults). */
CARAT_API int32_t carat_sampler_n_top(const carat_sampler_opts *opts);

/* Order as in Hugging Face: penalty, temperature, top-k, top-p, min-p, draw. Gives *out: carat_sampler_free. */
CARAT_API int carat_sampler_new(carat_sampler **out, int32_t n_vocab, const carat_sampler_opts *opts, carat_error *err);
/* Choose from logits [n_vocab] (not changed). Allocates nothing. Returns the token id, -1 when all logits are NaN. */
CARAT_API int32_t carat_sampler_next(carat_sampler *sm, const float *logits);
/* Tell the sampler a token that is now part of the text (prompt or chosen), for the penalty. */
CARAT_API void carat_sampler_accept(carat_sampler *sm, int32_t tok);
CARAT_API void carat_sampler_free(carat_sampler **sm);

/* Natural log of softmax(logits)[tok]; logits: [n] f32. Sums in double. */
CARAT_API double carat_logprob(const float *logits, int32_t n, int32_t tok);

#ifdef __cplusplus
}
#endif

#endif
