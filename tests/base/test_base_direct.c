/* Reads past the page cache: any piece of a file, by pieces that a disk or a signal may cut, up to the end of a file of odd
 * size; and files that change under the reader, which are an error and never other bytes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/direct.h"
#include "base/rng.h"

enum { SIZE = 5 * 4096 + 1234, ROOM = 8 * 4096 };

static char path[300], other[310];
static ct_mapped_file file;
static ct_direct direct;
static uint8_t *buf;

static uint8_t byte_at(uint64_t i, int version) { return (uint8_t)(i * 167 + (i >> 8) * 31 + (uint64_t)version * 77); }

static void write_file(const char *to, size_t n, int version) {
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) putc(byte_at(i, version), f);
    assert_int_equal(fclose(f), 0);
}

static void open_in(const char *folder, size_t n) {
    carat_error err = {0};
    snprintf(path, sizeof path, "%s/carat-direct.%d", folder, (int)getpid());
    snprintf(other, sizeof other, "%s.other", path);
    write_file(path, n, 0);
    if (ct_map_file(&file, path, &err) || ct_direct_open(&direct, &file, &err)) fail_msg("%s", err.msg);
    if (!buf) assert_int_equal(posix_memalign((void **)&buf, CT_DIRECT_ALIGN, ROOM), 0);
    memset(buf, 0xee, ROOM);
}

static int open_file(void **state) {
    (void)state;
    open_in("/tmp", SIZE);
    return 0;
}

static int close_file(void **state) {
    (void)state;
    ct_unmap_file(&file);
    unlink(path);
    unlink(other);
    free(buf);
    buf = NULL;
    return 0;
}

static void assert_piece(uint64_t offset, size_t n, int version) {
    const uint8_t *p = buf + ct_direct_skip(offset);
    for (size_t i = 0; i < n; i++) {
        if (p[i] != byte_at(offset + i, version)) fail_msg("%zu bytes at %llu: byte %zu is wrong", n, (unsigned long long)offset, i);
    }
}

/* Random pieces, and those at the seams; nothing behind the room for a piece is touched. */
static void read_pieces(void) {
    ct_rng rng;
    ct_rng_seed(&rng, 4);
    static const uint64_t at[] = {0, 1, 4095, 4096, 4097, 8191, SIZE - 1, SIZE - 1234, SIZE - 1235, SIZE};
    for (int i = 0; i < 600; i++) {
        carat_error err = {0};
        const uint64_t offset = i < 100 ? at[i % 10] : ct_rng_u64(&rng) % (SIZE + 1);
        const size_t left = SIZE - (size_t)offset, n = i < 10 ? left : (size_t)(ct_rng_u64(&rng) % (left + 1)), room = ct_direct_room(n);
        memset(buf, 0xee, ROOM);
        if (ct_direct_read(&direct, offset, n, buf, &err)) fail_msg("%zu at %llu: %s", n, (unsigned long long)offset, err.msg);
        assert_piece(offset, n, 0);
        for (size_t k = room; k < ROOM; k++) assert_int_equal(buf[k], 0xee);
    }
}

static void any__piece_is_what_lies_in_the_file(void **state) {
    (void)state;
    read_pieces();
}

static void file_systems__without_direct_reads_serve_too(void **state) {
    (void)state;
    struct stat st;
    if (stat("/dev/shm", &st) != 0) skip();
    close_file(NULL);
    open_in("/dev/shm", SIZE);
    read_pieces();
    direct.past_cache = false; /* as where the system has none: pages are given back afterwards */
    read_pieces();
}

static void sizes__of_whole_blocks_and_of_none(void **state) {
    (void)state;
    static const size_t size[] = {0, 1, 4095, 4096, 8192};
    for (int i = 0; i < 5; i++) {
        carat_error err = {0};
        close_file(NULL);
        open_in("/tmp", size[i]);
        assert_int_equal(ct_direct_read(&direct, 0, size[i], buf, &err), 0);
        assert_piece(0, size[i], 0);
        assert_int_equal(ct_direct_read(&direct, 0, size[i] + 1, buf, &err), CARAT_EIO);
    }
}

static void pieces__beyond_the_end_are_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t offset;
        size_t n;
    } bad[] = {{SIZE, 1}, {SIZE + 1, 0}, {0, SIZE + 1}, {UINT64_MAX, 1}, {UINT64_MAX - 4095, 4096}, {1, SIZE_MAX}, {SIZE - 1, SIZE_MAX - 100}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        carat_error err = {0};
        assert_int_equal(ct_direct_read(&direct, bad[i].offset, bad[i].n, buf, &err), CARAT_EIO);
        assert_non_null(strstr(err.msg, "beyond its end"));
    }
}

/* ---- disks that fail ---- */

static struct {
    int calls, fail_from, code; /* from this call on: -1 and errno */
    size_t most;                /* bytes of one read */
    int interrupts;             /* so many calls first */
    uint64_t end;               /* as if the file ended here */
} disk;

static long moody(int fd, void *p, size_t n, uint64_t offset) {
    const int call = disk.calls++;
    assert_int_equal(offset % CT_DIRECT_ALIGN, 0);
    assert_int_equal((uintptr_t)p % CT_DIRECT_ALIGN, 0);
    assert_int_equal(n % CT_DIRECT_ALIGN, 0);
    if (call < disk.interrupts) return errno = EINTR, -1;
    if (disk.code && call >= disk.fail_from) return errno = disk.code, -1;
    if (offset >= disk.end) return 0;
    const long got = (long)pread(fd, p, n, (off_t)offset);
    const size_t end = (size_t)(disk.end - offset), most = disk.most < end ? disk.most : end;
    return got > (long)most ? (long)most : got;
}

static int read_moody(uint64_t offset, size_t n, carat_error *err) {
    memset(buf, 0xee, ROOM);
    direct.read_at = moody;
    disk.calls = 0;
    return ct_direct_read(&direct, offset, n, buf, err);
}

static void short__reads_go_on(void **state) {
    (void)state;
    carat_error err = {0};
    for (size_t most = 4096; most <= 5 * 4096; most += 1000) {
        memset(&disk, 0, sizeof disk);
        disk.most = most, disk.end = SIZE;
        if (read_moody(100, SIZE - 100, &err)) fail_msg("%zu bytes at a time: %s", most, err.msg);
        assert_piece(100, SIZE - 100, 0);
    }
}

static void interrupts__are_no_failure(void **state) {
    (void)state;
    carat_error err = {0};
    memset(&disk, 0, sizeof disk);
    disk.most = 4096, disk.end = SIZE, disk.interrupts = 50;
    assert_int_equal(read_moody(3, 20000, &err), 0);
    assert_piece(3, 20000, 0);
}

static void failures__say_where(void **state) {
    (void)state;
    static const int code[] = {EIO, ENXIO, EINVAL};
    for (int i = 0; i < 3; i++) {
        carat_error err = {0};
        memset(&disk, 0, sizeof disk);
        disk.most = 4096, disk.end = SIZE, disk.fail_from = 2, disk.code = code[i];
        assert_int_equal(read_moody(5000, 15000, &err), CARAT_EIO);
        assert_int_equal(err.code, CARAT_EIO);
        assert_non_null(strstr(err.msg, "cannot be read at 12288")); /* 4096 and two blocks */
        assert_non_null(strstr(err.msg, strerror(code[i])));
        assert_null(strchr(err.msg, '\n'));
    }
}

static void an__end_in_the_middle_is_an_error(void **state) {
    (void)state;
    static const uint64_t end[] = {0, 1, 4096, 5000, 8191, 12288};
    for (int i = 0; i < 6; i++) {
        carat_error err = {0};
        memset(&disk, 0, sizeof disk);
        disk.most = SIZE_MAX, disk.end = end[i];
        assert_int_equal(read_moody(0, 16000, &err), CARAT_EIO);
        assert_non_null(strstr(err.msg, "reading stops at"));
        assert_in_range(disk.calls, 1, 20);
    }
    /* A device that never gives a whole block stops too. */
    carat_error err = {0};
    disk.most = 100, disk.end = SIZE;
    assert_int_equal(read_moody(0, 16000, &err), CARAT_EIO);
    assert_in_range(disk.calls, 1, 20);
}

/* ---- files that change ---- */

static void assert_changed(const char *text) {
    carat_error err = {0};
    assert_int_equal(ct_direct_check(&direct, &err), CARAT_EIO);
    if (!strstr(err.msg, text)) fail_msg("%s", err.msg);
    assert_null(strchr(err.msg, '\n'));
}

/* Clocks of file systems are coarse: until the time of writing differs from that of making. */
static void overwrite_byte(void) {
    uint64_t size;
    int64_t now[2];
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    do {
        assert_int_equal(pwrite(fd, "x", 1, 5000), 1);
        assert_true(ct_file_state(fd, &size, now));
    } while (now[0] == file.changed[0] && now[1] == file.changed[1]);
    close(fd);
}

static void files__cut_while_open(void **state) {
    (void)state;
    carat_error err = {0};
    assert_int_equal(ct_direct_check(&direct, &err), 0);
    assert_int_equal(truncate(path, 6000), 0);
    assert_changed("was cut to 6000 of");
    assert_int_equal(ct_direct_read(&direct, 0, SIZE, buf, &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "was cut to 6000 of"));
    assert_int_equal(ct_direct_read(&direct, 100, 5000, buf, &err), 0); /* what is left can be read */
    assert_piece(100, 5000, 0);
}

static void files__written_to_while_open(void **state) {
    (void)state;
    overwrite_byte();
    assert_changed("was written to while in use");
    carat_error err = {0};
    ct_direct again;
    assert_int_equal(ct_direct_open(&again, &file, &err), CARAT_EIO); /* since it was mapped, not since this was opened */
}

static void files__that_grew(void **state) {
    (void)state;
    FILE *f = fopen(path, "ab");
    putc('x', f);
    fclose(f);
    assert_changed("was written to while in use");
}

static void files__replaced_by_another_of_the_name(void **state) {
    (void)state;
    carat_error err = {0};
    write_file(other, 3000, 1);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(ct_direct_check(&direct, &err), 0);
    assert_int_equal(ct_direct_read(&direct, 0, SIZE, buf, &err), 0);
    assert_piece(0, SIZE, 0);
    assert_int_equal(unlink(path), 0); /* nor does it matter that the name is gone */
    assert_int_equal(ct_direct_read(&direct, 9000, 5000, buf, &err), 0);
    assert_piece(9000, 5000, 0);
    assert_int_equal(ct_direct_check(&direct, &err), 0);
}

static void buffers__are_no_file(void **state) {
    (void)state;
    carat_error err = {0};
    ct_direct d;
    const ct_mapped_file f = {.data = (const uint8_t *)"abc", .size = 3, .fd = -1, .name = "abc.gguf"};
    assert_int_equal(ct_direct_open(&d, &f, &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "abc.gguf"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, open_file, close_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(any__piece_is_what_lies_in_the_file),
        CASE(file_systems__without_direct_reads_serve_too),
        CASE(sizes__of_whole_blocks_and_of_none),
        CASE(pieces__beyond_the_end_are_refused),
        CASE(short__reads_go_on),
        CASE(interrupts__are_no_failure),
        CASE(failures__say_where),
        CASE(an__end_in_the_middle_is_an_error),
        CASE(files__cut_while_open),
        CASE(files__written_to_while_open),
        CASE(files__that_grew),
        CASE(files__replaced_by_another_of_the_name),
        cmocka_unit_test(buffers__are_no_file),
    };
    return cmocka_run_group_tests_name("base direct", tests, NULL, NULL);
}
