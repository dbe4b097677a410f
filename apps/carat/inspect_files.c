/* The tensor directory of a model, through the doors of formats: see inspect.h.
 *
 * The ledger's roles come from the library; here a tensor's role is read from its name, because the directory is a
 * listing of the file and not of the bound model. tests/cli checks that both give the same bytes for every role. */
#include "inspect.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/status.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "term.h"

struct inspect_files {
    ct_gguf *gguf;
    ct_safetensors *st;
    int n_layer, n_shared;
    char layers[640];
};

/* ---- roles ---- */

/* Part of a name → role; the first that fits counts, so the special stand above the general. */
static const struct {
    const char *part;
    carat_role role;
} by_name[] = {
    {"vision_tower.", CARAT_ROLE_VISION},
    {"embed_vision.", CARAT_ROLE_VISION},
    {"audio_tower.", CARAT_ROLE_AUDIO},
    {"embed_audio.", CARAT_ROLE_AUDIO},
    {"norm", CARAT_ROLE_NORM},
    {"layer_scalar", CARAT_ROLE_NORM},
    {"layer_output_scale", CARAT_ROLE_NORM},
    {"router.scale", CARAT_ROLE_NORM},
    {"router.per_expert_scale", CARAT_ROLE_NORM},
    {"ffn_gate_inp.scale", CARAT_ROLE_NORM},
    {"ffn_down_exps.scale", CARAT_ROLE_NORM},
    {"rope_freqs.", CARAT_ROLE_NORM},
    {"router.proj.", CARAT_ROLE_ROUTER},
    {"ffn_gate_inp.", CARAT_ROLE_ROUTER},
    {"_exps.", CARAT_ROLE_EXPERTS},
    {".experts.", CARAT_ROLE_EXPERTS},
    {"per_layer_token_embd.", CARAT_ROLE_PLE_TABLE},
    {"embed_tokens_per_layer.", CARAT_ROLE_PLE_TABLE},
    {"per_layer_", CARAT_ROLE_PLE_PROJ},
    {".inp_gate.", CARAT_ROLE_PLE_PROJ},
    {".self_attn.", CARAT_ROLE_ATTENTION},
    {".attn_", CARAT_ROLE_ATTENTION},
    {".mlp.", CARAT_ROLE_MLP},
    {".ffn_", CARAT_ROLE_MLP},
    {".proj.", CARAT_ROLE_PLE_PROJ},
    {"token_embd.", CARAT_ROLE_TOKEN_EMBD},
    {"embed_tokens.", CARAT_ROLE_TOKEN_EMBD},
    {"output.", CARAT_ROLE_OUTPUT},
    {"lm_head.", CARAT_ROLE_OUTPUT},
};

/* Layer number in "blk.7." or "layers.7."; -1 when there is none. */
static int layer_of(const char *name) {
    const char *p = strstr(name, "blk.");
    if (!p) p = strstr(name, "layers.");
    int n = -1;
    if (p && sscanf(strchr(p, '.'), ".%d.", &n) != 1) n = -1;
    return n;
}

/* A layer that shares keys and values has no use for its own. */
static bool is_shared_kv(const inspect_files *f, const char *name) {
    static const char *const own[] = {".attn_k.", ".attn_v.", ".attn_k_norm.", ".k_proj.", ".v_proj.", ".k_norm."};
    const int layer = layer_of(name);
    if (layer < 0 || layer < f->n_layer - f->n_shared) return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (strstr(name, own[i])) return true;
    }
    return false;
}

static carat_role role_of(const inspect_files *f, const char *name) {
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++) {
        if (!strstr(name, by_name[i].part)) continue;
        const carat_role r = by_name[i].role;
        if (r == CARAT_ROLE_VISION || r == CARAT_ROLE_AUDIO) return r;
        return is_shared_kv(f, name) ? CARAT_ROLE_UNUSED : r;
    }
    return CARAT_ROLE_UNUSED;
}

/* ---- the order of layers ---- */

static void note_layer(inspect_files *f, int i, bool sliding) {
    const size_t n = strlen(f->layers);
    if (n + 3 > sizeof f->layers || i >= f->n_layer) return;
    f->layers[n] = sliding ? 'S' : 'F';
    /* A blank behind every full layer shows the pattern. */
    if (!sliding && i + 1 < f->n_layer) f->layers[n + 1] = ' ';
}

static void read_gguf_layers(inspect_files *f, const char *arch) {
    char key[128];
    int64_t x;
    (void)snprintf(key, sizeof key, "%s.attention.shared_kv_layers", arch);
    const ct_gguf_kv *kv = ct_gguf_find(f->gguf, key);
    if (kv && ct_gguf_as_i64(kv, &x) && x >= 0 && x <= f->n_layer) f->n_shared = (int)x;
    (void)snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch);
    kv = ct_gguf_find(f->gguf, key);
    if (kv && kv->type == CT_GGUF_ARRAY && kv->n == (uint64_t)f->n_layer) {
        for (int i = 0; i < f->n_layer; i++) note_layer(f, i, ct_gguf_arr_i64(kv, (uint64_t)i, &x) && x != 0);
    } else {
        /* Gemma 3 files give a period, or leave the usual one out. */
        if (!(kv && ct_gguf_as_i64(kv, &x) && x > 0)) x = strcmp(arch, "gemma3") == 0 ? 6 : 0;
        for (int i = 0; i < f->n_layer && x > 0; i++) note_layer(f, i, (i + 1) % x != 0);
    }
}

static int read_folder_layers(inspect_files *f, const char *folder, carat_error *err) {
    char path[4096];
    ct_json *j = NULL;
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    CT_TRY(ct_json_load(&j, path, (size_t)16 << 20, err));
    ct_json_val text = ct_json_get(ct_json_root(j), "text_config");
    if (!text) text = ct_json_root(j);
    int64_t x;
    if (ct_json_i64(ct_json_get(text, "num_kv_shared_layers"), &x) && x >= 0 && x <= f->n_layer) f->n_shared = (int)x;
    ct_json_val types = ct_json_get(text, "layer_types");
    for (size_t i = 0; i < ct_json_len(types); i++) {
        const char *s = ct_json_str(ct_json_at(types, i), NULL);
        note_layer(f, (int)i, s && strcmp(s, "sliding_attention") == 0);
    }
    /* Gemma 3 gives a period instead of a list. */
    if (!types && ct_json_i64(ct_json_get(text, "sliding_window_pattern"), &x) && x > 0) {
        for (int i = 0; i < f->n_layer; i++) note_layer(f, i, (i + 1) % x != 0);
    }
    ct_json_free(&j);
    return 0;
}

int inspect_files_open(inspect_files **out, const char *path, const carat_model_info *info, carat_error *err) {
    *out = NULL;
    inspect_files *f = ct_alloc(sizeof *f);
    if (!f) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
    f->n_layer = info->n_layer;
    int rc;
    if (strcmp(info->format, "gguf") == 0) {
        rc = ct_gguf_open(&f->gguf, path, err);
        if (!rc) read_gguf_layers(f, info->arch);
    } else {
        rc = ct_safetensors_open(&f->st, path, err);
        if (!rc) rc = read_folder_layers(f, path, err);
    }
    if (rc) inspect_files_close(&f);
    *out = f;
    return rc;
}

void inspect_files_close(inspect_files **f) {
    if (!f || !*f) return;
    ct_gguf_close(&(*f)->gguf);
    ct_safetensors_close(&(*f)->st);
    ct_free(*f);
    *f = NULL;
}

const char *inspect_layers(const inspect_files *f) { return f->layers; }
int inspect_n_shared_kv(const inspect_files *f) { return f->n_shared; }

/* ---- the directory ---- */

static size_t n_tensor(const inspect_files *f) {
    return f->gguf ? ct_gguf_n_tensor(f->gguf) : ct_safetensors_n_tensor(f->st);
}

static const ct_tensor *tensor_at(const inspect_files *f, size_t i) {
    return f->gguf ? ct_gguf_tensor_at(f->gguf, i) : ct_safetensors_tensor_at(f->st, i);
}

cli_json *inspect_tensors_json(const inspect_files *f) {
    cli_json *list = cli_json_array();
    for (size_t i = 0; i < n_tensor(f); i++) {
        const ct_tensor *t = tensor_at(f, i);
        cli_json *o = cli_json_object(), *shape = cli_json_array();
        cli_json_put_str(o, "name", t->name);
        cli_json_put_str(o, "type", ct_dtype_name(t->dtype));
        for (int d = 0; d < t->rank; d++) cli_json_add_int(shape, t->shape[d]);
        cli_json_put(o, "shape", shape);
        cli_json_put_bytes(o, "bytes", t->bytes);
        cli_json_put_str(o, "role", carat_role_key(role_of(f, t->name)));
        cli_json_put_int(o, "file", t->file);
        cli_json_put_bytes(o, "offset", t->offset);
        cli_json_add(list, o);
    }
    return list;
}

void inspect_tensors_print(const inspect_files *f) {
    cli_table *table = cli_table_new("llrrl");
    cli_table_row(table, "tensor", "type", "shape", "bytes", "role");
    cli_table_line(table);
    for (size_t i = 0; i < n_tensor(f); i++) {
        const ct_tensor *t = tensor_at(f, i);
        char shape[96] = "";
        cli_text bytes;
        size_t n = 0;
        for (int d = 0; d < t->rank && n < sizeof shape; d++) {
            n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%lld", d ? " x " : "", (long long)t->shape[d]);
        }
        cli_table_row(table, t->name, ct_dtype_name(t->dtype), t->rank ? shape : "scalar", cli_count_text(bytes, (int64_t)t->bytes),
                      carat_role_key(role_of(f, t->name)));
    }
    cli_table_print(table, false);
}
