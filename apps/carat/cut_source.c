/* Opening what `cut` reads, and the keys of what it writes: see cut_source.h. */
#include "cut_source.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"

enum { MAX_JSON = 32 << 20 };

int cut_join(char **out, const char *folder, const char *name, carat_error *err) {
    const size_t n = strlen(folder) + strlen(name) + 2;
    *out = ct_alloc(n);
    if (!*out) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", folder);
    const bool slash = folder[0] && folder[strlen(folder) - 1] == '/';
    (void)snprintf(*out, n, "%s%s%s", folder, slash ? "" : "/", name);
    return 0;
}

int cut_load_json(ct_json **out, const char *folder, const char *name, carat_error *err) {
    char *path;
    *out = NULL;
    CT_TRY(cut_join(&path, folder, name, err));
    const int rc = ct_path_exists(path) ? ct_json_load(out, path, MAX_JSON, err) : 0;
    ct_free(path);
    return rc;
}

int cut_source_alloc(cut_source *s, size_t n, carat_error *err) {
    s->t = ct_alloc_array(n, sizeof *s->t);
    s->from = ct_alloc_array(n, sizeof *s->from);
    s->plus_one = ct_alloc_array(n, sizeof *s->plus_one);
    if (s->t && s->from && s->plus_one) return 0;
    return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for a list of %zu tensors", s->path, n);
}

bool cut_source_reads(const cut_source *s, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return false;
    for (int i = 0; i < inspect_model_n_files(&s->model); i++) {
        const ct_mapped_file *f = inspect_model_file(&s->model, i);
        if (f->device == (uint64_t)st.st_dev && f->inode == (uint64_t)st.st_ino) return true;
    }
    return false;
}

/* ---- GGUF --------------------------------------------------------------------------------------------- */

/* Every tensor, known or not, as it lies. */
static int list_gguf(cut_source *s, carat_error *err) {
    s->n = ct_source_n_tensor(&s->model.source);
    CT_TRY(cut_source_alloc(s, s->n, err));
    for (size_t i = 0; i < s->n; i++) {
        s->from[i] = ct_source_tensor_at(&s->model.source, i);
        s->t[i] = *s->from[i];
    }
    return 0;
}

/* Keys that say how the file was made: no longer true of other types. */
static bool is_of_making(const char *key) {
    return strcmp(key, "general.file_type") == 0 || strcmp(key, "general.quantization_version") == 0 ||
           strncmp(key, "quantize.", 9) == 0;
}

static void copy_keys(const ct_gguf *g, ct_gguf_writer *w, const char *name, bool same_types) {
    static const char name_key[] = "general.name";
    for (size_t i = 0; i < ct_gguf_n_kv(g); i++) {
        const ct_gguf_kv *kv = ct_gguf_kv_at(g, i);
        if (name && strcmp(kv->key, name_key) == 0) ct_gguf_put_str(w, name_key, name, strlen(name));
        else if (same_types || !is_of_making(kv->key)) ct_gguf_put_copy(w, kv);
    }
    if (name && !ct_gguf_find(g, name_key)) ct_gguf_put_str(w, name_key, name, strlen(name));
}

/* ---- folder ------------------------------------------------------------------------------------------- */

static const char *last_part(const char *path, size_t *len) {
    const char *end = path + strlen(path);
    while (end > path && end[-1] == '/') end--;
    const char *part = end;
    while (part > path && part[-1] != '/') part--;
    *len = (size_t)(end - part);
    return part;
}

static int put_folder_keys(const cut_source *s, ct_gguf_writer *w, const char *name, carat_error *err) {
    const ct_config *c = &s->model.config;
    char full[PATH_MAX];
    size_t len;
    const char *folder = last_part(s->path, &len);
    /* "." and ".." are no names. */
    if (strspn(folder, ".") >= len && realpath(s->path, full)) folder = last_part(full, &len);
    cli_gemma_keys_put_general(w, c, name ? name : folder, name ? strlen(name) : len);
    cli_gemma_keys_put(w, c);
    return hf_put_vocab(w, s->path, c->n_vocab, err);
}

/* ---- both --------------------------------------------------------------------------------------------- */

int cut_source_open(cut_source *s, const char *path, carat_error *err) {
    memset(s, 0, sizeof *s);
    s->path = path;
    CT_TRY(inspect_model_open(&s->model, path, err));
    int rc = s->model.source.gguf ? list_gguf(s, err) : cli_gemma_keys_check(&s->model.config, path, err);
    if (rc == 0 && !s->model.source.gguf) rc = hf_list_tensors(s, err);
    if (rc) cut_source_close(s);
    return rc;
}

void cut_source_close(cut_source *s) {
    inspect_model_close(&s->model);
    ct_free(s->t);
    ct_free(s->from);
    ct_free(s->plus_one);
    ct_arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

int cut_source_put_keys(const cut_source *s, ct_gguf_writer *w, const cli_recipe *r, const char *name, carat_error *err) {
    if (s->model.source.gguf) copy_keys(s->model.source.gguf, w, name, r == NULL);
    else CT_TRY(put_folder_keys(s, w, name, err));
    if (!r) return 0;
    ct_gguf_put_u32(w, "general.file_type", r->file_type);
    ct_gguf_put_u32(w, "general.quantization_version", 2);
    return 0;
}
