/* Weights laid out for speed. Matrices whose type has an integer kernel are copied once, when the first session of a
 * model is made, from the mapped file into panels in anonymous memory (kernels/panel.h): the same number of bytes in
 * another order. The file's pages are released piece by piece as they are read, so no tensor is held twice. Matrices of
 * other types, the embedding's rows (looked up one by one), and matrices that lie as panels in the file stay there.
 *
 * The output head of a model with tied embeddings is packed like any matrix; the rows for lookup stay mapped, and only
 * the few that a text touches become resident. */
#include "engine/pack.h"

#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "kernels/panel.h"
#include "runtime/threads.h"

/* Panels of one work item: about half a megabyte of source. */
#define ITEM_PANELS 32

typedef struct {
    ct_matrix src;
    uint8_t *dst, *fine;  /* fine: NULL, or where the second plane goes; dst is then the first */
    int64_t n_expert, items_per_expert;
} job;

typedef struct {
    job *job;
    int64_t *first_item; /* [n] of each job */
    int n;
    uint64_t bytes;
    bool count_only, split_head;
    uint8_t *memory;
} job_list;

static bool wanted(const ct_matrix *m, const ct_kernels *k) {
    return m->data && !m->panels && k->matmul_panel[m->dtype];
}

/* The two planes of a split matrix lie one behind the other. */
static void split_matrix(ct_matrix *m, job *j) {
    const size_t coarse = ct_split_coarse_bytes(m->dtype, m->d_in);
    j->fine = j->dst + ct_panel_bytes(m->d_out, coarse);
    m->row_bytes = coarse;
    m->fine = j->fine;
    m->fine_bytes = ct_split_fine_bytes(m->dtype, m->d_in);
}

/* Count or take matrix m; where taken, m becomes its packed self. */
static void visit(job_list *l, ct_matrix *m, int64_t n_expert, const ct_kernels *k, bool split) {
    if (!wanted(m, k)) return;
    if (!n_expert) n_expert = 1;
    const size_t one = ct_panel_bytes(m->d_out, m->row_bytes);
    if (!l->count_only) {
        job *j = &l->job[l->n];
        const int64_t n_panel = (m->d_out + CT_PANEL_ROWS - 1) / CT_PANEL_ROWS;
        *j = (job){.src = *m, .dst = l->memory + l->bytes, .n_expert = n_expert};
        j->items_per_expert = (n_panel + ITEM_PANELS - 1) / ITEM_PANELS;
        m->data = j->dst;
        m->panels = true;
        if (m->expert_bytes) m->expert_bytes = one;
        if (split && k->matmul_split[m->dtype]) split_matrix(m, j);
    }
    l->n++;
    l->bytes += ((uint64_t)n_expert * one + 63) & ~UINT64_C(63);
}

/* Experts' matrices come in stacks. Every matrix of the model but the two tables that are read by rows. */
static void visit_all(job_list *l, ct_weights *w, const ct_config *c, const ct_kernels *k) {
    for (int i = 0; i < c->n_layer; i++) {
        ct_layer_weights *lw = &w->layer[i];
#define NORM(field)
#define MAT(field) visit(l, &lw->field, lw->field.expert_bytes ? c->n_expert : 0, k, false);
#define X(field, kind, gguf, hf) kind(field)
#include "model/names.def"
#undef X
#undef NORM
#undef MAT
    }
    if (c->d_ple % CT_PANEL_ROWS == 0) visit(l, &w->per_layer_model_proj, 0, k, false); /* used in parts of d_ple rows */
    visit(l, &w->output, 0, k, l->split_head);
}

/* Copies of the layer array are cheap and keep w untouched; w's lifetime covers p's. */
static ct_layer_weights *copy_layers(const ct_weights *w, const ct_config *c) {
    ct_layer_weights *layer = ct_alloc_array((size_t)c->n_layer, sizeof *layer);
    if (layer) memcpy(layer, w->layer, (size_t)c->n_layer * sizeof *layer);
    return layer;
}

uint64_t ct_pack_bytes(const ct_weights *w, const ct_config *c, const ct_kernels *k) {
    ct_weights copy = *w; /* counting changes no matrix */
    job_list l = {.count_only = true};
    visit_all(&l, &copy, c, k);
    return l.bytes;
}

static void pack_item(void *ud, int64_t item, int thread) {
    const job_list *l = ud;
    const int i = ct_find_kind(l->first_item, l->n, item);
    const job *j = &l->job[i];
    const ct_matrix *m = &j->src;
    (void)thread;
    const int64_t in = item - l->first_item[i], e = in / j->items_per_expert;
    const int64_t row0 = in % j->items_per_expert * ITEM_PANELS * CT_PANEL_ROWS;
    const int64_t row1 = row0 + ITEM_PANELS * CT_PANEL_ROWS < m->d_out ? row0 + ITEM_PANELS * CT_PANEL_ROWS : m->d_out;
    const uint8_t *src = m->data + (size_t)e * m->expert_bytes;
    uint8_t *dst = j->dst + (size_t)e * ct_panel_bytes(m->d_out, m->row_bytes);
    for (int64_t r = row0; r < row1; r += CT_PANEL_ROWS) {
        const int n_row = row1 - r < CT_PANEL_ROWS ? (int)(row1 - r) : CT_PANEL_ROWS;
        const uint8_t *rows = src + (size_t)r * m->row_bytes;
        if (j->fine) {
            ct_split_pack(dst + (size_t)r * ct_split_coarse_bytes(m->dtype, m->d_in),
                          j->fine + (size_t)r * ct_split_fine_bytes(m->dtype, m->d_in), m->dtype, rows, m->row_bytes, n_row);
        } else {
            ct_panel_pack(dst + (size_t)r * m->row_bytes, m->dtype, rows, m->row_bytes, n_row);
        }
    }
    ct_map_release(src + (size_t)row0 * m->row_bytes, (size_t)(row1 - row0) * m->row_bytes);
}

static int pack_all(ct_pack *p, job_list *l, const ct_config *c, const ct_kernels *k, int n_threads, carat_error *err) {
    ct_pool *pool = NULL;
    int64_t n_item = 0;
    l->memory = p->memory;
    visit_all(l, &p->weights, c, k);
    for (int i = 0; i < l->n; i++) {
        l->first_item[i] = n_item;
        n_item += l->job[i].n_expert * l->job[i].items_per_expert;
    }
    CT_TRY(ct_pool_new(&pool, n_threads, err));
    ct_pool_run(pool, pack_item, l, n_item);
    ct_pool_free(&pool);
    return 0;
}

static int make(ct_pack *p, const ct_weights *w, const ct_config *c, const ct_kernels *k, int n_threads, bool split_head,
                carat_error *err) {
    job_list count = {.count_only = true}, l = {.split_head = split_head};
    p->weights = *w;
    visit_all(&count, &p->weights, c, k);
    if (count.n == 0) return 0;
    if (count.bytes > SIZE_MAX) return CT_FAIL(err, CARAT_ENOMEM, "weights: cannot hold %llu MiB", (unsigned long long)(count.bytes >> 20));
    p->bytes = (size_t)count.bytes;
    p->weights.layer = copy_layers(w, c);
    l.job = ct_alloc_array((size_t)count.n, sizeof *l.job);
    l.first_item = ct_alloc_array((size_t)count.n, sizeof *l.first_item);
    p->memory = ct_map_anonymous(p->bytes);
    int rc = 0;
    if (!p->weights.layer || !l.job || !l.first_item || !p->memory) {
        rc = CT_FAIL(err, CARAT_ENOMEM, "weights: no memory for %zu MiB", p->bytes >> 20);
    }
    if (!rc) rc = pack_all(p, &l, c, k, n_threads, err);
    ct_free(l.job);
    ct_free(l.first_item);
    return rc;
}

int ct_pack_make(ct_pack *p, const ct_weights *w, const ct_config *c, const ct_kernels *k, int n_threads, bool split_head,
                 carat_error *err) {
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    if (!p->done) {
        rc = make(p, w, c, k, n_threads, split_head, err);
        p->done = rc == 0;
        if (rc) ct_pack_free(p);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void ct_pack_free(ct_pack *p) {
    if (p->memory || p->bytes) ct_free(p->weights.layer);
    ct_unmap_anonymous(p->memory, p->bytes);
    memset(&p->weights, 0, sizeof p->weights);
    p->memory = NULL;
    p->bytes = 0;
    p->done = false;
}
