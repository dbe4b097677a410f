/* How experts are used: see expert_use.h. Of a trace, in one walk. */
#include "expert_use.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

#define X(n) n,
const int32_t expert_window[EXPERT_N_WINDOW] = {EXPERT_WINDOW_LIST(X)};
#undef X

expert_use expert_use_of(const uint64_t *count, int32_t n_expert) {
    expert_use u = {0};
    for (int32_t i = 0; i < n_expert; i++) {
        u.evals += count[i];
        u.used += count[i] > 0;
    }
    for (int32_t i = 0; i < n_expert && u.evals; i++) {
        const double p = (double)count[i] / (double)u.evals;
        if (p > 0.0) u.entropy -= p * log2(p);
        if (p > u.most) u.most = p;
        if (i == 0 || p < u.least) u.least = p;
    }
    return u;
}

/* ---- while a model runs ---- */

bool expert_recent_init(expert_recent *r, int32_t n_layer, int32_t n_expert) {
    *r = (expert_recent){.n_layer = n_layer, .n_expert = n_expert};
    r->n_tok = ct_alloc_array((size_t)n_layer, sizeof *r->n_tok);
    r->last = ct_alloc_array((size_t)n_layer * (size_t)n_expert, sizeof *r->last);
    if (r->n_tok && r->last) return true;
    expert_recent_free(r);
    return false;
}

void expert_recent_note(expert_recent *r, int32_t layer, int32_t n_tok, int32_t n_used, const int32_t *expert) {
    int64_t *last = r->last + (size_t)layer * (size_t)r->n_expert;
    for (int32_t i = 0; i < n_tok; i++) {
        r->n_tok[layer]++;
        for (int32_t j = 0; j < n_used; j++) last[expert[(int64_t)i * n_used + j]] = r->n_tok[layer];
    }
}

double expert_recent_set(const expert_recent *r, int64_t n) {
    int64_t sum = 0, n_layer = 0;
    for (int32_t l = 0; l < r->n_layer && r->n_tok; l++) {
        if (r->n_tok[l] < n) continue;
        n_layer++;
        for (int32_t e = 0; e < r->n_expert; e++) sum += r->last[(size_t)l * (size_t)r->n_expert + (size_t)e] > r->n_tok[l] - n;
    }
    return n_layer ? (double)sum / (double)n_layer : 0.0;
}

void expert_recent_free(expert_recent *r) {
    ct_free(r->n_tok);
    ct_free(r->last);
    *r = (expert_recent){0};
}

/* ---- of a trace ---- */

typedef struct {
    const expert_trace *t;
    expert_facts *out;
    int64_t *total;  /* [n_layer] tokens of the layer in the whole trace */
    int64_t *now;    /* [n_layer] tokens so far */
    int64_t *last;   /* [n_layer, n_expert] token that used the expert last, -1 */
    int64_t sum[EXPERT_N_WINDOW]; /* over layers and windows: different experts */
    int64_t repeated, could_repeat, said, asked;
} walk;

/* Token `now` of the layer uses an expert last used by `last`: windows [w, w + n) that hold this use and no earlier one. */
static int64_t new_windows(int64_t n, int64_t now, int64_t last, int64_t total) {
    int64_t from = now - n + 1, to = now;
    if (from < last + 1) from = last + 1;
    if (from < 0) from = 0;
    if (to > total - n) to = total - n;
    return to >= from ? to - from + 1 : 0;
}

static void walk_row(walk *w, int32_t layer, const uint16_t *chosen) {
    const size_t base = (size_t)layer * (size_t)w->t->n_expert;
    const int64_t now = w->now[layer];
    for (int32_t j = 0; j < w->t->n_used; j++) {
        int64_t *last = &w->last[base + chosen[j]];
        w->out->count[base + chosen[j]]++;
        if (now > 0) w->repeated += *last == now - 1;
        for (int i = 0; i < EXPERT_N_WINDOW; i++) w->sum[i] += new_windows(expert_window[i], now, *last, w->total[layer]);
        *last = now;
    }
    if (now > 0) w->could_repeat += w->t->n_used;
    w->now[layer]++;
}

static int32_t n_common(const uint16_t *a, const uint16_t *b, int32_t n) {
    int32_t common = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) common += a[i] == b[j];
    }
    return common;
}

/* What step s said of the layer of the step behind it. */
static void walk_ahead(walk *w, const expert_step *s, const expert_step *next) {
    const uint16_t *said = expert_trace_ahead(w->t, s), *chosen = expert_trace_chosen(w->t, next);
    if (!said || next->first || next->layer != s->layer + 1) return;
    said += (size_t)(next->pos - s->pos) * (size_t)w->t->n_used; /* rows that this layer alone had */
    for (int32_t r = 0; r < next->n_tok; r++) {
        const size_t at = (size_t)r * (size_t)w->t->n_used;
        w->said += n_common(said + at, chosen + at, w->t->n_used);
        w->asked += w->t->n_used;
    }
}

static void walk_trace(walk *w) {
    const expert_trace *t = w->t;
    for (size_t i = 0; i < t->n_step; i++) w->total[t->step[i].layer] += t->step[i].n_tok;
    for (size_t i = 0; i < t->n_step; i++) {
        const expert_step *s = &t->step[i];
        if (s->first) w->out->n_tok[s->decode] += s->n_tok;
        const uint16_t *chosen = expert_trace_chosen(t, s);
        for (int32_t r = 0; r < s->n_tok; r++) walk_row(w, s->layer, chosen + (size_t)r * (size_t)t->n_used);
        if (i + 1 < t->n_step) walk_ahead(w, s, s + 1);
    }
}

static void conclude(walk *w) {
    expert_facts *f = w->out;
    for (int32_t l = 0; l < f->n_layer; l++) {
        f->use[l] = expert_use_of(f->count + (size_t)l * (size_t)f->n_expert, f->n_expert);
    }
    for (int i = 0; i < EXPERT_N_WINDOW; i++) {
        int64_t n = 0;
        for (int32_t l = 0; l < f->n_layer; l++) {
            if (w->total[l] >= expert_window[i]) n += w->total[l] - expert_window[i] + 1;
        }
        f->working_set[i] = n ? (double)w->sum[i] / (double)n : 0.0;
    }
    f->repeated = w->could_repeat ? (double)w->repeated / (double)w->could_repeat : 0.0;
    f->ahead = w->asked ? (double)w->said / (double)w->asked : -1.0;
}

int expert_facts_of(expert_facts *out, const expert_trace *t, carat_error *err) {
    const size_t n_layer = (size_t)t->n_layer, n_key = n_layer * (size_t)t->n_expert;
    *out = (expert_facts){.n_layer = t->n_layer, .n_expert = t->n_expert};
    walk w = {.t = t, .out = out};
    out->count = ct_alloc_array(n_key, sizeof *out->count);
    out->use = ct_alloc_array(n_layer, sizeof *out->use);
    w.total = ct_alloc_array(n_layer, sizeof *w.total);
    w.now = ct_alloc_array(n_layer, sizeof *w.now);
    w.last = ct_alloc_array(n_key, sizeof *w.last);
    const bool ok = out->count && out->use && w.total && w.now && w.last;
    if (ok) {
        for (size_t i = 0; i < n_key; i++) w.last[i] = -1;
        walk_trace(&w);
        conclude(&w);
    }
    ct_free(w.total);
    ct_free(w.now);
    ct_free(w.last);
    if (ok) return 0;
    expert_facts_free(out);
    return CT_FAIL(err, CARAT_ENOMEM, "out of memory for the use of %zu experts", n_key);
}

void expert_facts_free(expert_facts *f) {
    ct_free(f->count);
    ct_free(f->use);
    f->count = NULL;
    f->use = NULL;
}
