/* What the aarch64 levels share: everything of tmpl/panel.inc's list but the dot product. FN is the including file's. */
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

typedef int32_t FN(vi) __attribute__((vector_size(16)));
typedef float FN(vf) __attribute__((vector_size(16)));

static inline FN(vi) FN(set1i)(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return (FN(vi))vdupq_n_s32(v);
}
static inline FN(vf) FN(set1f)(const void *p) {
    float v;
    memcpy(&v, p, 4);
    return (FN(vf))vdupq_n_f32(v);
}
static inline FN(vf) FN(fma)(FN(vf) a, FN(vf) b, FN(vf) c) {
    return (FN(vf))vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
static inline FN(vf) FN(load_f16)(const uint8_t *p) {
    uint16x4_t h;
    memcpy(&h, p, sizeof h);
    return (FN(vf))vcvt_f32_f16(vreinterpret_f16_u16(h));
}
static inline FN(vi) FN(load_u8)(const uint8_t *p) { return (FN(vi)){p[0], p[1], p[2], p[3]}; }
static inline FN(vi) FN(load_i8)(const uint8_t *p) {
    return (FN(vi)){(int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3]};
}
