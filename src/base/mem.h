/* Memory: checked size arithmetic, zeroed and 64-byte-aligned allocation, and a bump arena.
 * Every allocation of the library goes through ct_alloc/ct_free: one seam for tests to fail it. */
#ifndef CT_BASE_MEM_H
#define CT_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b, or false on overflow. */
bool ct_mul_size(size_t *out, size_t a, size_t b);
/* *out = a + b, or false on overflow. */
bool ct_add_size(size_t *out, size_t a, size_t b);

/* Zeroed memory of n bytes, aligned to 64 bytes; NULL when there is none. n == 0 gives a valid pointer. */
void *ct_alloc(size_t n);
/* Zeroed array of n elements of `size` bytes; NULL on overflow or exhaustion. */
void *ct_alloc_array(size_t n, size_t size);
/* Grow (or make) an array to at least `need` elements: doubles, keeps contents, new part zeroed.
 * *ptr and *cap are updated; false leaves both as they were. */
bool ct_grow(void **ptr, size_t *cap, size_t need, size_t size);
/* NULL is fine. */
void ct_free(void *p);
/* Copy of a byte string with a final NUL; NULL on exhaustion. */
char *ct_strdup_n(const char *s, size_t n);

/* ---- arena: many small objects that die together ---- */
typedef struct ct_arena_block ct_arena_block;
typedef struct {
    ct_arena_block *head;
    size_t bytes; /* held, for the ledger */
} ct_arena;

/* 64-byte-aligned zeroed bytes that live until ct_arena_free; NULL when memory is exhausted. */
void *ct_arena_alloc(ct_arena *a, size_t n);
char *ct_arena_strdup_n(ct_arena *a, const char *s, size_t n);
void ct_arena_free(ct_arena *a);

#endif
