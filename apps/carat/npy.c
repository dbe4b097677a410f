/* .npy writer: see npy.h. The header has a fixed size (128 bytes, a multiple of 64 as the format asks for alignment),
 * so the count of rows can be filled in at the end. REF the format description in numpy/lib/format.py. */
#include "npy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/status.h"

enum { HEADER = 128 };

struct cli_npy {
    FILE *f;
    char *path, *tmp;
    int32_t n_col;
    int64_t n_row;
};

static int fail_io(const cli_npy *f, const char *what, carat_error *err) {
    return CT_FAIL(err, CARAT_EIO, "%s: cannot %s: %s", f->path, what, strerror(errno));
}

static int write_header(cli_npy *f, carat_error *err) {
    char h[HEADER + 1];
    memset(h, ' ', HEADER);
    memcpy(h, "\x93NUMPY\x01\x00", 8);
    h[8] = (char)(HEADER - 10);
    h[9] = 0;
    const int n = snprintf(h + 10, HEADER - 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }",
                           (long long)f->n_row, (int)f->n_col);
    h[10 + n] = ' ';
    h[HEADER - 1] = '\n';
    return fwrite(h, 1, HEADER, f->f) == HEADER ? 0 : fail_io(f, "write", err);
}

int cli_npy_open(cli_npy **out, const char *path, int32_t n_col, carat_error *err) {
    *out = NULL;
    const size_t len = strlen(path);
    /* The finished file takes its name by rename, which would replace a device (/dev/null) for everyone. */
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return CT_FAIL(err, CARAT_EIO, "%s: is %s, expected the name of a file to write", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    }
    cli_npy *f = ct_alloc(sizeof *f);
    if (!f) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
    f->n_col = n_col;
    f->path = ct_strdup_n(path, len);
    f->tmp = ct_alloc(len + 32);
    if (!f->path || !f->tmp) {
        cli_npy_discard(&f);
        return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
    }
    (void)snprintf(f->tmp, len + 32, "%s.tmp-%ld", path, (long)getpid());
    f->f = fopen(f->tmp, "wb");
    int rc = f->f ? write_header(f, err) : fail_io(f, "create", err);
    if (rc) cli_npy_discard(&f);
    *out = f;
    return rc;
}

int cli_npy_write(cli_npy *f, const float *x, int64_t n_row, carat_error *err) {
    const size_t n = (size_t)n_row * (size_t)f->n_col;
    unsigned char buf[4096];
    for (size_t i = 0; i < n;) { /* byte by byte, so that big-endian machines write the same file */
        size_t k = 0;
        for (; k < sizeof buf / 4 && i < n; k++, i++) {
            const uint32_t u = ct_f32_bits(x[i]);
            for (int b = 0; b < 4; b++) buf[4 * k + (size_t)b] = (unsigned char)(u >> (8 * b));
        }
        if (fwrite(buf, 4, k, f->f) != k) return fail_io(f, "write", err);
    }
    f->n_row += n_row;
    return 0;
}

int32_t cli_npy_n_col(const cli_npy *f) { return f->n_col; }
int64_t cli_npy_n_row(const cli_npy *f) { return f->n_row; }

int cli_npy_close(cli_npy **f, carat_error *err) {
    cli_npy *p = *f;
    int rc = fseek(p->f, 0, SEEK_SET) ? fail_io(p, "write", err) : write_header(p, err);
    if (rc == 0) {
        const int closed = fclose(p->f);
        p->f = NULL;
        if (closed != 0 || rename(p->tmp, p->path) != 0) rc = fail_io(p, "finish", err);
    }
    if (rc) {
        cli_npy_discard(f);
        return rc;
    }
    ct_free(p->path);
    ct_free(p->tmp);
    ct_free(p);
    *f = NULL;
    return 0;
}

void cli_npy_discard(cli_npy **f) {
    if (!f || !*f) return;
    if ((*f)->f) fclose((*f)->f);
    if ((*f)->tmp && (*f)->tmp[0]) remove((*f)->tmp);
    ct_free((*f)->path);
    ct_free((*f)->tmp);
    ct_free(*f);
    *f = NULL;
}
