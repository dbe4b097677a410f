/* See direct.h. O_DIRECT on Linux, F_NOCACHE on macOS; both are set on the mapped file's own descriptor, which nothing
 * else reads from. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* Reads that bring nothing new before a file counts as one that cannot be read. */
#define MAX_IDLE 4

static long read_at(int fd, void *buf, size_t n, uint64_t offset) { return (long)pread(fd, buf, n, (off_t)offset); }

#ifdef __APPLE__
static bool past_cache(int fd) { return fcntl(fd, F_NOCACHE, 1) == 0; }
static void give_back(int fd, uint64_t offset, size_t n) { (void)fd, (void)offset, (void)n; }
#else
static bool past_cache(int fd) {
#ifdef O_DIRECT
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
#else
    return false;
#endif
}

static void give_back(int fd, uint64_t offset, size_t n) {
    (void)posix_fadvise(fd, (off_t)offset, (off_t)n, POSIX_FADV_DONTNEED);
}
#endif

int ct_direct_open(ct_direct *out, const ct_mapped_file *f, carat_error *err) {
    memset(out, 0, sizeof *out);
    memcpy(out->name, f->name, sizeof out->name);
    if (f->fd < 0) return CT_FAIL(err, CARAT_EIO, "%s: is no file", f->name);
    out->fd = f->fd;
    out->size = f->size;
    memcpy(out->changed, f->changed, sizeof out->changed);
    out->read_at = read_at;
    out->past_cache = past_cache(f->fd);
    return ct_direct_check(out, err);
}

int ct_direct_check(const ct_direct *f, carat_error *err) {
    uint64_t size;
    int64_t changed[2];
    if (!ct_file_state(f->fd, &size, changed)) return CT_FAIL(err, CARAT_EIO, "%s: %s", f->name, strerror(errno));
    if (size < f->size) {
        return CT_FAIL(err, CARAT_EIO, "%s: was cut to %llu of %llu bytes while in use", f->name, (unsigned long long)size,
                       (unsigned long long)f->size);
    }
    if (size == f->size && changed[0] == f->changed[0] && changed[1] == f->changed[1]) return 0;
    return CT_FAIL(err, CARAT_EIO, "%s: was written to while in use: open the model again", f->name);
}

int ct_direct_read(const ct_direct *f, uint64_t offset, size_t n, uint8_t *buf, carat_error *err) {
    const uint64_t lo = offset - ct_direct_skip(offset);
    const size_t want = (size_t)(offset - lo) + n, len = (want + CT_DIRECT_ALIGN - 1) & ~(CT_DIRECT_ALIGN - 1);
    size_t done = 0;
    int idle = 0;
    if (offset > f->size || n > f->size - offset) {
        return CT_FAIL(err, CARAT_EIO, "%s: %zu bytes at %llu lie beyond its end", f->name, n, (unsigned long long)offset);
    }
    while (done < want) {
        const long got = f->read_at(f->fd, buf + done, len - done, lo + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            return CT_FAIL(err, CARAT_EIO, "%s: cannot be read at %llu: %s", f->name, (unsigned long long)(lo + done), strerror(errno));
        }
        if (done + (size_t)got >= want) break;
        /* Short, but not at the end: go on from a whole block, which is read again. */
        const size_t next = (done + (size_t)got) & ~(CT_DIRECT_ALIGN - 1);
        if (next > done) {
            done = next;
            idle = 0;
        } else if (++idle == MAX_IDLE) {
            CT_TRY(ct_direct_check(f, err));
            return CT_FAIL(err, CARAT_EIO, "%s: reading stops at %llu of %llu bytes", f->name, (unsigned long long)(lo + done),
                           (unsigned long long)f->size);
        }
    }
    if (!f->past_cache) give_back(f->fd, lo, len);
    return 0;
}
