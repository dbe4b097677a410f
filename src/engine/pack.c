/* Weights in memory. Matrices whose type has an integer kernel are copied once, when the first session of a model is
 * made, into panels in anonymous memory (kernels/panel.h): the same number of bytes in another order. Without a ceiling they come
 * from the mapped file, whose pages are released piece by piece as they are read, and all else stays mapped. Under one
 * every matrix is read into memory past the page cache, piece by piece: no tensor is held twice, and afterwards nobody reads
 * the mapping any more.
 *
 * The output head of a model with tied embeddings is packed like any matrix. The rows for lookup stay mapped, and only the
 * few that a text touches become resident; under a ceiling they are gathered from the head. */
#include "engine/pack.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "kernels/panel.h"
#include "runtime/threads.h"

/* Source bytes of one work item, at most where a panel is smaller. */
#define ITEM_BYTES ((size_t)512 << 10)
/* Threads that read past the page cache: they wait for the disk more than they work. */
#define N_READER 8

typedef struct {
    ct_matrix src;
    uint8_t *dst, *fine;  /* fine: NULL, or where the second plane goes; dst is then the first */
    bool copy;            /* as it lies */
    int64_t n_expert, item_rows, items_per_expert;
} job;

typedef struct {
    job *job;
    int64_t *first_item; /* [n] of each job */
    int n;
    uint64_t bytes;
    size_t item_bytes;   /* of the largest item */
    bool count_only;
    const ct_pack_opts *o;
    uint8_t *memory;
    uint8_t *buffer;     /* [n_threads, buffer_bytes] for direct reads */
    size_t buffer_bytes;
    _Atomic int rc;      /* of the first item that failed; then the others are left out */
    carat_error err;
    pthread_mutex_t lock; /* over err */
} job_list;

static bool gains(const ct_matrix *m, const ct_kernels *k) { return !m->panels && k->matmul_panel[m->dtype]; }

/* The two planes of a split matrix lie one behind the other. */
static void split_matrix(ct_matrix *m, job *j) {
    const size_t coarse = ct_split_coarse_bytes(m->dtype, m->d_in);
    j->fine = j->dst + ct_panel_bytes(m->d_out, coarse);
    m->row_bytes = coarse;
    m->fine = j->fine;
    m->fine_bytes = ct_split_fine_bytes(m->dtype, m->d_in);
}

/* Count or take matrix m (experts: n_expert of them); where taken, m becomes its self in memory. as_rows: it is read by rows,
 * and stays so. */
static void visit(job_list *l, ct_matrix *m, int64_t n_expert, const ct_kernels *k, bool split, bool as_rows) {
    if (!m->data) return;
    const bool copy = as_rows || !gains(m, k);
    if (copy && !as_rows && !l->o->all) return;
    if (!n_expert) n_expert = 1;
    const size_t one = copy ? (size_t)m->d_out * m->row_bytes : ct_panel_bytes(m->d_out, m->row_bytes);
    const int64_t most = (int64_t)(ITEM_BYTES / (m->row_bytes * CT_PANEL_ROWS)) * CT_PANEL_ROWS;
    const int64_t item_rows = most > CT_PANEL_ROWS ? most : CT_PANEL_ROWS;
    const size_t item_bytes = (size_t)(item_rows < m->d_out ? item_rows : m->d_out) * m->row_bytes;
    if (item_bytes > l->item_bytes) l->item_bytes = item_bytes;
    if (!l->count_only) {
        job *j = &l->job[l->n];
        *j = (job){.src = *m, .dst = l->memory + l->bytes, .copy = copy, .n_expert = n_expert, .item_rows = item_rows};
        j->items_per_expert = (m->d_out + item_rows - 1) / item_rows;
        m->data = j->dst;
        m->panels = m->panels || !copy;
        if (m->expert_bytes) m->expert_bytes = one;
        if (split && !copy && k->matmul_split[m->dtype]) split_matrix(m, j);
    }
    l->n++;
    l->bytes += ((uint64_t)n_expert * one + 63) & ~UINT64_C(63);
}

/* The embedding of tied models is the head, unless that is split; else it is a table of its own. */
static void visit_embedding(job_list *l, ct_weights *w, const ct_kernels *k) {
    if (!l->o->all) return;
    if (w->tied && !(l->o->split_head && k->matmul_split[w->token_embd.dtype])) {
        w->token_embd = w->output;
    } else {
        visit(l, &w->token_embd, 0, k, false, true);
    }
}

/* Experts' matrices come in stacks. */
static void visit_all(job_list *l, ct_weights *w, const ct_config *c, const ct_kernels *k) {
    for (int i = 0; i < c->n_layer; i++) {
        ct_layer_weights *lw = &w->layer[i];
#define NORM(field)
#define MAT(field) \
    if (!lw->field.expert_bytes || !l->o->no_experts) visit(l, &lw->field, lw->field.expert_bytes ? c->n_expert : 0, k, false, false);
#define X(field, kind, gguf, hf) kind(field)
#include "model/names.def"
#undef X
#undef NORM
#undef MAT
    }
    /* Used in parts of d_ple rows. */
    if (c->d_ple % CT_PANEL_ROWS == 0 || l->o->all) visit(l, &w->per_layer_model_proj, 0, k, false, c->d_ple % CT_PANEL_ROWS != 0);
    visit(l, &w->output, 0, k, l->o->split_head, false);
    visit_embedding(l, w, k);
    if (l->o->ple_table) visit(l, &w->per_layer_token_embd, 0, k, false, true);
}

/* Copies of the layer array are cheap and keep w untouched; w's lifetime covers p's. */
static ct_layer_weights *copy_layers(const ct_weights *w, const ct_config *c) {
    ct_layer_weights *layer = ct_alloc_array((size_t)c->n_layer, sizeof *layer);
    if (layer) memcpy(layer, w->layer, (size_t)c->n_layer * sizeof *layer);
    return layer;
}

static int n_threads_of(const ct_pack_opts *o) { return o->file && o->n_threads < N_READER ? N_READER : o->n_threads; }

/* Jobs, bytes and the largest item. */
static job_list count(const ct_weights *w, const ct_config *c, const ct_kernels *k, const ct_pack_opts *o) {
    ct_weights copy = *w; /* counting changes no matrix but the embedding's, which is in the copy */
    job_list l = {.count_only = true, .o = o};
    visit_all(&l, &copy, c, k);
    return l;
}

static uint64_t buffers_of(const job_list *l) {
    return l->o->file ? (uint64_t)n_threads_of(l->o) * ct_direct_room(l->item_bytes) : 0;
}

uint64_t ct_pack_bytes(const ct_weights *w, const ct_config *c, const ct_kernels *k, const ct_pack_opts *o, uint64_t *buffers) {
    const job_list l = count(w, c, k, o);
    *buffers = buffers_of(&l);
    return l.bytes;
}

void ct_pack_rows(uint8_t *dst, ct_dtype t, const uint8_t *rows, size_t row_bytes, int64_t n_row) {
    for (int64_t r = 0; r < n_row; r += CT_PANEL_ROWS) {
        const int n = n_row - r < CT_PANEL_ROWS ? (int)(n_row - r) : CT_PANEL_ROWS;
        ct_panel_pack(dst + (size_t)r * row_bytes, t, rows + (size_t)r * row_bytes, row_bytes, n);
    }
}

/* Lay n_row rows of the job's matrix, which lie at rows, to its place; row: their first, of the expert whose place is dst. */
static void lay(const job *j, uint8_t *dst, const uint8_t *rows, int64_t row, int64_t n_row) {
    const ct_matrix *m = &j->src;
    if (j->copy) {
        memcpy(dst + (size_t)row * m->row_bytes, rows, (size_t)n_row * m->row_bytes);
        return;
    }
    if (!j->fine) {
        ct_pack_rows(dst + (size_t)row * m->row_bytes, m->dtype, rows, m->row_bytes, n_row);
        return;
    }
    const size_t coarse = ct_split_coarse_bytes(m->dtype, m->d_in), fine = ct_split_fine_bytes(m->dtype, m->d_in);
    for (int64_t r = 0; r < n_row; r += CT_PANEL_ROWS) {
        const int n = n_row - r < CT_PANEL_ROWS ? (int)(n_row - r) : CT_PANEL_ROWS;
        const size_t at = (size_t)(row + r);
        ct_split_pack(dst + at * coarse, j->fine + at * fine, m->dtype, rows + (size_t)r * m->row_bytes, m->row_bytes, n);
    }
}

/* n bytes of the file at src of the mapping, past the page cache. NULL once anything has failed. */
static const uint8_t *fetch(job_list *l, const uint8_t *src, size_t n, int thread) {
    uint8_t *buffer = l->buffer + (size_t)thread * l->buffer_bytes;
    uint64_t offset;
    carat_error err;
    const int i = ct_source_locate(l->o->source, src, &offset);
    if (atomic_load(&l->rc)) return NULL;
    const int rc = ct_direct_read(&l->o->file[i], offset, n, buffer, &err);
    if (!rc) return buffer + ct_direct_skip(offset);
    pthread_mutex_lock(&l->lock);
    if (!l->rc) l->err = err;
    atomic_store(&l->rc, rc);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void pack_item(void *ud, int64_t item, int thread) {
    job_list *l = ud;
    const int i = ct_find_kind(l->first_item, l->n, item);
    const job *j = &l->job[i];
    const ct_matrix *m = &j->src;
    const int64_t in = item - l->first_item[i], e = in / j->items_per_expert;
    const int64_t row = in % j->items_per_expert * j->item_rows, left = m->d_out - row;
    const int64_t n_row = left < j->item_rows ? left : j->item_rows;
    const uint8_t *src = m->data + (size_t)e * m->expert_bytes + (size_t)row * m->row_bytes;
    const size_t n = (size_t)n_row * m->row_bytes;
    const uint8_t *rows = l->o->file ? fetch(l, src, n, thread) : src;
    if (!rows) return;
    lay(j, j->dst + (size_t)e * (j->copy ? (size_t)m->d_out * m->row_bytes : ct_panel_bytes(m->d_out, m->row_bytes)), rows, row, n_row);
    if (!l->o->file) ct_map_release(src, n);
}

static int run_jobs(ct_pack *p, job_list *l, const ct_config *c, const ct_kernels *k, carat_error *err) {
    ct_pool *pool = NULL;
    int64_t n_item = 0;
    l->memory = p->memory;
    l->n = 0;
    l->bytes = 0;
    l->count_only = false;
    visit_all(l, &p->weights, c, k);
    for (int i = 0; i < l->n; i++) {
        l->first_item[i] = n_item;
        n_item += l->job[i].n_expert * l->job[i].items_per_expert;
    }
    CT_TRY(ct_pool_new(&pool, n_threads_of(l->o), err));
    pthread_mutex_init(&l->lock, NULL);
    ct_pool_run(pool, pack_item, l, n_item);
    ct_pool_free(&pool);
    pthread_mutex_destroy(&l->lock);
    return l->rc ? CT_FAIL(err, l->rc, "%s", l->err.msg) : 0;
}

int ct_pack_make(ct_pack *p, const ct_weights *w, const ct_config *c, const ct_kernels *k, const ct_pack_opts *o, carat_error *err) {
    job_list l = count(w, c, k, o);
    const uint64_t bytes = l.bytes, buffers = buffers_of(&l);
    if (bytes > SIZE_MAX - buffers) return CT_FAIL(err, CARAT_ENOMEM, "weights: cannot hold %llu MiB", (unsigned long long)(bytes >> 20));
    p->bytes = (size_t)bytes;
    p->weights = *w;
    p->weights.layer = copy_layers(w, c);
    l.job = ct_alloc_array((size_t)l.n, sizeof *l.job);
    l.first_item = ct_alloc_array((size_t)l.n, sizeof *l.first_item);
    l.buffer_bytes = ct_direct_room(l.item_bytes);
    l.buffer = buffers ? ct_map_anonymous((size_t)buffers) : NULL;
    p->memory = bytes ? ct_map_anonymous(p->bytes) : NULL;
    int rc = 0;
    if (!p->weights.layer || !l.job || !l.first_item || (bytes && !p->memory) || (buffers && !l.buffer)) {
        rc = CT_FAIL(err, CARAT_ENOMEM, "weights: no memory for %zu MiB", p->bytes >> 20);
    }
    if (!rc && bytes) rc = run_jobs(p, &l, c, k, err);
    ct_free(l.job);
    ct_free(l.first_item);
    ct_unmap_anonymous(l.buffer, (size_t)buffers);
    if (rc) ct_pack_free(p);
    return rc;
}

void ct_pack_free(ct_pack *p) {
    ct_free(p->weights.layer);
    ct_unmap_anonymous(p->memory, p->bytes);
    memset(p, 0, sizeof *p);
}
