#include "model/source.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)4 << 20)

int ct_source_open(ct_source *s, const char *path, carat_error *err) {
    memset(s, 0, sizeof *s);
    if (!ct_path_is_dir(path)) return ct_gguf_open(&s->gguf, path, err);
    CT_TRY(ct_safetensors_open(&s->st, path, err));
    /* Multimodal checkpoints nest the text model; text-only exports do not (gemma4-spec 3.2). */
    static const char *const prefixes[] = {"model.language_model.", "language_model.model.", "model."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (ct_safetensors_tensor(s->st, name)) {
            (void)snprintf(s->prefix, sizeof s->prefix, "%s", prefixes[i]);
            return 0;
        }
    }
    ct_source_close(s);
    return CT_FAIL(err, CARAT_EMODEL, "%s: no tensor model.language_model.embed_tokens.weight or model.embed_tokens.weight", path);
}

void ct_source_close(ct_source *s) {
    ct_gguf_close(&s->gguf);
    ct_safetensors_close(&s->st);
}

size_t ct_source_n_tensor(const ct_source *s) {
    return s->gguf ? ct_gguf_n_tensor(s->gguf) : ct_safetensors_n_tensor(s->st);
}

const ct_tensor *ct_source_tensor_at(const ct_source *s, size_t i) {
    return s->gguf ? ct_gguf_tensor_at(s->gguf, i) : ct_safetensors_tensor_at(s->st, i);
}

const ct_tensor *ct_source_tensor(const ct_source *s, const char *name) {
    return s->gguf ? ct_gguf_tensor(s->gguf, name) : ct_safetensors_tensor(s->st, name);
}

int ct_source_n_files(const ct_source *s) { return s->gguf ? ct_gguf_n_files(s->gguf) : ct_safetensors_n_files(s->st); }

const ct_mapped_file *ct_source_file(const ct_source *s, int i) {
    return s->gguf ? ct_gguf_file(s->gguf, i) : ct_safetensors_file(s->st, i);
}

int ct_source_locate(const ct_source *s, const uint8_t *p, uint64_t *offset) {
    int i = 0;
    for (;; i++) {
        const ct_mapped_file *f = ct_source_file(s, i);
        if ((uintptr_t)p - (uintptr_t)f->data >= f->size) continue; /* p is of one of them */
        *offset = (uint64_t)((uintptr_t)p - (uintptr_t)f->data);
        return i;
    }
}

uint64_t ct_source_file_bytes(const ct_source *s) {
    uint64_t n = 0;
    for (int i = 0; i < ct_source_n_files(s); i++) n += ct_source_file(s, i)->size;
    return n;
}

int ct_source_config(ct_config *c, const ct_source *s, const char *path, carat_error *err) {
    if (s->gguf) return ct_config_from_gguf(c, s->gguf, err);
    char file[4096];
    if (snprintf(file, sizeof file, "%s/config.json", path) >= (int)sizeof file) {
        return CT_FAIL(err, CARAT_EIO, "path is longer than %zu bytes", sizeof file);
    }
    ct_json *j = NULL;
    CT_TRY(ct_json_load(&j, file, CONFIG_MAX_BYTES, err));
    const int rc = ct_config_from_hf(c, j, "config.json", err);
    ct_json_free(&j);
    if (rc || c->name[0]) return rc;
    /* A folder has no name of its own: its last path component is what people call it. */
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t at = n;
    while (at > 0 && path[at - 1] != '/') at--;
    (void)snprintf(c->name, sizeof c->name, "%.*s", (int)(n - at < 100 ? n - at : 100), path + at);
    return 0;
}
