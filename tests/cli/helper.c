/* What the shell tests of the program cannot do by themselves, without Python:
 *   helper json [PATH…]        stdin holds exactly one JSON object; print the value of each dotted path, one a line
 *                              (arrays and objects as compact JSON; an absent path is an error)
 *   helper npy F               print "rows columns" of a float32 .npy; every value must be finite
 *   helper npydiff A B         print the largest absolute difference of two .npy of the same shape
 *   helper interrupt CMD…      run CMD, send SIGINT once it has written something; print its output, exit as it does
 *   helper later CMD…          the same for a CMD that writes at its end only: SIGINT comes after 0.7 s
 *   helper twice CMD…          the same with nobody reading its output, and a second SIGINT
 *   helper closed CMD…         run CMD, close its stdout once it has written something; exit as it does */
#ifdef __linux__
#define _GNU_SOURCE /* F_SETPIPE_SZ */
#endif
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what, const char *why) {
    fprintf(stderr, "helper: %s: %s\n", what, why);
    return 99;
}

/* ---- json ---- */

static const json_t *walk(const json_t *v, char *path) {
    for (char *p = strtok(path, "."); p && v; p = strtok(NULL, ".")) {
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(p)) : json_object_get(v, p);
    }
    return v;
}

/* Any bytes, ending with a newline (its own where it has one, as carat run prints it). */
static void print_string(const json_t *v) {
    const size_t n = json_string_length(v);
    fwrite(json_string_value(v), 1, n, stdout);
    if (n == 0 || json_string_value(v)[n - 1] != '\n') putchar('\n');
}

static int print_json(int n, char **path) {
    json_error_t err;
    json_t *root = json_loadf(stdin, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &err); /* fails on anything behind the object */
    if (!root) return fail("json", err.text);
    if (!json_is_object(root)) return fail("json", "not an object");
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        char *copy = strdup(path[i]);
        const json_t *v = copy ? walk(root, copy) : NULL;
        if (!v) rc = fail(path[i], "absent");
        else if (json_is_string(v)) print_string(v);
        else json_dumpf(v, stdout, JSON_COMPACT | JSON_ENCODE_ANY), putchar('\n');
        free(copy);
    }
    json_decref(root);
    return rc;
}

/* ---- npy ---- */

static float *read_npy(const char *path, long *rows, long *cols) {
    FILE *f = fopen(path, "rb");
    unsigned char h[10];
    char dict[256] = "";
    if (!f || fread(h, 1, 10, f) != 10 || memcmp(h, "\x93NUMPY\x01\x00", 8) != 0) return NULL;
    const size_t len = h[8] + 256u * h[9];
    if ((len + 10) % 64 != 0 || len >= sizeof dict || fread(dict, 1, len, f) != len) return NULL;
    if (!strstr(dict, "'descr': '<f4'") || !strstr(dict, "'fortran_order': False") || dict[len - 1] != '\n') return NULL;
    const char *shape = strstr(dict, "'shape': (");
    if (!shape || sscanf(shape, "'shape': (%ld, %ld)", rows, cols) != 2) return NULL;
    const size_t n = (size_t)(*rows * *cols);
    float *x = malloc(n * sizeof *x + 1);
    if (!x || fread(x, sizeof *x, n, f) != n || fgetc(f) != EOF) return NULL;
    fclose(f);
    return x;
}

static int print_npy(const char *path) {
    long rows, cols;
    float *x = read_npy(path, &rows, &cols);
    if (!x) return fail(path, "no float32 matrix");
    for (long i = 0; i < rows * cols; i++) {
        if (!isfinite(x[i])) return fail(path, "not finite");
    }
    printf("%ld %ld\n", rows, cols);
    free(x);
    return 0;
}

static int print_npy_diff(const char *a, const char *b) {
    long ra, ca, rb, cb;
    float *x = read_npy(a, &ra, &ca), *y = read_npy(b, &rb, &cb);
    if (!x || !y || ra != rb || ca != cb) return fail("npydiff", "shapes differ");
    double worst = 0.0;
    for (long i = 0; i < ra * ca; i++) {
        const double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= worst)) worst = d;
    }
    printf("%g\n", worst);
    free(x);
    free(y);
    return 0;
}

/* ---- signals and pipes ---- */

static pid_t start(char **cmd, int *out) {
    int fd[2];
    if (pipe(fd) != 0) return -1;
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], 1);
        close(fd[0]);
        close(fd[1]);
        execv(cmd[0], cmd);
        _exit(127);
    }
    close(fd[1]);
    *out = fd[0];
    return pid;
}

static int end(pid_t pid) {
    int st;
    while (waitpid(pid, &st, 0) < 0 && errno == EINTR) {}
    if (WIFSIGNALED(st)) return 128 + WTERMSIG(st);
    return WEXITSTATUS(st);
}

static void nap(long ms) {
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static int interrupt(char **cmd) {
    int fd;
    char buf[4096];
    const pid_t pid = start(cmd, &fd);
    ssize_t n = read(fd, buf, sizeof buf);
    if (n <= 0) return fail(cmd[0], "wrote nothing");
    kill(pid, SIGINT);
    do fwrite(buf, 1, (size_t)n, stdout);
    while ((n = read(fd, buf, sizeof buf)) > 0);
    return end(pid);
}

/* JSON comes at the very end: there is no output to wait for. */
static int interrupt_later(char **cmd) {
    int fd;
    char buf[4096];
    ssize_t n;
    const pid_t pid = start(cmd, &fd);
    nap(700);
    kill(pid, SIGINT);
    while ((n = read(fd, buf, sizeof buf)) > 0) fwrite(buf, 1, (size_t)n, stdout);
    return end(pid);
}

static int interrupt_twice(char **cmd) {
    int fd;
    char c;
    const pid_t pid = start(cmd, &fd);
#ifdef F_SETPIPE_SZ
    (void)fcntl(fd, F_SETPIPE_SZ, 4096); /* the program soon waits in a write */
#endif
    if (read(fd, &c, 1) != 1) return fail(cmd[0], "wrote nothing");
    for (int held = 0, before = -1, i = 0; i < 60 && (held < 2048 || held != before); i++) {
        before = held;
        nap(500);
        if (ioctl(fd, FIONREAD, &held) != 0) return fail("FIONREAD", strerror(errno));
    }
    kill(pid, SIGINT);
    nap(300);
    if (waitpid(pid, NULL, WNOHANG) == pid) return fail(cmd[0], "ended by the first SIGINT: it was not waiting in a write");
    kill(pid, SIGINT);
    return end(pid);
}

static int close_early(char **cmd) {
    int fd;
    char c;
    const pid_t pid = start(cmd, &fd);
    if (read(fd, &c, 1) != 1) return fail(cmd[0], "wrote nothing");
    close(fd);
    return end(pid);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "json") == 0) return print_json(argc - 2, argv + 2);
    if (strcmp(what, "npy") == 0 && argc == 3) return print_npy(argv[2]);
    if (strcmp(what, "npydiff") == 0 && argc == 4) return print_npy_diff(argv[2], argv[3]);
    if (strcmp(what, "interrupt") == 0 && argc > 2) return interrupt(argv + 2);
    if (strcmp(what, "later") == 0 && argc > 2) return interrupt_later(argv + 2);
    if (strcmp(what, "twice") == 0 && argc > 2) return interrupt_twice(argv + 2);
    if (strcmp(what, "closed") == 0 && argc > 2) return close_early(argv + 2);
    return fail("usage", "see the top of helper.c");
}
