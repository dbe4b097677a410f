/* What a Gemma text model is called in a GGUF: its hyperparameters as keys, with the names and value types that
 * published files use, and its tensors by their row in model/names.def. Writes what `cut` read and what `synth` made up
 * alike. Arrays are written where values differ by layer. */
#ifndef CLI_GEMMA_KEYS_H
#define CLI_GEMMA_KEYS_H

#include "formats/gguf_write.h"
#include "model/config.h"

/* Tensors of a layer. */
typedef enum {
#define X(field, kind, gguf, hf) CLI_##field,
#include "model/names.def"
#undef X
    CLI_N_LAYER_TENSOR
} cli_layer_tensor;

/* "attn_q.weight"; "self_attn.q_proj.weight", or NULL where folders have no such tensor. */
const char *cli_gguf_name(cli_layer_tensor t);
const char *cli_hf_name(cli_layer_tensor t);

/* A configuration that GGUF keys cannot tell is EUNSUPPORTED. */
int cli_gemma_keys_check(const ct_config *c, const char *where, carat_error *err);
/* general.architecture, type and name. */
void cli_gemma_keys_put_general(ct_gguf_writer *w, const ct_config *c, const char *name, size_t name_len);
/* All others; c has been checked. */
void cli_gemma_keys_put(ct_gguf_writer *w, const ct_config *c);

/* rope_freqs.weight of Gemma 4, [n] divisors for n pairs of the full layers: which turn, and which are held still. */
int64_t cli_rope_freqs_len(const ct_config *c);
void cli_rope_freqs(const ct_config *c, float *out);

#endif
