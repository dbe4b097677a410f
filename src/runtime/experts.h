/* Experts that need not all be in memory: a cache of slots, one expert each, filled past the page cache by the reader
 * threads. Of the model, shared by its sessions; every call may come from any thread.
 *
 * Who needs experts of a layer begins with a list: those in the cache are pinned at once, the others get a slot each and
 * are read; it then takes them as they arrive, and ends by letting go of all. What is only likely to be needed is hinted
 * at: read when nothing urgent is, into slots that nobody has pinned. Which slot an expert takes is cache.h's business.
 *
 * Nothing waits for a slot while it holds any, and a list is at most half the slots: sessions cannot block each other
 * for ever. */
#ifndef CT_RUNTIME_EXPERTS_H
#define CT_RUNTIME_EXPERTS_H

#include "base/direct.h"
#include "base/dtype.h"
#include "runtime/io.h"

enum { CT_EXPERT_PARTS = 3 }; /* gate, up, down */

/* A matrix of every expert of a layer in the file: expert e's rows begin at offset + e * stride. */
typedef struct {
    const ct_direct *file;
    uint64_t offset, stride;
    int64_t n_row;
    size_t row_bytes;
    ct_dtype dtype;     /* for who lays rows out */
    size_t slot_bytes;  /* what it takes in a slot: at least n_row * row_bytes */
    bool lay;           /* rows are to be laid out otherwise; else they stay as they lie in the file */
} ct_expert_part;

typedef struct {
    ct_expert_part part[CT_EXPERT_PARTS];
} ct_expert_layer;

/* Rows [row0, row0 + n_row) of the part lie at src, row_bytes apart; its place in the slot begins at dst. row0 and n_row are
 * multiples of `grain`, but for the last rows. Called on reader threads. */
typedef void (*ct_expert_lay_fn)(const ct_expert_part *part, int64_t row0, int64_t n_row, const uint8_t *src, uint8_t *dst);

typedef struct {
    const ct_expert_layer *layer; /* [n_layer], kept */
    int n_layer, n_expert;
    int n_slot;
    ct_expert_lay_fn lay;
    int grain;
    double half_life;     /* of cache.h, tokens */
    ct_io *io;            /* kept; its buffers hold ct_experts_buffer() */
} ct_experts_opts;

typedef struct ct_experts ct_experts;

/* Bytes that one slot takes, and n slots with all that goes with them. */
size_t ct_experts_slot_bytes(const ct_expert_layer *layer, int n_layer);
size_t ct_experts_bytes(const ct_experts_opts *o);
/* Bytes of a reader's buffer. */
size_t ct_experts_buffer(const ct_expert_layer *layer, int n_layer, int grain);
/* ENOMEM. Gives *out: ct_experts_free, once no use is open; waits for reads that run. */
int ct_experts_new(ct_experts **out, const ct_experts_opts *o, carat_error *err);
void ct_experts_free(ct_experts **t);
int ct_experts_n_slot(const ct_experts *t);

/* Experts read since the beginning, for whoever watches memory beside: any thread. */
uint64_t ct_experts_loads(const ct_experts *t);

/* One layer's experts being used by a session. The arrays are the session's, [n_expert]. */
typedef struct {
    int32_t *expert;   /* begun */
    int32_t *slot;
    uint8_t *given;    /* the cache's notes */
    int n, n_given, layer;
    carat_expert_stats *stats;
} ct_expert_use;

/* A session reaches a layer with n_tok tokens, of which weight[i] > 0 chose expert[i], n in all: what the cache remembers. */
void ct_experts_enter(ct_experts *t, int layer, int n_tok, const int32_t *expert, const int32_t *weight, int n);
/* Begin with u->expert[0, n), each once: pins and reads. n <= n_slot / 2. Waits while other sessions hold too many slots. */
void ct_experts_begin(ct_experts *t, ct_expert_use *u, int layer, int n);
/* An expert that has arrived and was not given yet: its index in u->expert. Waits for one if `wait`, else -1 where there is
 * none now. n when all were given. -2, again and again: one could not be read, or a file is not what it was, which the last
 * one given tells of all; err says why. Whoever begins afterwards reads again. */
int ct_experts_next(ct_experts *t, ct_expert_use *u, bool wait, carat_error *err);
/* Where part p of the i-th expert begun lies, once given. */
const uint8_t *ct_experts_data(const ct_experts *t, const ct_expert_use *u, int i, int p);
void ct_experts_end(ct_experts *t, ct_expert_use *u);
/* n experts of a layer are going to be needed soon (sure), or are a guess. Never waits. Of guesses, what was not begun to be read
 * when the layer comes and does not want it is dropped, and while few of those read are then needed, nearly all are passed
 * over. */
void ct_experts_hint(ct_experts *t, int layer, const int32_t *expert, int n, bool sure, carat_expert_stats *stats);

#endif
