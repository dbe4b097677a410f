/* Prompt lookup: see lookup.h.
 *
 * The index is a hash chain as in LZ77 over pairs of tokens: head[] leads to the last place of a hash, prev[] from each
 * place to the one before. Places are entered in order, so leaving them in the opposite order restores every head
 * exactly: a cut costs as much as what it drops. Chains hold strangers (other pairs of the same hash): every candidate is
 * compared token by token. */
#include "engine/lookup.h"

#include <string.h>

#include "base/mem.h"

#define MIN_LEN 2   /* tokens that must agree: the pair that is hashed */
#define MAX_LEN 32  /* agreement beyond this tells nothing new */
#define FADE 32.0f  /* observations that count */

/* Costs are guarded against a clock that jumps. */
#define SLOPE_FIRST 0.3
#define SLOPE_MAX 4.0
#define SLOPE_FADE 8.0
/* A gain must be worth the noise of its estimate. */
#define GAIN_MIN 1.1
/* Passes with guesses in a row, after which one without measures again what those cost. */
#define PLAIN_EVERY 64

static uint32_t n_head_of(int32_t cap) {
    uint32_t n = 64;
    while (n < (uint32_t)cap && n < 1u << 20) n *= 2;
    return n;
}

size_t ct_lookup_bytes(int32_t cap) { return ((size_t)n_head_of(cap) + (size_t)cap) * sizeof(int32_t); }

int ct_lookup_init(ct_lookup *l, const int32_t *tok, int32_t cap, int32_t n_max, carat_error *err) {
    /* Where evidence is missing: what stood here long before is likelier to go on as before. Each counts as four. */
    static const float first[CT_LOOKUP_CLASSES] = {0.1f, 0.15f, 0.25f, 0.4f, 0.6f, 0.75f};
    memset(l, 0, sizeof *l);
    l->tok = tok;
    l->cap = cap;
    l->n_max = n_max;
    l->slope = SLOPE_FIRST;
    l->slope_weight = 1.0;
    l->mask = n_head_of(cap) - 1;
    for (int c = 0; c < CT_LOOKUP_CLASSES; c++) l->cls[c].p = first[c], l->cls[c].weight = 4.0f;
    l->head = ct_alloc_array((size_t)l->mask + 1, sizeof *l->head);
    l->prev = ct_alloc_array((size_t)cap, sizeof *l->prev);
    if (!l->head || !l->prev) {
        ct_lookup_free(l);
        return CT_FAIL(err, CARAT_ENOMEM, "lookup: no memory for an index of %d tokens", cap);
    }
    memset(l->head, 0xff, ((size_t)l->mask + 1) * sizeof *l->head); /* -1 */
    return 0;
}

void ct_lookup_free(ct_lookup *l) {
    ct_free(l->head);
    ct_free(l->prev);
    memset(l, 0, sizeof *l);
}

/* Place i stands for the pair (tok[i - 1], tok[i]). */
static int32_t *head_at(const ct_lookup *l, int32_t i) {
    const uint64_t pair = (uint64_t)(uint32_t)l->tok[i - 1] << 32 | (uint32_t)l->tok[i];
    return &l->head[(pair * UINT64_C(0x9e3779b97f4a7c15) >> 32) & l->mask];
}

void ct_lookup_cut(ct_lookup *l, int32_t n) {
    if (n >= l->n) return;
    for (int32_t i = l->n - 1; i >= n && i > 0; i--) *head_at(l, i) = l->prev[i];
    l->n = n;
    l->len = 0;
}

static void enter(ct_lookup *l, int32_t i) {
    if (i == 0) return;
    int32_t *head = head_at(l, i);
    l->prev[i] = *head;
    *head = i;
}

/* How many tokens up to and with place c agree with the last ones of the text. */
static int32_t agreement(const ct_lookup *l, int32_t c) {
    const int32_t last = l->n - 1, limit = c + 1 < MAX_LEN ? c + 1 : MAX_LEN;
    int32_t len = 0;
    while (len < limit && l->tok[c - len] == l->tok[last - len]) len++;
    return len;
}

/* The match at the end of the text: the old one gone on, if it did; else the longest, of these the latest. The last
 * place has not been entered yet. */
static void search(ct_lookup *l) {
    const bool goes_on = l->len > 0 && l->tok[l->at] == l->tok[l->n - 1];
    l->len = !goes_on ? 0 : l->len < MAX_LEN ? l->len + 1 : MAX_LEN;
    if (goes_on) l->at++;
    if (l->n < MIN_LEN || l->len == MAX_LEN) return;
    int32_t c = *head_at(l, l->n - 1);
    for (int tries = 0; c >= 0 && tries < CT_LOOKUP_TRIES && l->len < MAX_LEN; tries++, c = l->prev[c]) {
        const int32_t len = agreement(l, c);
        if (len < MIN_LEN || len <= l->len) continue;
        l->len = len;
        l->at = c + 1;
    }
}

static int class_of(int32_t len) { return len < 5 ? len - 2 : len < 7 ? 3 : len < 12 ? 4 : 5; }

static void learn(ct_lookup *l, bool right) {
    const int c = class_of(l->len);
    if (l->cls[c].weight < FADE) l->cls[c].weight += 1.0f;
    l->cls[c].p += ((right ? 1.0f : 0.0f) - l->cls[c].p) / l->cls[c].weight;
}

void ct_lookup_push(ct_lookup *l, int32_t n) {
    if (n <= l->n) return;
    /* Only single tokens are somebody's choice: a prompt's repeats say nothing about the answer's. */
    const bool single = n == l->n + 1;
    if (single && l->len > 0) learn(l, l->tok[l->at] == l->tok[l->n]);
    if (!single) l->len = 0;
    for (; l->n < n - 1; l->n++) enter(l, l->n);
    l->n = n;
    search(l);
    enter(l, n - 1);
}

/* How many of at most k guesses to evaluate: the most tokens for the time. Evaluating k guesses costs 1 + k * slope and
 * gives one token and every guess that is right up to the first that is not. */
static int32_t worth(const ct_lookup *l, int32_t k) {
    if (l->plain_ms <= 0.0 || l->since_plain >= PLAIN_EVERY) return 0;
    double all_right = 1.0, tokens = 1.0, best = GAIN_MIN;
    int32_t n = 0;
    for (int32_t i = 0; i < k; i++) {
        all_right *= (double)l->cls[class_of(l->len + i)].p;
        tokens += all_right;
        const double gain = tokens / (1.0 + (double)(i + 1) * l->slope);
        if (gain > best) best = gain, n = i + 1;
    }
    return n;
}

int32_t ct_lookup_guess(const ct_lookup *l, int32_t *out, int32_t room, bool always) {
    if (l->len == 0) return 0;
    int32_t k = room < l->n_max ? room : l->n_max;
    if (!always) k = worth(l, k);
    /* Where the place runs into the end of the text, the text repeats itself: the guess goes on with itself. */
    for (int32_t i = 0; i < k; i++) out[i] = l->at + i < l->n ? l->tok[l->at + i] : out[l->at + i - l->n];
    return k > 0 ? k : 0;
}

void ct_lookup_timed(ct_lookup *l, int32_t n_row, double ms) {
    if (!(ms > 0.0)) return;
    if (n_row == 1) {
        l->since_plain = 0;
        /* Other work only ever adds: near the quickest is near the truth, and too low a value guesses too little. */
        if (l->plain_ms <= 0.0) l->plain_ms = ms;
        l->plain_ms += (ms - l->plain_ms) * (ms < l->plain_ms ? 0.5 : 0.0625);
        return;
    }
    l->since_plain++;
    if (l->plain_ms <= 0.0) return;
    double x = (ms / l->plain_ms - 1.0) / (double)(n_row - 1);
    x = x < 0.0 ? 0.0 : x > SLOPE_MAX ? SLOPE_MAX : x;
    if (l->slope_weight < SLOPE_FADE) l->slope_weight += 1.0;
    l->slope += (x - l->slope) / l->slope_weight;
}
