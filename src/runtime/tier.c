#include "runtime/tier.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

enum { EMPTY = 0, READING, READY, FAILED };

#define PAGE ((size_t)4096)

static bool streamed(const ct_tier *t) { return t->src.place == CARAT_PLACE_STREAMED; }

size_t ct_tier_bytes(const ct_tier_source *src, int n_slot) {
    if (src->place == CARAT_PLACE_ZERO) return src->row_bytes;
    if (src->place != CARAT_PLACE_STREAMED) return 0;
    return (size_t)n_slot * (src->row_bytes + sizeof(ct_tier_slot) + sizeof(int32_t)) + (size_t)src->n_row * sizeof(uint16_t);
}

int ct_tier_init(ct_tier *t, const ct_tier_source *src, int n_slot, carat_error *err) {
    memset(t, 0, sizeof *t);
    t->src = *src;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->done, NULL);
    if (src->place == CARAT_PLACE_ZERO) n_slot = 1;
    else if (!streamed(t)) return 0;
    assert(n_slot <= CT_TIER_MAX_SLOT);
    t->n_slot = n_slot;
    t->memory = ct_alloc_array((size_t)n_slot, src->row_bytes);
    if (streamed(t)) {
        t->slot = ct_alloc_array((size_t)n_slot, sizeof *t->slot);
        t->slot_of = ct_alloc_array((size_t)src->n_row, sizeof *t->slot_of);
        t->missing = ct_alloc_array((size_t)n_slot, sizeof *t->missing);
    }
    if (!t->memory || (streamed(t) && (!t->slot || !t->slot_of || !t->missing))) {
        ct_tier_free(t);
        return CT_FAIL(err, CARAT_ENOMEM, "per-layer embeddings: no memory for %d rows", n_slot);
    }
    for (int i = 0; i < n_slot && t->slot; i++) t->slot[i] = (ct_tier_slot){.tier = t, .row = -1};
    return 0;
}

void ct_tier_free(ct_tier *t) {
    if (!t->src.row_bytes) return; /* never initialised */
    pthread_mutex_lock(&t->lock); /* a reader may still write into a slot */
    while (t->n_reading > 0) pthread_cond_wait(&t->done, &t->lock);
    pthread_mutex_unlock(&t->lock);
    pthread_cond_destroy(&t->done);
    pthread_mutex_destroy(&t->lock);
    ct_free(t->memory);
    ct_free(t->slot);
    ct_free(t->slot_of);
    ct_free(t->missing);
    memset(t, 0, sizeof *t);
}

/* On a reader thread: the window of whole blocks goes through its buffer, the row into the slot. */
static void read_row(ct_io_job *job, uint8_t *buffer) {
    ct_tier_slot *s = (ct_tier_slot *)job; /* its first member */
    ct_tier *t = s->tier;
    const ct_tier_source *src = &t->src;
    const uint64_t at = src->offset + (uint64_t)s->row * src->row_bytes;
    carat_error err;
    const int rc = ct_direct_read(src->file, at, src->row_bytes, buffer, &err);
    if (!rc) memcpy(t->memory + (size_t)(s - t->slot) * src->row_bytes, buffer + ct_direct_skip(at), src->row_bytes);
    pthread_mutex_lock(&t->lock);
    s->state = rc ? FAILED : READY;
    if (rc) t->err = err;
    t->disk_reads++;
    t->disk_bytes += ct_direct_room(src->row_bytes);
    ct_latency_add(&t->disk, ct_now_ms() - s->asked_ms);
    t->n_reading--;
    pthread_cond_broadcast(&t->done);
    pthread_mutex_unlock(&t->lock);
}

/* A slot for another row: the one asked for longest ago, never one of this turn or being read. -1: none. Lock held. */
static int victim(ct_tier *t) {
    int best = -1;
    for (int i = 0; i < t->n_slot; i++) {
        const ct_tier_slot *s = &t->slot[i];
        if (s->state == EMPTY) return i;
        if (s->state == READING || s->used >= t->turn) continue;
        if (best < 0 || s->used < t->slot[best].used) best = i;
    }
    return best;
}

/* Ascending, in place. */
static void sort(int32_t *x, int n) {
    for (int gap = n / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11) {
        for (int i = gap; i < n; i++) {
            const int32_t v = x[i];
            int j = i;
            for (; j >= gap && x[j - gap] > v; j -= gap) x[j] = x[j - gap];
            x[j] = v;
        }
    }
}

/* Start reading a row into a slot; used: the turn it is for. Lock held. */
static void start(ct_tier *t, int slot, int32_t row, uint64_t used, bool urgent) {
    ct_tier_slot *s = &t->slot[slot];
    if (s->row >= 0) t->slot_of[s->row] = 0;
    *s = (ct_tier_slot){.tier = t, .row = row, .state = READING, .used = used, .born = used, .begun = t->turn, .asked_ms = ct_now_ms()};
    s->job.fn = read_row;
    t->slot_of[row] = (uint16_t)(slot + 1);
    t->n_reading++;
    ct_io_submit(t->src.io, &s->job, 0, 1, urgent);
}

/* Start reading those of the rows that are in no slot. used: the turn they are for. Lock held. */
static void start_missing(ct_tier *t, const int32_t *row, int n, uint64_t used, bool urgent) {
    int m = 0;
    for (int i = 0; i < n && m < t->n_slot; i++) {
        if (t->slot_of[row[i]]) {
            if (used == t->turn) t->slot[t->slot_of[row[i]] - 1].used = used; /* nothing may push it out any more */
        } else {
            t->missing[m++] = row[i];
        }
    }
    sort(t->missing, m);
    for (int i = 0; i < m; i++) {
        if (t->slot_of[t->missing[i]]) continue; /* twice in the list */
        const int s = victim(t);
        if (s < 0) return;
        start(t, s, t->missing[i], used, urgent);
        t->n_ahead += used > t->turn;
    }
}

void ct_tier_ahead(ct_tier *t, const int32_t *row, int n) {
    if (!streamed(t)) return;
    pthread_mutex_lock(&t->lock);
    const int most = t->n_slot / 2 - t->n_ahead;
    start_missing(t, row, n < most ? n : most, t->turn + 1, false);
    pthread_mutex_unlock(&t->lock);
}

/* The row's slot, once it has been read. Lock held; waiting lets go of it. NULL: it could not be read. */
static ct_tier_slot *wait_row(ct_tier *t, int32_t row) {
    for (;;) {
        ct_tier_slot *s = t->slot_of[row] ? &t->slot[t->slot_of[row] - 1] : NULL;
        if (!s) {
            const int free_slot = victim(t);
            if (free_slot >= 0) {
                start(t, free_slot, row, t->turn, true);
                continue;
            }
        } else if (s->state != READING) {
            if (s->state == READY) return s;
            if (s->begun < t->turn) { /* it failed ahead, or for an earlier call: try again */
                start(t, (int)(s - t->slot), row, t->turn, true);
                continue;
            }
            t->slot_of[row] = 0;
            *s = (ct_tier_slot){.tier = t, .row = -1};
            return NULL;
        } else {
            ct_io_hurry(t->src.io, &s->job);
        }
        pthread_cond_wait(&t->done, &t->lock);
    }
}

static int rows_streamed(ct_tier *t, const int32_t *row, int n, const uint8_t **out, carat_error *err) {
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    t->turn++;
    t->n_ahead = 0;
    start_missing(t, row, n, t->turn, true);
    for (int i = 0; i < n && !rc; i++) {
        ct_tier_slot *s = wait_row(t, row[i]);
        if (!s) {
            rc = CT_FAIL(err, CARAT_EIO, "%s", t->err.msg);
        } else {
            s->used = t->turn;
            t->hits += s->born < t->turn;
            out[i] = t->memory + (size_t)(s - t->slot) * t->src.row_bytes;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return rc ? rc : ct_direct_check(t->src.file, err); /* asked when all that was read is there */
}

void ct_tier_disk(const ct_tier *t, uint64_t *reads, uint64_t *bytes, ct_latency *time) {
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&t->lock;
    if (streamed(t)) pthread_mutex_lock(lock); /* rows may be on their way */
    *reads = t->disk_reads;
    *bytes = t->disk_bytes;
    *time = t->disk;
    if (streamed(t)) pthread_mutex_unlock(lock);
}

void ct_tier_reset_stats(ct_tier *t) {
    if (!t->src.row_bytes) return; /* never initialised */
    pthread_mutex_lock(&t->lock);
    t->reads = t->hits = t->disk_reads = t->disk_bytes = 0;
    t->stall_ms = 0.0;
    memset(&t->lookup, 0, sizeof t->lookup);
    memset(&t->disk, 0, sizeof t->disk);
    pthread_mutex_unlock(&t->lock);
}

/* Rows where they lie. Reading a byte of each page makes a mapped one come now, where its time is measured. */
static void rows_in_place(const ct_tier *t, const int32_t *row, int n, const uint8_t **out) {
    const ct_tier_source *src = &t->src;
    for (int i = 0; i < n; i++) {
        const uint8_t *p = src->place == CARAT_PLACE_ZERO ? t->memory : src->data + (size_t)row[i] * src->row_bytes;
        for (size_t at = 0; at < src->row_bytes; at += PAGE) (void)*(const volatile uint8_t *)(p + at);
        (void)*(const volatile uint8_t *)(p + src->row_bytes - 1);
        out[i] = p;
    }
}

int ct_tier_rows(ct_tier *t, const int32_t *row, int n, const uint8_t **out, carat_error *err) {
    const double from = ct_now_ms();
    int rc = 0;
    if (streamed(t)) {
        rc = rows_streamed(t, row, n, out, err);
    } else {
        rows_in_place(t, row, n, out);
    }
    const double ms = ct_now_ms() - from;
    t->reads += (uint64_t)n;
    t->stall_ms += ms;
    if (n == 1) ct_latency_add(&t->lookup, ms);
    return rc;
}
