/* Reads of a file past the page cache, where the system can: what is read so is charged to nobody but the buffer it goes
 * to, and pushes nothing else out of memory. The file is the one that is mapped, whatever its name stands for by now.
 *
 * A file that was cut short or written to since it was opened is an error, never a crash and never other bytes. */
#ifndef CT_BASE_DIRECT_H
#define CT_BASE_DIRECT_H

#include "base/os.h"

/* Offsets, lengths and addresses of such reads are multiples of this. */
#define CT_DIRECT_ALIGN ((size_t)4096)

typedef long (*ct_read_fn)(int fd, void *buf, size_t n, uint64_t offset); /* as pread: bytes, 0 at the end, -1 and errno */

typedef struct {
    int fd;              /* of the mapped file, not owned */
    bool past_cache;     /* false: the file system has only buffered reads, whose pages are given back afterwards */
    uint64_t size;
    int64_t changed[2];  /* when the file was last written to, as it was mapped: seconds, nanoseconds */
    ct_read_fn read_at;  /* tests put one that fails */
    char name[CT_PATH_SHOWN + 1];
} ct_direct;

/* f must outlive *out and be open from a file (not a buffer). EIO. */
int ct_direct_open(ct_direct *out, const ct_mapped_file *f, carat_error *err);
/* Room for n bytes at any offset. */
static inline size_t ct_direct_room(size_t n) { return (n + 2 * CT_DIRECT_ALIGN - 1) & ~(CT_DIRECT_ALIGN - 1); }
/* Bytes of the buffer in front of the one at offset. */
static inline size_t ct_direct_skip(uint64_t offset) { return (size_t)(offset & (CT_DIRECT_ALIGN - 1)); }
/* Read [offset, offset + n) into buf + ct_direct_skip(offset). buf: ct_direct_room(n) bytes, aligned to CT_DIRECT_ALIGN.
 * May be called by several threads. EIO. */
int ct_direct_read(const ct_direct *f, uint64_t offset, size_t n, uint8_t *buf, carat_error *err);
/* EIO when the file is not as it was when it was mapped: to be asked after reading, before what was read is trusted. */
int ct_direct_check(const ct_direct *f, carat_error *err);

#endif
