/* Mutations of files: bits, lengths, cuts, copies; and of JSON: numbers, brackets, quoted words. */
#ifndef TESTS_FUZZ_MUTATE_H
#define TESTS_FUZZ_MUTATE_H

#include "base/rng.h"
#include "craft.h"

/* Change b in one to four places; `other` lends pieces. Deterministic in r. */
void mutate_binary(craft *b, const craft *other, ct_rng *r);
void mutate_text(craft *b, const craft *other, ct_rng *r);

#endif
