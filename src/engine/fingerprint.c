/* What tells one model from another without reading it: the facts that evaluation follows, the tensor directory, and a
 * sample of the weights. Fields are added one by one in a fixed order, so the value survives other compilers, and files
 * that hold one (engine/snapshot.c) outlive this version. */
#include <string.h>

#include "base/direct.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/engine_int.h"

/* Weights are looked at in so many places, spread over the tensors, so many bytes each: with whole
 * blocks of the disk a megabyte is read at most. */
enum { N_SITE = 128, SITE_BYTES = 4096 };

static void add_u64(ct_hash *h, uint64_t v) { ct_hash_add(h, &v, sizeof v); }
static void add_int(ct_hash *h, int64_t v) { add_u64(h, (uint64_t)v); }

static void add_real(ct_hash *h, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_u64(h, bits);
}

/* What the forward pass reads. Left out: names, the longest context, which sessions choose for themselves. */
static void add_config(ct_hash *h, const ct_config *c) {
    add_int(h, c->n_layer), add_int(h, c->d_model), add_int(h, c->n_vocab), add_int(h, c->w_swa);
    add_real(h, (double)c->rms_eps), add_real(h, (double)c->embd_scale), add_real(h, (double)c->attn_scale);
    add_real(h, (double)c->logit_softcap);
    add_int(h, c->v_norm), add_int(h, c->norm_plus_one), add_int(h, c->has_layer_scale);
    add_int(h, c->d_ple), add_int(h, c->n_vocab_ple);
    add_int(h, c->n_expert), add_int(h, c->n_expert_used), add_int(h, c->d_ff_expert);
    for (int a = 0; a < CT_N_ATTN; a++) {
        add_real(h, c->rope[a].theta), add_real(h, c->rope[a].factor), add_real(h, c->rope[a].partial);
    }
    for (int i = 0; i < c->n_layer; i++) {
        const ct_layer_config *l = &c->layer[i];
        add_int(h, l->attn), add_int(h, l->n_head), add_int(h, l->n_head_kv), add_int(h, l->d_head);
        add_int(h, l->d_ff), add_int(h, l->kv_layer), add_int(h, l->v_from_k);
    }
}

static void add_tensor(ct_hash *h, const ct_tensor *t) {
    const size_t len = strlen(t->name);
    const char *type = ct_dtype_name(t->dtype); /* not the number: that is this version's own */
    add_u64(h, len);
    ct_hash_add(h, t->name, len);
    ct_hash_add(h, type, strlen(type));
    add_int(h, t->panels), add_int(h, t->rank), add_u64(h, t->bytes);
    for (int i = 0; i < t->rank; i++) add_int(h, t->shape[i]);
}

/* The files, each opened when first read from, and room for a site. */
typedef struct {
    ct_direct *file; /* [n_file]; all zero: not yet */
    uint8_t *memory, *buf;
} sampler;

static int new_sampler(sampler *s, const carat_model *m, carat_error *err) {
    s->file = ct_alloc_array((size_t)ct_source_n_files(&m->source), sizeof *s->file);
    s->memory = ct_alloc(ct_direct_room(SITE_BYTES) + CT_DIRECT_ALIGN);
    if (!s->file || !s->memory) return CT_FAIL(err, CARAT_ENOMEM, "fingerprint: out of memory");
    const uintptr_t at = (uintptr_t)s->memory;
    s->buf = s->memory + (CT_DIRECT_ALIGN - at % CT_DIRECT_ALIGN) % CT_DIRECT_ALIGN;
    return 0;
}

static void free_sampler(sampler *s) {
    ct_free(s->file);
    ct_free(s->memory);
}

/* The beginning of a tensor, or its end. Not through the mapping, where a page asked for brings megabytes along. */
static int add_sample(ct_hash *h, sampler *s, const carat_model *m, const ct_tensor *t, bool end, carat_error *err) {
    const size_t n = t->bytes < SITE_BYTES ? t->bytes : SITE_BYTES;
    const uint64_t offset = end ? t->offset + t->bytes - n : t->offset;
    ct_direct *f = &s->file[t->file];
    if (!f->read_at) CT_TRY(ct_direct_open(f, ct_source_file(&m->source, t->file), err));
    CT_TRY(ct_direct_read(f, offset, n, s->buf, err));
    ct_hash_add(h, s->buf + ct_direct_skip(offset), n);
    return 0;
}

static int add_tensors(ct_hash *h, sampler *s, const carat_model *m, carat_error *err) {
    const size_t n = ct_source_n_tensor(&m->source), n_site = n < N_SITE ? n : N_SITE;
    for (size_t i = 0, site = 0; i < n; i++) {
        const ct_tensor *t = ct_source_tensor_at(&m->source, i);
        add_tensor(h, t);
        if ((i + 1) * n_site / n == site) continue;
        CT_TRY(add_sample(h, s, m, t, site++ % 2, err));
    }
    return 0;
}

static int compute(uint64_t *out, const carat_model *m, carat_error *err) {
    ct_hash h;
    sampler s = {0};
    ct_hash_begin(&h);
    add_config(&h, &m->cfg);
    if (m->cfg.d_ple && m->opts.ple == CARAT_PLACE_ZERO) add_int(&h, 1);
    int rc = new_sampler(&s, m, err);
    if (!rc) rc = add_tensors(&h, &s, m, err);
    free_sampler(&s);
    if (!rc) *out = ct_hash_value(&h);
    return rc;
}

int carat_model_fingerprint(uint64_t *out, const carat_model *m, carat_error *err) {
    *out = 0;
    if (!m->has_weights) return CT_FAIL(err, CARAT_EINVAL, "model was opened for its vocabulary only");
    ct_place *p = m->place;
    pthread_mutex_lock(&p->lock);
    const int rc = p->has_fingerprint ? 0 : compute(&p->fingerprint, m, err);
    p->has_fingerprint = rc == 0;
    if (!rc) *out = p->fingerprint;
    pthread_mutex_unlock(&p->lock);
    return rc;
}
