/* SVG plots: see svg.h. A frame says where data lie on the page; the rest is text and lines. Colours are classes with a rule
 * each for light and dark, because many viewers know no CSS variables. A series with more values than the plot has columns
 * is drawn by the first, least, greatest and last value of each column: it looks the same and stays small. */
#include "svg.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { WIDTH = 720, LEFT = 84, RIGHT = 24, PLOT_HEIGHT = 300, BAR_HEIGHT = 26, CHARS = 104, MAX_LINE = 4 };

typedef struct {
    FILE *f;
    double x0, x1, y0, y1;     /* of the page: left, right, top, bottom of the plot */
    double lo_x, hi_x, lo_y, hi_y;
    bool log_x, log_y;
} frame;

/* ---- numbers ---- */

/* So many decimals that three digits show; trim: none of them a zero at the end. */
static void short_number(char buf[24], double v, bool trim) {
    const double a = fabs(v);
    const int decimals = a >= 99.95 || a == 0.0 ? 0 : a >= 9.995 ? 1 : a >= 0.995 ? 2 : a >= 0.0995 ? 3 : 4;
    int n = snprintf(buf, 24, "%.*f", decimals, v);
    if (trim && memchr(buf, '.', (size_t)n)) {
        while (buf[n - 1] == '0') buf[--n] = '\0';
        if (buf[n - 1] == '.') buf[--n] = '\0';
    }
}

static char *value_text(svg_text buf, svg_unit unit, double v, bool trim) {
    static const char *const size[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    const char *name = "";
    int i = 0;
    switch (unit) {
    case SVG_BYTES:
        while (i < 4 && fabs(v) >= 1023.5) v /= 1024.0, i++;
        name = size[i];
        break;
    case SVG_MS:
        if (v != 0.0 && fabs(v) < 0.9995) v *= 1000.0, name = "µs";
        else if (fabs(v) >= 119950.0) v /= 60000.0, name = "min";
        else if (fabs(v) >= 999.5) v /= 1000.0, name = "s";
        else name = "ms";
        break;
    case SVG_RATE: name = "tok/s"; break;
    case SVG_SHARE: v *= 100.0, name = "%"; break;
    case SVG_NUMBER: break;
    }
    char num[24];
    if (v == 0.0) v = 0.0, name = trim ? "" : name; /* -0.0 too; an axis needs no unit at its origin */
    if (fabs(v) < 1e6) short_number(num, v, trim);
    else (void)snprintf(num, sizeof num, "%.3g", v);
    (void)snprintf(buf, sizeof(svg_text), "%s%s%s", num, *name && *name != '%' ? " " : "", name);
    return buf;
}

char *svg_value_text(svg_text buf, svg_unit unit, double v) { return value_text(buf, unit, v, true); }

/* Distance of linear ticks: 1, 2 or 5 times a power of ten of the unit people read; a power of two for bytes. */
static double tick_step(svg_unit unit, double range) {
    const double least = range / 7.0;
    if (unit == SVG_BYTES) return exp2(ceil(log2(least)));
    double scale = 1.0; /* of a minute on, ticks are round in seconds or minutes */
    if (unit == SVG_MS && range >= 600000.0) scale = 60000.0;
    const double ten = pow(10.0, floor(log10(least / scale))), by = least / scale / ten;
    return scale * ten * (by <= 1.0 ? 1.0 : by <= 2.0 ? 2.0 : by <= 5.0 ? 5.0 : 10.0);
}

/* Ticks of a logarithmic axis at base^k times each of mult; as many of mult as there is room for. */
static int log_ticks(double *tick, svg_unit unit, double lo, double hi) {
    static const double one[] = {1}, three[] = {1, 2, 5}, nine[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const double decades = log10(hi / lo);
    int n = 0;
    if (unit == SVG_BYTES) { /* every, or every second, third … power of two */
        const double each = fmax(1.0, ceil(log2(hi / lo) / 8.0));
        if (log2(hi / lo) >= 2.0) {
            const double first = ceil(log2(lo) / each - 1e-9) * each;
            for (double k = first; exp2(k) <= hi * (1 + 1e-9) && n < SVG_MAX_TICK; k += each) tick[n++] = exp2(k);
            return n;
        }
    }
    const double *mult = decades > 3.0 ? one : decades > 0.7 ? three : nine;
    const int n_mult = decades > 3.0 ? 1 : decades > 0.7 ? 3 : 9;
    const double each = fmax(1.0, ceil(decades / 8.0));
    for (double k = floor(log10(lo) / each) * each; pow(10.0, k) <= hi * (1 + 1e-9); k += each) {
        for (int i = 0; i < n_mult; i++) {
            const double v = mult[i] * pow(10.0, k);
            if (v >= lo * (1 - 1e-9) && v <= hi * (1 + 1e-9) && n < SVG_MAX_TICK) tick[n++] = v;
        }
    }
    return n;
}

int svg_ticks(double tick[SVG_MAX_TICK], svg_unit unit, bool log, double lo, double hi) {
    int n = 0;
    if (log) {
        n = log_ticks(tick, unit, lo, hi);
        if (n >= 2) return n;
        n = 0; /* within one decade: as on a linear axis */
    }
    const double step = tick_step(unit, hi - lo), slack = step * 1e-6;
    for (double k = ceil((lo - slack) / step); k * step <= hi + slack && n < SVG_MAX_TICK; k++) {
        tick[n++] = k * step + 0.0; /* no -0 */
    }
    return n;
}

/* ---- text ---- */

/* n bytes at most; what XML may not hold is left out. */
static void put_text_n(FILE *f, const char *s, size_t n) {
    for (size_t i = 0; i < n && s[i]; i++) {
        switch (s[i]) {
        case '&': fputs("&amp;", f); break;
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '"': fputs("&quot;", f); break;
        default:
            if ((unsigned char)s[i] >= 0x20 || s[i] == '\t') fputc(s[i], f);
        }
    }
}

static void label(FILE *f, double x, double y, const char *cls, const char *anchor, const char *text) {
    fprintf(f, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", cls, x, y, anchor);
    put_text_n(f, text, SIZE_MAX);
    fputs("</text>\n", f);
}

/* About how wide text is at 12 px; characters, not bytes. */
static double text_width(const char *s) {
    double n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n * 6.6;
}

/* Lines of at most CHARS characters, cut at blanks; the last one takes what is left. Returns how many. */
static int wrap(const char *s, const char *line[MAX_LINE], size_t len[MAX_LINE]) {
    int n = 0;
    while (s && *s && n < MAX_LINE) {
        size_t cut = 0, i = 0, chars = 0;
        for (; s[i] && chars <= CHARS; i++) {
            chars += ((unsigned char)s[i] & 0xc0) != 0x80;
            if (s[i] == ' ') cut = i;
        }
        if (!s[i] || cut == 0 || n == MAX_LINE - 1) cut = strlen(s);
        line[n] = s;
        len[n++] = cut;
        s += cut;
        while (*s == ' ') s++;
    }
    return n;
}

/* ---- the page ---- */

static const char style[] =
    "<style>\n"
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}\n"
    ".title{font-size:15px;font-weight:600}.small{fill:#59636e}.caption{font-size:11px;fill:#59636e}\n"
    ".page{fill:#fff}.grid{stroke:#d9dee3;fill:none}.axis{stroke:#8b949e;fill:none}\n"
    ".rule{stroke:#59636e;stroke-dasharray:2 3;fill:none}.halo{fill:#59636e;stroke:#fff;stroke-width:4;paint-order:stroke}\n"
    ".line{fill:none;stroke-width:1.7;stroke-linejoin:round}.dash{stroke-dasharray:7 4}\n"
    ".s0{stroke:#0b62a8}.s1{stroke:#c4500c}.s2{stroke:#1a7f4b}.s3{stroke:#8a3fa0}.s4{stroke:#b3261e}.s5{stroke:#57606a}\n"
    ".f0{fill:#0b62a8}.f1{fill:#c4500c}.f2{fill:#1a7f4b}.f3{fill:#8a3fa0}.f4{fill:#b3261e}.f5{fill:#57606a}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#e6edf3}.small,.caption{fill:#9da7b1}.page{fill:#0d1117}.grid{stroke:#2a3139}.axis{stroke:#6e7681}\n"
    ".rule{stroke:#9da7b1}.halo{fill:#9da7b1;stroke:#0d1117}\n"
    ".s0{stroke:#58a6ff}.s1{stroke:#f0883e}.s2{stroke:#3fb950}.s3{stroke:#d2a8ff}.s4{stroke:#ff7b72}.s5{stroke:#9da7b1}\n"
    ".f0{fill:#58a6ff}.f1{fill:#f0883e}.f2{fill:#3fb950}.f3{fill:#d2a8ff}.f4{fill:#ff7b72}.f5{fill:#9da7b1}\n"
    "}\n</style>\n";

static void begin(FILE *f, double height, const char *title) {
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" role=\"img\">\n",
            WIDTH, height, WIDTH, height);
    fputs("<title>", f);
    put_text_n(f, title ? title : "", SIZE_MAX);
    fputs("</title>\n", f);
    fputs(style, f);
    fprintf(f, "<rect class=\"page\" width=\"%d\" height=\"%.0f\"/>\n", WIDTH, height);
    if (title) label(f, 16, 26, "title", "start", title);
}

static void put_caption(FILE *f, double y, const char *caption) {
    const char *line[MAX_LINE];
    size_t len[MAX_LINE];
    const int n = wrap(caption, line, len);
    for (int i = 0; i < n; i++) {
        fprintf(f, "<text class=\"caption\" x=\"16\" y=\"%.1f\">", y + 15.0 * i);
        put_text_n(f, line[i], len[i]);
        fputs("</text>\n", f);
    }
}

static bool end(FILE *f) {
    fputs("</svg>\n", f);
    return !ferror(f);
}

static double caption_height(const char *caption) {
    const char *line[MAX_LINE];
    size_t len[MAX_LINE];
    return 15.0 * wrap(caption, line, len);
}

/* ---- from data to the page ---- */

static double share(double v, double lo, double hi, bool log) {
    return log ? (log10(v) - log10(lo)) / (log10(hi) - log10(lo)) : (v - lo) / (hi - lo);
}

static double page_x(const frame *p, double v) { return p->x0 + (p->x1 - p->x0) * share(v, p->lo_x, p->hi_x, p->log_x); }
static double page_y(const frame *p, double v) { return p->y1 - (p->y1 - p->y0) * share(v, p->lo_y, p->hi_y, p->log_y); }

static bool can_show(double v, bool log) { return isfinite(v) && (!log || v > 0.0); }

typedef struct {
    double lo, hi;
} extent;

static void widen(extent *e, double v, bool log) {
    if (!can_show(v, log)) return;
    e->lo = fmin(e->lo, v);
    e->hi = fmax(e->hi, v);
}

/* Something to show even where there is one value or none; room above the values where `air`. */
static void settle(extent *e, const svg_axis *a, bool air) {
    if (e->lo > e->hi) *e = a->log ? (extent){1, 10} : (extent){0, 1};
    if (a->from_zero && !a->log) e->lo = fmin(e->lo, 0.0), e->hi = fmax(e->hi, 0.0);
    if (a->log) {
        if (e->hi < e->lo * 1.01) e->lo /= 2, e->hi *= 2;
        else if (air) e->hi *= pow(e->hi / e->lo, 0.05), e->lo /= pow(e->hi / e->lo, 0.05);
        return;
    }
    if (e->hi - e->lo <= 1e-9 * fmax(fabs(e->lo), fabs(e->hi)) || e->hi == e->lo) {
        const double by = e->hi == 0.0 ? 1.0 : 0.5 * fabs(e->hi);
        e->lo -= a->from_zero && e->lo == 0.0 ? 0.0 : by;
        e->hi += by;
    }
    const double pad = 0.06 * (e->hi - e->lo);
    if (air) {
        e->hi += pad;
        if (e->lo != 0.0) e->lo -= e->lo > 0.0 && e->lo < pad ? e->lo : pad;
    }
}

static void draw_axes(const frame *p, const svg_plot *plot) {
    double tick[SVG_MAX_TICK];
    svg_text t;
    int n = svg_ticks(tick, plot->y.unit, plot->y.log, p->lo_y, p->hi_y);
    for (int i = 0; i < n; i++) {
        const double y = page_y(p, tick[i]);
        fprintf(p->f, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", p->x0, y, p->x1);
        label(p->f, p->x0 - 8, y + 4, "small", "end", svg_value_text(t, plot->y.unit, tick[i]));
    }
    n = svg_ticks(tick, plot->x.unit, plot->x.log, p->lo_x, p->hi_x);
    for (int i = 0; i < n; i++) {
        const double x = page_x(p, tick[i]);
        fprintf(p->f, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n", x, p->y1);
        label(p->f, x, p->y1 + 19, "small", "middle", svg_value_text(t, plot->x.unit, tick[i]));
    }
    fprintf(p->f, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", p->x0, p->y1, p->x1);
    if (plot->x.label) label(p->f, (p->x0 + p->x1) / 2, p->y1 + 38, "small", "middle", plot->x.label);
    if (plot->y.label) label(p->f, 16, p->y0 - 12, "small", "start", plot->y.label);
}

static bool rule_shows(const frame *p, const svg_rule *r) {
    return r->vertical ? can_show(r->at, p->log_x) && r->at >= p->lo_x && r->at <= p->hi_x
                       : can_show(r->at, p->log_y) && r->at >= p->lo_y && r->at <= p->hi_y;
}

/* All lines before all words, so that none goes through a word. */
static void draw_rules(const frame *p, const svg_plot *plot) {
    double last_x = -1e9;
    int level = 0;
    for (int i = 0; i < plot->n_rule; i++) {
        const svg_rule *r = &plot->rule[i];
        if (!rule_shows(p, r)) continue;
        if (r->vertical) fprintf(p->f, "<path class=\"rule\" d=\"M%.1f %.1fV%.1f\"/>\n", page_x(p, r->at), p->y0, p->y1);
        else fprintf(p->f, "<path class=\"rule\" d=\"M%.1f %.1fH%.1f\"/>\n", p->x0, page_y(p, r->at), p->x1);
    }
    for (int i = 0; i < plot->n_rule; i++) {
        const svg_rule *r = &plot->rule[i];
        if (!r->label || !rule_shows(p, r)) continue;
        if (!r->vertical) {
            label(p->f, p->x1 - 2, page_y(p, r->at) - 4, "halo", "end", r->label);
            continue;
        }
        const double x = page_x(p, r->at), w = text_width(r->label);
        level = x - last_x < 8 ? (level + 1) % 6 : 0; /* words that would lie upon each other go below */
        const bool right = x + 5 + w <= p->x1;
        label(p->f, right ? x + 4 : x - 4, p->y0 + 11 + 14 * level, "halo", right ? "start" : "end", r->label);
        last_x = right ? x + w : x;
    }
}

typedef struct {
    const frame *p;
    bool open, step; /* a path has begun; it goes in steps */
    double y;        /* of the point drawn last */
} pen;

static void draw_to(pen *d, double x, double y) {
    if (!d->open) fprintf(d->p->f, "M%.1f %.1f", x, y);
    else if (d->step) fprintf(d->p->f, "H%.1fV%.1f", x, y);
    else fprintf(d->p->f, "L%.1f %.1f", x, y);
    d->open = true;
    d->y = y;
}

/* The line of a series. Values that cannot be shown leave a gap. */
static void draw_line(const frame *p, const svg_series *s) {
    pen d = {.p = p, .step = s->step};
    const bool reduce = s->n > 2 * (size_t)(p->x1 - p->x0);
    for (size_t i = 0; i < s->n;) {
        if (!can_show(s->x[i], p->log_x) || !can_show(s->y[i], p->log_y)) {
            d.open = false;
            i++;
            continue;
        }
        const double x = page_x(p, s->x[i]), first = page_y(p, s->y[i]);
        double least = first, most = first, last = first;
        size_t k = i + 1;
        while (reduce && k < s->n && can_show(s->x[k], p->log_x) && can_show(s->y[k], p->log_y) &&
               floor(page_x(p, s->x[k])) == floor(x)) {
            last = page_y(p, s->y[k++]);
            least = fmin(least, last);
            most = fmax(most, last);
        }
        draw_to(&d, x, first);
        if (k > i + 1) fprintf(p->f, "V%.1fV%.1fV%.1f", least, most, last);
        i = k;
    }
}

static void draw_series(const frame *p, const svg_series *s, int colour) {
    fprintf(p->f, "<path class=\"line s%d%s\" d=\"", colour, s->dashed ? " dash" : "");
    draw_line(p, s);
    fputs("\"/>\n", p->f);
    for (size_t i = 0; i < s->n && s->points; i++) {
        if (!can_show(s->x[i], p->log_x) || !can_show(s->y[i], p->log_y)) continue;
        fprintf(p->f, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", colour, page_x(p, s->x[i]),
                page_y(p, s->y[i]));
    }
}

/* Names of the series in rows from y on; returns the y below them. f NULL: only measures. */
static double legend(FILE *f, const svg_plot *p, double y) {
    double x = 16;
    bool any = false;
    for (int i = 0; i < p->n_series && i < SVG_MAX_SERIES; i++) {
        const svg_series *s = &p->series[i];
        if (!s->name) continue;
        const double w = 28 + text_width(s->name) + 18;
        if (any && x + w > WIDTH - 8) x = 16, y += 18;
        any = true;
        if (f) {
            fprintf(f, "<path class=\"line s%d%s\" d=\"M%.1f %.1fh20\"/>\n", i, s->dashed ? " dash" : "", x, y - 4);
            label(f, x + 26, y, "legend", "start", s->name);
        }
        x += w;
    }
    return any ? y + 18 : y;
}

/* Where the parts of a plot lie whose title, or legend, begins at `top`. */
typedef struct {
    double legend, top, below, caption, end;
} layout;

static layout lay_out(const svg_plot *plot, double top) {
    layout l = {.legend = top + 48};
    l.top = legend(NULL, plot, l.legend) + (plot->y.label ? 16 : 0);
    l.below = l.top + PLOT_HEIGHT + (plot->x.label ? 38 : 19);
    l.caption = l.below + 26;
    l.end = l.caption + caption_height(plot->caption);
    return l;
}

static void draw_plot(FILE *f, const svg_plot *plot, const layout *l) {
    extent ex = {INFINITY, -INFINITY}, ey = ex;
    const int n = plot->n_series < SVG_MAX_SERIES ? plot->n_series : SVG_MAX_SERIES;
    for (int k = 0; k < n; k++) {
        const svg_series *s = &plot->series[k];
        for (size_t i = 0; i < s->n; i++) {
            if (!can_show(s->x[i], plot->x.log) || !can_show(s->y[i], plot->y.log)) continue;
            widen(&ex, s->x[i], plot->x.log);
            widen(&ey, s->y[i], plot->y.log);
        }
    }
    for (int i = 0; i < plot->n_rule; i++) {
        if (!plot->rule[i].vertical) widen(&ey, plot->rule[i].at, plot->y.log);
    }
    settle(&ex, &plot->x, false);
    settle(&ey, &plot->y, true);
    const frame p = {f, LEFT, WIDTH - RIGHT, l->top, l->top + PLOT_HEIGHT, ex.lo, ex.hi, ey.lo, ey.hi, plot->x.log, plot->y.log};
    legend(f, plot, l->legend);
    draw_axes(&p, plot);
    for (int k = 0; k < n; k++) draw_series(&p, &plot->series[k], k);
    draw_rules(&p, plot);
}

bool svg_write_plots(FILE *f, const svg_plot *plot, int n) {
    double height = 0.0;
    for (int i = 0; i < n; i++) height = lay_out(&plot[i], height).end;
    begin(f, height, n ? plot[0].title : NULL);
    double top = 0.0;
    for (int i = 0; i < n; i++) {
        const layout l = lay_out(&plot[i], top);
        if (i && plot[i].title) label(f, 16, top + 26, "title", "start", plot[i].title);
        draw_plot(f, &plot[i], &l);
        put_caption(f, l.caption, plot[i].caption);
        top = l.end;
    }
    return end(f);
}

bool svg_write_plot(FILE *f, const svg_plot *plot) { return svg_write_plots(f, plot, 1); }

/* ---- bars ---- */

bool svg_write_bars(FILE *f, const svg_bars *b) {
    extent e = {INFINITY, -INFINITY};
    double left = 60, right = 60;
    svg_text t;
    for (int i = 0; i < b->n_bar; i++) {
        widen(&e, b->bar[i].value, b->axis.log);
        left = fmax(left, text_width(b->bar[i].label) + 30);
        right = fmax(right, text_width(value_text(t, b->axis.unit, b->bar[i].value, false)) + 24 +
                                (b->bar[i].note ? text_width(b->bar[i].note) + 10 : 0));
    }
    left = fmin(left, 320);
    right = fmin(right, WIDTH - left - 120);
    svg_axis axis = b->axis;
    axis.from_zero = true; /* a bar's length is its value */
    settle(&e, &axis, false);
    if (axis.log) e.lo /= 1.5;
    const double top = b->axis.label ? 62 : 44;
    const frame p = {f, left, WIDTH - right, top, top + BAR_HEIGHT * b->n_bar, e.lo, e.hi, 0, 1, axis.log, false};
    begin(f, p.y1 + 40 + caption_height(b->caption), b->title);
    if (b->axis.label) label(f, 16, 46, "small", "start", b->axis.label);
    double tick[SVG_MAX_TICK];
    const int n = svg_ticks(tick, axis.unit, axis.log, e.lo, e.hi);
    for (int i = 0; i < n; i++) {
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", page_x(&p, tick[i]), p.y0, p.y1);
        label(f, page_x(&p, tick[i]), p.y1 + 16, "small", "middle", svg_value_text(t, axis.unit, tick[i]));
    }
    for (int i = 0; i < b->n_bar; i++) {
        const svg_bar *x = &b->bar[i];
        const double y = p.y0 + BAR_HEIGHT * i, zero = axis.log ? p.x0 : page_x(&p, 0.0);
        label(f, left - 10, y + 17, "name", "end", x->label);
        double to = zero;
        if (can_show(x->value, axis.log)) {
            const double at = page_x(&p, x->value), from = fmin(zero, at);
            to = fmax(zero, at);
            fprintf(f, "<rect class=\"f0\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"1.5\"/>\n", from, y + 4,
                    to - from, BAR_HEIGHT - 8);
        }
        const char *value = can_show(x->value, axis.log) ? value_text(t, axis.unit, x->value, false) : "–";
        label(f, to + 6, y + 17, "value", "start", value);
        if (x->note) label(f, to + 16 + text_width(value), y + 17, "small", "start", x->note);
    }
    fprintf(f, "<path class=\"axis\" d=\"M%.1f %.1fV%.1f\"/>\n", axis.log ? p.x0 : page_x(&p, 0.0), p.y0, p.y1);
    put_caption(f, p.y1 + 40, b->caption);
    return end(f);
}
