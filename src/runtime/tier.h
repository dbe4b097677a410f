/* Rows of a table that need not be in memory: the per-layer embeddings, one row a token. One interface for every place
 * the table can have:
 *   resident  in memory;             mapped  where the file is mapped: the system keeps what it likes;
 *   streamed  on disk: rows are read past the page cache into slots of recent rows, by the reader threads, while the
 *             session computes what does not need them yet;
 *   zero      nowhere: every row is zero (the ablation). */
#ifndef CT_RUNTIME_TIER_H
#define CT_RUNTIME_TIER_H

#include <pthread.h>

#include "base/direct.h"
#include "runtime/io.h"
#include "runtime/latency.h"

/* Where a table is; of the model, shared by its sessions. */
typedef struct {
    carat_place place;     /* never CARAT_PLACE_AUTO */
    const uint8_t *data;   /* row 0 where resident or mapped */
    size_t row_bytes;
    int64_t n_row;
    const ct_direct *file; /* where streamed */
    uint64_t offset;       /* of row 0 in it */
    ct_io *io;
} ct_tier_source;

typedef struct ct_tier ct_tier;

typedef struct {
    ct_io_job job;
    ct_tier *tier;
    int32_t row;       /* -1: empty */
    uint8_t state;
    uint64_t used;     /* turn of ct_tier_rows that last asked for it */
    uint64_t born;     /* turn that it was read for */
    uint64_t begun;    /* turn in which reading began: the one before, if ahead */
    double asked_ms;
} ct_tier_slot;

struct ct_tier {
    ct_tier_source src;
    int n_slot;
    uint8_t *memory;       /* [n_slot, row_bytes]; of zero: one row */
    ct_tier_slot *slot;    /* [n_slot] */
    uint16_t *slot_of;     /* [n_row] 1 + slot, 0 = none */
    int32_t *missing;      /* [n_slot] */
    uint64_t turn;
    int n_ahead;           /* rows begun for the next turn: at most n_slot / 2, so that this turn's always find slots */
    int n_reading;
    pthread_mutex_t lock;  /* over state, n_reading, err and read times, which readers write */
    pthread_cond_t done;
    carat_error err;       /* of the row that failed last */
    uint64_t reads, hits;  /* rows asked for, and of these kept from an earlier turn */
    uint64_t disk_reads, disk_bytes;
    double stall_ms;       /* waited for rows */
    ct_latency lookup;     /* of single rows: time until it was there, once it was needed */
    ct_latency disk;       /* of reads: time from asking to having */
};

enum { CT_TIER_MAX_SLOT = 65535 };

/* Bytes that a tier of n_slot rows holds, n_slot <= CT_TIER_MAX_SLOT; slots are for streamed tables only. */
size_t ct_tier_bytes(const ct_tier_source *src, int n_slot);
/* n_slot: at least twice the rows that are asked for at once. Borrows what src points to for its life. ENOMEM. */
int ct_tier_init(ct_tier *t, const ct_tier_source *src, int n_slot, carat_error *err);
void ct_tier_free(ct_tier *t);

/* These rows will be asked for next: start reading those that are not there, in the order of the file. Never waits; what slots
 * do not suffice for is left for later. Valid row numbers. */
void ct_tier_ahead(ct_tier *t, const int32_t *row, int n);
/* out[i] = row[i] in memory, valid until the next call. n <= n_slot / 2. Waits for what is being read. EIO: a row could not be
 * read; asking again reads it again. Or the file is not what it was. */
int ct_tier_rows(ct_tier *t, const int32_t *row, int n, const uint8_t **out, carat_error *err);
/* What was read so far, also ahead, and the distribution of times from asking to having. */
void ct_tier_disk(const ct_tier *t, uint64_t *reads, uint64_t *bytes, ct_latency *time);
/* Counts and times begin again at zero. Rows on their way are counted when they are there. */
void ct_tier_reset_stats(ct_tier *t);

#endif
