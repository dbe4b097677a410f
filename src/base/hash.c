/* See hash.h. Four lanes take turns with the words, so that a processor works on four at once; every step is a bijection
 * of the lane for a given word and of the word for a given lane, so what one word changed cannot be lost again. */
#include "base/hash.h"

#include <string.h>

#include "base/half.h"

/* Odd, with bits spread evenly: the fractional parts of the golden ratio and of the square roots of 2 and 3. */
#define K1 UINT64_C(0x9e3779b97f4a7c15)
#define K2 UINT64_C(0x6a09e667f3bcc909)
#define K3 UINT64_C(0xbb67ae8584caa73b)

enum { STRIPE = 32 };

static uint64_t step(uint64_t lane, uint64_t word) {
    lane = (lane ^ word) * K1;
    return lane ^ lane >> 29;
}

static void add_stripe(uint64_t lane[4], const uint8_t *p) {
    for (int i = 0; i < 4; i++) lane[i] = step(lane[i], ct_load_u64(p + 8 * i));
}

void ct_hash_begin(ct_hash *h) {
    memset(h, 0, sizeof *h);
    for (uint64_t i = 0; i < 4; i++) h->lane[i] = K2 + i * K3;
}

void ct_hash_add(ct_hash *h, const void *data, size_t n) {
    const uint8_t *p = data;
    const size_t held = (size_t)(h->n % STRIPE);
    if (n == 0) return;
    h->n += n;
    if (held) {
        const size_t take = n < STRIPE - held ? n : STRIPE - held;
        memcpy(h->tail + held, p, take);
        if (held + take < STRIPE) return;
        add_stripe(h->lane, h->tail);
        p += take, n -= take;
    }
    for (; n >= STRIPE; p += STRIPE, n -= STRIPE) add_stripe(h->lane, p);
    if (n) memcpy(h->tail, p, n);
}

uint64_t ct_hash_value(const ct_hash *h) {
    uint64_t lane[4], v = h->n;
    memcpy(lane, h->lane, sizeof lane);
    const size_t held = (size_t)(h->n % STRIPE);
    if (held) {
        uint8_t last[STRIPE] = {0}; /* the length, mixed in below, tells zeroes at the end from none */
        memcpy(last, h->tail, held);
        add_stripe(lane, last);
    }
    for (int i = 0; i < 4; i++) v = step(v, lane[i]) * K2;
    v = (v ^ v >> 32) * K3;
    return v ^ v >> 29;
}

uint64_t ct_hash_of(const void *data, size_t n) {
    ct_hash h;
    ct_hash_begin(&h);
    ct_hash_add(&h, data, n);
    return ct_hash_value(&h);
}
