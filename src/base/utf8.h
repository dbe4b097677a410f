/* UTF-8 decoding that never reads past the end and never accepts an ill-formed sequence. */
#ifndef CT_BASE_UTF8_H
#define CT_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Decode one code point from s[0,n), n >= 1. Returns its length in bytes (1-4) and the code point.
 * For ill-formed input *cp = 0xFFFD and the length is that of the maximal ill-formed subpart
 * (Unicode 3.9, table 3-8: what Python's errors="replace" and the WHATWG decoder do). *ok tells which. */
int ct_utf8_decode(const uint8_t *s, size_t n, uint32_t *cp, int *ok);
/* Encode cp (valid scalar value) into out[4]; returns its length. */
int ct_utf8_encode(uint32_t cp, uint8_t out[4]);
/* How many bytes at the end of s[0,n) are an unfinished but so far valid sequence (0-3). */
size_t ct_utf8_incomplete_tail(const uint8_t *s, size_t n);

#endif
