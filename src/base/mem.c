#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

bool ct_mul_size(size_t *out, size_t a, size_t b) {
    if (b != 0 && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}

bool ct_add_size(size_t *out, size_t a, size_t b) {
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}

void *ct_alloc(size_t n) {
    /* calloc gives large blocks as fresh zero pages without touching them, so a cache sized for a context that
     * nobody fills costs nothing; the block is aligned by hand and remembers where it began. */
    size_t total;
    if (!ct_add_size(&total, n, 64 + sizeof(void *))) return NULL;
    uint8_t *raw = calloc(1, total);
    if (!raw) return NULL;
    uint8_t *p = (uint8_t *)(((uintptr_t)raw + sizeof(void *) + 63) & ~(uintptr_t)63);
    memcpy(p - sizeof(void *), &raw, sizeof raw);
    return p;
}

void *ct_alloc_array(size_t n, size_t size) {
    size_t bytes;
    return ct_mul_size(&bytes, n, size) ? ct_alloc(bytes) : NULL;
}

bool ct_grow(void **ptr, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return true;
    size_t n = *cap < 16 ? 16 : *cap;
    while (n < need) {
        if (n > SIZE_MAX / 2) return false;
        n *= 2;
    }
    void *p = ct_alloc_array(n, size);
    if (!p) return false;
    if (*ptr) memcpy(p, *ptr, *cap * size);
    ct_free(*ptr);
    *ptr = p;
    *cap = n;
    return true;
}

void ct_free(void *p) {
    if (!p) return;
    void *raw;
    memcpy(&raw, (uint8_t *)p - sizeof raw, sizeof raw);
    free(raw);
}

char *ct_strdup_n(const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *p = ct_alloc(n + 1);
    if (p && n) memcpy(p, s, n);
    return p;
}

/* ---- arena ---- */

struct ct_arena_block {
    ct_arena_block *next;
    size_t used, cap; /* of data, in bytes */
    _Alignas(64) uint8_t data[];
};

#define ARENA_BLOCK ((size_t)64 * 1024)

void *ct_arena_alloc(ct_arena *a, size_t n) {
    if (n > SIZE_MAX - 64 - sizeof(ct_arena_block)) return NULL;
    n = (n + 63) & ~(size_t)63;
    ct_arena_block *b = a->head;
    if (!b || b->cap - b->used < n) {
        const size_t cap = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        b = ct_alloc(sizeof *b + cap);
        if (!b) return NULL;
        b->cap = cap;
        /* A large object gets a block of its own behind the current one, which stays open for small ones. */
        if (n > ARENA_BLOCK && a->head) {
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
        a->bytes += sizeof *b + cap;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

char *ct_arena_strdup_n(ct_arena *a, const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *p = ct_arena_alloc(a, n + 1);
    if (p && n) memcpy(p, s, n);
    return p;
}

void ct_arena_free(ct_arena *a) {
    for (ct_arena_block *b = a->head; b;) {
        ct_arena_block *next = b->next;
        ct_free(b);
        b = next;
    }
    a->head = NULL;
    a->bytes = 0;
}
