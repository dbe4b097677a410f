/* Memory through time: see memwatch.h. The sampling thread owns the log until memwatch_stop has joined it. */
#include "memwatch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/group.h"
#include "base/mem.h"
#include "base/os.h"
#include "svg.h"

enum { N_ENTRY = 4096 };
#define MOST_SHARE 0.009

/* ---- the log ---- */

void memwatch_log_init(memwatch_log *l, memwatch_entry *entry, size_t cap) {
    *l = (memwatch_log){.entry = entry, .cap = cap, .stride = 1};
}

static void raise_to(uint64_t *most, uint64_t v) {
    if (v > *most) *most = v;
}

/* Each entry takes the next one in: half as many, of twice the stride. */
static void halve(memwatch_log *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        const memwatch_entry next = l->entry[2 * i + 1];
        l->entry[i] = l->entry[2 * i];
        raise_to(&l->entry[i].peak, next.peak);
        l->entry[i].loaded |= next.loaded;
    }
    l->n /= 2;
    l->stride *= 2;
}

void memwatch_log_add(memwatch_log *l, const memwatch_sample *s) {
    const uint64_t resident = s->anon + s->file;
    const bool loaded = s->loads != l->last_loads;
    l->last_loads = s->loads;
    raise_to(&l->peak, resident);
    raise_to(&l->anon_peak, s->anon);
    raise_to(&l->charged_peak, s->charged);
    raise_to(loaded ? &l->load_peak : &l->rest_peak, resident);
    l->n_load += loaded;
    if (l->n_sample % l->stride == 0) {
        if (l->n == l->cap) halve(l); /* cap samples of the old stride are a multiple of the new one */
        l->entry[l->n++] = (memwatch_entry){.first = *s};
    }
    l->n_sample++;
    raise_to(&l->entry[l->n - 1].peak, resident);
    l->entry[l->n - 1].loaded |= loaded;
}

static int by_size(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t memwatch_log_median(const memwatch_log *l, uint64_t *scratch, bool with_loads, bool without) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const memwatch_entry *e = &l->entry[i];
        if (e->loaded ? with_loads : without) scratch[n++] = e->first.anon + e->first.file;
    }
    qsort(scratch, n, sizeof *scratch, by_size);
    return n ? scratch[n / 2] : 0;
}

/* "size resident shared text lib data dt"; shared are the file-backed pages of resident. */
bool memwatch_parse_statm(const char *text, uint64_t *anon, uint64_t *file) {
    uint64_t v[3];
    for (int i = 0; i < 3; i++) {
        char *end;
        if (*text < '0' || *text > '9') return false;
        v[i] = strtoull(text, &end, 10);
        if (*end != ' ') return false;
        text = end + 1;
    }
    *file = v[2] < v[1] ? v[2] : v[1];
    *anon = v[1] - *file;
    return true;
}

/* ---- the watch ---- */

struct memwatch {
    memwatch_log log;
    memwatch_entry *entry; /* [N_ENTRY] */
    _Atomic(memwatch_loads_fn) loads; /* NULL: not counted; what follows was there before it */
    const void *loads_ud;
    uint64_t loads_before;
    double period_ms, start_ms, end_ms, cpu_ms;
    double mark_ms[MEMWATCH_N_EVENT]; /* since the start; negative = has not happened */
    uint64_t page;
    int statm, charge; /* open files; -1 = not there */
    pthread_t thread;
    atomic_bool stop;
    bool running;
};

/* A small file from its beginning, as text; false when it cannot be read. */
static bool read_text(int fd, char *buf, size_t size) {
    const ssize_t n = fd < 0 ? -1 : pread(fd, buf, size - 1, 0);
    if (n > 0) buf[n] = '\0';
    return n > 0;
}

static void take_sample(memwatch *w) {
    char text[128];
    memwatch_sample s = {.t_ms = ct_now_ms() - w->start_ms};
    if (read_text(w->statm, text, sizeof text) && memwatch_parse_statm(text, &s.anon, &s.file)) {
        s.anon *= w->page;
        s.file *= w->page;
    }
    if (read_text(w->charge, text, sizeof text)) s.charged = strtoull(text, NULL, 10);
    const memwatch_loads_fn loads = atomic_load_explicit(&w->loads, memory_order_acquire);
    if (loads) s.loads = loads(w->loads_ud) - w->loads_before;
    memwatch_log_add(&w->log, &s);
}

static double thread_cpu_ms(void) {
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6 : 0.0;
}

/* Reading takes 2 us, but waking up 10 to 40, most in a virtual machine whose cores are idle: where that comes to more than
 * MOST_SHARE of a core, the period becomes longer. */
static void *watch(void *p) {
    memwatch *w = p;
    double nap_ms = w->period_ms;
    for (int i = 1; !atomic_load_explicit(&w->stop, memory_order_relaxed); i++) {
        take_sample(w);
        if (i % 32 == 0) {
            const double share = thread_cpu_ms() / (ct_now_ms() - w->start_ms);
            if (share > MOST_SHARE && nap_ms < 8.0 * w->period_ms) nap_ms *= 1.25;
            else if (share < 0.7 * MOST_SHARE && nap_ms > w->period_ms) nap_ms /= 1.25;
        }
        const struct timespec nap = {(time_t)(nap_ms / 1000.0), (long)(nap_ms * 1e6) % 1000000000L};
        nanosleep(&nap, NULL);
    }
    take_sample(w);
    w->cpu_ms = thread_cpu_ms();
    w->end_ms = ct_now_ms();
    return NULL;
}

static int open_charge(void) {
    ct_group g;
    char path[CT_GROUP_PATH + 32];
    if (!ct_group_find(&g, "", "memory")) return -1;
    (void)snprintf(path, sizeof path, "%s/%s", g.dir, g.version == 1 ? "memory.usage_in_bytes" : "memory.current");
    return open(path, O_RDONLY | O_CLOEXEC);
}

memwatch *memwatch_start(double period_ms) {
    memwatch *w = ct_alloc(sizeof *w);
    if (!w) return NULL;
    w->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    w->charge = open_charge();
    w->page = (uint64_t)sysconf(_SC_PAGESIZE);
    w->period_ms = period_ms;
    w->start_ms = ct_now_ms();
    for (int i = 0; i < MEMWATCH_N_EVENT; i++) w->mark_ms[i] = -1.0;
    w->entry = ct_alloc_array(N_ENTRY, sizeof *w->entry);
    if (w->entry) {
        memwatch_log_init(&w->log, w->entry, N_ENTRY);
        w->running = pthread_create(&w->thread, NULL, watch, w) == 0;
    }
    if (!w->running) memwatch_free(&w);
    return w;
}

void memwatch_count(memwatch *w, memwatch_loads_fn loads, const void *ud) {
    if (!w) return;
    w->loads_ud = ud;
    w->loads_before = loads(ud);
    atomic_store_explicit(&w->loads, loads, memory_order_release);
}

void memwatch_mark(memwatch *w, memwatch_event e) {
    if (w && w->mark_ms[e] < 0.0) w->mark_ms[e] = ct_now_ms() - w->start_ms;
}

void memwatch_stop(memwatch *w) {
    if (!w || !w->running) return;
    atomic_store_explicit(&w->stop, true, memory_order_relaxed);
    pthread_join(w->thread, NULL);
    w->running = false;
}

void memwatch_free(memwatch **w) {
    if (!*w) return;
    memwatch_stop(*w);
    if ((*w)->statm >= 0) close((*w)->statm);
    if ((*w)->charge >= 0) close((*w)->charge);
    ct_free((*w)->entry);
    ct_free(*w);
    *w = NULL;
}

/* ---- what came out ---- */

void memwatch_get(const memwatch *w, memwatch_summary *out) {
    *out = (memwatch_summary){0};
    if (!w || w->log.n == 0) return;
    const memwatch_log *l = &w->log;
    *out = (memwatch_summary){.n = l->n_sample, .period_ms = (w->end_ms - w->start_ms) / (double)l->n_sample, .peak = l->peak,
                              .anon_peak = l->anon_peak, .charged_peak = l->charged_peak, .counts = atomic_load(&w->loads) != NULL,
                              .cpu_ms = w->cpu_ms};
    out->anon = l->entry[l->n - 1].first.anon;
    out->file = l->entry[l->n - 1].first.file;
    if (out->counts) out->load_n = l->n_load, out->load_peak = l->load_peak, out->rest_peak = l->rest_peak;
    uint64_t *scratch = ct_alloc_array(l->n, sizeof *scratch);
    if (!scratch) return;
    out->median = memwatch_log_median(l, scratch, true, true);
    if (out->counts) {
        out->load_median = memwatch_log_median(l, scratch, true, false);
        out->rest_median = memwatch_log_median(l, scratch, false, true);
    }
    ct_free(scratch);
}

bool memwatch_write_csv(const memwatch *w, FILE *f) {
    fputs("t_ms,rss_anon,rss_file,charged,loads,rss_peak\n", f);
    for (size_t i = 0; i < w->log.n; i++) {
        const memwatch_entry *e = &w->log.entry[i];
        fprintf(f, "%.2f,%llu,%llu,%llu,%llu,%llu\n", e->first.t_ms, (unsigned long long)e->first.anon,
                (unsigned long long)e->first.file, (unsigned long long)e->first.charged, (unsigned long long)e->first.loads,
                (unsigned long long)e->peak);
    }
    return !ferror(f);
}

bool memwatch_write_svg(const memwatch *w, FILE *f, const char *title, const char *caption) {
    static const char *const event[MEMWATCH_N_EVENT] = {"loaded", "first token", "end"};
    enum { TIME, ANON, FILE_PAGES, CHARGED, LOAD_T, LOAD_Y, N_COLUMN };
    const memwatch_log *l = &w->log;
    double *col = ct_alloc_array(l->n + 1, N_COLUMN * sizeof *col), *c[N_COLUMN];
    if (!col) return false;
    for (int k = 0; k < N_COLUMN; k++) c[k] = col + (size_t)k * (l->n + 1);
    size_t n_load = 0;
    for (size_t i = 0; i < l->n; i++) {
        const memwatch_entry *e = &l->entry[i];
        c[TIME][i] = e->first.t_ms;
        c[ANON][i] = (double)e->first.anon;
        c[FILE_PAGES][i] = (double)e->first.file;
        c[CHARGED][i] = (double)e->first.charged;
        if (!e->loaded) continue;
        c[LOAD_T][n_load] = e->first.t_ms;
        c[LOAD_Y][n_load++] = (double)e->peak;
    }
    svg_series series[4];
    int n = 0;
    series[n++] = (svg_series){.name = "anonymous", .x = c[TIME], .y = c[ANON], .n = l->n, .step = true};
    series[n++] = (svg_series){.name = "file pages", .x = c[TIME], .y = c[FILE_PAGES], .n = l->n, .step = true};
    if (l->charged_peak) {
        series[n++] = (svg_series){.name = "charged to the group", .x = c[TIME], .y = c[CHARGED], .n = l->n, .step = true,
                                   .dashed = true};
    }
    if (n_load) series[n++] = (svg_series){.name = "both, where experts were loaded", .x = c[LOAD_T], .y = c[LOAD_Y], .n = n_load};
    svg_rule rule[MEMWATCH_N_EVENT + 1];
    int n_rule = 0;
    for (int i = 0; i < MEMWATCH_N_EVENT; i++) {
        if (w->mark_ms[i] >= 0.0) rule[n_rule++] = (svg_rule){.vertical = true, .at = w->mark_ms[i], .label = event[i]};
    }
    const uint64_t limit = ct_memory_limit(), most = l->peak > l->charged_peak ? l->peak : l->charged_peak;
    if (limit && limit / 3 < most) rule[n_rule++] = (svg_rule){.at = (double)limit, .label = "limit"};
    const svg_plot p = {.title = title, .caption = caption, .x = {.label = "time", .unit = SVG_MS, .from_zero = true},
                        .y = {.label = "memory", .unit = SVG_BYTES, .from_zero = true},
                        .series = series, .n_series = n, .rule = rule, .n_rule = n_rule};
    const bool ok = svg_write_plot(f, &p);
    ct_free(col);
    return ok;
}
