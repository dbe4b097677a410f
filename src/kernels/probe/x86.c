/* x86-64. Registers are named, and the instructions are the assembler's: no compiler flags are needed, and nothing here
 * may be called before its `has` has said yes. The zmm and ymm halves of a clobbered xmm go with it. */
#include "kernels/kernels.h"
#include "kernels/probe/probe.h"

#if defined(__x86_64__)

static bool has_sse2(void) { return true; }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
static bool has_avx512(void) { return __builtin_cpu_supports("avx512f") != 0; }
static bool has_avx512vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni") != 0; }
static bool has_avx512vnni_ymm(void) { return has_avx512vnni() && __builtin_cpu_supports("avx512vl") != 0; }
static bool has_avxvnni(void) { return ct_cpu_has(CT_CPU_AVXVNNI); }

#define XMM0_7 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7"
#define XMM8_15 "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* ---- reading ---- */

/* One stream: 8 loads of `reg` registers, `step` bytes together. */
#define READ_ONE(ins, reg, w, extra, end)                                                                                  \
    __asm__ volatile("1:\n" extra ins " (%0), %%" reg "0\n" ins " " #w "(%0), %%" reg "1\n" ins " 2*" #w "(%0), %%" reg     \
                     "2\n" ins " 3*" #w "(%0), %%" reg "3\n" ins " 4*" #w "(%0), %%" reg "4\n" ins " 5*" #w "(%0), %%" reg  \
                     "5\n" ins " 6*" #w "(%0), %%" reg "6\n" ins " 7*" #w "(%0), %%" reg "7\nadd $8*" #w                    \
                     ", %0\nsub $8*" #w ", %1\njnz 1b\n" end                                                                \
                     : "+r"(p), "+r"(n)                                                                                     \
                     :                                                                                                      \
                     : XMM0_7, "cc", "memory")

#define AHEAD                                                                                                    \
    "prefetchnta 1024(%0)\nprefetchnta 1088(%0)\nprefetchnta 1152(%0)\nprefetchnta 1216(%0)\n"                   \
    "prefetchnta 1280(%0)\nprefetchnta 1344(%0)\nprefetchnta 1408(%0)\nprefetchnta 1472(%0)\n"

static uint64_t read_16(const uint8_t *p, size_t n) {
    READ_ONE("movdqu", "xmm", 16, "", "");
    return n;
}

static uint64_t read_32(const uint8_t *p, size_t n) {
    READ_ONE("vmovdqu", "ymm", 32, "", "vzeroupper\n");
    return n;
}

static uint64_t read_64(const uint8_t *p, size_t n) {
    READ_ONE("vmovdqu64", "zmm", 64, "", "vzeroupper\n");
    return n;
}

static uint64_t read_64_ahead(const uint8_t *p, size_t n) {
    READ_ONE("vmovdqu64", "zmm", 64, AHEAD, "vzeroupper\n");
    return n;
}

/* Four streams at once, as a kernel reads that works on several rows: more of the prefetchers take part. */
static uint64_t read_32_four(const uint8_t *p, size_t n) {
    n /= 4;
    const uint8_t *q = p + n, *r = q + n, *s = r + n;
    __asm__ volatile("1:\nvmovdqu (%0), %%ymm0\nvmovdqu (%1), %%ymm1\nvmovdqu (%2), %%ymm2\nvmovdqu (%3), %%ymm3\n"
                     "vmovdqu 32(%0), %%ymm4\nvmovdqu 32(%1), %%ymm5\nvmovdqu 32(%2), %%ymm6\nvmovdqu 32(%3), %%ymm7\n"
                     "add $64, %0\nadd $64, %1\nadd $64, %2\nadd $64, %3\nsub $64, %4\njnz 1b\nvzeroupper\n"
                     : "+r"(p), "+r"(q), "+r"(r), "+r"(s), "+r"(n)
                     :
                     : XMM0_7, "cc", "memory");
    return n;
}

const ct_probe_reader ct_probe_readers_x86[] = {
    {"16-byte loads", has_sse2, read_16},
    {"32-byte loads", has_avx2, read_32},
    {"32-byte loads, 4 streams", has_avx2, read_32_four},
    {"64-byte loads", has_avx512, read_64},
    {"64-byte loads, prefetched", has_avx512, read_64_ahead},
    {NULL, NULL, NULL},
};

/* ---- multiplying ---- */

/* 12 sums that do not wait for each other hide the latency of any of these; registers 12 and 13 hold the factors. */
#define TWELVE(M) M("0") M("1") M("2") M("3") M("4") M("5") M("6") M("7") M("8") M("9") M("10") M("11")
#define ROUNDS(body, end)                                                                                        \
    __asm__ volatile("1:\n" body "dec %0\njnz 1b\n" end : "+r"(n_round) : : XMM0_7, XMM8_15, "cc")

#define DPBUSD_ZMM(r) "vpdpbusd %%zmm13, %%zmm12, %%zmm" r "\n"
#define DPBUSD_YMM(r) "%{evex%} vpdpbusd %%ymm13, %%ymm12, %%ymm" r "\n"
#define DPBUSD_VEX(r) "%{vex%} vpdpbusd %%ymm13, %%ymm12, %%ymm" r "\n"
/* Without the instruction: pairs to 16 bits, pairs of those to 32, and the sum. Registers 14 and 15 take turns. */
#define MADD_A(r) "vpmaddubsw %%ymm13, %%ymm12, %%ymm14\nvpmaddwd %%ymm11, %%ymm14, %%ymm14\nvpaddd %%ymm14, %%ymm" r ", %%ymm" r "\n"
#define MADD_B(r) "vpmaddubsw %%ymm13, %%ymm12, %%ymm15\nvpmaddwd %%ymm11, %%ymm15, %%ymm15\nvpaddd %%ymm15, %%ymm" r ", %%ymm" r "\n"
#define MADD_SSE(r) "movdqa %%xmm12, %%xmm14\npmaddwd %%xmm13, %%xmm14\npaddd %%xmm14, %%xmm" r "\n"

static uint64_t dot_zmm(uint64_t n_round) {
    ROUNDS(TWELVE(DPBUSD_ZMM) TWELVE(DPBUSD_ZMM), "vzeroupper\n");
    return n_round;
}

static uint64_t dot_ymm(uint64_t n_round) {
    ROUNDS(TWELVE(DPBUSD_YMM) TWELVE(DPBUSD_YMM), "vzeroupper\n");
    return n_round;
}

static uint64_t dot_vex(uint64_t n_round) {
    ROUNDS(TWELVE(DPBUSD_VEX) TWELVE(DPBUSD_VEX), "vzeroupper\n");
    return n_round;
}

static uint64_t dot_madd(uint64_t n_round) {
    ROUNDS(MADD_A("0") MADD_B("1") MADD_A("2") MADD_B("3") MADD_A("4") MADD_B("5") MADD_A("6") MADD_B("7") MADD_A("8")
               MADD_B("9"), "vzeroupper\n");
    return n_round;
}

/* The base set multiplies 16-bit pairs: 8 of them, once bytes have been widened, which is not counted here. */
static uint64_t dot_sse2(uint64_t n_round) {
    ROUNDS(TWELVE(MADD_SSE), "");
    return n_round;
}

const ct_probe_dot ct_probe_dots_x86[] = {
    {"vpdpbusd zmm", has_avx512vnni, 24 * 64, dot_zmm},
    {"vpdpbusd ymm", has_avx512vnni_ymm, 24 * 32, dot_ymm},
    {"vpdpbusd ymm (VEX)", has_avxvnni, 24 * 32, dot_vex},
    {"vpmaddubsw ymm", has_avx2, 10 * 32, dot_madd},
    {"pmaddwd xmm", has_sse2, 12 * 8, dot_sse2},
    {NULL, NULL, 0, NULL},
};
#else
const ct_probe_reader ct_probe_readers_x86[] = {{NULL, NULL, NULL}};
const ct_probe_dot ct_probe_dots_x86[] = {{NULL, NULL, 0, NULL}};
#endif
