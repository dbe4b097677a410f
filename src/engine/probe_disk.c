/* What the disk gives at most: the reads of the experts' cache, as many at a time, and nothing done with them. And how what
 * is mapped comes to be on disk alone. */
#include <stdatomic.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "engine/engine_int.h"
#include "runtime/threads.h"

#define MOST_BYTES ((size_t)2 << 20)

typedef struct {
    const carat_model *m;
    double until_ms;
    uint8_t *buffer;       /* [CT_N_READER, room] */
    size_t room;
    uint64_t seed;
    _Atomic uint64_t bytes;
    _Atomic int rc;
    carat_error err[CT_N_READER];
} disk_job;

static void read_some(void *ud, int64_t item, int thread) {
    disk_job *j = ud;
    const carat_model *m = j->m;
    ct_rng rng;
    (void)thread;
    ct_rng_seed(&rng, j->seed + (uint64_t)item);
    while (ct_now_ms() < j->until_ms && !atomic_load(&j->rc)) {
        const uint64_t layer = ct_rng_u64(&rng) % (uint64_t)m->cfg.n_layer, expert = ct_rng_u64(&rng) % (uint64_t)m->cfg.n_expert;
        const ct_expert_part *p = &m->place->expert_layer[layer].part[ct_rng_u64(&rng) % CT_EXPERT_PARTS];
        size_t n = (size_t)p->n_row * p->row_bytes;
        if (n > MOST_BYTES) n = MOST_BYTES;
        const int rc = ct_direct_read(p->file, p->offset + expert * p->stride, n, j->buffer + (size_t)item * j->room, &j->err[item]);
        if (rc) atomic_store(&j->rc, rc);
        else atomic_fetch_add(&j->bytes, n);
    }
}

int carat_model_probe_disk(const carat_model *m, double ms, double *bytes_s, carat_error *err) {
    *bytes_s = 0.0;
    if (!m->place || !m->place->experts) return CT_FAIL(err, CARAT_EUNSUPPORTED, "disk probe: no experts are streamed");
    disk_job *j = ct_alloc(sizeof *j);
    ct_pool *pool = NULL;
    if (!j) return CT_FAIL(err, CARAT_ENOMEM, "disk probe: out of memory");
    j->m = m;
    j->room = ct_direct_room(MOST_BYTES);
    j->buffer = ct_map_anonymous(j->room * CT_N_READER);
    j->seed = ct_entropy();
    int rc = j->buffer ? 0 : CT_FAIL(err, CARAT_ENOMEM, "disk probe: out of memory");
    if (!rc) rc = ct_pool_new(&pool, CT_N_READER, err);
    if (!rc) {
        const double start = ct_now_ms();
        j->until_ms = start + ms;
        ct_pool_run(pool, read_some, j, CT_N_READER);
        *bytes_s = 1e3 * (double)atomic_load(&j->bytes) / (ct_now_ms() - start);
        for (int i = 0; i < CT_N_READER && !rc; i++) rc = j->err[i].code ? CT_FAIL(err, CARAT_EIO, "%s", j->err[i].msg) : 0;
    }
    ct_pool_free(&pool);
    ct_unmap_anonymous(j->buffer, j->room * CT_N_READER);
    ct_free(j);
    return rc;
}

int carat_model_evict_ple(const carat_model *m, uint64_t *left, carat_error *err) {
    const ct_matrix *t = &m->weights.per_layer_token_embd;
    *left = 0;
    if (!m->has_weights || !m->cfg.d_ple) return CT_FAIL(err, CARAT_EUNSUPPORTED, "no table of per-layer embeddings is open");
    uint64_t offset;
    const int i = ct_source_locate(&m->source, t->data, &offset);
    *left = ct_map_evict(ct_source_file(&m->source, i), (size_t)offset, (size_t)t->d_out * t->row_bytes);
    return 0;
}
