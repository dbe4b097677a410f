/* Attention of one layer (REF gemma4-spec 2.5-2.9; transformers Gemma4TextAttention).
 *
 * q, k: per-head RMS norm with weight, then rope. v: per-head RMS norm without weight, no rope (Gemma 4). A K=V layer
 * takes v from the raw k projection, before its norm and rope. Layers without keys of their own read the store of
 * their source layer, the current chunk's keys included (the source ran earlier in this chunk).
 *
 * The scores' work is cut into tiles of queries (heads of one KV head, a few consecutive tokens). With many tiles
 * (prefill) a thread takes a tile through all spans of keys. With few (decoding) every span of every tile is an item of
 * its own, in rounds of as many as f->part holds. Both merge a query's spans in ascending order: the same bits. */
#include <string.h>

#include "forward/forward_int.h"

_Static_assert(CT_KV_TILE == CT_LANES, "the cache's tiles are the kernels'");

/* ---- norm, rope, cache -------------------------------------------------------------------------------- */

typedef struct {
    const ct_forward *f;
    const ct_layer_config *l;
    const ct_layer_weights *w;
    ct_kv_store *store;
    int r0, n, pos;
    int n_kv; /* the first n_kv items are tiles of keys and values, the others rows of queries from r0 on */
} rows_job;

/* Norm and rope of all heads of one row, in place. */
static void norm_rope(const ct_forward *f, const ct_layer_config *l, float *x, int n_head, const float *weight, int row) {
    const int n_rot = f->w->n_rot[l->attn];
    const float *cos = f->rope_cos[l->attn] + (size_t)row * (size_t)n_rot;
    const float *sin = f->rope_sin[l->attn] + (size_t)row * (size_t)n_rot;
    for (int h = 0; h < n_head; h++) {
        float *head = x + (size_t)h * (size_t)l->d_head;
        f->k->rms_norm(head, head, weight, l->d_head, f->cfg->rms_eps);
        f->k->rope(head, cos, sin, n_rot, l->d_head);
    }
}

static void kv_row(const rows_job *j, int row) {
    const ct_forward *f = j->f;
    const int d = j->l->d_head, n_head = j->l->n_head_kv, lane = (j->pos + row) % CT_KV_TILE;
    const int64_t pos = j->pos + row;
    const size_t width = (size_t)n_head * (size_t)d;
    float *k = f->kx + (size_t)row * width, *v = f->vx + (size_t)row * width;
    if (j->l->v_from_k) memcpy(v, k, width * sizeof *v);
    norm_rope(f, j->l, k, n_head, j->w->attn_k_norm, row);
    for (int h = 0; h < n_head; h++, k += d, v += d) {
        if (f->cfg->v_norm) f->k->rms_norm(v, v, NULL, d, f->cfg->rms_eps);
        f->k->store_key(ct_kv_tile(j->store, j->store->k, pos, h), f->kv.type, lane, k, d);
        f->k->store_value(ct_kv_tile(j->store, j->store->v, pos, h), f->kv.type, lane, v, d);
    }
}

static void rows_item(void *ud, int64_t item, int thread) {
    const rows_job *j = ud;
    (void)thread;
    if (item < j->n_kv) {
        /* All of a tile by one thread: its positions share lines of the processor's cache. */
        const int from = (j->pos / CT_KV_TILE + (int)item) * CT_KV_TILE - j->pos;
        for (int r = from > 0 ? from : 0; r < from + CT_KV_TILE && r < j->n; r++) kv_row(j, r);
        return;
    }
    const int row = j->r0 + (int)item - j->n_kv;
    norm_rope(j->f, j->l, j->f->q + (size_t)row * (size_t)(j->l->n_head * j->l->d_head), j->l->n_head, j->w->attn_q_norm, row);
}

/* ---- scores and values -------------------------------------------------------------------------------- */

typedef struct {
    const ct_forward *f;
    const ct_layer_config *l;
    const ct_kv_store *store;
    int r0, n, pos;
    int n_group;             /* query heads of a KV head */
    int n_head, n_tok;       /* of a full tile */
    int n_part_head;         /* tiles that share a KV head and a token */
    int n_tile;
    int64_t span0, span1;    /* the round's spans */
    bool first, last;        /* round */
} attend_job;

/* Which heads and rows the tile holds. */
typedef struct {
    int h, n_head, h_kv, row, n_tok;
} tile_place;

static int min_int(int a, int b) { return a < b ? a : b; }

static tile_place place_of(const attend_job *j, int tile) {
    const int per_row = j->l->n_head_kv * j->n_part_head, column = tile % per_row;
    tile_place t = {.h_kv = column / j->n_part_head, .row = j->r0 + tile / per_row * j->n_tok};
    const int h = column % j->n_part_head * j->n_head;
    t.h = t.h_kv * j->n_group + h;
    t.n_head = min_int(j->n_head, j->n_group - h);
    t.n_tok = min_int(j->n_tok, j->n - t.row);
    return t;
}

static int64_t window_of(const attend_job *j) { return j->l->attn == CT_ATTN_SLIDING ? j->f->cfg->w_swa : 0; }

/* Spans [*from, *to) of the tokens of rows [row, row + n_tok). */
static void spans_of(const attend_job *j, int row, int n_tok, int64_t *from, int64_t *to) {
    const int64_t first = (int64_t)j->pos + row, w = window_of(j);
    *from = w && first - w + 1 > 0 ? (first - w + 1) / CT_SPAN : 0;
    *to = (first + n_tok - 1) / CT_SPAN + 1;
}

static float *head_of(const attend_job *j, float *x, int row, int h) {
    return x + ((size_t)row * (size_t)j->l->n_head + (size_t)h) * (size_t)j->l->d_head;
}

/* Where the output of query i of a tile goes. */
static float *out_of(const attend_job *j, const tile_place *t, int i) {
    return head_of(j, j->f->heads, t->row + i / t->n_head, t->h + i % t->n_head);
}

static ct_attend attend_of(const attend_job *j, const tile_place *t, int thread) {
    return (ct_attend){
        .q = head_of(j, j->f->q, t->row, t->h),
        .ldq = (size_t)j->l->n_head * (size_t)j->l->d_head,
        .n_tok = t->n_tok,
        .n_head = t->n_head,
        .pos = (int64_t)j->pos + t->row,
        .window = window_of(j),
        .k = ct_kv_tile(j->store, j->store->k, 0, t->h_kv),
        .v = ct_kv_tile(j->store, j->store->v, 0, t->h_kv),
        .tile_bytes = j->store->tile_bytes,
        .kv = j->f->kv.type,
        .cap = j->store->cap,
        .d_head = j->l->d_head,
        .scale = j->f->cfg->attn_scale,
        .scratch = j->f->attend_scratch + (size_t)thread * j->f->attend_stride,
    };
}

static void begin(const attend_job *j, float *out, float max_sum[2]) {
    static const float none[2] = CT_ATTEND_NONE;
    memset(out, 0, (size_t)j->l->d_head * sizeof *out);
    memcpy(max_sum, none, sizeof none);
}

static void finish(const attend_job *j, float *out, const float max_sum[2]) {
    j->f->k->scale(out, 1.0f / max_sum[1], out, j->l->d_head);
}

/* A tile through all its spans. */
static void tile_item(void *ud, int64_t item, int thread) {
    const attend_job *j = ud;
    const tile_place t = place_of(j, (int)item);
    const ct_attend a = attend_of(j, &t, thread);
    const size_t ld = ct_attend_part(j->l->d_head);
    const int n_q = t.n_tok * t.n_head;
    float *part = j->f->part + (size_t)thread * CT_ATTEND_TILE * ld, max_sum[CT_ATTEND_TILE][2];
    int64_t from, to;
    spans_of(j, t.row, t.n_tok, &from, &to);
    for (int i = 0; i < n_q; i++) begin(j, out_of(j, &t, i), max_sum[i]);
    for (int64_t s = from; s < to; s++) {
        j->f->k->attend(part, &a, s);
        for (int i = 0; i < n_q; i++) j->f->k->attend_merge(out_of(j, &t, i), max_sum[i], part + (size_t)i * ld, j->l->d_head);
    }
    for (int i = 0; i < n_q; i++) finish(j, out_of(j, &t, i), max_sum[i]);
}

/* Part of query i of a tile over span s of the round: [n_tile, n_head * n_tok, spans of a round]. */
static float *part_at(const attend_job *j, int tile, int i, int64_t s) {
    const int64_t slot = ((int64_t)tile * (j->span1 - j->span0) + s) * (j->n_head * j->n_tok) + i;
    return j->f->part + (size_t)slot * ct_attend_part(j->l->d_head);
}

/* One span of one tile, into its place of f->part. */
static void span_item(void *ud, int64_t item, int thread) {
    const attend_job *j = ud;
    const int64_t n_span = j->span1 - j->span0;
    const int tile = (int)(item / n_span);
    const tile_place t = place_of(j, tile);
    const ct_attend a = attend_of(j, &t, thread);
    j->f->k->attend(part_at(j, tile, 0, item % n_span), &a, j->span0 + item % n_span);
}

/* One query's spans of the round. */
static void merge_item(void *ud, int64_t item, int thread) {
    const attend_job *j = ud;
    const int n_q = j->n_head * j->n_tok, tile = (int)(item / n_q), i = (int)(item % n_q);
    const tile_place t = place_of(j, tile);
    (void)thread;
    if (i >= t.n_head * t.n_tok) return; /* the last tile of a row or column may be smaller */
    float *out = out_of(j, &t, i), *max_sum = j->f->max_sum + 2 * item;
    if (j->first) begin(j, out, max_sum);
    for (int64_t s = 0; s < j->span1 - j->span0; s++) j->f->k->attend_merge(out, max_sum, part_at(j, tile, i, s), j->l->d_head);
    if (j->last) finish(j, out, max_sum);
}

/* Choose the tiles and run them. */
static void attend_rows(ct_forward *f, attend_job *j) {
    const int n_row = j->n - j->r0, wanted = 2 * f->o.n_threads;
    int64_t from, to;
    spans_of(j, j->r0, n_row, &from, &to);
    j->n_group = j->l->n_head / j->l->n_head_kv;
    j->n_head = min_int(j->n_group, CT_ATTEND_TILE);
    j->n_tok = min_int(CT_ATTEND_TILE / j->n_head, n_row);
    for (;;) {
        j->n_part_head = (j->n_group + j->n_head - 1) / j->n_head;
        j->n_tile = (n_row + j->n_tok - 1) / j->n_tok * j->l->n_head_kv * j->n_part_head;
        /* Rows read twice cost less than threads with nothing to do. */
        if (j->n_tile * (to - from) >= wanted || j->n_head <= 4) break;
        j->n_head = (j->n_head + 1) / 2;
    }
    const int64_t round = f->n_part / ((int64_t)j->n_tile * j->n_head * j->n_tok);
    if (j->n_tile >= wanted || to - from == 1 || round < 2) {
        ct_pool_run(f->pool, tile_item, j, j->n_tile);
        return;
    }
    for (int64_t s = from; s < to; s = j->span1) {
        j->span0 = s;
        j->span1 = s + round < to ? s + round : to;
        j->first = s == from;
        j->last = j->span1 == to;
        ct_pool_run(f->pool, span_item, j, j->n_tile * (j->span1 - s));
        ct_pool_run(f->pool, merge_item, j, (int64_t)j->n_tile * j->n_head * j->n_tok);
    }
}

/* ---- the block ---------------------------------------------------------------------------------------- */

void ct_attention(ct_forward *f, int il, int r0, int n, int pos) {
    const ct_layer_config *l = &f->cfg->layer[il];
    const ct_layer_weights *w = &f->w->layer[il];
    const bool owner = l->kv_layer == il;
    const int d = f->cfg->d_model, d_q = l->n_head * l->d_head, d_kv = l->n_head_kv * l->d_head;
    const int r_in = owner ? 0 : r0; /* keys and values are needed of every row */
    ct_kv_store *store = &f->kv.store[f->kv_store[il]];

    ct_norm_rows(f, f->xn + (size_t)r_in * (size_t)d, f->x + (size_t)r_in * (size_t)d, w->attn_norm, n - r_in, d);
    ct_tap(f, il, "attn_norm", f->xn, n, d);

    ct_linear op[3];
    int n_op = 0;
    op[n_op++] = (ct_linear){.y = f->q + (size_t)r0 * (size_t)d_q, .w = &w->attn_q, .x = f->xn + (size_t)r0 * (size_t)d, .n_tok = n - r0};
    if (owner) op[n_op++] = (ct_linear){.y = f->kx, .w = &w->attn_k, .x = f->xn, .n_tok = n};
    if (owner && !l->v_from_k) op[n_op++] = (ct_linear){.y = f->vx, .w = &w->attn_v, .x = f->xn, .n_tok = n};
    ct_profile_step(f->profile, CARAT_STEP_PROJECTIONS);
    ct_linear_run(f, op, n_op);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    if (owner) ct_kv_advance(&f->kv, pos, n);
    rows_job rows = {f, l, w, store, r0, n, pos, owner ? (pos + n - 1) / CT_KV_TILE - pos / CT_KV_TILE + 1 : 0};
    if (n == 1) { /* lighter than handing it over */
        for (int i = 0; i < rows.n_kv + n - r0; i++) rows_item(&rows, i, 0);
    } else {
        ct_pool_run(f->pool, rows_item, &rows, rows.n_kv + n - r0);
    }
    if (owner) {
        ct_tap(f, il, "k", f->kx, n, d_kv);
        ct_tap(f, il, "v", f->vx, n, d_kv);
    }
    if (r0 == n) return;
    ct_tap(f, il, "q", f->q, n, d_q);
    ct_profile_step(f->profile, CARAT_STEP_ATTENTION);
    attend_job job = {.f = f, .l = l, .store = store, .r0 = r0, .n = n, .pos = pos};
    attend_rows(f, &job);
    ct_profile_step(f->profile, CARAT_STEP_PROJECTIONS);
    ct_tap(f, il, "attn_heads", f->heads, n, d_q);

    op[0] = (ct_linear){.y = f->y + (size_t)r0 * (size_t)d, .w = &w->attn_output, .x = f->heads + (size_t)r0 * (size_t)d_q, .n_tok = n - r0};
    ct_linear_run(f, op, 1);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    ct_tap(f, il, "attn_out", f->y, n, d);
    ct_norm_add_rows(f, f->x + (size_t)r0 * (size_t)d, f->y + (size_t)r0 * (size_t)d, w->post_attention_norm, n - r0, d);
    ct_tap(f, il, "attn_resid", f->x, n, d);
}
