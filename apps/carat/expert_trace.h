/* Traces of routing: which experts every layer chose for every token, written while a model runs and read again to compare
 * caches on the same choices.
 *
 * The file is text, in lines:
 *     carat-routes 1
 *     layers 30 experts 128 used 8 bytes 12348030976
 *     p 0 256 0 17 3 99 …
 *     d 256 1 0 4 18 …
 *     end 60
 * `bytes` are those of all experts together, 0 where unknown. A line is what one layer chose in one chunk: p (prefill) or d
 * (decode), position of the first token, number of tokens, layer, then the experts of each token, best first, and behind
 * these, where the next layer's router was asked too, as many guesses for the next layer. A line whose layer is not above the
 * one before begins a chunk. The last line counts those of the layers, so that a file cut short is noticed. */
#ifndef CLI_EXPERT_TRACE_H
#define CLI_EXPERT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "carat.h"

/* What one layer chose in one chunk. */
typedef struct {
    int32_t pos, n_tok, layer;
    int32_t file;      /* which of the files read it came from */
    bool decode;
    bool first;        /* of its chunk */
    bool has_ahead;
    size_t at;         /* in `expert`: [n_tok, n_used], then with has_ahead as many guesses for layer + 1 */
} expert_step;

typedef struct {
    int32_t n_layer, n_expert, n_used;
    uint64_t bytes;    /* of all experts; 0 = unknown */
    int32_t n_file;
    expert_step *step; /* in the order of evaluation */
    size_t n_step, cap_step;
    uint16_t *expert;
    size_t n_expert_id, cap_expert;
} expert_trace;

/* Add a file to t, which is zeroed before the first; the others must be of the same shape. A trace that failed is only good
 * for freeing. EIO, EFORMAT, ENOMEM. */
int expert_trace_read(expert_trace *t, const char *path, carat_error *err);
void expert_trace_free(expert_trace *t);

/* The chunks of t as if their tokens had been decoded one by one: the routing of a text does not depend on how it was cut. */
int expert_trace_split(expert_trace *t, carat_error *err);

static inline const uint16_t *expert_trace_chosen(const expert_trace *t, const expert_step *s) { return t->expert + s->at; }
/* [n_tok, n_used] for the next layer, NULL = nobody was asked. */
static inline const uint16_t *expert_trace_ahead(const expert_trace *t, const expert_step *s) {
    return s->has_ahead ? t->expert + s->at + (size_t)s->n_tok * (size_t)t->n_used : NULL;
}

/* Layers that have experts. */
int32_t expert_trace_layers(const expert_trace *t);
/* Bytes of one expert, 0 = unknown. */
uint64_t expert_trace_expert_bytes(const expert_trace *t);

/* ---- writing ---- */

typedef struct expert_recorder expert_recorder;

/* Creates the file and sets o's route, route_ud and route_ahead. The recorder must outlive the session. EMODEL for a model
 * without experts, EIO. Gives *out: expert_recorder_close. */
int expert_recorder_open(expert_recorder **out, const char *path, const carat_model *m, carat_session_opts *o, carat_error *err);
/* The same without a file: into t, which is zeroed and gets the model's shape. t is good once the recorder is closed; ENOMEM shows
 * there. ahead: ask the next layer's router too. Keeps t; expert_trace_free. */
int expert_recorder_keep(expert_recorder **out, expert_trace *t, bool ahead, const carat_model *m, carat_session_opts *o, carat_error *err);
/* What is kept from now on counts as of the n-th file, n from 0. NULL is fine. */
void expert_recorder_part(expert_recorder *r, int32_t n);
/* What comes now is prefill (as at first), or decode. NULL is fine. */
void expert_recorder_phase(expert_recorder *r, bool decode);
/* Finish the file; an error of any write before shows here. Frees, and accepts NULL inside. */
int expert_recorder_close(expert_recorder **r, carat_error *err);

#endif
