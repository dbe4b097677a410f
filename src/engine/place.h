/* Private to the room: where a model's weights are. The plan is made from sizes alone; carrying it out happens once, when
 * the model's first session is made. */
#ifndef CT_ENGINE_PLACE_H
#define CT_ENGINE_PLACE_H

#include <pthread.h>

#include "engine/pack.h"
#include "forward/forward.h"

typedef struct {
    pthread_mutex_t lock;  /* taken while placing and while sessions come and go; the rest is immutable once done */
    bool done;
    bool has_fingerprint;  /* also under the lock: the model's fingerprint, once somebody asked for it */
    uint64_t fingerprint;
    carat_plan plan;       /* that was carried out */
    uint64_t session_bytes; /* of the sessions there are */
    ct_pack pack;
    ct_direct *file;       /* [files of the source] where anything is read past the page cache, else NULL */
    ct_io *io;
    ct_expert_layer *expert_layer; /* [n_layer] */
    ct_experts *experts;   /* NULL: none are streamed */
    ct_tier_source ple;    /* place is AUTO where the model has no such table */
} ct_place;

/* The plan for a session of options o, whose resolved form goes to *f: chunk and places filled in. */
int ct_plan_session(carat_plan *out, ct_forward_opts *f, const carat_model *m, const carat_session_opts *o, carat_error *err);
/* Bytes of a session by itself. */
uint64_t ct_plan_session_bytes(const carat_plan *p);
/* Bytes with one session more, of a model whose weights have their places. p is locked. */
uint64_t ct_place_total(const ct_place *p, const carat_plan *session);
/* Carry out the plan, once; later sessions are checked against what is left of the ceiling. f gets what only now exists. The
 * session's bytes are counted until ct_place_leave. ENOMEM, EIO. */
int ct_place_enter(ct_place *p, const carat_model *m, const carat_plan *plan, ct_forward_opts *f, carat_error *err);
void ct_place_leave(ct_place *p, uint64_t session_bytes);
void ct_place_free(ct_place *p);

/* The pieces an expert is read in, of each layer: [n_layer]. file: NULL for sizes alone. */
void ct_place_expert_layers(ct_expert_layer *out, const carat_model *m, const ct_direct *file);
/* Options of the expert cache that do not depend on its size. */
ct_experts_opts ct_place_experts_opts(const carat_model *m, const ct_expert_layer *layer, int n_slot);
/* The mapping is going to be read in long runs: as the system does by itself, panels in huge pages. With small ones an E2B decodes a
 * sixth slower; where a first read has filled small pages it is too late. */
void ct_place_advise(const ct_source *s);
/* Options of packing under the plan. */
ct_pack_opts ct_place_pack_opts(const carat_model *m, const carat_plan *p, const ct_forward_opts *f);
/* Where the table of per-layer embeddings is going to be; data and file are not set. */
ct_tier_source ct_place_ple_source(const carat_model *m, carat_place place);
/* Bytes of a reader's buffer under the plan. */
size_t ct_place_reader_buffer(const carat_model *m, const carat_plan *p, const ct_expert_layer *layer);

enum { CT_N_READER = 8 };

#endif
