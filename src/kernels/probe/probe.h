/* What a core can do at most, to compare the engine with: loads from memory that do nothing else, and chains of 8-bit
 * multiply-adds that touch no memory. Every way the machine has is listed; the caller times them and keeps the fastest.
 * Written in inline assembly where the compiler could otherwise find out that nobody wants the result. */
#ifndef CT_KERNELS_PROBE_PROBE_H
#define CT_KERNELS_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Blocks to read are multiples of this. */
#define CT_PROBE_BLOCK 4096

typedef struct {
    const char *name;
    bool (*has)(void);                           /* can this machine run it? */
    uint64_t (*read)(const uint8_t *p, size_t n); /* n > 0: multiple of CT_PROBE_BLOCK. The result means nothing */
} ct_probe_reader;

typedef struct {
    const char *name;
    bool (*has)(void);
    uint32_t macs;                      /* 8-bit multiply-adds of one round */
    uint64_t (*run)(uint64_t n_round);  /* n_round > 0 */
} ct_probe_dot;

/* The i-th this machine can run, counted from 0; NULL behind the last. There is always one. */
const ct_probe_reader *ct_probe_reader_at(int i);
const ct_probe_dot *ct_probe_dot_at(int i);

/* Each architecture's part (private to the room): a list that ends with a NULL name; the portable one for all. */
extern const ct_probe_reader ct_probe_readers_x86[], ct_probe_readers_arm[], ct_probe_readers_portable[];
extern const ct_probe_dot ct_probe_dots_x86[], ct_probe_dots_arm[], ct_probe_dots_portable[];

#endif
