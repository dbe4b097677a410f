/* Sessions at their edges: contexts of one token, windows of one token and windows larger than the context, chunks larger
 * than the context, rings at the moment they wrap, rewinds, cancelling. Whatever the path, the logits are those of a fresh
 * session that evaluates everything at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "carat.h"
#include "model_maker.h"

static maker made;

static carat_model *make_model(bool moe, uint32_t window) {
    carat_model *m = NULL;
    carat_error err = {0};
    moe ? maker_moe(&made) : maker_e(&made);
    maker_u32(&made, "gemma4.attention.sliding_window", window);
    const char *path = maker_path("edges.gguf");
    maker_write(&made, path);
    if (carat_model_open(&m, path, NULL, &err)) fail_msg("%s", err.msg);
    return m;
}

static carat_session *new_session(const carat_model *m, int n_ctx, int n_chunk, int n_logits) {
    carat_session *s = NULL;
    carat_error err = {0};
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = n_ctx, o.n_chunk = n_chunk, o.n_logits = n_logits, o.n_threads = 1;
    if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
    return s;
}

static void fresh_logits(const carat_model *m, const int32_t *tok, int n, float *out) {
    carat_session *s = new_session(m, 0, MAKER_CTX, 1);
    carat_error err = {0};
    if (carat_session_sync(s, tok, (size_t)n, &err)) fail_msg("%s", err.msg);
    memcpy(out, carat_session_logits(s), MAKER_VOCAB * sizeof *out);
    carat_session_free(&s);
}

typedef struct {
    int32_t next, stop; /* position expected, position to cancel at (-1 = never) */
    float last[MAKER_VOCAB];
} rows;

static bool take_row(void *ud, int32_t pos, const float *logits) {
    rows *r = ud;
    if (r->next < 0) r->next = pos;
    assert_int_equal(pos, r->next++);
    memcpy(r->last, logits, sizeof r->last);
    return pos != r->stop;
}

/* A random walk of syncs over a timeline that changes now and then. */
static void walk(const carat_model *m, int n_ctx, int n_chunk, uint64_t seed) {
    carat_session *s = new_session(m, n_ctx, n_chunk, 1 + (int)(seed % 3));
    const int max = n_ctx ? n_ctx : MAKER_CTX;
    int32_t tok[MAKER_CTX];
    float expected[MAKER_VOCAB];
    carat_error err = {0};
    ct_rng r;
    ct_rng_seed(&r, seed);
    for (int i = 0; i < MAKER_CTX; i++) tok[i] = (int32_t)(ct_rng_u64(&r) % MAKER_VOCAB);
    int n = 1;
    for (int step = 0; step < 14; step++) {
        /* Mostly onwards, sometimes back by a little or to anywhere, sometimes with another token on the way. */
        const int move = (int)(ct_rng_u64(&r) % 6);
        n = move < 3 ? n + 1 + move : move == 3 ? n - 1 : move == 4 ? 1 + (int)(ct_rng_u64(&r) % (uint64_t)max) : n;
        n = n < 1 ? 1 : n > max ? max : n;
        if (move == 5) tok[ct_rng_u64(&r) % (uint64_t)n] = (int32_t)(ct_rng_u64(&r) % MAKER_VOCAB);
        fresh_logits(m, tok, n, expected);
        if (step % 4 == 3) { /* by rows, cancelled half-way, and again */
            rows row = {.next = -1, .stop = n / 2};
            const bool from_start = step % 8 == 3;
            const int rc = carat_session_sync_logits(s, tok, (size_t)n, from_start, take_row, &row, &err);
            if (rc == CARAT_ECANCEL) {
                assert_null(carat_session_logits(s));
                assert_true(carat_session_n_past(s) <= n && carat_session_n_past(s) > n / 2);
                row.next = row.stop = -1;
                assert_int_equal(carat_session_sync_logits(s, tok, (size_t)n, false, take_row, &row, &err), 0);
            } else {
                assert_int_equal(rc, 0);
            }
            assert_int_equal(row.next, n);
            assert_memory_equal(row.last, expected, sizeof expected);
        } else {
            if (carat_session_sync(s, tok, (size_t)n, &err)) fail_msg("%s", err.msg);
        }
        assert_int_equal(carat_session_n_past(s), n);
        assert_memory_equal(carat_session_logits(s), expected, sizeof expected);
    }
    carat_session_free(&s);
}

static void sync__is_exact_for_any_window_context_and_chunk(void **state) {
    (void)state;
    static const uint32_t windows[] = {1, 2, 4, 63, 1000000};
    static const int contexts[] = {1, 2, 7, 0}, chunks[] = {1, 3, 8, 4096};
    uint64_t seed = 1;
    for (int moe = 0; moe < 2; moe++) {
        for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
            carat_model *m = make_model(moe, windows[w]);
            for (size_t c = 0; c < sizeof contexts / sizeof *contexts; c++) {
                for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) walk(m, contexts[c], chunks[k], seed++);
            }
            carat_model_close(&m);
        }
    }
}

static void count_rows(void *ud, const char *name, const float *x, int32_t pos, int32_t n_tok, int32_t n) {
    (void)x, (void)n;
    int *seen = ud;
    if (strcmp(name, "L03.out") == 0) {
        for (int i = 0; i < n_tok; i++) seen[pos + i]++;
    }
}

/* Taps make every layer run for every row; the logits do not change. */
static void taps__change_no_bit_and_show_every_row(void **state) {
    (void)state;
    carat_model *m = make_model(false, 4);
    carat_session *s = NULL;
    carat_error err = {0};
    int seen[MAKER_CTX] = {0};
    int32_t tok[40];
    float expected[MAKER_VOCAB];
    for (int i = 0; i < 40; i++) tok[i] = (i * i) % MAKER_VOCAB;
    fresh_logits(m, tok, 40, expected);
    carat_session_opts o = carat_session_opts_default();
    o.n_chunk = 7, o.tap = count_rows, o.tap_ud = seen;
    if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
    assert_int_equal(carat_session_sync(s, tok, 40, &err), 0);
    for (int i = 0; i < 40; i++) assert_int_equal(seen[i], 1);
    assert_memory_equal(carat_session_logits(s), expected, sizeof expected);
    carat_session_free(&s);
    carat_model_close(&m);
}

/* A refused call leaves the session as it was. */
static void sync__refused_changes_nothing(void **state) {
    (void)state;
    carat_model *m = make_model(false, 4);
    carat_session *s = new_session(m, 10, 4, 1);
    carat_error err = {0};
    int32_t tok[11] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    float expected[MAKER_VOCAB];
    fresh_logits(m, tok, 9, expected);
    assert_int_equal(carat_session_sync(s, tok, 9, &err), 0);
    assert_int_equal(carat_session_sync(s, tok, 11, &err), CARAT_EFULL);
    tok[9] = -5;
    assert_int_equal(carat_session_sync(s, tok, 10, &err), CARAT_EINVAL);
    assert_int_equal(carat_session_n_past(s), 9);
    assert_memory_equal(carat_session_logits(s), expected, sizeof expected);
    tok[9] = 10;
    assert_int_equal(carat_session_sync(s, tok, 10, &err), 0); /* exactly full */
    assert_int_equal(carat_session_n_evaluated(s), 1);
    carat_session_free(&s);
    carat_model_close(&m);
}

/* A file may say that per-layer embeddings are wider than the model; every buffer must know. In integers and in f32. */
static void sync__is_exact_where_per_layer_embeddings_are_the_widest(void **state) {
    (void)state;
    static const char *const levels[] = {NULL, "ref"};
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        carat_model_opts mo = carat_model_opts_default();
        carat_model *m = NULL;
        carat_error err = {0};
        int32_t tok[MAKER_CTX];
        float expected[MAKER_VOCAB];
        maker_wide_ple(&made, CT_Q8_0, 4096);
        const char *path = maker_path("wide-ple.gguf");
        maker_write(&made, path);
        mo.cpu = levels[l];
        if (carat_model_open(&m, path, &mo, &err)) fail_msg("%s", err.msg);
        for (int i = 0; i < MAKER_CTX; i++) tok[i] = (i * 7) % MAKER_VOCAB;
        fresh_logits(m, tok, MAKER_CTX, expected);
        carat_session *s = new_session(m, 0, 1, 1);
        assert_int_equal(carat_session_sync(s, tok, MAKER_CTX, &err), 0);
        assert_memory_equal(carat_session_logits(s), expected, sizeof expected);
        carat_session_free(&s);
        carat_model_close(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync__is_exact_for_any_window_context_and_chunk),
        cmocka_unit_test(taps__change_no_bit_and_show_every_row),
        cmocka_unit_test(sync__refused_changes_nothing),
        cmocka_unit_test(sync__is_exact_where_per_layer_embeddings_are_the_widest),
    };
    return cmocka_run_group_tests_name("engine edges", tests, NULL, maker_cleanup);
}
