/* Hand-made files for tests: a growing byte string and a one-line notation for GGUF, so that a broken file is one row
 * of a table. Also the check every broken file must pass: the right code and a one-line message about the right thing.
 *
 * Notation: words separated by spaces.
 *   b:N w:N d:N q:N     little-endian integer of 1, 2, 4, 8 bytes (decimal, 0x…, negative)
 *   f:X F:X             float, double
 *   r:TEXT s:TEXT       bytes; bytes after their 8-byte length
 *   z:N p:N             N zero bytes; zeroes up to a multiple of N
 *   h:V,T,K             GGUF header of version V with T tensors and K keys
 *   k:NAME,TYPE         name and type of a key
 *   t:NAME,TYPE,OFFSET,NE0[,NE1…]   tensor directory entry, fastest dimension first */
#ifndef TESTS_FORMATS_CRAFT_H
#define TESTS_FORMATS_CRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    uint8_t *p;
    size_t n, cap;
} craft;

void craft_bytes(craft *c, const void *p, size_t n);
void craft_int(craft *c, uint64_t v, int bytes);
void craft_str(craft *c, const char *s); /* 8-byte length and bytes */
void craft_line(craft *c, const char *line);
/* A safetensors file: header length (+ delta), header, n_data bytes. */
void craft_safetensors(craft *c, const char *header, int64_t delta, size_t n_data);
/* Give the bytes in a block of exactly their size, so that a sanitizer sees a read past the end. free() it. */
uint8_t *craft_exact(const craft *c);
void craft_free(craft *c);

/* A fresh folder for a test's files; craft_rmdir removes it with all files inside. */
char *craft_tmpdir(void);
void craft_rmdir(char *dir);
/* dir/name in a block to free(). */
char *craft_path(const char *dir, const char *name);
bool craft_save(const char *path, const void *p, size_t n);

/* NULL when rc and err are as a failure must be: code, one printable line, `about` inside; else what is wrong. */
const char *craft_bad_failure(int rc, const carat_error *err, int code, const char *about);

#endif
