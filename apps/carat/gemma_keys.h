/* Hyperparameters of a Gemma text model as GGUF keys. `synth` fills them from a table, `cut` from a config.json; here
 * they get the names and value types that published files use. Arrays are written where values differ by layer. */
#ifndef CLI_GEMMA_KEYS_H
#define CLI_GEMMA_KEYS_H

#include "formats/gguf_write.h"

enum { CLI_MAX_LAYER = 256 };

typedef struct {
    const char *arch; /* "gemma4" or "gemma3" */
    int32_t n_layer, d_model, n_ctx, n_head;
    int32_t n_head_kv[CLI_MAX_LAYER], d_ff[CLI_MAX_LAYER];
    bool sliding[CLI_MAX_LAYER];
    int32_t d_head, d_head_swa; /* of global and of sliding layers */
    int32_t w_swa, n_kv_shared;
    int32_t d_ple;              /* 0 = none */
    int32_t n_expert, n_expert_used, d_ff_exp; /* 0 = dense */
    float eps, rope_base, rope_base_swa, softcap; /* softcap 0 = none (the key is left out) */
    float rope_factor;          /* linear scaling of global layers; 0 or 1 = none */
    float attn_scale;           /* written where not 0: the factor of q·k, where the architecture's default is wrong */
} cli_gemma_keys;

void cli_gemma_keys_put(ct_gguf_writer *w, const cli_gemma_keys *k);
/* rope_freqs.weight of Gemma 4: divisors that let the first n_rotated of n pairs turn and hold the others still. */
void cli_rope_freqs(float *out, int32_t n, int32_t n_rotated);

#endif
