/* See maker.h. */
#include "maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "formats/gguf_write.h"

static void die(const char *what) {
    fprintf(stderr, "maker: %s\n", what);
    exit(99);
}

static const char *temp_folder(void) {
    static char path[256];
    const char *base = getenv("TMPDIR");
    if (!base)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of files: in memory if possible */
    snprintf(path, sizeof path, "%s/carat-text-XXXXXX", base);
    if (!mkdtemp(path)) die("cannot make a temporary folder");
    return path;
}

static void put_strings(ct_gguf_writer *w, const char *key, const char *const *s, size_t n) {
    if (!s) return;
    ct_str *v = ct_alloc_array(n, sizeof *v);
    if (!v) die("out of memory");
    for (size_t i = 0; i < n; i++) v[i] = (ct_str){s[i], strlen(s[i])};
    ct_gguf_put_arr_str(w, key, v, n);
    ct_free(v);
}

static void write_file(const char *path, const char *text, size_t len) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, len, f) != len || fclose(f)) die("cannot write a temporary file");
}

void maker_gguf_bytes(char **file, size_t *size, const maker_gguf *g) {
    char path[300];
    carat_error err = {0};
    const char *folder = temp_folder();
    ct_gguf_writer *w = NULL;
    snprintf(path, sizeof path, "%s/t.gguf", folder);
    if (ct_gguf_writer_new(&w, path, &err)) die(err.msg);
    if (g->model) ct_gguf_put_str(w, "tokenizer.ggml.model", g->model, strlen(g->model));
    put_strings(w, "tokenizer.ggml.tokens", g->tokens, g->n_tokens);
    if (g->scores) ct_gguf_put_arr_f32(w, "tokenizer.ggml.scores", g->scores, g->n_scores);
    if (g->types) ct_gguf_put_arr_i32(w, "tokenizer.ggml.token_type", g->types, g->n_types);
    put_strings(w, "tokenizer.ggml.merges", g->merges, g->n_merges);
    if (g->bos >= 0) ct_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)g->bos);
    if (g->eos >= 0) ct_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)g->eos);
    if (g->unk >= 0) ct_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)g->unk);
    if (ct_gguf_writer_begin(w, &err) || ct_gguf_writer_finish(w, &err)) die(err.msg);
    ct_gguf_writer_free(&w);
    if (ct_read_file(file, size, path, 1 << 24, &err)) die(err.msg);
    unlink(path);
    rmdir(folder);
}

int maker_from_gguf_bytes(ct_tokenizer **out, const char *file, size_t size, carat_error *err) {
    char path[300];
    const char *folder = temp_folder();
    ct_gguf *f = NULL;
    *out = NULL;
    snprintf(path, sizeof path, "%s/t.gguf", folder);
    write_file(path, file, size);
    int rc = ct_gguf_open(&f, path, err);
    if (rc == 0) rc = ct_tokenizer_from_gguf(out, f, err);
    ct_gguf_close(&f);
    unlink(path);
    rmdir(folder);
    return rc;
}

int maker_from_gguf(ct_tokenizer **out, const maker_gguf *g, carat_error *err) {
    char *file;
    size_t size;
    maker_gguf_bytes(&file, &size, g);
    const int rc = maker_from_gguf_bytes(out, file, size, err);
    ct_free(file);
    return rc;
}

int maker_from_json(ct_tokenizer **out, const char *json, size_t len, const char *extra_name, const char *extra,
                    carat_error *err) {
    char path[300], other[300];
    const char *folder = temp_folder();
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    write_file(path, json, len);
    if (extra_name) {
        snprintf(other, sizeof other, "%s/%s", folder, extra_name);
        write_file(other, extra, strlen(extra));
    }
    const int rc = ct_tokenizer_from_hf(out, folder, err);
    unlink(path);
    if (extra_name) unlink(other);
    rmdir(folder);
    return rc;
}

const char *maker_root_path(const char *relative) {
    static char path[1024];
    const char *root = getenv("CARAT_ROOT");
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", relative);
    return path;
}
