/* Mixture of experts (REF gemma4-spec 2.10; transformers Gemma4TextRouter, Gemma4TextExperts).
 *
 * Tokens are grouped by expert, so that an expert's weights are read once a chunk. Experts run in ascending order and
 * every token adds its experts' outputs in that order: the sum does not depend on which tokens share a chunk. */
#include <math.h>
#include <string.h>

#include "forward/forward_int.h"

/* Router of rows [r0, n): softmax probabilities of all experts. Its input is the raw residual under its own weightless
 * norm, scaled by router.scale / sqrt(d_model). Uses f->xn. */
static void route(ct_forward *f, int il, int r0, int n) {
    const ct_layer_weights *w = &f->w->layer[il];
    const int d = f->cfg->d_model, n_e = f->cfg->n_expert;
    const float inv_sqrt_d = (float)pow((double)d, -0.5);
    for (int r = r0; r < n; r++) {
        float *x = f->xn + (size_t)r * (size_t)d;
        f->k->rms_norm(x, f->x + (size_t)r * (size_t)d, NULL, d, f->cfg->rms_eps);
        for (int i = 0; i < d; i++) x[i] = x[i] * w->ffn_gate_inp_scale[i] * inv_sqrt_d;
    }
    const ct_linear op = {f->router + (size_t)r0 * (size_t)n_e, &w->ffn_gate_inp, f->xn + (size_t)r0 * (size_t)d, n - r0};
    ct_linear_run(f, &op, 1);
    for (int r = r0; r < n; r++) f->k->softmax(f->router + (size_t)r * (size_t)n_e, n_e);
    ct_tap(f, il, "router", f->router, n, n_e);
}

/* Best n_expert_used experts of row r, best first (lowest index wins ties); weights renormalised to sum 1, then times
 * the per-expert scale. Comparisons with NaN are false: a row of NaN gets the first experts, never an index that is none. */
static void choose(ct_forward *f, int il, int r) {
    const int n_e = f->cfg->n_expert, n_used = f->cfg->n_expert_used;
    const float *p = f->router + (size_t)r * (size_t)n_e;
    int32_t *index = f->route_index + (size_t)r * (size_t)n_used;
    float *weight = f->route_weight + (size_t)r * (size_t)n_used;
    int m = 0;
    for (int e = 0; e < n_e; e++) { /* insert into the list of the best so far */
        if (m == n_used && !(p[e] > p[index[m - 1]])) continue;
        int j = m < n_used ? m++ : m - 1;
        for (; j > 0 && p[e] > p[index[j - 1]]; j--) index[j] = index[j - 1];
        index[j] = e;
    }
    float sum = 0.0f;
    for (int j = 0; j < n_used; j++) sum += p[index[j]];
    for (int j = 0; j < n_used; j++) {
        weight[j] = p[index[j]] / sum * f->w->layer[il].ffn_down_exps_scale[index[j]];
        f->expert_counts[(size_t)il * (size_t)n_e + (size_t)index[j]]++;
    }
    f->expert_evals += (uint64_t)n_used;
}

/* Rows of [r0, n) that chose expert e, with their weights, into f->moe_row and f->moe_w; their inputs into f->moe_x. */
static int gather(ct_forward *f, int e, int r0, int n) {
    const int n_used = f->cfg->n_expert_used;
    const size_t d = (size_t)f->cfg->d_model;
    int m = 0;
    for (int r = r0; r < n; r++) {
        for (int j = 0; j < n_used; j++) {
            if (f->route_index[(size_t)r * (size_t)n_used + (size_t)j] != e) continue;
            f->moe_row[m] = r;
            f->moe_w[m] = f->route_weight[(size_t)r * (size_t)n_used + (size_t)j];
            memcpy(f->moe_x + (size_t)m * d, f->xn + (size_t)r * d, d * sizeof(float));
            m++;
        }
    }
    return m;
}

void ct_moe(ct_forward *f, int il, int r0, int n) {
    const ct_layer_weights *w = &f->w->layer[il];
    const int d = f->cfg->d_model, ff = f->cfg->d_ff_expert;
    const size_t at = (size_t)r0 * (size_t)d;
    route(f, il, r0, n);
    for (int r = r0; r < n; r++) choose(f, il, r);
    ct_norm_rows(f, f->xn + at, f->x + at, w->pre_ffw_norm_2, n - r0, d);
    memset(f->moe_out + at, 0, (size_t)(n - r0) * (size_t)d * sizeof *f->moe_out);
    for (int e = 0; e < f->cfg->n_expert; e++) {
        const int m = gather(f, e, r0, n);
        if (!m) continue;
        const ct_matrix gate = ct_matrix_expert(&w->ffn_gate_exps, e), up = ct_matrix_expert(&w->ffn_up_exps, e),
                        down = ct_matrix_expert(&w->ffn_down_exps, e);
        const ct_linear in[2] = {{f->moe_gate, &gate, f->moe_x, m}, {f->moe_up, &up, f->moe_x, m}};
        ct_linear_run(f, in, 2);
        f->k->gelu_mul(f->moe_gate, f->moe_gate, f->moe_up, (int64_t)m * ff);
        const ct_linear out = {f->moe_y, &down, f->moe_gate, m};
        ct_linear_run(f, &out, 1);
        for (int i = 0; i < m; i++) {
            f->k->axpy(f->moe_out + (size_t)f->moe_row[i] * (size_t)d, f->moe_w[i], f->moe_y + (size_t)i * (size_t)d, d);
        }
    }
}
