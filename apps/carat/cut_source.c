/* Opening what `cut` reads, and the keys of what it writes: see cut_source.h. */
#include "cut_source.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"

enum { MAX_CONFIG = 32 << 20 };

int cut_join(char **out, const char *folder, const char *name, carat_error *err) {
    const size_t n = strlen(folder) + strlen(name) + 2;
    *out = ct_alloc(n);
    if (!*out) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", folder);
    const bool slash = folder[0] && folder[strlen(folder) - 1] == '/';
    snprintf(*out, n, "%s%s%s", folder, slash ? "" : "/", name);
    return 0;
}

int cut_load_json(ct_json **out, const char *folder, const char *name, carat_error *err) {
    char *path;
    *out = NULL;
    CT_TRY(cut_join(&path, folder, name, err));
    const int rc = ct_path_exists(path) ? ct_json_load(out, path, MAX_CONFIG, err) : 0;
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

/* ---- GGUF --------------------------------------------------------------------------------------------- */

static int open_gguf(cut_source *s, carat_error *err) {
    CT_TRY(ct_gguf_open(&s->g, s->path, err));
    ct_str arch = {"", 0};
    const ct_gguf_kv *kv = ct_gguf_find(s->g, "general.architecture");
    if (kv) (void)ct_gguf_as_str(kv, &arch);
    if (arch.len != 6 || (memcmp(arch.s, "gemma4", 6) != 0 && memcmp(arch.s, "gemma3", 6) != 0)) {
        return CT_FAIL(err, CARAT_EMODEL, "%s: general.architecture is \"%.*s\", expected gemma4 or gemma3", s->path,
                       (int)(arch.len < 40 ? arch.len : 40), arch.s);
    }
    s->n = ct_gguf_n_tensor(s->g);
    CT_TRY(cut_source_alloc(s, s->n, err));
    for (size_t i = 0; i < s->n; i++) {
        s->from[i] = ct_gguf_tensor_at(s->g, i);
        s->t[i] = *s->from[i];
    }
    return 0;
}

/* Keys that say how the file was made, which is no longer true. */
static bool is_of_making(const char *key) {
    return strcmp(key, "general.file_type") == 0 || strcmp(key, "general.quantization_version") == 0 ||
           strncmp(key, "quantize.", 9) == 0;
}

/* ---- folder ------------------------------------------------------------------------------------------- */

static int open_folder(cut_source *s, carat_error *err) {
    ct_json *config;
    char *where;
    CT_TRY(cut_load_json(&config, s->path, "config.json", err));
    if (!config) return CT_FAIL(err, CARAT_EIO, "%s: holds no config.json", s->path);
    int rc = cut_join(&where, s->path, "config.json", err);
    if (rc == 0) rc = hf_config_read(&s->keys, &s->partial_rotary, config, where, err);
    bool tied = true;
    if (!ct_json_bool(ct_json_get(ct_json_root(config), "tie_word_embeddings"), &tied)) {
        (void)ct_json_bool(ct_json_get(hf_config_text(config), "tie_word_embeddings"), &tied);
    }
    ct_free(where);
    ct_json_free(&config);
    CT_TRY(rc);
    CT_TRY(ct_safetensors_open(&s->st, s->path, err));
    return hf_list_tensors(s, tied, err);
}

static int put_folder_keys(const cut_source *s, ct_gguf_writer *w, carat_error *err) {
    const char *end = s->path + strlen(s->path);
    while (end > s->path && end[-1] == '/') end--;
    const char *name = end;
    while (name > s->path && name[-1] != '/') name--;
    ct_gguf_put_str(w, "general.architecture", s->keys.arch, strlen(s->keys.arch));
    ct_gguf_put_str(w, "general.type", "model", strlen("model"));
    ct_gguf_put_str(w, "general.name", name, (size_t)(end - name));
    cli_gemma_keys_put(w, &s->keys);
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->t[i].name, "token_embd.weight") == 0) return hf_put_vocab(w, s->path, s->t[i].shape[0], err);
    }
    return CT_FAIL(err, CARAT_EMODEL, "%s: has no embed_tokens.weight", s->path);
}

/* ---- both --------------------------------------------------------------------------------------------- */

int cut_source_open(cut_source *s, const char *path, carat_error *err) {
    memset(s, 0, sizeof *s);
    s->path = path;
    const int rc = ct_path_is_dir(path) ? open_folder(s, err) : open_gguf(s, err);
    if (rc) cut_source_close(s);
    return rc;
}

void cut_source_close(cut_source *s) {
    ct_gguf_close(&s->g);
    ct_safetensors_close(&s->st);
    ct_free(s->t);
    ct_free(s->from);
    ct_free(s->plus_one);
    ct_arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

int cut_source_put_keys(const cut_source *s, ct_gguf_writer *w, const cli_recipe *r, carat_error *err) {
    if (s->g) {
        for (size_t i = 0; i < ct_gguf_n_kv(s->g); i++) {
            const ct_gguf_kv *kv = ct_gguf_kv_at(s->g, i);
            if (!is_of_making(kv->key)) ct_gguf_put_copy(w, kv);
        }
    } else {
        CT_TRY(put_folder_keys(s, w, err));
    }
    ct_gguf_put_u32(w, "general.file_type", r->file_type);
    ct_gguf_put_u32(w, "general.quantization_version", 2);
    return 0;
}
