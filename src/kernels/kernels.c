/* Choice of instruction set. The only place, with init of each set, where `#if` on the architecture is allowed. */
#include "kernels/kernels.h"

#include <strings.h>

#if defined(__x86_64__) || defined(__i386__)
#define CT_X86 1
#else
#define CT_X86 0
#endif
#if CT_X86
#include <cpuid.h>
#endif
#if defined(__aarch64__)
#define CT_ARM64 1
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#else
#define CT_ARM64 0
#endif

static const char *const names[CT_N_CPU] = {
    [CT_CPU_REF] = "ref",           [CT_CPU_PORTABLE] = "portable",     [CT_CPU_AVX2] = "avx2", [CT_CPU_AVXVNNI] = "avxvnni",
    [CT_CPU_AVX512] = "avx512",     [CT_CPU_AVX512VNNI] = "avx512vnni", [CT_CPU_NEON] = "neon", [CT_CPU_DOTPROD] = "dotprod",
    [CT_CPU_I8MM] = "i8mm"};

#if CT_X86
/* Feature bits that the compilers' own query does not know by name: leaf, subleaf, and the bit of a register. AVX state
 * is known to be enabled by the time these count. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

static bool has_avxvnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

#if CT_ARM64
static bool has_dotprod(void) {
#if defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
    return true; /* every 64-bit Apple processor that macOS still runs on */
#endif
}

static bool has_i8mm(void) {
#if defined(__linux__)
    return getauxval(AT_HWCAP2) >> 13 & 1; /* HWCAP2_I8MM, which older headers do not name */
#else
    return false; /* later Apple processors have it; not asked for yet */
#endif
}
#endif

bool ct_cpu_has(ct_cpu_level level) {
    switch (level) {
    case CT_CPU_REF:
    case CT_CPU_PORTABLE: return true;
#if CT_X86
    case CT_CPU_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") && has_f16c();
    case CT_CPU_AVXVNNI: return ct_cpu_has(CT_CPU_AVX2) && has_avxvnni();
    case CT_CPU_AVX512:
        return ct_cpu_has(CT_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    case CT_CPU_AVX512VNNI: return ct_cpu_has(CT_CPU_AVX512) && __builtin_cpu_supports("avx512vnni");
#endif
#if CT_ARM64
    case CT_CPU_NEON: return true; /* part of the base architecture */
    case CT_CPU_DOTPROD: return has_dotprod();
    case CT_CPU_I8MM: return has_dotprod() && has_i8mm();
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
    *k = (ct_kernels){.level = names[cap]};
    ct_kernels_ref(k);
    if (cap >= CT_CPU_PORTABLE) ct_kernels_portable(k);
#if CT_X86
    if (cap >= CT_CPU_AVX2 && ct_cpu_has(CT_CPU_AVX2)) ct_kernels_avx2(k);
    if (cap >= CT_CPU_AVXVNNI && ct_cpu_has(CT_CPU_AVXVNNI)) ct_kernels_avxvnni(k);
    if (cap >= CT_CPU_AVX512 && ct_cpu_has(CT_CPU_AVX512)) ct_kernels_avx512(k);
    if (cap >= CT_CPU_AVX512VNNI && ct_cpu_has(CT_CPU_AVX512VNNI)) ct_kernels_avx512vnni(k);
#elif CT_ARM64
    if (cap >= CT_CPU_NEON) ct_kernels_neon(k);
    if (cap >= CT_CPU_DOTPROD && ct_cpu_has(CT_CPU_DOTPROD)) ct_kernels_dotprod(k);
    if (cap >= CT_CPU_I8MM && ct_cpu_has(CT_CPU_I8MM)) ct_kernels_i8mm(k);
#endif
}
