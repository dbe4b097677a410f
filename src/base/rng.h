/* Small deterministic random numbers (splitmix64 seeding, xoshiro256**): same seed, same stream, on every machine. */
#ifndef CT_BASE_RNG_H
#define CT_BASE_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t s[4];
} ct_rng;

void ct_rng_seed(ct_rng *r, uint64_t seed);
uint64_t ct_rng_u64(ct_rng *r);
/* Uniform in [0, 1) with 53 random bits. */
double ct_rng_uniform(ct_rng *r);
/* Standard normal (Box-Muller). */
double ct_rng_normal(ct_rng *r);

#endif
