/* Which experts stay: the replacement policy of a cache with n_slot slots for n_layer * n_expert keys. Pure: it reads and
 * holds no data, takes no lock and starts nothing; who owns it serialises the calls and knows what lies in a slot. The
 * simulator of `carat bench --replay` runs this code, so what it says of a trace is what the live cache would do.
 *
 * The policy is decayed frequency (LRFU), one family from LRU to LFU. Every key, resident or not, has a score S: used by c
 * tokens of a chunk at time t, S becomes c + S * 2^(-(t - t_last) / H), H the half-life in tokens. H = 0 orders keys as LRU
 * does, H = INFINITY as LFU. The victim is the resident, unpinned key of the lowest score.
 *
 * Two things differ from a cache of pages, because the walk over layers is a circle:
 *   - A layer has its own clock, which advances when the walk reaches it. A key ages by the times its layer could have used
 *     it and did not; the layers still to come do not look old just because they come last. That is what keeps part of a
 *     prompt's experts, where every chunk uses all of them: n slots of N keys then hit n / N, and LRU hits none.
 *   - Of equal scores the layer goes first that the walk reaches last: the present one, then the one before, and so on.
 *
 * Scores are kept as log2 S + t_last / H in fixed point, which compare at any time without being aged; integers, so that
 * equal histories are equal scores. Time may reach 2^33 tokens, LFU tells 2^24 uses apart. */
#ifndef CT_RUNTIME_CACHE_H
#define CT_RUNTIME_CACHE_H

#include <stddef.h>
#include <stdint.h>

/* Tokens after which a use counts half; chosen by measurement (docs/memory.md). */
#define CT_CACHE_HALF_LIFE 16.0

typedef struct {
    int32_t n_slot, n_layer, n_expert;
    int32_t layer_now;  /* where the walk is */
    int64_t rate;       /* 1 / H */
    int64_t *clock;     /* [n_layer] tokens that passed the layer, times rate */
    int64_t *score;     /* [n_layer * n_expert] log2 S + t_last / H; far below all others before the first use */
    int64_t *slot_score; /* [n_slot] of the key there: the search for a victim reads these in order */
    int32_t *slot_of;   /* [n_layer * n_expert] -1 = not resident */
    int32_t *key_of;    /* [n_slot] -1 = empty */
    int32_t *layer_of;  /* [n_slot] of the key there */
    int32_t *n_pin;     /* [n_slot] */
} ct_cache;

/* Bytes that init needs; 8-byte aligned memory. n_layer * n_expert and n_slot are at most 2^24. */
size_t ct_cache_bytes(int32_t n_slot, int32_t n_layer, int32_t n_expert);
/* An empty cache. Keeps memory. half_life >= 0, in tokens; INFINITY is one. */
void ct_cache_init(ct_cache *c, void *memory, int32_t n_slot, int32_t n_layer, int32_t n_expert, double half_life);

static inline int32_t ct_cache_key(const ct_cache *c, int32_t layer, int32_t expert) { return layer * c->n_expert + expert; }

/* The walk reaches `layer` with n_tok tokens: its keys age, it is the present layer. Before the chunk's uses are told. */
void ct_cache_enter(ct_cache *c, int32_t layer, int32_t n_tok);
/* `weight` > 0 tokens of the chunk use the key, whether or not it is resident. */
void ct_cache_use(ct_cache *c, int32_t key, int32_t weight);

/* Slot of a resident key, -1. */
static inline int32_t ct_cache_find(const ct_cache *c, int32_t key) { return c->slot_of[key]; }
/* Key that lies in a slot, -1 = none. */
static inline int32_t ct_cache_key_of(const ct_cache *c, int32_t slot) { return c->key_of[slot]; }

/* A slot for a key that is not resident: an empty one, or the victim's, whose key is gone from now on. The slot comes
 * pinned once: it is being filled. -1 when all are pinned. Counts as no use, so it serves a guess too; a guess that is
 * never used goes before all else once it is unpinned.
 * Pin the resident keys of a layer before taking slots for its others: the present layer's are the first victims. */
int32_t ct_cache_take(ct_cache *c, int32_t key);
/* The key of a slot that could not be filled is not resident. Its pin, the only one, is gone too. */
void ct_cache_drop(ct_cache *c, int32_t slot);

/* A pinned slot is no victim. Pins count. */
static inline void ct_cache_pin(ct_cache *c, int32_t slot) { c->n_pin[slot]++; }
void ct_cache_unpin(ct_cache *c, int32_t slot);

#endif
