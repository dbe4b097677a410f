/* Conversion of tensors for `cut`: decode a stretch, add what Gemma 3 norms lack, check, encode, write. Tensors whose
 * type stays are copied byte by byte. Stretches are split among threads at multiples of every block length. */
#include <float.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "cut.h"
#include "cut_source.h"
#include "quant/quant.h"

enum { PART_VALUES = 1 << 18, MAX_THREAD = 64, COPY_BYTES = 8 << 20 };

/* One thread's share of a stretch. */
typedef struct {
    const uint8_t *src;
    uint8_t *dst;
    float *x;      /* [PART_VALUES] */
    int64_t n;
    ct_dtype from, to;
    bool plus_one;
    int64_t bad;   /* index of a value that cannot be written; -1 = none */
} part;

typedef struct {
    const cut_opts *o;
    ct_gguf_writer *w;
    float *x;      /* [n_threads, PART_VALUES] */
    uint8_t *dst;  /* [n_threads, PART_VALUES] as the widest type */
    uint64_t done, total;
} cutter;

static int advance(cutter *c, uint64_t n, carat_error *err) {
    c->done += n;
    if (!c->o->progress || c->o->progress(c->o->progress_ud, c->done, c->total)) return 0;
    return CT_FAIL(err, CARAT_ECANCEL, "%s: interrupted", c->o->out);
}

static int copy_tensor(cutter *c, const ct_tensor *t, carat_error *err) {
    for (size_t at = 0; at < t->bytes;) {
        const size_t n = t->bytes - at < COPY_BYTES ? t->bytes - at : COPY_BYTES;
        CT_TRY(ct_gguf_write(c->w, t->data + at, n, err));
        CT_TRY(advance(c, n, err));
        at += n;
    }
    return 0;
}

/* ---- conversion --------------------------------------------------------------------------------------- */

static void *convert_part(void *arg) {
    part *p = arg;
    const float limit = p->to == CT_F16 ? 65504.0f : FLT_MAX;
    ct_quant_decoder(p->from)(p->x, p->src, p->n);
    p->bad = -1;
    for (int64_t i = 0; i < p->n; i++) {
        if (p->plus_one) p->x[i] += 1.0f;
        if (!(p->x[i] >= -limit && p->x[i] <= limit) && p->bad < 0) p->bad = i;
    }
    ct_quant_encoder(p->to)(p->dst, p->x, p->n);
    return NULL;
}

/* Run parts[0,n), the first on this thread; one that gets no thread of its own runs here too. */
static void convert_parts(part *parts, int n) {
    pthread_t id[MAX_THREAD];
    bool started[MAX_THREAD] = {false};
    for (int i = 1; i < n; i++) started[i] = pthread_create(&id[i], NULL, convert_part, &parts[i]) == 0;
    for (int i = 0; i < n; i++) {
        if (!started[i]) convert_part(&parts[i]);
    }
    for (int i = 1; i < n; i++) {
        if (started[i]) pthread_join(id[i], NULL);
    }
}

/* Values [at, at + n) of a tensor; n is at most PART_VALUES for each thread. */
static int convert_stretch(cutter *c, const ct_tensor *to, const ct_tensor *from, bool plus_one, int64_t at, int64_t n,
                           carat_error *err) {
    part parts[MAX_THREAD];
    int n_part = 0;
    for (int64_t k = 0; k < n; k += PART_VALUES, n_part++) {
        parts[n_part] = (part){
            .src = from->data + ct_dtype_row_bytes(from->dtype, at + k),
            .dst = c->dst + ct_dtype_row_bytes(to->dtype, k),
            .x = c->x + k,
            .n = n - k < PART_VALUES ? n - k : PART_VALUES,
            .from = from->dtype,
            .to = to->dtype,
            .plus_one = plus_one,
        };
    }
    convert_parts(parts, n_part);
    for (int i = 0; i < n_part; i++) {
        if (parts[i].bad < 0) continue;
        return CT_FAIL(err, CARAT_EFORMAT, "%s: tensor %.120s: value %lld is %g, which %s cannot hold", c->o->source,
                       from->name, (long long)(at + (int64_t)i * PART_VALUES + parts[i].bad),
                       (double)parts[i].x[parts[i].bad], ct_dtype_name(to->dtype));
    }
    const size_t bytes = ct_dtype_row_bytes(to->dtype, n);
    CT_TRY(ct_gguf_write(c->w, c->dst, bytes, err));
    return advance(c, bytes, err);
}

static int convert_tensor(cutter *c, const ct_tensor *to, const ct_tensor *from, bool plus_one, carat_error *err) {
    const int64_t stretch = (int64_t)c->o->n_threads * PART_VALUES;
    for (int64_t at = 0; at < to->n_elem; at += stretch) {
        const int64_t n = to->n_elem - at < stretch ? to->n_elem - at : stretch;
        CT_TRY(convert_stretch(c, to, from, plus_one, at, n, err));
    }
    return 0;
}

static int write_rope_freqs(cutter *c, const ct_config *config, const ct_tensor *t, carat_error *err) {
    float *x = ct_alloc_array((size_t)t->n_elem, sizeof *x);
    if (!x) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for %s", c->o->out, t->name);
    cli_rope_freqs(config, x);
    int rc = ct_gguf_write(c->w, x, (size_t)t->n_elem * sizeof *x, err);
    ct_free(x);
    return rc ? rc : advance(c, (uint64_t)t->n_elem * sizeof *x, err);
}

/* ---- the file ----------------------------------------------------------------------------------------- */

/* A recipe knows the text model; what else a GGUF may hold keeps its type. */
static void keep_other_types(cut_source *s) {
    static const char *const other[] = {"v.", "a.", "mm."};
    for (size_t i = 0; i < s->n; i++) {
        bool keep = s->from[i] && s->from[i]->dtype >= CT_N_WEIGHT_DTYPE;
        for (size_t k = 0; k < 3; k++) keep = keep || strncmp(s->t[i].name, other[k], strlen(other[k])) == 0;
        if (keep) s->t[i].dtype = s->from[i]->dtype;
    }
}

static int write_tensors(cutter *c, const cut_source *s, carat_error *err) {
    for (size_t i = 0; i < s->n; i++) {
        const ct_tensor *t = &s->t[i], *from = s->from[i];
        if (!from) CT_TRY(write_rope_freqs(c, &s->model.config, t, err));
        else if (from->dtype == t->dtype && !s->plus_one[i]) CT_TRY(copy_tensor(c, from, err));
        else CT_TRY(convert_tensor(c, t, from, s->plus_one[i], err));
    }
    return 0;
}

static int write_file(cutter *c, cut_source *s, cut_result *res, carat_error *err) {
    cli_recipe_assign(c->o->recipe, s->t, s->n);
    keep_other_types(s);
    CT_TRY(cut_source_put_keys(s, c->w, c->o->recipe, c->o->name, err));
    for (size_t i = 0; i < s->n; i++) {
        const ct_tensor *t = &s->t[i];
        CT_TRY(ct_gguf_put_tensor(c->w, t->name, t->dtype, t->rank, t->shape, err));
        c->total += ct_dtype_row_bytes(t->dtype, t->n_elem);
        if (s->from[i]) res->source_bytes += s->from[i]->bytes;
    }
    res->n_tensor = (int32_t)s->n;
    res->n_left_out = s->n_left_out;
    res->data_bytes = c->total;
    CT_TRY(ct_gguf_writer_begin(c->w, err));
    CT_TRY(write_tensors(c, s, err));
    return ct_gguf_writer_finish(c->w, err);
}

static int begin_file(cutter *c, const cut_source *s, carat_error *err) {
    const cut_opts *o = c->o;
    if (cut_source_reads(s, o->out)) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: is a file of the model that is read, expected another to write", o->out);
    }
    c->x = ct_alloc_array((size_t)o->n_threads * PART_VALUES, sizeof *c->x);
    c->dst = ct_alloc_array((size_t)o->n_threads * PART_VALUES, sizeof *c->x);
    if (!c->x || !c->dst) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for %d threads", o->out, (int)o->n_threads);
    return ct_gguf_writer_new(&c->w, o->out, err);
}

int cut_write(cut_result *res, const cut_opts *opts, carat_error *err) {
    cut_opts o = *opts;
    if (o.n_threads > MAX_THREAD) o.n_threads = MAX_THREAD;
    cutter c = {.o = &o};
    cut_source s;
    *res = (cut_result){0};
    CT_TRY(cut_source_open(&s, o.source, err));
    int rc = begin_file(&c, &s, err);
    if (rc == 0) rc = write_file(&c, &s, res, err);
    ct_gguf_writer_free(&c.w);
    ct_free(c.x);
    ct_free(c.dst);
    cut_source_close(&s);
    return rc;
}
