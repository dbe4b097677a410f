#include "runtime/kv.h"

#include <string.h>

#include "base/mem.h"
#include "base/os.h"

static int64_t whole_tiles(int64_t n) { return (n + CT_KV_TILE - 1) / CT_KV_TILE * CT_KV_TILE; }

/* Rows of a tile take whole vectors. */
static uint64_t tile_bytes(const ct_kv_geometry *g, ct_dtype type) {
    return (uint64_t)CT_KV_TILE * ct_dtype_row_bytes(type, whole_tiles(g->d_head));
}

/* Of K or of V. */
static uint64_t store_bytes(const ct_kv_geometry *g, ct_dtype type) {
    return (uint64_t)(whole_tiles(g->cap) / CT_KV_TILE) * (uint64_t)g->n_head_kv * tile_bytes(g, type);
}

/* Arrays that attention reads at the speed of memory get huge pages: their translations would not fit the processor's. The
 * small ones, of which few pages may ever be touched, do not. */
#define HUGE_FROM ((size_t)16 << 20)

static void *reserve(size_t n) { return n >= HUGE_FROM ? ct_map_anonymous(n) : ct_alloc(n); }

static void release(void *p, size_t n) {
    if (n >= HUGE_FROM) {
        ct_unmap_anonymous(p, n);
    } else {
        ct_free(p);
    }
}

uint64_t ct_kv_bytes(const ct_kv_geometry *g, int n, ct_dtype type) {
    uint64_t total = 0;
    for (int i = 0; i < n; i++) total += 2 * store_bytes(&g[i], type);
    return total;
}

int ct_kv_init(ct_kv *kv, const ct_kv_geometry *g, int n, ct_dtype type, carat_error *err) {
    memset(kv, 0, sizeof *kv);
    const uint64_t total = ct_kv_bytes(g, n, type);
    if (total > SIZE_MAX) return CT_FAIL(err, CARAT_ENOMEM, "KV cache: cannot hold %llu MiB", (unsigned long long)(total >> 20));
    kv->type = type;
    kv->store = ct_alloc_array((size_t)n, sizeof *kv->store);
    if (!kv->store) return CT_FAIL(err, CARAT_ENOMEM, "KV cache: out of memory");
    kv->n_store = n;
    kv->bytes = (size_t)total;
    for (int i = 0; i < n; i++) {
        ct_kv_store *s = &kv->store[i];
        s->n_head_kv = g[i].n_head_kv;
        s->d_head = g[i].d_head;
        s->cap = whole_tiles(g[i].cap);
        s->tile_bytes = (size_t)tile_bytes(&g[i], type);
        s->bytes = (size_t)store_bytes(&g[i], type);
        s->k = reserve(s->bytes);
        s->v = reserve(s->bytes);
        if (!s->k || !s->v) {
            ct_kv_free(kv);
            return CT_FAIL(err, CARAT_ENOMEM, "KV cache: no memory for %llu MiB; a smaller context needs less",
                           (unsigned long long)(total >> 20));
        }
    }
    return 0;
}

void ct_kv_free(ct_kv *kv) {
    for (int i = 0; i < kv->n_store; i++) {
        release(kv->store[i].k, kv->store[i].bytes);
        release(kv->store[i].v, kv->store[i].bytes);
    }
    ct_free(kv->store);
    memset(kv, 0, sizeof *kv);
}

void ct_kv_advance(ct_kv *kv, int64_t pos, int64_t n) {
    if (pos + n > kv->n_high) kv->n_high = pos + n;
}

bool ct_kv_can_rewind(const ct_kv *kv, int64_t n, int64_t w) {
    /* Token n sees keys from n - w + 1 on. */
    const int64_t first = n - w + 1 > 0 ? n - w + 1 : 0;
    for (int i = 0; i < kv->n_store; i++) {
        if (ct_kv_first(kv, &kv->store[i]) > first) return false;
    }
    return true;
}

void ct_kv_reset(ct_kv *kv) {
    kv->n_high = 0;
    for (int i = 0; i < kv->n_store; i++) kv->store[i].low = 0;
}
