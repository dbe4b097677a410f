/* Conversion of tensors for `cut`: decode a stretch, add what Gemma 3 norms lack, check, encode, write. Tensors whose
 * type and layout stay are copied byte by byte. Stretches are split among threads at multiples of every block length.
 * Where a tensor lies as panels, before or after, groups of whole panels go through rows. */
#include <float.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "cut.h"
#include "cut_source.h"
#include "quant/quant.h"

enum { PART_VALUES = 1 << 18, MIN_PART = 1 << 14, MAX_THREAD = 64, COPY_BYTES = 8 << 20 };

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
    uint8_t *group[3]; /* rows of panels: as read, converted, laid out; grown as tensors need */
    size_t group_cap[3];
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

/* Values [at, at + n) of a tensor from src to dst; n is at most PART_VALUES for each thread. */
static int convert_stretch(cutter *c, uint8_t *dst, const uint8_t *src, const ct_tensor *to, const ct_tensor *from,
                           bool plus_one, int64_t at, int64_t n, carat_error *err) {
    part parts[MAX_THREAD];
    int n_part = 0;
    /* A fair share each, in whole blocks, but enough to be worth a thread. */
    const int64_t n_threads = c->o->n_threads, fair = (n + 256 * n_threads - 1) / (256 * n_threads) * 256;
    const int64_t len = fair > MIN_PART ? fair : MIN_PART;
    for (int64_t k = 0; k < n; k += len, n_part++) {
        parts[n_part] = (part){
            .src = src + ct_dtype_row_bytes(from->dtype, k),
            .dst = dst + ct_dtype_row_bytes(to->dtype, k),
            .x = c->x + k,
            .n = n - k < len ? n - k : len,
            .from = from->dtype,
            .to = to->dtype,
            .plus_one = plus_one,
        };
    }
    convert_parts(parts, n_part);
    for (int i = 0; i < n_part; i++) {
        if (parts[i].bad < 0) continue;
        return CT_FAIL(err, CARAT_EFORMAT, "%s: tensor %.120s: value %lld is %g, which %s cannot hold", c->o->source,
                       from->name, (long long)(at + (int64_t)i * len + parts[i].bad),
                       (double)parts[i].x[parts[i].bad], ct_dtype_name(to->dtype));
    }
    return 0;
}

static int convert_tensor(cutter *c, const ct_tensor *to, const ct_tensor *from, bool plus_one, carat_error *err) {
    const int64_t stretch = (int64_t)c->o->n_threads * PART_VALUES;
    for (int64_t at = 0; at < to->n_elem; at += stretch) {
        const int64_t n = to->n_elem - at < stretch ? to->n_elem - at : stretch;
        const size_t bytes = ct_dtype_row_bytes(to->dtype, n);
        CT_TRY(convert_stretch(c, c->dst, from->data + ct_dtype_row_bytes(from->dtype, at), to, from, plus_one, at, n, err));
        CT_TRY(ct_gguf_write(c->w, c->dst, bytes, err));
        CT_TRY(advance(c, bytes, err));
    }
    return 0;
}

/* ---- panels ------------------------------------------------------------------------------------------- */

/* Room for n bytes in group buffer i; NULL when there is none. */
static uint8_t *group(cutter *c, int i, size_t n) {
    return ct_grow((void **)&c->group[i], &c->group_cap[i], n, 1) ? c->group[i] : NULL;
}

/* Rows [r, r + n) of a tensor of which one or both sides lie as panels; r and n are multiples of CT_PANEL_ROWS. */
static int write_group(cutter *c, const ct_tensor *to, const ct_tensor *from, int64_t r, int64_t n, carat_error *err) {
    const int64_t d = to->shape[to->rank - 1], stretch = (int64_t)c->o->n_threads * PART_VALUES;
    const size_t from_row = ct_dtype_row_bytes(from->dtype, d), to_row = ct_dtype_row_bytes(to->dtype, d);
    const uint8_t *src = from->data + (size_t)r * from_row;
    uint8_t *read = from->panels ? group(c, 0, (size_t)n * from_row) : NULL;
    uint8_t *converted = from->dtype != to->dtype ? group(c, 1, (size_t)n * to_row) : NULL;
    uint8_t *laid = to->panels ? group(c, 2, (size_t)n * to_row) : NULL;
    if ((from->panels && !read) || (from->dtype != to->dtype && !converted) || (to->panels && !laid)) {
        return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for panels of %s", c->o->out, to->name);
    }
    if (read) {
        cli_layout_unpack(read, src, from, n);
        src = read;
    }
    for (int64_t at = 0; converted && at < n * d; at += stretch) {
        const int64_t m = n * d - at < stretch ? n * d - at : stretch;
        CT_TRY(convert_stretch(c, converted + ct_dtype_row_bytes(to->dtype, at), src + ct_dtype_row_bytes(from->dtype, at), to, from,
                               false, r * d + at, m, err));
    }
    if (converted) src = converted;
    if (laid) {
        cli_layout_pack(laid, src, to, n);
        src = laid;
    }
    CT_TRY(ct_gguf_write(c->w, src, (size_t)n * to_row, err));
    return advance(c, (uint64_t)n * to_row, err);
}

static int write_by_panels(cutter *c, const ct_tensor *to, const ct_tensor *from, carat_error *err) {
    const int64_t d = to->shape[to->rank - 1], n_row = to->n_elem / d;
    const int64_t panel_bytes = CT_PANEL_ROWS * (int64_t)ct_dtype_row_bytes(to->dtype, d);
    /* Long writes, so that the system caches the new file in pages as large as it has. */
    const int64_t step = CT_PANEL_ROWS * (COPY_BYTES > panel_bytes ? COPY_BYTES / panel_bytes : 1);
    for (int64_t r = 0; r < n_row; r += step) CT_TRY(write_group(c, to, from, r, n_row - r < step ? n_row - r : step, err));
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
        else if (from->dtype == t->dtype && from->panels == t->panels && !s->plus_one[i]) CT_TRY(copy_tensor(c, from, err));
        else if (from->panels || t->panels) CT_TRY(write_by_panels(c, t, from, err)); /* matrices: never plus_one */
        else CT_TRY(convert_tensor(c, t, from, s->plus_one[i], err));
    }
    return 0;
}

static int write_file(cutter *c, cut_source *s, cut_result *res, carat_error *err) {
    if (c->o->recipe) {
        cli_recipe_assign(c->o->recipe, s->t, s->n);
        keep_other_types(s);
    }
    CT_TRY(cli_layout_assign(c->o->layout, s->t, s->n, s->model.config.d_ple, err));
    CT_TRY(cut_source_put_keys(s, c->w, c->o->recipe, c->o->name, err));
    for (size_t i = 0; i < s->n; i++) {
        const ct_tensor *t = &s->t[i];
        CT_TRY(cli_layout_put(c->w, t, err));
        res->n_panels += t->panels;
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
    if (!o->recipe && !s->model.source.gguf) {
        return CT_FAIL(err, CARAT_EINVAL, "%s: is a folder, whose types GGUF readers do not expect: give --type", o->source);
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
    for (int i = 0; i < 3; i++) ct_free(c.group[i]);
    cut_source_close(&s);
    return rc;
}
