#include "runtime/cache.h"

#include <assert.h>
#include <math.h>

/* Fixed point: 24 bits behind the point. RATE_MOST makes a token of age weigh more than any count of uses in a chunk: LRU. */
#define ONE ((int64_t)1 << 24)
#define RATE_MOST (32 * ONE)
#define UNUSED (INT64_MIN / 2) /* below every score, and no clock makes it overflow */
#define MOST_KEYS (1 << 24)

static size_t n_keys(int32_t n_layer, int32_t n_expert) {
    assert(n_layer > 0 && n_expert > 0 && n_expert <= MOST_KEYS / n_layer);
    return (size_t)n_layer * (size_t)n_expert;
}

size_t ct_cache_bytes(int32_t n_slot, int32_t n_layer, int32_t n_expert) {
    assert(n_slot >= 0 && n_slot <= MOST_KEYS);
    const size_t n_key = n_keys(n_layer, n_expert);
    return ((size_t)n_layer + n_key + (size_t)n_slot) * sizeof(int64_t) + (n_key + 3 * (size_t)n_slot) * sizeof(int32_t);
}

void ct_cache_init(ct_cache *c, void *memory, int32_t n_slot, int32_t n_layer, int32_t n_expert, double half_life) {
    assert(half_life >= 0.0);
    const size_t n_key = n_keys(n_layer, n_expert);
    c->n_slot = n_slot;
    c->n_layer = n_layer;
    c->n_expert = n_expert;
    c->layer_now = 0;
    c->rate = half_life * (double)RATE_MOST > (double)ONE ? (int64_t)llround((double)ONE / half_life) : RATE_MOST;
    c->clock = memory;
    c->score = c->clock + n_layer;
    c->slot_score = c->score + n_key;
    c->slot_of = (int32_t *)(c->slot_score + n_slot);
    c->key_of = c->slot_of + n_key;
    c->layer_of = c->key_of + n_slot;
    c->n_pin = c->layer_of + n_slot;
    for (int32_t i = 0; i < n_layer; i++) c->clock[i] = 0;
    for (size_t i = 0; i < n_key; i++) {
        c->score[i] = UNUSED;
        c->slot_of[i] = -1;
    }
    for (int32_t i = 0; i < n_slot; i++) {
        c->slot_score[i] = UNUSED;
        c->key_of[i] = -1;
        c->layer_of[i] = 0;
        c->n_pin[i] = 0;
    }
}

void ct_cache_enter(ct_cache *c, int32_t layer, int32_t n_tok) {
    assert(layer >= 0 && layer < c->n_layer && n_tok >= 0);
    c->layer_now = layer;
    c->clock[layer] += (int64_t)n_tok * c->rate;
}

void ct_cache_use(ct_cache *c, int32_t key, int32_t weight) {
    assert(key >= 0 && key / c->n_expert < c->n_layer && weight > 0);
    const int64_t old = c->score[key];
    const int64_t now = c->clock[key / c->n_expert] + (int64_t)llround(log2((double)weight) * (double)ONE);
    int64_t score = old > now ? old : now;
    if (old != UNUSED) {
        /* log2(2^a + 2^b) of the two, from their distance alone: the same histories at other times give the same steps. */
        const double apart = (double)(old > now ? old - now : now - old) / (double)ONE;
        score += (int64_t)llround(log2(1.0 + exp2(-apart)) * (double)ONE);
    }
    c->score[key] = score;
    if (c->slot_of[key] >= 0) c->slot_score[c->slot_of[key]] = score;
}

/* Layers the walk has to pass before it is at `layer` again. */
static int32_t layers_ahead(const ct_cache *c, int32_t layer) {
    const int32_t d = layer - c->layer_now;
    return d > 0 ? d : d + c->n_layer;
}

static int32_t victim(const ct_cache *c) {
    int32_t best = -1, best_ahead = 0;
    int64_t best_score = INT64_MAX;
    for (int32_t i = 0; i < c->n_slot; i++) {
        if (c->n_pin[i]) continue;
        if (c->key_of[i] < 0) return i;
        const int64_t score = c->slot_score[i] - c->clock[c->layer_of[i]];
        if (score > best_score) continue;
        const int32_t ahead = layers_ahead(c, c->layer_of[i]);
        if (score == best_score && ahead <= best_ahead) continue;
        best = i;
        best_score = score;
        best_ahead = ahead;
    }
    return best;
}

int32_t ct_cache_take(ct_cache *c, int32_t key) {
    assert(key >= 0 && key / c->n_expert < c->n_layer && c->slot_of[key] < 0);
    const int32_t slot = victim(c);
    if (slot < 0) return -1;
    if (c->key_of[slot] >= 0) c->slot_of[c->key_of[slot]] = -1;
    c->key_of[slot] = key;
    c->layer_of[slot] = key / c->n_expert;
    c->slot_score[slot] = c->score[key];
    c->slot_of[key] = slot;
    c->n_pin[slot] = 1;
    return slot;
}

void ct_cache_drop(ct_cache *c, int32_t slot) {
    assert(c->key_of[slot] >= 0 && c->n_pin[slot] == 1);
    c->slot_of[c->key_of[slot]] = -1;
    c->key_of[slot] = -1;
    c->slot_score[slot] = UNUSED;
    c->n_pin[slot] = 0;
}

void ct_cache_unpin(ct_cache *c, int32_t slot) {
    assert(c->n_pin[slot] > 0);
    c->n_pin[slot]--;
}
