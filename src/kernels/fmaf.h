/* a * b + c with one rounding, the same bits whether the processor has the instruction or not. */
#ifndef CT_KERNELS_FMAF_H
#define CT_KERNELS_FMAF_H

#include <stdint.h>
#include <string.h>

/* In double the product is exact, and the sum is rounded to odd: whatever lies between two doubles becomes the one whose
 * last bit is set, so that the rounding to float that follows cannot mistake it for a tie (Boldo and Melquiond, 2008).
 * No branches, calls or comparisons: loops of it
 * vectorise. */
static inline float ct_fmaf_in_double(float a, float b, float c) {
    const double p = (double)a * (double)b, s = p + (double)c;
    const double t = s - p, e = (p - (s - t)) + ((double)c - t); /* p + c = s + e, where s is finite */
    uint64_t u, v;
    memcpy(&u, &s, sizeof u);
    memcpy(&v, &e, sizeof v);
    const uint64_t finite = 1 ^ ((u & 0x7ff0000000000000u) + 0x0010000000000000u) >> 63;
    const uint64_t inexact = ((v << 1 | (0 - (v << 1))) >> 63) & finite; /* e is not zero */
    const uint64_t away = (v ^ u) >> 63;                                 /* s lies behind the sum, seen from zero */
    u = (u - (inexact & away)) | inexact;
    double odd;
    memcpy(&odd, &u, sizeof odd);
    return (float)odd;
}

#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__)
#define ct_fmaf __builtin_fmaf
#else
#define ct_fmaf ct_fmaf_in_double
#endif

#endif
