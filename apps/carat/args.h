/* The command line as data: one table of options per verb drives parsing, --help, the nearest-flag hint and the man
 * page. A verb's arguments are a struct that begins with cli_common; every option says at which offset it writes. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_MAX_POS 16
#define CLI_MAX_LIST 64

typedef enum {
    CLI_FLAG,   /* bool */
    CLI_INT,    /* int32_t within [min, max], as 4096 or 4K */
    CLI_REAL,   /* float within [min, max] */
    CLI_SIZE,   /* uint64_t bytes: 1.5G, 900M, 64K (binary units) */
    CLI_SEED,   /* cli_seed */
    CLI_TEXT,   /* const char * */
    CLI_LIST,   /* cli_list: may be given several times */
    CLI_CHOICE, /* int32_t: index into the words of `arg`, which are separated by '|'; max > 0: they may be left out, which is max */
} cli_kind;

typedef struct {
    const char *name; /* "--top-k" */
    char letter;      /* 'k' for -k, 0 for none */
    cli_kind kind;
    size_t at;        /* offsetof(the verb's arguments, field) */
    const char *arg;  /* how help shows the value; NULL for flags */
    double min, max;  /* of CLI_INT and CLI_REAL; max also of CLI_CHOICE */
    const char *help; /* what it does, with the default */
} cli_opt;

typedef struct {
    uint64_t value;
    bool given;
} cli_seed;

typedef struct {
    const char *v[CLI_MAX_LIST];
    int n;
} cli_list;

/* First member of every verb's arguments. */
typedef struct {
    const char *verb; /* its name, for messages */
    bool json;
    int32_t n_threads;            /* 0 = all cores */
    uint64_t ram;                 /* 0 = no limit */
    uint64_t ram_aside;           /* of it, what the verb itself takes */
    const char *cpu;              /* NULL = the machine's best */
    /* Of verbs that open a session: */
    int32_t kv;                   /* a carat_kv_type */
    int32_t ple, experts;         /* carat_place */
    uint64_t expert_cache;        /* 0 = what the ceiling leaves */
    int32_t expert_ahead;         /* index into "on|off" */
    const char *pos[CLI_MAX_POS]; /* positional arguments */
    int n_pos;
} cli_common;

typedef struct {
    const char *name;
    const char *brief;    /* one line for the list of verbs */
    const char *synopsis; /* positional arguments as help shows them: "[MODEL]" */
    const char *about;    /* paragraphs, separated by an empty line */
    const cli_opt *opts;  /* the common ones come by themselves */
    size_t n_opts;
    size_t args_size;     /* sizeof the verb's arguments */
    int min_pos, max_pos;
    void (*defaults)(void *args);   /* on zeroed arguments; may be NULL */
    int (*run)(const void *args);   /* does the work; returns the exit status */
} cli_verb;

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Print "carat: WHAT: message" as one line on stderr and return status. what may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
int cli_fail(int status, const char *what, const char *fmt, ...);

/* Parse argv[0,argc) (without program and verb) into args (zeroed here). True: go on with v->run. False: *status is the
 * exit status (help was shown, or the error printed). Keeps argv. */
bool cli_args_parse(const cli_verb *v, int argc, char **argv, void *args, int *status);

/* Bytes of "1.5G", "900M", "64KiB", "123"; false for anything else, or 0. */
bool cli_size_parse(const char *s, uint64_t *out);

/* Index of the word nearest to `word` by edit distance; -1 when n is 0. */
int cli_nearest(const char *word, const char *const *words, int n);
/* The same, and -1 where none is near: with more edits than half the word a hint would only mislead. */
int cli_hint(const char *word, const char *const *words, int n);

void cli_help_verb(FILE *f, const cli_verb *v);
/* The man page, in roff, of all verbs. */
void cli_help_man(FILE *f, const cli_verb *const *verbs, int n);
/* Text of paragraphs, wrapped at 80 columns behind `indent` spaces. */
void cli_help_wrap(FILE *f, const char *text, int indent);

#endif
