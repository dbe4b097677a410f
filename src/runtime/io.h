/* Reader threads: jobs that read from files while the session's threads compute. Two queues: what somebody waits for comes
 * first, what is only likely to be wanted comes after it, and can be moved up.
 *
 * A job is the caller's memory until its function has returned; its function says so to whom it concerns. Threads with
 * blocking reads, not io_uring: measured alike for reads of this size (docs/memory.md), and they pack what they read. */
#ifndef CT_RUNTIME_IO_H
#define CT_RUNTIME_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct ct_io ct_io;
typedef struct ct_io_job ct_io_job;

struct ct_io_job {
    void (*fn)(ct_io_job *job, uint8_t *buffer); /* buffer: the reader's own, of the size asked for, for direct reads */
    ct_io_job *prev, *next; /* in its queue */
    uint8_t queue;          /* 0 = in none */
};

/* n_reader threads with a buffer of buffer_bytes each. Gives *out: ct_io_free. ENOMEM. */
int ct_io_new(ct_io **out, int n_reader, size_t buffer_bytes, carat_error *err);
/* Waits for jobs that run; those still queued are dropped. */
void ct_io_free(ct_io **io);
/* Bytes held. */
size_t ct_io_bytes(int n_reader, size_t buffer_bytes);
/* Queue n jobs, `stride` bytes from one to the next, that are in no queue and do not run. */
void ct_io_submit(ct_io *io, ct_io_job *first, size_t stride, int n, bool urgent);
/* Take n jobs, `stride` bytes from one to the next, out of their queues, if all of them are in one; else leave them. */
bool ct_io_cancel(ct_io *io, ct_io_job *first, size_t stride, int n);
/* Somebody waits for the job now: move it up, if it still waits. */
void ct_io_hurry(ct_io *io, ct_io_job *job);

#endif
