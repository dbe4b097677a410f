/* Files, clock and entropy through POSIX. Facts that only Linux or Darwin can tell are in os_linux.c and os_darwin.c. */
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static const uint8_t empty_file[1];

const char *ct_path_shown(const char *path) {
    const size_t n = strlen(path);
    return n > CT_PATH_SHOWN ? path + n - CT_PATH_SHOWN : path;
}

#ifdef __APPLE__
#define CHANGED st_mtimespec
#else
#define CHANGED st_mtim
#endif

static void put_changed(int64_t changed[2], const struct stat *st) {
    changed[0] = (int64_t)st->CHANGED.tv_sec;
    changed[1] = (int64_t)st->CHANGED.tv_nsec;
}

bool ct_file_state(int fd, uint64_t *size, int64_t changed[2]) {
    struct stat st;
    if (fstat(fd, &st) != 0) return false;
    *size = (uint64_t)st.st_size;
    put_changed(changed, &st);
    return true;
}

static int open_regular(int *fd, struct stat *st, const char *path, carat_error *err) {
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return CT_FAIL(err, CARAT_EIO, "%s: %s", ct_path_shown(path), strerror(errno));
    if (fstat(*fd, st) != 0) {
        const int e = errno;
        close(*fd);
        return CT_FAIL(err, CARAT_EIO, "%s: %s", ct_path_shown(path), strerror(e));
    }
    if (!S_ISREG(st->st_mode)) {
        close(*fd);
        return CT_FAIL(err, CARAT_EIO, "%s: is %s, expected a regular file", ct_path_shown(path),
                       S_ISDIR(st->st_mode) ? "a folder" : "not a regular file");
    }
    return 0;
}

int ct_map_file(ct_mapped_file *out, const char *path, carat_error *err) {
    memset(out, 0, sizeof *out);
    out->fd = -1;
    int fd;
    struct stat st;
    CT_TRY(open_regular(&fd, &st, path, err));
    if ((uint64_t)st.st_size > SIZE_MAX) {
        close(fd);
        return CT_FAIL(err, CARAT_EIO, "%s: is %lld bytes, expected at most %zu", ct_path_shown(path), (long long)st.st_size, SIZE_MAX);
    }
    out->size = (size_t)st.st_size;
    out->fd = fd;
    (void)snprintf(out->name, sizeof out->name, "%s", ct_path_shown(path));
    out->device = (uint64_t)st.st_dev;
    out->inode = (uint64_t)st.st_ino;
    put_changed(out->changed, &st);
    if (st.st_size == 0) {
        out->data = empty_file;
    } else {
        void *p = mmap(NULL, out->size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            const int e = errno;
            close(fd);
            out->fd = -1;
            return CT_FAIL(err, e == ENOMEM ? CARAT_ENOMEM : CARAT_EIO, "%s: cannot map %zu bytes: %s", ct_path_shown(path),
                           out->size, strerror(e));
        }
        out->data = p;
    }
    return 0;
}

void ct_unmap_file(ct_mapped_file *f) {
    if (f->data && f->size) munmap((void *)(uintptr_t)f->data, f->size);
    if (f->data && f->fd >= 0) close(f->fd);
    memset(f, 0, sizeof *f);
    f->fd = -1;
}

void ct_map_prefetch(const ct_mapped_file *f, size_t off, size_t n) {
    if (off >= f->size) return;
    if (n > f->size - off) n = f->size - off;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t lo = off & ~(page - 1);
    (void)posix_madvise((void *)(uintptr_t)(f->data + lo), n + (off - lo), POSIX_MADV_WILLNEED);
}

void ct_map_random(const ct_mapped_file *f, size_t off, size_t n) {
    if (off >= f->size) return;
    if (n > f->size - off) n = f->size - off;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), lo = off & ~(page - 1);
    (void)posix_madvise((void *)(uintptr_t)(f->data + lo), n + (off - lo), POSIX_MADV_RANDOM);
}

void ct_map_usual(const ct_mapped_file *f) {
    if (f->size) (void)posix_madvise((void *)(uintptr_t)f->data, f->size, POSIX_MADV_NORMAL);
}

void ct_map_forget(const ct_mapped_file *f, size_t off, size_t n) {
#ifdef POSIX_FADV_DONTNEED
    if (f->fd >= 0) (void)posix_fadvise(f->fd, (off_t)off, (off_t)n, POSIX_FADV_DONTNEED);
#else
    (void)f, (void)off, (void)n;
#endif
}

void ct_map_huge(const ct_mapped_file *f, size_t off, size_t n) {
#ifdef MADV_HUGEPAGE
    const uintptr_t huge = (uintptr_t)2 << 20, begin = (uintptr_t)f->data, end = begin + f->size;
    if (off >= f->size) return;
    if (n > f->size - off) n = f->size - off;
    uintptr_t lo = (begin + off) & ~(huge - 1), hi = begin + off + n;
    hi = hi % huge ? hi - hi % huge + huge : hi;
    if (lo < begin) lo = begin;
    if (hi > end) hi = end;
    (void)madvise((void *)lo, hi - lo, MADV_HUGEPAGE);
#else
    (void)f, (void)off, (void)n;
#endif
}

void ct_map_release(const uint8_t *p, size_t n) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t lo = ((uintptr_t)p + page - 1) & ~(page - 1), hi = ((uintptr_t)p + n) & ~(page - 1);
    if (hi > lo) (void)madvise((void *)lo, hi - lo, MADV_DONTNEED); /* a shared mapping: nothing is lost */
}

void *ct_map_anonymous(size_t n) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(p, n, MADV_HUGEPAGE);
#endif
    return p;
}

void ct_unmap_anonymous(void *p, size_t n) {
    if (p) munmap(p, n);
}

int ct_read_file(char **out, size_t *size, const char *path, size_t max, carat_error *err) {
    *out = NULL;
    *size = 0;
    int fd;
    struct stat st;
    CT_TRY(open_regular(&fd, &st, path, err));
    int rc = 0;
    char *buf = NULL;
    size_t n = 0;
    if ((uint64_t)st.st_size > max) {
        rc = CT_FAIL(err, CARAT_EFORMAT, "%s: is %lld bytes, expected at most %zu", ct_path_shown(path), (long long)st.st_size, max);
        goto done;
    }
    buf = ct_alloc((size_t)st.st_size + 1);
    if (!buf) {
        rc = CT_FAIL(err, CARAT_ENOMEM, "%s: no memory for %lld bytes", ct_path_shown(path), (long long)st.st_size);
        goto done;
    }
    while (n < (size_t)st.st_size) {
        const ssize_t got = read(fd, buf + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            rc = CT_FAIL(err, CARAT_EIO, "%s: %s", ct_path_shown(path), strerror(errno));
            goto done;
        }
        if (got == 0) break; /* shrank since fstat: what is there counts */
        n += (size_t)got;
    }
    *out = buf;
    *size = n;
    buf = NULL;
done:
    ct_free(buf);
    close(fd);
    return rc;
}

int ct_open_file(int *fd, uint64_t *size, const char *path, carat_error *err) {
    struct stat st;
    CT_TRY(open_regular(fd, &st, path, err));
    *size = (uint64_t)st.st_size;
    return 0;
}

bool ct_path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool ct_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

double ct_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

uint64_t ct_entropy(void) {
    uint64_t v = 0;
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        const ssize_t got = read(fd, &v, sizeof v);
        close(fd);
        if (got == (ssize_t)sizeof v) return v;
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_nsec * 0x9e3779b97f4a7c15u ^ (uint64_t)t.tv_sec ^ ((uint64_t)getpid() << 32);
}
