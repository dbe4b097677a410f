/* Weights bound by role. Every tensor a configuration needs is looked up by its exact name and checked for shape and
 * type; norms and scalars (small, used elementwise) are converted to f32 once, matrices stay in the file. */
#ifndef CT_MODEL_WEIGHTS_H
#define CT_MODEL_WEIGHTS_H

#include "base/mem.h"
#include "model/config.h"
#include "model/source.h"

/* A matrix (or a stack of one per expert) used where it lies. data == NULL: the layer has none. */
typedef struct {
    const uint8_t *data;
    ct_dtype dtype;
    int64_t d_out, d_in;     /* [d_out, d_in] */
    size_t row_bytes;
    size_t expert_bytes;     /* from one expert's matrix to the next, 0 for plain matrices */
    bool panels;             /* rows lie as panels (kernels/panel.h), not one after the other: packed, or so in the file */
    const uint8_t *fine;     /* not NULL: split panels, of which data is the coarse plane and this the other */
    size_t fine_bytes;       /* of a row in it; row_bytes is then of a row in the coarse plane */
} ct_matrix;

typedef struct {
#define NORM const float *
#define MAT ct_matrix
#define X(field, kind, gguf, hf) kind field;
#include "model/names.def"
#undef X
#undef NORM
#undef MAT
} ct_layer_weights;

typedef struct {
    ct_matrix token_embd;            /* [n_vocab, d_model] */
    ct_matrix output;                /* [n_vocab, d_model]: token_embd where tied */
    ct_matrix per_layer_token_embd;  /* [at least n_vocab, n_layer * d_ple] */
    ct_matrix per_layer_model_proj;  /* [n_layer * d_ple, d_model] */
    const float *per_layer_proj_norm;/* [d_ple] */
    const float *output_norm;        /* [d_model] */
    const float *rope_inv_freq[CT_N_ATTN]; /* [n_rot of the kind] radians a position; see ct_weights_bind */
    int n_rot[CT_N_ATTN];            /* pairs that turn; 0 where no layer is of the kind */
    ct_layer_weights *layer;         /* [n_layer] */
    bool tied;
} ct_weights;

/* Bind all weights of c from s. c->n_vocab and v_from_k are completed from the tensors where the format has no key for
 * them. A tensor of a layer that the configuration does not account for is refused. Converted vectors live in `arena`.
 * role: [n_tensor of s], filled with the role of every tensor (CARAT_ROLE_UNUSED for those nothing reads). */
int ct_weights_bind(ct_weights *w, ct_config *c, const ct_source *s, ct_arena *arena, uint8_t *role, carat_error *err);

#endif
