/* See file.h. Writing is buffered; what is written is renamed when all of it is on the disk, so nothing half-written ever
 * has the final name. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define BUFFER_BYTES ((size_t)256 * 1024)
/* Linux moves at most 2 GiB at a time anyway. */
#define MOST ((size_t)1 << 30)
/* Pages are given back when so many bytes of them have come together. */
#define FORGET_BYTES ((uint64_t)8 << 20)

/* Only a hint. */
static void forget(int fd, uint64_t *from, uint64_t to) {
#ifdef POSIX_FADV_DONTNEED
    (void)posix_fadvise(fd, (off_t)*from, (off_t)(to - *from), POSIX_FADV_DONTNEED);
#else
    (void)fd;
#endif
    *from = to;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

int ct_in_file_open(ct_in_file *f, const char *path, carat_error *err) {
    *f = (ct_in_file){.fd = -1};
    return ct_open_file(&f->fd, &f->size, path, err);
}

int ct_in_file_read(ct_in_file *f, void *p, size_t n, const char *path, carat_error *err) {
    uint8_t *at = p;
    while (n > 0) {
        const ssize_t got = read(f->fd, at, n < MOST ? n : MOST);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return CT_FAIL(err, CARAT_EIO, "%s: %s", ct_path_shown(path), strerror(errno));
        if (got == 0) return CT_FAIL(err, CARAT_EFORMAT, "%s: ends %zu bytes too early", ct_path_shown(path), n);
        at += got;
        n -= (size_t)got;
        f->n += (uint64_t)got;
    }
    if (f->forget && f->n - f->n_forgotten >= FORGET_BYTES) forget(f->fd, &f->n_forgotten, f->n);
    return 0;
}

void ct_in_file_close(ct_in_file *f) {
    if (f->fd >= 0 && f->forget) forget(f->fd, &f->n_forgotten, f->size);
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

struct ct_out_file {
    char *path, *tmp;
    int fd;       /* -1 when closed */
    uint8_t *buf; /* BUFFER_BYTES */
    size_t n_buf;
    bool forget;
    uint64_t n, n_forgotten; /* bytes written, and given back */
};

/* Create tmp with a name nobody uses: a crash may have left one of the same process number behind. */
static int create_tmp(ct_out_file *f, unsigned mode, carat_error *err) {
    const size_t len = strlen(f->path), room = len + 64;
    f->tmp = ct_alloc(room);
    if (!f->tmp) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to write it", ct_path_shown(f->path));
    for (int i = 0; i < 100; i++) {
        if (i == 0) snprintf(f->tmp, room, "%s.tmp-%ld", f->path, (long)getpid());
        else snprintf(f->tmp, room, "%s.tmp-%ld-%d", f->path, (long)getpid(), i);
        f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        if (f->fd >= 0 || errno != EEXIST) break;
    }
    if (f->fd < 0) return CT_FAIL(err, CARAT_EIO, "%s: cannot create: %s", ct_path_shown(f->tmp), strerror(errno));
    return 0;
}

int ct_out_file_new(ct_out_file **out, const char *path, unsigned mode, carat_error *err) {
    *out = NULL;
    ct_out_file *f = ct_alloc(sizeof *f);
    if (!f) return CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to write it", ct_path_shown(path));
    f->fd = -1;
    f->path = ct_strdup_n(path, strlen(path));
    f->buf = ct_alloc(BUFFER_BYTES);
    int rc = 0;
    struct stat st;
    if (!f->path || !f->buf) {
        rc = CT_FAIL(err, CARAT_ENOMEM, "%s: no memory to write it", ct_path_shown(path));
    } else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        /* The final rename would put a file in the place of a device (as root, even of /dev/null). */
        rc = CT_FAIL(err, CARAT_EIO, "%s: is %s, expected a name for a new file", ct_path_shown(path),
                     S_ISDIR(st.st_mode) ? "a folder" : "a device");
    }
    if (rc == 0) rc = create_tmp(f, mode, err);
    if (rc) {
        ct_out_file_free(&f);
        return rc;
    }
    *out = f;
    return 0;
}

void ct_out_file_forget(ct_out_file *f) { f->forget = true; }

static int write_all(ct_out_file *f, const uint8_t *p, size_t n, carat_error *err) {
    while (n > 0) {
        const ssize_t k = write(f->fd, p, n < MOST ? n : MOST);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return CT_FAIL(err, CARAT_EIO, "%s: write: %s", ct_path_shown(f->tmp), strerror(k < 0 ? errno : EIO));
        p += k;
        n -= (size_t)k;
        f->n += (uint64_t)k;
    }
    /* Only what is on the disk can leave the cache. */
    if (f->forget && f->n - f->n_forgotten >= FORGET_BYTES && fsync(f->fd) == 0) forget(f->fd, &f->n_forgotten, f->n);
    return 0;
}

static int flush(ct_out_file *f, carat_error *err) {
    const size_t n = f->n_buf;
    f->n_buf = 0;
    return write_all(f, f->buf, n, err);
}

int ct_out_file_put(ct_out_file *f, const void *p, size_t n, carat_error *err) {
    if (n > BUFFER_BYTES - f->n_buf) CT_TRY(flush(f, err));
    if (n >= BUFFER_BYTES) return write_all(f, p, n, err);
    if (n) memcpy(f->buf + f->n_buf, p, n);
    f->n_buf += n;
    return 0;
}

/* The new name is on the disk when its folder is. Not every file system can do this: then it comes there later. Takes the
 * temporary name, which nothing has any more, to pieces. */
static void sync_folder(char *tmp) {
    char *slash = strrchr(tmp, '/');
    if (slash) slash[slash == tmp] = '\0';
    const int fd = open(slash ? tmp : ".", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

int ct_out_file_finish(ct_out_file *f, carat_error *err) {
    CT_TRY(flush(f, err));
    if (fsync(f->fd) != 0) return CT_FAIL(err, CARAT_EIO, "%s: fsync: %s", ct_path_shown(f->tmp), strerror(errno));
    if (f->forget) forget(f->fd, &f->n_forgotten, f->n);
    const int fd = f->fd;
    f->fd = -1;
    if (close(fd) != 0 || rename(f->tmp, f->path) != 0) {
        const int e = errno;
        unlink(f->tmp);
        return CT_FAIL(err, CARAT_EIO, "%s: cannot finish: %s", ct_path_shown(f->path), strerror(e));
    }
    sync_folder(f->tmp);
    return 0;
}

void ct_out_file_free(ct_out_file **pf) {
    ct_out_file *f = *pf;
    if (!f) return;
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->tmp);
    }
    ct_free(f->buf);
    ct_free(f->path);
    ct_free(f->tmp);
    ct_free(f);
    *pf = NULL;
}
