/* What a person sees: sizes and counts as text, aligned tables, a progress bar, checked output, Ctrl-C.
 * A terminal gets bars and dim text; a pipe or file never does. */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- text of numbers; each returns buf ---- */
typedef char cli_text[32];
/* "1.52 GiB", "412.3 MiB", "17 B" */
char *cli_size_text(cli_text buf, uint64_t bytes);
/* "4,628,569,379" */
char *cli_count_text(cli_text buf, int64_t n);
/* "4.63 B", "270.1 M", "512" (billions, millions, thousands) */
char *cli_short_text(cli_text buf, int64_t n);
/* "1 h 02 min", "3 min 20 s", "12.4 s", "830 ms" */
char *cli_time_text(cli_text buf, double ms);

/* ---- stdout ---- */

/* Write to stdout; false once a write has failed (and nothing is written any more). */
bool cli_put(const char *s, size_t n);
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
bool cli_printf(const char *fmt, ...);
bool cli_flush(void);
/* The last word of a verb: flushes, and turns a failed write into exit status 1 with its error, except that a reader
 * who went away (EPIPE: `carat … | head`) is no failure. */
int cli_end(const char *verb, int status);

/* ---- tables ---- */
typedef struct cli_table cli_table;
/* align: one character a column, 'l' or 'r'. NULL when memory is exhausted; every call accepts NULL. */
cli_table *cli_table_new(const char *align);
/* Texts of all columns, copied. */
void cli_table_row(cli_table *t, ...);
/* A line under the row added last. */
void cli_table_line(cli_table *t);
/* Print and free. To stdout through cli_put, or to stderr. */
void cli_table_print(cli_table *t, bool to_stderr);

/* ---- terminal ---- */
bool cli_is_terminal(int fd);
/* Terminal that understands colours (and NO_COLOR is not set). */
bool cli_has_colour(int fd);

typedef struct {
    const char *label;
    const char *unit;
    double start_ms, shown_ms;
    bool on; /* stderr is a terminal */
} cli_bar;
cli_bar cli_bar_begin(const char *label, const char *unit);
/* Redraws at most ten times a second. */
void cli_bar_update(cli_bar *b, int64_t done, int64_t total);
/* Takes the bar off the screen. */
void cli_bar_end(cli_bar *b);

/* ---- Ctrl-C ---- */

/* From now on the first Ctrl-C is remembered, the second ends the program at once with status 130. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

#endif
