/* Private to the room: what the opaque handles of carat.h hold. */
#ifndef CT_ENGINE_ENGINE_INT_H
#define CT_ENGINE_ENGINE_INT_H

#include "engine/lookup.h"
#include "engine/place.h"
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
    bool quiet;              /* the mapping's tensors are read page by page: memory is limited, or short of the file */
    carat_model_opts opts;   /* cpu is not kept */
    ct_place *place;         /* where weights are, once the first session is made; NULL without weights */
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
    uint64_t expert_evals_before; /* of the forward pass, when stats began; it goes on, being what uniform routing draws from */
    carat_progress_fn progress;
    void *progress_ud;
    bool all_rows;        /* no row is spared a layer */
    uint64_t place_bytes; /* counted in the model's place */
    ct_profile profile;   /* the forward pass sees it while it is on */
};

/* Fails with EUNSUPPORTED when the model has no vocabulary. */
int ct_engine_need_text(const carat_model *m, carat_error *err);

/* Options with every zero resolved, as the forward room wants them; places are the plan's to fill in. EINVAL. */
int ct_session_resolve(ct_forward_opts *f, const carat_model *m, const carat_session_opts *o, carat_error *err);
/* Bytes of the list of tokens held, and its index. */
uint64_t ct_session_token_bytes(const ct_forward_opts *f, const carat_session_opts *o);

#endif
