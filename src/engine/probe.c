/* The machine's limits, measured with threads of their own: what all of them together can read from memory, and multiply.
 * Work is handed out in small parts, so that a thread that loses its core for a moment delays at most one. */
#include <stdatomic.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/status.h"
#include "kernels/probe/probe.h"
#include "runtime/threads.h"

#define DEFAULT_BYTES (UINT64_C(512) << 20)
#define MIN_BYTES (UINT64_C(16) << 20)
#define READ_ITEM (UINT64_C(4) << 20) /* long enough for the prefetchers to be at speed nearly all the time */
#define DOT_ITEM_MS 0.1
#define TRY_MS 5.0

struct carat_probe {
    ct_pool *pool;
    int n_threads;
    uint8_t *buf;
    uint64_t bytes;                /* multiple of READ_ITEM */
    const ct_probe_reader *reader;
    const ct_probe_dot *dot;
    uint64_t n_round;              /* of dot in an item */
    _Atomic uint64_t sink;         /* takes what the probes return */
};

static void read_item(void *ud, int64_t item, int thread) {
    carat_probe *p = ud;
    (void)thread;
    atomic_fetch_add_explicit(&p->sink, p->reader->read(p->buf + (uint64_t)item * READ_ITEM, READ_ITEM), memory_order_relaxed);
}

static void dot_item(void *ud, int64_t item, int thread) {
    carat_probe *p = ud;
    (void)item, (void)thread;
    atomic_fetch_add_explicit(&p->sink, p->dot->run(p->n_round), memory_order_relaxed);
}

/* Pages have no memory until something is written. */
static void touch_item(void *ud, int64_t item, int thread) {
    carat_probe *p = ud;
    (void)thread;
    for (uint64_t i = 0; i < READ_ITEM; i += 4096) p->buf[(uint64_t)item * READ_ITEM + i] = 1;
}

double carat_probe_read(carat_probe *p, double ms) {
    const double start = ct_now_ms();
    uint64_t n = 0;
    double spent;
    do {
        ct_pool_run(p->pool, read_item, p, (int64_t)(p->bytes / READ_ITEM));
        n += p->bytes;
        spent = ct_now_ms() - start;
    } while (spent < ms);
    return (double)n / (spent * 1e-3);
}

double carat_probe_dot(carat_probe *p, double ms) {
    const double start = ct_now_ms();
    const int64_t n_item = p->n_threads * (ms > DOT_ITEM_MS ? (int64_t)(ms / DOT_ITEM_MS) : 1);
    ct_pool_run(p->pool, dot_item, p, n_item);
    return (double)n_item * (double)p->n_round * p->dot->macs / ((ct_now_ms() - start) * 1e-3);
}

/* Rounds that take about DOT_ITEM_MS. */
static uint64_t size_rounds(carat_probe *p) {
    uint64_t n = 64;
    for (;;) {
        const double start = ct_now_ms();
        atomic_fetch_add_explicit(&p->sink, p->dot->run(n), memory_order_relaxed);
        if (ct_now_ms() - start > DOT_ITEM_MS / 2 || n > UINT32_MAX) return n;
        n *= 2;
    }
}

/* Best of three turns: a moment without the processor must not decide. */
static void choose(carat_probe *p) {
    double best = -1.0;
    const ct_probe_reader *reader = NULL;
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; ct_probe_reader_at(i); i++) {
            p->reader = ct_probe_reader_at(i);
            const double x = carat_probe_read(p, TRY_MS);
            if (x > best) best = x, reader = p->reader;
        }
    }
    p->reader = reader;
    const ct_probe_dot *dot = NULL;
    uint64_t n_round = 0;
    best = -1.0;
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; ct_probe_dot_at(i); i++) {
            p->dot = ct_probe_dot_at(i);
            p->n_round = size_rounds(p);
            const double x = carat_probe_dot(p, TRY_MS);
            if (x > best) best = x, dot = p->dot, n_round = p->n_round;
        }
    }
    p->dot = dot;
    p->n_round = n_round;
}

int carat_probe_new(carat_probe **out, int32_t n_threads, uint64_t bytes, carat_error *err) {
    *out = NULL;
    if (n_threads < 0 || n_threads > 1024) return CT_FAIL(err, CARAT_EINVAL, "probe: %d threads, expected 0 to 1024", n_threads);
    if (bytes == 0) bytes = DEFAULT_BYTES;
    if (bytes < MIN_BYTES || bytes > SIZE_MAX) {
        return CT_FAIL(err, CARAT_EINVAL, "probe: buffer of %llu bytes, expected at least %llu", (unsigned long long)bytes,
                       (unsigned long long)MIN_BYTES);
    }
    carat_probe *p = ct_alloc(sizeof *p);
    if (!p) return CT_FAIL(err, CARAT_ENOMEM, "probe: out of memory");
    p->n_threads = n_threads ? n_threads : ct_n_cores();
    p->bytes = bytes / READ_ITEM * READ_ITEM;
    p->buf = ct_map_anonymous((size_t)p->bytes);
    int rc = p->buf ? 0 : CT_FAIL(err, CARAT_ENOMEM, "probe: no memory for %llu MiB", (unsigned long long)(p->bytes >> 20));
    if (!rc) rc = ct_pool_new(&p->pool, p->n_threads, err);
    if (rc) {
        carat_probe_free(&p);
        return rc;
    }
    ct_pool_run(p->pool, touch_item, p, (int64_t)(p->bytes / READ_ITEM));
    choose(p);
    *out = p;
    return 0;
}

void carat_probe_get_info(const carat_probe *p, carat_probe_info *out) {
    *out = (carat_probe_info){p->n_threads, p->bytes, p->reader->name, p->dot->name};
}

void carat_probe_free(carat_probe **pp) {
    carat_probe *p = *pp;
    if (!p) return;
    ct_pool_free(&p->pool);
    if (p->buf) ct_unmap_anonymous(p->buf, (size_t)p->bytes);
    ct_free(p);
    *pp = NULL;
}
