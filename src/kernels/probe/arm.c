/* aarch64: as x86.c. */
#include "kernels/kernels.h"
#include "kernels/probe/probe.h"

#if defined(__aarch64__)
static bool has_dotprod(void) { return ct_cpu_has(CT_CPU_DOTPROD); }
static bool has_i8mm(void) { return ct_cpu_has(CT_CPU_I8MM); }
static bool has_neon(void) { return true; }

#define V0_15 "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15"

static uint64_t read_16(const uint8_t *p, size_t n) {
    __asm__ volatile("1:\nldp q0, q1, [%0]\nldp q2, q3, [%0, #32]\nldp q4, q5, [%0, #64]\nldp q6, q7, [%0, #96]\n"
                     "add %0, %0, #128\nsubs %1, %1, #128\nb.ne 1b\n"
                     : "+r"(p), "+r"(n)
                     :
                     : V0_15, "cc", "memory");
    return n;
}

static uint64_t read_16_ahead(const uint8_t *p, size_t n) {
    __asm__ volatile("1:\nprfm pldl1strm, [%0, #1024]\nprfm pldl1strm, [%0, #1088]\nldp q0, q1, [%0]\nldp q2, q3, [%0, #32]\n"
                     "ldp q4, q5, [%0, #64]\nldp q6, q7, [%0, #96]\nadd %0, %0, #128\nsubs %1, %1, #128\nb.ne 1b\n"
                     : "+r"(p), "+r"(n)
                     :
                     : V0_15, "cc", "memory");
    return n;
}

const ct_probe_reader ct_probe_readers_arm[] = {
    {"pairs of 16-byte loads", has_neon, read_16},
    {"pairs of 16-byte loads, prefetched", has_neon, read_16_ahead},
    {NULL, NULL, NULL},
};

/* 12 sums; v12 and v13 hold the factors. By their numbers (the sum's register is the lowest 5 bits), because assemblers
 * differ in how they are told to accept an extension: sdot and smmla vR.4s, v12.16b, v13.16b. */
#define TWELVE(M) M("0") M("1") M("2") M("3") M("4") M("5") M("6") M("7") M("8") M("9") M("10") M("11")
#define ROUNDS(body) \
    __asm__ volatile("1:\n" body "subs %0, %0, #1\nb.ne 1b\n" : "+r"(n_round) : : V0_15, "cc")
#define SDOT(r) ".inst 0x4e8d9580 + " r "\n"
#define SMMLA(r) ".inst 0x4e8da580 + " r "\n"
#define SMLAL(r) "smull v14.8h, v12.8b, v13.8b\nsmlal2 v14.8h, v12.16b, v13.16b\nsadalp v" r ".4s, v14.8h\n"

static uint64_t dot_sdot(uint64_t n_round) {
    ROUNDS(TWELVE(SDOT) TWELVE(SDOT));
    return n_round;
}

static uint64_t dot_smmla(uint64_t n_round) {
    ROUNDS(TWELVE(SMMLA) TWELVE(SMMLA));
    return n_round;
}

static uint64_t dot_smlal(uint64_t n_round) {
    ROUNDS(TWELVE(SMLAL));
    return n_round;
}

const ct_probe_dot ct_probe_dots_arm[] = {
    {"smmla", has_i8mm, 24 * 32, dot_smmla},
    {"sdot", has_dotprod, 24 * 16, dot_sdot},
    {"smlal", has_neon, 12 * 16, dot_smlal},
    {NULL, NULL, 0, NULL},
};
#else
const ct_probe_reader ct_probe_readers_arm[] = {{NULL, NULL, NULL}};
const ct_probe_dot ct_probe_dots_arm[] = {{NULL, NULL, 0, NULL}};
#endif
