/* cos and sin of every row's position, for both kinds of attention. The angle is rounded to f32 first, as in transformers:
 * at position 33,000 its rounding is 0.002 radians, more than any other difference. cos and sin are taken in double and
 * rounded, so that every libc gives the same floats; at some 20 ns each that is milliseconds a chunk, so rows are shared
 * out. */
#include <math.h>

#include "forward/forward_int.h"

typedef struct {
    const ct_forward *f;
    int pos;
} rope_job;

static void rope_row(void *ud, int64_t row, int thread) {
    const rope_job *j = ud;
    (void)thread;
    for (int a = 0; a < CT_N_ATTN; a++) {
        const size_t n_rot = (size_t)j->f->w->n_rot[a];
        float *cos_row = j->f->rope_cos[a] + (size_t)row * n_rot, *sin_row = j->f->rope_sin[a] + (size_t)row * n_rot;
        for (size_t i = 0; i < n_rot; i++) {
            const float angle = (float)(j->pos + row) * j->f->w->rope_inv_freq[a][i];
            cos_row[i] = (float)cos((double)angle);
            sin_row[i] = (float)sin((double)angle);
        }
    }
}

void ct_rope_rows(ct_forward *f, int n, int pos) {
    rope_job job = {f, pos};
    ct_pool_run(f->pool, rope_row, &job, n);
}
