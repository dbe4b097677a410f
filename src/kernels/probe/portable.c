/* Plain C, for machines nothing better is known of. Its results depend on all that was read and multiplied, so that
 * nothing can be left out. */
#include <string.h>

#include "kernels/probe/probe.h"

static bool always(void) { return true; }

static uint64_t read_words(const uint8_t *p, size_t n) {
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < n; i += sizeof sum) {
        uint64_t word[8];
        memcpy(word, p + i, sizeof word);
        for (int l = 0; l < 8; l++) sum[l] ^= word[l];
    }
    for (int l = 1; l < 8; l++) sum[0] ^= sum[l];
    return sum[0];
}

enum { LANES = 256 };

/* A round multiplies two rows of bytes; one of them changes from round to round. */
static uint64_t dot_bytes(uint64_t n_round) {
    int8_t a[LANES], b[LANES];
    for (int l = 0; l < LANES; l++) a[l] = (int8_t)(l * 7 + (int)(n_round & 15)), b[l] = (int8_t)(l * 13);
    uint32_t sum = 0;
    for (uint64_t i = 0; i < n_round; i++) {
        int32_t s = 0;
        for (int l = 0; l < LANES; l++) s += a[l] * b[l];
        sum += (uint32_t)s;
        a[i % LANES] = (int8_t)i;
    }
    return sum;
}

const ct_probe_reader ct_probe_readers_portable[] = {{"8-byte words", always, read_words}, {NULL, NULL, NULL}};
const ct_probe_dot ct_probe_dots_portable[] = {{"portable C", always, LANES, dot_bytes}, {NULL, NULL, 0, NULL}};
