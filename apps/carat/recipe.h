/* Which type each tensor of a Gemma model gets when it is written as "q4_0", "q4_k_m", …: what must stay exact, what
 * falls back where rows do not fill blocks, and the mix of Q4_K_M. And which of them can lie as panels, the layout of
 * the integer kernels. Names are GGUF's. Knows no weights. */
#ifndef CLI_RECIPE_H
#define CLI_RECIPE_H

#include "base/tensor.h"
#include "formats/gguf_write.h"

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

/* --layout of the verbs that write models. */
typedef enum { CLI_LAYOUT_ROWS, CLI_LAYOUT_PANELS } cli_layout;
#define CLI_LAYOUTS "rows|panels"
/* Set panels of t[0,n), whose types are set: of panels, every matrix of the text model that the library takes so. d_ple
 * is the model's. EUNSUPPORTED where panels are wanted and there is none. */
int cli_layout_assign(cli_layout l, ct_tensor *t, size_t n, int64_t d_ple, carat_error *err);
/* Declare t in its layout. */
int cli_layout_put(ct_gguf_writer *w, const ct_tensor *t, carat_error *err);
/* n_row rows of t's row length and type, a multiple of CT_PANEL_ROWS, to panels and back; dst is not src. */
void cli_layout_pack(uint8_t *dst, const uint8_t *src, const ct_tensor *t, int64_t n_row);
void cli_layout_unpack(uint8_t *dst, const uint8_t *src, const ct_tensor *t, int64_t n_row);

#endif
