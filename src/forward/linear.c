/* Matrix products over the thread pool, and row norms. Items are fixed row ranges of the outputs: which thread computes
 * one, and with how many others, changes no bit of it. */
#include "forward/forward_int.h"

#define MAX_OP 4

typedef struct {
    const ct_forward *f;
    const ct_linear *op;
    int n_op;
    int64_t grain;               /* rows of an item */
    int64_t first_item[MAX_OP];  /* of each product */
} linear_job;

static void linear_item(void *ud, int64_t item, int thread) {
    const linear_job *job = ud;
    int i = job->n_op - 1;
    while (item < job->first_item[i]) i--;
    const ct_linear *op = &job->op[i];
    const int64_t row0 = (item - job->first_item[i]) * job->grain;
    const int64_t row1 = row0 + job->grain < op->w->d_out ? row0 + job->grain : op->w->d_out;
    const ct_matmul a = {
        .y = op->y,
        .ldy = (size_t)op->w->d_out,
        .w = op->w->data,
        .row_bytes = op->w->row_bytes,
        .dtype = op->w->dtype,
        .x = op->x,
        .ldx = (size_t)op->w->d_in,
        .n_tok = op->n_tok,
        .row0 = row0,
        .row1 = row1,
        .d_in = op->w->d_in,
        .scratch = job->f->scratch + (size_t)thread * job->f->scratch_stride,
    };
    job->f->k->matmul[a.dtype](&a);
}

void ct_linear_run(ct_forward *f, const ct_linear *op, int n_op) {
    linear_job job = {.f = f, .op = op, .n_op = n_op};
    /* A single token makes light rows: larger items keep the hand-over small beside the work. */
    job.grain = op[0].n_tok == 1 ? 4 * CT_ROW_TILE : CT_ROW_TILE;
    int64_t n_item = 0;
    for (int i = 0; i < n_op; i++) {
        job.first_item[i] = n_item;
        n_item += op[i].n_tok ? (op[i].w->d_out + job.grain - 1) / job.grain : 0;
    }
    ct_pool_run(f->pool, linear_item, &job, n_item);
}

ct_matrix ct_matrix_expert(const ct_matrix *stack, int e) {
    ct_matrix m = *stack;
    m.data += (size_t)e * m.expert_bytes;
    return m;
}

void ct_norm_rows(const ct_forward *f, float *y, const float *x, const float *w, int n_row, int d) {
    for (int r = 0; r < n_row; r++) f->k->rms_norm(y + (size_t)r * (size_t)d, x + (size_t)r * (size_t)d, w, d, f->cfg->rms_eps);
}

void ct_norm_add_rows(const ct_forward *f, float *x, float *y, const float *w, int n_row, int d) {
    ct_norm_rows(f, y, y, w, n_row, d);
    f->k->axpy(x, 1.0f, y, (int64_t)n_row * d);
}
