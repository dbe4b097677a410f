/* carat bench --limit: memory as a small machine feels it.
 *
 * Every probe is a child process in a fresh control group. It opens the model anew, so that it plans for the limit it finds,
 * reads a prompt, writes tokens one by one, and hands what it measured through a pipe, step by step: a child that is ended
 * from outside has told how far it got. The parent never opens the model and has no threads: what a child holds is its own,
 * and charged to its group. Pages of the model file are charged to whoever read them first; so the file is taken out of the
 * page cache before every probe.
 *
 * Neighbours on a shared machine only ever make a run slower, so a probe is compared with the fastest run so far, of whatever
 * limit. One that misses the line by little may have had worse neighbours than that run: a free run and the same limit again,
 * one after the other, decide. */
#include "bench_limit.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "cgroup.h"
#include "memwatch.h"
#include "open.h"
#include "term.h"

enum { SEED = 1, N_FREE = 2, EXIT_NO_GROUP = 99 };
#define STEP_LEAST (UINT64_C(8) << 20)
#define STEP_SHARE 0.02
#define RAISE_MOST 8    /* times that the first limit is raised by an eighth where even it is too small */
#define NEAR 0.5        /* of the speed asked for: worth a second look */
#define CUT_WALL 4.0    /* times the free run's time until the first token, and as much more as: */
#define CUT_WALL_MS 10000.0
#define CUT_DECODE 1.5  /* times the decode time that would just do */
#define CUT_DECODE_MS 1000.0

/* ---- in the child ---- */

typedef struct {
    const bench_args *args;
    limit_result r;
    int fd;
    carat_model *m;
    carat_session *s;
    carat_sampler *sm;
    int32_t *tok; /* [n_prompt + n_gen] */
} child;

static bool on_progress(void *ud, int32_t done, int32_t total) {
    (void)ud, (void)done, (void)total;
    return !cli_interrupted();
}

static void tell(child *c, limit_phase phase) {
    c->r.phase = phase;
    const limit_result r = c->r;
    ssize_t n;
    do n = write(c->fd, &r, sizeof r);
    while (n < 0 && errno == EINTR);
}

/* Evaluate tok[0,n), and choose as a run would. */
static int hold(child *c, int32_t n) {
    carat_error err;
    if (carat_session_sync(c->s, c->tok, (size_t)n, &err)) return cli_fail_err("bench", &err);
    if (carat_sampler_next(c->sm, carat_session_logits(c->s)) >= 0) return CLI_DONE;
    return cli_fail(CLI_FAILED, "bench", "the model's logits are not numbers (NaN): the file is damaged, get or make it again");
}

static void describe(child *c) {
    carat_model_info info;
    carat_session_stats st;
    carat_model_get_info(c->m, &info);
    carat_session_get_stats(c->s, &st);
    (void)snprintf(c->r.name, sizeof c->r.name, "%s", info.name && *info.name ? info.name : info.arch);
    (void)snprintf(c->r.cpu, sizeof c->r.cpu, "%s", st.cpu);
    c->r.file_bytes = info.file_bytes;
    c->r.ple = st.ple;
    c->r.experts = st.experts;
    c->r.n_threads = st.n_threads;
}

static int open_all(child *c, const char *path, int32_t n_ctx) {
    const bench_args *a = c->args;
    carat_error err;
    carat_model_info info;
    carat_sampler_opts so = carat_sampler_opts_default();
    so.temp = 0.0f;
    int status = cli_model_open(&c->m, &a->common, path, false);
    if (status) return status;
    carat_session_opts o = cli_session_opts(&a->common, n_ctx);
    o.progress = on_progress;
    o.route_uniform = a->uniform;
    status = cli_session_open(&c->s, c->m, &a->common, &o);
    if (status) return status;
    carat_model_get_info(c->m, &info);
    if (carat_sampler_new(&c->sm, info.n_vocab, &so, &err)) return cli_fail_err("bench", &err);
    c->tok = ct_alloc_array((size_t)(a->n_prompt + a->n_gen), sizeof *c->tok);
    if (!c->tok) return cli_fail(CLI_FAILED, "bench", "out of memory");
    ct_rng rng;
    ct_rng_seed(&rng, SEED);
    for (int32_t i = 0; i < a->n_prompt + a->n_gen; i++) c->tok[i] = (int32_t)(ct_rng_u64(&rng) % (uint64_t)info.n_vocab);
    return CLI_DONE;
}

/* Everything stays open: the process ends right behind. */
static int run_child(child *c, const char *path, int32_t n_ctx) {
    const bench_args *a = c->args;
    const double start = ct_now_ms();
    memwatch *w = memwatch_start(MEMWATCH_PERIOD_MS);
    int status = w ? open_all(c, path, n_ctx) : cli_fail(CLI_FAILED, "bench", "no memory or thread to watch memory with");
    c->r.load_ms = ct_now_ms() - start;
    if (!status) status = hold(c, a->n_prompt);
    if (status) return status;
    c->r.first_ms = ct_now_ms() - start;
    describe(c);
    tell(c, LIMIT_FIRST_TOKEN);
    const double first = ct_now_ms();
    for (int32_t i = 0; i < a->n_gen && !status; i++) status = hold(c, a->n_prompt + i + 1);
    if (status) return status;
    c->r.decode_ms = ct_now_ms() - first;
    memwatch_stop(w);
    memwatch_summary m;
    memwatch_get(w, &m);
    c->r.anon_peak = m.anon_peak;
    c->r.rss_peak = m.peak;
    c->r.charged_peak = m.charged_peak;
    c->r.file_end = m.file;
    tell(c, LIMIT_DONE);
    return CLI_DONE;
}

/* ---- the model's files ---- */

/* "m-00001-of-00003.gguf": the other parts are like it. */
static uint64_t evict_parts(const char *path) {
    const size_t n = strlen(path);
    int first, parts;
    char name[PATH_MAX], end;
    if (n < 20 || n >= sizeof name || sscanf(path + n - 20, "-%5d-of-%5d.ggu%c", &first, &parts, &end) != 3 || parts > 99999) {
        return ct_file_evict(path);
    }
    uint64_t left = 0;
    for (int i = 1; i <= parts; i++) {
        (void)snprintf(name, sizeof name, "%.*s-%05d%s", (int)n - 20, path, i, path + n - 14);
        left += ct_file_evict(name);
    }
    return left;
}

/* Takes the model out of the page cache; returns the bytes that stay. */
static uint64_t evict(const char *path) {
    DIR *d = ct_path_is_dir(path) ? opendir(path) : NULL;
    if (!d) return evict_parts(path);
    uint64_t left = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        char name[PATH_MAX];
        const int n = snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (n > 0 && (size_t)n < sizeof name) left += ct_file_evict(name);
    }
    closedir(d);
    return left;
}

/* ---- one probe ---- */

/* Reads what the child tells until it ends, or is to be ended: returns false then. */
static bool follow(limit_probe *p, int fd, const limit_probe *free, double share) {
    const double start = ct_now_ms();
    double decode_from = start;
    limit_result r;
    size_t have = 0;
    for (;;) {
        struct pollfd pf = {.fd = fd, .events = POLLIN};
        const int ready = poll(&pf, 1, 100);
        if (cli_interrupted()) return false;
        if (ready > 0) {
            const ssize_t n = read(fd, (char *)&r + have, sizeof r - have);
            if (n == 0) return true;
            if (n < 0 && errno != EINTR) return true;
            have += n > 0 ? (size_t)n : 0;
            if (have == sizeof r) {
                have = 0;
                p->r = r;
                decode_from = ct_now_ms();
                if (r.phase == LIMIT_DONE) return true;
            }
        }
        if (!free) continue;
        const double now = ct_now_ms();
        const double most = p->r.phase == LIMIT_FIRST_TOKEN ? CUT_DECODE * free->r.decode_ms / share + CUT_DECODE_MS
                                                            : CUT_WALL * free->r.first_ms + CUT_WALL_MS;
        if (now - (p->r.phase == LIMIT_FIRST_TOKEN ? decode_from : start) > most) return false;
    }
}

/* The first line of what the child wrote to stderr, without the program's name. */
static void read_why(limit_probe *p, int fd) {
    char text[sizeof p->why + 16];
    size_t n = 0;
    for (ssize_t got; n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0;) n += (size_t)got;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    static const char name[] = "carat: bench: ";
    const char *s = strncmp(text, name, sizeof name - 1) == 0 ? text + sizeof name - 1 : text;
    (void)snprintf(p->why, sizeof p->why, "%.255s", s);
}

static limit_outcome judge(const limit_probe *p, int wait_status, bool cut, uint64_t oom_kills, double least) {
    if (cut) return LIMIT_CUT;
    if (WIFSIGNALED(wait_status)) return WTERMSIG(wait_status) == SIGKILL && oom_kills ? LIMIT_OOM : LIMIT_BROKEN;
    if (WEXITSTATUS(wait_status) == EXIT_NO_GROUP) return LIMIT_BROKEN;
    if (WEXITSTATUS(wait_status) != 0) return LIMIT_REFUSED;
    if (p->r.phase != LIMIT_DONE) return LIMIT_BROKEN;
    return p->tok_s >= least ? LIMIT_OK : LIMIT_SLOW;
}

/* In the child: never returns. */
static void be_child(const limit_state *s, const cli_group *g, int fd, int err_fd) {
    bench_args a = *s->args;
    a.common.json = true; /* no line about the plan: what is on stderr is why it failed */
    child c = {.args = &a, .fd = fd};
    dup2(err_fd, STDERR_FILENO);
    if (!cli_group_enter(g)) {
        cli_fail(CLI_FAILED, "bench", "--limit: %s cannot be joined: %s", g->dir, strerror(errno));
        _exit(EXIT_NO_GROUP);
    }
    _exit(run_child(&c, s->path, s->n_ctx));
}

/* One run under a limit, into the list. free_tok_s: the speed it is compared with; 0 for a free run. */
static int probe(limit_state *s, const cli_groups *place, uint64_t limit, double free_tok_s) {
    if (s->n_probe == LIMIT_MAX_PROBE) return cli_fail(CLI_FAILED, "bench", "--limit: no end after %d runs", LIMIT_MAX_PROBE);
    limit_probe *p = &s->probe[s->n_probe];
    const double share = s->args->limit_share / 100.0;
    cli_group g;
    int fd[2] = {-1, -1}, err[2] = {-1, -1};
    *p = (limit_probe){.limit = limit, .free_tok_s = free_tok_s};
    const uint64_t left = evict(s->path);
    if (left > s->cached_elsewhere) s->cached_elsewhere = left;
    int status = cli_group_make(&g, place, limit, "bench");
    if (status) return status;
    const double start = ct_now_ms();
    pid_t pid = -1;
    if (pipe(fd) == 0 && pipe(err) == 0) pid = fork();
    if (pid == 0) be_child(s, &g, fd[1], err[1]);
    const int why = errno;
    if (fd[1] >= 0) close(fd[1]);
    if (err[1] >= 0) close(err[1]);
    if (pid > 0) {
        int ended = 0;
        const bool cut = !follow(p, fd[0], free_tok_s > 0.0 ? s->free : NULL, share);
        if (cut) kill(pid, SIGKILL);
        while (waitpid(pid, &ended, 0) < 0 && errno == EINTR) {}
        p->wall_ms = ct_now_ms() - start;
        read_why(p, err[0]);
        const cli_group_use use = cli_group_get(&g);
        p->charged_peak = use.peak ? use.peak : p->r.charged_peak;
        if (p->r.phase == LIMIT_DONE) p->tok_s = 1000.0 * s->args->n_gen / p->r.decode_ms;
        p->outcome = judge(p, ended, cut, use.oom_kills, share * free_tok_s);
        if (p->tok_s > s->best_tok_s) s->best_tok_s = p->tok_s;
        s->n_probe++;
    } else {
        status = cli_fail(CLI_FAILED, "bench", "--limit: no process can be started: %s", strerror(why));
    }
    if (fd[0] >= 0) close(fd[0]);
    if (err[0] >= 0) close(err[0]);
    cli_group_remove(&g);
    if (cli_interrupted()) return cli_fail(CLI_FAILED, "bench", "interrupted");
    if (status || p->outcome != LIMIT_BROKEN) return status;
    return cli_fail(CLI_FAILED, "bench", "%s", *p->why ? p->why : "--limit: a run ended without a result");
}

/* ---- the search ---- */

static int run_free(limit_state *s, const cli_groups *place) {
    const int status = probe(s, place, UINT64_MAX, 0.0);
    if (status) return status;
    const limit_probe *p = &s->probe[s->n_probe - 1];
    if (p->outcome == LIMIT_OOM) {
        return cli_fail(CLI_FAILED, "bench", "--limit: already the run without a limit of its own ran out of memory");
    }
    if (p->outcome != LIMIT_OK) return cli_fail(CLI_FAILED, "bench", "%s", *p->why ? p->why : "the free run failed");
    if (!s->free || p->tok_s > s->free->tok_s) s->free = p;
    return CLI_DONE;
}

/* A limit; beside a free run once more where it missed by little. *ok: fast enough. */
static int try_limit(limit_state *s, const cli_groups *place, uint64_t limit, bool *ok) {
    double against = s->best_tok_s;
    for (int i = 0; i < 2; i++) {
        int status = probe(s, place, limit, against);
        if (status) return status;
        const limit_probe *p = &s->probe[s->n_probe - 1];
        *ok = p->outcome == LIMIT_OK;
        if (*ok) s->least = p;
        if (i == 1 || p->outcome != LIMIT_SLOW || p->tok_s < NEAR * s->args->limit_share / 100.0 * against) break;
        status = run_free(s, place);
        if (status) return status;
        against = s->probe[s->n_probe - 1].tok_s;
    }
    return CLI_DONE;
}

/* Between a limit that fails (none at all: nothing runs in no memory) and one that does. Programs that plan for the limit
 * run in less than their anonymous peak without one, so the search does not begin there. */
static int search(limit_state *s, const cli_groups *place) {
    uint64_t lo = 0, hi = 0;
    for (int i = 0; i < N_FREE; i++) {
        if (s->probe[i].charged_peak > hi) hi = s->probe[i].charged_peak;
    }
    if (hi == 0) hi = s->free->r.rss_peak;
    hi += hi / 32 + STEP_LEAST;
    bool ok = false;
    for (int i = 0; i <= RAISE_MOST && !ok; i++) {
        if (i > 0) lo = hi, hi += hi / 8;
        const int status = try_limit(s, place, hi, &ok);
        if (status) return status;
    }
    if (!ok) {
        cli_text most;
        return cli_fail(CLI_FAILED, "bench", "--limit: under no limit up to %s does it keep %.0f%% of its free speed: is the machine "
                        "busy? Give a lower --limit-share, or more tokens with -n", cli_size_text(most, hi), s->args->limit_share);
    }
    for (;;) {
        s->step = (uint64_t)(STEP_SHARE * (double)hi) > STEP_LEAST ? (uint64_t)(STEP_SHARE * (double)hi) : STEP_LEAST;
        if (hi - lo <= s->step) break;
        const uint64_t mid = (lo + (hi - lo) / 2) & ~UINT64_C(0xffff);
        const int status = try_limit(s, place, mid, &ok);
        if (status) return status;
        if (ok) hi = mid;
        else lo = mid;
    }
    s->step = hi - lo;
    return CLI_DONE;
}

int bench_limit(const bench_args *a) {
    char buf[PATH_MAX];
    cli_groups place;
    limit_state *s = ct_alloc(sizeof *s);
    if (!s) return cli_fail(CLI_FAILED, "bench", "out of memory");
    s->args = a;
    s->n_ctx = a->n_ctx > a->n_prompt + a->n_gen ? a->n_ctx : a->n_prompt + a->n_gen;
    s->path = cli_model_path(&a->common, buf, sizeof buf);
    int status = s->path ? CLI_DONE : CLI_FAILED;
    if (!status) {
        cli_catch_interrupt();
        status = cli_groups_begin(&place, "bench");
        s->version = place.version;
        for (int i = 0; i < N_FREE && !status; i++) status = run_free(s, &place);
        if (!status) status = search(s, &place);
        cli_groups_end(&place);
    }
    if (!status) status = bench_limit_print(s);
    ct_free(s);
    return status;
}
