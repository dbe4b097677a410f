/* A 64-bit checksum of a stream of bytes: finds damage, and tells contents apart. It is no defence against who means harm.
 * The value depends on the bytes alone, not on how they were cut into calls, and is the same on every machine: it may be
 * kept in files. Any change within one aligned word of 8 bytes changes it, larger ones but for one case in 2^64. */
#ifndef CT_BASE_HASH_H
#define CT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t lane[4];
    uint8_t tail[32]; /* bytes that do not fill a stripe yet: the first n % 32 */
    uint64_t n;       /* bytes so far */
} ct_hash;

void ct_hash_begin(ct_hash *h);
void ct_hash_add(ct_hash *h, const void *data, size_t n);
/* Of all bytes added; more may follow. */
uint64_t ct_hash_value(const ct_hash *h);
/* Of one piece. */
uint64_t ct_hash_of(const void *data, size_t n);

#endif
