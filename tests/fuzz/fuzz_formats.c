/* Deterministic mutation fuzzing of everything that reads files: fuzz_formats [--target NAME] [--seed S] [--only I] [N]
 *
 * Runs N mutations of each target's seeds. A case fails when the target crashes or hangs, refuses without a one-line
 * message, leaks, or asks for memory out of proportion to its file. Case I of a target depends on S and I alone; a
 * failure prints the command that repeats it. All of it runs in a child process, so that a crash can be reported. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mutate.h"
#include "targets.h"

#if CT_HAVE_JANSSON
#include <jansson.h>
#endif

/* One request may be 64 times the file, all requests of a case together 512 times (tables are doubled, JSON has many
 * small parts), plus what any open needs: arenas, kernels of tables. */
#define MAX_ONE(size) ((size_t)1024 * 1024 + 64 * (size))
#define MAX_ALL(size) ((size_t)4 * 1024 * 1024 + 512 * (size))
#define MAX_SEED 8
#define SECONDS_PER_CASE 20

/* ---- counted memory (link-time wrappers; jansson is a shared library and gets them as its allocators) -------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static struct {
    int64_t live;
    size_t largest, total;
} memory;

static void count(size_t n) {
    if (n > memory.largest) memory.largest = n;
    memory.total += n;
}

void *__wrap_malloc(size_t n) {
    count(n);
    void *p = __real_malloc(n);
    memory.live += p != NULL;
    return p;
}

void *__wrap_calloc(size_t n, size_t size) {
    count(size && n > SIZE_MAX / size ? SIZE_MAX : n * size);
    void *p = __real_calloc(n, size);
    memory.live += p != NULL;
    return p;
}

void *__wrap_realloc(void *p, size_t n) {
    count(n);
    void *q = __real_realloc(p, n);
    memory.live += !p && q;
    return q;
}

void __wrap_free(void *p) {
    memory.live -= p != NULL;
    __real_free(p);
}

/* ---- one case ----------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t seed;
    const char *only_target; /* NULL = all */
    int64_t only;            /* -1 = all */
    int64_t n;
} options;

/* Shared with the child, so that the parent knows where it was. */
typedef struct {
    int target;
    int64_t i;
    int64_t accepted, refused;
} progress;

static void make_case(const fuzz_target *t, const craft *seed, int n_seed, uint64_t s, int target, int64_t i,
                      craft *out) {
    ct_rng r;
    ct_rng_seed(&r, s * 1000003 + (uint64_t)target * 0x9e3779b97f4a7c15u + (uint64_t)i);
    const craft *base = &seed[ct_rng_u64(&r) % (uint64_t)n_seed],
                *other = &seed[ct_rng_u64(&r) % (uint64_t)n_seed];
    out->n = 0;
    const bool in_text = t->length_first && ct_rng_u64(&r) % 4 != 0;
    if (!in_text) {
        craft_bytes(out, base->p, base->n);
        if (t->text && !t->length_first) mutate_text(out, other, &r);
        else mutate_binary(out, other, &r);
        return;
    }
    /* Mutate the JSON part and say its new length, or nothing behind the length would ever be reached. */
    uint64_t len, other_len;
    memcpy(&len, base->p, 8);
    memcpy(&other_len, other->p, 8);
    craft text = {0};
    const craft lender = {other->p + 8, (size_t)other_len, 0};
    craft_bytes(&text, base->p + 8, (size_t)len);
    mutate_text(&text, &lender, &r);
    craft_int(out, text.n, 8);
    craft_bytes(out, text.p, text.n);
    craft_bytes(out, base->p + 8 + len, base->n - 8 - (size_t)len);
    craft_free(&text);
}

/* Run bytes as a case. Stops the process when it breaks a rule. */
static int run_case(const fuzz_target *t, const craft *c) {
    uint8_t *exact = craft_exact(c);
    memory.largest = memory.total = 0;
    const int64_t before = memory.live;
    alarm(SECONDS_PER_CASE);
    const int accepted = t->run(exact, c->n);
    alarm(0);
    const int64_t leaked = memory.live - before;
    if (leaked || memory.largest > MAX_ONE(c->n) || memory.total > MAX_ALL(c->n)) {
        fprintf(stderr,
                "%s: file of %zu bytes: %" PRId64 " blocks leaked, largest request %zu, all requests %zu\n",
                t->name, c->n, leaked, memory.largest, memory.total);
        abort();
    }
    free(exact);
    return accepted;
}

static void fuzz(int target, const options *o, progress *p) {
    const fuzz_target *t = &fuzz_targets[target];
    craft seed[MAX_SEED] = {{0}}, c = {0};
    int n_seed = 0;
    while (n_seed < MAX_SEED && t->seed(&seed[n_seed], n_seed)) n_seed++;
    p->target = target;
    p->accepted = p->refused = 0;
    for (int i = 0; i < n_seed; i++) {
        p->i = -1 - i;
        if (!run_case(t, &seed[i])) {
            fprintf(stderr, "%s: seed %d was refused\n", t->name, i);
            abort();
        }
    }
    for (int64_t i = o->only >= 0 ? o->only : 0; i < (o->only >= 0 ? o->only + 1 : o->n); i++) {
        p->i = i;
        make_case(t, seed, n_seed, o->seed, target, i, &c);
        if (o->only >= 0 && !craft_save("fuzz-case.bin", c.p, c.n)) perror("fuzz-case.bin");
        if (run_case(t, &c)) p->accepted++;
        else p->refused++;
    }
    printf("%-16s %8" PRId64 " accepted %8" PRId64 " refused\n", t->name, p->accepted, p->refused);
    for (int i = 0; i < n_seed; i++) craft_free(&seed[i]);
    craft_free(&c);
}

/* Seeds are good files, so some mutations must be harmless and some must not: anything else is a broken target. */
static bool both_happened(const options *o, const progress *p) {
    return o->only >= 0 || o->n < 1000 || (p->accepted > 0 && p->refused > 0);
}

static int run_target(int target, const options *o, progress *p) {
    fflush(stdout);
    fuzz_begin(); /* here, so that its files go away even when the child is killed */
    const pid_t pid = fork();
    if (pid < 0) return perror("fork"), 1;
    if (pid == 0) {
        fuzz(target, o, p);
        exit(both_happened(o, p) ? 0 : 98);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) return perror("waitpid"), 1;
    }
    fuzz_end();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    const char *name = fuzz_targets[target].name;
    if (WIFSIGNALED(status)) fprintf(stderr, "%s: ended by signal %d\n", name, WTERMSIG(status));
    else if (WEXITSTATUS(status) == 98) fprintf(stderr, "%s: every case had the same result\n", name);
    if (p->i >= 0) {
        fprintf(stderr, "repeat with: fuzz_formats --target %s --seed %" PRIu64 " --only %" PRId64 "\n", name,
                o->seed, p->i);
    } else {
        fprintf(stderr, "in seed %" PRId64 " of %s\n", -1 - p->i, name);
    }
    return 1;
}

static bool parse(options *o, int argc, char **argv) {
    *o = (options){.seed = 1, .only = -1, .n = 5000};
    for (int i = 1; i < argc; i++) {
        char *end;
        if (strcmp(argv[i], "--target") == 0 && i + 1 < argc) {
            o->only_target = argv[++i];
            continue;
        }
        const bool seed = strcmp(argv[i], "--seed") == 0, only = strcmp(argv[i], "--only") == 0;
        if ((seed || only) && ++i == argc) return false;
        const long long v = strtoll(argv[i], &end, 10);
        if (*end || end == argv[i] || v < 0) return false;
        if (seed) o->seed = (uint64_t)v;
        else if (only) o->only = v;
        else o->n = v;
    }
    return true;
}

int main(int argc, char **argv) {
    options o;
    if (!parse(&o, argc, argv)) {
        fputs("usage: fuzz_formats [--target NAME] [--seed S] [--only I] [N]\n", stderr);
        return 2;
    }
#if CT_HAVE_JANSSON
    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
#endif
    progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return perror("mmap"), 1;
    int failed = 0, known = 0;
    for (int t = 0; t < fuzz_n_target; t++) {
        if (o.only_target && strcmp(o.only_target, fuzz_targets[t].name) != 0) continue;
        known++;
#if !CT_HAVE_JANSSON
        if (fuzz_targets[t].text) continue;
#endif
        failed += run_target(t, &o, p);
    }
    if (!known) fprintf(stderr, "no target %s\n", o.only_target);
    return failed || !known;
}
