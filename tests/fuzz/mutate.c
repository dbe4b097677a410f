/* See mutate.h. No mutation grows a file beyond twice its length plus a little, so that runs stay fast. */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

static size_t below(ct_rng *r, size_t n) { return n ? (size_t)(ct_rng_u64(r) % n) : 0; }

/* A position below n. Every other one lies near the front, where files say what they hold. */
static size_t place(ct_rng *r, size_t n) { return below(r, ct_rng_u64(r) & 1 ? n : n / 8 + 1); }

/* Replace b[at, at + drop) by p[0, n). p may point into b. */
static void replace(craft *b, size_t at, size_t drop, const void *p, size_t n) {
    craft c = {0};
    craft_bytes(&c, b->p, at);
    craft_bytes(&c, p, n);
    craft_bytes(&c, b->p + at + drop, b->n - at - drop);
    craft_free(b);
    *b = c;
}

static const uint64_t extremes[] = {
    0, 1, 2, 3, 7, 8, 31, 32, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536,
    0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x1fffffffffffffff, 0x2000000000000000, 0x3fffffffffffffff,
    0x4000000000000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffff8, 0xffffffffffffffe0,
    0xffffffffffffffff,
};
enum { N_EXTREME = sizeof extremes / sizeof extremes[0] };

static uint64_t load(const uint8_t *p, size_t w) {
    uint64_t v = 0;
    memcpy(&v, p, w);
    return v;
}

/* Put an extreme, or something near the file's size, into 1, 2, 4 or 8 bytes. */
static void put_extreme(craft *b, ct_rng *r) {
    const size_t w = (size_t)1 << below(r, 4);
    if (b->n < w) return;
    uint64_t v = extremes[below(r, N_EXTREME)];
    if (below(r, 4) == 0) v = b->n - below(r, 40);
    memcpy(b->p + place(r, b->n - w + 1), &v, w);
}

/* Find something that looks like a length (a small 8-byte or 4-byte number) and change it a little. */
static void nudge_length(craft *b, ct_rng *r) {
    const size_t w = below(r, 3) ? 8 : 4;
    if (b->n < w) return;
    size_t at = place(r, b->n - w + 1);
    for (size_t k = 0; k < 200 && at + w <= b->n; k++, at++) {
        uint64_t v = load(b->p + at, w);
        if (v > b->n) continue;
        v += below(r, 2) ? 1 : below(r, 2) ? (uint64_t)-1 : (uint64_t)below(r, 64) - 32;
        memcpy(b->p + at, &v, w);
        return;
    }
}

static void flip(craft *b, ct_rng *r) {
    for (size_t k = 1 + below(r, 4); k > 0 && b->n; k--) b->p[place(r, b->n)] ^= (uint8_t)(1u << below(r, 8));
}

static void cut(craft *b, ct_rng *r) { b->n = below(r, b->n + 1); }

static void remove_range(craft *b, ct_rng *r) {
    const size_t at = place(r, b->n), n = below(r, b->n - at < 64 ? b->n - at + 1 : 64);
    replace(b, at, n, NULL, 0);
}

/* A piece of this file once more, somewhere. */
static void duplicate(craft *b, ct_rng *r) {
    const size_t from = place(r, b->n), n = below(r, b->n - from + 1), at = place(r, b->n + 1);
    replace(b, at, 0, b->p + from, n);
}

/* A piece of another file over, or between, the bytes here. */
static void splice(craft *b, const craft *other, ct_rng *r) {
    const size_t from = below(r, other->n), n = below(r, other->n - from + 1), at = below(r, b->n + 1);
    const size_t drop = below(r, 2) ? 0 : below(r, b->n - at + 1);
    replace(b, at, drop, other->p + from, n);
}

void mutate_binary(craft *b, const craft *other, ct_rng *r) {
    for (size_t k = 1 + below(r, 4); k > 0; k--) {
        switch (below(r, 12)) {
        case 0:
        case 1: flip(b, r); break;
        case 2:
            if (below(r, 3) == 0) cut(b, r);
            break;
        case 3: remove_range(b, r); break;
        case 4: duplicate(b, r); break;
        case 5: splice(b, other, r); break;
        case 6:
        case 7:
        case 8: put_extreme(b, r); break;
        default: nudge_length(b, r); break;
        }
        if (b->n > 1 << 17) b->n = 1 << 17;
    }
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* A number of the text becomes another value. */
static void change_number(craft *b, ct_rng *r) {
    static const char *const value[] = {
        "0", "-1", "1", "3", "4", "5", "1000", "2147483647", "2147483648", "4294967296", "9223372036854775807",
        "-9223372036854775808", "18446744073709551616", "1e308", "1e999", "0.5", "-0", "3.0", "null", "true",
        "\"1\"", "[]", "{}", "[1]", "",
    };
    size_t at = below(r, b->n), end;
    while (at < b->n && !is_digit(b->p[at])) at++;
    for (end = at; end < b->n && is_digit(b->p[end]);) end++;
    const char *v = value[below(r, sizeof value / sizeof value[0])];
    replace(b, at, end - at, v, strlen(v));
}

/* [from, *end): a bracketed or quoted part, found forwards from a random place. */
static bool part(const craft *b, ct_rng *r, const char *open, size_t *from, size_t *end) {
    size_t at = below(r, b->n);
    while (at < b->n && !strchr(open, b->p[at])) at++;
    if (at >= b->n || b->p[at] == 0) return false;
    *from = at;
    if (b->p[at] == '"') {
        for (at++; at < b->n && b->p[at] != '"'; at++) at += b->p[at] == '\\';
    } else {
        for (int depth = 0; at < b->n; at++) {
            depth += b->p[at] == '{' || b->p[at] == '[';
            depth -= b->p[at] == '}' || b->p[at] == ']';
            if (depth == 0) break;
        }
    }
    *end = at < b->n ? at + 1 : b->n;
    return true;
}

/* One part takes the place of another, of this file or the other. */
static void swap_parts(craft *b, const craft *other, ct_rng *r, const char *open) {
    size_t f, e, of, oe;
    const craft *from = below(r, 3) ? b : other;
    if (!part(b, r, open, &f, &e) || !part(from, r, open, &of, &oe)) return;
    replace(b, f, e - f, from->p + of, oe - of);
}

static void drop_part(craft *b, ct_rng *r) {
    static const char *const instead[] = {"", "null", "0", "\"\"", "[]", "{}", "true"};
    size_t f, e;
    if (!part(b, r, "{[\"", &f, &e)) return;
    const char *v = instead[below(r, sizeof instead / sizeof instead[0])];
    replace(b, f, e - f, v, strlen(v));
}

/* An element or member once more, right behind itself. */
static void repeat_part(craft *b, ct_rng *r) {
    size_t f, e;
    if (!part(b, r, "{[\"", &f, &e)) return;
    craft c = {0};
    for (size_t n = 1 + below(r, 3); n > 0; n--) {
        craft_bytes(&c, ",", 1);
        craft_bytes(&c, b->p + f, e - f);
    }
    replace(b, e, 0, c.p, c.n);
    craft_free(&c);
}

void mutate_text(craft *b, const craft *other, ct_rng *r) {
    for (size_t k = 1 + below(r, 4); k > 0; k--) {
        if (b->n == 0) return;
        switch (below(r, 14)) {
        case 0: flip(b, r); break;
        case 1:
            if (below(r, 3) == 0) cut(b, r);
            break;
        case 2: remove_range(b, r); break;
        case 3:
            if (below(r, 3) == 0) splice(b, other, r);
            break;
        case 4:
        case 5:
        case 6: change_number(b, r); break;
        case 7:
        case 8: swap_parts(b, other, r, "\""); break;
        case 9: swap_parts(b, other, r, "[{"); break;
        case 10: repeat_part(b, r); break;
        default: drop_part(b, r); break;
        }
        if (b->n > 1 << 17) b->n = 1 << 17;
    }
}
