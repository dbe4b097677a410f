/* Tiny models written to temporary GGUF files, to be bent one key or tensor at a time before they are written. Two bases:
 * one with per-layer embeddings and shared keys and values (as E2B), one with experts and K=V layers (as 26B-A4B). */
#ifndef CT_TESTS_MODEL_MAKER_H
#define CT_TESTS_MODEL_MAKER_H

#include <stdbool.h>

#include "base/dtype.h"

#define MAKER_VOCAB 48
#define MAKER_D 32
#define MAKER_CTX 64

typedef struct {
    char name[96];
    char type;     /* 'u' u32, 'U' u64, 'f' f32, 's' string, 'i' list of i32, 'b' list of bool, 't' list of strings */
    double num;
    char text[64];
    int n;
    int32_t list[300];
} maker_key;

typedef struct {
    char name[96];
    ct_dtype type;
    int rank;
    int64_t shape[4];
    float add;      /* values are add + noise * normal */
    float noise;
    bool panels;    /* said to lie so; the values are written as rows all the same */
    int poison;     /* 0, or 'n' NaN, 'i' inf in every 7th value; 'r' random bytes instead of values */
} maker_tensor;

typedef struct {
    maker_key key[64];
    int n_key;
    maker_tensor tensor[128];
    int n_tensor;
    int n_stray;    /* one-value tensors "stray.N" besides */
    uint64_t seed;
} maker;

void maker_e(maker *m);
void maker_moe(maker *m);
/* Matrices of every kind of block need rows of 256: the E base with all widths of that size. */
void maker_wide(maker *m, ct_dtype type);
/* The E base with matrices of the type, and per-layer embeddings far wider than everything else. */
void maker_wide_ple(maker *m, ct_dtype type, int d_ple);

/* NULL when absent. */
maker_key *maker_find_key(maker *m, const char *name);
maker_tensor *maker_find_tensor(maker *m, const char *name);
/* Set (or add) keys. */
void maker_u32(maker *m, const char *name, uint32_t v);
void maker_u64(maker *m, const char *name, double v);
void maker_f32(maker *m, const char *name, float v);
void maker_str(maker *m, const char *name, const char *v);
void maker_list(maker *m, const char *name, char type, int n, const int32_t *v);
void maker_drop_key(maker *m, const char *name);
maker_tensor *maker_add(maker *m, const char *name, ct_dtype t, int rank, int64_t n0, int64_t n1, int64_t n2);
void maker_drop_tensor(maker *m, const char *name);
/* A vocabulary of n tokens: the control tokens, then letters, pairs of letters with merges, fillers. */
void maker_vocabulary(maker *m, int n);

/* Write to path; fails the test when it cannot. */
void maker_write(const maker *m, const char *path);
/* Folder for files of a test program: made once, removed with all that is in it by maker_cleanup. */
const char *maker_path(const char *file);
int maker_cleanup(void **state);

#endif
