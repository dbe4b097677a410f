/* Files from their beginning to their end: one being read, and one being written that gets its name when it is whole. */
#ifndef CT_BASE_FILE_H
#define CT_BASE_FILE_H

#include "base/os.h"

typedef struct {
    int fd;        /* -1: closed */
    uint64_t size; /* when it was opened */
    bool forget;   /* set it: what was read need not stay in the page cache */
    uint64_t n, n_forgotten; /* bytes read, and given back */
} ct_in_file;

/* Keeps nothing of path. EIO on anything that is not a readable regular file. */
int ct_in_file_open(ct_in_file *f, const char *path, carat_error *err);
/* The next n bytes, all of them: EFORMAT where the file ends before. path is for the message. */
int ct_in_file_read(ct_in_file *f, void *p, size_t n, const char *path, carat_error *err);
void ct_in_file_close(ct_in_file *f);

typedef struct ct_out_file ct_out_file;

/* Creates `path.tmp-<pid>` in the same folder at once, so that an unwritable one shows before hours of work. mode: as of
 * open(2), and the process's mask applies. Gives *out: ct_out_file_free. EIO (also for a path that is no regular file),
 * ENOMEM. */
int ct_out_file_new(ct_out_file **out, const char *path, unsigned mode, carat_error *err);
/* What was written need not stay in the page cache. */
void ct_out_file_forget(ct_out_file *f);
/* Append, through a buffer. EIO. */
int ct_out_file_put(ct_out_file *f, const void *p, size_t n, carat_error *err);
/* Flush, fsync, rename: now the file is there under its name, and is so after a power cut too. */
int ct_out_file_finish(ct_out_file *f, carat_error *err);
/* Discards an unfinished file. */
void ct_out_file_free(ct_out_file **f);

#endif
