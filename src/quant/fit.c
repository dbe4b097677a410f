/* Scale search of the encoders: least-squares step (and offset) of one run of values for a given number of levels.
 * Unweighted squared error; the importance-weighted search belongs to `cut`. Sums run in 8 fixed lanes, so the
 * result does not depend on how a compiler vectorises them. NaN or infinite input gives a useless but defined scale. */
#include "quant/quant_int.h"

enum { LANES = 8, N_STEP = 9 };

/* Candidates k = 0 … N_STEP-1 stretch the grid by -0.8 … +0.8 levels. */
static float stretch(int k) { return 0.2f * (float)(k - (N_STEP - 1) / 2); }

static float lane_sum(const float v[LANES]) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

float ct_store_scale(uint8_t p[2], float d) {
    uint16_t h = ct_f32_to_f16(d);
    if ((h & 0x7fffu) == 0x7c00u) h = (uint16_t)((h & 0x8000u) | 0x7bffu);
    if ((h & 0x7fffu) == 0 && d != 0) h |= 1;
    memcpy(p, &h, sizeof h);
    return ct_f16_to_f32(h);
}

float ct_fit_symmetric(const float *x, int n, int lo) {
    const float peak = ct_peak(x, n);
    if (peak == 0) return 0;
    const float f_lo = (float)lo, f_hi = (float)(-lo - 1);
    float best = -1, best_d = peak / f_lo;
    for (int k = 0; k < N_STEP; k++) {
        const float inv = (f_lo + stretch(k)) / peak;
        float xq[LANES] = {0}, qq[LANES] = {0};
        for (int i = 0; i < n; i += LANES) {
            for (int l = 0; l < LANES; l++) {
                const float q = (float)ct_round_clamp(inv * x[i + l], f_lo, f_hi);
                xq[l] += x[i + l] * q;
                qq[l] += q * q;
            }
        }
        const float sxq = lane_sum(xq), sqq = lane_sum(qq);
        /* With the optimal d = sxq / sqq the squared error is sum(x^2) - sxq^2 / sqq. */
        if (sqq > 0 && sxq * (sxq / sqq) > best) {
            best = sxq * (sxq / sqq);
            best_d = sxq / sqq;
        }
    }
    return best_d;
}

/* Sums of one quantisation of x, and the least-squares line through it. */
typedef struct {
    float d, m;
} line;

static line fit_line(const float *x, int n, float inv, float lowest, float q_max, bool below_zero) {
    float q1[LANES] = {0}, q2[LANES] = {0}, xq[LANES] = {0}, x1[LANES] = {0};
    for (int i = 0; i < n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            const float q = (float)ct_round_clamp(inv * (x[i + l] - lowest), 0, q_max);
            q1[l] += q;
            q2[l] += q * q;
            xq[l] += x[i + l] * q;
            x1[l] += x[i + l];
        }
    }
    const float sq = lane_sum(q1), sqq = lane_sum(q2), sxq = lane_sum(xq), sx = lane_sum(x1);
    const float det = (float)n * sqq - sq * sq;
    line f = {ct_inverse(inv), lowest};
    if (det > 0) {
        f.d = ((float)n * sxq - sx * sq) / det;
        f.m = (sqq * sx - sq * sxq) / det;
        if (below_zero && f.m > 0) {
            f.m = 0;
            f.d = sxq / sqq;
        }
    }
    return f;
}

static float line_error(const float *x, int n, line f, float q_max) {
    const float inv = ct_inverse(f.d);
    float e[LANES] = {0};
    for (int i = 0; i < n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            const float q = (float)ct_round_clamp(inv * (x[i + l] - f.m), 0, q_max);
            const float r = f.d * q + f.m - x[i + l];
            e[l] += r * r;
        }
    }
    return lane_sum(e);
}

float ct_fit_affine(float *m, const float *x, int n, int q_max, bool below_zero) {
    float lowest = x[0], highest = x[0];
    for (int i = 1; i < n; i++) {
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
    }
    if (below_zero && lowest > 0) lowest = 0;
    const float f_max = (float)q_max, range = highest - lowest;
    line best = {range / f_max, lowest};
    if (range > 0) {
        float best_error = line_error(x, n, best, f_max);
        for (int k = 0; k < N_STEP; k++) {
            const line f = fit_line(x, n, (f_max + stretch(k)) / range, lowest, f_max, below_zero);
            const float error = line_error(x, n, f, f_max);
            if (f.d > 0 && error < best_error) {
                best_error = error;
                best = f;
            }
        }
    }
    *m = best.m;
    return best.d > 0 ? best.d : 0;
}
