/* Good files to start from, built in memory. */
#ifndef TESTS_FUZZ_SEEDS_H
#define TESTS_FUZZ_SEEDS_H

#include "craft.h"

int seed_gguf(craft *out, int i);
int seed_safetensors(craft *out, int i);
int seed_json(craft *out, int i);
int seed_index(craft *out, int i);
int seed_tokenizer_gguf(craft *out, int i);
int seed_tokenizer_json(craft *out, int i);
int seed_model_gguf(craft *out, int i);   /* 0: Gemma 4 with PLE, 1: with experts, 2: Gemma 3 */
int seed_config_json(craft *out, int i);  /* fits seed_hf_weights */
void seed_hf_weights(craft *out);         /* model.safetensors of a tiny Gemma 4 */

#endif
