/* Where weights are changes no bit: mapped, resident, or streamed through few slots, at every level, in chunks of any size,
 * with guesses and without; and the plan is what is held, down to the smallest ceiling. */
#include "memory_util.h"

#include "formats/gguf.h"

enum { N_TOK = 64, N_MODEL = 9 };

typedef struct {
    char path[1200];
    bool small; /* an oracle, or one made here */
} model;

static model all[N_MODEL];
static int n_model;

static void add(const char *path, bool is_small) {
    snprintf(all[n_model].path, sizeof all[n_model].path, "%s", path);
    all[n_model++].small = is_small;
}

static int make_models(void **state) {
    static maker made;
    char folder[1200];
    (void)state;
    static const char *const bundled[] = {"carat-story-e", "carat-story-moe"}, *const oracle[] = {"e2b", "26b-a4b"};
    for (int i = 0; i < 2; i++) {
        char file[40];
        add(memory_bundled(bundled[i]), false);
        snprintf(file, sizeof file, "panels%d.gguf", i);
        memory_cut(memory_bundled(bundled[i]), "--layout panels", maker_path(file));
        add(maker_path(file), false);
        snprintf(folder, sizeof folder, "%s/tests/oracle/%s", getenv("CARAT_ROOT"), oracle[i]);
        add(folder, true);
        snprintf(file, sizeof file, "oracle%d.gguf", i);
        memory_cut(folder, "--type q8_0", maker_path(file));
        add(maker_path(file), true);
    }
    /* Gate and up of experts as matrices of their own. */
    maker_moe(&made);
    for (int il = 0;; il++) {
        char name[96];
        snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", il);
        const maker_tensor *t = maker_find_tensor(&made, name);
        if (!t) break;
        const maker_tensor both = *t;
        maker_drop_tensor(&made, name);
        for (int up = 0; up < 2; up++) {
            snprintf(name, sizeof name, "blk.%d.ffn_%s_exps.weight", il, up ? "up" : "gate");
            maker_add(&made, name, both.type, 3, both.shape[0], both.shape[1] / 2, both.shape[2]);
        }
    }
    maker_write(&made, maker_path("apart.gguf"));
    add(maker_path("apart.gguf"), true);
    return 0;
}

typedef struct {
    carat_place ple, experts;
    uint64_t ram, expert_cache;
    bool no_ahead;
} places;

typedef struct {
    const char *path, *cpu;
    int n_chunk;
    carat_lookup lookup;
} how;

static bool keep_row(void *ud, int32_t pos, const float *logits) {
    float **out = ud;
    const int32_t n_vocab = (int32_t)(uintptr_t)out[1];
    memcpy(out[0] + (size_t)pos * (size_t)n_vocab, logits, (size_t)n_vocab * sizeof *logits);
    return true;
}

/* All logits of the text, [n_tok, n_vocab]: half of it at once, then token by token where there is lookup. */
static float *logits_of(const how *h, const places *p, size_t *bytes, carat_session_stats *stats) {
    carat_error err = {0};
    carat_model_opts mo = carat_model_opts_default();
    carat_session_opts so = carat_session_opts_default();
    carat_model_info info;
    mo.cpu = h->cpu, mo.ram = p->ram, mo.ple = p->ple, mo.experts = p->experts, mo.expert_cache = p->expert_cache, mo.no_expert_ahead = p->no_ahead;
    so.n_ctx = N_TOK, so.n_chunk = h->n_chunk, so.n_threads = h->n_chunk == 64 ? 2 : 1, so.lookup = h->lookup, so.n_lookup = h->lookup ? 4 : 0;
    carat_model *m = memory_open(h->path, &mo);
    carat_session *s = memory_session(m, &so);
    carat_model_get_info(m, &info);
    int32_t tok[N_TOK];
    memory_text(tok, N_TOK, info.n_vocab, 0);
    *bytes = (size_t)N_TOK * (size_t)info.n_vocab * sizeof(float);
    float *out[2] = {calloc(1, *bytes), (float *)(uintptr_t)info.n_vocab};
    assert_non_null(out[0]);
    const int at_once = h->lookup ? N_TOK / 2 : N_TOK;
    if (carat_session_sync_logits(s, tok, (size_t)at_once, true, keep_row, out, &err)) fail_msg("%s", err.msg);
    for (int n = at_once + 1; n <= N_TOK; n++) {
        if (carat_session_sync(s, tok, (size_t)n, &err)) fail_msg("%s", err.msg);
        (void)keep_row(out, n - 1, carat_session_logits(s));
    }
    if (h->lookup) {
        carat_session_get_stats(s, stats);
        assert_true(stats->lookup_accepted > 0);
    }
    carat_session_get_stats(s, stats);
    carat_session_free(&s);
    carat_model_close(&m);
    return out[0];
}

static void assert_same(const how *h, const places *p, const float *want, size_t bytes, carat_session_stats *st) {
    size_t n;
    float *have = logits_of(h, p, &n, st);
    assert_int_equal(n, bytes);
    if (memcmp(have, want, n) != 0) {
        fail_msg("%s at %s, chunks of %d: other logits with rows %s, experts %s, ceiling %llu", h->path, h->cpu ? h->cpu : "best", h->n_chunk,
                 carat_place_key(p->ple), carat_place_key(p->experts), (unsigned long long)p->ram);
    }
    free(have);
}

static void same__in_all_places(const how *h) {
    static const places plain = {0}, place[] = {
        {.ram = 256 * MIB},
        {.ple = CARAT_PLACE_RESIDENT, .experts = CARAT_PLACE_RESIDENT},
        {.ple = CARAT_PLACE_STREAMED, .experts = CARAT_PLACE_STREAMED, .ram = 256 * MIB, .expert_cache = 1},
        {.ple = CARAT_PLACE_MAPPED, .experts = CARAT_PLACE_STREAMED, .ram = 256 * MIB, .expert_cache = 1, .no_ahead = true},
        {.ple = CARAT_PLACE_STREAMED, .experts = CARAT_PLACE_STREAMED, .ram = 256 * MIB, .no_ahead = true},
        {.ple = CARAT_PLACE_STREAMED},
    };
    carat_session_stats st;
    size_t bytes;
    float *want = logits_of(h, &plain, &bytes, &st);
    bool finite = false;
    for (size_t i = 0; i < bytes / sizeof *want; i++) finite = finite || (want[i] > -1e30f && want[i] < 1e30f && want[i] != 0.0f);
    assert_true(finite);
    const bool has_experts = st.expert_evals > 0;
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        if (has_experts && place[i].ple && !place[i].experts) continue; /* the same as plain */
        assert_same(h, &place[i], want, bytes, &st);
        if (has_experts) {
            assert_int_equal(st.experts == CARAT_PLACE_STREAMED, place[i].experts == CARAT_PLACE_STREAMED);
            if (st.experts != CARAT_PLACE_STREAMED) continue;
            assert_true(st.expert_prefill.misses + st.expert_decode.misses > 0);
            if (place[i].no_ahead && h->n_chunk == 1) assert_int_equal(st.expert_decode.hinted, 0);
        } else if (place[i].ple) {
            assert_int_equal(st.ple, place[i].ple);
            assert_int_equal(st.ple_disk_reads > 0, place[i].ple == CARAT_PLACE_STREAMED);
        }
    }
    free(want);
}

static void logits__at_every_level(void **state) {
    (void)state;
    static const char *const level[] = {"ref", "portable", NULL};
    for (int i = 0; i < n_model; i++) {
        for (int l = all[i].small ? 0 : 1; l < 3; l++) same__in_all_places(&(how){all[i].path, level[l], 64, CARAT_LOOKUP_OFF});
    }
}

static void logits__in_chunks_of_any_size(void **state) {
    (void)state;
    for (int i = 0; i < n_model; i++) {
        same__in_all_places(&(how){all[i].path, NULL, 7, CARAT_LOOKUP_OFF});
        same__in_all_places(&(how){all[i].path, NULL, 1, CARAT_LOOKUP_OFF});
    }
}

static void logits__with_guesses(void **state) {
    (void)state;
    for (int i = 0; i < n_model; i++) same__in_all_places(&(how){all[i].path, NULL, 16, CARAT_LOOKUP_ALWAYS});
}

/* The ablation is the model whose table holds zeroes. */
static void zero__is_a_table_of_zeroes(void **state) {
    (void)state;
    char zeroed[300];
    carat_error err = {0};
    snprintf(zeroed, sizeof zeroed, "%s", maker_path("zeroed.gguf"));
    memory_copy(memory_bundled("carat-story-e"), zeroed);
    ct_gguf *g = NULL;
    assert_int_equal(ct_gguf_open(&g, zeroed, &err), 0);
    const ct_tensor t = *ct_gguf_tensor(g, "per_layer_token_embd.weight");
    ct_gguf_close(&g);
    FILE *f = fopen(zeroed, "r+b");
    assert_int_equal(fseek(f, (long)t.offset, SEEK_SET), 0);
    for (size_t i = 0; i < t.bytes; i++) putc(0, f);
    assert_int_equal(fclose(f), 0);
    static const places zero[] = {{.ple = CARAT_PLACE_ZERO}, {.ple = CARAT_PLACE_ZERO, .ram = 256 * MIB}}, plain = {0};
    carat_session_stats st;
    size_t bytes, n;
    float *want = logits_of(&(how){zeroed, NULL, 16, 0}, &plain, &bytes, &st);
    float *with = logits_of(&(how){memory_bundled("carat-story-e"), NULL, 16, 0}, &plain, &n, &st);
    assert_int_equal(n, bytes);
    assert_true(memcmp(with, want, n) != 0);
    for (int i = 0; i < 2; i++) assert_same(&(how){memory_bundled("carat-story-e"), NULL, 16, 0}, &zero[i], want, bytes, &st);
    free(want);
    free(with);
}

/* ---- the plan ---- */

static void assert_plan_is_held(const carat_model *m, const carat_session_opts *so, carat_plan *p) {
    carat_session_stats st;
    *p = memory_plan(m, so);
    carat_session *s = memory_session(m, so);
    carat_session_get_stats(s, &st);
    assert_int_equal(p->kv_bytes, st.kv_bytes);
    assert_int_equal(p->scratch_bytes, st.scratch_bytes);
    assert_int_equal(p->resident_bytes, st.packed_bytes);
    assert_int_equal(p->ple_cache_bytes, st.ple_cache_bytes);
    assert_int_equal(p->expert_cache_bytes, st.expert_cache_bytes);
    assert_int_equal(p->n_expert_slot, st.n_expert_slot);
    assert_int_equal(p->ple, st.ple);
    assert_int_equal(p->experts, st.experts);
    assert_int_equal(p->n_chunk, s->fw.o.n_chunk);
    assert_true(st.model_bytes <= p->model_bytes);
    if (st.reader_bytes) assert_int_equal(p->reader_bytes, st.reader_bytes);
    const uint64_t sum = p->resident_bytes + p->mapped_bytes + p->ple_cache_bytes + p->expert_cache_bytes + p->reader_bytes + p->kv_bytes +
                         p->scratch_bytes + p->model_bytes + p->other_bytes;
    assert_int_equal(p->total_bytes, sum);
    /* Every byte of the file that a plan places is in one place. */
    carat_model_info info;
    carat_model_get_info(m, &info);
    for (int r = 0; r < CARAT_N_ROLE; r++) assert_true(p->resident[r] + p->mapped[r] + p->streamed[r] <= info.role[r].bytes);
    carat_session_free(&s);
}

static void plans__are_what_is_held(void **state) {
    (void)state;
    for (int i = 0; i < n_model; i++) {
        for (int k = 0; k < 8; k++) {
            carat_model_opts mo = carat_model_opts_default();
            carat_session_opts so = carat_session_opts_default();
            carat_plan p;
            mo.ram = k % 4 == 0 ? 0 : 512 * MIB;
            if (k % 4 == 2) mo.ple = mo.experts = CARAT_PLACE_STREAMED;
            if (k % 4 == 3) mo.ple = mo.experts = CARAT_PLACE_STREAMED, mo.expert_cache = 300000;
            so.n_ctx = 60, so.n_threads = 2;
            if (k >= 4) so.n_chunk = 9, so.lookup = CARAT_LOOKUP_AUTO, so.kv = CARAT_KV_F32;
            carat_model *m = memory_open(all[i].path, &mo);
            assert_plan_is_held(m, &so, &p);
            assert_true(p.fits);
            assert_int_equal(p.ram, mo.ram);
            carat_model_close(&m);
        }
    }
}

static uint64_t whole_mib(uint64_t n) { return (n + MIB - 1) / MIB * MIB; }

/* The smallest ceiling works, whatever the context; a byte less is refused, and the message says what would do. */
static void smallest__ceilings_work_and_less_is_refused(void **state) {
    (void)state;
    static const int ctx[] = {9, 64, 100, 333, 1000};
    for (int i = 0; i < n_model; i++) {
        for (int k = 0; k < 5; k++) {
            carat_model_opts mo = carat_model_opts_default();
            carat_session_opts so = carat_session_opts_default();
            carat_error err = {0};
            carat_session *s = NULL;
            carat_model_info info;
            so.n_ctx = ctx[k], so.n_threads = 1;
            mo.ram = 1;
            carat_model *m = memory_open(all[i].path, &mo);
            carat_model_get_info(m, &info);
            if (so.n_ctx > info.n_ctx_train) so.n_ctx = info.n_ctx_train;
            carat_plan p = memory_plan(m, &so), q;
            assert_false(p.fits);
            const uint64_t least = p.smallest;
            char would[32];
            snprintf(would, sizeof would, "ceiling of %llu MiB", (unsigned long long)(whole_mib(least) / MIB));
            assert_int_equal(carat_session_new(&s, m, &so, &err), CARAT_ENOMEM);
            assert_null(s);
            if (!strstr(err.msg, would) || strchr(err.msg, '\n')) fail_msg("%s", err.msg);
            carat_model_close(&m);

            mo.ram = least - 1;
            m = memory_open(all[i].path, &mo);
            q = memory_plan(m, &so);
            assert_false(q.fits);
            assert_int_equal(q.smallest, least);
            assert_int_equal(carat_session_new(&s, m, &so, &err), CARAT_ENOMEM);
            carat_model_close(&m);

            for (int up = 0; up < 2; up++) {
                mo.ram = up ? whole_mib(least) : least;
                m = memory_open(all[i].path, &mo);
                assert_plan_is_held(m, &so, &q);
                assert_true(q.fits);
                assert_true(q.total_bytes <= mo.ram);
                s = memory_session(m, &so);
                int32_t tok[9];
                memory_text(tok, 9, info.n_vocab, 1);
                if (carat_session_sync(s, tok, 9, &err)) fail_msg("%s", err.msg);
                carat_session_free(&s);
                carat_model_close(&m);
            }
        }
    }
}

/* More memory never gives a plan that puts less of it to use, and none ever exceeds its ceiling. */
static void plans__grow_with_the_ceiling(void **state) {
    (void)state;
    for (int i = 0; i < n_model; i++) {
        uint64_t slots = 0;
        for (uint64_t ram = 24 * MIB; ram < 64 * MIB; ram += MIB / 2) {
            carat_model_opts mo = carat_model_opts_default();
            carat_session_opts so = carat_session_opts_default();
            mo.ram = ram;
            so.n_ctx = 64, so.n_threads = 2, so.n_chunk = 32;
            carat_model *m = memory_open(all[i].path, &mo);
            const carat_plan p = memory_plan(m, &so);
            if (p.fits) {
                assert_true(p.total_bytes <= ram);
                assert_true(ram >= p.smallest);
                const uint64_t now = p.experts == CARAT_PLACE_RESIDENT ? UINT64_MAX : (uint64_t)p.n_expert_slot;
                assert_true(now >= slots);
                slots = now;
            } else {
                assert_true(ram < p.smallest);
                assert_int_equal(slots, 0);
            }
            carat_model_close(&m);
        }
    }
}

static void places__that_cannot_be_are_refused(void **state) {
    (void)state;
    static const struct {
        carat_place ple, experts;
        uint64_t ram;
    } bad[] = {{(carat_place)5, 0, 0}, {(carat_place)-1, 0, 0}, {0, CARAT_PLACE_ZERO, 0}, {0, CARAT_PLACE_MAPPED, MIB}, {0, (carat_place)-3, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        carat_model_opts mo = carat_model_opts_default();
        carat_model *m = NULL;
        carat_error err = {0};
        mo.ple = bad[i].ple, mo.experts = bad[i].experts, mo.ram = bad[i].ram;
        assert_int_equal(carat_model_open(&m, all[0].path, &mo, &err), CARAT_EINVAL);
        assert_null(m);
        assert_null(strchr(err.msg, '\n'));
    }
}

/* Everything that stats count, as one number that is 0 only if all are. */
static double counted(const carat_session_stats *s) {
    const carat_expert_stats *e[] = {&s->expert_prefill, &s->expert_decode};
    double n = (double)(s->ple_reads + s->ple_hits + s->ple_disk_reads + s->ple_read_bytes + s->expert_evals + s->head_screened + s->head_whole +
                        s->head_panels + s->head_panels_kept + s->lookup_passes + s->lookup_guessed + s->lookup_accepted + s->lookup_plain);
    for (int i = 0; i < 2; i++) n += (double)(e[i]->hits + e[i]->misses + e[i]->hinted + e[i]->hint_hits + e[i]->read_bytes) + e[i]->stall_ms;
    n += s->ple_stall_ms + (double)s->ple_lookup.n + s->ple_lookup.p50_us + s->ple_lookup.p99_us + s->ple_lookup.max_us + s->ple_lookup.sum_ms;
    return n + (double)s->ple_disk.n + s->ple_disk.p50_us + s->ple_disk.p99_us + s->ple_disk.max_us + s->ple_disk.sum_ms;
}

static void sync_or_fail(carat_session *s, const int32_t *tok, size_t n) {
    carat_error err = {0};
    if (carat_session_sync(s, tok, n, &err)) fail_msg("%s", err.msg);
}

static void reset_stats__lets_what_follows_be_seen_by_itself(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        carat_model_opts mo = carat_model_opts_default();
        carat_session_opts so = carat_session_opts_default();
        carat_model_info info;
        carat_session_stats st, after;
        mo.ple = CARAT_PLACE_STREAMED;
        if (moe) mo.ple = CARAT_PLACE_AUTO, mo.experts = CARAT_PLACE_STREAMED, mo.expert_cache = 1;
        so.n_ctx = N_TOK, so.n_chunk = 16, so.n_threads = 2, so.lookup = CARAT_LOOKUP_ALWAYS, so.n_lookup = 4;
        so.n_top = 8, so.screen_always = true;
        carat_model *m = memory_open(memory_bundled(moe ? "carat-story-moe" : "carat-story-e"), &mo);
        carat_session *s = memory_session(m, &so);
        carat_model_get_info(m, &info);
        int32_t tok[N_TOK];
        memory_text(tok, N_TOK, info.n_vocab, 0);
        for (size_t n = 20; n < 50; n++) sync_or_fail(s, tok, n);
        carat_session_get_stats(s, &st);
        assert_true(st.lookup_passes > 0 && st.head_screened + st.head_whole > 0);
        assert_true(moe ? st.expert_decode.misses > 0 && st.expert_prefill.misses > 0 && st.expert_evals > 0
                        : st.ple_disk_reads > 0 && st.ple_lookup.n > 0 && st.ple_disk.n > 0);
        const uint64_t *count = carat_session_expert_counts(s), before = moe ? count[0] + count[1] + count[2] : 0;
        carat_session_reset_stats(s);
        carat_session_get_stats(s, &after);
        assert_true(counted(&st) > 0.0);
        assert_true(counted(&after) == 0.0);
        assert_int_equal(after.kv_bytes, st.kv_bytes);
        assert_int_equal(after.packed_bytes, st.packed_bytes);
        assert_int_equal(after.ple_cache_bytes, st.ple_cache_bytes);
        assert_int_equal(after.n_expert_slot, st.n_expert_slot);
        assert_int_equal(carat_session_n_past(s), 49);
        if (moe) assert_int_equal(count[0] + count[1] + count[2], before);
        /* A prompt of 8 that nothing was guessed of: exactly its rows and choices. */
        tok[0] = (tok[0] + 1) % info.n_vocab;
        sync_or_fail(s, tok, 8);
        carat_session_get_stats(s, &after);
        assert_int_equal(after.ple_reads, moe ? 0 : 8);
        assert_int_equal(after.ple_hits > 0, !moe); /* seen before the counts began again */
        assert_true(!moe || (after.expert_evals > 0 && after.expert_evals <= 8 * (uint64_t)(info.n_expert_used * info.n_layer)));
        assert_true(after.expert_decode.hits + after.expert_decode.misses <= st.expert_decode.misses);
        assert_int_equal(after.expert_prefill.misses > 0, moe);
        carat_session_free(&s);
        carat_model_close(&m);
    }
}

/* Uniform routing draws another choice every time, also behind a reset. */
static void note_first(void *ud, int32_t layer, int32_t pos, int32_t n_tok, int32_t n_used, const int32_t *expert, const int32_t *ahead) {
    int32_t *at = ud;
    (void)pos, (void)ahead;
    for (int32_t i = 0; layer == 0 && i < n_tok * n_used && at[0] < 60; i++) at[++at[0]] = expert[i];
}

static void reset_stats__does_not_repeat_random_routing(void **state) {
    (void)state;
    int32_t seen[64] = {0};
    carat_session_opts so = carat_session_opts_default();
    carat_model_info info;
    so.n_ctx = N_TOK, so.n_threads = 1, so.route_uniform = true, so.route = note_first, so.route_ud = seen;
    carat_model *m = memory_open(memory_bundled("carat-story-moe"), NULL);
    carat_session *s = memory_session(m, &so);
    carat_model_get_info(m, &info);
    int32_t tok[N_TOK];
    memory_text(tok, N_TOK, info.n_vocab, 0);
    for (size_t n = 1; n <= 6; n++) sync_or_fail(s, tok, n);
    const int32_t n = seen[0];
    assert_int_equal(n, 6 * info.n_expert_used);
    carat_session_reset_stats(s);
    for (size_t i = 7; i <= 12; i++) sync_or_fail(s, tok, i);
    assert_int_equal(seen[0], 2 * n);
    assert_true(memcmp(seen + 1, seen + 1 + n, (size_t)n * sizeof *seen) != 0);
    carat_session_free(&s);
    carat_model_close(&m);
}

/* What has been evicted is read again as it was. */
static void evict_ple__loses_nothing_and_refuses_models_without(void **state) {
    (void)state;
    carat_error err = {0};
    carat_model_info info;
    carat_model_opts mo = carat_model_opts_default();
    carat_session_opts so = carat_session_opts_default();
    uint64_t left = 1;
    mo.ple = CARAT_PLACE_MAPPED;
    so.n_ctx = N_TOK, so.n_threads = 2;
    carat_model *m = memory_open(maker_path("panels0.gguf"), &mo);
    carat_session *s = memory_session(m, &so);
    carat_model_get_info(m, &info);
    int32_t tok[N_TOK];
    memory_text(tok, N_TOK, info.n_vocab, 0);
    sync_or_fail(s, tok, 20);
    const size_t bytes = (size_t)info.n_vocab * sizeof(float);
    float *want = malloc(bytes);
    assert_non_null(want);
    memcpy(want, carat_session_logits(s), bytes);
    assert_int_equal(carat_model_evict_ple(m, &left, &err), 0);
    assert_true(left <= info.role[CARAT_ROLE_PLE_TABLE].bytes);
    tok[0]++;
    sync_or_fail(s, tok, 20);
    tok[0]--;
    sync_or_fail(s, tok, 20);
    assert_memory_equal(want, carat_session_logits(s), bytes);
    free(want);
    carat_session_free(&s);
    carat_model_close(&m);
    m = memory_open(memory_bundled("carat-story-moe"), NULL);
    assert_int_equal(carat_model_evict_ple(m, &left, &err), CARAT_EUNSUPPORTED);
    carat_model_close(&m);
    mo.vocab_only = true;
    m = memory_open(memory_bundled("carat-story-e"), &mo);
    assert_int_equal(carat_model_evict_ple(m, &left, &err), CARAT_EUNSUPPORTED);
    carat_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits__at_every_level),
        cmocka_unit_test(logits__in_chunks_of_any_size),
        cmocka_unit_test(logits__with_guesses),
        cmocka_unit_test(zero__is_a_table_of_zeroes),
        cmocka_unit_test(plans__are_what_is_held),
        cmocka_unit_test(smallest__ceilings_work_and_less_is_refused),
        cmocka_unit_test(plans__grow_with_the_ceiling),
        cmocka_unit_test(places__that_cannot_be_are_refused),
        cmocka_unit_test(reset_stats__lets_what_follows_be_seen_by_itself),
        cmocka_unit_test(reset_stats__does_not_repeat_random_routing),
        cmocka_unit_test(evict_ple__loses_nothing_and_refuses_models_without),
    };
    return cmocka_run_group_tests_name("engine memory", tests, make_models, maker_cleanup);
}
