/* Private to the room: what the opaque handles of carat.h hold. */
#ifndef CT_ENGINE_ENGINE_INT_H
#define CT_ENGINE_ENGINE_INT_H

#include "engine/lookup.h"
#include "engine/pack.h"
#include "forward/forward.h"
#include "kernels/kernels.h"
#include "model/ledger.h"
#include "model/source.h"
#include "model/weights.h"
#include "model/work.h"
#include "runtime/profile.h"
#include "text/chat.h"
#include "text/tokenizer.h"

struct carat_model {
    ct_source source;
    ct_config cfg;
    ct_weights weights;
    ct_arena arena;
    ct_kernels kernels;
    ct_tokenizer *tokenizer; /* NULL: no vocabulary in the model */
    carat_model_info info;
    bool has_weights;
    ct_pack *pack;           /* weights laid out for speed, filled when the first session is made */
};

struct carat_session {
    const carat_model *model;
    ct_forward fw;
    int32_t *tok;         /* [n_ctx] tokens held, then guesses */
    int32_t n_past;
    int32_t n_ahead;      /* guesses tok[n_past, n_past + n_ahead) are evaluated too, their logits follow `logits` */
    int32_t n_evaluated;
    const float *logits;  /* [n_vocab] of the last token, in fw; NULL before a sync succeeded */
    int32_t n_top;        /* 0: all logits are wanted */
    carat_lookup lookup_mode;
    ct_lookup lookup;     /* of tok; empty when off */
    uint64_t lookup_passes, lookup_guessed, lookup_accepted, lookup_plain;
    carat_progress_fn progress;
    void *progress_ud;
    bool all_rows;        /* no row is spared a layer */
    ct_profile profile;   /* the forward pass sees it while it is on */
};

/* Fails with EUNSUPPORTED when the model has no vocabulary. */
int ct_engine_need_text(const carat_model *m, carat_error *err);

#endif
