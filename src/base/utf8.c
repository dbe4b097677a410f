#include "base/utf8.h"

int ct_utf8_decode(const uint8_t *s, size_t n, uint32_t *cp, int *ok) {
    const uint8_t b = s[0];
    *ok = 1;
    if (b < 0x80) {
        *cp = b;
        return 1;
    }
    /* Table 3-7: the lead byte fixes the length and the range of the second byte. */
    int len;
    uint8_t lo = 0x80, hi = 0xbf;
    uint32_t v;
    if (b >= 0xc2 && b <= 0xdf) {
        len = 2, v = b & 0x1fu;
    } else if (b >= 0xe0 && b <= 0xef) {
        len = 3, v = b & 0x0fu;
        if (b == 0xe0) lo = 0xa0;
        if (b == 0xed) hi = 0x9f;
    } else if (b >= 0xf0 && b <= 0xf4) {
        len = 4, v = b & 0x07u;
        if (b == 0xf0) lo = 0x90;
        if (b == 0xf4) hi = 0x8f;
    } else {
        *cp = 0xfffd, *ok = 0;
        return 1;
    }
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n || s[i] < lo || s[i] > hi) {
            *cp = 0xfffd, *ok = 0;
            return i;
        }
        v = (v << 6) | (s[i] & 0x3fu);
        lo = 0x80, hi = 0xbf;
    }
    *cp = v;
    return len;
}

int ct_utf8_encode(uint32_t cp, uint8_t out[4]) {
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xc0 | (cp >> 6));
        out[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xe0 | (cp >> 12));
        out[1] = (uint8_t)(0x80 | ((cp >> 6) & 0x3f));
        out[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | (cp >> 18));
    out[1] = (uint8_t)(0x80 | ((cp >> 12) & 0x3f));
    out[2] = (uint8_t)(0x80 | ((cp >> 6) & 0x3f));
    out[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

size_t ct_utf8_incomplete_tail(const uint8_t *s, size_t n) {
    /* A lead byte at most three from the end whose sequence runs into the end without an error. */
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const uint8_t b = s[n - back];
        if (b < 0x80) return 0;
        if (b >= 0xc0) {
            const size_t len = b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : 2;
            uint32_t cp;
            int ok;
            if (len <= back) return 0;
            const int used = ct_utf8_decode(s + n - back, back, &cp, &ok);
            return !ok && (size_t)used == back && b >= 0xc2 && b <= 0xf4 ? back : 0;
        }
    }
    return 0;
}
