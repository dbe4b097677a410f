/* Work of an evaluation, counted: bytes read and multiply-adds by step. The rules of which rows pass which layer are those
 * of forward/text.c, said once more in numbers; tests/model holds them against a count by hand and against the ledger. */
#ifndef CT_MODEL_WORK_H
#define CT_MODEL_WORK_H

#include "model/weights.h"

typedef struct {
    int64_t pos, n;       /* tokens [pos, pos + n), n > 0 */
    int n_chunk;          /* evaluated in chunks of this many */
    bool all_rows;        /* every row passes every layer */
    ct_dtype kv;          /* type of the cached keys and values */
    uint64_t norm_bytes;  /* of all norms and scalars in the file, read once a chunk */
} ct_work_run;

/* Adds to *out the work of r and of the logits of its last token.
 * A matrix is read once a chunk in which any row needs it; keys and values are read once a chunk and layer, those of the
 * chunk itself included, whatever the number of heads that share them. Looked-up tables: one row a token. Elementwise
 * work has no multiply-adds here. */
void ct_work_add(carat_work *out, const ct_config *c, const ct_weights *w, const ct_work_run *r);

#endif
