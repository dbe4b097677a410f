/* Mixture of experts (REF gemma4-spec 2.10; transformers Gemma4TextRouter, Gemma4TextExperts).
 *
 * Tokens are grouped by expert, so that an expert's weights are read once a chunk. Experts run in waves, as many as
 * their tokens fill the buffers, so that few regions keep all threads busy; every token adds its experts' outputs in
 * ascending order of experts: the sum does not depend on waves or on which tokens share a chunk. */
#include <math.h>
#include <string.h>

#include "forward/forward_int.h"
#include "kernels/panel.h"

typedef struct {
    ct_forward *f;
    int il, r0;
    int n_pair;  /* (token, expert) pairs of the wave */
} moe_job;

/* Columns of an item when outputs are added up. */
#define COLUMNS 256

/* The router's input: the raw residual under its own weightless norm, scaled by router.scale / sqrt(d_model). */
static void route_input_item(void *ud, int64_t item, int thread) {
    const moe_job *j = ud;
    const ct_forward *f = j->f;
    const size_t d = (size_t)f->cfg->d_model, at = (size_t)(j->r0 + item) * d;
    const float inv_sqrt_d = (float)pow((double)d, -0.5);
    const float *scale = f->w->layer[j->il].ffn_gate_inp_scale;
    float *x = f->xn + at;
    (void)thread;
    f->k->rms_norm(x, f->x + at, NULL, (int64_t)d, f->cfg->rms_eps);
    for (size_t i = 0; i < d; i++) x[i] = x[i] * scale[i] * inv_sqrt_d;
}

/* Router of rows [r0, n): softmax probabilities of all experts. Uses f->xn. */
static void route(ct_forward *f, int il, int r0, int n) {
    const int d = f->cfg->d_model, n_e = f->cfg->n_expert;
    moe_job job = {.f = f, .il = il, .r0 = r0};
    ct_pool_run(f->pool, route_input_item, &job, n - r0);
    const ct_linear op = {.y = f->router + (size_t)r0 * (size_t)n_e, .w = &f->w->layer[il].ffn_gate_inp,
                          .x = f->xn + (size_t)r0 * (size_t)d, .n_tok = n - r0, .fine = true};
    ct_linear_run(f, &op, 1);
    for (int r = r0; r < n; r++) f->k->softmax(f->router + (size_t)r * (size_t)n_e, n_e);
}

/* The n_used best of n_e probabilities into index, best first (lowest index wins ties). Comparisons with NaN are false: a
 * row of NaN gets the first experts, never an index that is none. */
static void best(int32_t *index, int n_used, const float *p, int n_e) {
    int m = 0;
    for (int e = 0; e < n_e; e++) { /* insert into the list of the best so far */
        if (m == n_used && !(p[e] > p[index[m - 1]])) continue;
        int j = m < n_used ? m++ : m - 1;
        for (; j > 0 && p[e] > p[index[j - 1]]; j--) index[j] = index[j - 1];
        index[j] = e;
    }
}

/* Experts of row r: weights renormalised to sum 1, then times the per-expert scale. */
static void choose(ct_forward *f, int il, int r) {
    const int n_e = f->cfg->n_expert, n_used = f->cfg->n_expert_used;
    const float *p = f->router + (size_t)r * (size_t)n_e;
    int32_t *index = f->route_index + (size_t)r * (size_t)n_used;
    float *weight = f->route_weight + (size_t)r * (size_t)n_used;
    best(index, n_used, p, n_e);
    float sum = 0.0f;
    for (int j = 0; j < n_used; j++) sum += p[index[j]];
    for (int j = 0; j < n_used; j++) {
        weight[j] = p[index[j]] / sum * f->w->layer[il].ffn_down_exps_scale[index[j]];
        f->expert_counts[(size_t)il * (size_t)n_e + (size_t)index[j]]++;
    }
    f->expert_evals += (uint64_t)n_used;
}

/* What the next layer's router would choose on the state this layer's router saw, into f->route_next: a guess at the
 * experts that will be needed. Uses f->router and f->xn. */
static bool look_ahead(ct_forward *f, int il, int r0, int n) {
    const int n_e = f->cfg->n_expert, n_used = f->cfg->n_expert_used;
    if (il + 1 == f->cfg->n_layer) return false;
    route(f, il + 1, r0, n);
    for (int r = r0; r < n; r++) best(f->route_next + (size_t)r * (size_t)n_used, n_used, f->router + (size_t)r * (size_t)n_e, n_e);
    return true;
}

/* Tell who wants to know. */
static void report(ct_forward *f, int il, int r0, int n, bool ahead) {
    const int n_used = f->cfg->n_expert_used;
    const size_t at = (size_t)r0 * (size_t)n_used;
    f->route(f->route_ud, il, f->pos + r0, n - r0, n_used, f->route_index + at, ahead ? f->route_next + at : NULL);
}

/* Append the rows of [r0, n) that chose expert e, with their weights, behind pair m; returns the new number of pairs. */
static int gather(ct_forward *f, int e, int r0, int n, int m) {
    const int n_used = f->cfg->n_expert_used;
    for (int r = r0; r < n; r++) {
        for (int j = 0; j < n_used; j++) {
            if (f->route_index[(size_t)r * (size_t)n_used + (size_t)j] != e) continue;
            f->moe_row[m] = r;
            f->moe_w[m++] = f->route_weight[(size_t)r * (size_t)n_used + (size_t)j];
        }
    }
    return m;
}

static void copy_item(void *ud, int64_t pair, int thread) {
    const moe_job *j = ud;
    const size_t d = (size_t)j->f->cfg->d_model;
    (void)thread;
    memcpy(j->f->moe_x + (size_t)pair * d, j->f->xn + (size_t)j->f->moe_row[pair] * d, d * sizeof(float));
}

/* Some columns of all pairs, in the pairs' order. */
static void add_item(void *ud, int64_t item, int thread) {
    const moe_job *j = ud;
    const ct_forward *f = j->f;
    const int64_t d = f->cfg->d_model, c0 = item * COLUMNS, n = d - c0 < COLUMNS ? d - c0 : COLUMNS;
    (void)thread;
    for (int i = 0; i < j->n_pair; i++) {
        f->k->axpy(f->moe_out + (int64_t)f->moe_row[i] * d + c0, f->moe_w[i], f->moe_y + (int64_t)i * d + c0, n);
    }
}

/* Where the hidden values of the pairs from `at` on lie: as integer tiles, or where the experts' type has no panels as
 * f32; the other is NULL. */
static float *hidden(const ct_forward *f, const ct_layer_weights *w, int at) {
    return ct_in_integers(f, &w->ffn_down_exps) ? NULL : f->moe_gate + (size_t)at * (size_t)f->cfg->d_ff_expert;
}

static uint8_t *hidden_tiles(const ct_forward *f, const ct_layer_weights *w, int at) {
    return ct_in_integers(f, &w->ffn_down_exps) ? f->gate_tiles + ct_x_bytes(at, f->cfg->d_ff_expert, 1) : NULL;
}

/* Experts [*e, …) until the buffers are full; *e becomes the next one. */
static void wave(ct_forward *f, int il, int r0, int n, int *e) {
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t d = (size_t)f->cfg->d_model;
    moe_job job = {f, il, r0, 0};
    int n_op = 0;
    for (; *e < f->cfg->n_expert && job.n_pair + (n - r0) <= f->moe_cap; ++*e) {
        const int m = gather(f, *e, r0, n, job.n_pair), at = job.n_pair;
        if (m == at) continue;
        ct_matrix *matrix = f->moe_matrix + 3 * (size_t)n_op;
        matrix[0] = ct_matrix_expert(&w->ffn_gate_exps, *e);
        matrix[1] = ct_matrix_expert(&w->ffn_up_exps, *e);
        matrix[2] = ct_matrix_expert(&w->ffn_down_exps, *e);
        /* One token's experts share their input as it is. */
        const float *x = n - r0 == 1 ? f->xn + (size_t)r0 * d : f->moe_x + (size_t)at * d;
        f->moe_op[n_op++] = (ct_linear){.y = hidden(f, w, at), .w = &matrix[0], .x = x, .n_tok = m - at, .up = &matrix[1],
                                        .y_tiles = hidden_tiles(f, w, at)};
        job.n_pair = m;
    }
    if (n - r0 > 1) ct_pool_run(f->pool, copy_item, &job, job.n_pair);
    ct_linear_run(f, f->moe_op, n_op);
    for (int i = 0, at = 0; i < n_op; i++) {
        const int m = f->moe_op[i].n_tok;
        f->moe_op[i] = (ct_linear){.y = f->moe_y + (size_t)at * d, .w = &f->moe_matrix[3 * i + 2], .x = hidden(f, w, at), .n_tok = m,
                                   .x_tiles = hidden_tiles(f, w, at)};
        at += m;
    }
    ct_linear_run(f, f->moe_op, n_op);
    ct_pool_run(f->pool, add_item, &job, (int64_t)(d + COLUMNS - 1) / COLUMNS);
}

void ct_moe(ct_forward *f, int il, int r0, int n) {
    const ct_layer_weights *w = &f->w->layer[il];
    const int d = f->cfg->d_model;
    const size_t at = (size_t)r0 * (size_t)d;
    ct_profile_step(f->profile, CARAT_STEP_ROUTER);
    route(f, il, r0, n);
    ct_tap(f, il, "router", f->router, n, f->cfg->n_expert);
    for (int r = r0; r < n; r++) choose(f, il, r);
    const bool ahead = f->route_ahead && look_ahead(f, il, r0, n);
    if (f->route) report(f, il, r0, n, ahead);
    ct_profile_step(f->profile, CARAT_STEP_EXPERTS);
    ct_norm_rows(f, f->xn + at, f->x + at, w->pre_ffw_norm_2, n - r0, d);
    memset(f->moe_out + at, 0, (size_t)(n - r0) * (size_t)d * sizeof *f->moe_out);
    for (int e = 0; e < f->cfg->n_expert;) wave(f, il, r0, n, &e);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
}
