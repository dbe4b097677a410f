/* Memory through time: a thread that looks about every two milliseconds at what this process has resident and what its control
 * group is charged with, and tells the moments at which experts were loaded from the others.
 *
 * Files of /proc and /sys are opened once; the loop neither allocates nor grows: when the log is full, every second entry is
 * merged into the one before it. Peaks are those of all samples, whatever the log still holds. Resident sizes come from
 * /proc/self/statm, whose counters lag by up to a few hundred KiB on machines with many cores. Linux only; elsewhere
 * samples are zero. */
#ifndef CLI_MEMWATCH_H
#define CLI_MEMWATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- the log: pure, no clock and no thread ---- */

typedef struct {
    double t_ms;         /* since the watch began */
    uint64_t anon, file; /* resident bytes of this process */
    uint64_t charged;    /* what its control group is charged with; 0 = not told */
    uint64_t loads;      /* experts loaded since they are counted */
} memwatch_sample;

/* `stride` samples: the first of them, the most that was resident in any, and whether experts were loaded. */
typedef struct {
    memwatch_sample first;
    uint64_t peak;
    bool loaded;
} memwatch_entry;

typedef struct {
    memwatch_entry *entry; /* [cap] */
    size_t n, cap;         /* cap is even */
    uint64_t stride;
    /* Of all samples. */
    uint64_t n_sample, n_load, last_loads;
    uint64_t peak, anon_peak, charged_peak, load_peak, rest_peak;
} memwatch_log;

/* Keeps entry: [cap]. */
void memwatch_log_init(memwatch_log *l, memwatch_entry *entry, size_t cap);
void memwatch_log_add(memwatch_log *l, const memwatch_sample *s);
/* Median of what was resident, over the log's entries: all, those with loads, those without. scratch: [l->n]. 0 = none. */
uint64_t memwatch_log_median(const memwatch_log *l, uint64_t *scratch, bool with_loads, bool without);
/* anon and file of the text of /proc/self/statm, in pages; false when it is something else. */
bool memwatch_parse_statm(const char *text, uint64_t *anon, uint64_t *file);

/* ---- the watch ---- */

typedef struct memwatch memwatch;

typedef enum { MEMWATCH_LOADED, MEMWATCH_FIRST_TOKEN, MEMWATCH_END, MEMWATCH_N_EVENT } memwatch_event;

#define MEMWATCH_PERIOD_MS 2.0 /* longer by itself where watching would take 1% of a core */

/* NULL when there is no memory or thread for it. Gives: memwatch_free. */
memwatch *memwatch_start(double period_ms);
/* From now on ask beside each sample how many experts have been loaded. The watching thread calls loads(ud) until
 * memwatch_stop; ud must live as long. Once. */
typedef uint64_t (*memwatch_loads_fn)(const void *ud);
void memwatch_count(memwatch *w, memwatch_loads_fn loads, const void *ud);
/* The moment of an event; the first one of its kind counts. By the thread that started the watch, like all other calls; a
 * NULL watch is fine. */
void memwatch_mark(memwatch *w, memwatch_event e);
/* Take the last sample and end the thread. What follows needs it. */
void memwatch_stop(memwatch *w);

typedef struct {
    uint64_t n;                       /* samples */
    double period_ms;                 /* as it was, on average */
    uint64_t peak, median;            /* bytes resident, anonymous and file pages */
    uint64_t anon_peak, charged_peak;
    uint64_t anon, file;              /* at the last sample */
    bool counts;                      /* loads are counted; otherwise what follows is zero */
    uint64_t load_n, load_peak, load_median; /* samples in which it moved */
    uint64_t rest_peak, rest_median;         /* the others */
    double cpu_ms;                    /* what watching cost */
} memwatch_summary;
void memwatch_get(const memwatch *w, memwatch_summary *out);

/* The log as CSV, or as an SVG plot with a caption. False when writing failed. */
bool memwatch_write_csv(const memwatch *w, FILE *f);
bool memwatch_write_svg(const memwatch *w, FILE *f, const char *title, const char *caption);

void memwatch_free(memwatch **w);

#endif
