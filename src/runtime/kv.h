/* KV cache. One store per layer that owns keys and values; layers that share read their source's store. Full layers
 * keep every position of the context; sliding layers keep a ring of the window plus one prefill chunk.
 *
 * Position p lies in slot p % cap. Row of a slot: [n_head_kv, d_head] of the cache's type, K and V apart. */
#ifndef CT_RUNTIME_KV_H
#define CT_RUNTIME_KV_H

#include "base/dtype.h"
#include "base/status.h"

/* Geometry of one owner. */
typedef struct {
    int n_head_kv, d_head;
    int64_t cap;       /* slots */
} ct_kv_geometry;

typedef struct {
    int n_head_kv, d_head;
    int64_t cap;
    size_t stride;     /* elements from slot to slot: n_head_kv * d_head */
    void *k, *v;       /* [cap, n_head_kv, d_head] */
} ct_kv_store;

typedef struct {
    ct_dtype type;     /* CT_F16 or CT_F32 */
    int n_store;
    ct_kv_store *store;
    size_t bytes;
    int64_t n_high;    /* one past the highest position ever written since the last reset */
} ct_kv;

/* Bytes of the stores of n owners. Does not overflow within the ranges of model/config.c. */
uint64_t ct_kv_bytes(const ct_kv_geometry *g, int n, ct_dtype type);
int ct_kv_init(ct_kv *kv, const ct_kv_geometry *g, int n, ct_dtype type, carat_error *err);
void ct_kv_free(ct_kv *kv);

/* Address of head h of position pos in a K or V array of s. */
static inline void *ct_kv_at(const ct_kv *kv, const ct_kv_store *s, void *base, int64_t pos, int h) {
    const size_t i = (size_t)(pos % s->cap) * s->stride + (size_t)h * (size_t)s->d_head;
    return (uint8_t *)base + i * (kv->type == CT_F16 ? 2 : 4);
}

/* Positions [pos, pos + n) are about to be written. */
void ct_kv_advance(ct_kv *kv, int64_t pos, int64_t n);
/* Can the timeline be cut back to hold [0, n) and go on from there, given a window of w tokens for ring stores?
 * False when a ring has overwritten a position that token n would still see: then the prefix must be evaluated again. */
bool ct_kv_can_rewind(const ct_kv *kv, int64_t n, int64_t w);
void ct_kv_reset(ct_kv *kv);

#endif
