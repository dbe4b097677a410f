/* Private to the room: weights laid out for speed. See pack.c. */
#ifndef CT_ENGINE_PACK_H
#define CT_ENGINE_PACK_H

#include <pthread.h>

#include "kernels/kernels.h"
#include "model/weights.h"

typedef struct {
    pthread_mutex_t lock;  /* taken while packing; afterwards everything below is immutable */
    bool done;
    ct_weights weights;    /* a copy of the model's, packed matrices replaced */
    uint8_t *memory;       /* [bytes] anonymous */
    size_t bytes;
} ct_pack;

/* Bytes that ct_pack_make will hold for these weights and kernels. */
uint64_t ct_pack_bytes(const ct_weights *w, const ct_config *c, const ct_kernels *k);
/* Pack once, with n_threads threads; later calls return at once. split_head: the output head as split panels, where its
 * type has them (the same bytes and products, and rows can be screened). Borrows w, c and k; p->weights points into w's memory
 * for everything that stays as it is. ENOMEM leaves p ready to try again. */
int ct_pack_make(ct_pack *p, const ct_weights *w, const ct_config *c, const ct_kernels *k, int n_threads, bool split_head,
                 carat_error *err);
void ct_pack_free(ct_pack *p);

#endif
