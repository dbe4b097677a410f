/* See targets.h. Targets use what they opened (every value, every tensor's first and last byte, a text through the
 * tokenizer), so that a file that is accepted but wrong shows under a sanitizer. */
#include "targets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "carat.h"
#include "formats/gguf_priv.h"
#include "formats/json.h"
#include "formats/safetensors_priv.h"
#include "seeds.h"
#include "text/detok.h"
#include "text/tokenizer.h"

static char *folder, *hf_folder, *st_folder, *gguf_path, *config_path, *index_path, *tokenizer_path, *session_path;

static volatile uint64_t sink; /* reads must not be optimised away */

/* Stop unless err is a proper refusal. Always returns 0. */
static int refused(int rc, const carat_error *err) {
    const char *bad = rc > 0 ? "has a positive status" : craft_bad_failure(rc, err, rc, "");
    if (bad) {
        fprintf(stderr, "refusal %d %s: \"%s\"\n", rc, bad, err->msg);
        abort();
    }
    return 0;
}

static void touch(const ct_tensor *t, const ct_mapped_file *f) {
    if (t->offset > f->size || t->bytes > f->size - t->offset || t->data != f->data + t->offset) {
        fprintf(stderr, "%s lies outside its file\n", t->name);
        abort();
    }
    if (t->bytes) sink += (uint64_t)t->data[0] + t->data[t->bytes - 1];
    sink += strlen(t->name);
}

/* ---- formats ------------------------------------------------------------------------------------------ */

static void read_kv(const ct_gguf_kv *kv) {
    int64_t i;
    double d;
    bool b;
    ct_str s;
    if (ct_gguf_as_i64(kv, &i)) sink += (uint64_t)i;
    if (ct_gguf_as_f64(kv, &d)) sink += d > 0;
    if (ct_gguf_as_bool(kv, &b)) sink += b;
    if (ct_gguf_as_str(kv, &s) && s.len) sink += (uint64_t)s.s[0] + (uint64_t)s.s[s.len - 1];
    for (uint64_t k = 0; k < kv->n && ct_gguf_arr_i64(kv, k, &i); k++) sink += (uint64_t)i;
    for (uint64_t k = 0; k < kv->n && ct_gguf_arr_f64(kv, k, &d); k++) sink += d > 0;
    const uint8_t *cursor = kv->data;
    uint64_t n = 0;
    for (; ct_gguf_arr_next_str(kv, &cursor, &s); n++) {
        if (s.len) sink += (uint64_t)s.s[s.len - 1];
    }
    if (kv->type == CT_GGUF_ARRAY && kv->elem_type == CT_GGUF_STRING && n != kv->n) abort();
}

static int run_gguf(const uint8_t *data, size_t size) {
    carat_error err = {0};
    ct_gguf *g;
    const int rc = ct_gguf_open_memory(&g, data, size, "fuzz.gguf", &err);
    if (rc) return refused(rc, &err);
    for (size_t i = 0; i < ct_gguf_n_kv(g); i++) {
        if (ct_gguf_find(g, ct_gguf_kv_at(g, i)->key) != ct_gguf_kv_at(g, i)) abort();
        read_kv(ct_gguf_kv_at(g, i));
    }
    for (size_t i = 0; i < ct_gguf_n_tensor(g); i++) {
        const ct_tensor *t = ct_gguf_tensor_at(g, i);
        if (ct_gguf_tensor(g, t->name) != t) abort();
        touch(t, ct_gguf_file(g, t->file));
    }
    ct_gguf_close(&g);
    return 1;
}

static void use_safetensors(const ct_safetensors *st) {
    for (size_t i = 0; i < ct_safetensors_n_tensor(st); i++) {
        const ct_tensor *t = ct_safetensors_tensor_at(st, i);
        if (ct_safetensors_tensor(st, t->name) != t) abort();
        touch(t, ct_safetensors_file(st, t->file));
    }
}

static int run_safetensors(const uint8_t *data, size_t size) {
    carat_error err = {0};
    ct_safetensors *st;
    const int rc = ct_safetensors_open_memory(&st, data, size, "fuzz.safetensors", &err);
    if (rc) return refused(rc, &err);
    use_safetensors(st);
    ct_safetensors_close(&st);
    return 1;
}

static void walk_json(ct_json_val v, int depth) {
    int64_t i;
    double d;
    bool b;
    size_t len;
    void *iter = NULL;
    const char *key, *s = ct_json_str(v, &len);
    ct_json_val val;
    if (s && len) sink += (uint64_t)s[len - 1];
    if (ct_json_i64(v, &i)) sink += (uint64_t)i;
    if (ct_json_f64(v, &d)) sink += d > 0;
    if (ct_json_bool(v, &b)) sink += b;
    if (depth > 50) return;
    for (size_t k = 0; ct_json_is_array(v) && k < ct_json_len(v); k++) walk_json(ct_json_at(v, k), depth + 1);
    while (ct_json_next(v, &iter, &key, &len, &val)) {
        if (ct_json_get(v, key) != val) abort();
        walk_json(val, depth + 1);
    }
}

static int run_json(const uint8_t *data, size_t size) {
    carat_error err = {0};
    ct_json *j;
    const int rc = ct_json_parse(&j, (const char *)data, size, "fuzz.json", &err);
    if (rc) return refused(rc, &err);
    walk_json(ct_json_root(j), 0);
    ct_json_free(&j);
    return 1;
}

/* ---- files -------------------------------------------------------------------------------------------- */

static void save(const char *path, const uint8_t *data, size_t size) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd) != 0) {
        perror(path);
        exit(99);
    }
}

static char *in(const char *dir, const char *name) { return craft_path(dir, name); }

void fuzz_begin(void) {
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    folder = craft_tmpdir();
    hf_folder = craft_tmpdir();
    st_folder = craft_tmpdir();
    gguf_path = in(folder, "model.gguf");
    tokenizer_path = in(folder, "tokenizer.json");
    session_path = in(folder, "session");
    config_path = in(hf_folder, "config.json");
    index_path = in(st_folder, "model.safetensors.index.json");
    static const char *const shard[] = {"one.safetensors", "two.safetensors"};
    for (int i = 0; i < 3; i++) {
        craft c = {0};
        char *path = in(i < 2 ? st_folder : hf_folder, i < 2 ? shard[i] : "model.safetensors");
        if (i < 2) seed_safetensors(&c, i);
        else seed_hf_weights(&c);
        save(path, c.p, c.n);
        free(path);
        craft_free(&c);
    }
}

void fuzz_end(void) {
    char **const path[] = {&gguf_path, &tokenizer_path, &session_path, &config_path, &index_path};
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++) free(*path[i]);
    craft_rmdir(folder);
    craft_rmdir(hf_folder);
    craft_rmdir(st_folder);
}

static int run_index(const uint8_t *data, size_t size) {
    carat_error err = {0};
    ct_safetensors *st;
    save(index_path, data, size);
    const int rc = ct_safetensors_open(&st, st_folder, &err);
    if (rc) return refused(rc, &err);
    use_safetensors(st);
    ct_safetensors_close(&st);
    return 1;
}

/* ---- tokenizers --------------------------------------------------------------------------------------- */

static void use_tokenizer(const ct_tokenizer *t) {
    static const char text[] =
        "<bos>ab  a\xc3\xa9<|turn>b\xff\xf0\x9f\x98\x80 <0x41>ababab\n\n<turn|>\xe2\x96\x81"
        "a";
    carat_error err = {0};
    ct_detok *d;
    size_t len;
    const char *out;
    for (int special = 0; special < 2; special++) {
        ct_ids ids = {0};
        int rc = ct_tokenizer_encode(t, text, sizeof text - 1, special, &ids, &err);
        if (rc) refused(rc, &err);
        rc = ct_detok_new(&d, t, special, &err);
        if (rc) refused(rc, &err);
        for (size_t i = 0; i < ids.n; i++) {
            if (ids.id[i] < 0 || ids.id[i] >= ct_tokenizer_n_vocab(t)) abort();
            rc = ct_detok_push(d, ids.id[i], &out, &len, &err);
            if (rc) refused(rc, &err);
            if (len) sink += (uint64_t)out[len - 1];
        }
        ct_detok_flush(d, &out, &len);
        ct_detok_free(&d);
        ct_ids_free(&ids);
    }
    for (int32_t i = -1; i <= ct_tokenizer_n_vocab(t) && i < 2000; i++) {
        const char *p = ct_tokenizer_piece(t, i, &len);
        sink +=
            ct_tokenizer_is_control(t, i) + ct_tokenizer_is_stop(t, i) + (uint64_t)ct_tokenizer_byte(t, i);
        if (p && len) sink += (uint64_t)p[len - 1] + (uint64_t)ct_tokenizer_find(t, p, len);
    }
}

static int run_tokenizer_gguf(const uint8_t *data, size_t size) {
    carat_error err = {0};
    ct_gguf *g;
    ct_tokenizer *t;
    int rc = ct_gguf_open_memory(&g, data, size, "fuzz.gguf", &err);
    if (rc) return refused(rc, &err);
    rc = ct_tokenizer_from_gguf(&t, g, &err);
    if (rc == 0) use_tokenizer(t);
    else refused(rc, &err);
    ct_tokenizer_free(&t);
    ct_gguf_close(&g);
    return rc == 0;
}

static int run_tokenizer_json(const uint8_t *data, size_t size) {
    carat_error err = {0};
    ct_tokenizer *t;
    save(tokenizer_path, data, size);
    const int rc = ct_tokenizer_from_hf(&t, folder, &err);
    if (rc) return refused(rc, &err);
    use_tokenizer(t);
    ct_tokenizer_free(&t);
    return 1;
}

/* ---- models ------------------------------------------------------------------------------------------- */

/* Evaluate a few tokens, then others that share a prefix: shapes that passed the checks must also compute. */
static void use_session(const carat_model *m, const carat_model_info *info) {
    carat_session_opts o = carat_session_opts_default();
    carat_error err = {0};
    carat_session *s;
    o.n_ctx = 8;
    o.n_threads = 1;
    int rc = carat_session_new(&s, m, &o, &err);
    if (rc) {
        refused(rc, &err);
        return;
    }
    const int32_t last = info->n_vocab - 1, tok[2][5] = {{0, last, 0, last, 0}, {0, last, last, 0, last}};
    for (int i = 0; i < 2; i++) {
        rc = carat_session_sync(s, tok[i], 5, &err);
        if (rc) refused(rc, &err);
        const float *logits = carat_session_logits(s);
        if (logits) sink += logits[0] > 0 || logits[last] > 0;
    }
    carat_session_free(&s);
}

static int open_model(const char *path) {
    carat_error err = {0};
    carat_model *m;
    carat_model_info info;
    int32_t tok[16];
    size_t n;
    int rc = carat_model_open(&m, path, NULL, &err);
    if (rc) return refused(rc, &err);
    carat_model_get_info(m, &info);
    sink += (uint64_t)info.params_total + info.bytes_token + strlen(info.name);
    rc = carat_tokenize(m, "ab a<bos>", 9, CARAT_TOKENIZE_BOS | CARAT_TOKENIZE_SPECIAL, tok, 16, &n, &err);
    if (rc) refused(rc, &err);
    use_session(m, &info);
    carat_model_close(&m);
    return 1;
}

static int run_model_gguf(const uint8_t *data, size_t size) {
    save(gguf_path, data, size);
    return open_model(gguf_path);
}

static int run_config_json(const uint8_t *data, size_t size) {
    save(config_path, data, size);
    return open_model(hf_folder);
}

/* ---- saved sessions ----------------------------------------------------------------------------------- */

static carat_model *session_model;
static carat_session *session;

/* A model and a session for all cases, which are of the bytes of the file alone. */
static void begin_session(void) {
    carat_error err = {0};
    carat_session_opts o = carat_session_opts_default();
    craft c = {0};
    seed_model_gguf(&c, 0);
    save(gguf_path, c.p, c.n);
    craft_free(&c);
    o.n_ctx = 40;
    o.n_chunk = 4;
    o.n_threads = 1;
    if (carat_model_open(&session_model, gguf_path, NULL, &err) || carat_session_new(&session, session_model, &o, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
}

/* Sessions within the window of 8 tokens, and beyond; at the end of the context. */
static int seed_session(craft *out, int i) {
    static const int n_tok[] = {5, 24, 39};
    carat_error err = {0};
    int32_t tok[40];
    char *file;
    size_t n;
    if (i == 3) return 0;
    if (!session) begin_session();
    for (int k = 0; k < 40; k++) tok[k] = k * 5 % 13;
    if (carat_session_sync(session, tok, (size_t)n_tok[i], &err) || carat_session_save(session, session_path, &err) ||
        ct_read_file(&file, &n, session_path, 1 << 20, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    craft_bytes(out, file, n);
    ct_free(file);
    return 1;
}

/* Make the checksum behind p[at, at + n) true, as far as there is one. Returns where it ends. */
static size_t seal(uint8_t *p, size_t size, size_t at, uint64_t n) {
    if (at > size || n > size - at || size - at - n < 8) return size;
    const uint64_t check = ct_hash_of(p + at, (size_t)n);
    memcpy(p + at + n, &check, 8);
    return at + (size_t)n + 8;
}

/* With true checksums, or nothing behind them would ever be reached; those of keys and values stay as they are. */
static int run_session(const uint8_t *data, size_t size) {
    carat_error err = {0};
    static const int32_t tok[] = {0, 5, 10, 2, 7, 9};
    if (!session) begin_session();
    uint8_t *p = ct_alloc(size);
    if (size) memcpy(p, data, size);
    if (size >= 64) {
        const uint64_t n_store = ct_load_u32(p + 12), n_tok = ct_load_u32(p + 28), length = size;
        memcpy(p + 32, &length, 8);
        seal(p, size, seal(p, size, seal(p, size, 0, 56), 16 * n_store), 4 * n_tok);
    }
    save(session_path, p, size);
    ct_free(p);
    const int rc = carat_session_load(session, session_path, &err);
    if (rc) refused(rc, &err);
    const int32_t n = carat_session_n_past(session);
    if (n < 0 || n > 40) abort();
    if (carat_session_sync(session, tok, 6, &err)) abort();
    sink += carat_session_logits(session)[0] > 0;
    return rc == 0;
}

const fuzz_target fuzz_targets[] = {
    {"gguf", run_gguf, seed_gguf, false, false},
    {"safetensors", run_safetensors, seed_safetensors, true, true},
    {"json", run_json, seed_json, true, false},
    {"index", run_index, seed_index, true, false},
    {"tokenizer.json", run_tokenizer_json, seed_tokenizer_json, true, false},
    {"tokenizer.gguf", run_tokenizer_gguf, seed_tokenizer_gguf, false, false},
    {"model.gguf", run_model_gguf, seed_model_gguf, false, false},
    {"config.json", run_config_json, seed_config_json, true, false},
    {"session", run_session, seed_session, false, false},
};
const int fuzz_n_target = sizeof fuzz_targets / sizeof fuzz_targets[0];
