/* tokenizer.json, and the files beside it, to tokenizer.ggml.* keys: pieces, types, merges, special ids, chat template.
 * What GGUF has no word for (a token matched after normalisation that holds a space, no byte fallback) is refused, so
 * that the GGUF tokenizes as the folder does. That the pipeline is Gemma's is checked where the folder is opened as a
 * model. REF: gemma4-spec 4.5. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "cut_source.h"

enum { NORMAL = 1, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 }; /* tokenizer.ggml.token_type */
#define SPACE "\xe2\x96\x81"
#define MAX_TOKENIZER ((size_t)512 << 20)
#define MAX_TEMPLATE ((size_t)4 << 20)

typedef struct {
    const char *folder;
    carat_error *err;
    size_t n;
    ct_str *piece;
    int32_t *type;
    float *score;
    ct_str *merge;
    size_t n_merge;
    char *merge_text;
    ct_arena arena; /* names of rows without a token */
} vocab;

static bool absent(ct_json_val v) { return !v || ct_json_is_null(v); }

static bool flag(ct_json_val obj, const char *key) {
    bool on = false;
    return ct_json_bool(ct_json_get(obj, key), &on) && on;
}

static bool holds(const char *s, size_t n, const char *what, size_t m) {
    for (size_t i = 0; i + m <= n; i++) {
        if (memcmp(s + i, what, m) == 0) return true;
    }
    return false;
}

static int no_memory(const vocab *v) {
    return CT_FAIL(v->err, CARAT_ENOMEM, "%s: no memory for its vocabulary", v->folder);
}

/* ---- pieces ------------------------------------------------------------------------------------------- */

static bool is_byte(const char *s, size_t n) {
    return n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>' && strspn(s + 3, "0123456789ABCDEFabcdef") == 2;
}

static int put_piece(vocab *v, ct_json_val id, const char *s, size_t len, int32_t type) {
    int64_t i;
    if (!s || !ct_json_i64(id, &i) || i < 0 || (uint64_t)i >= v->n) {
        return CT_FAIL(v->err, CARAT_EMODEL,
                       "%s/tokenizer.json: \"%.64s\" has no id below the %zu rows of the embedding", v->folder,
                       s ? s : "(no content)", v->n);
    }
    v->piece[i] = (ct_str){s, len};
    v->type[i] = type;
    v->score[i] = type == NORMAL ? (float)-i : 0.0f;
    return 0;
}

static int put_added(vocab *v, ct_json_val a) {
    size_t len = 0;
    int64_t id;
    const char *s = ct_json_str(ct_json_get(a, "content"), &len);
    /* Text models of Gemma 3 list an image token just past their embedding: they can neither read nor write it. */
    if (ct_json_i64(ct_json_get(a, "id"), &id) && id >= 0 && (uint64_t)id >= v->n) return 0;
    if (s && flag(a, "normalized") && (holds(s, len, " ", 1) || holds(s, len, SPACE, 3))) {
        return CT_FAIL(v->err, CARAT_EUNSUPPORTED,
                       "%s/tokenizer.json: added token \"%.64s\" holds a space and is \"normalized\", which GGUF cannot "
                       "say", v->folder, s);
    }
    return put_piece(v, ct_json_get(a, "id"), s, len, flag(a, "special") ? CONTROL : USER);
}

static int read_pieces(vocab *v, ct_json_val root) {
    ct_json_val listed = ct_json_get(ct_json_get(root, "model"), "vocab"), added = ct_json_get(root, "added_tokens"),
                id;
    void *iter = NULL;
    const char *s;
    size_t len;
    if (!ct_json_is_object(listed)) {
        return CT_FAIL(v->err, CARAT_EFORMAT, "%s/tokenizer.json: model.vocab is missing or no object", v->folder);
    }
    while (ct_json_next(listed, &iter, &s, &len, &id))
        CT_TRY(put_piece(v, id, s, len, is_byte(s, len) ? BYTE : NORMAL));
    for (size_t i = 0; i < ct_json_len(added); i++) CT_TRY(put_added(v, ct_json_at(added, i)));
    for (size_t i = 0; i < v->n; i++) { /* rows of the embedding that no text has */
        char text[32];
        if (v->type[i]) continue;
        const int n = snprintf(text, sizeof text, "[PAD%zu]", i);
        v->piece[i] = (ct_str){ct_arena_strdup_n(&v->arena, text, (size_t)n), (size_t)n};
        v->type[i] = UNUSED;
        if (!v->piece[i].s) return no_memory(v);
    }
    return 0;
}

/* ---- merges ------------------------------------------------------------------------------------------- */

/* The parts of merge i: a pair, or in older files one string. */
static int merge_parts(const vocab *v, ct_json_val m, size_t i, ct_str *left, ct_str *right) {
    left->s = ct_json_str(m, &left->len);
    if (left->s) { /* the left part may itself begin with a space in theory */
        const char *gap = left->len > 2 ? memchr(left->s + 1, ' ', left->len - 1) : NULL;
        *right = gap ? (ct_str){gap + 1, left->len - (size_t)(gap + 1 - left->s)} : (ct_str){NULL, 0};
        if (gap) left->len = (size_t)(gap - left->s);
    } else {
        left->s = ct_json_str(ct_json_at(m, 0), &left->len);
        right->s = ct_json_str(ct_json_at(m, 1), &right->len);
    }
    if (left->s && right->s && left->len && right->len && !holds(left->s + 1, left->len - 1, " ", 1)) return 0;
    return CT_FAIL(v->err, CARAT_EFORMAT, "%s/tokenizer.json: model.merges[%zu] is not two pieces without spaces",
                   v->folder, i);
}

static int read_merges(vocab *v, ct_json_val merges) {
    ct_str left, right;
    size_t total = 0;
    const size_t n = ct_json_len(merges);
    for (size_t i = 0; i < n; i++) {
        CT_TRY(merge_parts(v, ct_json_at(merges, i), i, &left, &right));
        total += left.len + right.len + 1;
    }
    v->merge = ct_alloc_array(n, sizeof *v->merge);
    v->merge_text = ct_alloc(total);
    if (!v->merge || !v->merge_text) return no_memory(v);
    char *at = v->merge_text;
    for (v->n_merge = 0; v->n_merge < n; v->n_merge++) {
        CT_TRY(merge_parts(v, ct_json_at(merges, v->n_merge), v->n_merge, &left, &right));
        v->merge[v->n_merge] = (ct_str){at, left.len + right.len + 1};
        memcpy(at, left.s, left.len);
        at[left.len] = ' ';
        memcpy(at + left.len + 1, right.s, right.len);
        at += left.len + right.len + 1;
    }
    return 0;
}

/* ---- special ids -------------------------------------------------------------------------------------- */

static int64_t find_piece(const vocab *v, const char *s) {
    for (size_t i = 0; s && i < v->n; i++) {
        if (v->piece[i].len == strlen(s) && memcmp(v->piece[i].s, s, v->piece[i].len) == 0) return (int64_t)i;
    }
    return -1;
}

static void put_id(ct_gguf_writer *w, const vocab *v, const char *key, int64_t id) {
    if (id >= 0 && (uint64_t)id < v->n) ct_gguf_put_u32(w, key, (uint32_t)id);
}

/* The first of the two documents that has the key; in the second, the part about text goes first. */
static ct_json_val from_either(const ct_json *generation, const ct_json *config, const char *key) {
    ct_json_val root = ct_json_root(config), v = ct_json_get(ct_json_root(generation), key);
    if (absent(v)) v = ct_json_get(ct_json_get(root, "text_config"), key);
    return absent(v) ? ct_json_get(root, key) : v;
}

/* GGUF has three names for ids that end generation: end of text, of turn, of message. */
static void put_ends(ct_gguf_writer *w, const vocab *v, ct_json_val eos) {
    static const char *const key[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                      "tokenizer.ggml.eom_token_id"};
    int64_t id;
    for (size_t i = 0; i < 3; i++) {
        if (ct_json_i64(ct_json_is_array(eos) ? ct_json_at(eos, i) : i == 0 ? eos : NULL, &id))
            put_id(w, v, key[i], id);
    }
}

static int put_special_ids(ct_gguf_writer *w, const vocab *v, ct_json_val model) {
    ct_json *generation, *config = NULL;
    CT_TRY(cut_load_json(&generation, v->folder, "generation_config.json", v->err));
    int rc = cut_load_json(&config, v->folder, "config.json", v->err);
    if (rc == 0 && config) {
        int64_t id;
        put_ends(w, v, from_either(generation, config, "eos_token_id"));
        if (!ct_json_i64(from_either(generation, config, "bos_token_id"), &id)) id = find_piece(v, "<bos>");
        put_id(w, v, "tokenizer.ggml.bos_token_id", id);
        if (!ct_json_i64(from_either(generation, config, "pad_token_id"), &id)) id = find_piece(v, "<pad>");
        put_id(w, v, "tokenizer.ggml.padding_token_id", id);
        put_id(w, v, "tokenizer.ggml.unknown_token_id",
               find_piece(v, ct_json_str(ct_json_get(model, "unk_token"), NULL)));
        put_id(w, v, "tokenizer.ggml.mask_token_id", find_piece(v, "<mask>"));
        ct_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
        ct_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
    }
    ct_json_free(&generation);
    ct_json_free(&config);
    return rc;
}

/* chat_template.jinja, or the text in tokenizer_config.json; a folder need not have one. */
static int put_template(ct_gguf_writer *w, const vocab *v) {
    char *path, *text;
    size_t n;
    CT_TRY(cut_join(&path, v->folder, "chat_template.jinja", v->err));
    const bool found = ct_path_exists(path);
    int rc = found ? ct_read_file(&text, &n, path, MAX_TEMPLATE, v->err) : 0;
    ct_free(path);
    if (rc) return rc;
    if (found) {
        ct_gguf_put_str(w, "tokenizer.chat_template", text, n);
        ct_free(text);
        return 0;
    }
    ct_json *j;
    CT_TRY(cut_load_json(&j, v->folder, "tokenizer_config.json", v->err));
    const char *s = ct_json_str(ct_json_get(ct_json_root(j), "chat_template"), &n);
    if (s) ct_gguf_put_str(w, "tokenizer.chat_template", s, n);
    ct_json_free(&j);
    return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static int put_all(ct_gguf_writer *w, vocab *v, ct_json_val root) {
    ct_json_val model = ct_json_get(root, "model");
    if (!flag(model, "byte_fallback") || !flag(model, "fuse_unk") || flag(model, "ignore_merges")) {
        return CT_FAIL(v->err, CARAT_EUNSUPPORTED,
                       "%s/tokenizer.json: expected byte_fallback and fuse_unk true and ignore_merges false",
                       v->folder);
    }
    CT_TRY(read_pieces(v, root));
    CT_TRY(read_merges(v, ct_json_get(model, "merges")));
    ct_gguf_put_str(w, "tokenizer.ggml.model", "gemma4", strlen("gemma4"));
    ct_gguf_put_arr_str(w, "tokenizer.ggml.tokens", v->piece, v->n);
    ct_gguf_put_arr_f32(w, "tokenizer.ggml.scores", v->score, v->n);
    ct_gguf_put_arr_i32(w, "tokenizer.ggml.token_type", v->type, v->n);
    ct_gguf_put_arr_str(w, "tokenizer.ggml.merges", v->merge, v->n_merge);
    CT_TRY(put_special_ids(w, v, model));
    return put_template(w, v);
}

int hf_put_vocab(ct_gguf_writer *w, const char *folder, int64_t n_vocab, carat_error *err) {
    char *path;
    ct_json *j = NULL;
    vocab v = {.folder = folder, .err = err, .n = (size_t)n_vocab};
    CT_TRY(cut_join(&path, folder, "tokenizer.json", err));
    int rc = ct_json_load(&j, path, MAX_TOKENIZER, err);
    ct_free(path);
    if (rc) return rc;
    v.piece = ct_alloc_array(v.n, sizeof *v.piece);
    v.type = ct_alloc_array(v.n, sizeof *v.type);
    v.score = ct_alloc_array(v.n, sizeof *v.score);
    rc = v.piece && v.type && v.score ? put_all(w, &v, ct_json_root(j)) : no_memory(&v);
    ct_free(v.piece);
    ct_free(v.type);
    ct_free(v.score);
    ct_free(v.merge);
    ct_free(v.merge_text);
    ct_json_free(&j);
    ct_arena_free(&v.arena);
    return rc;
}
