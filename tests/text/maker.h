/* Makes small tokenizers for tests: from a description through a GGUF file, or from tokenizer.json text. Test code:
 * running out of memory or of disk ends the program. */
#ifndef TEXT_MAKER_H
#define TEXT_MAKER_H

#include "text/tokenizer.h"

/* Missing arrays (NULL) and negative ids leave their key out. Lengths are apart so that they can disagree. */
typedef struct {
    const char *model;
    const char *const *tokens;
    size_t n_tokens;
    const float *scores;
    size_t n_scores;
    const int32_t *types;
    size_t n_types;
    const char *const *merges;
    size_t n_merges;
    int64_t bos, eos, unk;
} maker_gguf;

/* Keys go to a temporary file that is gone when this returns. */
int maker_from_gguf(ct_tokenizer **out, const maker_gguf *g, carat_error *err);
/* The same in two steps, to damage the file in between. Gives *file: ct_free. */
void maker_gguf_bytes(char **file, size_t *size, const maker_gguf *g);
int maker_from_gguf_bytes(ct_tokenizer **out, const char *file, size_t size, carat_error *err);
/* extra: name and text of one more file in the folder, or NULL. */
int maker_from_json(ct_tokenizer **out, const char *json, size_t len, const char *extra_name, const char *extra,
                    carat_error *err);
/* A path in $CARAT_ROOT. Static buffer. */
const char *maker_root_path(const char *relative);

#endif
