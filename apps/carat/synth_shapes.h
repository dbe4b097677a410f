/* True shapes of the published Gemma 4 text models: a row of numbers per variant, and the list of tensors that follows
 * from it, with the names of published GGUF files. REF: gemma4-spec 1.1, 1.2, 3.6. No file is touched here. */
#ifndef CLI_SYNTH_SHAPES_H
#define CLI_SYNTH_SHAPES_H

#include "base/tensor.h"
#include "gemma_keys.h"

enum { SYNTH_VOCAB = 262144, SYNTH_MAX_TENSOR = 900, SYNTH_MAX_NAME = 48 };

typedef struct {
    const char *name;  /* as on the command line */
    const char *title; /* general.name */
    const char *label; /* general.size_label */
    int32_t n_layer, d_model, n_ctx, w_swa;
    int32_t period;    /* every period-th layer is global */
    int32_t n_head, n_head_kv_swa, n_head_kv;
    int32_t d_ff, d_ff_shared; /* of layers with own, and with shared, keys and values */
    int32_t n_kv_shared, d_ple;
    bool k_eq_v;       /* global layers have no attn_v */
    int32_t n_expert, n_expert_used, d_ff_exp;
} synth_variant;

/* How a tensor's values are made. */
typedef enum {
    SYNTH_MATRIX,    /* normal, 1/sqrt(row length): keeps the size of what it multiplies */
    SYNTH_PLE_TABLE, /* normal, 1/sqrt(d_ple): as large as the context part it is added to */
    SYNTH_ROUTER,    /* normal, 1: its input comes divided by sqrt(d_model) */
    SYNTH_NORM,      /* around 1 */
    SYNTH_Q_NORM, SYNTH_K_NORM, /* constant in a layer, as in the real models */
    SYNTH_LAYER_SCALE,
    SYNTH_ROPE_FREQS
} synth_kind;

typedef struct {
    ct_config config;
    int n;
    ct_tensor t[SYNTH_MAX_TENSOR]; /* name, rank, shape, n_elem; dtype is the recipe's to choose */
    synth_kind kind[SYNTH_MAX_TENSOR];
    int layer[SYNTH_MAX_TENSOR];   /* -1 outside the layers */
    char name[SYNTH_MAX_TENSOR][SYNTH_MAX_NAME];
} synth_list;

/* By position; NULL past the end. */
const synth_variant *synth_variant_at(int i);
/* Case does not matter; NULL when there is none. */
const synth_variant *synth_variant_find(const char *name);

/* Configuration and tensors of a variant; l->t[i].name points into *l. EMODEL for one that is no model. */
int synth_list_tensors(synth_list *l, const synth_variant *v, carat_error *err);
/* Values of all tensors but rope_freqs, which models compute: the published parameter count. */
int64_t synth_n_params(const synth_list *l);

#endif
