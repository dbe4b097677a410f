/* Shared by the tests that compare with transformers: golden files of tests/oracle and taps. */
#ifndef CT_TESTS_ORACLE_UTIL_H
#define CT_TESTS_ORACLE_UTIL_H

#include "carat.h"
#include "formats/safetensors.h"

typedef struct {
    char folder[1024];
    ct_safetensors *golden;
    carat_model *model;
} oracle_case;

/* Opens tests/oracle/<name> (or the model at `model_path` with that folder's golden values). Fails the test if it cannot. */
void oracle_open(oracle_case *o, const char *name, const char *model_path);
void oracle_close(oracle_case *o);
/* Golden tensor; fails the test when absent. */
const ct_tensor *oracle_tensor(const oracle_case *o, const char *name);
/* Largest |a - b|. */
double oracle_max_abs(const float *a, const float *b, int64_t n);

/* Collects taps of one pass and compares them with golden "tap.*" tensors. */
typedef struct {
    const oracle_case *o;
    double worst;          /* largest relative error: max|a-b| / max|b| of a tap */
    char worst_name[64];
    int n_compared;
} oracle_taps;
void oracle_tap(void *ud, const char *name, const float *x, int32_t pos, int32_t n_tok, int32_t n);

/* All logits of tok[0,n) into out [n, n_vocab]. */
void oracle_logits(const carat_model *m, const carat_session_opts *opts, const int32_t *tok, int32_t n, float *out);

#endif
