/* Which type each tensor of a Gemma model gets when it is written as "q4_0", "q4_k_m", …: what must stay exact, what
 * falls back where rows do not fill blocks, and the mix of Q4_K_M. Names are GGUF's. Knows no weights. */
#ifndef CLI_RECIPE_H
#define CLI_RECIPE_H

#include "base/tensor.h"

typedef struct {
    const char *name;    /* as --type takes it, lower case */
    ct_dtype type;       /* of matrices */
    bool mix;            /* some matrices get six bits */
    uint32_t file_type;  /* general.file_type */
} cli_recipe;

/* Case does not matter; NULL when there is none. */
const cli_recipe *cli_recipe_find(const char *name);
/* All of them, for help. */
#define CLI_RECIPE_NAMES \
    "f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, q4_k_m"
/* By position in CLI_RECIPE_NAMES; NULL past the end. */
const cli_recipe *cli_recipe_at(int i);
/* The value of --type. Returns 0, or CLI_USAGE with the error printed (recipe_arg.c). */
int cli_recipe_arg(const cli_recipe **out, const char *verb, const char *value);
/* The value of --out, likewise. From then on a limit on the size of files shows as a failed write, not as a signal. */
int cli_out_arg(const char *verb, const char *out);

/* Set dtype of t[0,n) from name, rank and shape. */
void cli_recipe_assign(const cli_recipe *r, ct_tensor *t, size_t n);

#endif
