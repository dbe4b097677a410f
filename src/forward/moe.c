/* Mixture of experts (REF gemma4-spec 2.10; transformers Gemma4TextRouter, Gemma4TextExperts).
 *
 * Tokens are grouped by expert, so that an expert's weights are read once a chunk. Experts run in waves, as many as
 * their tokens fill the buffers, so that few regions keep all threads busy; every token adds its experts' outputs in
 * ascending order of experts: the sum does not depend on waves or on which tokens share a chunk.
 *
 * Streamed experts (runtime/experts.h) of the first wave are asked for before the dense part is computed. In a wave they
 * are computed as they arrive, and added up when all are there; what the next wave, or the next layer, will want is read
 * meanwhile. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "forward/forward_int.h"
#include "kernels/panel.h"

typedef struct {
    ct_forward *f;
    int il, r0;
    int n_pair;  /* (token, expert) pairs of the wave */
} moe_job;

/* Columns of an item when outputs are added up. */
#define COLUMNS 256
/* Streamed experts of a wave: enough to keep the readers busy, few enough that the first ones are computed soon. */
#define WAVE_STREAMED 16

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

/* As many different experts at random, for measuring: another choice every time, and the same in every run. */
static void draw(int32_t *index, int n_used, int n_e, uint64_t seed) {
    ct_rng rng;
    ct_rng_seed(&rng, seed);
    for (int m = 0; m < n_used;) {
        index[m] = (int32_t)(ct_rng_u64(&rng) % (uint64_t)n_e);
        bool fresh = true;
        for (int j = 0; j < m; j++) fresh = fresh && index[j] != index[m];
        m += fresh;
    }
}

/* Experts of row r: weights renormalised to sum 1, then times the per-expert scale. */
static void choose(ct_forward *f, int il, int r) {
    const int n_e = f->cfg->n_expert, n_used = f->cfg->n_expert_used;
    const float *p = f->router + (size_t)r * (size_t)n_e;
    int32_t *index = f->route_index + (size_t)r * (size_t)n_used;
    float *weight = f->route_weight + (size_t)r * (size_t)n_used;
    best(index, n_used, p, n_e);
    if (f->route_uniform) draw(index, n_used, n_e, f->expert_evals);
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

/* The distinct experts that rows [r0, n) chose: ascending into f->moe_list, how many rows into f->moe_count. */
static void list_experts(ct_forward *f, int r0, int n) {
    const int n_e = f->cfg->n_expert, n_used = f->cfg->n_expert_used;
    int32_t *list = f->moe_list, *count = f->moe_count;
    int m = 0;
    memset(count, 0, (size_t)n_e * sizeof *count);
    for (int64_t i = (int64_t)r0 * n_used; i < (int64_t)n * n_used; i++) count[f->route_index[i]]++;
    for (int e = 0; e < n_e; e++) {
        if (count[e] == 0) continue;
        count[m] = count[e]; /* m <= e: behind what is still to be read */
        list[m++] = e;
    }
    f->n_moe_list = m;
}

/* Experts of the wave that begins with the k-th of the list: as many as the buffers hold. */
static int wave_size(const ct_forward *f, int k) {
    const int n_used = f->cfg->n_expert_used, streamed = WAVE_STREAMED > n_used ? WAVE_STREAMED : n_used;
    int most = f->cfg->n_expert, n = 0, n_pair = 0;
    if (f->o.experts) {
        const int half = ct_experts_n_slot(f->o.experts) / 2;
        most = half < streamed ? half : streamed;
    }
    for (; k < f->n_moe_list && n < most && n_pair + f->moe_count[k] <= f->moe_cap; k++, n++) n_pair += f->moe_count[k];
    return n;
}

static carat_expert_stats *stats_of(ct_forward *f, int n_row) { return n_row == 1 ? &f->expert_decode : &f->expert_prefill; }

static void begin_wave(ct_forward *f, int il, int k, int n_row) {
    const int n = wave_size(f, k);
    memcpy(f->use.expert, f->moe_list + k, (size_t)n * sizeof *f->use.expert);
    f->use.stats = stats_of(f, n_row);
    ct_experts_begin(f->o.experts, &f->use, il, n);
}

/* While the wave that begins with the k-th expert is computed: read what the next one wants; behind the last of a layer,
 * where nearly all experts of the next are going to be wanted, the first of those. */
static void read_ahead(ct_forward *f, int il, int k, int n_row) {
    const int next = k + wave_size(f, k), n_e = f->cfg->n_expert;
    if (next < f->n_moe_list) {
        ct_experts_hint(f->o.experts, il, f->moe_list + next, wave_size(f, next), true, stats_of(f, n_row));
    } else if (n_row * f->cfg->n_expert_used >= n_e && il + 1 < f->cfg->n_layer) {
        const int n = WAVE_STREAMED < n_e ? WAVE_STREAMED : n_e;
        for (int e = 0; e < n; e++) f->moe_hint[e] = e;
        ct_experts_hint(f->o.experts, il + 1, f->moe_hint, n, true, stats_of(f, n_row));
    }
}

/* Few rows: what the next layer's router would choose is likely to be what it will. */
static void hint_next(ct_forward *f, int il, int r0, int n) {
    int m = 0;
    const int n_used = f->cfg->n_expert_used;
    for (int64_t i = (int64_t)r0 * n_used; i < (int64_t)n * n_used && m < f->cfg->n_expert; i++) f->moe_hint[m++] = f->route_next[i];
    ct_experts_hint(f->o.experts, il + 1, f->moe_hint, m, false, stats_of(f, n - r0));
}

void ct_moe_choose(ct_forward *f, int il, int r0, int n) {
    const bool streamed = f->o.experts != NULL;
    ct_profile_step(f->profile, CARAT_STEP_ROUTER);
    route(f, il, r0, n);
    ct_tap(f, il, "router", f->router, n, f->cfg->n_expert);
    for (int r = r0; r < n; r++) choose(f, il, r);
    list_experts(f, r0, n);
    if (streamed) {
        ct_experts_enter(f->o.experts, il, n - r0, f->moe_list, f->moe_count, f->n_moe_list);
        begin_wave(f, il, 0, n - r0);
    }
    const bool guess = streamed && f->o.expert_ahead && (n - r0) * f->cfg->n_expert_used < f->cfg->n_expert;
    const bool ahead = (f->route_ahead || guess) && look_ahead(f, il, r0, n);
    if (ahead && guess) hint_next(f, il, r0, n);
    if (f->route) report(f, il, r0, n, ahead);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
}

/* The pairs of m experts from the k-th on: rows and weights, expert by expert, and where each expert's begin. */
static int gather(ct_forward *f, int k, int m, int r0, int n) {
    const int n_used = f->cfg->n_expert_used;
    int n_pair = 0;
    for (int i = 0; i < m; i++) {
        f->moe_at[i] = n_pair;
        for (int r = r0; r < n; r++) {
            for (int j = 0; j < n_used; j++) {
                if (f->route_index[(size_t)r * (size_t)n_used + (size_t)j] != f->moe_list[k + i]) continue;
                f->moe_row[n_pair] = r;
                f->moe_w[n_pair++] = f->route_weight[(size_t)r * (size_t)n_used + (size_t)j];
            }
        }
    }
    f->moe_at[m] = n_pair;
    return n_pair;
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

/* Gate, up and down of the wave's i-th expert, the k-th of the list, where they lie. */
static void expert_matrices(const ct_forward *f, const ct_layer_weights *w, int k, int i, ct_matrix *m) {
    m[0] = ct_matrix_expert(&w->ffn_gate_exps, f->moe_list[k + i]);
    m[1] = ct_matrix_expert(&w->ffn_up_exps, f->moe_list[k + i]);
    m[2] = ct_matrix_expert(&w->ffn_down_exps, f->moe_list[k + i]);
    for (int p = 0; p < CT_EXPERT_PARTS && f->o.experts; p++) m[p].data = ct_experts_data(f->o.experts, &f->use, i, p);
}

/* Outputs of n_op experts of the wave that begins with the k-th: which[] of it, all where NULL. */
static void compute(ct_forward *f, int il, int r0, int n, int k, const int32_t *which, int n_op) {
    const ct_layer_weights *w = &f->w->layer[il];
    const size_t d = (size_t)f->cfg->d_model;
    for (int o = 0; o < n_op; o++) {
        const int i = which ? which[o] : o, at = f->moe_at[i];
        ct_matrix *m = f->moe_matrix + 3 * (size_t)o;
        expert_matrices(f, w, k, i, m);
        /* One token's experts share their input as it is. */
        const float *x = n - r0 == 1 ? f->xn + (size_t)r0 * d : f->moe_x + (size_t)at * d;
        f->moe_op[o] = (ct_linear){.y = hidden(f, w, at), .w = &m[0], .x = x, .n_tok = f->moe_at[i + 1] - at, .up = &m[1],
                                   .y_tiles = hidden_tiles(f, w, at)};
    }
    ct_linear_run(f, f->moe_op, n_op);
    for (int o = 0; o < n_op; o++) {
        const int i = which ? which[o] : o, at = f->moe_at[i];
        f->moe_op[o] = (ct_linear){.y = f->moe_y + (size_t)at * d, .w = &f->moe_matrix[3 * (size_t)o + 2], .x = hidden(f, w, at),
                                   .n_tok = f->moe_at[i + 1] - at, .x_tiles = hidden_tiles(f, w, at)};
    }
    ct_linear_run(f, f->moe_op, n_op);
}

/* The same as experts come from the disk: those that are there together, then whichever comes next. */
static int compute_arriving(ct_forward *f, int il, int r0, int n, int k, carat_error *err) {
    int rc = 0;
    while (f->use.n_given < f->use.n && !rc) {
        int m = 0;
        for (int i = ct_experts_next(f->o.experts, &f->use, true, err); i >= 0 && i < f->use.n;
             i = ct_experts_next(f->o.experts, &f->use, false, err)) {
            f->moe_hint[m++] = i;
        }
        if (m) compute(f, il, r0, n, k, f->moe_hint, m);
        else rc = CARAT_EIO;
    }
    ct_experts_end(f->o.experts, &f->use);
    return rc;
}

/* The experts that begin with the k-th of the list. */
static int wave(ct_forward *f, int il, int r0, int n, int k, int m, carat_error *err) {
    const int64_t d = f->cfg->d_model;
    moe_job job = {f, il, r0, gather(f, k, m, r0, n)};
    if (n - r0 > 1) ct_pool_run(f->pool, copy_item, &job, job.n_pair);
    if (f->o.experts) {
        if (k > 0) begin_wave(f, il, k, n - r0);
        read_ahead(f, il, k, n - r0);
        CT_TRY(compute_arriving(f, il, r0, n, k, err));
    } else {
        compute(f, il, r0, n, k, NULL, m);
    }
    ct_pool_run(f->pool, add_item, &job, (d + COLUMNS - 1) / COLUMNS);
    return 0;
}

int ct_moe(ct_forward *f, int il, int r0, int n, carat_error *err) {
    const int d = f->cfg->d_model;
    const size_t at = (size_t)r0 * (size_t)d;
    ct_profile_step(f->profile, CARAT_STEP_EXPERTS);
    ct_norm_rows(f, f->xn + at, f->x + at, f->w->layer[il].pre_ffw_norm_2, n - r0, d);
    memset(f->moe_out + at, 0, (size_t)(n - r0) * (size_t)d * sizeof *f->moe_out);
    for (int k = 0, m; k < f->n_moe_list; k += m) {
        m = wave_size(f, k);
        CT_TRY(wave(f, il, r0, n, k, m, err));
    }
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    return 0;
}
