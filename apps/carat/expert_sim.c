/* A cache of experts replayed on a trace: see expert_sim.h. */
#include "expert_sim.h"

#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "runtime/cache.h"

double expert_half_life(void) { return CT_CACHE_HALF_LIFE; }

/* ---- what is asked for ---- */

/* The different experts of a step, with their tokens, behind q->first[i]. place: [n_expert] -1. */
static void gather(expert_requests *q, size_t i, int32_t *place) {
    const expert_step *s = &q->t->step[i];
    const uint16_t *e = expert_trace_chosen(q->t, s);
    expert_request *r = q->request + q->first[i];
    int32_t n = 0;
    for (int64_t k = 0; k < (int64_t)s->n_tok * q->t->n_used; k++) {
        if (place[e[k]] < 0) {
            place[e[k]] = n;
            r[n++] = (expert_request){.key = s->layer * q->t->n_expert + e[k]};
        }
        r[place[e[k]]].weight++;
    }
    for (int32_t k = 0; k < n; k++) place[r[k].key % q->t->n_expert] = -1;
    q->first[i + 1] = q->first[i] + (size_t)n;
    if (n > q->most) q->most = n;
}

int expert_requests_of(expert_requests *out, const expert_trace *t, carat_error *err) {
    const size_t n_key = (size_t)t->n_layer * (size_t)t->n_expert;
    *out = (expert_requests){.t = t};
    size_t n = 0;
    for (size_t i = 0; i < t->n_step; i++) {
        const size_t most = (size_t)t->step[i].n_tok * (size_t)t->n_used;
        n += most < (size_t)t->n_expert ? most : (size_t)t->n_expert;
    }
    int32_t *place = ct_alloc_array((size_t)t->n_expert, sizeof *place);
    size_t *next = ct_alloc_array(n_key, sizeof *next);
    out->request = ct_alloc_array(n, sizeof *out->request);
    out->first = ct_alloc_array(t->n_step + 1, sizeof *out->first);
    const bool ok = place && next && out->request && out->first;
    if (ok) {
        for (int32_t i = 0; i < t->n_expert; i++) place[i] = -1;
        for (size_t i = 0; i < t->n_step; i++) gather(out, i, place);
        for (size_t i = 0; i < n_key; i++) next[i] = SIZE_MAX;
        for (size_t i = t->n_step; i-- > 0;) {
            for (size_t k = out->first[i]; k < out->first[i + 1]; k++) {
                out->request[k].next = next[out->request[k].key];
                next[out->request[k].key] = i;
            }
        }
    }
    ct_free(place);
    ct_free(next);
    if (ok) return 0;
    expert_requests_free(out);
    return CT_FAIL(err, CARAT_ENOMEM, "out of memory for %zu uses of experts", n);
}

void expert_requests_free(expert_requests *q) {
    ct_free(q->request);
    ct_free(q->first);
    memset(q, 0, sizeof *q);
}

/* ---- caches ---- */

/* Either the live policy, or a plain one: every key has a value, and the lowest goes. */
typedef struct {
    const expert_requests *q;
    const expert_policy *p;
    expert_outcome *out;
    ct_cache c;          /* of EXPERT_DECAY */
    void *memory;        /* of c */
    int64_t *value;      /* [n_key] */
    int32_t *slot_of;    /* [n_key] -1 = not resident */
    int32_t *key_of;     /* [n_slot] -1 = empty */
    bool *pinned;        /* [n_slot] */
    int32_t *slots_from; /* [n_layer + 1] slots of each layer, with EXPERT_LAYER_LRU */
    int64_t n_use;
    int32_t *held;       /* [most] slots pinned for the step at work */
    int32_t n_held;
    int32_t *early;      /* [n_expert] slots pinned for guesses at the next step */
    int32_t n_early;
    uint64_t *count;     /* [n_key] tokens so far, for the guess at the most frequent */
    const uint16_t **before; /* [n_layer] row of the last token, NULL = none yet */
    bool *wanted, *named;    /* [n_expert] scratch, false */
} cache;

static bool is_live(const cache *c) { return c->p->kind == EXPERT_DECAY; }

static int32_t find(const cache *c, int32_t key) { return is_live(c) ? ct_cache_find(&c->c, key) : c->slot_of[key]; }

static void use(cache *c, const expert_request *r) {
    switch (c->p->kind) {
    case EXPERT_DECAY: ct_cache_use(&c->c, r->key, r->weight); break;
    case EXPERT_BELADY: c->value[r->key] = r->next == SIZE_MAX ? INT64_MIN : -(int64_t)r->next; break;
    default: c->value[r->key] = ++c->n_use; break;
    }
}

static void pin(cache *c, int32_t slot) {
    if (is_live(c)) ct_cache_pin(&c->c, slot);
    else c->pinned[slot] = true;
}

static void unpin(cache *c, int32_t slot) {
    if (is_live(c)) ct_cache_unpin(&c->c, slot);
    else c->pinned[slot] = false;
}

/* A slot for the key, pinned; -1 when all are. */
static int32_t take(cache *c, int32_t key) {
    if (is_live(c)) return ct_cache_take(&c->c, key);
    const int32_t layer = key / c->q->t->n_expert;
    const bool own = c->p->kind == EXPERT_LAYER_LRU;
    int32_t slot = -1;
    for (int32_t i = own ? c->slots_from[layer] : 0; i < (own ? c->slots_from[layer + 1] : c->p->n_slot); i++) {
        if (c->pinned[i]) continue;
        if (c->key_of[i] < 0) {
            slot = i;
            break;
        }
        if (slot < 0 || c->value[c->key_of[i]] < c->value[c->key_of[slot]]) slot = i;
    }
    if (slot < 0) return -1;
    if (c->key_of[slot] >= 0) c->slot_of[c->key_of[slot]] = -1;
    c->key_of[slot] = key;
    c->slot_of[key] = slot;
    c->pinned[slot] = true;
    return slot;
}

static void release(cache *c) {
    for (int32_t i = 0; i < c->n_held; i++) unpin(c, c->held[i]);
    c->n_held = 0;
}

/* ---- guesses ---- */

/* Rows of `s` that the step before it, of the layer below, made guesses for; NULL = it made none. */
static const uint16_t *said_of(const expert_trace *t, size_t i) {
    const expert_step *s = &t->step[i];
    if (s->first || t->step[i - 1].layer + 1 != s->layer) return NULL;
    const uint16_t *said = expert_trace_ahead(t, s - 1);
    return said ? said + (size_t)(s->pos - (s - 1)->pos) * (size_t)t->n_used : NULL;
}

static void count_guess(cache *c, int32_t layer, expert_guess g, int32_t expert) {
    if (c->named[expert] || find(c, layer * c->q->t->n_expert + expert) >= 0) return;
    c->named[expert] = true;
    c->out->guessed[g]++;
    c->out->right[g] += c->wanted[expert];
}

static void count_named(cache *c, int32_t layer, expert_guess g, const uint16_t *expert, int64_t n) {
    for (int64_t i = 0; expert && i < n; i++) count_guess(c, layer, g, expert[i]);
    for (int64_t i = 0; expert && i < n; i++) c->named[expert[i]] = false;
}

/* As many as a token uses. */
static void count_frequent(cache *c, int32_t layer) {
    const int32_t n_expert = c->q->t->n_expert;
    const uint64_t *count = c->count + (size_t)layer * (size_t)n_expert;
    int32_t best = 0;
    for (int32_t i = 0; i < c->q->t->n_used && best >= 0; i++) {
        best = -1;
        for (int32_t e = 0; e < n_expert; e++) {
            if (count[e] == 0 || c->named[e] || find(c, layer * n_expert + e) >= 0) continue;
            if (best < 0 || count[e] > count[best]) best = e;
        }
        if (best >= 0) count_guess(c, layer, EXPERT_GUESS_FREQUENT, best);
    }
    memset(c->named, 0, (size_t)n_expert * sizeof *c->named);
}

/* How guesses at step i would fare now, before it asks. */
static void count_guesses(cache *c, size_t i) {
    const expert_requests *q = c->q;
    const expert_step *s = &q->t->step[i];
    const int64_t n = (int64_t)s->n_tok * q->t->n_used;
    for (size_t k = q->first[i]; k < q->first[i + 1]; k++) {
        c->wanted[q->request[k].key % q->t->n_expert] = true;
        c->out->misses += find(c, q->request[k].key) < 0;
    }
    count_named(c, s->layer, EXPERT_GUESS_AHEAD, said_of(q->t, i), n);
    count_named(c, s->layer, EXPERT_GUESS_BEFORE, c->before[s->layer], q->t->n_used);
    count_frequent(c, s->layer);
    for (size_t k = q->first[i]; k < q->first[i + 1]; k++) c->wanted[q->request[k].key % q->t->n_expert] = false;
}

static void remember(cache *c, size_t i) {
    const expert_requests *q = c->q;
    const expert_step *s = &q->t->step[i];
    for (size_t k = q->first[i]; k < q->first[i + 1]; k++) c->count[q->request[k].key] += (uint64_t)q->request[k].weight;
    c->before[s->layer] = expert_trace_chosen(q->t, s) + (size_t)(s->n_tok - 1) * (size_t)q->t->n_used;
}

/* Read what was said of step i. What is there already is pinned, so that it is no victim. */
static void prefetch(cache *c, size_t i) {
    const expert_step *s = &c->q->t->step[i];
    const uint16_t *said = said_of(c->q->t, i);
    if (!said || !s->decode) return;
    const int64_t n = (int64_t)s->n_tok * c->q->t->n_used;
    const int32_t base = s->layer * c->q->t->n_expert;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < n; k++) {
            if (c->named[said[k]]) continue;
            int32_t slot = find(c, base + said[k]);
            if (pass == 0 && slot >= 0) {
                pin(c, slot);
            } else if (pass == 1) {
                slot = take(c, base + said[k]);
                c->out->phase[1].loads += slot >= 0;
            }
            if (slot < 0) continue;
            c->named[said[k]] = true;
            c->early[c->n_early++] = slot;
        }
    }
    for (int64_t k = 0; k < n; k++) c->named[said[k]] = false;
}

/* ---- the replay ---- */

static void load(cache *c, int32_t key) {
    int32_t slot = take(c, key);
    if (slot < 0) {
        release(c);
        slot = take(c, key);
    }
    if (slot >= 0) c->held[c->n_held++] = slot;
}

static void step(cache *c, size_t i) {
    const expert_requests *q = c->q;
    const expert_step *s = &q->t->step[i];
    expert_phase *phase = &c->out->phase[s->decode];
    if (is_live(c)) ct_cache_enter(&c->c, s->layer, s->n_tok);
    if (c->p->guesses && s->decode) count_guesses(c, i);
    int64_t hits = 0;
    const int64_t n = (int64_t)(q->first[i + 1] - q->first[i]);
    for (size_t k = q->first[i]; k < q->first[i + 1]; k++) {
        use(c, &q->request[k]);
        const int32_t slot = find(c, q->request[k].key);
        if (slot < 0) continue;
        pin(c, slot);
        c->held[c->n_held++] = slot;
        hits++;
    }
    if (s->first) phase->n_tok += s->n_tok;
    phase->uses += n;
    phase->hits += hits;
    phase->loads += n - hits;
    if (s->decode) c->out->file_uses[s->file] += n, c->out->file_hits[s->file] += hits;
    for (size_t k = q->first[i]; k < q->first[i + 1] && hits < n; k++) {
        if (find(c, q->request[k].key) < 0) load(c, q->request[k].key);
    }
    release(c);
    for (int32_t k = 0; k < c->n_early; k++) unpin(c, c->early[k]);
    c->n_early = 0;
    if (c->p->guesses) remember(c, i);
    if (c->p->prefetch && i + 1 < q->t->n_step) prefetch(c, i + 1);
}

/* Slots of the layers that have experts: as even as can be. */
static void share_slots(cache *c) {
    const expert_trace *t = c->q->t;
    const int32_t n_with = expert_trace_layers(t);
    for (size_t i = 0; i < t->n_step; i++) c->slots_from[t->step[i].layer + 1] = 1;
    int32_t k = 0, at = 0;
    for (int32_t l = 0; l < t->n_layer; l++) {
        if (c->slots_from[l + 1]) {
            at += c->p->n_slot / n_with + (k < c->p->n_slot % n_with);
            k++;
        }
        c->slots_from[l + 1] = at;
    }
}

static bool make(cache *c) {
    const expert_trace *t = c->q->t;
    const size_t n_expert = (size_t)t->n_expert, n_key = (size_t)t->n_layer * n_expert, n_slot = (size_t)c->p->n_slot;
    c->held = ct_alloc_array((size_t)c->q->most, sizeof *c->held);
    c->early = ct_alloc_array(n_expert, sizeof *c->early);
    c->count = ct_alloc_array(n_key, sizeof *c->count);
    c->before = ct_alloc_array((size_t)t->n_layer, sizeof *c->before);
    c->wanted = ct_alloc_array(n_expert, sizeof *c->wanted);
    c->named = ct_alloc_array(n_expert, sizeof *c->named);
    c->out->file_uses = ct_alloc_array((size_t)t->n_file, sizeof *c->out->file_uses);
    c->out->file_hits = ct_alloc_array((size_t)t->n_file, sizeof *c->out->file_hits);
    if (!c->held || !c->early || !c->count || !c->before || !c->wanted || !c->named || !c->out->file_uses || !c->out->file_hits) return false;
    if (is_live(c)) {
        c->memory = ct_alloc(ct_cache_bytes(c->p->n_slot, t->n_layer, t->n_expert));
        if (c->memory) ct_cache_init(&c->c, c->memory, c->p->n_slot, t->n_layer, t->n_expert, c->p->half_life);
        return c->memory;
    }
    c->value = ct_alloc_array(n_key, sizeof *c->value);
    c->slot_of = ct_alloc_array(n_key, sizeof *c->slot_of);
    c->key_of = ct_alloc_array(n_slot, sizeof *c->key_of);
    c->pinned = ct_alloc_array(n_slot, sizeof *c->pinned);
    c->slots_from = ct_alloc_array((size_t)t->n_layer + 1, sizeof *c->slots_from);
    if (!c->value || !c->slot_of || !c->key_of || !c->pinned || !c->slots_from) return false;
    for (size_t i = 0; i < n_key; i++) c->slot_of[i] = -1;
    for (size_t i = 0; i < n_slot; i++) c->key_of[i] = -1;
    share_slots(c);
    return true;
}

int expert_replay(expert_outcome *out, const expert_requests *q, const expert_policy *p, carat_error *err) {
    memset(out, 0, sizeof *out);
    cache c = {.q = q, .p = p, .out = out};
    const bool ok = make(&c);
    for (size_t i = 0; ok && i < q->t->n_step; i++) step(&c, i);
    void *const memory[] = {c.memory, c.value,  c.slot_of, c.key_of, c.pinned, c.slots_from, c.held,
                            c.early,  c.count, (void *)c.before, c.wanted, c.named};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) ct_free(memory[i]);
    if (ok) return 0;
    expert_outcome_free(out);
    return CT_FAIL(err, CARAT_ENOMEM, "out of memory for a cache of %d experts", (int)p->n_slot);
}

void expert_outcome_free(expert_outcome *o) {
    ct_free(o->file_uses);
    ct_free(o->file_hits);
    o->file_uses = o->file_hits = NULL;
}
