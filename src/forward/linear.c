/* Matrix products over the thread pool. Items are fixed row ranges of the outputs: which thread computes one, and with
 * how many others, changes no bit of it.
 *
 * Integer products over panels read their input as integer tiles (kernels/panel.h). Products of one call that share an input
 * share its tiles; many rows are quantised in parallel, few by the caller. */
#include <string.h>

#include "forward/forward_int.h"
#include "kernels/panel.h"

/* Least multiply-adds of an item: the hand-over stays small beside the work (about a microsecond a core). */
#define ITEM_MACS (24 * 1024)
/* Rows that one token's weights are read in one go. */
#define STREAM_ROWS 512
/* Token rows of one item of the quantisation: whole tiles. */
#define QUANTIZE_ROWS 8

typedef struct {
    ct_forward *f;
    const ct_linear *op;
    int n_op;
} linear_job;

bool ct_in_integers(const ct_forward *f, const ct_matrix *w) { return w->panels && f->k->matmul_panel[w->dtype]; }

static int n_plane(const ct_linear *op) { return op->fine ? 2 : 1; }

/* Rows of one item of the product: whole panels, and whole blocks where tiles are made of them. */
static int64_t grain(const ct_linear *op) {
    const int64_t row_macs = op->w->d_in * op->n_tok * (op->up ? 2 : 1) * n_plane(op), tile = op->up ? CT_X_BLOCK : CT_ROW_TILE;
    return tile * (1 + ITEM_MACS / tile / row_macs);
}

/* Rows [row0, row1) of w times all tokens of the product, to y: [n_tok, row1 - row0] with stride ldy. */
static void product(const ct_forward *f, const ct_linear *op, const uint8_t *xq, const ct_matrix *w, float *y, size_t ldy,
                    int64_t row0, int64_t row1, int thread) {
    const ct_matmul a = {
        .y = y,
        .ldy = ldy,
        .w = w->data + (size_t)row0 * w->row_bytes, /* row0 begins a panel */
        .row_bytes = w->row_bytes,
        .dtype = w->dtype,
        .x = op->x,
        .ldx = (size_t)w->d_in,
        .n_tok = op->n_tok,
        .row0 = 0,
        .row1 = row1 - row0,
        .d_in = w->d_in,
        .scratch = f->scratch + (size_t)thread * f->scratch_stride,
        .xq = xq,
        .n_plane = n_plane(op),
        .panels = w->panels,
    };
    if (w->fine) {
        const ct_split split = {.m = a, .fine = w->fine + (size_t)row0 * w->fine_bytes, .fine_bytes = w->fine_bytes};
        f->k->matmul_split[w->dtype](&split);
        return;
    }
    (ct_in_integers(f, w) ? f->k->matmul_panel : f->k->matmul)[w->dtype](&a);
}

/* Rows of the gated half of a feed-forward, through scratch that stays in the cache. */
static void gated_rows(const ct_forward *f, const ct_linear *op, const uint8_t *xq, int64_t row0, int64_t row1, int thread) {
    const size_t n_row = (size_t)(row1 - row0), n = (size_t)op->n_tok * n_row, d_out = (size_t)op->w->d_out;
    float *gate = f->gated + (size_t)thread * f->gated_stride, *up = gate + n;
    product(f, op, xq, op->w, gate, n_row, row0, row1, thread);
    product(f, op, xq, op->up, up, n_row, row0, row1, thread);
    f->k->gelu_mul(gate, gate, up, (int64_t)n);
    for (int t = 0; t < op->n_tok;) {
        if (op->y_tiles) {
            const int n_t = ct_x_tile(op->n_tok - t, 1);
            uint8_t *tile = op->y_tiles + ct_x_bytes(t, op->w->d_out, 1) + ct_x_bytes(n_t, row0, 1);
            f->k->quantize(tile, gate + (size_t)t * n_row, n_row, n_t, (int64_t)n_row, 1);
            t += n_t;
        } else {
            memcpy(op->y + (size_t)t * d_out + row0, gate + (size_t)t * n_row, n_row * sizeof *gate);
            t++;
        }
    }
}

static void linear_rows(const ct_forward *f, const ct_linear *op, const uint8_t *xq, int64_t row0, int64_t row1, int thread) {
    if (op->up) {
        gated_rows(f, op, xq, row0, row1, thread);
    } else {
        product(f, op, xq, op->w, op->y + row0, op->ldy ? op->ldy : (size_t)op->w->d_out, row0, row1, thread);
    }
}

/* Rows of one step through a piece: one token's weights stream in long runs, more tokens take item by item. */
static int64_t step_rows(const ct_linear *op) {
    const int64_t g = grain(op);
    return op->n_tok > 1 ? g : g > STREAM_ROWS ? g : STREAM_ROWS / g * g;
}

int64_t ct_linear_gated_floats(int n_tok) {
    /* Of n_tok rows, grain() takes n_tok * CT_X_BLOCK values and for the narrowest of inputs ITEM_MACS / 2 more. */
    return 2 * (n_tok * (int64_t)CT_X_BLOCK + ITEM_MACS / 2 + STREAM_ROWS);
}

/* Items [begin, end): of each product they touch, one piece. */
static void linear_range(void *ud, int64_t begin, int64_t end, int thread) {
    const linear_job *job = ud;
    const ct_forward *f = job->f;
    for (int i = ct_find_kind(f->op_item, job->n_op, begin); begin < end; i++) {
        const ct_linear *op = &job->op[i];
        const int64_t last = i + 1 < job->n_op && f->op_item[i + 1] < end ? f->op_item[i + 1] : end, g = grain(op);
        const int64_t row0 = (begin - f->op_item[i]) * g, stop = (last - f->op_item[i]) * g;
        const int64_t row1 = stop < op->w->d_out ? stop : op->w->d_out, step = step_rows(op);
        for (int64_t r = row0; r < row1; r += step) {
            linear_rows(f, op, f->op_xq[i], r, r + step < row1 ? r + step : row1, thread);
        }
        if (last > begin) begin = last;
    }
}

/* Tiles of QUANTIZE_ROWS rows of the product whose input the item belongs to. */
static void quantize_item(void *ud, int64_t item, int thread) {
    const linear_job *job = ud;
    const ct_forward *f = job->f;
    const int i = ct_find_kind(f->op_item, job->n_op, item);
    const ct_linear *op = &job->op[i];
    const int t0 = (int)(item - f->op_item[i]) * QUANTIZE_ROWS;
    const int n = op->n_tok - t0 < QUANTIZE_ROWS ? op->n_tok - t0 : QUANTIZE_ROWS;
    const int64_t d = op->w->d_in;
    (void)thread;
    uint8_t *tile = (uint8_t *)(uintptr_t)f->op_xq[i] + ct_x_bytes(t0, d, n_plane(op)); /* in f->xq: this job's to write */
    f->k->quantize(tile, op->x + (size_t)t0 * (size_t)d, (size_t)d, n, d, n_plane(op));
}

/* Give every integer product its tiles: f->op_xq. */
static void quantize_inputs(ct_forward *f, const ct_linear *op, int n_op) {
    linear_job job = {f, op, n_op};
    size_t used = 0;
    int64_t n_item = 0;
    for (int i = 0; i < n_op; i++) {
        const ct_linear *last = i ? &op[i - 1] : NULL;
        f->op_item[i] = n_item;
        f->op_xq[i] = op[i].x_tiles;
        if (op[i].x_tiles || !op[i].n_tok || !(ct_in_integers(f, op[i].w) || (op[i].up && ct_in_integers(f, op[i].up)))) continue;
        if (last && f->op_xq[i - 1] && last->x == op[i].x && last->n_tok == op[i].n_tok && last->fine == op[i].fine) {
            f->op_xq[i] = f->op_xq[i - 1];
            continue;
        }
        f->op_xq[i] = f->xq + used;
        used += ct_x_bytes(op[i].n_tok, op[i].w->d_in, n_plane(&op[i]));
        n_item += (op[i].n_tok + QUANTIZE_ROWS - 1) / QUANTIZE_ROWS;
    }
    ct_pool_run(f->pool, quantize_item, &job, n_item); /* of one item: by the caller */
}

void ct_linear_run(ct_forward *f, const ct_linear *op, int n_op) {
    linear_job job = {f, op, n_op};
    int64_t n_item = 0;
    quantize_inputs(f, op, n_op);
    for (int i = 0; i < n_op; i++) {
        f->op_item[i] = n_item;
        n_item += op[i].n_tok ? (op[i].w->d_out + grain(&op[i]) - 1) / grain(&op[i]) : 0;
    }
    ct_pool_run_ranges(f->pool, linear_range, &job, n_item);
}

ct_matrix ct_matrix_expert(const ct_matrix *stack, int e) {
    ct_matrix m = *stack;
    m.data += (size_t)e * m.expert_bytes;
    return m;
}
