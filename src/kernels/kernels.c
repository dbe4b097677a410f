/* Choice of instruction set. The only place, with init of each set, where `#if` on the architecture is allowed. */
#include "kernels/kernels.h"

#include <strings.h>

#if defined(__x86_64__) || defined(__i386__)
#define CT_X86 1
#else
#define CT_X86 0
#endif
#if defined(__aarch64__)
#define CT_ARM64 1
#else
#define CT_ARM64 0
#endif

static const char *const names[CT_N_CPU] = {
    [CT_CPU_REF] = "ref", [CT_CPU_AVX2] = "avx2", [CT_CPU_AVX512] = "avx512", [CT_CPU_NEON] = "neon"};

bool ct_cpu_has(ct_cpu_level level) {
    switch (level) {
    case CT_CPU_REF: return true;
#if CT_X86
    case CT_CPU_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case CT_CPU_AVX512:
        return ct_cpu_has(CT_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
#if CT_ARM64
    case CT_CPU_NEON: return true; /* part of the base architecture */
#endif
    default: return false;
    }
}

ct_cpu_level ct_cpu_best(void) {
    ct_cpu_level best = CT_CPU_REF;
    for (int l = 0; l < CT_N_CPU; l++) {
        if (ct_cpu_has((ct_cpu_level)l)) best = (ct_cpu_level)l;
    }
    return best;
}

const char *ct_cpu_name(ct_cpu_level level) { return (unsigned)level < CT_N_CPU ? names[level] : "?"; }

bool ct_cpu_parse(const char *name, ct_cpu_level *out) {
    for (int l = 0; l < CT_N_CPU; l++) {
        if (strcasecmp(name, names[l]) == 0) {
            *out = (ct_cpu_level)l;
            return true;
        }
    }
    return false;
}

void ct_kernels_init(ct_kernels *k, ct_cpu_level cap) {
    ct_kernels_ref(k);
#if CT_X86
    if (cap >= CT_CPU_AVX2 && ct_cpu_has(CT_CPU_AVX2)) ct_kernels_avx2(k);
    if (cap >= CT_CPU_AVX512 && ct_cpu_has(CT_CPU_AVX512)) ct_kernels_avx512(k);
#elif CT_ARM64
    if (cap == CT_CPU_NEON) ct_kernels_neon(k);
#endif
    k->level = names[cap];
}
