/* Sessions: one timeline each. The main verb, sync, reuses the longest common prefix of what is held and what is asked
 * for, drops the rest and evaluates what is new in chunks.
 *
 * With lookup, a sync of one new token evaluates guesses behind it. They are no part of what is held: a following sync
 * takes over those that it asks for, and drops the others as it drops any tail. Rings have room for that: they keep the
 * window and one chunk, and a pass with its guesses is at most a chunk. */
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "engine/engine_int.h"

#define DEFAULT_CTX 4096
#define DEFAULT_CHUNK 256
#define MAX_CHUNK 4096
#define DEFAULT_LOOKUP 15
#define MAX_LOOKUP 255
/* A head of fewer bytes stays in caches from token to token: reading less of it saves nothing. */
#define SCREEN_BYTES (16 << 20)

carat_session_opts carat_session_opts_default(void) { return (carat_session_opts){.size = sizeof(carat_session_opts)}; }

static int resolve_kv(ct_dtype *out, const carat_model *m, carat_kv_type kv, carat_error *err) {
    switch (kv) {
    case CARAT_KV_F16: *out = CT_F16; return 0;
    case CARAT_KV_F32: *out = CT_F32; return 0;
    case CARAT_KV_Q8_0: *out = CT_Q8_0; break;
    default: return CT_FAIL(err, CARAT_EINVAL, "session options: KV type is %d, expected one of carat_kv_type", (int)kv);
    }
    const int block = ct_dtype_block_len(*out);
    for (int i = 0; i < m->cfg.n_layer; i++) {
        if (m->cfg.layer[i].d_head % block == 0) continue;
        return CT_FAIL(err, CARAT_EUNSUPPORTED, "KV type %s: heads of layer %d hold %d values, expected a multiple of %d",
                       ct_dtype_name(*out), i, m->cfg.layer[i].d_head, block);
    }
    return 0;
}

/* Tokens a session of these options guesses at most. */
static int32_t n_lookup_of(const carat_session_opts *o) {
    if (o->lookup == CARAT_LOOKUP_OFF || o->tap) return 0;
    return o->n_lookup ? o->n_lookup : DEFAULT_LOOKUP;
}

/* How many logits a session of these options needs; 0: all. */
static int32_t n_top_of(const carat_model *m, const carat_session_opts *o) {
    const ct_matrix *w = &m->weights.output;
    const bool large = (uint64_t)w->d_out * w->row_bytes >= SCREEN_BYTES;
    return o->n_top < w->d_out && (large || o->screen_always) ? o->n_top : 0;
}

int ct_session_resolve(ct_forward_opts *f, const carat_model *m, const carat_session_opts *o, carat_error *err) {
    if (o->size != sizeof *o) return CT_FAIL(err, CARAT_EINVAL, "session options: size is wrong");
    if (!m->has_weights) return CT_FAIL(err, CARAT_EINVAL, "model was opened for its vocabulary only");
    ct_dtype kv;
    CT_TRY(resolve_kv(&kv, m, o->kv, err));
    if (o->n_ctx < 0 || o->n_chunk < 0 || o->n_logits < 0 || o->n_rewind < 0 || o->n_threads < 0 || o->n_threads > 1024) {
        return CT_FAIL(err, CARAT_EINVAL, "session options: negative size, or more than 1024 threads");
    }
    if (o->lookup < CARAT_LOOKUP_OFF || o->lookup > CARAT_LOOKUP_ALWAYS || o->n_lookup < 0 || o->n_lookup > MAX_LOOKUP) {
        return CT_FAIL(err, CARAT_EINVAL, "session options: lookup %d of %d tokens, expected a carat_lookup and at most %d",
                       (int)o->lookup, o->n_lookup, MAX_LOOKUP);
    }
    if (o->n_top < 0) return CT_FAIL(err, CARAT_EINVAL, "session options: n_top is %d, expected 0 (all) or more", o->n_top);
    int n_ctx = o->n_ctx;
    if (!n_ctx) n_ctx = m->cfg.n_ctx_train < DEFAULT_CTX ? m->cfg.n_ctx_train : DEFAULT_CTX;
    if (n_ctx > m->cfg.n_ctx_train) {
        return CT_FAIL(err, CARAT_EINVAL, "context of %d tokens, the model was trained for %d", n_ctx, m->cfg.n_ctx_train);
    }
    int n_chunk = o->n_chunk ? o->n_chunk : DEFAULT_CHUNK;
    if (n_chunk > MAX_CHUNK) n_chunk = MAX_CHUNK;
    if (n_chunk > n_ctx) n_chunk = n_ctx;
    int n_logits = o->n_logits ? o->n_logits : 1;
    if (n_logits <= n_lookup_of(o)) n_logits = n_lookup_of(o) + 1;
    if (n_logits > n_chunk) n_logits = n_chunk;
    *f = (ct_forward_opts){.n_ctx = n_ctx,
                           .n_chunk = n_chunk,
                           .n_logits = n_logits,
                           .n_rewind = o->n_rewind,
                           .n_top = n_top_of(m, o),
                           .n_threads = o->n_threads ? o->n_threads : ct_n_cores(),
                           .kv = kv};
    return 0;
}

static uint64_t token_bytes(int n_ctx, bool lookup) {
    return (uint64_t)n_ctx * sizeof(int32_t) + (lookup ? ct_lookup_bytes(n_ctx) : 0);
}

uint64_t ct_session_token_bytes(const ct_forward_opts *f, const carat_session_opts *o) { return token_bytes(f->n_ctx, n_lookup_of(o) > 0); }

int carat_session_new(carat_session **out, const carat_model *m, const carat_session_opts *opts, carat_error *err) {
    *out = NULL;
    const carat_session_opts o = opts ? *opts : carat_session_opts_default();
    ct_forward_opts f;
    carat_plan plan;
    CT_TRY(ct_plan_session(&plan, &f, m, &o, err));
    carat_session *s = ct_alloc(sizeof *s);
    if (!s) return CT_FAIL(err, CARAT_ENOMEM, "session: out of memory");
    s->model = m;
    s->progress = o.progress;
    s->progress_ud = o.progress_ud;
    s->all_rows = o.all_rows;
    s->tok = ct_alloc_array((size_t)f.n_ctx, sizeof *s->tok);
    int rc = s->tok ? 0 : CT_FAIL(err, CARAT_ENOMEM, "session: out of memory");
    if (!rc && n_lookup_of(&o) > 0) {
        s->lookup_mode = o.lookup;
        rc = ct_lookup_init(&s->lookup, s->tok, f.n_ctx, n_lookup_of(&o), err);
    }
    if (!rc) rc = ct_place_enter(m->place, m, &plan, &f, err);
    if (!rc) s->place_bytes = ct_plan_session_bytes(&plan);
    if (!rc) rc = ct_forward_init(&s->fw, &m->cfg, &m->place->pack.weights, &m->kernels, &f, err);
    if (rc) {
        carat_session_free(&s);
        return rc;
    }
    s->n_top = f.n_top;
    s->fw.head_always = o.screen_always;
    s->fw.tap = o.tap;
    s->fw.tap_ud = o.tap_ud;
    s->fw.route = o.route;
    s->fw.route_ud = o.route_ud;
    s->fw.route_uniform = o.route_uniform;
    s->fw.route_ahead = o.route && o.route_ahead;
    *out = s;
    return 0;
}

void carat_session_free(carat_session **sp) {
    carat_session *s = *sp;
    if (!s) return;
    ct_forward_free(&s->fw);
    if (s->place_bytes) ct_place_leave(s->model->place, s->place_bytes);
    ct_lookup_free(&s->lookup);
    ct_free(s->tok);
    ct_free(s);
    *sp = NULL;
}

static int check_tokens(const carat_session *s, const int32_t *tok, size_t n, carat_error *err) {
    if (n == 0 || !tok) return CT_FAIL(err, CARAT_EINVAL, "no tokens to evaluate, expected at least one");
    if (n > (size_t)s->fw.o.n_ctx) {
        return CT_FAIL(err, CARAT_EFULL, "%zu tokens do not fit the context of %d (use a larger -c)", n, s->fw.o.n_ctx);
    }
    for (size_t i = 0; i < n; i++) {
        if (tok[i] < 0 || tok[i] >= s->model->cfg.n_vocab) {
            return CT_FAIL(err, CARAT_EINVAL, "token %d at position %zu is outside the vocabulary of %d", tok[i], i,
                           s->model->cfg.n_vocab);
        }
    }
    return 0;
}

/* Is tok[0,n) what is held, gone on as guessed? Then its logits are there. */
static bool take_guessed(carat_session *s, const int32_t *tok, int32_t n) {
    const int32_t m = n - s->n_past;
    if (m < 1 || m > s->n_ahead || memcmp(s->tok, tok, (size_t)n * sizeof *tok) != 0) return false;
    s->n_past = n;
    s->n_ahead -= m;
    s->n_evaluated = 0;
    s->lookup_accepted += (uint64_t)m;
    s->logits += (size_t)m * (size_t)s->model->cfg.n_vocab;
    ct_lookup_push(&s->lookup, n);
    return true;
}

/* Cut the timeline to the longest prefix of tok[0,n) that can go on without evaluating anything again; at least the last
 * token is always left to do. */
static void rewind_to(carat_session *s, const int32_t *tok, int32_t n, bool from_start) {
    const int32_t n_held = s->n_past + s->n_ahead;
    int32_t keep = 0;
    if (!from_start) {
        while (keep < n_held && keep < n - 1 && s->tok[keep] == tok[keep]) keep++;
    }
    if (!ct_kv_can_rewind(&s->fw.kv, keep, s->model->cfg.w_swa)) keep = 0;
    if (keep == 0) ct_kv_reset(&s->fw.kv);
    if (keep > s->n_past) s->lookup_accepted += (uint64_t)(keep - s->n_past);
    ct_lookup_cut(&s->lookup, keep);
    s->n_past = keep;
    s->n_ahead = 0;
    s->logits = NULL;
}

/* Hand the logits of the m rows of the chunk at pos to the callback. *at: which row of fw.logits is the last one's. */
static int give_rows(carat_session *s, int32_t pos, int32_t m, carat_logits_fn row, void *ud, int32_t *at, carat_error *err) {
    const size_t n_vocab = (size_t)s->model->cfg.n_vocab;
    for (int32_t r = 0; r < m; r += s->fw.o.n_logits) {
        const int32_t n_row = m - r < s->fw.o.n_logits ? m - r : s->fw.o.n_logits;
        ct_forward_logits(&s->fw, r, n_row);
        for (int32_t i = 0; i < n_row; i++) {
            if (!row(ud, pos + r + i, s->fw.logits + (size_t)i * n_vocab)) {
                return CT_FAIL(err, CARAT_ECANCEL, "cancelled at position %d", pos + r + i);
            }
        }
        *at = n_row - 1;
    }
    return 0;
}

/* Logits of one row that nobody compares with other rows. */
static void last_logits(carat_session *s, int32_t row) {
    if (s->n_top) {
        ct_forward_logits_top(&s->fw, row, s->n_top);
    } else {
        ct_forward_logits(&s->fw, row, 1);
    }
}

static int evaluate_chunks(carat_session *s, const int32_t *tok, int32_t n, carat_logits_fn row, void *ud, carat_error *err) {
    const int32_t first = s->n_past;
    int32_t at = 0;
    s->n_evaluated = 0;
    while (s->n_past < n) {
        if (s->progress && !s->progress(s->progress_ud, s->n_past - first, n - first)) {
            return CT_FAIL(err, CARAT_ECANCEL, "cancelled after %d of %d tokens", s->n_past - first, n - first);
        }
        const int32_t pos = s->n_past, m = n - pos < s->fw.o.n_chunk ? n - pos : s->fw.o.n_chunk;
        const bool last = pos + m == n;
        CT_TRY(ct_forward_chunk(&s->fw, tok + pos, m, n - pos - m, pos, row || s->all_rows ? m : last ? 1 : 0, err));
        memcpy(s->tok + pos, tok + pos, (size_t)m * sizeof *tok);
        s->n_past += m;
        s->n_evaluated += m;
        if (row) {
            CT_TRY(give_rows(s, pos, m, row, ud, &at, err));
        } else if (last) {
            last_logits(s, m - 1);
        }
    }
    if (s->lookup_mode) ct_lookup_push(&s->lookup, n);
    s->logits = s->fw.logits + (size_t)at * (size_t)s->model->cfg.n_vocab;
    return 0;
}

/* Between evaluations the profile's clock runs for the caller. */
static int evaluate(carat_session *s, const int32_t *tok, int32_t n, carat_logits_fn row, void *ud, carat_error *err) {
    ct_profile_step(s->fw.profile, CARAT_STEP_OTHER);
    const int rc = evaluate_chunks(s, tok, n, row, ud, err);
    ct_profile_step(s->fw.profile, CARAT_STEP_SAMPLING);
    return rc;
}

/* Evaluate one token more and what may follow it. */
static int evaluate_with_guesses(carat_session *s, int32_t tok, carat_error *err) {
    const int32_t pos = s->n_past;
    s->n_evaluated = 0;
    if (s->progress && !s->progress(s->progress_ud, 0, 1)) return CT_FAIL(err, CARAT_ECANCEL, "cancelled after 0 of 1 tokens");
    s->tok[pos] = tok;
    ct_lookup_push(&s->lookup, pos + 1);
    int32_t room = s->fw.o.n_ctx - pos - 1;
    if (room > s->fw.o.n_chunk - 1) room = s->fw.o.n_chunk - 1;
    const int32_t k = ct_lookup_guess(&s->lookup, s->tok + pos + 1, room, s->lookup_mode == CARAT_LOOKUP_ALWAYS);
    ct_profile_step(s->fw.profile, CARAT_STEP_OTHER);
    const double t0 = ct_now_ms();
    CT_TRY(ct_forward_chunk(&s->fw, s->tok + pos, k + 1, 0, pos, k + 1, err));
    if (k == 0) last_logits(s, 0);
    else ct_forward_logits(&s->fw, 0, k + 1);
    ct_lookup_timed(&s->lookup, k + 1, ct_now_ms() - t0);
    ct_profile_step(s->fw.profile, CARAT_STEP_SAMPLING);
    s->n_past = pos + 1;
    s->n_ahead = k;
    s->n_evaluated = 1;
    s->lookup_passes += k > 0;
    s->lookup_plain += k == 0;
    s->lookup_guessed += (uint64_t)k;
    s->logits = s->fw.logits;
    return 0;
}

int carat_session_sync(carat_session *s, const int32_t *tok, size_t n, carat_error *err) {
    CT_TRY(check_tokens(s, tok, n, err));
    if (take_guessed(s, tok, (int32_t)n)) return 0;
    rewind_to(s, tok, (int32_t)n, false);
    if (s->lookup_mode && s->n_past > 0 && (size_t)s->n_past == n - 1) return evaluate_with_guesses(s, tok[n - 1], err);
    return evaluate(s, tok, (int32_t)n, NULL, NULL, err);
}

int carat_session_sync_logits(carat_session *s, const int32_t *tok, size_t n, bool from_start, carat_logits_fn row, void *ud,
                              carat_error *err) {
    if (!row) return CT_FAIL(err, CARAT_EINVAL, "sync_logits: no callback");
    CT_TRY(check_tokens(s, tok, n, err));
    rewind_to(s, tok, (int32_t)n, from_start);
    return evaluate(s, tok, (int32_t)n, row, ud, err);
}

const float *carat_session_logits(const carat_session *s) { return s->logits; }

int32_t carat_session_n_past(const carat_session *s) { return s->n_past; }
int32_t carat_session_n_evaluated(const carat_session *s) { return s->n_evaluated; }
int32_t carat_session_n_ctx(const carat_session *s) { return s->fw.o.n_ctx; }

void carat_session_get_stats(const carat_session *s, carat_session_stats *out) {
    const carat_model *m = s->model;
    const ct_place *place = m->place;
    uint64_t ple_disk_reads, ple_read_bytes;
    ct_latency ple_disk;
    ct_tier_disk(&s->fw.ple_tier, &ple_disk_reads, &ple_read_bytes, &ple_disk);
    *out = (carat_session_stats){
        .kv_bytes = s->fw.kv.bytes,
        .scratch_bytes = s->fw.plan.bytes + token_bytes(s->fw.o.n_ctx, s->lookup_mode != CARAT_LOOKUP_OFF),
        .model_bytes = m->info.heap_bytes,
        .packed_bytes = place->pack.bytes,
        .mapped_bytes = place->plan.ram ? 0 : m->info.file_bytes - (place->pack.bytes < m->info.file_bytes ? place->pack.bytes : 0),
        .ple_table_bytes = m->info.role[CARAT_ROLE_PLE_TABLE].bytes,
        .ple = place->ple.place,
        .ple_cache_bytes = m->cfg.d_ple ? ct_tier_bytes(&place->ple, s->fw.ple_tier.n_slot) : 0,
        .ple_reads = s->fw.ple_tier.reads,
        .ple_hits = s->fw.ple_tier.hits,
        .ple_disk_reads = ple_disk_reads,
        .ple_read_bytes = ple_read_bytes,
        .ple_stall_ms = s->fw.ple_tier.stall_ms,
        .ple_lookup = ct_latency_report(&s->fw.ple_tier.lookup),
        .ple_disk = ct_latency_report(&ple_disk),
        .experts = place->plan.experts,
        .expert_cache_bytes = place->experts ? place->plan.expert_cache_bytes : 0,
        .n_expert_slot = place->experts ? ct_experts_n_slot(place->experts) : 0,
        .expert_prefill = s->fw.expert_prefill,
        .expert_decode = s->fw.expert_decode,
        .reader_bytes = place->io ? place->plan.reader_bytes : 0,
        .expert_evals = s->fw.expert_evals - s->expert_evals_before,
        .head_screened = s->fw.head_screened,
        .head_whole = s->fw.head_whole,
        .head_panels = s->fw.head_panels,
        .head_panels_kept = s->fw.head_panels_kept,
        .lookup_passes = s->lookup_passes,
        .lookup_guessed = s->lookup_guessed,
        .lookup_accepted = s->lookup_accepted,
        .lookup_plain = s->lookup_plain,
        .n_threads = s->fw.o.n_threads,
        .cpu = s->model->kernels.level,
    };
}

void carat_session_reset_stats(carat_session *s) {
    ct_tier_reset_stats(&s->fw.ple_tier);
    memset(&s->fw.expert_prefill, 0, sizeof s->fw.expert_prefill);
    memset(&s->fw.expert_decode, 0, sizeof s->fw.expert_decode);
    s->expert_evals_before = s->fw.expert_evals;
    s->fw.head_screened = s->fw.head_whole = s->fw.head_panels = s->fw.head_panels_kept = 0;
    s->lookup_passes = s->lookup_guessed = s->lookup_accepted = s->lookup_plain = 0;
}

uint64_t carat_model_expert_loads(const carat_model *m) {
    return m->place && m->place->experts ? ct_experts_loads(m->place->experts) : 0;
}

const uint64_t *carat_session_expert_counts(const carat_session *s) { return s->fw.expert_counts; }
