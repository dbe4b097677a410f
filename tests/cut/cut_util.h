/* What the tests of cut share: a folder for files, the oracle's checkpoints, and cutting one to the other. */
#ifndef TEST_CUT_UTIL_H
#define TEST_CUT_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "formats/gguf.h"

/* Of each test program; remove_dir takes all files in it along. */
extern char dir[];
int make_dir(void **state);
int remove_dir(void **state);
/* Path of a file in it; buf has 200 bytes. */
const char *in_dir(char *buf, const char *name);

enum { E2B, E4B, B31, A4B, GEMMA3, N_FOLDER };
extern const char *const folders[N_FOLDER];
/* Path of an oracle's folder; buf has 400 bytes. */
const char *oracle(char *buf, int i);

int try_cut(const char *source, const char *out, const char *recipe, int n_threads, carat_error *err);
/* As try_cut, and must succeed. */
void cut(const char *source, const char *out, const char *recipe, int n_threads);
ct_gguf *open_gguf(const char *path);

#endif
