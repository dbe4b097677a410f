/* The output head where only the largest logits are asked for.
 *
 * Greedy choice and sampling among the k likeliest look at few rows of the largest matrix there is. With its rows split
 * (kernels/panel.h) the coarse plane bounds every logit from above; rows whose bound is below a value that k logits are
 * known to reach need not be computed, and their fine plane is not read. Nothing is estimated: what is left out is proved
 * to be below, rounding included, and what is computed has the bits of the whole product.
 *
 *   1. The first rows of the vocabulary are computed: their k-th largest is reached by k logits. Vocabularies begin with
 *      their most frequent tokens, so it is near the k-th largest of all.
 *   2. The other panels are screened against it.
 *
 * The threshold depends on the token's hidden state alone, so which rows are computed does not depend on threads. Where
 * the bounds decide little, because the distribution is flat, the next rows are computed whole for a while: a row costs
 * at most a few percent more than it would have. */
#include <math.h>

#include "forward/forward_int.h"

#include "kernels/panel.h"

/* A part of the vocabulary is computed first, at most 8,192 rows: 3% of the large vocabulary. */
#define FIRST_SHARE 4
#define FIRST_MOST 8192
/* Panels of one work item. */
#define ITEM_PANELS 16
/* Screening must leave out this part of the panels to be tried again at once; else after REST rows. */
#define GAIN_LEAST 0.4
#define REST 31

typedef struct {
    ct_forward *f;
    int64_t row0, row1;
    float tau;
    bool screen; /* else all rows are computed */
} head_job;

/* Rows of the first step. */
static int64_t n_first(const ct_matrix *w) {
    const int64_t n = w->d_out / FIRST_SHARE;
    return (n < FIRST_MOST ? n : FIRST_MOST) & ~(int64_t)(CT_PANEL_ROWS - 1);
}

/* Soft-capping is an approximation of a monotone function to within cap * 2^-20 (tests/kernels), so a screened threshold
 * must be lower than the reached one by what makes the capped values differ by four such errors. On the way down from y
 * the cap's slope is least at one of the ends. */
static float below_cap(float tau, float capped, float cap) {
    const float error = 4.0f * cap * 0x1p-20f, low = capped - error;
    const float far = fabsf(capped) > fabsf(low) ? fabsf(capped) : fabsf(low);
    const float slope = 1.0f - far / cap * (far / cap);
    /* Flat ends of the cap tell nothing apart; the factor covers the roundings here. */
    return slope > 1e-3f ? tau - 1.01f * error / slope : -INFINITY;
}

static void head_range(void *ud, int64_t begin, int64_t end, int thread) {
    const head_job *j = ud;
    ct_forward *f = j->f;
    const ct_matrix *w = &f->w->output;
    const float cap = f->cfg->logit_softcap;
    ct_split a = {
        .m = {.y = f->logits, .ldy = (size_t)w->d_out, .w = w->data, .row_bytes = w->row_bytes, .dtype = w->dtype, .n_tok = 1,
              .row0 = j->row0 + begin * ITEM_PANELS * CT_PANEL_ROWS, .row1 = j->row0 + end * ITEM_PANELS * CT_PANEL_ROWS,
              .d_in = w->d_in, .xq = f->xq, .n_plane = 2},
        .fine = w->fine, .fine_bytes = w->fine_bytes, .span = f->head_span, .tau = j->tau};
    if (a.m.row1 > j->row1) a.m.row1 = j->row1;
    if (!j->screen) {
        f->k->matmul_split[w->dtype](&a);
        return;
    }
    const int64_t kept = f->k->matmul_above[w->dtype](&a);
    f->head_kept[thread] += kept;
    if (cap <= 0.0f || kept == 0) return;
    for (int64_t r = a.m.row0; r < a.m.row1; r += CT_PANEL_ROWS) {
        const int64_t n = a.m.row1 - r < CT_PANEL_ROWS ? a.m.row1 - r : CT_PANEL_ROWS;
        int64_t left_out = 0;
        while (left_out < n && f->logits[r + left_out] == -INFINITY) left_out++;
        if (left_out < n || j->tau == -INFINITY) f->k->softcap(f->logits + r, cap, n);
    }
}

static void run(head_job *j) {
    const int64_t item = ITEM_PANELS * CT_PANEL_ROWS;
    ct_pool_run_ranges(j->f->pool, head_range, j, (j->row1 - j->row0 + item - 1) / item);
}

/* The k-th largest of x, -INFINITY where there are fewer that are numbers. heap: [k], its least on top. */
static float kth_largest(float *heap, int k, const float *x, int64_t n) {
    int m = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] > -INFINITY) || (m == k && x[i] <= heap[0])) continue;
        int at;
        if (m < k) {
            for (at = m++; at > 0 && heap[(at - 1) / 2] > x[i]; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
        } else {
            int c;
            for (at = 0; (c = 2 * at + 1) < k; at = c) {
                if (c + 1 < k && heap[c + 1] < heap[c]) c++;
                if (heap[c] >= x[i]) break;
                heap[at] = heap[c];
            }
        }
        heap[at] = x[i];
    }
    return m == k ? heap[0] : -INFINITY;
}

static bool can_screen(const ct_forward *f, int k) {
    const ct_matrix *w = &f->w->output;
    return w->fine && f->k->matmul_above[w->dtype] && k <= n_first(w) / 2;
}

static void screen(ct_forward *f, int row, int k) {
    const ct_matrix *w = &f->w->output;
    const int64_t first = n_first(w), d = w->d_in;
    const float cap = f->cfg->logit_softcap;
    ct_final_norm(f, row, 1);
    f->k->quantize(f->xq, f->out_x, (size_t)d, 1, d, 2);
    ct_x_span(f->head_span, w->dtype, f->xq, d, 2);
    head_job j = {.f = f, .row0 = 0, .row1 = first};
    run(&j);
    j.tau = kth_largest(f->head_best, k, f->logits, first);
    if (cap > 0.0f) {
        float capped = j.tau;
        f->k->softcap(&capped, cap, 1);
        if (j.tau > -INFINITY) j.tau = below_cap(j.tau, capped, cap);
        f->k->softcap(f->logits, cap, first);
    }
    for (int t = 0; t < f->o.n_threads; t++) f->head_kept[t] = 0;
    j.row0 = first;
    j.row1 = w->d_out;
    j.screen = true;
    run(&j);
    int64_t kept = 0;
    for (int t = 0; t < f->o.n_threads; t++) kept += f->head_kept[t];
    const int64_t n_panel = (w->d_out - first + CT_PANEL_ROWS - 1) / CT_PANEL_ROWS;
    f->head_screened++;
    f->head_panels += (uint64_t)n_panel;
    f->head_panels_kept += (uint64_t)kept;
    if (!f->head_always && (double)kept > (1.0 - GAIN_LEAST) * (double)n_panel) f->head_rest = REST;
}

void ct_forward_logits_top(ct_forward *f, int row, int k) {
    if (can_screen(f, k) && f->head_rest == 0) {
        ct_profile_step(f->profile, CARAT_STEP_HEAD);
        screen(f, row, k);
        ct_profile_step(f->profile, CARAT_STEP_OTHER);
        return;
    }
    if (f->head_rest > 0) f->head_rest--;
    f->head_whole++;
    ct_forward_logits(f, row, 1);
}
