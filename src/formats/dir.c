/* Name index and overlap check of tensor directories. See dir.h.
 * The index stores the hash beside the name, so that growing and most misses touch no string. */
#include "formats/dir.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"

struct ct_name_slot {
    const char *name; /* NULL = free */
    size_t len, at;
    uint64_t hash;
};

/* Multiply-xorshift over eight bytes at a time; the length goes in first so that zero padding is harmless. */
static uint64_t hash_name(uint64_t seed, const char *s, size_t n) {
    uint64_t h = seed ^ (n * 0x9e3779b97f4a7c15u);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = 0;
        memcpy(&w, s + i, n - i < 8 ? n - i : 8);
        h = (h ^ w) * 0xbf58476d1ce4e5b9u;
        h ^= h >> 29;
    }
    h *= 0x94d049bb133111ebu;
    return h ^ (h >> 32);
}

/* The slot that holds the name, or the free one where it belongs. n_slot > 0. */
static size_t probe(const struct ct_name_slot *slot, size_t n_slot, uint64_t h, const char *s, size_t n) {
    size_t i = (size_t)h & (n_slot - 1);
    while (slot[i].name && !(slot[i].hash == h && slot[i].len == n && memcmp(slot[i].name, s, n) == 0)) {
        i = (i + 1) & (n_slot - 1);
    }
    return i;
}

size_t ct_names_find(const ct_names *t, const char *name, size_t len) {
    if (t->n_slot == 0) return CT_NAMES_ABSENT;
    const size_t i = probe(t->slot, t->n_slot, hash_name(t->seed, name, len), name, len);
    return t->slot[i].name ? t->slot[i].at : CT_NAMES_ABSENT;
}

static bool grow(ct_names *t) {
    const size_t n_slot = t->n_slot ? t->n_slot * 2 : 64;
    struct ct_name_slot *slot = ct_alloc_array(n_slot, sizeof *slot);
    if (!slot) return false;
    for (size_t i = 0; i < t->n_slot; i++) {
        const struct ct_name_slot *s = &t->slot[i];
        if (s->name) slot[probe(slot, n_slot, s->hash, s->name, s->len)] = *s;
    }
    ct_free(t->slot);
    t->slot = slot;
    t->n_slot = n_slot;
    return true;
}

bool ct_names_add(ct_names *t, const char *name, size_t len, size_t at) {
    if (t->n_slot == 0) t->seed = ct_entropy();
    if (t->n >= t->n_slot / 2 && !grow(t)) return false;
    const uint64_t h = hash_name(t->seed, name, len);
    t->slot[probe(t->slot, t->n_slot, h, name, len)] =
        (struct ct_name_slot){.name = name, .len = len, .at = at, .hash = h};
    t->n++;
    return true;
}

void ct_names_free(ct_names *t) {
    ct_free(t->slot);
    *t = (ct_names){0};
}

const char *ct_path_tail(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && strlen(path) > 160 ? slash + 1 : path;
}

static int by_place(const void *pa, const void *pb) {
    const ct_tensor *a = *(const ct_tensor *const *)pa, *b = *(const ct_tensor *const *)pb;
    if (a->file != b->file) return a->file < b->file ? -1 : 1;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes; /* empty tensors first: they overlap nothing */
}

int ct_dir_check_overlap(const ct_tensor *t, size_t n, const char *(*where)(const void *ud, int file),
                         const void *ud, carat_error *err) {
    const ct_tensor **order = ct_alloc_array(n, sizeof *order);
    if (!order) return CT_FAIL(err, CARAT_ENOMEM, "no memory to check %zu tensors", n);
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        order[i] = &t[i];
        sorted = sorted && (i == 0 || by_place(&order[i - 1], &order[i]) <= 0);
    }
    /* Most files list tensors in the order of their data; qsort may allocate on its own. */
    if (!sorted) qsort(order, n, sizeof *order, by_place);
    int rc = 0;
    for (size_t i = 1; i < n && rc == 0; i++) {
        const ct_tensor *a = order[i - 1], *b = order[i];
        if (a->file == b->file && b->offset < a->offset + a->bytes) {
            rc = CT_FAIL(err, CARAT_EFORMAT,
                         "%s: tensors %.100s and %.100s overlap: data [%" PRIu64 ",+%zu) and [%" PRIu64
                         ",+%zu)",
                         where(ud, a->file), a->name, b->name, a->offset, a->bytes, b->offset, b->bytes);
        }
    }
    ct_free(order);
    return rc;
}
