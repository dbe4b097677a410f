/* Parsing of a verb's options from its table, the nearest-word hint, and error lines.
 * Never guesses: a flag is its full name or its letter, a value is read to its last character, numbers are checked
 * against the limits of the table. Help and man page are in help.c. */
#include "args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "args_int.h"

static const cli_opt common_opts[] = {
    {"--json", 0, CLI_FLAG, offsetof(cli_common, json), NULL, 0, 0, "One JSON object on stdout, and nothing else there."},
    {"--threads", 't', CLI_INT, offsetof(cli_common, n_threads), "N", 1, 1024,
     "Threads to compute with. Default: the cores this process may use. The answer does not depend on it."},
    {"--ram", 0, CLI_SIZE, offsetof(cli_common, ram), "SIZE", 0, 0,
     "Hold no more memory than this (1.5G, 900M; binary units), page cache included. What every token needs is read once, past the "
     "page cache; per-layer embeddings and experts stay on disk where they do not fit. Refused, with the smallest SIZE that works, "
     "where that is not enough. Default: what is fastest in the memory that is free now."},
    {"--cpu", 0, CLI_TEXT, offsetof(cli_common, cpu), "LEVEL", 0, 0,
     "Use no instructions beyond this level: ref, avx2, avx512, neon. The answer does not depend on it. Default: the "
     "best this machine has."},
    {"--help", 'h', CLI_FLAG, CLI_NO_FIELD, NULL, 0, 0, "Show this help."},
};
enum { N_COMMON = sizeof common_opts / sizeof *common_opts };

size_t cli_opts_count(const cli_verb *v) { return v->n_opts + N_COMMON; }

const cli_opt *cli_opts_at(const cli_verb *v, size_t i) {
    return i < v->n_opts ? &v->opts[i] : &common_opts[i - v->n_opts];
}

int cli_fail(int status, const char *what, const char *fmt, ...) {
    char msg[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    for (char *c = msg; *c; c++) { /* words of the command line may hold anything; an error is one line */
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
    fprintf(stderr, what ? "carat: %s: %s\n" : "carat: %s%s\n", what ? what : "", msg);
    return status;
}

/* ---- nearest word ---- */

/* Edits that turn a into b: insert, delete, replace, swap neighbours. Words beyond the buffer count as far away. */
static int edit_distance(const char *a, const char *b) {
    enum { MAX = 48 };
    const int n = (int)strlen(a), m = (int)strlen(b);
    if (n >= MAX || m >= MAX) return n + m;
    int d[3][MAX]; /* rows i-2, i-1, i, taken modulo 3 */
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *cur = d[i % 3];
        const int *up = d[(i - 1) % 3];
        cur[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (cur[j - 1] + 1 < best) best = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                const int swapped = d[(i - 2) % 3][j - 2] + 1;
                if (swapped < best) best = swapped;
            }
            cur[j] = best;
        }
    }
    return d[n % 3][m];
}

static int nearest(const char *word, const char *const *words, int n, int *cost_out) {
    int best = -1, best_cost = 0;
    for (int i = 0; i < n; i++) {
        /* A word cut short ("--temperature" for "--temp", "tok" for "tokenize") is nearer than its letters say. */
        const size_t lw = strlen(word), li = strlen(words[i]), common = lw < li ? lw : li;
        int cost = 4 * edit_distance(word, words[i]);
        if (common > 2 && strncmp(word, words[i], common) == 0) cost = 4 + (int)(lw > li ? lw - li : li - lw) / 4;
        if (best < 0 || cost < best_cost) best = i, best_cost = cost;
    }
    *cost_out = best_cost;
    return best;
}

int cli_nearest(const char *word, const char *const *words, int n) {
    int cost;
    return nearest(word, words, n, &cost);
}

int cli_hint(const char *word, const char *const *words, int n) {
    int cost;
    const int best = nearest(word, words, n, &cost);
    const size_t letters = strlen(word) - strspn(word, "-");
    return best >= 0 && cost <= 4 * (int)((letters + 1) / 2) ? best : -1;
}

/* ---- values ---- */

bool cli_size_parse(const char *s, uint64_t *out) {
    char *end;
    if (!((*s >= '0' && *s <= '9') || *s == '.')) return false; /* strtod would take signs, blanks, "inf" */
    errno = 0;
    const double x = strtod(s, &end);
    if (end == s || errno || memchr(s, 'x', (size_t)(end - s)) || memchr(s, 'X', (size_t)(end - s))) return false;
    static const char units[] = "KMGT";
    double scale = 1.0;
    if (*end) {
        const char *u = strchr(units, *end & ~0x20);
        if (u && *u) {
            for (int i = 0; i <= (int)(u - units); i++) scale *= 1024.0;
            end++;
            if (*end == 'i') end++;
        }
        if (*end == 'B' || *end == 'b') end++;
    }
    const double bytes = floor(x * scale);
    if (*end || !(bytes >= 1.0) || bytes > 9e18) return false;
    *out = (uint64_t)bytes;
    return true;
}

/* *out stays as it is where value is none of the words. */
static bool parse_choice(const char *value, const char *words, int32_t *out) {
    const size_t len = strlen(value);
    int32_t i = 0;
    for (const char *w = words; w; i++) {
        const char *bar = strchr(w, '|');
        const size_t n = bar ? (size_t)(bar - w) : strlen(w);
        if (n == len && memcmp(w, value, n) == 0) {
            *out = i;
            return true;
        }
        w = bar ? bar + 1 : NULL;
    }
    return false;
}

/* What is too large for the type comes out as its limit, and fails against those of the table. */
static bool parse_number(const char *value, bool whole, double *out) {
    char *end;
    *out = whole ? (double)strtoll(value, &end, 10) : strtod(value, &end);
    if (whole && end != value && (*end == 'K' || *end == 'k')) *out *= 1024.0, end++; /* contexts are told so: 128K */
    return end != value && *end == '\0' && !isnan(*out);
}

static bool parse_seed(const char *value, cli_seed *out) {
    char *end;
    errno = 0;
    out->value = strtoull(value, &end, 10);
    out->given = true;
    return *value >= '0' && *value <= '9' && *end == '\0' && errno == 0 && out->value <= INT64_MAX; /* JSON tells it */
}

/* One value into its field; flag is how the line spells the option. Returns 0, or CLI_USAGE with the error printed. */
static int store(const cli_verb *v, const cli_opt *o, const char *flag, const char *value, void *args) {
    void *field = (char *)args + o->at;
    double x = 0.0;
    switch (o->kind) {
    case CLI_FLAG: *(bool *)field = true; return 0;
    case CLI_TEXT: *(const char **)field = value; return 0;
    case CLI_LIST: {
        cli_list *l = field;
        if (l->n == CLI_MAX_LIST) return cli_fail(CLI_USAGE, v->name, "%s: at most %d times", flag, CLI_MAX_LIST);
        l->v[l->n++] = value;
        return 0;
    }
    case CLI_SIZE:
        if (cli_size_parse(value, field)) return 0;
        return cli_fail(CLI_USAGE, v->name, "%s: '%s' is no size: write 1.5G, 900M or a number of bytes", flag, value);
    case CLI_SEED:
        if (parse_seed(value, field)) return 0;
        return cli_fail(CLI_USAGE, v->name, "%s: '%s' is no seed: write a whole number from 0 to %lld", flag, value,
                        (long long)INT64_MAX);
    case CLI_CHOICE:
        if (parse_choice(value, o->arg, field)) return 0;
        return cli_fail(CLI_USAGE, v->name, "%s: '%s' is not one of %s", flag, value, o->arg);
    case CLI_INT:
    case CLI_REAL:
        if (!parse_number(value, o->kind == CLI_INT, &x)) {
            return cli_fail(CLI_USAGE, v->name, "%s: '%s' is no %snumber: write one from %.10g to %.10g", flag, value,
                            o->kind == CLI_INT ? "whole " : "", o->min, o->max);
        }
        if (x < o->min || x > o->max) {
            return cli_fail(CLI_USAGE, v->name, "%s: %s is outside %.10g to %.10g", flag, value, o->min, o->max);
        }
        if (o->kind == CLI_INT) *(int32_t *)field = (int32_t)x;
        else *(float *)field = (float)x;
        return 0;
    }
    return 0;
}

/* ---- the line ---- */

/* The option of a word "--name", "--name=value", "-x" or "-x5"; *value points at a value inside the word. */
static const cli_opt *find_opt(const cli_verb *v, const char *word, const char **value) {
    *value = NULL;
    for (size_t i = 0; i < cli_opts_count(v); i++) {
        const cli_opt *o = cli_opts_at(v, i);
        if (word[1] == '-') {
            const size_t n = strlen(o->name);
            if (strncmp(word, o->name, n) != 0 || (word[n] != '\0' && word[n] != '=')) continue;
            if (word[n] == '=') *value = word + n + 1;
            return o;
        }
        if (!o->letter || word[1] != o->letter) continue;
        if (word[2] == '\0') return o;
        /* "-n5", but not "-file": a long name behind one dash is a slip worth a hint. */
        if (o->kind == CLI_INT && ((word[2] >= '0' && word[2] <= '9') || word[2] == '-')) {
            *value = word + 2;
            return o;
        }
    }
    return NULL;
}

static int unknown_flag(const cli_verb *v, const char *word) {
    const char *names[64];
    int n = 0;
    for (size_t i = 0; i < cli_opts_count(v) && n < 64; i++) names[n++] = cli_opts_at(v, i)->name;
    char bare[64];
    (void)snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word, "="), word);
    /* "-temp" is "--temp" to someone used to other tools. */
    if (bare[1] != '-' && strlen(bare) > 2) (void)snprintf(bare, sizeof bare, "-%.*s", (int)strcspn(word, "="), word);
    const int near = cli_hint(bare, names, n);
    if (near < 0) return cli_fail(CLI_USAGE, v->name, "%s: no such flag (carat %s --help lists all)", word, v->name);
    return cli_fail(CLI_USAGE, v->name, "%s: no such flag; did you mean %s? (carat %s --help lists all)", word, names[near],
                    v->name);
}

static int check_positions(const cli_verb *v, const cli_common *c) {
    if (c->n_pos < v->min_pos) {
        return cli_fail(CLI_USAGE, v->name, "too few arguments; usage: carat %s %s", v->name, v->synopsis);
    }
    return 0;
}

static int parse_words(const cli_verb *v, int argc, char **argv, void *args, bool *help) {
    cli_common *c = args;
    bool words_only = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!words_only && strcmp(word, "--") == 0) {
            words_only = true;
        } else if (words_only || word[0] != '-' || word[1] == '\0') {
            if (c->n_pos == v->max_pos) {
                return cli_fail(CLI_USAGE, v->name, "%s: one argument too many; usage: carat %s %s", word, v->name,
                                v->synopsis);
            }
            c->pos[c->n_pos++] = word;
        } else {
            const char *value;
            const cli_opt *o = find_opt(v, word, &value);
            if (!o) return unknown_flag(v, word);
            char flag[40];
            (void)snprintf(flag, sizeof flag, "%.*s", word[1] == '-' ? (int)strcspn(word, "=") : 2, word);
            if (o->kind == CLI_FLAG && value) return cli_fail(CLI_USAGE, v->name, "%s: takes no value", o->name);
            if (o->at == CLI_NO_FIELD) {
                *help = true;
                return 0;
            }
            if (o->kind == CLI_CHOICE && o->max > 0 && !value) {
                int32_t *field = (int32_t *)(void *)((char *)args + o->at);
                if (i + 1 < argc && parse_choice(argv[i + 1], o->arg, field)) i++;
                else *field = (int32_t)o->max;
                continue;
            }
            if (o->kind != CLI_FLAG && !value) {
                if (++i == argc) {
                    return cli_fail(CLI_USAGE, v->name, "%s: needs a value: %s %s", word, o->name, o->arg);
                }
                value = argv[i];
            }
            const int rc = store(v, o, flag, value, args);
            if (rc) return rc;
        }
    }
    return check_positions(v, c);
}

bool cli_args_parse(const cli_verb *v, int argc, char **argv, void *args, int *status) {
    memset(args, 0, v->args_size);
    ((cli_common *)args)->verb = v->name;
    if (v->defaults) v->defaults(args);
    bool help = false;
    *status = parse_words(v, argc, argv, args, &help);
    if (help) {
        cli_help_verb(stdout, v);
        return false;
    }
    return *status == 0;
}
