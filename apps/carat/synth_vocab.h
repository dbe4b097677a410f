/* A made-up vocabulary in the shape of Gemma 4's: 262,144 tokens, the special tokens at their true ids and with their
 * published types, bytes, newline runs, single characters of many scripts, and letter pieces of up to four letters
 * with all merges that make them, so that text costs about as many tokens as with the real one. */
#ifndef CLI_SYNTH_VOCAB_H
#define CLI_SYNTH_VOCAB_H

#include "formats/gguf_write.h"

/* Put the tokenizer.ggml.* keys. The seed chooses which four-letter pieces there are. */
int synth_put_vocab(ct_gguf_writer *w, uint64_t seed, carat_error *err);

#endif
