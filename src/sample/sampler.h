/* Sampler: penalties, temperature, top-k, top-p, min-p, draw. The public type carat_sampler lives here.
 *
 * Rules beyond include/carat.h, which tests and callers may rely on:
 *   - a NaN logit is never chosen; when every logit is NaN, carat_sampler_next returns -1;
 *   - -inf has no probability; when nothing else is left, the lowest id that is not NaN is returned;
 *   - +inf outweighs every finite logit, several of them are equally likely;
 *   - equal logits: the lower id comes first, in greedy choice as in every cut. top_k keeps exactly k;
 *   - one random number is used per draw, none for a greedy choice. */
#ifndef CT_SAMPLE_SAMPLER_H
#define CT_SAMPLE_SAMPLER_H

#include "base/status.h"

/* e^x for x <= 0 in double, the same bits on every IEEE machine (libm's last bit is not). Below -708: 0. */
double ct_exp_neg(double x);

#endif
