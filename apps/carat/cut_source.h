/* What `cut` reads: a GGUF file or a Hugging Face folder, as one list of tensors under GGUF names plus the keys that
 * the new file gets. The model was checked as a whole when it was opened (inspect_model.h). */
#ifndef CLI_CUT_SOURCE_H
#define CLI_CUT_SOURCE_H

#include "base/mem.h"
#include "gemma_keys.h"
#include "inspect_model.h"
#include "recipe.h"

typedef struct {
    const char *path;
    inspect_model model;
    size_t n;
    ct_tensor *t;           /* [n] as written: GGUF name, rank, shape; dtype is the recipe's to choose */
    const ct_tensor **from; /* [n] the values; NULL = rope_freqs, which is computed */
    bool *plus_one;         /* [n] values are stored minus one (norms of Gemma 3 folders) */
    int32_t n_left_out;     /* tensors of vision, audio, or never used */
    ct_arena arena;         /* names */
} cut_source;

/* Keeps path. EIO, EFORMAT, EMODEL, ENOMEM, EUNSUPPORTED. */
int cut_source_open(cut_source *s, const char *path, carat_error *err);
void cut_source_close(cut_source *s);
/* True when path is one of the files being read, by whatever name. */
bool cut_source_reads(const cut_source *s, const char *path);
/* All keys of the new file. r: NULL = types are kept. name: general.name, or NULL for the source's own. */
int cut_source_put_keys(const cut_source *s, ct_gguf_writer *w, const cli_recipe *r, const char *name, carat_error *err);

/* ---- parts of a folder, in files of their own ---- */

/* Room for n tensors. */
int cut_source_alloc(cut_source *s, size_t n, carat_error *err);
/* Join folder and file name. Gives *out: ct_free. */
int cut_join(char **out, const char *folder, const char *name, carat_error *err);
/* Load a JSON file of the folder; *out stays NULL when there is none. */
int cut_load_json(ct_json **out, const char *folder, const char *name, carat_error *err);

/* hf_tensors.c: fill s->t, from, plus_one. */
int hf_list_tensors(cut_source *s, carat_error *err);
/* hf_vocab.c: tokenizer.ggml.* from tokenizer.json and the files beside it, for n_vocab rows of the embedding. */
int hf_put_vocab(ct_gguf_writer *w, const char *folder, int64_t n_vocab, carat_error *err);

#endif
