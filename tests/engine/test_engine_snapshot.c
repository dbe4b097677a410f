/* Save and resume: what was loaded goes on with the bits of the session that was saved, whatever context, chunk, threads,
 * level and lookup the other session has, past the window and back within what is held; a file that is another model's,
 * damaged anywhere, or cut short is refused; what cannot be written leaves what was there. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "formats/gguf.h"
#include "oracle_util.h"

static const char *const variants[] = {"e2b", "e4b", "31b", "26b-a4b", "gemma3"};
#define N_VARIANT (sizeof variants / sizeof *variants)
#define N_TOK 75 /* nine windows of the random checkpoints */

static char dir[64];

static char *in_dir(char path[96], const char *name) {
    snprintf(path, 96, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/carat-snapshot-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

/* Fails, and so the test, when a file was left behind that its test did not know of. */
static int remove_dir(void **state) {
    (void)state;
    return rmdir(dir);
}

static int32_t n_vocab_of(const carat_model *m) {
    carat_model_info info;
    carat_model_get_info(m, &info);
    return info.n_vocab;
}

static void make_tokens(int32_t *tok, int n, int32_t n_vocab, uint64_t seed) {
    ct_rng r;
    ct_rng_seed(&r, seed);
    /* Many repeats, for lookup to find. */
    for (int i = 0; i < n; i++) tok[i] = (int32_t)(ct_rng_u64(&r) % (i % 40 < 20 ? 5u : (uint64_t)n_vocab));
}

static carat_session_opts small_opts(int n_ctx, int n_chunk, carat_kv_type kv) {
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = n_ctx, o.n_chunk = n_chunk, o.n_threads = 1, o.kv = kv;
    return o;
}

/* NULL where the model's heads cannot be kept so. */
static carat_session *new_session(const carat_model *m, const carat_session_opts *o) {
    carat_session *s = NULL;
    carat_error err = {0};
    const int rc = carat_session_new(&s, m, o, &err);
    if (rc == CARAT_EUNSUPPORTED && o->kv == CARAT_KV_Q8_0) return NULL;
    if (rc) fail_msg("%s", err.msg);
    return s;
}

static void sync_to(carat_session *s, const int32_t *tok, int n) {
    carat_error err = {0};
    if (carat_session_sync(s, tok, (size_t)n, &err)) fail_msg("%s", err.msg);
}

static void save(const carat_session *s, const char *path) {
    carat_error err = {0};
    if (carat_session_save(s, path, &err)) fail_msg("%s", err.msg);
}

static void load(carat_session *s, const char *path) {
    carat_error err = {0};
    if (carat_session_load(s, path, &err)) fail_msg("%s", err.msg);
}

/* ---- going on ----------------------------------------------------------------------------------------- */

typedef struct {
    int n_ctx, n_chunk, n_threads, n_rewind;
    carat_lookup lookup;
    bool portable; /* the lowest level of the integer arithmetic */
} how;

/* Of tok[0, n_all), the first n are evaluated, saved and loaded; then both sessions go on to the end. */
static void go_on(const carat_model *m, const carat_model *portable, const carat_session_opts *o, const int32_t *tok, int n,
                  int n_all, const how *h) {
    char path[96];
    const size_t bytes = (size_t)n_vocab_of(m) * sizeof(float);
    carat_session *a = new_session(m, o), *b;
    if (!a) return;
    sync_to(a, tok, n);
    save(a, in_dir(path, "s"));
    carat_session_opts other = *o;
    other.n_ctx = h->n_ctx, other.n_chunk = h->n_chunk, other.n_threads = h->n_threads, other.n_rewind = h->n_rewind;
    other.lookup = h->lookup;
    b = new_session(h->portable ? portable : m, &other);
    load(b, path);
    assert_int_equal(carat_session_n_past(b), n);
    assert_null(carat_session_logits(b));
    sync_to(b, tok, n); /* the same again: its last token, for the logits */
    assert_int_equal(carat_session_n_evaluated(b), 1);
    assert_memory_equal(carat_session_logits(b), carat_session_logits(a), bytes);
    for (int k = n + 1; k <= n_all; k += k < n + 6 || k + 7 > n_all ? 1 : 7) {
        sync_to(a, tok, k);
        sync_to(b, tok, k);
        assert_memory_equal(carat_session_logits(b), carat_session_logits(a), bytes);
    }
    carat_session_free(&a);
    carat_session_free(&b);
    assert_int_equal(unlink(path), 0);
}

static void loaded_sessions__go_on_with_the_same_bits(void **state) {
    (void)state;
    static const how hows[] = {{96, 5, 1, 0, CARAT_LOOKUP_OFF, false},
                               {128, 64, 3, 0, CARAT_LOOKUP_OFF, false},
                               {N_TOK, 16, 1, 0, CARAT_LOOKUP_ALWAYS, false},
                               {200, 1, 2, 50, CARAT_LOOKUP_OFF, false}};
    static const int held[] = {1, 7, 8, 16, 17, 40, 63};
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case c;
        int32_t tok[N_TOK];
        oracle_open(&c, variants[v], NULL);
        make_tokens(tok, N_TOK, n_vocab_of(c.model), v + 1);
        for (int kv = 0; kv < 3; kv++) {
            const carat_session_opts o = small_opts(96, 5, (carat_kv_type)kv);
            for (size_t i = 0; i < sizeof held / sizeof *held; i++) {
                go_on(c.model, NULL, &o, tok, held[i], N_TOK, &hows[i % 4]);
                if (held[i] == 40) go_on(c.model, NULL, &o, tok, 40, N_TOK, &hows[2]);
            }
        }
        oracle_close(&c);
    }
}

static carat_model *open_bundled(const char *name, const char *cpu) {
    char path[1200];
    const char *root = getenv("CARAT_ROOT");
    snprintf(path, sizeof path, "%s/models/carat-story-%s.gguf", root ? root : ".", name);
    carat_model_opts o = carat_model_opts_default();
    o.cpu = cpu;
    carat_model *m = NULL;
    carat_error err = {0};
    if (carat_model_open(&m, path, &o, &err)) fail_msg("%s", err.msg);
    return m;
}

/* Windows of 128 tokens; a text, so that lookup guesses right. */
static void bundled_models__go_on_with_the_same_bits(void **state) {
    (void)state;
    enum { N = 420, N_ALL = 470 };
    static const how hows[] = {{N_ALL, 32, 2, 0, CARAT_LOOKUP_ALWAYS, false}, {600, 256, 1, 0, CARAT_LOOKUP_OFF, true},
                               {512, 64, 1, 300, CARAT_LOOKUP_AUTO, false}};
    static const char text[] = "Tom said: \"The red ball is in the big box.\" Mia said: \"The red ball is in the big box.\" ";
    for (int moe = 0; moe < 2; moe++) {
        carat_model *m = open_bundled(moe ? "moe" : "e", NULL), *portable = open_bundled(moe ? "moe" : "e", "portable");
        int32_t tok[N_ALL + 64];
        size_t n = 0, got;
        while (n < N_ALL) {
            const unsigned flags = n ? 0u : CARAT_TOKENIZE_BOS;
            assert_int_equal(carat_tokenize(m, text, sizeof text - 1, flags, tok + n, N_ALL + 64 - n, &got, NULL), 0);
            n += got;
        }
        for (int kv = 0; kv < 3; kv++) {
            carat_session_opts o = small_opts(600, 64, (carat_kv_type)kv);
            o.n_threads = 2;
            go_on(m, portable, &o, tok, N, N_ALL, &hows[kv]);
        }
        carat_model_close(&m);
        carat_model_close(&portable);
    }
}

/* Every prefix with another tail: what is held of the windows is reused, what is not is evaluated again, never guessed at.
 * A ring larger than the saver's has room for more of the past, but does not have it. */
static void loaded_sessions__go_back_as_far_as_the_saved_one(void **state) {
    (void)state;
    for (size_t v = 0; v < N_VARIANT; v++) {
        oracle_case c;
        int32_t tok[N_TOK], other[N_TOK];
        char path[96];
        oracle_open(&c, variants[v], NULL);
        const int32_t n_vocab = n_vocab_of(c.model);
        make_tokens(tok, N_TOK, n_vocab, v + 10);
        static const int rewinds[] = {0, 40}; /* of the session that loads */
        for (int i = 0; i < 2; i++) {
            carat_session_opts o = small_opts(N_TOK, 5, i ? CARAT_KV_F16 : CARAT_KV_F32), larger = o;
            larger.n_rewind = rewinds[i];
            carat_session *a = new_session(c.model, &o), *b = new_session(c.model, &larger), *fresh = new_session(c.model, &o);
            sync_to(a, tok, N_TOK - 1);
            save(a, in_dir(path, "s"));
            int n_reused = 0, n_again = 0;
            for (int keep = 1; keep < N_TOK - 1; keep++) {
                memcpy(other, tok, sizeof other);
                other[keep] = (tok[keep] + 1) % n_vocab;
                load(a, path), load(b, path);
                sync_to(a, other, keep + 1), sync_to(b, other, keep + 1), sync_to(fresh, other, keep + 1);
                assert_int_equal(carat_session_n_evaluated(b), carat_session_n_evaluated(a));
                assert_memory_equal(carat_session_logits(b), carat_session_logits(fresh), (size_t)n_vocab * sizeof(float));
                assert_memory_equal(carat_session_logits(a), carat_session_logits(fresh), (size_t)n_vocab * sizeof(float));
                n_reused += carat_session_n_evaluated(b) == 1;
                n_again += carat_session_n_evaluated(b) == keep + 1;
                assert_true(carat_session_n_evaluated(b) == 1 || carat_session_n_evaluated(b) == keep + 1);
                /* And on: rings of this session and what is newly evaluated must fit together. */
                sync_to(b, tok, N_TOK), sync_to(fresh, tok, N_TOK);
                assert_memory_equal(carat_session_logits(b), carat_session_logits(fresh), (size_t)n_vocab * sizeof(float));
            }
            assert_true(n_reused >= 4 && n_again > 10);
            carat_session_free(&a), carat_session_free(&b), carat_session_free(&fresh);
            assert_int_equal(unlink(path), 0);
        }
        oracle_close(&c);
    }
}

/* A session of no tokens, and one that holds less than it once did. */
static void saved__is_what_is_held_now(void **state) {
    (void)state;
    oracle_case c;
    int32_t tok[N_TOK];
    char path[96], again[96], *x, *y;
    size_t n_x, n_y;
    oracle_open(&c, "e2b", NULL);
    make_tokens(tok, N_TOK, n_vocab_of(c.model), 3);
    const carat_session_opts o = small_opts(N_TOK, 8, CARAT_KV_F16);
    carat_session *a = new_session(c.model, &o), *b = new_session(c.model, &o);
    carat_snapshot_info info;
    uint64_t fingerprint;
    in_dir(path, "s"), in_dir(again, "again");
    save(a, path);
    sync_to(b, tok, 9);
    load(b, path);
    assert_int_equal(carat_session_n_past(b), 0);
    sync_to(b, tok, 9);
    assert_int_equal(carat_session_n_evaluated(b), 9);
    sync_to(a, tok, 70), sync_to(a, tok, 66);
    save(a, path);
    assert_int_equal(carat_model_fingerprint(&fingerprint, c.model, NULL), 0);
    assert_int_equal(carat_snapshot_get_info(&info, path, NULL), 0);
    assert_int_equal(info.n_tok, 66);
    assert_int_equal(info.kv, CARAT_KV_F16);
    /* A ring of 8 - 1 + 8 slots, made 16: at 70 tokens it began with 54; of these 66 - 54 are before the end. */
    assert_int_equal(info.n_rewind, 66 - 54 - 7);
    assert_true(info.fingerprint == fingerprint && fingerprint != 0);
    /* What was loaded and is saved again is the same file, byte by byte. */
    load(b, path);
    save(b, again);
    assert_int_equal(ct_read_file(&x, &n_x, path, 1 << 20, NULL), 0);
    assert_int_equal(ct_read_file(&y, &n_y, again, 1 << 20, NULL), 0);
    assert_int_equal(n_x, info.bytes);
    assert_int_equal(n_x, n_y);
    assert_memory_equal(x, y, n_x);
    ct_free(x), ct_free(y);
    carat_session_free(&a), carat_session_free(&b);
    oracle_close(&c);
    assert_int_equal(unlink(path) | unlink(again), 0);
}

/* ---- refusing ----------------------------------------------------------------------------------------- */

static void put_file(const char *path, const char *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) fail_msg("cannot write %s", path);
}

static void refused(carat_session *s, const char *path, int code, const char *text) {
    carat_error err = {0};
    assert_int_equal(carat_session_load(s, path, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, text) || !strstr(err.msg, path)) fail_msg("expected \"%s\", found \"%s\"", text, err.msg);
}

static void sessions__of_another_kind_are_refused(void **state) {
    (void)state;
    oracle_case c, other;
    int32_t tok[40];
    char path[96], none[96];
    oracle_open(&c, "e2b", NULL);
    oracle_open(&other, "31b", NULL);
    make_tokens(tok, 40, n_vocab_of(c.model), 4);
    const carat_session_opts o = small_opts(64, 8, CARAT_KV_F16), f32 = small_opts(64, 8, CARAT_KV_F32),
                             shorter = small_opts(29, 8, CARAT_KV_F16);
    carat_session *s = new_session(c.model, &o), *t = new_session(c.model, &o);
    sync_to(s, tok, 30);
    save(s, in_dir(path, "s"));
    carat_session_free(&t);
    t = new_session(other.model, &o);
    refused(t, path, CARAT_EMODEL, "another model");
    carat_session_free(&t);
    t = new_session(c.model, &f32);
    refused(t, path, CARAT_EINVAL, "as F16, this session keeps F32");
    carat_session_free(&t);
    t = new_session(c.model, &shorter);
    refused(t, path, CARAT_EFULL, "holds 30 tokens, the context 29");
    carat_session_free(&t);
    refused(s, in_dir(none, "none"), CARAT_EIO, "No such file");
    refused(s, dir, CARAT_EIO, "is a folder");
    put_file(none, "GGUF0000000000000000000000000000000000000000000000000000000000000000000000000000", 80);
    refused(s, none, CARAT_EFORMAT, "is no saved session");
    put_file(none, "", 0);
    refused(s, none, CARAT_EFORMAT, "is no saved session");
    assert_int_equal(carat_session_load(s, NULL, NULL), CARAT_EINVAL);
    assert_int_equal(carat_session_save(s, "", NULL), CARAT_EINVAL);
    assert_int_equal(carat_session_n_past(s), 30); /* none of it changed what was held */
    sync_to(s, tok, 31);
    assert_int_equal(carat_session_n_evaluated(s), 1);
    carat_session_free(&s);
    oracle_close(&c), oracle_close(&other);
    assert_int_equal(unlink(path) | unlink(none), 0);
}

/* One bit of any byte; any length. The session holds what it held, or nothing, and works. */
static void damage__is_found_wherever_it_is(void **state) {
    (void)state;
    oracle_case c;
    int32_t tok[40];
    char path[96], *file;
    size_t n;
    oracle_open(&c, "26b-a4b", NULL);
    make_tokens(tok, 40, n_vocab_of(c.model), 5);
    const carat_session_opts o = small_opts(64, 8, CARAT_KV_F16);
    carat_session *s = new_session(c.model, &o), *fresh = new_session(c.model, &o);
    sync_to(s, tok, 30), sync_to(fresh, tok, 31);
    save(s, in_dir(path, "s"));
    assert_int_equal(ct_read_file(&file, &n, path, 1 << 20, NULL), 0);
    sync_to(s, tok, 20);
    int n_kept = 0, n_emptied = 0;
    for (size_t i = 0; i < n; i += i < 400 ? 1 : 37) {
        carat_error err = {0};
        file[i] ^= (char)(1 << i % 8);
        put_file(path, file, n);
        const int held = carat_session_n_past(s), rc = carat_session_load(s, path, &err);
        file[i] ^= (char)(1 << i % 8);
        if (rc == 0 || !err.msg[0]) fail_msg("byte %zu of %zu is not missed", i, n);
        assert_int_equal(rc, CARAT_EFORMAT);
        assert_true(carat_session_n_past(s) == held || carat_session_n_past(s) == 0);
        n_kept += carat_session_n_past(s) == 20;
        n_emptied += held && carat_session_n_past(s) == 0;
        if (i % 5 == 0) sync_to(s, tok, 20);
    }
    assert_true(n_kept > 20 && n_emptied > 5);
    for (size_t len = 0; len < n; len += len < 300 ? 1 : 411) {
        put_file(path, file, len);
        assert_int_equal(carat_session_load(s, path, NULL), CARAT_EFORMAT);
    }
    put_file(path, file, n + 1); /* the final NUL of ct_read_file */
    assert_int_equal(carat_session_load(s, path, NULL), CARAT_EFORMAT);
    put_file(path, file, n);
    load(s, path);
    sync_to(s, tok, 31);
    assert_memory_equal(carat_session_logits(s), carat_session_logits(fresh), (size_t)n_vocab_of(c.model) * sizeof(float));
    ct_free(file);
    carat_session_free(&s), carat_session_free(&fresh);
    oracle_close(&c);
    assert_int_equal(unlink(path), 0);
}

/* A full disk, played by a limit on the size of files: what was saved before is still there, and nothing else. */
static void saving__that_fails_leaves_what_was_there(void **state) {
    (void)state;
    oracle_case c;
    int32_t tok[60];
    char path[96], none[160];
    oracle_open(&c, "e2b", NULL);
    make_tokens(tok, 60, n_vocab_of(c.model), 6);
    const carat_session_opts o = small_opts(64, 8, CARAT_KV_F32);
    carat_session *s = new_session(c.model, &o);
    sync_to(s, tok, 3);
    save(s, in_dir(path, "s"));
    sync_to(s, tok, 60);
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 2000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    carat_error err = {0};
    const int rc = carat_session_save(s, path, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, CARAT_EIO);
    assert_non_null(strstr(err.msg, "write: "));
    load(s, path);
    assert_int_equal(carat_session_n_past(s), 3);
    assert_int_equal(carat_session_save(s, dir, &err), CARAT_EIO);
    snprintf(none, sizeof none, "%s/none/s", dir);
    assert_int_equal(carat_session_save(s, none, &err), CARAT_EIO);
    assert_int_equal(carat_session_save(s, "/dev/null", &err), CARAT_EIO);
    carat_session_free(&s);
    oracle_close(&c);
    assert_int_equal(unlink(path), 0); /* and the folder is empty: see remove_dir */
}

/* ---- fingerprints ------------------------------------------------------------------------------------- */

static uint64_t fingerprint_of(const char *path) {
    carat_model *m = NULL;
    carat_error err = {0};
    uint64_t f = 0;
    if (carat_model_open(&m, path, NULL, &err) || carat_model_fingerprint(&f, m, &err)) fail_msg("%s", err.msg);
    carat_model_close(&m);
    return f;
}

/* Copies share it; one bit of a weight, or of a number in the configuration, makes another. */
static void fingerprint__tells_models_apart(void **state) {
    (void)state;
    char source[1200], path[96], *file;
    size_t n;
    const char *root = getenv("CARAT_ROOT");
    snprintf(source, sizeof source, "%s/models/carat-story-e.gguf", root ? root : ".");
    assert_int_equal(ct_read_file(&file, &n, source, 1 << 26, NULL), 0);
    in_dir(path, "copy.gguf");
    put_file(path, file, n);
    const uint64_t f = fingerprint_of(source);
    assert_true(fingerprint_of(path) == f);
    ct_gguf *g = NULL;
    assert_int_equal(ct_gguf_open(&g, source, NULL), 0);
    for (size_t i = 0; i < ct_gguf_n_tensor(g); i += 7) { /* few enough tensors to be looked at in each */
        const ct_tensor *t = ct_gguf_tensor_at(g, i);
        const size_t first = (size_t)t->offset, last = first + t->bytes - 1;
        file[first] ^= 1, file[last] ^= 1;
        put_file(path, file, n);
        assert_true(fingerprint_of(path) != f);
        file[first] ^= 1, file[last] ^= 1;
    }
    ct_gguf_close(&g);
    static const char key[] = "gemma4.attention.layer_norm_rms_epsilon";
    char *at = NULL;
    for (size_t i = 0; i + sizeof key < 20000 && !at; i++) at = memcmp(file + i, key, sizeof key - 1) == 0 ? file + i : NULL;
    assert_non_null(at);
    at[sizeof key - 1 + 4] ^= 1; /* behind the type, the value's lowest bit */
    put_file(path, file, n);
    assert_true(fingerprint_of(path) != f);
    ct_free(file);
    carat_model *m = NULL;
    carat_model_opts o = carat_model_opts_default();
    uint64_t none;
    o.vocab_only = true;
    assert_int_equal(carat_model_open(&m, source, &o, NULL), 0);
    assert_int_equal(carat_model_fingerprint(&none, m, NULL), CARAT_EINVAL);
    carat_model_close(&m);
    assert_int_equal(unlink(path), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loaded_sessions__go_on_with_the_same_bits),
        cmocka_unit_test(bundled_models__go_on_with_the_same_bits),
        cmocka_unit_test(loaded_sessions__go_back_as_far_as_the_saved_one),
        cmocka_unit_test(saved__is_what_is_held_now),
        cmocka_unit_test(sessions__of_another_kind_are_refused),
        cmocka_unit_test(damage__is_found_wherever_it_is),
        cmocka_unit_test(saving__that_fails_leaves_what_was_there),
        cmocka_unit_test(fingerprint__tells_models_apart),
    };
    return cmocka_run_group_tests_name("engine snapshot", tests, make_dir, remove_dir);
}
