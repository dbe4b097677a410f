/* Work on rows of activations: norms, residuals, scales, over the pool where there are enough rows to share. Rows are
 * independent of each other. These open a parallel region: never call them from inside one. */
#include "forward/forward_int.h"

/* Rows of an item: work enough to hand over. */
#define ROWS 8

typedef struct {
    const ct_forward *f;
    float *x, *y;
    const float *w;
    int n_row, d;
    float a;
} rows_job;

static void run(const ct_forward *f, ct_work_fn fn, rows_job *j) {
    ct_pool_run(f->pool, fn, j, (j->n_row + ROWS - 1) / ROWS);
}

static void norm_item(void *ud, int64_t item, int thread) {
    const rows_job *j = ud;
    (void)thread;
    for (int64_t r = item * ROWS; r < (item + 1) * ROWS && r < j->n_row; r++) {
        const size_t at = (size_t)r * (size_t)j->d;
        j->f->k->rms_norm(j->y + at, j->x + at, j->w, j->d, j->f->cfg->rms_eps);
    }
}

static void norm_add_item(void *ud, int64_t item, int thread) {
    const rows_job *j = ud;
    (void)thread;
    for (int64_t r = item * ROWS; r < (item + 1) * ROWS && r < j->n_row; r++) {
        const size_t at = (size_t)r * (size_t)j->d;
        j->f->k->rms_norm(j->y + at, j->y + at, j->w, j->d, j->f->cfg->rms_eps);
        j->f->k->axpy(j->x + at, 1.0f, j->y + at, j->d);
    }
}

void ct_norm_rows(const ct_forward *f, float *y, const float *x, const float *w, int n_row, int d) {
    rows_job j = {f, (float *)(uintptr_t)x, y, w, n_row, d, 0}; /* x is only read */
    run(f, norm_item, &j);
}

void ct_norm_add_rows(const ct_forward *f, float *x, float *y, const float *w, int n_row, int d) {
    rows_job j = {f, x, y, w, n_row, d, 0};
    run(f, norm_add_item, &j);
}

static void scale_item(void *ud, int64_t item, int thread) {
    const rows_job *j = ud;
    const int64_t first = item * ROWS, n = j->n_row - first < ROWS ? j->n_row - first : ROWS;
    float *x = j->x + (size_t)first * (size_t)j->d;
    (void)thread;
    j->f->k->scale(x, j->a, x, n * j->d);
}

void ct_scale_rows(const ct_forward *f, float *x, float a, int n_row, int d) {
    rows_job j = {f, x, NULL, NULL, n_row, d, a};
    run(f, scale_item, &j);
}
