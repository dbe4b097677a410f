#include "runtime/io.h"

#include <pthread.h>
#include <string.h>

#include "base/direct.h"
#include "base/mem.h"

enum { NO_QUEUE = 0, LIKELY = 1, URGENT = 2, N_QUEUE };

typedef struct {
    ct_io *io;
    uint8_t *buffer;
    pthread_t thread;
} reader;

struct ct_io {
    pthread_mutex_t lock;
    pthread_cond_t work;
    ct_io_job *first[N_QUEUE], *last[N_QUEUE];
    bool stop;
    reader *reader;
    int n_started;
    uint8_t *memory;
    size_t bytes;
};

static void put(ct_io *io, ct_io_job *job, uint8_t queue) {
    job->queue = queue;
    job->next = NULL;
    job->prev = io->last[queue];
    *(job->prev ? &job->prev->next : &io->first[queue]) = job;
    io->last[queue] = job;
}

static void take(ct_io *io, ct_io_job *job) {
    *(job->prev ? &job->prev->next : &io->first[job->queue]) = job->next;
    *(job->next ? &job->next->prev : &io->last[job->queue]) = job->prev;
    job->queue = NO_QUEUE;
}

static void *run_reader(void *ud) {
    reader *r = ud;
    ct_io *io = r->io;
    pthread_mutex_lock(&io->lock);
    for (;;) {
        ct_io_job *job = io->first[URGENT] ? io->first[URGENT] : io->first[LIKELY];
        if (io->stop) break;
        if (!job) {
            pthread_cond_wait(&io->work, &io->lock);
            continue;
        }
        take(io, job);
        pthread_mutex_unlock(&io->lock);
        job->fn(job, r->buffer);
        pthread_mutex_lock(&io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

static size_t room(size_t n) { return (n + CT_DIRECT_ALIGN - 1) & ~(CT_DIRECT_ALIGN - 1); }

size_t ct_io_bytes(int n_reader, size_t buffer_bytes) { return sizeof(ct_io) + (size_t)n_reader * (sizeof(reader) + room(buffer_bytes)); }

int ct_io_new(ct_io **out, int n_reader, size_t buffer_bytes, carat_error *err) {
    ct_io *io = *out = ct_alloc(sizeof *io);
    if (!io) return CT_FAIL(err, CARAT_ENOMEM, "reader threads: out of memory");
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->work, NULL);
    io->bytes = (size_t)n_reader * room(buffer_bytes);
    io->memory = io->bytes ? ct_map_anonymous(io->bytes) : NULL; /* whole pages: aligned for direct reads */
    io->reader = ct_alloc_array((size_t)n_reader, sizeof *io->reader);
    if ((io->bytes && !io->memory) || !io->reader) {
        ct_io_free(out);
        return CT_FAIL(err, CARAT_ENOMEM, "reader threads: no memory for their buffers of %zu KiB", buffer_bytes >> 10);
    }
    for (int i = 0; i < n_reader; i++) {
        reader *r = &io->reader[i];
        *r = (reader){.io = io, .buffer = io->memory ? io->memory + (size_t)i * room(buffer_bytes) : NULL};
        if (pthread_create(&r->thread, NULL, run_reader, r) != 0) break;
        io->n_started++;
    }
    if (io->n_started > 0) return 0; /* fewer threads than asked for only read more slowly */
    ct_io_free(out);
    return CT_FAIL(err, CARAT_ENOMEM, "reader threads: none could be started");
}

void ct_io_free(ct_io **p) {
    ct_io *io = *p;
    if (!io) return;
    pthread_mutex_lock(&io->lock);
    io->stop = true;
    pthread_cond_broadcast(&io->work);
    pthread_mutex_unlock(&io->lock);
    for (int i = 0; i < io->n_started; i++) pthread_join(io->reader[i].thread, NULL);
    pthread_cond_destroy(&io->work);
    pthread_mutex_destroy(&io->lock);
    ct_unmap_anonymous(io->memory, io->bytes);
    ct_free(io->reader);
    ct_free(io);
    *p = NULL;
}

static ct_io_job *job_at(ct_io_job *first, size_t stride, int i) { return (ct_io_job *)((char *)first + (size_t)i * stride); }

void ct_io_submit(ct_io *io, ct_io_job *first, size_t stride, int n, bool urgent) {
    pthread_mutex_lock(&io->lock);
    for (int i = 0; i < n; i++) put(io, job_at(first, stride, i), urgent ? URGENT : LIKELY);
    if (n == 1) pthread_cond_signal(&io->work);
    else pthread_cond_broadcast(&io->work); /* one call for all: waking readers one by one keeps the caller from computing */
    pthread_mutex_unlock(&io->lock);
}

bool ct_io_cancel(ct_io *io, ct_io_job *first, size_t stride, int n) {
    bool queued = true;
    pthread_mutex_lock(&io->lock);
    for (int i = 0; i < n; i++) queued = queued && job_at(first, stride, i)->queue != NO_QUEUE;
    for (int i = 0; i < n && queued; i++) take(io, job_at(first, stride, i));
    pthread_mutex_unlock(&io->lock);
    return queued;
}

void ct_io_hurry(ct_io *io, ct_io_job *job) {
    pthread_mutex_lock(&io->lock);
    if (job->queue == LIKELY) {
        take(io, job);
        put(io, job, URGENT);
    }
    pthread_mutex_unlock(&io->lock);
}
