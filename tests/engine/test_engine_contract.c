/* The promises of carat.h that are about no number: who owns what, what fails how, what allocates nothing; and every way to
 * run out of memory. Allocation is wrapped at link time: base/mem.c gets memory by calloc alone, and any other way would
 * show here. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "carat.h"
#include "model_maker.h"

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);

static _Atomic long countdown = -1; /* callocs until one fails; negative = never */
static _Atomic long n_alloc;        /* of any kind */
static _Atomic int threads_left = -1;

void *__wrap_calloc(size_t n, size_t size) {
    n_alloc++;
    if (countdown == 0) return NULL;
    if (countdown > 0) countdown--;
    return __real_calloc(n, size);
}

void *__wrap_malloc(size_t n) {
    n_alloc++;
    return __real_malloc(n);
}

void *__wrap_realloc(void *p, size_t n) {
    n_alloc++;
    return __real_realloc(p, n);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg) {
    if (threads_left == 0) return 11; /* EAGAIN */
    if (threads_left > 0) threads_left--;
    return __real_pthread_create(t, a, f, arg);
}

static maker made;
static char path_e[256], path_moe[256];

static int make_models(void **state) {
    (void)state;
    snprintf(path_e, sizeof path_e, "%s", maker_path("e.gguf"));
    maker_e(&made);
    maker_vocabulary(&made, 40);
    maker_write(&made, path_e);
    snprintf(path_moe, sizeof path_moe, "%s", maker_path("moe.gguf"));
    maker_moe(&made);
    maker_write(&made, path_moe);
    return 0;
}

static carat_model *open_model(const char *path) {
    carat_model *m = NULL;
    carat_error err = {0};
    if (carat_model_open(&m, path, NULL, &err)) fail_msg("%s", err.msg);
    return m;
}

static carat_session *new_session(const carat_model *m, int n_ctx, int n_chunk, int n_threads) {
    carat_session *s = NULL;
    carat_error err = {0};
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = n_ctx, o.n_chunk = n_chunk, o.n_threads = n_threads;
    if (carat_session_new(&s, m, &o, &err)) fail_msg("%s", err.msg);
    return s;
}

/* ---- memory ------------------------------------------------------------------------------------------- */

static bool ignore_row(void *ud, int32_t pos, const float *logits) {
    (void)ud, (void)pos, (void)logits;
    return true;
}

static void sync_and_next__allocate_nothing(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        carat_model *m = open_model(moe ? path_moe : path_e);
        carat_session *s = new_session(m, 0, 5, 2);
        carat_sampler *sm = NULL;
        carat_sampler_opts so = carat_sampler_opts_default();
        so.repeat_penalty = 1.1f;
        assert_int_equal(carat_sampler_new(&sm, MAKER_VOCAB, &so, NULL), 0);
        int32_t tok[MAKER_CTX];
        for (int i = 0; i < MAKER_CTX; i++) tok[i] = (i * 7 + 3) % MAKER_VOCAB;
        n_alloc = 0;
        int rc = 0;
        for (size_t n = 1; n <= MAKER_CTX; n += 9) {
            rc |= carat_session_sync(s, tok, n, NULL);
            carat_sampler_accept(sm, carat_sampler_next(sm, carat_session_logits(s)));
        }
        tok[0] = 9; /* all over again */
        rc |= carat_session_sync(s, tok, 30, NULL);
        rc |= carat_session_sync_logits(s, tok, 40, true, ignore_row, NULL, NULL);
        const long n = n_alloc;
        assert_int_equal(rc, 0);
        assert_int_equal(n, 0);
        carat_sampler_free(&sm);
        carat_session_free(&s);
        carat_model_close(&m);
    }
}

typedef struct {
    carat_model *m;
    carat_session *s;
    carat_sampler *sm;
    carat_detok *d;
    char *text;
} everything;

static int make_everything(everything *e, carat_error *err) {
    static const carat_message hello[] = {{"user", "abcd"}};
    carat_session_opts o = carat_session_opts_default();
    int32_t tok[256];
    size_t n = 0;
    o.n_threads = 3, o.lookup = CARAT_LOOKUP_AUTO;
    int rc = carat_model_open(&e->m, path_e, NULL, err);
    if (!rc) rc = carat_session_new(&e->s, e->m, &o, err);
    if (!rc) rc = carat_sampler_new(&e->sm, MAKER_VOCAB, NULL, err);
    if (!rc) rc = carat_detok_new(&e->d, e->m, true, err);
    if (!rc) rc = carat_tokenize(e->m, "abcd ba", 7, CARAT_TOKENIZE_BOS, tok, 256, &n, err);
    if (!rc) rc = carat_chat_text(e->m, hello, 1, 0, &e->text, err);
    if (!rc) rc = carat_chat_tokens(e->m, hello, 1, 0, tok, 256, &n, err);
    if (!rc) rc = carat_session_sync(e->s, tok, n < 8 ? n : 8, err);
    if (!rc) rc = carat_session_save(e->s, maker_path("session"), err);
    if (!rc) rc = carat_session_load(e->s, maker_path("session"), err);
    return rc;
}

static void free_everything(everything *e) {
    carat_free(e->text);
    carat_detok_free(&e->d);
    carat_sampler_free(&e->sm);
    carat_session_free(&e->s);
    carat_model_close(&e->m);
}

/* Guesses included: a text in a circle, with lookup. */
static void sync_with_lookup__allocates_nothing(void **state) {
    (void)state;
    carat_model *m = open_model(path_e);
    carat_session *s = NULL;
    carat_session_opts o = carat_session_opts_default();
    o.n_threads = 2, o.lookup = CARAT_LOOKUP_ALWAYS;
    assert_int_equal(carat_session_new(&s, m, &o, NULL), 0);
    int32_t tok[MAKER_CTX];
    for (int i = 0; i < MAKER_CTX; i++) tok[i] = i % 7;
    n_alloc = 0;
    int rc = 0;
    for (size_t n = 1; n <= MAKER_CTX; n++) rc |= carat_session_sync(s, tok, n, NULL);
    const long n = n_alloc;
    carat_session_stats st;
    carat_session_get_stats(s, &st);
    assert_int_equal(rc, 0);
    assert_int_equal(n, 0);
    assert_true(st.lookup_accepted > 30);
    carat_session_free(&s);
    carat_model_close(&m);
}

static void everything__survives_every_failed_allocation(void **state) {
    (void)state;
    long n = 0;
    for (;; n++) {
        everything e = {0};
        carat_error err = {0};
        countdown = n;
        const int rc = make_everything(&e, &err);
        countdown = -1;
        free_everything(&e);
        assert_null(e.m);
        if (rc == 0) break;
        if (rc != CARAT_ENOMEM || err.code != rc || !err.msg[0]) fail_msg("allocation %ld: %d \"%s\"", n, rc, err.msg);
        if (n > 2000) fail_msg("never succeeded");
    }
    print_message("%ld allocations failed in turn\n", n);
    assert_true(n > 30);
}

static void session__survives_threads_that_do_not_start(void **state) {
    (void)state;
    carat_model *m = open_model(path_e);
    for (int n = 0; n < 4; n++) {
        carat_session *s = NULL;
        carat_error err = {0};
        carat_session_opts o = carat_session_opts_default();
        o.n_threads = 4;
        threads_left = n;
        const int rc = carat_session_new(&s, m, &o, &err);
        threads_left = -1;
        assert_int_equal(rc, n < 3 ? CARAT_ENOMEM : 0);
        if (rc) assert_null(s);
        carat_session_free(&s);
    }
    carat_model_close(&m);
}

/* ---- refusals ----------------------------------------------------------------------------------------- */

static void calls__accept_no_error(void **state) {
    (void)state;
    carat_model *m = NULL;
    carat_session *s = NULL;
    carat_sampler *sm = NULL;
    carat_model_opts mo = carat_model_opts_default();
    assert_int_equal(carat_model_open(&m, "/nonexistent", NULL, NULL), CARAT_EIO);
    assert_int_equal(carat_model_open(&m, NULL, NULL, NULL), CARAT_EINVAL);
    assert_int_equal(carat_model_open(&m, "", NULL, NULL), CARAT_EIO);
    mo.size = 1;
    assert_int_equal(carat_model_open(&m, path_e, &mo, NULL), CARAT_EINVAL);
    mo = carat_model_opts_default();
    mo.cpu = "quantum";
    assert_int_equal(carat_model_open(&m, path_e, &mo, NULL), CARAT_EINVAL);
    assert_null(m);
    m = open_model(path_moe); /* has no vocabulary */
    carat_plan plan;
    size_t n;
    char *text = NULL;
    carat_detok *d = NULL;
    static const carat_message hello[] = {{"user", "hello"}};
    const carat_session_opts good = carat_session_opts_default();
    enum { N_BAD = 9 };
    carat_session_opts o[N_BAD];
    for (int i = 0; i < N_BAD; i++) o[i] = good;
    o[0].size = 1, o[1].n_ctx = -1, o[2].n_ctx = MAKER_CTX + 1, o[3].n_threads = 1025, o[4].n_chunk = -1, o[5].n_logits = -1;
    o[6].kv = (carat_kv_type)7, o[7].lookup = (carat_lookup)3, o[8].lookup = CARAT_LOOKUP_AUTO, o[8].n_lookup = 256;
    for (int i = 0; i < N_BAD; i++) {
        assert_int_equal(carat_session_new(&s, m, &o[i], NULL), CARAT_EINVAL);
        assert_int_equal(carat_plan_make(&plan, m, &o[i], NULL), CARAT_EINVAL);
        assert_null(s);
    }
    assert_int_equal(carat_tokenize(m, "a", 1, 0, NULL, 0, &n, NULL), CARAT_EUNSUPPORTED);
    assert_int_equal(carat_chat_tokens(m, hello, 1, 0, NULL, 0, &n, NULL), CARAT_EUNSUPPORTED);
    assert_int_equal(carat_detok_new(&d, m, false, NULL), CARAT_EUNSUPPORTED);
    assert_int_equal(carat_sampler_new(&sm, 0, NULL, NULL), CARAT_EINVAL);
    s = new_session(m, 8, 0, 1);
    const int32_t bad[2] = {0, MAKER_VOCAB};
    assert_int_equal(carat_session_sync(s, bad, 2, NULL), CARAT_EINVAL);
    assert_int_equal(carat_session_sync(s, NULL, 2, NULL), CARAT_EINVAL);
    assert_int_equal(carat_session_sync(s, bad, 0, NULL), CARAT_EINVAL);
    assert_int_equal(carat_session_sync(s, bad, 9, NULL), CARAT_EFULL);
    assert_int_equal(carat_session_sync_logits(s, bad, 1, false, NULL, NULL, NULL), CARAT_EINVAL);
    assert_null(carat_session_logits(s));
    carat_session_free(&s);
    carat_model_close(&m);
    (void)text;
}

static void frees__accept_null(void **state) {
    (void)state;
    everything e = {0};
    free_everything(&e);
    free_everything(&e);
}

static void open__says_what_and_where_for_a_long_path(void **state) {
    (void)state;
    char path[2000] = "/nonexistent/";
    carat_model *m = NULL;
    carat_error err = {0};
    for (size_t n = strlen(path); n < 1200; n++) path[n] = n % 50 ? 'x' : '/';
    strcat(path, "/model.gguf");
    assert_int_equal(carat_model_open(&m, path, NULL, &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "model.gguf"));
    assert_true(strlen(err.msg) < sizeof err.msg - 1);
    /* A refusal from far below still fits behind a path of any length. */
    maker_e(&made);
    maker_drop_tensor(&made, "blk.3.attn_output.weight");
    snprintf(path, sizeof path, "%s", maker_path("x.gguf"));
    maker_write(&made, path);
    char longer[1500] = "/";
    while (strlen(longer) + strlen(path) < 1400) strcat(longer, "./");
    strcat(longer, path + 1);
    assert_int_equal(carat_model_open(&m, longer, NULL, &err), CARAT_EMODEL);
    assert_non_null(strstr(err.msg, "blk.3.attn_output.weight is missing, expected [32, 64]"));
}

/* ---- facts -------------------------------------------------------------------------------------------- */

static void vocab_only__needs_no_weights(void **state) {
    (void)state;
    carat_model *m = NULL;
    carat_session *s = NULL;
    carat_error err = {0};
    carat_model_opts o = carat_model_opts_default();
    o.vocab_only = true;
    maker_e(&made);
    maker_vocabulary(&made, 40);
    made.n_tensor = 0;
    const char *path = maker_path("vocabulary.gguf");
    maker_write(&made, path);
    if (carat_model_open(&m, path, &o, &err)) fail_msg("%s", err.msg);
    carat_model_info info;
    carat_model_get_info(m, &info);
    assert_true(info.has_text);
    assert_int_equal(info.n_vocab, 40);
    size_t n;
    int32_t tok[4];
    assert_int_equal(carat_tokenize(m, "abcd", 4, CARAT_TOKENIZE_BOS, tok, 4, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_int_equal(carat_session_new(&s, m, NULL, &err), CARAT_EINVAL);
    carat_model_close(&m);
}

static void estimate__is_what_a_session_holds(void **state) {
    (void)state;
    for (int moe = 0; moe < 2; moe++) {
        carat_model *m = open_model(moe ? path_moe : path_e);
        carat_session_opts o = carat_session_opts_default();
        o.n_ctx = 40, o.n_chunk = 7, o.n_logits = 3, o.n_threads = 2, o.lookup = moe ? CARAT_LOOKUP_OFF : CARAT_LOOKUP_AUTO;
        carat_plan plan;
        assert_int_equal(carat_plan_make(&plan, m, &o, NULL), 0);
        carat_session *s = NULL;
        assert_int_equal(carat_session_new(&s, m, &o, NULL), 0);
        carat_session_stats st;
        carat_session_get_stats(s, &st);
        assert_int_equal(st.kv_bytes, plan.kv_bytes);
        assert_int_equal(st.scratch_bytes, plan.scratch_bytes);
        assert_int_equal(carat_session_n_ctx(s), 40);
        carat_session_free(&s);
        carat_model_close(&m);
    }
}

/* ---- two threads -------------------------------------------------------------------------------------- */

typedef struct {
    const carat_model *m;
    uint32_t seed;
    float logits[MAKER_VOCAB];
    size_t n_tok;
    int rc;
} timeline;

static void *run_timeline(void *ud) {
    timeline *t = ud;
    carat_session *s = NULL;
    carat_session_opts o = carat_session_opts_default();
    int32_t tok[50];
    o.n_threads = 2, o.n_chunk = 6;
    for (uint32_t i = 0; i < 50; i++) tok[i] = (int32_t)((i * i * 5 + i * t->seed) % MAKER_VOCAB);
    t->rc = carat_session_new(&s, t->m, &o, NULL);
    for (size_t n = 1; !t->rc && n <= 50; n += 7) t->rc = carat_session_sync(s, tok, n, NULL);
    if (!t->rc) t->rc = carat_session_sync(s, tok, 50, NULL);
    if (!t->rc) memcpy(t->logits, carat_session_logits(s), sizeof t->logits);
    carat_session_free(&s);
    if (!t->rc) t->rc = carat_tokenize(t->m, "abcdba abba", 11, 0, NULL, 0, &t->n_tok, NULL);
    return NULL;
}

static void model__serves_two_threads_at_once(void **state) {
    (void)state;
    carat_model *m = open_model(path_e);
    timeline alone[2] = {{.m = m, .seed = 3}, {.m = m, .seed = 11}}, both[2];
    memcpy(both, alone, sizeof both);
    for (int i = 0; i < 2; i++) run_timeline(&alone[i]);
    for (int round = 0; round < 10; round++) {
        pthread_t t[2];
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, run_timeline, &both[i]), 0);
        for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(both[i].rc, 0);
            assert_memory_equal(both[i].logits, alone[i].logits, sizeof alone[i].logits);
            assert_int_equal(both[i].n_tok, alone[i].n_tok);
        }
    }
    assert_memory_not_equal(both[0].logits, both[1].logits, sizeof both[0].logits);
    carat_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_and_next__allocate_nothing),
        cmocka_unit_test(sync_with_lookup__allocates_nothing),
        cmocka_unit_test(everything__survives_every_failed_allocation),
        cmocka_unit_test(session__survives_threads_that_do_not_start),
        cmocka_unit_test(calls__accept_no_error),
        cmocka_unit_test(frees__accept_null),
        cmocka_unit_test(open__says_what_and_where_for_a_long_path),
        cmocka_unit_test(vocab_only__needs_no_weights),
        cmocka_unit_test(estimate__is_what_a_session_holds),
        cmocka_unit_test(model__serves_two_threads_at_once),
    };
    return cmocka_run_group_tests_name("engine contract", tests, make_models, maker_cleanup);
}
