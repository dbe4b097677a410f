/* The dispatch table: one row per operation. ct_kernels_init fills it with the portable reference (ref/, the
 * definition of correct, always linked) and then lets the best instruction set of this CPU, up to a cap, overwrite
 * entries. Forward code calls through the table and never names an instruction set or a quantisation type.
 *
 * Two arithmetics for products with quantised weights. `matmul` decodes weights to f32 and adds in f32: what a type
 * means, and what level ref computes. `matmul_panel` multiplies integers (panel.h): weights laid out as panels,
 * activations quantised by `quantize`; every level above ref has it. The first is the measure of the second.
 *
 * Rules for every kernel: pure (no allocation, threads, I/O, globals); pointers do not alias unless said; float
 * buffers need no alignment beyond 4; a result element depends on its own inputs only, in an order of additions that
 * is fixed by the shape - never on how rows and tokens were tiled or split. So the answer is the same for any number
 * of threads and any chunking. Levels return the same bits as the portable definition of the arithmetic they use
 * (fused multiply-adds only where written: -ffp-contract=off), which tests/kernels checks with memcmp. */
#ifndef CT_KERNELS_KERNELS_H
#define CT_KERNELS_KERNELS_H

#include <float.h>
#include <stdbool.h>

#include "base/dtype.h"

/* Order of additions of every dot product: CT_LANES partial sums, lane l takes elements l, l + CT_LANES, …; the lanes
 * are then added as a tree (l + l+8, l + l+4, l + l+2, l + l+1). */
#define CT_LANES 16
/* Row ranges handed to a product should be multiples of this (the last one may be short). */
#define CT_ROW_TILE 16

/* y[t * ldy + r] = sum_i w[r, i] * x[t, i]   for r in [row0, row1), t in [0, n_tok).
 * w: [d_out, d_in] of `dtype`, rows row_bytes apart, or the same rows as panels; y: [n_tok, d_out] f32.
 * matmul reads x: [n_tok, d_in] f32; matmul_panel reads xq, the same rows as tiles of n_plane planes. */
typedef struct {
    float *y;
    size_t ldy;
    const uint8_t *w;
    size_t row_bytes;
    ct_dtype dtype;
    const float *x;      /* matmul */
    size_t ldx;
    int n_tok;
    int64_t row0, row1;
    int64_t d_in;        /* multiple of the dtype's block length */
    float *scratch;      /* matmul: ct_matmul_scratch(d_in) floats, of the calling thread */
    const uint8_t *xq;   /* matmul_panel */
    int n_plane;         /* of xq: 1 or 2 */
    bool panels;         /* matmul: w lies as panels, which only level ref is given */
} ct_matmul;

/* A product with rows split in two planes (panel.h). */
typedef struct {
    ct_matmul m;          /* w, row_bytes: the coarse plane; xq */
    const uint8_t *fine;  /* the other plane */
    size_t fine_bytes;    /* of a row of it */
    const int32_t *span;  /* matmul_above: ct_x_span of the token */
    float tau;            /* matmul_above */
} ct_split;

/* Floats of scratch that matmul needs for rows of d_in values. */
size_t ct_matmul_scratch(int64_t d_in);

/* Attention goes in spans of CT_SPAN positions, cut at the multiples of CT_SPAN. The softmax of a span is computed by
 * itself, and spans are merged in ascending order: so a query's result depends neither on the queries beside it nor on
 * who computed which span. Within a span, for the keys j a query sees, ascending:
 *   s[j] = scale * (the sum of q[d] * k[j][d] by fused multiply-adds, d ascending, blocks of CT_ATTEND_BLOCK added up)
 *   max  = largest s[j];  p[j] = exp(s[j] - max);  sum = p[j] in lane j % CT_LANES, lanes added as a tree
 *   acc  = p[j] * v[j] + acc, by fused multiply-add */
#define CT_SPAN 192
#define CT_ATTEND_BLOCK 128
/* Most queries of a tile of queries. */
#define CT_ATTEND_TILE 32

/* The cache of one KV head lies in tiles of CT_LANES positions: position p in lane p % CT_LANES of tile
 * p % cap / CT_LANES, cap a multiple of CT_LANES. A tile takes the bytes of CT_LANES rows of d_head values, d_head
 * rounded up to whole lanes. Keys are transposed, so that one value of all the tile's keys is a vector; values are not:
 *   F32, F16   keys [d_head][CT_LANES], values [CT_LANES][d_head up to whole lanes]
 *   Q8_0       keys, for each 32 of d_head: scales f16 [CT_LANES], int8 [32][CT_LANES];
 *              values: scales f16 [d_head / 32][CT_LANES], int8 [CT_LANES][d_head]; d_head is a multiple of 32
 * and are what these types make of a row. */

/* A tile of queries: n_head query heads that share one KV head, of n_tok tokens at consecutive positions. The keys of
 * position pos - window + 1 (0 without a window) up to pos + n_tok - 1 are held. */
typedef struct {
    const float *q;    /* head h of token t at q + t * ldq + h * d_head: [d_head] f32, norm and rope applied */
    size_t ldq;
    int n_tok, n_head; /* n_tok * n_head <= CT_ATTEND_TILE */
    int64_t pos;       /* of the first token; the token at p sees the keys of (p - window, p] */
    int64_t window;    /* 0: sees all keys up to its own */
    const void *k, *v; /* tile 0 */
    size_t tile_bytes;
    ct_dtype kv;
    int64_t cap;
    int d_head;
    float scale;
    float *scratch;    /* ct_attend_scratch(d_head) floats, of the calling thread */
} ct_attend;

size_t ct_attend_scratch(int d_head);

#define CT_ATTEND_NONE {-FLT_MAX, 0.0f}

/* The softmax of one query over one span: max, sum, and behind CT_LANES floats acc[d_head]. A query that sees no key of
 * the span has max = -INFINITY, and its sum and acc are not written. */
static inline size_t ct_attend_part(int d_head) {
    return CT_LANES + ((size_t)d_head + CT_LANES - 1) / CT_LANES * CT_LANES;
}

typedef struct ct_kernels {
    const char *level; /* "ref", "avx2", … */

    void (*matmul[CT_N_WEIGHT_DTYPE])(const ct_matmul *a);
    /* NULL where the level or the type has no panels. */
    void (*matmul_panel[CT_N_WEIGHT_DTYPE])(const ct_matmul *a);
    /* The same bits from split rows. NULL where the level or the type has none. */
    void (*matmul_split[CT_N_WEIGHT_DTYPE])(const ct_split *a);
    /* One token, row0 a multiple of CT_ROW_TILE: panels in which every row is surely below tau, by the coarse plane alone,
     * become -INFINITY; the others get matmul_split's bits. Returns how many of these there were. */
    int64_t (*matmul_above[CT_N_WEIGHT_DTYPE])(const ct_split *a);
    /* n_tok rows of x, [n_tok, d_in] f32 with stride ldx, to tiles: ct_x_bytes(n_tok, d_in, n_plane). d_in is a
     * multiple of CT_X_BLOCK. */
    void (*quantize)(uint8_t *xq, const float *x, size_t ldx, int n_tok, int64_t d_in, int n_plane);
    /* part: [n_tok, n_head, ct_attend_part(d_head)], of the keys in [span, span + 1) * CT_SPAN. */
    void (*attend)(float *part, const ct_attend *a, int64_t span);
    /* Add the span of `part` to what acc[d_head], max_sum[2] hold; before the first, acc is zero and max_sum is
     * CT_ATTEND_NONE. The attention's result is acc / sum. */
    void (*attend_merge)(float *acc, float max_sum[2], const float *part, int d_head);

    /* y = x * (mean(x^2) + eps)^-1/2 * w; x, y: [n], may alias; w: [n] or NULL for no weight. */
    void (*rms_norm)(float *y, const float *x, const float *w, int64_t n, float eps);
    /* y = gelu_tanh(gate) * up; [n]; y may alias either. */
    void (*gelu_mul)(float *y, const float *gate, const float *up, int64_t n);
    /* Rotate pairs (i, i + d_head/2) for i < n_rot: x: [d_head]; cos, sin: [n_rot]. */
    void (*rope)(float *x, const float *cos, const float *sin, int n_rot, int d_head);
    /* x[0,n) = softmax(x). */
    void (*softmax)(float *x, int64_t n);
    /* y += a * x; [n] */
    void (*axpy)(float *y, float a, const float *x, int64_t n);
    /* y = a * x; [n]; may alias */
    void (*scale)(float *y, float a, const float *x, int64_t n);
    /* x = cap * tanh(x / cap); [n] */
    void (*softcap)(float *x, float cap, int64_t n);
    /* A row x[d_head] into a lane of a cache tile. A block of Q8_0 with a value that is not finite becomes NaN. */
    void (*store_key)(void *tile, ct_dtype kv, int lane, const float *x, int d_head);
    void (*store_value)(void *tile, ct_dtype kv, int lane, const float *x, int d_head);
} ct_kernels;

typedef enum {
    CT_CPU_REF = 0,     /* f32 on decoded weights */
    CT_CPU_PORTABLE,    /* integer arithmetic in plain C */
    CT_CPU_AVX2,
    CT_CPU_AVXVNNI,     /* AVX2 with 256-bit dot products */
    CT_CPU_AVX512,      /* F, BW, VL, DQ */
    CT_CPU_AVX512VNNI,
    CT_CPU_NEON,
    CT_CPU_DOTPROD,
    CT_CPU_I8MM,
    CT_N_CPU
} ct_cpu_level;

/* Best level this machine and build can run. */
ct_cpu_level ct_cpu_best(void);
/* Whether this machine and build can run the level. */
bool ct_cpu_has(ct_cpu_level level);
const char *ct_cpu_name(ct_cpu_level level);
/* A name of ct_cpu_name to its level; false for others. */
bool ct_cpu_parse(const char *name, ct_cpu_level *out);

/* cap must be a level ct_cpu_has says yes to. */
void ct_kernels_init(ct_kernels *k, ct_cpu_level cap);

/* Each instruction set's part of init (private to the room). */
void ct_kernels_ref(ct_kernels *k);
void ct_kernels_ref_attend(ct_kernels *k); /* called by the one above */
void ct_kernels_portable(ct_kernels *k);
void ct_kernels_avx2(ct_kernels *k);
void ct_kernels_avxvnni(ct_kernels *k);
void ct_kernels_avx512(ct_kernels *k);
void ct_kernels_avx512vnni(ct_kernels *k);
void ct_kernels_neon(ct_kernels *k);
void ct_kernels_dotprod(ct_kernels *k);
void ct_kernels_i8mm(ct_kernels *k);

#endif
