/* Added tokens (control and user-defined): a trie, matched leftmost and then longest, as Hugging Face does before
 * anything else happens to the text. Children are sibling lists except at the root, which has a table, because nearly
 * every position of a text ends there. */
#include "text/text_int.h"

static uint32_t child_of(const ct_trie *t, uint32_t at, uint8_t byte) {
    if (at == 0) return t->first[byte];
    uint32_t c = t->node[at].child;
    while (c && t->node[c].byte != byte) c = t->node[c].next;
    return c;
}

static uint32_t new_node(ct_trie *t, uint32_t parent, uint8_t byte) {
    if (t->n >= UINT32_MAX || !ct_grow((void **)&t->node, &t->cap, t->n + 1, sizeof *t->node)) return 0;
    const uint32_t at = (uint32_t)t->n++;
    t->node[at] = (ct_trie_node){.id = -1, .byte = byte};
    if (parent == 0) {
        t->first[byte] = at;
    } else {
        t->node[at].next = t->node[parent].child;
        t->node[parent].child = at;
    }
    return at;
}

/* Node at the end of s[0,n) below `at`, made where it is missing; 0 when memory is exhausted. */
static uint32_t add_path(ct_trie *t, uint32_t at, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t c = child_of(t, at, (uint8_t)s[i]);
        if (!c) c = new_node(t, at, (uint8_t)s[i]);
        if (!c) return 0;
        at = c;
    }
    return at;
}

int ct_trie_build(ct_trie *t, const ct_vocab *v, const int32_t *id, size_t n, carat_error *err) {
    if (n == 0) return 0;
    if (!ct_grow((void **)&t->node, &t->cap, 1, sizeof *t->node)) goto nomem;
    t->n = 1; /* the root */
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *s = ct_vocab_piece(v, id[i], &len);
        uint32_t at = 0;
        for (size_t k = 0; k < len; k++) {
            const bool meta = t->meta && s[k] == ' ';
            at = meta ? add_path(t, at, CT_META_UTF8, 3) : add_path(t, at, s + k, 1);
            if (!at) goto nomem;
        }
        if (at && t->node[at].id < 0) t->node[at].id = id[i];
    }
    return 0;
nomem:
    return CT_FAIL(err, CARAT_ENOMEM, "tokenizer: no memory for %zu added tokens", n);
}

void ct_trie_free(ct_trie *t) {
    ct_free(t->node);
    memset(t, 0, sizeof *t);
}

/* Longest token at s[at, n): its id and end. */
static int32_t match_at(const ct_trie *t, const uint8_t *s, size_t at, size_t n, size_t *end) {
    int32_t id = -1;
    uint32_t node = 0;
    while (at < n) {
        const uint8_t b = s[at++];
        if (t->meta && b == ' ') {
            for (int k = 0; k < 3; k++) {
                node = child_of(t, node, (uint8_t)CT_META_UTF8[k]);
                if (!node) return id;
            }
        } else {
            node = child_of(t, node, b);
            if (!node) return id;
        }
        if (t->node[node].id >= 0) {
            id = t->node[node].id;
            *end = at;
        }
    }
    return id;
}

int32_t ct_trie_next(const ct_trie *t, const uint8_t *s, size_t from, size_t n, size_t *start, size_t *end) {
    if (t->n == 0) return -1;
    for (size_t at = from; at < n; at++) {
        const uint8_t b = t->meta && s[at] == ' ' ? (uint8_t)CT_META_UTF8[0] : s[at];
        if (!t->first[b]) continue;
        const int32_t id = match_at(t, s, at, n, end);
        if (id >= 0) {
            *start = at;
            return id;
        }
    }
    return -1;
}
