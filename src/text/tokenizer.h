/* Vocabulary and tokenizer: text <-> ids exactly as Hugging Face `tokenizers` does for Gemma's BPE.
 *
 * Sources: a GGUF file (tokenizer.ggml.model "gemma4": merges; "llama": scores, turned into merges at load) or a
 * tokenizer.json. The object is immutable after open and may be shared between threads. */
#ifndef CT_TEXT_TOKENIZER_H
#define CT_TEXT_TOKENIZER_H

#include "base/status.h"
#include "formats/gguf.h"

typedef struct ct_tokenizer ct_tokenizer;

/* Give *out: ct_tokenizer_free. Everything is copied: the GGUF may be closed afterwards. */
int ct_tokenizer_from_gguf(ct_tokenizer **out, const ct_gguf *g, carat_error *err);
/* path: a tokenizer.json, or the folder that holds it. generation_config.json and tokenizer_config.json beside it are
 * read for the ids of <bos> and the ends of text, when they exist. */
int ct_tokenizer_from_hf(ct_tokenizer **out, const char *path, carat_error *err);
void ct_tokenizer_free(ct_tokenizer **t);
size_t ct_tokenizer_bytes(const ct_tokenizer *t); /* heap held, for the ledger */

int32_t ct_tokenizer_n_vocab(const ct_tokenizer *t);
/* Special ids, -1 when the vocabulary has none. */
int32_t ct_tokenizer_bos(const ct_tokenizer *t);
bool ct_tokenizer_is_control(const ct_tokenizer *t, int32_t id);
/* Ends generation: <eos>, <turn|>, <|tool_response>, <end_of_turn> (found by text) plus the file's eos ids; never </s>
 * of Gemma. */
bool ct_tokenizer_is_stop(const ct_tokenizer *t, int32_t id);
const char *ct_tokenizer_piece(const ct_tokenizer *t, int32_t id, size_t *len);
int32_t ct_tokenizer_find(const ct_tokenizer *t, const char *piece, size_t len);
/* Byte value of a <0xXX> token, -1 otherwise. */
int ct_tokenizer_byte(const ct_tokenizer *t, int32_t id);

/* A growing id list. */
typedef struct {
    int32_t *id;
    size_t n, cap;
} ct_ids;
void ct_ids_free(ct_ids *ids);

/* Append the ids of text[0,len), at most 1 GiB, to out; ill-formed UTF-8 is read as U+FFFD. `special`: control tokens
 * in the text are recognised (user-defined ones always are). Never adds <bos>. O(n log n) at worst. EINVAL, ENOMEM;
 * out is as it was then. */
int ct_tokenizer_encode(const ct_tokenizer *t, const char *text, size_t len, bool special, ct_ids *out,
                        carat_error *err);

#endif
