/* Plots as self-contained SVG files that read well in a report: lines or steps with axes, and bars with labels. 720 wide,
 * system fonts, colours for light and for dark pages. All text is escaped; what is no finite number is left out. */
#ifndef CLI_SVG_H
#define CLI_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum {
    SVG_NUMBER, /* 0.25, 1,500 */
    SVG_BYTES,  /* 512 MiB, 1.5 GiB; ticks at binary sizes */
    SVG_MS,     /* given in ms; shown as us, ms, s or min */
    SVG_RATE,   /* tokens a second */
    SVG_SHARE,  /* given as 0..1, shown in percent */
} svg_unit;

typedef struct {
    const char *label; /* what is measured; NULL = nothing is written */
    svg_unit unit;
    bool log;          /* values that are not positive are left out */
    bool from_zero;    /* a linear axis begins at 0 */
} svg_axis;

typedef struct {
    const char *name;  /* in the legend; NULL = not there */
    const double *x, *y; /* [n] borrows */
    size_t n;
    bool step;         /* a value holds until the next one; x ascends */
    bool points;       /* a dot at every value */
    bool dashed;
} svg_series;

/* A line across the plot, with a few words beside it. */
typedef struct {
    bool vertical;
    double at;
    const char *label;
} svg_rule;

typedef struct {
    const char *title, *caption; /* caption: below the plot, wrapped; may be NULL */
    svg_axis x, y;
    const svg_series *series;    /* at most SVG_MAX_SERIES are drawn */
    int n_series;
    const svg_rule *rule;
    int n_rule;
} svg_plot;

typedef struct {
    const char *label;
    double value;
    const char *note; /* beside the value; NULL = nothing */
} svg_bar;

typedef struct {
    const char *title, *caption;
    svg_axis axis;
    const svg_bar *bar;
    int n_bar;
} svg_bars;

enum { SVG_MAX_SERIES = 6, SVG_MAX_TICK = 24 };

/* Write the plot. False when writing failed. */
bool svg_write_plot(FILE *f, const svg_plot *p);
/* n plots, one below the other; the first one's title is the page's. */
bool svg_write_plots(FILE *f, const svg_plot *p, int n);
bool svg_write_bars(FILE *f, const svg_bars *b);

/* Values to mark on an axis that shows [lo, hi], ascending, within it; returns how many. lo < hi; log: 0 < lo. */
int svg_ticks(double tick[SVG_MAX_TICK], svg_unit unit, bool log, double lo, double hi);
/* A value as an axis or a bar shows it. */
typedef char svg_text[32];
char *svg_value_text(svg_text buf, svg_unit unit, double v);

#endif
