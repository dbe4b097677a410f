/* Fused row operations for training on a CPU: what is left between the matrix
 * products of a Gemma 4 layer. PyTorch would make one pass over memory for each
 * multiplication and each change of type; at these small widths that costs more
 * than the products themselves. Compiled twice: activations in bf16 (training)
 * and, with -DF32, in f32 (the test against transformers' own classes).
 * One thread: two trainings share two cores. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef F32
typedef float act;
static inline float ld(act v) { return v; }
static inline act st(float v) { return v; }
#else
typedef uint16_t act;
static inline float ld(act v) { union { uint32_t u; float f; } x = { (uint32_t)v << 16 }; return x.f; }
static inline act st(float v)
{
    union { float f; uint32_t u; } x = { v };
    return (act)((x.u + 0x7fff + ((x.u >> 16) & 1)) >> 16);
}
#endif
typedef int64_t i64;

/* tanh and the gate 0.5*(1+tanh(z)) = sigmoid(2z). Both clamp: under -ffast-math 1/inf turns into NaN, and beyond
 * +-15 nothing is left to differentiate in f32 (but x*x would blow up what rounding leaves). */
#define LIMIT 15.0f
static inline float clamp_(float z) { return z > LIMIT ? LIMIT : z < -LIMIT ? -LIMIT : z; }
static inline float sigm2_(float z) { return 1.0f / (1.0f + expf(-2.0f * clamp_(z))); }
static inline float tanh_(float z) { return 2.0f * sigm2_(z) - 1.0f; }

/* y = rms(x) * w */
void norm_f(i64 n, i64 d, const float *x, const float *w, act *y, float *rstd)
{
    for (i64 i = 0; i < n; i++, x += d, y += d) {
        float s = 0;
        for (i64 j = 0; j < d; j++) s += x[j] * x[j];
        float r = rstd[i] = 1.0f / sqrtf(s / d + 1e-6f);
        for (i64 j = 0; j < d; j++) y[j] = st(x[j] * r * w[j]);
    }
}

/* dx += d(norm_f), dw += */
void norm_b(i64 n, i64 d, const float *x, const float *w, const float *rstd, const act *dy, float *dx, float *dw)
{
    for (i64 i = 0; i < n; i++, x += d, dy += d, dx += d) {
        float r = rstd[i], s = 0;
        for (i64 j = 0; j < d; j++) s += ld(dy[j]) * w[j] * x[j];
        s *= r * r * r / d;
        for (i64 j = 0; j < d; j++) {
            float g = ld(dy[j]);
            dx[j] += r * g * w[j] - s * x[j];
            dw[j] += g * x[j] * r;
        }
    }
}

/* out = (res + rms(a) * w) * s; res may be null */
void add_f(i64 n, i64 d, const act *a, const float *w, const float *res, float s, float *out, float *rstd)
{
    for (i64 i = 0; i < n; i++, a += d, out += d) {
        float q = 0;
        for (i64 j = 0; j < d; j++) q += ld(a[j]) * ld(a[j]);
        float r = rstd[i] = 1.0f / sqrtf(q / d + 1e-6f);
        if (res) {
            for (i64 j = 0; j < d; j++) out[j] = (res[j] + ld(a[j]) * r * w[j]) * s;
            res += d;
        } else
            for (i64 j = 0; j < d; j++) out[j] = ld(a[j]) * r * w[j] * s;
    }
}

/* g is d(out), turned in place into d(res); returns sum(g * out) for the gradient of s (out may be null) */
float add_b(i64 n, i64 d, const act *a, const float *w, const float *rstd, float sc, const float *out, float *g, act *da,
            float *dw)
{
    double ds = 0;
    for (i64 i = 0; i < n; i++, a += d, g += d, da += d) {
        float r = rstd[i], s = 0;
        if (out) {
            float t = 0;
            for (i64 j = 0; j < d; j++) t += g[j] * out[j];
            ds += t;
            out += d;
        }
        for (i64 j = 0; j < d; j++) {
            g[j] *= sc;
            s += g[j] * w[j] * ld(a[j]);
        }
        s *= r * r * r / d;
        for (i64 j = 0; j < d; j++) {
            float v = ld(a[j]);
            da[j] = st(r * g[j] * w[j] - s * v);
            dw[j] += g[j] * v * r;
        }
    }
    return (float)ds;
}

/* y = gelu_tanh(g) * u, rows of width d with their own strides */
void glu_f(i64 n, i64 d, const act *g, i64 sg, const act *u, i64 su, act *y)
{
    for (i64 i = 0; i < n; i++, g += sg, u += su, y += d)
        for (i64 j = 0; j < d; j++) {
            float x = ld(g[j]), z = 0.7978845608f * (x + 0.044715f * x * x * x);
            y[j] = st(x * sigm2_(z) * ld(u[j]));
        }
}

void glu_b(i64 n, i64 d, const act *g, i64 sg, const act *u, i64 su, const act *dy, act *dg, i64 sdg, act *du, i64 sdu)
{
    for (i64 i = 0; i < n; i++, g += sg, u += su, dy += d, dg += sdg, du += sdu)
        for (i64 j = 0; j < d; j++) {
            float x = ld(g[j]), v = ld(dy[j]), z = 0.7978845608f * (x + 0.044715f * x * x * x), p = sigm2_(z);
            float dz = z > LIMIT || z < -LIMIT ? 0.0f : 1.5957691216f * (1.0f + 0.134145f * x * x);
            du[j] = st(v * x * p);
            dg[j] = st(v * ld(u[j]) * (p + x * p * (1.0f - p) * dz));
        }
}

/* Per-head norm (w may be null: weightless), rope (cs may be null: none) and the change of layout
 * [b,t,head,hd] -> [b,kv,t,g,hd] with head = kv*ng + g. cs, sn: [t, hd/2]. */
void head_f(i64 nb, i64 nt, i64 nkv, i64 ng, i64 hd, const act *x, const float *w, const float *cs, const float *sn,
            act *y, float *rstd)
{
    i64 h = hd / 2;
    for (i64 b = 0; b < nb; b++)
        for (i64 t = 0; t < nt; t++)
            for (i64 k = 0; k < nkv; k++)
                for (i64 e = 0; e < ng; e++, x += hd) {
                    act *o = y + (((b * nkv + k) * nt + t) * ng + e) * hd;
                    float q = 0, v[512];
                    for (i64 j = 0; j < hd; j++) { v[j] = ld(x[j]); q += v[j] * v[j]; }
                    float r = *rstd++ = 1.0f / sqrtf(q / hd + 1e-6f);
                    if (w) for (i64 j = 0; j < hd; j++) v[j] *= r * w[j];
                    else   for (i64 j = 0; j < hd; j++) v[j] *= r;
                    if (!cs) { for (i64 j = 0; j < hd; j++) o[j] = st(v[j]); continue; }
                    const float *c = cs + t * h, *s = sn + t * h;
                    for (i64 j = 0; j < h; j++) {
                        o[j] = st(v[j] * c[j] - v[j + h] * s[j]);
                        o[j + h] = st(v[j + h] * c[j] + v[j] * s[j]);
                    }
                }
}

void head_b(i64 nb, i64 nt, i64 nkv, i64 ng, i64 hd, const act *x, const float *w, const float *cs, const float *sn,
            const float *rstd, const act *dy, act *dx, float *dw)
{
    i64 h = hd / 2;
    for (i64 b = 0; b < nb; b++)
        for (i64 t = 0; t < nt; t++)
            for (i64 k = 0; k < nkv; k++)
                for (i64 e = 0; e < ng; e++, x += hd, dx += hd) {
                    const act *o = dy + (((b * nkv + k) * nt + t) * ng + e) * hd;
                    float g[512], q = 0, r = *rstd++;
                    if (cs) {
                        const float *c = cs + t * h, *s = sn + t * h;
                        for (i64 j = 0; j < h; j++) {
                            float a = ld(o[j]), z = ld(o[j + h]);
                            g[j] = a * c[j] + z * s[j];
                            g[j + h] = z * c[j] - a * s[j];
                        }
                    } else for (i64 j = 0; j < hd; j++) g[j] = ld(o[j]);
                    if (w) for (i64 j = 0; j < hd; j++) { dw[j] += g[j] * ld(x[j]) * r; g[j] *= w[j]; }
                    for (i64 j = 0; j < hd; j++) q += g[j] * ld(x[j]);
                    q *= r * r * r / hd;
                    for (i64 j = 0; j < hd; j++) dx[j] = st(r * g[j] - q * ld(x[j]));
                }
}

/* Change of layout back: [b,kv,t,g,hd] -> [b,t,kv,g,hd] (inv = 0) or the reverse (inv = 1). */
void heads_back(i64 nb, i64 nt, i64 nkv, i64 w, const act *x, act *y, int inv)
{
    for (i64 b = 0; b < nb; b++)
        for (i64 t = 0; t < nt; t++)
            for (i64 k = 0; k < nkv; k++) {
                i64 a = ((b * nkv + k) * nt + t) * w, c = ((b * nt + t) * nkv + k) * w;
                if (inv) memcpy(y + a, x + c, w * sizeof(act));
                else     memcpy(y + c, x + a, w * sizeof(act));
            }
}

/* Softmax in place over s[m, rows, nk]; row r is query t0 + r/g; it sees the keys j with
 * t-win < j <= t, where key column j stands for position k0 + j. */
void soft_f(i64 m, i64 rows, i64 nk, i64 g, i64 t0, i64 k0, i64 win, act *s)
{
    float e[8192];
    for (i64 i = 0; i < m; i++)
        for (i64 r = 0; r < rows; r++, s += nk) {
            i64 t = t0 + r / g, hi = t - k0 + 1, lo = t - win + 1 - k0;
            if (lo < 0) lo = 0;
            if (hi > nk) hi = nk;
            float mx = -1e30f, q = 0;
            for (i64 j = lo; j < hi; j++) { e[j] = ld(s[j]); mx = e[j] > mx ? e[j] : mx; }
            for (i64 j = lo; j < hi; j++) { e[j] = expf(e[j] - mx); q += e[j]; }
            q = 1.0f / q;
            for (i64 j = 0; j < lo; j++) s[j] = 0;
            for (i64 j = lo; j < hi; j++) s[j] = st(e[j] * q);
            for (i64 j = hi; j < nk; j++) s[j] = 0;
        }
}

/* d = p * (d - sum(d * p)), in place */
void soft_b(i64 n, i64 nk, const act *p, act *d)
{
    for (i64 i = 0; i < n; i++, p += nk, d += nk) {
        float q = 0;
        for (i64 j = 0; j < nk; j++) q += ld(p[j]) * ld(d[j]);
        for (i64 j = 0; j < nk; j++) d[j] = st(ld(p[j]) * (ld(d[j]) - q));
    }
}

/* Soft-capped cross entropy; logits are turned in place into their gradient (weights wt include 1/total). */
double xent(i64 n, i64 v, act *l, const i64 *target, const float *wt, float cap)
{
    double loss = 0;
    float z[16384], e[16384];
    for (i64 i = 0; i < n; i++, l += v) {
        float q = 0, ic = 1.0f / cap;
        for (i64 j = 0; j < v; j++) z[j] = tanh_(ld(l[j]) * ic);
        for (i64 j = 0; j < v; j++) { e[j] = expf(cap * z[j] - cap); q += e[j]; }
        i64 t = target[i];
        float w = wt[i], p = w / q;
        loss -= w * (cap * z[t] - cap - logf(q));
        for (i64 j = 0; j < v; j++) e[j] *= p;
        e[t] -= w;
        for (i64 j = 0; j < v; j++) l[j] = st(e[j] * (1.0f - z[j] * z[j]));
    }
    return loss;
}

/* Experts: out[i] = sum_k w[i,k] * ys[pos[i,k]], pos = place of the pair in expert order */
void mix_f(i64 n, i64 k, i64 d, const act *ys, const i64 *pos, const float *w, act *out)
{
    for (i64 i = 0; i < n; i++, out += d) {
        float o[2048] = { 0 };
        for (i64 a = 0; a < k; a++) {
            const act *y = ys + pos[i * k + a] * d;
            float c = w ? w[i * k + a] : 1.0f;
            for (i64 j = 0; j < d; j++) o[j] += c * ld(y[j]);
        }
        for (i64 j = 0; j < d; j++) out[j] = st(o[j]);
    }
}

void mix_b(i64 n, i64 k, i64 d, const act *ys, const i64 *pos, const float *w, const act *dout, act *dys, float *dw)
{
    for (i64 i = 0; i < n; i++, dout += d)
        for (i64 a = 0; a < k; a++) {
            const act *y = ys + pos[i * k + a] * d;
            act *g = dys + pos[i * k + a] * d;
            float c = w[i * k + a], s = 0;
            for (i64 j = 0; j < d; j++) {
                float v = ld(dout[j]);
                s += v * ld(y[j]);
                g[j] = st(c * v);
            }
            dw[i * k + a] = s;
        }
}
