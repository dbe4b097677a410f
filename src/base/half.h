/* IEEE half precision and bfloat16 to and from float, in portable C, exact and round-to-nearest-even. */
#ifndef CT_BASE_HALF_H
#define CT_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ct_f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float ct_f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Exact. Without a branch or a selection (gcc vectorises no loop of those): multiplying with 2^112 rebiases the exponent
 * and takes subnormals along; inf and nan get their exponent back through a mask. */
static inline float ct_f16_to_f32(uint16_t h) {
    const uint32_t em = (h & 0x7fffu) << 13;
    const uint32_t special = 0u - ((em + 0x70800000u) >> 31); /* all ones for inf and nan */
    const uint32_t u = ct_f32_bits(ct_f32_from_bits(em) * 0x1p112f);
    return ct_f32_from_bits((u & ~special) | ((em | 0x7f800000u) & special) | (uint32_t)(h & 0x8000u) << 16);
}

static inline uint16_t ct_f32_to_f16(float f) {
    const uint32_t u = ct_f32_bits(f);
    const uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
    const uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);      /* nan */
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);     /* rounds to inf */
    if (a < 0x38800000u) {                                       /* subnormal or zero: let the FPU round */
        const float r = ct_f32_from_bits(a) + 0.5f;              /* ulp of 0.5 is 2^-24, the f16 quantum */
        return (uint16_t)(sign | (uint16_t)(ct_f32_bits(r) - 0x3f000000u));
    }
    const uint32_t odd = (a >> 13) & 1u;
    return (uint16_t)(sign | (uint16_t)((a - 0x38000000u + 0xfffu + odd) >> 13));
}

static inline float ct_bf16_to_f32(uint16_t b) { return ct_f32_from_bits((uint32_t)b << 16); }

static inline uint16_t ct_f32_to_bf16(float f) {
    const uint32_t u = ct_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

/* Unaligned little-endian loads for block data and file headers. */
static inline uint16_t ct_load_u16(const void *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t ct_load_u32(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t ct_load_u64(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
