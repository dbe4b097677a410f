#include "runtime/experts.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "runtime/cache.h"

/* Bytes of one read: enough for the disk to be at its speed, few enough for all readers to share a layer's experts. */
#define READ_BYTES ((size_t)2 << 20)

/* Below this share of hits guesses cost the disk more than they save; one list in GUESS_TRY is followed all the same, to see. Its
 * memory is GUESS_MEMORY experts. */
#define GUESS_LEAST 0.4f
enum { GUESS_TRY = 32, GUESS_MEMORY = 256 };

enum { EMPTY = 0, READING, READY, FAILED };
/* Of an expert of a use: not given yet; given; not given yet, and its read was begun by another. */
enum { OWN = 0, GIVEN, JOINED };

typedef struct {
    ct_io_job io;
    ct_experts *t;
    int32_t slot;
    int part;
    int64_t row0, n_row; /* of a part that is laid out; else bytes [row0, row0 + n_row) of its window in the file */
} read_job;

typedef struct {
    int32_t layer, expert;
    uint8_t state;
    bool hinted, guess;  /* nobody has asked for it yet; and perhaps nobody will */
    int n_left;          /* jobs */
    int rc;
} slot_state;

struct ct_experts {
    ct_experts_opts o;
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* a slot was read, or let go of */
    ct_cache cache;
    void *cache_memory;
    slot_state *slot;         /* [n_slot] */
    read_job *job;            /* [n_slot, jobs_per_slot] */
    int jobs_per_slot;
    size_t part_at[CT_EXPERT_PARTS]; /* in a slot */
    size_t slot_bytes;
    uint8_t *memory;          /* [n_slot, slot_bytes] */
    size_t memory_bytes;
    int n_hinting;            /* slots being read for hints */
    float guess_worth;        /* share of guessed experts that were needed, of the last ones */
    uint32_t n_passed;        /* guesses passed over */
    int n_reading;
    carat_error err;          /* of the read that failed last */
    _Atomic uint64_t loads;
};

/* ---- sizes ---- */

static size_t room(const ct_expert_part *p) {
    return p->lay ? (p->slot_bytes + CT_DIRECT_ALIGN - 1) & ~(CT_DIRECT_ALIGN - 1) : ct_direct_room(p->slot_bytes);
}

/* Most of all layers, whose types may differ. */
static size_t part_room(const ct_expert_layer *layer, int n_layer, int p) {
    size_t most = 0;
    for (int il = 0; il < n_layer; il++) most = room(&layer[il].part[p]) > most ? room(&layer[il].part[p]) : most;
    return most;
}

size_t ct_experts_slot_bytes(const ct_expert_layer *layer, int n_layer) {
    size_t n = 0;
    for (int p = 0; p < CT_EXPERT_PARTS; p++) n += part_room(layer, n_layer, p);
    return n;
}

/* Rows of a part that one job reads. */
static int64_t rows_of_job(const ct_expert_part *p, int grain) {
    const int64_t n = (int64_t)(READ_BYTES / p->row_bytes) / grain * grain;
    return n > grain ? n : grain;
}

static int n_jobs(const ct_expert_part *p, int grain) {
    if (p->lay) return (int)((p->n_row + rows_of_job(p, grain) - 1) / rows_of_job(p, grain));
    return (int)((ct_direct_room((size_t)p->n_row * p->row_bytes) + READ_BYTES - 1) / READ_BYTES);
}

static int jobs_of_slot(const ct_expert_layer *layer, int n_layer, int grain) {
    int most = 0;
    for (int il = 0; il < n_layer; il++) {
        int n = 0;
        for (int p = 0; p < CT_EXPERT_PARTS; p++) n += n_jobs(&layer[il].part[p], grain);
        most = n > most ? n : most;
    }
    return most;
}

size_t ct_experts_buffer(const ct_expert_layer *layer, int n_layer, int grain) {
    size_t most = 0;
    for (int i = 0; i < n_layer * CT_EXPERT_PARTS; i++) {
        const ct_expert_part *p = &layer[i / CT_EXPERT_PARTS].part[i % CT_EXPERT_PARTS];
        if (!p->lay) continue;
        const int64_t n = rows_of_job(p, grain) < p->n_row ? rows_of_job(p, grain) : p->n_row;
        const size_t bytes = ct_direct_room((size_t)n * p->row_bytes);
        most = bytes > most ? bytes : most;
    }
    return most;
}

size_t ct_experts_bytes(const ct_experts_opts *o) {
    const size_t n = (size_t)o->n_slot;
    const size_t jobs = (size_t)jobs_of_slot(o->layer, o->n_layer, o->grain) * sizeof(read_job);
    return sizeof(ct_experts) + n * (ct_experts_slot_bytes(o->layer, o->n_layer) + sizeof(slot_state) + jobs) +
           ct_cache_bytes(o->n_slot, o->n_layer, o->n_expert);
}

/* ---- life ---- */

int ct_experts_new(ct_experts **out, const ct_experts_opts *o, carat_error *err) {
    ct_experts *t = *out = ct_alloc(sizeof *t);
    if (!t) return CT_FAIL(err, CARAT_ENOMEM, "expert cache: out of memory");
    t->o = *o;
    t->guess_worth = GUESS_LEAST;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    for (int p = 0; p < CT_EXPERT_PARTS; p++) {
        t->part_at[p] = t->slot_bytes;
        t->slot_bytes += part_room(o->layer, o->n_layer, p);
    }
    t->jobs_per_slot = jobs_of_slot(o->layer, o->n_layer, o->grain);
    t->memory_bytes = t->slot_bytes * (size_t)o->n_slot;
    t->memory = ct_map_anonymous(t->memory_bytes);
    t->slot = ct_alloc_array((size_t)o->n_slot, sizeof *t->slot);
    t->job = ct_alloc_array((size_t)o->n_slot * (size_t)t->jobs_per_slot, sizeof *t->job);
    t->cache_memory = ct_alloc(ct_cache_bytes(o->n_slot, o->n_layer, o->n_expert));
    if (!t->memory || !t->slot || !t->job || !t->cache_memory) {
        ct_experts_free(out);
        return CT_FAIL(err, CARAT_ENOMEM, "expert cache: no memory for %d experts", o->n_slot);
    }
    ct_cache_init(&t->cache, t->cache_memory, o->n_slot, o->n_layer, o->n_expert, o->half_life);
    return 0;
}

void ct_experts_free(ct_experts **tp) {
    ct_experts *t = *tp;
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    while (t->n_reading > 0) pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    ct_unmap_anonymous(t->memory, t->memory_bytes);
    ct_free(t->slot);
    ct_free(t->job);
    ct_free(t->cache_memory);
    ct_free(t);
    *tp = NULL;
}

int ct_experts_n_slot(const ct_experts *t) { return t->o.n_slot; }
uint64_t ct_experts_loads(const ct_experts *t) { return atomic_load_explicit(&t->loads, memory_order_relaxed); }

/* ---- reading ---- */

static uint64_t file_offset(const ct_expert_part *p, int32_t expert) { return p->offset + (uint64_t)expert * p->stride; }

static uint64_t expert_bytes(const ct_experts *t, int layer) {
    uint64_t n = 0;
    for (int p = 0; p < CT_EXPERT_PARTS; p++) n += (uint64_t)t->o.layer[layer].part[p].n_row * t->o.layer[layer].part[p].row_bytes;
    return n;
}

/* Of a laid-out part: through the reader's buffer. Others: straight into the slot, the window of whole blocks, in pieces that
 * begin at whole blocks of the file. */
static int read_part(const ct_experts *t, const read_job *j, uint8_t *buffer, carat_error *err) {
    const slot_state *s = &t->slot[j->slot];
    const ct_expert_part *p = &t->o.layer[s->layer].part[j->part];
    uint8_t *dst = t->memory + (size_t)j->slot * t->slot_bytes + t->part_at[j->part];
    const uint64_t at = file_offset(p, s->expert);
    if (p->lay) {
        const uint64_t from = at + (uint64_t)j->row0 * p->row_bytes;
        CT_TRY(ct_direct_read(p->file, from, (size_t)j->n_row * p->row_bytes, buffer, err));
        t->o.lay(p, j->row0, j->n_row, buffer + ct_direct_skip(from), dst);
        return 0;
    }
    const size_t skip = ct_direct_skip(at), end = skip + (size_t)p->n_row * p->row_bytes; /* in the window */
    const size_t lo = (size_t)j->row0, hi = (size_t)(j->row0 + j->n_row) < end ? (size_t)(j->row0 + j->n_row) : end;
    return ct_direct_read(p->file, at - skip + lo, hi - lo, dst + lo, err);
}

/* Lock held. Whoever lets go last of what could not be read makes the slot free for another try. */
static void let_go(ct_experts *t, int32_t slot) {
    if (t->slot[slot].state == FAILED && t->cache.n_pin[slot] == 1) {
        ct_cache_drop(&t->cache, slot);
        t->slot[slot].state = EMPTY;
    } else {
        ct_cache_unpin(&t->cache, slot);
    }
}

/* The slot's last job is done. Lock held. */
static void finish(ct_experts *t, int32_t slot) {
    slot_state *s = &t->slot[slot];
    s->state = s->rc ? FAILED : READY;
    t->n_hinting -= s->hinted;
    t->n_reading--;
    let_go(t, slot);
    pthread_cond_broadcast(&t->changed);
}

static void run_job(ct_io_job *job, uint8_t *buffer) {
    read_job *j = (read_job *)job; /* its first member */
    ct_experts *t = j->t;
    slot_state *s = &t->slot[j->slot];
    carat_error err;
    const int rc = read_part(t, j, buffer, &err);
    pthread_mutex_lock(&t->lock);
    if (rc) {
        s->rc = rc;
        t->err = err;
    }
    if (--s->n_left == 0) finish(t, j->slot);
    pthread_mutex_unlock(&t->lock);
}

/* Fill a slot that was just taken for the expert; its pin is gone when it has been read. Lock held. Returns bytes to be read. */
static uint64_t start(ct_experts *t, int32_t slot, int layer, int32_t expert, bool hinted) {
    slot_state *s = &t->slot[slot];
    int n = 0;
    if (s->guess) t->guess_worth -= t->guess_worth / GUESS_MEMORY; /* what was there was never needed */
    *s = (slot_state){.layer = layer, .expert = expert, .state = READING, .hinted = hinted};
    read_job *job = t->job + (size_t)slot * (size_t)t->jobs_per_slot;
    for (int p = 0; p < CT_EXPERT_PARTS; p++) {
        const ct_expert_part *part = &t->o.layer[layer].part[p];
        const int64_t all = part->lay ? part->n_row
                                      : (int64_t)(ct_direct_skip(file_offset(part, expert)) + (size_t)part->n_row * part->row_bytes);
        const int64_t step = part->lay ? rows_of_job(part, t->o.grain) : (int64_t)READ_BYTES;
        for (int64_t at = 0; at < all; at += step) {
            job[n++] = (read_job){.io = {.fn = run_job}, .t = t, .slot = slot, .part = p, .row0 = at,
                                  .n_row = all - at < step ? all - at : step};
        }
    }
    assert(n <= t->jobs_per_slot);
    s->n_left = n;
    t->n_reading++;
    t->n_hinting += hinted;
    atomic_fetch_add_explicit(&t->loads, 1, memory_order_relaxed);
    ct_io_submit(t->o.io, &job->io, sizeof *job, n, !hinted);
    return expert_bytes(t, layer);
}

/* ---- use ---- */

/* Where the experts of the use are in the cache, or on their way. Is there a slot for each of the others? Lock held. */
static bool find_slots(const ct_experts *t, const ct_expert_use *u) {
    int n_absent = 0, n_free = 0, n_present = 0;
    for (int i = 0; i < u->n; i++) {
        u->slot[i] = ct_cache_find(&t->cache, ct_cache_key(&t->cache, u->layer, u->expert[i]));
        if (u->slot[i] < 0) n_absent++;
        else n_present += t->cache.n_pin[u->slot[i]] == 0; /* free, but about to be pinned */
    }
    for (int32_t s = 0; s < t->o.n_slot && n_free < n_absent + n_present; s++) n_free += t->cache.n_pin[s] == 0;
    return n_free >= n_absent + n_present;
}

/* Read expert i of the use, which has its slot pinned, into that once more. Lock held. */
static void read_again(ct_experts *t, ct_expert_use *u, int i) {
    ct_cache_pin(&t->cache, u->slot[i]);
    u->given[i] = OWN;
    u->stats->misses++;
    u->stats->read_bytes += start(t, u->slot[i], u->layer, u->expert[i], false);
}

/* Pin expert i of the use, which is in the cache or on its way. Lock held. */
static void pin_present(ct_experts *t, ct_expert_use *u, int i) {
    const int32_t slot = u->slot[i];
    slot_state *s = &t->slot[slot];
    ct_cache_pin(&t->cache, slot);
    if (s->state == FAILED) { /* who asked then has not let go yet: it was not this use that failed */
        read_again(t, u, i);
        return;
    }
    u->given[i] = s->state == READING ? JOINED : OWN;
    u->stats->hits++;
    if (s->hinted) {
        if (s->guess) t->guess_worth += (1.0f - t->guess_worth) / GUESS_MEMORY;
        s->hinted = s->guess = false;
        u->stats->hint_hits++;
        t->n_hinting -= s->state == READING;
    }
    read_job *job = t->job + (size_t)slot * (size_t)t->jobs_per_slot;
    for (int k = 0; s->state == READING && k < t->jobs_per_slot && job[k].t; k++) ct_io_hurry(t->o.io, &job[k].io);
}

/* Read expert i of the use, which is in no slot, into one that is free. Lock held. */
static void read_absent(ct_experts *t, ct_expert_use *u, int i) {
    const int32_t slot = u->slot[i] = ct_cache_take(&t->cache, ct_cache_key(&t->cache, u->layer, u->expert[i]));
    assert(slot >= 0);
    u->stats->misses++;
    u->stats->read_bytes += start(t, slot, u->layer, u->expert[i], false);
    ct_cache_pin(&t->cache, slot);
}

void ct_experts_enter(ct_experts *t, int layer, int n_tok, const int32_t *expert, const int32_t *weight, int n) {
    pthread_mutex_lock(&t->lock);
    ct_cache_enter(&t->cache, layer, n_tok);
    for (int i = 0; i < n; i++) ct_cache_use(&t->cache, ct_cache_key(&t->cache, layer, expert[i]), weight[i]);
    pthread_mutex_unlock(&t->lock);
}

/* Guesses for the layer that has come, of experts it does not want: what no reader has begun need not be read. Lock held. */
static void drop_guesses(ct_experts *t, const ct_expert_use *u) {
    for (int32_t slot = 0; slot < t->o.n_slot && t->n_hinting > 0; slot++) {
        slot_state *s = &t->slot[slot];
        if (s->state != READING || !s->guess || s->layer != u->layer) continue;
        read_job *job = t->job + (size_t)slot * (size_t)t->jobs_per_slot;
        if (!ct_io_cancel(t->o.io, &job->io, sizeof *job, s->n_left)) continue;
        u->stats->read_bytes -= expert_bytes(t, s->layer); /* counted when it was guessed */
        s->rc = CARAT_ECANCEL;
        finish(t, slot);
    }
}

void ct_experts_begin(ct_experts *t, ct_expert_use *u, int layer, int n) {
    assert(n <= t->o.n_slot / 2);
    u->layer = layer;
    u->n = n;
    u->n_given = 0;
    memset(u->given, 0, (size_t)n);
    pthread_mutex_lock(&t->lock);
    /* All or nothing: who waits for others to let go holds no slot and has begun no read that would push out theirs. */
    while (!find_slots(t, u)) pthread_cond_wait(&t->changed, &t->lock);
    for (int i = 0; i < n; i++) {
        if (u->slot[i] >= 0) pin_present(t, u, i); /* before any slot is taken: these are the first victims */
    }
    drop_guesses(t, u);
    for (int i = 0; i < n; i++) {
        if (u->slot[i] < 0) read_absent(t, u, i);
    }
    pthread_mutex_unlock(&t->lock);
}

/* Are the files still what they were? Asked once all that was read of them is there. */
static int check_files(const ct_experts *t, int layer, carat_error *err) {
    for (int p = 0; p < CT_EXPERT_PARTS; p++) {
        const ct_direct *f = t->o.layer[layer].part[p].file;
        if (p == 0 || f != t->o.layer[layer].part[p - 1].file) CT_TRY(ct_direct_check(f, err));
    }
    return 0;
}

int ct_experts_next(ct_experts *t, ct_expert_use *u, bool wait, carat_error *err) {
    if (u->n_given == u->n) return u->n;
    int found = -1;
    double from = 0.0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        for (int i = 0; i < u->n && found == -1; i++) {
            const slot_state *s = &t->slot[u->slot[i]];
            if (u->given[i] == GIVEN || s->state == READING) continue;
            if (s->state == FAILED && u->given[i] == JOINED) { /* begun before this use asked: that proves nothing for it */
                u->stats->hits--;
                read_again(t, u, i);
                continue;
            }
            found = s->state == READY ? i : -2;
        }
        if (found != -1 || !wait) break;
        if (from == 0.0) from = ct_now_ms();
        pthread_cond_wait(&t->changed, &t->lock);
    }
    if (found == -2) (void)CT_FAIL(err, CARAT_EIO, "%s", t->err.msg);
    pthread_mutex_unlock(&t->lock);
    if (from > 0.0) u->stats->stall_ms += ct_now_ms() - from;
    if (found < 0) return found;
    if (u->n_given + 1 == u->n && check_files(t, u->layer, err)) return -2;
    u->given[found] = GIVEN;
    u->n_given++;
    return found;
}

const uint8_t *ct_experts_data(const ct_experts *t, const ct_expert_use *u, int i, int p) {
    const ct_expert_part *part = &t->o.layer[u->layer].part[p];
    return t->memory + (size_t)u->slot[i] * t->slot_bytes + t->part_at[p] +
           (part->lay ? 0 : ct_direct_skip(file_offset(part, u->expert[i])));
}

void ct_experts_end(ct_experts *t, ct_expert_use *u) {
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < u->n; i++) {
        let_go(t, u->slot[i]);
    }
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    u->n = 0;
}

void ct_experts_hint(ct_experts *t, int layer, const int32_t *expert, int n, bool sure, carat_expert_stats *stats) {
    pthread_mutex_lock(&t->lock);
    if (!sure && t->guess_worth < GUESS_LEAST && ++t->n_passed % GUESS_TRY) n = 0;
    for (int i = 0; i < n && t->n_hinting < t->o.n_slot / 4; i++) {
        const int32_t key = ct_cache_key(&t->cache, layer, expert[i]);
        if (ct_cache_find(&t->cache, key) >= 0) continue;
        const int32_t slot = ct_cache_take(&t->cache, key);
        if (slot < 0) break;
        stats->hinted++;
        stats->read_bytes += start(t, slot, layer, expert[i], true);
        t->slot[slot].guess = !sure;
    }
    pthread_mutex_unlock(&t->lock);
}
