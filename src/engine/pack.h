/* Private to the room: weights laid out for speed. See pack.c. */
#ifndef CT_ENGINE_PACK_H
#define CT_ENGINE_PACK_H

#include "base/direct.h"
#include "kernels/kernels.h"
#include "model/weights.h"

/* What of the weights goes into memory, and how it gets there. */
typedef struct {
    bool split_head;      /* the output head as split panels, where its type has them: the same bytes and products, and rows can
                           * be screened */
    bool all;             /* every matrix, not only those that gain from another layout */
    bool no_experts;      /* but the experts */
    bool ple_table;       /* and the table of per-layer embeddings */
    const ct_source *source;
    const ct_direct *file; /* [files of source] read past the page cache; NULL: through the mapping */
    int n_threads;
} ct_pack_opts;

typedef struct {
    ct_weights weights;    /* a copy of the model's, matrices in memory replaced */
    uint8_t *memory;       /* [bytes] anonymous */
    size_t bytes;
} ct_pack;

/* Bytes that ct_pack_make will hold for these weights and kernels, and, for as long as it runs, its threads' buffers. */
uint64_t ct_pack_bytes(const ct_weights *w, const ct_config *c, const ct_kernels *k, const ct_pack_opts *o, uint64_t *buffers);
/* n_row consecutive rows, row_bytes apart, as panels one behind the other; the last one may be of fewer rows. */
void ct_pack_rows(uint8_t *dst, ct_dtype t, const uint8_t *rows, size_t row_bytes, int64_t n_row);
/* Into a zeroed p. Borrows all; p->weights points into w's memory for everything that stays as it is. ENOMEM and EIO leave p
 * zeroed. */
int ct_pack_make(ct_pack *p, const ct_weights *w, const ct_config *c, const ct_kernels *k, const ct_pack_opts *o, carat_error *err);
void ct_pack_free(ct_pack *p);

#endif
