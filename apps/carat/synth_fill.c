/* Random weights at the speed of the disk. A pool of normal values is encoded once for each type and scale in use;
 * large tensors are stretches of a pool that begin at random blocks. So values repeat within a tensor and between
 * tensors, which changes nothing about speed, memory or the size of activations.
 *
 * Scales keep a forward pass healthy: matrices of 1/sqrt(row), norms near 1, query and key norms as in the real
 * models, layer scales that rise from a quarter to nine tenths and hold the residual stream near 1. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "formats/gguf_write.h"
#include "quant/quant.h"
#include "synth.h"
#include "synth_vocab.h"

enum { POOL_VALUES = 1 << 21, MAX_POOL = 24, CHUNK_VALUES = 4096 };

typedef struct {
    ct_dtype type;
    float std;
    uint8_t *data;
    size_t bytes;
} pool;

typedef struct {
    const synth_opts *o;
    ct_gguf_writer *w;
    ct_rng rng;
    float *normal; /* [POOL_VALUES] */
    float *scaled; /* [POOL_VALUES] */
    pool pools[MAX_POOL];
    int n_pool;
    uint64_t done, total;
    uint8_t *panel[2]; /* CT_PANEL_ROWS rows being filled, and as a panel; grown as tensors need */
    size_t panel_cap[2];
} filler;

static int no_memory(const filler *f, carat_error *err) {
    return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for weights", f->o->out);
}

static int write_bytes(filler *f, const void *p, size_t n, carat_error *err) {
    CT_TRY(ct_gguf_write(f->w, p, n, err));
    f->done += n;
    if (f->o->progress && !f->o->progress(f->o->progress_ud, f->done, f->total)) {
        return CT_FAIL(err, CARAT_ECANCEL, "%s: interrupted", f->o->out);
    }
    return 0;
}

/* The next bytes of a tensor, given in rows. What lies as panels is collected until its rows make one: *filled bytes. */
static int write_rows(filler *f, const ct_tensor *t, const uint8_t *p, size_t n, size_t *filled, carat_error *err) {
    if (!t->panels) return write_bytes(f, p, n, err);
    const size_t size = CT_PANEL_ROWS * ct_dtype_row_bytes(t->dtype, t->shape[t->rank - 1]);
    for (int i = 0; i < 2; i++) {
        if (!ct_grow((void **)&f->panel[i], &f->panel_cap[i], size, 1)) return no_memory(f, err);
    }
    while (n > 0) {
        const size_t k = size - *filled < n ? size - *filled : n;
        memcpy(f->panel[0] + *filled, p, k);
        p += k;
        n -= k;
        *filled = (*filled + k) % size;
        if (*filled) break;
        cli_layout_pack(f->panel[1], f->panel[0], t, CT_PANEL_ROWS);
        CT_TRY(write_bytes(f, f->panel[1], size, err));
    }
    return 0;
}

/* ---- large tensors ------------------------------------------------------------------------------------ */

static const pool *find_pool(filler *f, ct_dtype type, float std, carat_error *err) {
    for (int i = 0; i < f->n_pool; i++) {
        if (f->pools[i].type == type && f->pools[i].std == std) return &f->pools[i];
    }
    if (f->n_pool == MAX_POOL) return no_memory(f, err), NULL;
    pool *p = &f->pools[f->n_pool];
    *p = (pool){.type = type, .std = std, .bytes = ct_dtype_row_bytes(type, POOL_VALUES)};
    p->data = ct_alloc(p->bytes);
    if (!p->data) return no_memory(f, err), NULL;
    f->n_pool++;
    for (int i = 0; i < POOL_VALUES; i++) f->scaled[i] = std * f->normal[i];
    ct_quant_encoder(type)(p->data, f->scaled, POOL_VALUES);
    return p;
}

static int fill_large(filler *f, const ct_tensor *t, float std, carat_error *err) {
    const pool *p = find_pool(f, t->dtype, std, err);
    if (!p) return CARAT_ENOMEM;
    const size_t block = ct_dtype_block_bytes(t->dtype), n_block = p->bytes / block;
    size_t left = ct_dtype_row_bytes(t->dtype, t->n_elem), filled = 0;
    while (left > 0) {
        const size_t from = (size_t)(ct_rng_u64(&f->rng) % n_block) * block;
        const size_t n = p->bytes - from < left ? p->bytes - from : left;
        CT_TRY(write_rows(f, t, p->data + from, n, &filled, err));
        left -= n;
    }
    return 0;
}

/* ---- small tensors: F32, value by value --------------------------------------------------------------- */

static float small_value(filler *f, const synth_list *l, int i) {
    const ct_config *c = &l->config;
    const bool sliding = l->layer[i] >= 0 && c->layer[l->layer[i]].attn == CT_ATTN_SLIDING;
    switch (l->kind[i]) {
    case SYNTH_Q_NORM: return sliding ? 0.984f : 1.039f;
    case SYNTH_K_NORM: return sliding ? 0.127f : 0.060f;
    case SYNTH_LAYER_SCALE: return 0.25f + 0.65f * (float)l->layer[i] / (float)(c->n_layer - 1);
    case SYNTH_ROUTER: return (float)ct_rng_normal(&f->rng);
    default: return 1.0f + 0.1f * (float)ct_rng_normal(&f->rng);
    }
}

static int fill_rope_freqs(filler *f, const synth_list *l, carat_error *err) {
    float x[CHUNK_VALUES]; /* half the longest head that ct_config_finish lets pass is less */
    cli_rope_freqs(&l->config, x);
    return write_bytes(f, x, (size_t)cli_rope_freqs_len(&l->config) * sizeof *x, err);
}

static int fill_small(filler *f, const synth_list *l, int i, carat_error *err) {
    float chunk[CHUNK_VALUES];
    for (int64_t left = l->t[i].n_elem; left > 0;) {
        const int n = left < CHUNK_VALUES ? (int)left : CHUNK_VALUES;
        for (int j = 0; j < n; j++) chunk[j] = small_value(f, l, i);
        CT_TRY(write_bytes(f, chunk, (size_t)n * sizeof *chunk, err));
        left -= n;
    }
    return 0;
}

static int fill_tensors(filler *f, const synth_list *l, carat_error *err) {
    for (int i = 0; i < POOL_VALUES; i++) f->normal[i] = (float)ct_rng_normal(&f->rng);
    for (int i = 0; i < l->n; i++) {
        const ct_tensor *t = &l->t[i];
        if (l->kind[i] == SYNTH_MATRIX) {
            CT_TRY(fill_large(f, t, (float)(1.0 / sqrt((double)t->shape[t->rank - 1])), err));
        } else if (l->kind[i] == SYNTH_PLE_TABLE) {
            CT_TRY(fill_large(f, t, (float)(1.0 / sqrt((double)l->config.d_ple)), err));
        } else if (l->kind[i] == SYNTH_ROPE_FREQS) {
            CT_TRY(fill_rope_freqs(f, l, err));
        } else {
            CT_TRY(fill_small(f, l, i, err));
        }
    }
    return 0;
}

/* ---- the file ----------------------------------------------------------------------------------------- */

static int put_keys(ct_gguf_writer *w, const ct_config *c, const synth_opts *o, carat_error *err) {
    const synth_variant *v = o->variant;
    cli_gemma_keys_put_general(w, c, v->title, strlen(v->title));
    ct_gguf_put_str(w, "general.size_label", v->label, strlen(v->label));
    ct_gguf_put_u32(w, "general.file_type", o->recipe->file_type);
    ct_gguf_put_u32(w, "general.quantization_version", 2);
    cli_gemma_keys_put(w, c);
    return synth_put_vocab(w, o->seed, err);
}

static int write_all(filler *f, synth_list *l, carat_error *err) {
    CT_TRY(put_keys(f->w, &l->config, f->o, err));
    cli_recipe_assign(f->o->recipe, l->t, (size_t)l->n);
    CT_TRY(cli_layout_assign(f->o->layout, l->t, (size_t)l->n, l->config.d_ple, err));
    for (int i = 0; i < l->n; i++) {
        const ct_tensor *t = &l->t[i];
        CT_TRY(cli_layout_put(f->w, t, err));
        f->total += ct_dtype_row_bytes(t->dtype, t->n_elem);
    }
    CT_TRY(ct_gguf_writer_begin(f->w, err));
    CT_TRY(fill_tensors(f, l, err));
    return ct_gguf_writer_finish(f->w, err);
}

int synth_write(synth_result *res, const synth_opts *o, carat_error *err) {
    filler f = {.o = o};
    ct_rng_seed(&f.rng, o->seed);
    synth_list *l = ct_alloc(sizeof *l);
    f.normal = ct_alloc_array(POOL_VALUES, sizeof *f.normal);
    f.scaled = ct_alloc_array(POOL_VALUES, sizeof *f.scaled);
    int rc = l && f.normal && f.scaled ? ct_gguf_writer_new(&f.w, o->out, err) : no_memory(&f, err);
    if (rc == 0) rc = synth_list_tensors(l, o->variant, err);
    if (rc == 0) {
        rc = write_all(&f, l, err);
        *res = (synth_result){.n_tensor = l->n, .n_params = synth_n_params(l), .data_bytes = f.total};
    }
    ct_gguf_writer_free(&f.w);
    for (int i = 0; i < f.n_pool; i++) ct_free(f.pools[i].data);
    for (int i = 0; i < 2; i++) ct_free(f.panel[i]);
    ct_free(f.normal);
    ct_free(f.scaled);
    ct_free(l);
    return rc;
}
