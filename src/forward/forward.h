/* The forward pass of a text model: plain eager C over the kernel table, no graph. One ct_forward is the evaluator of
 * one session: weights and configuration borrowed, activations, KV cache and thread pool owned.
 *
 * Rows of a chunk that nobody asks anything of do not pass the layers that own no keys and values: see text.c. */
#ifndef CT_FORWARD_FORWARD_H
#define CT_FORWARD_FORWARD_H

#include "kernels/kernels.h"
#include "model/weights.h"
#include "runtime/experts.h"
#include "runtime/kv.h"
#include "runtime/plan.h"
#include "runtime/profile.h"
#include "runtime/threads.h"
#include "runtime/tier.h"

typedef struct {
    int n_ctx;       /* positions the KV cache can hold */
    int n_chunk;     /* most tokens of one ct_forward_chunk */
    int n_logits;    /* most rows of one ct_forward_logits */
    int n_rewind;    /* tokens a ring can go back at least, where more than n_chunk */
    int n_top;       /* most k of ct_forward_logits_top; 0: it is not called */
    int n_threads;
    ct_dtype kv;     /* type of the KV cache */
    const ct_tier_source *ple; /* where the table of per-layer embeddings is; NULL: the model has none */
    int n_ple_slot;  /* rows that a streamed one keeps */
    bool stream_experts;
    ct_experts *experts; /* where streamed; may still be NULL for an estimate */
    bool expert_ahead;   /* read ahead what the next layer's router would choose now */
} ct_forward_opts;

typedef struct ct_linear ct_linear;

typedef struct ct_forward {
    const ct_config *cfg;
    const ct_weights *w;
    const ct_kernels *k;
    ct_forward_opts o;
    ct_pool *pool;
    ct_kv kv;
    int *kv_store;             /* [n_layer] index of the layer's store in kv */
    ct_tier ple_tier;          /* rows of the per-layer embedding table */
    ct_plan plan;
    ct_profile *profile;       /* NULL = off; see ct_forward_profile */
    uint64_t expert_evals;
    uint64_t *expert_counts;   /* [n_layer, n_expert] */

    carat_tap_fn tap;
    void *tap_ud;
    carat_route_fn route;
    void *route_ud;
    bool route_uniform;
    bool route_ahead;
    int pos;                   /* of the current chunk's first token, for taps */

    /* Activations of a chunk, in the plan's memory. n = n_chunk. */
    float *x;                  /* [n, d_model] residual */
    float *xn;                 /* [n, d_model] normed input of a block */
    float *q, *heads;          /* [n, n_head * d_head] */
    float *kx, *vx;            /* [n, n_head_kv * d_head] before they enter the cache */
    float *y;                  /* [n, d_model] output of a block */
    float *gate;               /* [n, d_ff] hidden values where the next product takes f32, else NULL */
    uint8_t *gate_tiles;       /* where it takes integers, dense or of one wave of experts */
    float *gated;              /* [n_threads, gated_stride] a part of them being made */
    size_t gated_stride;
    float *ple;                /* [n, n_layer * d_ple] per-layer inputs */
    float *ple_gate;           /* [n, d_ple] */
    float *ple_token;          /* [n_threads, n_layer * d_ple] a token's row of the table, decoded */
    const uint8_t **ple_row;   /* [n] where each token's row lies */
    float *rope_cos[CT_N_ATTN], *rope_sin[CT_N_ATTN]; /* [n, n_rot] */
    float *router;             /* [n, n_expert] */
    float *route_weight;       /* [n, n_expert_used] */
    int32_t *route_index;      /* [n, n_expert_used] */
    int32_t *route_next;       /* [n, n_expert_used] as route_index, of the next layer's router on this layer's state */
    int32_t *moe_list, *moe_count; /* [n_expert] experts of a layer that rows chose, ascending, and how many rows */
    int n_moe_list;
    int32_t *moe_hint;         /* [n_expert] experts to be read ahead */
    int32_t *moe_at;           /* [n_expert + 1] first pair of each expert of a wave */
    ct_expert_use use;         /* of streamed experts */
    carat_expert_stats expert_prefill, expert_decode;
    int moe_cap;               /* (token, expert) pairs of one wave of experts */
    float *moe_x, *moe_y;      /* [moe_cap, d_model] inputs and outputs of the wave's experts */
    float *moe_gate;           /* [moe_cap, d_ff_expert] as gate */
    float *moe_out;            /* [n, d_model] */
    int32_t *moe_row;          /* [moe_cap] token rows of the wave, expert by expert */
    float *moe_w;              /* [moe_cap] their weights */
    ct_matrix *moe_matrix;     /* [n_expert, 3] gate, up, down of the wave's experts */
    ct_linear *moe_op;         /* [n_expert] */
    float *out_x;              /* [n_logits, d_model] final hidden */
    float *logits;             /* [n_logits, n_vocab] */
    int32_t *head_span;        /* [2 * d_model / 16] of ct_x_span */
    float *head_best;          /* [n_top] heap */
    int64_t *head_kept;        /* [n_threads] panels computed */
    bool head_always;          /* screen also where it did not pay last time */
    int head_rest;             /* rows until screening is tried again */
    uint64_t head_screened, head_whole; /* rows of logits with the head screened, and, asked for their top, computed whole */
    uint64_t head_panels, head_panels_kept; /* panels screened, and of these computed */
    int n_op;                  /* most products of a parallel region */
    int64_t *op_item;          /* [n_op] first work item of each */
    const uint8_t **op_xq;     /* [n_op] its input as integer tiles, NULL where its product is in f32 */
    uint8_t *xq;               /* integer tiles of the inputs of one region */
    float *scratch;            /* [n_threads, scratch_stride] decoded rows */
    size_t scratch_stride;
    float *attend_scratch;     /* [n_threads, attend_stride] */
    size_t attend_stride;
    float *part;               /* [n_part, ct_attend_part(d_head)] attention of a query over one span of keys */
    float *max_sum;            /* [n_part, 2] of queries whose spans are being merged */
    int64_t n_part;
} ct_forward;

/* Bytes a session will hold, without making one; those of the rows that a streamed table keeps are ct_tier_bytes. */
void ct_forward_estimate(const ct_config *c, const ct_weights *w, const ct_kernels *k, const ct_forward_opts *o, uint64_t *kv_bytes,
                         uint64_t *scratch_bytes);

/* Borrows c, w and k for the life of f. */
int ct_forward_init(ct_forward *f, const ct_config *c, const ct_weights *w, const ct_kernels *k, const ct_forward_opts *o,
                    carat_error *err);
void ct_forward_free(ct_forward *f);
/* From now on the steps of evaluating switch p, which must be running; NULL turns it off. Keeps p. */
void ct_forward_profile(ct_forward *f, ct_profile *p);

/* Evaluate tok[0,n), n <= n_chunk, at positions pos…: writes the KV cache and leaves the residual of the last n_need
 * rows in f->x (rows n - n_need … n - 1). tok[n, n + n_more) are known to follow: what is on disk of them is read ahead. Ids are
 * valid. Allocates nothing. EIO where something streamed could not be read: positions from pos on are then not evaluated. */
int ct_forward_chunk(ct_forward *f, const int32_t *tok, int n, int n_more, int pos, int n_need, carat_error *err);
/* Logits (soft-capped) of rows [row, row + n_row) of the last chunk into f->logits; n_row <= n_logits. */
void ct_forward_logits(ct_forward *f, int row, int n_row);
/* Logits of one row of which only the k largest matter, 0 < k <= n_top: those, and all that equal the k-th, are what
 * ct_forward_logits gives; the others are that or -INFINITY. See head.c. */
void ct_forward_logits_top(ct_forward *f, int row, int k);

#endif
