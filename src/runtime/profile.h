/* Where the time of a thread goes: a clock that is always running for exactly one step. Switching to a step ends the one
 * before, so the parts add up to the whole whatever the borders. Off is a NULL pointer: one comparison a border.
 * One thread at a time; the pool's workers have no part in it. */
#ifndef CT_RUNTIME_PROFILE_H
#define CT_RUNTIME_PROFILE_H

#include "base/status.h"

typedef struct {
    double ms[CARAT_N_STEP];
    double since_ms;  /* when the current step began */
    carat_step step;  /* the one that runs */
    bool on;
} ct_profile;

/* From zero, in `step`. */
void ct_profile_start(ct_profile *p, carat_step step);
/* The running step ends. Nothing where none runs. */
void ct_profile_stop(ct_profile *p);
/* Milliseconds of every step up to now. */
void ct_profile_read(const ct_profile *p, double ms[CARAT_N_STEP]);
/* The step before, to go back to. p must be running. */
carat_step ct_profile_switch(ct_profile *p, carat_step step);

/* The one-liner at the borders of blocks: p may be NULL. */
static inline void ct_profile_step(ct_profile *p, carat_step step) {
    if (p) (void)ct_profile_switch(p, step);
}

#endif
