/* The tokenizer object: what both sources have in common once vocabulary and merges are read, and its small
 * questions. Encoding is in encode.c, reading in vocab_gguf.c and vocab_hf.c. */
#include "text/text_int.h"

/* Tokens that steer the model, by the texts that Gemma 3 and 4 give them. Published files mark some of these as
 * user-defined or normal (so that other programs show them); text a user typed must never become one of them.
 * REF gemma4-spec 4.3, 4.5. */
/* clang-format off */
static const char *const known_control[] = {
    "<pad>", "<eos>", "<bos>", "<unk>",
    "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>",
    "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>",
    "<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>",
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
};
/* clang-format on */

static const char *const known_stop[] = {"<eos>", "<turn|>", "<|tool_response>", "<end_of_turn>"};

static bool same_text(const char *s, size_t len, const char *text) {
    return len == strlen(text) && memcmp(s, text, len) == 0;
}

ct_tok_kind ct_tok_kind_known(const char *s, size_t len, ct_tok_kind kind, bool has_eos) {
    if (len < 4 || s[0] != '<' || s[len - 1] != '>') return kind;
    for (size_t i = 0; i < sizeof known_control / sizeof *known_control; i++) {
        if (same_text(s, len, known_control[i])) return CT_TOK_CONTROL;
    }
    /* In Gemma's vocabulary this closes an HTML element; some files type it as the end of the text. */
    if (has_eos && same_text(s, len, "</s>") && kind == CT_TOK_CONTROL) return CT_TOK_USER;
    return kind;
}

void ct_tok_facts_init(ct_tok_facts *f) {
    memset(f, 0, sizeof *f);
    f->bos = f->unk = -1;
}

void ct_tok_facts_add_eos(ct_tok_facts *f, int64_t id) {
    if (f->n_eos < CT_MAX_STOP) f->eos[f->n_eos++] = (int32_t)id;
}

static void add_stop(ct_tokenizer *t, int32_t id) {
    if (id < 0 || ct_tokenizer_is_stop(t, id) || t->n_stop == CT_MAX_STOP) return;
    t->stop[t->n_stop++] = id;
}

static void find_special_ids(ct_tokenizer *t, const ct_tok_facts *f) {
    const ct_vocab *v = &t->v;
    t->bos = f->bos >= 0 ? f->bos : ct_vocab_find(v, "<bos>", 5);
    t->unk = f->unk >= 0 ? f->unk : ct_vocab_find(v, "<unk>", 5);
    t->n_stop = 0;
    for (size_t i = 0; i < sizeof known_stop / sizeof *known_stop; i++)
        add_stop(t, ct_vocab_find(v, known_stop[i], strlen(known_stop[i])));
    const bool has_eos = ct_vocab_find(v, "<eos>", 5) >= 0;
    for (int i = 0; i < f->n_eos; i++) {
        size_t len;
        const char *s = ct_vocab_piece(v, f->eos[i], &len);
        if (!(has_eos && same_text(s, len, "</s>"))) add_stop(t, f->eos[i]);
    }
}

static bool well_formed(const char *s, size_t len) {
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int ok;
        at += (size_t)ct_utf8_decode((const uint8_t *)s + at, len - at, &cp, &ok);
        if (!ok) return false;
    }
    return len > 0;
}

/* Ill-formed pieces stay out of the tries: matching them could split a character of the text. */
static int build_tries(ct_tokenizer *t, const uint8_t *normalized, carat_error *err) {
    const ct_vocab *v = &t->v;
    int rc = 0;
    t->normal.meta = true;
    int32_t *id = ct_alloc_array((size_t)v->n, sizeof *id);
    if (!id) return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: no memory for the list of added tokens");
    for (int pass = 0; pass < 2 && rc == 0; pass++) {
        size_t n = 0;
        for (int32_t i = 0; i < v->n; i++) {
            size_t len;
            const char *s = ct_vocab_piece(v, i, &len);
            const bool added = v->kind[i] == CT_TOK_CONTROL || v->kind[i] == CT_TOK_USER;
            const int in_pass = normalized && normalized[i];
            if (added && in_pass == pass && well_formed(s, len)) id[n++] = i;
        }
        rc = ct_trie_build(pass ? &t->normal : &t->raw, v, id, n, err);
    }
    ct_free(id);
    return rc;
}

/* Can any character be written with byte pieces? Then the unknown token never occurs. */
static bool has_all_bytes(const ct_tokenizer *t) {
    for (int b = 0; b < 256; b++) {
        const bool in_utf8 = b < 0xc0 || (b > 0xc1 && b < 0xf5);
        if (in_utf8 && t->v.byte_id[b] < 0) return false;
    }
    return t->byte_fallback;
}

int ct_tokenizer_finish(ct_tokenizer *t, const ct_tok_facts *f, carat_error *err) {
    find_special_ids(t, f);
    if (!has_all_bytes(t)) t->m.cut = false;
    return build_tries(t, f->normalized, err);
}

void ct_tokenizer_free(ct_tokenizer **t) {
    if (!t || !*t) return;
    ct_vocab_free(&(*t)->v);
    ct_merges_free(&(*t)->m);
    ct_trie_free(&(*t)->raw);
    ct_trie_free(&(*t)->normal);
    ct_free(*t);
    *t = NULL;
}

size_t ct_tokenizer_bytes(const ct_tokenizer *t) {
    return sizeof *t + t->v.bytes + t->m.bytes + (t->raw.cap + t->normal.cap) * sizeof(ct_trie_node);
}

int32_t ct_tokenizer_n_vocab(const ct_tokenizer *t) { return t->v.n; }

int32_t ct_tokenizer_bos(const ct_tokenizer *t) { return t->bos; }

static bool in_vocab(const ct_tokenizer *t, int32_t id) { return id >= 0 && id < t->v.n; }

bool ct_tokenizer_is_control(const ct_tokenizer *t, int32_t id) {
    return in_vocab(t, id) && t->v.kind[id] == CT_TOK_CONTROL;
}

bool ct_tokenizer_is_stop(const ct_tokenizer *t, int32_t id) {
    for (int i = 0; i < t->n_stop; i++) {
        if (t->stop[i] == id) return true;
    }
    return false;
}

const char *ct_tokenizer_piece(const ct_tokenizer *t, int32_t id, size_t *len) {
    size_t n = 0;
    const char *s = in_vocab(t, id) ? ct_vocab_piece(&t->v, id, &n) : NULL;
    if (len) *len = n;
    return s;
}

int32_t ct_tokenizer_find(const ct_tokenizer *t, const char *piece, size_t len) {
    return ct_vocab_find(&t->v, piece, len);
}

int ct_tokenizer_byte(const ct_tokenizer *t, int32_t id) {
    size_t len;
    if (!in_vocab(t, id)) return -1;
    const char *s = ct_vocab_piece(&t->v, id, &len);
    return ct_piece_byte(s, len);
}
