/* The operating system layer: mapped files, clock, cores, resident memory. `#if` on OS lives in os_*.c. */
#ifndef CT_BASE_OS_H
#define CT_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Most bytes of a path that a message shows: its end. */
#define CT_PATH_SHOWN 200

typedef struct {
    const uint8_t *data; /* read-only mapping; never NULL when open, even for an empty file */
    size_t size;
    uint64_t device, inode; /* identify the file (two names, one file) */
    int64_t changed[2];  /* when it was last written to, as it was mapped: seconds, nanoseconds */
    int fd;              /* of the open file, for reads that do not go through the mapping (base/direct.h); -1 for a buffer */
    char name[CT_PATH_SHOWN + 1]; /* for messages: the end of its path */
} ct_mapped_file;

/* Map a regular file read-only. Fails with EIO on anything that is not a readable regular file. */
int ct_map_file(ct_mapped_file *out, const char *path, carat_error *err);
void ct_unmap_file(ct_mapped_file *f);
/* Size of the open file, and when it was last written to. False and errno where the system does not tell. */
bool ct_file_state(int fd, uint64_t *size, int64_t changed[2]);
/* Ask the kernel to start reading [off, off+n) of the mapping. Only a hint. */
void ct_map_prefetch(const ct_mapped_file *f, size_t off, size_t n);

/* [off, off+n) of the mapping is read in long runs again and again: read and map it in huge pages where the system can.
 * What lies within one huge page of it is taken along. Only a hint. */
void ct_map_huge(const ct_mapped_file *f, size_t off, size_t n);

/* [off, off+n) of the mapping is read here and there, in pieces of a page or a few: nothing around them is read along. Only a
 * hint. */
void ct_map_random(const ct_mapped_file *f, size_t off, size_t n);
/* Takes that back for the whole mapping. */
void ct_map_usual(const ct_mapped_file *f);

/* Pages of [off, off+n) of the file that nobody has mapped need not stay in the page cache. Only a hint. */
void ct_map_forget(const ct_mapped_file *f, size_t off, size_t n);

/* The bytes [p, p + n) of a mapping will not be read soon: this process no longer counts their whole pages as resident.
 * They stay valid (and come back from the file when read). Only a hint. */
void ct_map_release(const uint8_t *p, size_t n);

/* Zeroed anonymous memory for large tables, in huge pages where the system gives them; untouched pages cost nothing.
 * NULL when there is none. n > 0. */
void *ct_map_anonymous(size_t n);
void ct_unmap_anonymous(void *p, size_t n);

/* The end of a path, as messages show it: a long one must leave room for what is wrong with it. */
const char *ct_path_shown(const char *path);
/* Open a regular file to read it from the beginning. The caller closes *fd. EIO. */
int ct_open_file(int *fd, uint64_t *size, const char *path, carat_error *err);
/* Whole small file into memory with a final NUL (not counted in *size). EFORMAT when larger than max. Gives *out: ct_free. */
int ct_read_file(char **out, size_t *size, const char *path, size_t max, carat_error *err);

bool ct_path_is_dir(const char *path);
bool ct_path_exists(const char *path);

/* Monotonic milliseconds. */
double ct_now_ms(void);
/* Seed material that differs between runs. */
uint64_t ct_entropy(void);
/* Cores this process may use (affinity and cgroup quota respected), at least 1. */
int ct_n_cores(void);

typedef struct {
    uint64_t rss;          /* resident now, bytes: anonymous + file-backed */
    uint64_t rss_anon;     /* resident anonymous pages: what cannot be dropped and read again */
    uint64_t rss_file;     /* resident file-backed pages of this process */
    uint64_t rss_peak;     /* high-water mark of rss */
    uint64_t charged;      /* what the process's control group is charged with now: all its processes, their file cache */
    uint64_t charged_peak; /* at most, since the group was made */
} ct_mem_usage;
/* Zeroes where the OS does not tell. */
ct_mem_usage ct_memory_usage(void);
/* Bytes free for this process: the smallest of the system's available memory and, for its control group and every one above
 * it, limit - (charge - file cache). File cache counts as free because it is given back on demand; that of files this
 * process maps is among it, so what is needed of them must fit in here too. 0 = unknown. */
uint64_t ct_memory_available(void);
/* Smallest memory limit of the control group and all above it. 0 = none. */
uint64_t ct_memory_limit(void);
/* Give memory that was freed back to the system, as far as it can be. Only a hint. */
void ct_memory_trim(void);
/* Take the pages of a file out of the system's cache, so that the next read comes from the disk. Returns the bytes that stay
 * because another process has them mapped, or that cannot be told apart; 0 on any failure. Only a hint. */
uint64_t ct_file_evict(const char *path);
/* The same for [off, off+n) of a mapped file; what this process has read of it through the mapping goes too. */
uint64_t ct_map_evict(const ct_mapped_file *f, size_t off, size_t n);

#endif
