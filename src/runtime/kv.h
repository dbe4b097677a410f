/* KV cache. One store per layer that owns keys and values; layers that share read their source's store. Full layers
 * keep every position of the context; sliding layers keep a ring of the window plus one prefill chunk.
 *
 * Position p lies in slot p % cap. K and V apart; of each head, slots lie in tiles of CT_KV_TILE, whose inside is the
 * kernels' business (kernels/kernels.h): attention reads one head's tiles one after another. */
#ifndef CT_RUNTIME_KV_H
#define CT_RUNTIME_KV_H

#include "base/dtype.h"
#include "base/status.h"

#define CT_KV_TILE 16

/* Geometry of one owner. */
typedef struct {
    int n_head_kv, d_head;
    int64_t cap;       /* slots at least */
} ct_kv_geometry;

typedef struct {
    int n_head_kv, d_head;
    int64_t cap;       /* slots: whole tiles */
    size_t tile_bytes; /* of one head */
    size_t bytes;      /* of k, and of v */
    void *k, *v;       /* [n_head_kv, cap / CT_KV_TILE] tiles */
    int64_t low;       /* positions before it were never written since the last reset: 0, unless what is held was loaded */
} ct_kv_store;

typedef struct {
    ct_dtype type;     /* CT_F16, CT_F32, or CT_Q8_0 where every d_head is a multiple of its block */
    int n_store;
    ct_kv_store *store;
    size_t bytes;
    int64_t n_high;    /* one past the highest position ever written since the last reset */
} ct_kv;

/* Bytes of the stores of n owners, whose d_head the type's blocks divide. Does not overflow within the ranges of model/config.c. */
uint64_t ct_kv_bytes(const ct_kv_geometry *g, int n, ct_dtype type);
int ct_kv_init(ct_kv *kv, const ct_kv_geometry *g, int n, ct_dtype type, carat_error *err);
void ct_kv_free(ct_kv *kv);

/* Tile of head h that holds position pos (in its lane pos % CT_KV_TILE) in a K or V array of s. */
static inline void *ct_kv_tile(const ct_kv_store *s, void *base, int64_t pos, int h) {
    return (uint8_t *)base + (size_t)((h * s->cap + pos % s->cap) / CT_KV_TILE) * s->tile_bytes;
}

/* Positions [pos, pos + n) are about to be written. */
void ct_kv_advance(ct_kv *kv, int64_t pos, int64_t n);
/* First position of the timeline that s still holds. */
static inline int64_t ct_kv_first(const ct_kv *kv, const ct_kv_store *s) {
    const int64_t ring = kv->n_high - s->cap;
    return ring > s->low ? ring : s->low;
}
/* Can the timeline be cut back to hold [0, n) and go on from there, given a window of w tokens for ring stores?
 * False when a ring has overwritten a position that token n would still see, or never had it: then the prefix must be
 * evaluated again. */
bool ct_kv_can_rewind(const ct_kv *kv, int64_t n, int64_t w);
void ct_kv_reset(ct_kv *kv);

#endif
