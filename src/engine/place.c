/* Carrying out the plan: what goes into memory, what is opened to be streamed. */
#include "engine/place.h"

#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "engine/engine_int.h"
#include "kernels/panel.h"
#include "runtime/cache.h"

/* Is the matrix of streamed experts laid out as panels when it is read? */
static bool laid(const ct_matrix *m, const ct_kernels *k) { return !m->panels && k->matmul_panel[m->dtype]; }

void ct_place_expert_layers(ct_expert_layer *out, const carat_model *m, const ct_direct *file) {
    for (int il = 0; il < m->cfg.n_layer; il++) {
        const ct_layer_weights *w = &m->weights.layer[il];
        const ct_matrix *part[CT_EXPERT_PARTS] = {&w->ffn_gate_exps, &w->ffn_up_exps, &w->ffn_down_exps};
        for (int p = 0; p < CT_EXPERT_PARTS; p++) {
            const ct_matrix *x = part[p];
            ct_expert_part *o = &out[il].part[p];
            *o = (ct_expert_part){.stride = x->expert_bytes, .n_row = x->d_out, .row_bytes = x->row_bytes, .dtype = x->dtype,
                                  .slot_bytes = ct_panel_bytes(x->d_out, x->row_bytes), .lay = laid(x, &m->kernels)};
            const int i = ct_source_locate(&m->source, x->data, &o->offset);
            o->file = file ? &file[i] : NULL;
        }
    }
}

/* On a reader thread. */
static void lay_rows(const ct_expert_part *p, int64_t row0, int64_t n_row, const uint8_t *src, uint8_t *dst) {
    ct_pack_rows(dst + (size_t)row0 * p->row_bytes, p->dtype, src, p->row_bytes, n_row);
}

ct_experts_opts ct_place_experts_opts(const carat_model *m, const ct_expert_layer *layer, int n_slot) {
    return (ct_experts_opts){.layer = layer, .n_layer = m->cfg.n_layer, .n_expert = m->cfg.n_expert, .n_slot = n_slot,
                             .lay = lay_rows, .grain = CT_PANEL_ROWS, .half_life = CT_CACHE_HALF_LIFE};
}

ct_pack_opts ct_place_pack_opts(const carat_model *m, const carat_plan *p, const ct_forward_opts *f) {
    static const ct_direct to_be_opened; /* stands for the files: carry_out puts them here */
    const bool limited = p->ram > 0;
    return (ct_pack_opts){.split_head = f->n_top > 0 && !limited,
                          .all = limited,
                          .no_experts = p->experts == CARAT_PLACE_STREAMED,
                          .ple_table = p->ple == CARAT_PLACE_RESIDENT,
                          .source = &m->source,
                          .file = limited ? &to_be_opened : NULL,
                          .n_threads = f->n_threads};
}

ct_tier_source ct_place_ple_source(const carat_model *m, carat_place place) {
    const ct_matrix *t = &m->weights.per_layer_token_embd;
    return (ct_tier_source){.place = place, .row_bytes = t->row_bytes, .n_row = t->d_out};
}

size_t ct_place_reader_buffer(const carat_model *m, const carat_plan *p, const ct_expert_layer *layer) {
    size_t n = 0;
    if (p->ple == CARAT_PLACE_STREAMED) n = ct_direct_room(m->weights.per_layer_token_embd.row_bytes);
    if (p->experts == CARAT_PLACE_STREAMED) {
        const size_t e = ct_experts_buffer(layer, m->cfg.n_layer, CT_PANEL_ROWS);
        n = e > n ? e : n;
        n = n > CT_DIRECT_ALIGN ? n : CT_DIRECT_ALIGN; /* a pool needs readers even where they read into slots */
    }
    return n;
}

void ct_place_advise(const ct_source *s) {
    for (int i = 0; i < ct_source_n_files(s); i++) ct_map_usual(ct_source_file(s, i));
    for (size_t i = 0; s->gguf && i < ct_gguf_n_tensor(s->gguf); i++) {
        const ct_tensor *t = ct_gguf_tensor_at(s->gguf, i);
        if (t->panels) ct_map_huge(ct_gguf_file(s->gguf, t->file), (size_t)t->offset, t->bytes);
    }
}

static int open_files(ct_place *p, const carat_model *m, carat_error *err) {
    const int n = ct_source_n_files(&m->source);
    p->file = ct_alloc_array((size_t)n, sizeof *p->file);
    if (!p->file) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    for (int i = 0; i < n; i++) CT_TRY(ct_direct_open(&p->file[i], ct_source_file(&m->source, i), err));
    return 0;
}

static int open_experts(ct_place *p, const carat_model *m, carat_error *err) {
    p->expert_layer = ct_alloc_array((size_t)m->cfg.n_layer, sizeof *p->expert_layer);
    if (!p->expert_layer) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    ct_place_expert_layers(p->expert_layer, m, p->file);
    return 0;
}

/* What the forward pass sees of a streamed expert's matrix: its layout in a slot. */
static void mark_laid(ct_place *p, const carat_model *m) {
    for (int il = 0; il < m->cfg.n_layer; il++) {
        ct_layer_weights *w = &p->pack.weights.layer[il];
        ct_matrix *part[CT_EXPERT_PARTS] = {&w->ffn_gate_exps, &w->ffn_up_exps, &w->ffn_down_exps};
        for (int i = 0; i < CT_EXPERT_PARTS; i++) part[i]->panels = part[i]->panels || laid(part[i], &m->kernels);
    }
}

static void open_ple(ct_place *p, const carat_model *m, carat_place place) {
    const ct_matrix *t = &p->pack.weights.per_layer_token_embd;
    uint64_t offset;
    const int i = ct_source_locate(&m->source, m->weights.per_layer_token_embd.data, &offset);
    p->ple = ct_place_ple_source(m, place);
    p->ple.data = t->data;
    p->ple.offset = offset;
    p->ple.io = p->io;
    if (place == CARAT_PLACE_STREAMED) p->ple.file = &p->file[i];
    /* With the system's reading ahead a row would bring megabytes of its neighbours. */
    if (place == CARAT_PLACE_MAPPED) ct_map_random(ct_source_file(&m->source, i), (size_t)offset, (size_t)t->d_out * t->row_bytes);
}

static int carry_out(ct_place *p, const carat_model *m, const carat_plan *plan, const ct_forward_opts *f, carat_error *err) {
    const bool streams = plan->ple == CARAT_PLACE_STREAMED || plan->experts == CARAT_PLACE_STREAMED;
    if (plan->ram || streams) CT_TRY(open_files(p, m, err));
    if (!plan->ram && m->quiet) ct_place_advise(&m->source);
    ct_pack_opts po = ct_place_pack_opts(m, plan, f);
    if (po.file) po.file = p->file;
    CT_TRY(ct_pack_make(&p->pack, &m->weights, &m->cfg, &m->kernels, &po, err));
    for (int i = 0; p->file && i < ct_source_n_files(&m->source); i++) CT_TRY(ct_direct_check(&p->file[i], err));
    if (plan->experts == CARAT_PLACE_STREAMED) CT_TRY(open_experts(p, m, err));
    if (streams) CT_TRY(ct_io_new(&p->io, CT_N_READER, ct_place_reader_buffer(m, plan, p->expert_layer), err));
    if (plan->experts == CARAT_PLACE_STREAMED) {
        ct_experts_opts o = ct_place_experts_opts(m, p->expert_layer, plan->n_expert_slot);
        o.io = p->io;
        CT_TRY(ct_experts_new(&p->experts, &o, err));
        mark_laid(p, m);
    }
    if (plan->ple != CARAT_PLACE_AUTO) open_ple(p, m, plan->ple);
    p->plan = *plan;
    return 0;
}

static void undo(ct_place *p) {
    ct_experts_free(&p->experts);
    ct_io_free(&p->io);
    ct_pack_free(&p->pack);
    ct_free(p->file);
    ct_free(p->expert_layer);
    p->file = NULL;
    p->expert_layer = NULL;
    memset(&p->ple, 0, sizeof p->ple);
}

/* Under a ceiling: what is refused, and what would do. */
static int too_small(const carat_plan *p, uint64_t ram, uint64_t need, carat_error *err) {
    return CT_FAIL(err, CARAT_ENOMEM,
                   "%llu MiB are needed where %llu MiB are %s (weights %llu, KV cache %llu, buffers %llu): a ceiling of %llu MiB "
                   "would do; a smaller context, KV type q8_0 or a smaller weight type needs less",
                   (unsigned long long)((need + 0xfffff) >> 20), (unsigned long long)(ram >> 20), p->ram == ram ? "allowed" : "left",
                   (unsigned long long)(p->resident_bytes >> 20), (unsigned long long)(p->kv_bytes >> 20),
                   (unsigned long long)(p->scratch_bytes >> 20), (unsigned long long)((p->smallest + 0xfffff) >> 20));
}

uint64_t ct_place_total(const ct_place *p, const carat_plan *session) {
    return p->plan.total_bytes - ct_plan_session_bytes(&p->plan) + p->session_bytes + ct_plan_session_bytes(session);
}

/* A later session, of a model whose weights have their places. */
static int join(const ct_place *p, const carat_plan *plan, ct_forward_opts *f, carat_error *err) {
    const uint64_t mine = ct_plan_session_bytes(plan), total = ct_place_total(p, plan);
    f->stream_experts = p->experts != NULL;
    if (!p->plan.ram || total <= p->plan.ram) return 0;
    return CT_FAIL(err, CARAT_ENOMEM, "another session of %llu MiB needs a ceiling of %llu MiB, the model was opened with %llu MiB",
                   (unsigned long long)(mine >> 20), (unsigned long long)((total + 0xfffff) >> 20), (unsigned long long)(p->plan.ram >> 20));
}

int ct_place_enter(ct_place *p, const carat_model *m, const carat_plan *plan, ct_forward_opts *f, carat_error *err) {
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    if (p->done) {
        rc = join(p, plan, f, err);
    } else if (!plan->fits) {
        rc = too_small(plan, plan->ram, plan->smallest, err);
    } else {
        rc = carry_out(p, m, plan, f, err);
        p->done = rc == 0;
        if (rc) undo(p);
    }
    if (!rc) p->session_bytes += ct_plan_session_bytes(plan);
    pthread_mutex_unlock(&p->lock);
    if (rc) return rc;
    f->ple = p->ple.place == CARAT_PLACE_AUTO ? NULL : &p->ple;
    f->experts = p->experts;
    f->expert_ahead = p->experts && !m->opts.no_expert_ahead;
    return 0;
}

void ct_place_leave(ct_place *p, uint64_t session_bytes) {
    pthread_mutex_lock(&p->lock);
    p->session_bytes -= session_bytes;
    pthread_mutex_unlock(&p->lock);
}

void ct_place_free(ct_place *p) {
    undo(p);
    pthread_mutex_destroy(&p->lock);
}
