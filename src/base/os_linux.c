/* What only Linux tells: cores under affinity and cgroup quota, resident pages, memory left under a limit
 * (group.h), what of a file is cached. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/os.h"

#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/group.h"

/* Value in bytes of "Key:   123 kB" in a /proc file; 0 when absent. */
static uint64_t read_kb(const char *path, const char *key) {
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    char line[256];
    uint64_t v = 0;
    const size_t n = strlen(key);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) == 0 && line[n] == ':') {
            v = strtoull(line + n + 1, NULL, 10) * 1024;
            break;
        }
    }
    fclose(f);
    return v;
}

int ct_n_cores(void) {
    cpu_set_t set;
    /* The call fails where the kernel's mask is larger than cpu_set_t (more than 1024 processors). */
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    const int by_quota = ct_group_n_cpu("");
    if (by_quota && by_quota < n) n = by_quota;
    return n < 1 ? 1 : n;
}

ct_mem_usage ct_memory_usage(void) {
    ct_mem_usage u = {0};
    u.rss = read_kb("/proc/self/status", "VmRSS");
    u.rss_anon = read_kb("/proc/self/status", "RssAnon");
    u.rss_file = read_kb("/proc/self/status", "RssFile");
    u.rss_peak = read_kb("/proc/self/status", "VmHWM");
    const ct_group_memory g = ct_group_memory_get("");
    u.charged = g.charged;
    u.charged_peak = g.charged_peak;
    return u;
}

uint64_t ct_memory_available(void) { return ct_group_available(""); }

uint64_t ct_memory_limit(void) {
    const uint64_t limit = ct_group_memory_get("").limit;
    return limit == UINT64_MAX ? 0 : limit;
}

/* Pages of the mapping that the cache holds. A page at a time would be a call each; a mebibyte is not. */
static uint64_t count_cached(void *map, uint64_t size) {
    unsigned char seen[256];
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), run = page * sizeof seen;
    uint64_t n = 0;
    for (uint64_t at = 0; at < size; at += run) {
        const uint64_t len = size - at < run ? size - at : run;
        if (mincore((char *)map + at, (size_t)len, seen) != 0) return 0;
        for (uint64_t i = 0; i * page < len; i++) n += seen[i] & 1;
    }
    return n * page;
}

void ct_memory_trim(void) {
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

uint64_t ct_file_evict(const char *path) {
    struct stat st;
    uint64_t left = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        (void)fdatasync(fd); /* what is not written yet cannot be dropped */
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) {
            left = count_cached(map, (uint64_t)st.st_size);
            munmap(map, (size_t)st.st_size);
        }
    }
    close(fd);
    return left;
}

uint64_t ct_map_evict(const ct_mapped_file *f, size_t off, size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (f->fd < 0 || off >= f->size) return 0;
    if (n > f->size - off) n = f->size - off;
    const size_t lo = (off + page - 1) / page * page, hi = (off + n) / page * page; /* pages at the edges hold other things too */
    if (hi <= lo) return 0;
    ct_map_release(f->data + lo, hi - lo);
    (void)fdatasync(f->fd); /* what is not written yet cannot be dropped */
    ct_map_forget(f, lo, hi - lo);
    return count_cached((void *)(uintptr_t)(f->data + lo), hi - lo);
}
#else
typedef int ct_os_linux_is_empty; /* C11 forbids an empty translation unit */
#endif
