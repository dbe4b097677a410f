/* The plan: what is resident, mapped or streamed, from sizes alone.
 *
 * Without a ceiling, and with room for everything, weights are packed from the mapped file, or stay mapped where they lie as
 * the kernels read them; the table of per-layer embeddings is mapped. Where the memory that is free now does not suffice for
 * that, it is a ceiling like one that was given.
 *
 * Under a ceiling all that every token multiplies is resident: streaming it would cost its whole size a token. The table of
 * per-layer embeddings, of which a token reads one row, and experts, of which it reads a few, are resident where they fit and
 * streamed where not. Streamed experts take what is left, but for an eighth at most, which longer chunks get: a prompt reads
 * every expert once a chunk. */
#include <string.h>

#include "base/os.h"
#include "engine/engine_int.h"

/* For the program and libraries, stacks, the allocator's slack. */
#define PROGRAM_BYTES ((uint64_t)10 << 20)
/* Of memory in small pages, tables of 8 bytes a page; and what is charged but nowhere else counted. */
#define OTHER_SHARE 256
/* Reading names faults in what the system reads ahead with them. */
#define READ_AHEAD_BYTES ((uint64_t)8 << 20)
/* Mapped weights stay only while the system is not short of pages for anything else: they get a quarter more. */
#define MAPPED_MARGIN 4
/* Of the memory that is free now, for what others may take meanwhile. */
#define FREE_PERCENT 97
enum { LEAST_CHUNK = 16, MOST_CHUNK = 1024 };

const char *carat_place_key(carat_place p) {
    static const char *const key[] = {"auto", "resident", "mapped", "streamed", "zero"};
    return p >= CARAT_PLACE_AUTO && p <= CARAT_PLACE_ZERO ? key[p] : "?";
}

static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t tensor_bytes(const carat_model_info *i) {
    uint64_t n = 0;
    for (int r = 0; r < CARAT_N_ROLE; r++) n += i->role[r].bytes;
    return n;
}

/* Names, vocabulary and padding: what of the file is read through the mapping whatever the plan. */
static uint64_t header_bytes(const carat_model_info *i) {
    const uint64_t n = tensor_bytes(i);
    return i->file_bytes > n ? i->file_bytes - n : 0;
}

/* Sizes of the session f under p, into p. */
static void size_session(carat_plan *p, const carat_model *m, ct_forward_opts *f, const carat_session_opts *o) {
    const ct_tier_source ple = ct_place_ple_source(m, p->ple);
    f->stream_experts = p->experts == CARAT_PLACE_STREAMED;
    f->expert_ahead = f->stream_experts && !m->opts.no_expert_ahead;
    f->n_ple_slot = 2 * f->n_chunk + 512;
    ct_forward_estimate(&m->cfg, &m->weights, &m->kernels, f, &p->kv_bytes, &p->scratch_bytes);
    p->scratch_bytes += ct_session_token_bytes(f, o);
    p->ple_cache_bytes = m->cfg.d_ple ? ct_tier_bytes(&ple, f->n_ple_slot) : 0;
    p->n_chunk = f->n_chunk;
}

uint64_t ct_plan_session_bytes(const carat_plan *p) { return p->kv_bytes + p->scratch_bytes + p->ple_cache_bytes; }

static void add_up(carat_plan *p) {
    const uint64_t held = p->resident_bytes + p->mapped_bytes + p->ple_cache_bytes + p->expert_cache_bytes + p->reader_bytes +
                          p->kv_bytes + p->scratch_bytes + p->model_bytes;
    p->other_bytes = PROGRAM_BYTES + held / OTHER_SHARE;
    p->total_bytes = held + p->other_bytes;
}

/* Bytes by role and place. Norms are kept as f32 in the model's own memory; what of them is in the file is read once. */
static void fill_roles(carat_plan *p, const carat_model_info *i) {
    for (int r = 0; r < CARAT_N_ROLE; r++) {
        const carat_place at = r == CARAT_ROLE_PLE_TABLE ? p->ple : r == CARAT_ROLE_EXPERTS ? p->experts : p->weights;
        if (r == CARAT_ROLE_VISION || r == CARAT_ROLE_AUDIO || r == CARAT_ROLE_UNUSED || r == CARAT_ROLE_NORM) continue;
        p->resident[r] = at == CARAT_PLACE_RESIDENT ? i->role[r].bytes : 0;
        p->mapped[r] = at == CARAT_PLACE_MAPPED ? i->role[r].bytes : 0;
        p->streamed[r] = at == CARAT_PLACE_STREAMED ? i->role[r].bytes : 0;
    }
}

/* ---- without a ceiling ---- */

static void plan_open(carat_plan *p, const carat_model *m, ct_forward_opts *f, const carat_session_opts *o) {
    const carat_model_info *i = &m->info;
    uint64_t buffers;
    p->ple = !m->cfg.d_ple ? CARAT_PLACE_AUTO : m->opts.ple ? m->opts.ple : CARAT_PLACE_MAPPED;
    p->weights = CARAT_PLACE_MAPPED;
    size_session(p, m, f, o);
    const ct_pack_opts po = ct_place_pack_opts(m, p, f);
    p->resident_bytes = ct_pack_bytes(&m->weights, &m->cfg, &m->kernels, &po, &buffers);
    const uint64_t table = i->role[CARAT_ROLE_PLE_TABLE].bytes, packed = p->resident_bytes - (po.ple_table ? table : 0);
    const uint64_t read = i->file_bytes > table ? i->file_bytes - table : 0; /* by every token, or once */
    p->mapped_bytes = read > packed ? read - packed : 0;
    /* Packed: all but the two tables that are read by rows, and types that gain nothing. */
    p->weights = packed > 0 ? CARAT_PLACE_RESIDENT : CARAT_PLACE_MAPPED;
    p->experts = m->cfg.n_expert ? p->weights : CARAT_PLACE_AUTO;
    p->model_bytes = i->heap_bytes;
    p->reader_bytes = p->ple == CARAT_PLACE_STREAMED ? ct_io_bytes(CT_N_READER, ct_place_reader_buffer(m, p, NULL)) : 0;
    add_up(p);
    fill_roles(p, i);
    p->fits = true;
}

/* ---- under a ceiling ---- */

typedef struct {
    const carat_model *m;
    const carat_session_opts *o;
    const ct_expert_layer *layer; /* [n_layer] of the model's experts */
    size_t slot_bytes;            /* of one expert in the cache, all that goes with it */
    size_t cache_bytes;           /* of a cache without slots */
    uint64_t dense, experts, ple; /* bytes that each takes resident */
    uint64_t load_buffers;
} limits;

static int least_slots(const carat_model *m) { return 2 * m->cfg.n_expert_used; }

static void measure(limits *l) {
    const carat_model *m = l->m;
    carat_plan p = {.ram = 1, .weights = CARAT_PLACE_RESIDENT, .ple = CARAT_PLACE_STREAMED, .experts = CARAT_PLACE_STREAMED};
    const ct_forward_opts f = {.n_threads = 1};
    uint64_t buffers;
    ct_pack_opts po = ct_place_pack_opts(m, &p, &f);
    l->dense = ct_pack_bytes(&m->weights, &m->cfg, &m->kernels, &po, &l->load_buffers);
    po.no_experts = false;
    l->experts = ct_pack_bytes(&m->weights, &m->cfg, &m->kernels, &po, &buffers) - l->dense;
    l->load_buffers = max64(l->load_buffers, buffers);
    po.ple_table = true;
    l->ple = ct_pack_bytes(&m->weights, &m->cfg, &m->kernels, &po, &buffers) - l->dense - l->experts;
    l->load_buffers = max64(l->load_buffers, buffers);
    if (!m->cfg.n_expert) return;
    const ct_experts_opts one = ct_place_experts_opts(m, l->layer, 1), two = ct_place_experts_opts(m, l->layer, 2);
    l->slot_bytes = ct_experts_bytes(&two) - ct_experts_bytes(&one);
    l->cache_bytes = ct_experts_bytes(&one) - l->slot_bytes;
}

/* Everything but the experts' cache, under the places that p names. */
static void plan_fixed(carat_plan *p, const limits *l, ct_forward_opts *f) {
    const carat_model *m = l->m;
    size_session(p, m, f, l->o);
    p->resident_bytes = l->dense + (p->experts == CARAT_PLACE_RESIDENT ? l->experts : 0) + (p->ple == CARAT_PLACE_RESIDENT ? l->ple : 0);
    p->mapped_bytes = p->ple == CARAT_PLACE_MAPPED ? min64(READ_AHEAD_BYTES, l->ple) : 0; /* its pages come and go as there is room */
    p->model_bytes = m->info.heap_bytes + header_bytes(&m->info) + min64(READ_AHEAD_BYTES, m->info.file_bytes / 2);
    const size_t buffer = ct_place_reader_buffer(m, p, l->layer);
    p->reader_bytes = max64(buffer ? ct_io_bytes(CT_N_READER, buffer) : 0, l->load_buffers);
    p->expert_cache_bytes = 0;
    p->n_expert_slot = 0;
    add_up(p);
}

/* Slots within what the ceiling leaves; all of them counted, it is the total that grows. */
static void plan_slots(carat_plan *p, const limits *l, uint64_t ram) {
    const carat_model *m = l->m;
    if (p->experts != CARAT_PLACE_STREAMED) return;
    const uint64_t all = (uint64_t)p->n_expert_all, left = ram > p->total_bytes ? ram - p->total_bytes : 0;
    uint64_t bytes = left - left / OTHER_SHARE;
    if (m->opts.expert_cache) bytes = min64(bytes, m->opts.expert_cache);
    uint64_t n = bytes > l->cache_bytes ? min64((bytes - l->cache_bytes) / l->slot_bytes, all) : 0;
    if (n < (uint64_t)least_slots(m)) n = (uint64_t)least_slots(m);
    p->n_expert_slot = (int32_t)n;
    const ct_experts_opts o = ct_place_experts_opts(m, l->layer, (int)n);
    p->expert_cache_bytes = ct_experts_bytes(&o);
    add_up(p);
}

/* Does everything fit with experts and table in these places? */
static bool try_places(carat_plan *p, const limits *l, ct_forward_opts *f, carat_place ple, carat_place experts, uint64_t ram) {
    p->ple = ple;
    p->experts = experts;
    plan_fixed(p, l, f);
    plan_slots(p, l, ram);
    return p->total_bytes <= ram;
}

enum { N_CHOICE = 4 };

/* The i-th of the places that experts and table may have, fastest first. Does everything fit so? */
static bool try_choice(carat_plan *p, const limits *l, ct_forward_opts *f, int i, uint64_t ram) {
    const carat_model *m = l->m;
    const bool has_ple = m->cfg.d_ple > 0, has_experts = m->cfg.n_expert > 0;
    const carat_place ple[2] = {m->opts.ple ? m->opts.ple : CARAT_PLACE_RESIDENT, m->opts.ple ? m->opts.ple : CARAT_PLACE_STREAMED};
    const carat_place experts[2] = {m->opts.experts ? m->opts.experts : CARAT_PLACE_RESIDENT,
                                    m->opts.experts ? m->opts.experts : CARAT_PLACE_STREAMED};
    return try_places(p, l, f, has_ple ? ple[i / 2] : CARAT_PLACE_AUTO, has_experts ? experts[i % 2] : CARAT_PLACE_AUTO, ram);
}

/* The best places that fit. */
static bool choose_places(carat_plan *p, const limits *l, ct_forward_opts *f, uint64_t ram) {
    for (int i = 0; i < N_CHOICE; i++) {
        if (try_choice(p, l, f, i, ram)) return true;
    }
    return false;
}

static void set_chunk(ct_forward_opts *f, const ct_forward_opts *asked, int n) {
    f->n_chunk = n < asked->n_ctx ? n : asked->n_ctx;
    f->n_logits = asked->n_logits < f->n_chunk ? asked->n_logits : f->n_chunk;
}

/* Longer chunks for a prompt that reads experts from disk, while they take little of what the cache would have. */
static void lengthen_chunk(carat_plan *p, const limits *l, ct_forward_opts *f, const ct_forward_opts *asked, uint64_t ram) {
    const uint64_t cache = p->expert_cache_bytes;
    for (int n = MOST_CHUNK; n > f->n_chunk; n /= 2) {
        carat_plan longer = *p;
        ct_forward_opts g = *f;
        set_chunk(&g, asked, n);
        if (!try_places(&longer, l, &g, p->ple, p->experts, ram) || longer.expert_cache_bytes < cache - cache / 8) continue;
        *p = longer;
        *f = g;
        return;
    }
}

/* The least ceiling: the shortest chunk, and mostly as much on disk as may be; where that is little, its buffers take more. */
static uint64_t smallest(const limits *l, const ct_forward_opts *asked, const carat_plan *p) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < N_CHOICE; i++) {
        carat_plan q = *p;
        ct_forward_opts f = *asked;
        if (!l->o->n_chunk && f.n_chunk > LEAST_CHUNK) set_chunk(&f, asked, LEAST_CHUNK);
        (void)try_choice(&q, l, &f, i, 0);
        least = min64(least, q.total_bytes);
    }
    return least;
}

static void plan_limited(carat_plan *p, const limits *l, ct_forward_opts *f, uint64_t ram) {
    const ct_forward_opts asked = *f;
    p->ram = ram;
    p->weights = CARAT_PLACE_RESIDENT;
    p->n_expert_all = l->m->cfg.n_expert * l->m->cfg.n_layer;
    p->smallest = smallest(l, &asked, p);
    p->fits = choose_places(p, l, f, ram);
    for (int n = asked.n_chunk; !p->fits && !l->o->n_chunk && n > LEAST_CHUNK;) {
        n = n / 2 > LEAST_CHUNK ? n / 2 : LEAST_CHUNK;
        set_chunk(f, &asked, n);
        p->fits = choose_places(p, l, f, ram);
    }
    if (p->fits && p->experts == CARAT_PLACE_STREAMED && !l->o->n_chunk) lengthen_chunk(p, l, f, &asked, ram);
    fill_roles(p, &l->m->info);
}

/* ---- the whole ---- */

/* Is there room for everything in what is free? A file that is copied passes through the page cache: without room for both, it
 * is read past it. */
static bool open_fits(const carat_plan *p, const carat_model *m) {
    if (!p->available) return true;
    const uint64_t passing = p->resident_bytes ? m->info.file_bytes : p->total_bytes / MAPPED_MARGIN;
    return p->total_bytes + passing <= p->available / 100 * FREE_PERCENT;
}

/* A session of a model whose weights have their places. */
static bool plan_placed(carat_plan *p, const carat_model *m, ct_forward_opts *f, const carat_session_opts *o) {
    const ct_forward_opts asked = *f;
    pthread_mutex_lock(&m->place->lock);
    const bool done = m->place->done;
    if (done) {
        *p = m->place->plan;
        if (!o->n_chunk && p->n_chunk > f->n_chunk) set_chunk(f, &asked, p->n_chunk);
        size_session(p, m, f, o);
        /* Shorter chunks where others have taken the room. */
        while (p->ram && !o->n_chunk && f->n_chunk > LEAST_CHUNK && ct_place_total(m->place, p) > p->ram) {
            set_chunk(f, &asked, f->n_chunk / 2 > LEAST_CHUNK ? f->n_chunk / 2 : LEAST_CHUNK);
            size_session(p, m, f, o);
        }
        add_up(p);
    }
    pthread_mutex_unlock(&m->place->lock);
    return done;
}

int ct_plan_session(carat_plan *p, ct_forward_opts *f, const carat_model *m, const carat_session_opts *o, carat_error *err) {
    memset(p, 0, sizeof *p);
    CT_TRY(ct_session_resolve(f, m, o, err));
    if (plan_placed(p, m, f, o)) return 0;
    p->available = ct_memory_available();
    uint64_t ram = m->opts.ram;
    if (!ram && m->opts.experts != CARAT_PLACE_STREAMED) {
        ct_forward_opts g = *f;
        plan_open(p, m, &g, o);
        if (open_fits(p, m)) {
            *f = g;
            return 0;
        }
        const uint64_t available = p->available;
        memset(p, 0, sizeof *p);
        p->available = available;
    }
    if (!ram) ram = p->available ? p->available / 100 * FREE_PERCENT : UINT64_MAX / 2;
    limits l = {.m = m, .o = o};
    ct_expert_layer *layer = m->cfg.n_expert ? ct_alloc_array((size_t)m->cfg.n_layer, sizeof *layer) : NULL;
    if (m->cfg.n_expert && !layer) return CT_FAIL(err, CARAT_ENOMEM, "plan: out of memory");
    if (layer) ct_place_expert_layers(layer, m, NULL);
    l.layer = layer;
    measure(&l);
    plan_limited(p, &l, f, ram);
    ct_free(layer);
    return 0;
}

int carat_plan_make(carat_plan *out, const carat_model *m, const carat_session_opts *opts, carat_error *err) {
    const carat_session_opts o = opts ? *opts : carat_session_opts_default();
    ct_forward_opts f;
    return ct_plan_session(out, &f, m, &o, err);
}
