/* Distribution of short times without keeping them: counts by eighths of an octave, so that a percentile is within 9%. */
#ifndef CT_RUNTIME_LATENCY_H
#define CT_RUNTIME_LATENCY_H

#include <math.h>

#include "base/status.h"

enum { CT_LATENCY_BUCKETS = 256 }; /* 1/16 microsecond to four minutes */

typedef struct {
    uint64_t n, count[CT_LATENCY_BUCKETS];
    double max_ms, sum_ms;
} ct_latency;

static inline void ct_latency_add(ct_latency *l, double ms) {
    const double at = ms > 0.0 ? 8.0 * log2(ms * 16e3) : 0.0;
    l->count[at < 0.0 ? 0 : at >= CT_LATENCY_BUCKETS ? CT_LATENCY_BUCKETS - 1 : (int)at]++;
    l->n++;
    l->sum_ms += ms;
    if (ms > l->max_ms) l->max_ms = ms;
}

/* The time that a share q of all do not exceed, in microseconds. */
static inline double ct_latency_us(const ct_latency *l, double q) {
    uint64_t seen = 0;
    for (int i = 0; i < CT_LATENCY_BUCKETS && l->n; i++) {
        seen += l->count[i];
        if ((double)seen < q * (double)l->n) continue;
        const double top = exp2((i + 1) / 8.0) / 16.0;
        return top < 1e3 * l->max_ms ? top : 1e3 * l->max_ms;
    }
    return 0.0;
}

static inline carat_latency ct_latency_report(const ct_latency *l) {
    return (carat_latency){l->n, ct_latency_us(l, 0.5), ct_latency_us(l, 0.99), 1e3 * l->max_ms, l->sum_ms};
}

#endif
