/* Terminal output: see term.h. The only state is what a process has one of: stdout's first error, and Ctrl-C. */
#include "term.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "args.h"
#include "base/mem.h"
#include "base/os.h"

/* ---- numbers ---- */

char *cli_size_text(cli_text buf, uint64_t bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int i = 0;
    while (i < 4 && x >= 1023.95) x /= 1024.0, i++;
    if (i == 0) (void)snprintf(buf, sizeof(cli_text), "%d B", (int)bytes);
    else (void)snprintf(buf, sizeof(cli_text), "%.*f %s", i >= 3 ? 2 : 1, x, unit[i]);
    return buf;
}

char *cli_count_text(cli_text buf, int64_t n) {
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%lld", (long long)n);
    int o = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-') buf[o++] = ',';
        buf[o++] = digits[i];
    }
    buf[o] = '\0';
    return buf;
}

char *cli_short_text(cli_text buf, int64_t n) {
    const double x = (double)n;
    if (n >= 999500000) (void)snprintf(buf, sizeof(cli_text), "%.2f B", x / 1e9);
    else if (n >= 999500) (void)snprintf(buf, sizeof(cli_text), "%.1f M", x / 1e6);
    else if (n >= 10000) (void)snprintf(buf, sizeof(cli_text), "%.1f K", x / 1e3);
    else (void)snprintf(buf, sizeof(cli_text), "%lld", (long long)n);
    return buf;
}

char *cli_time_text(cli_text buf, double ms) {
    const double s = floor(ms / 1000.0 + 0.5);
    if (ms < 9.95) (void)snprintf(buf, sizeof(cli_text), "%.1f ms", ms);
    else if (ms < 999.5) (void)snprintf(buf, sizeof(cli_text), "%.0f ms", ms);
    else if (ms < 99950.0) (void)snprintf(buf, sizeof(cli_text), "%.1f s", ms / 1000.0);
    else if (s < 3600.0) (void)snprintf(buf, sizeof(cli_text), "%d min %02d s", (int)(s / 60.0), (int)fmod(s, 60.0));
    else (void)snprintf(buf, sizeof(cli_text), "%.0f h %02d min", floor(s / 3600.0), (int)(fmod(s, 3600.0) / 60.0));
    return buf;
}

/* ---- stdout ---- */

static int stdout_errno; /* of the first write that failed */

static bool note_failure(bool ok) {
    if (!ok && stdout_errno == 0) stdout_errno = errno ? errno : EIO;
    return ok;
}

bool cli_put(const char *s, size_t n) {
    if (stdout_errno) return false;
    errno = 0;
    return note_failure(fwrite(s, 1, n, stdout) == n);
}

bool cli_printf(const char *fmt, ...) {
    if (stdout_errno) return false;
    va_list ap;
    va_start(ap, fmt);
    errno = 0;
    const bool ok = vprintf(fmt, ap) >= 0;
    va_end(ap);
    return note_failure(ok);
}

bool cli_flush(void) {
    if (stdout_errno) return false;
    errno = 0;
    return note_failure(fflush(stdout) == 0);
}

int cli_end(const char *verb, int status) {
    if (cli_flush() && !ferror(stdout)) return status;
    if (stdout_errno == EPIPE) return status;
    return cli_fail(CLI_FAILED, verb, "stdout: cannot be written: %s", stdout_errno ? strerror(stdout_errno) : "error");
}

/* ---- tables ---- */

struct cli_table {
    const char *align;
    int n_col;
    char **cell; /* [n_cell] row after row; NULL in column 0 marks a line */
    size_t n_cell, cap_cell;
    ct_arena arena;
    bool failed;
};

cli_table *cli_table_new(const char *align) {
    cli_table *t = ct_alloc(sizeof *t);
    if (!t) return NULL;
    t->align = align;
    t->n_col = (int)strlen(align);
    return t;
}

static bool add_cell(cli_table *t, const char *text) {
    if (!ct_grow((void **)&t->cell, &t->cap_cell, t->n_cell + 1, sizeof *t->cell)) return false;
    char *copy = NULL;
    if (text) {
        copy = ct_arena_strdup_n(&t->arena, text, strlen(text));
        if (!copy) return false;
    }
    t->cell[t->n_cell++] = copy;
    return true;
}

void cli_table_row(cli_table *t, ...) {
    if (!t) return;
    va_list ap;
    va_start(ap, t);
    for (int i = 0; i < t->n_col; i++) {
        if (!add_cell(t, va_arg(ap, const char *))) t->failed = true;
    }
    va_end(ap);
}

void cli_table_line(cli_table *t) {
    if (!t) return;
    for (int i = 0; i < t->n_col; i++) {
        if (!add_cell(t, NULL)) t->failed = true;
    }
}

static int columns(const char *s) {
    int w = 0;
    for (; *s; s++) w += ((unsigned char)*s & 0xc0) != 0x80;
    return w;
}

static void emit(bool to_stderr, const char *s, size_t n) {
    if (to_stderr) fwrite(s, 1, n, stderr);
    else cli_put(s, n);
}

static void emit_fill(bool to_stderr, const char *c, int n) {
    for (int i = 0; i < n; i++) emit(to_stderr, c, strlen(c));
}

void cli_table_print(cli_table *t, bool to_stderr) {
    if (!t) return;
    const size_t n_row = t->failed ? 0 : t->n_cell / (size_t)t->n_col;
    int *width = ct_alloc_array((size_t)t->n_col, sizeof *width);
    for (size_t i = 0; width && i < n_row * (size_t)t->n_col; i++) {
        const int w = t->cell[i] ? columns(t->cell[i]) : 0;
        if (w > width[i % (size_t)t->n_col]) width[i % (size_t)t->n_col] = w;
    }
    for (size_t r = 0; width && r < n_row; r++) {
        char **row = t->cell + r * (size_t)t->n_col;
        int last = t->n_col - 1; /* nothing is filled up behind the last text of a row */
        while (row[0] && last > 0 && row[last][0] == '\0') last--;
        for (int i = 0; i <= last; i++) {
            if (i > 0) emit(to_stderr, "  ", 2);
            if (!row[0]) {
                emit_fill(to_stderr, "-", width[i]);
                continue;
            }
            const int pad = width[i] - columns(row[i]);
            if (t->align[i] == 'r') emit_fill(to_stderr, " ", pad);
            emit(to_stderr, row[i], strlen(row[i]));
            if (t->align[i] == 'l' && i < last) emit_fill(to_stderr, " ", pad);
        }
        emit(to_stderr, "\n", 1);
    }
    if (t->failed || !width) fprintf(stderr, "carat: out of memory for a table\n");
    ct_free(width);
    ct_free(t->cell);
    ct_arena_free(&t->arena);
    ct_free(t);
}

/* ---- terminal ---- */

bool cli_is_terminal(int fd) { return isatty(fd) == 1; }

bool cli_has_colour(int fd) {
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
    return cli_is_terminal(fd) && term && strcmp(term, "dumb") != 0 && !(no && *no);
}

cli_bar cli_bar_begin(const char *label, const char *unit) {
    return (cli_bar){.label = label, .unit = unit, .start_ms = ct_now_ms(), .shown_ms = 0.0, .on = cli_is_terminal(2)};
}

static int terminal_width(void) {
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

void cli_bar_update(cli_bar *b, int64_t done, int64_t total) {
    const double now = ct_now_ms();
    if (!b->on || total <= 0 || now - b->shown_ms < 100.0) return;
    /* Work that is over in a blink shows nothing; but nobody knows how long the first step of long work takes. */
    if (now - b->start_ms < 300.0 && !(done == 0 && total >= 32)) return;
    b->shown_ms = now;
    enum { CELLS = 24 };
    char bar[CELLS + 4], text[160];
    cli_text d, n, eta = "";
    if (done > 0) cli_time_text(eta, (now - b->start_ms) * (double)(total - done) / (double)done);
    /* A line that wraps cannot be taken back: what is left of the width is the bar's, then the text is cut. */
    const int len = snprintf(text, sizeof text, "%s of %s %s%s%s", cli_count_text(d, done), cli_count_text(n, total),
                             b->unit, *eta ? ", left " : "", eta);
    const int width = terminal_width() - 1, label = (int)strlen(b->label) + 1;
    int cells = width - label - len - 3;
    if (cells > CELLS) cells = CELLS;
    if (cells < 4) cells = 0;
    const int full = (int)((double)done / (double)total * cells);
    bar[0] = '[';
    for (int i = 0; i < cells; i++) bar[1 + i] = i < full ? '#' : '.';
    memcpy(bar + 1 + cells, "] ", 3);
    const int room = width - (cells ? label + cells + 3 : 0);
    fputs("\r\033[K", stderr);
    if (cells) fprintf(stderr, "%s %s", b->label, bar);
    fprintf(stderr, "%.*s", room > 0 ? room : 0, text);
    fflush(stderr);
}

void cli_bar_end(cli_bar *b) {
    if (b->on && b->shown_ms > 0.0) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    b->on = false;
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int sig) {
    (void)sig;
    if (interrupts) _exit(130);
    interrupts = 1;
}

void cli_catch_interrupt(void) {
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_interrupt;
    sigemptyset(&sa.sa_mask);
    sa.sa_flags = SA_RESTART;
    sigaction(SIGINT, &sa, NULL);
}

bool cli_interrupted(void) { return interrupts != 0; }
