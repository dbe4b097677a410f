/* Control groups for child processes: see cgroup.h. A group is called carat.PID by the process that made it, so that one left
 * behind by a killed run is known and removed by the next. */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "args.h"

#define PREFIX "carat."
#define WAIT_PREFIX "carat-waits."

/* ---- files of a group ---- */

static bool join(char out[CT_GROUP_PATH], const char *dir, const char *name) {
    const int n = snprintf(out, CT_GROUP_PATH, "%s/%s", dir, name);
    return n > 0 && n < CT_GROUP_PATH;
}

/* A group's files take a value in one write; errno tells why not. */
static bool put(const char *dir, const char *file, const char *value) {
    char path[CT_GROUP_PATH];
    if (!join(path, dir, file)) return false;
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const size_t n = strlen(value);
    const bool ok = write(fd, value, n) == (ssize_t)n;
    const int e = errno;
    close(fd);
    errno = e;
    return ok;
}

static bool put_number(const char *dir, const char *file, uint64_t v) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, v);
    return put(dir, file, text);
}

static bool has(const char *dir, const char *file) {
    char path[CT_GROUP_PATH];
    return join(path, dir, file) && access(path, F_OK) == 0;
}

/* Does a file of a group hold the word? */
static bool has_word(const char *dir, const char *file, const char *word) {
    char path[CT_GROUP_PATH], text[1024];
    FILE *f = join(path, dir, file) ? fopen(path, "re") : NULL;
    if (!f) return false;
    bool found = false;
    while (!found && fscanf(f, "%1023s", text) == 1) found = strcmp(text, word) == 0;
    fclose(f);
    return found;
}

/* Is this process the only one of the group? */
static bool is_alone(const char *dir) {
    char path[CT_GROUP_PATH];
    FILE *f = join(path, dir, "cgroup.procs") ? fopen(path, "re") : NULL;
    if (!f) return false;
    long pid = 0, other = 0;
    const bool alone = fscanf(f, "%ld %ld", &pid, &other) == 1 && pid == (long)getpid();
    fclose(f);
    return alone;
}

/* A group is busy for a moment after its last process has ended. */
static void remove_dir(const char *dir) {
    const struct timespec nap = {0, 10000000};
    for (int i = 0; i < 200 && rmdir(dir) != 0 && errno == EBUSY; i++) nanosleep(&nap, NULL);
}

/* ---- the place ---- */

/* Groups of runs that are no more. */
static void sweep(const char *parent) {
    DIR *d = opendir(parent);
    if (!d) return;
    for (const struct dirent *e; (e = readdir(d));) {
        char path[CT_GROUP_PATH], *end;
        if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) != 0) continue;
        const long pid = strtol(e->d_name + sizeof PREFIX - 1, &end, 10);
        if (pid <= 0 || *end || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        if (join(path, parent, e->d_name)) (void)rmdir(path); /* one with processes stays */
    }
    closedir(d);
}

static bool try_group(const char *parent, const char *limit_file) {
    char dir[CT_GROUP_PATH], name[32];
    (void)snprintf(name, sizeof name, PREFIX "%ld", (long)getpid());
    if (!join(dir, parent, name) || mkdir(dir, 0755) != 0) return false;
    const bool ok = has(dir, limit_file);
    (void)rmdir(dir);
    if (!ok) errno = EOPNOTSUPP;
    return ok;
}

/* Version 2: switch the memory controller on for the children of a group, where it is not. */
static bool enable(cli_groups *p, const char *dir) {
    if (has_word(dir, "cgroup.subtree_control", "memory")) return true;
    p->enabled = put(dir, "cgroup.subtree_control", "+memory");
    return p->enabled;
}

static bool use_own(cli_groups *p) {
    memcpy(p->parent, p->own, sizeof p->parent);
    if (p->version == 1) return try_group(p->parent, "memory.limit_in_bytes");
    if (enable(p, p->own)) return try_group(p->parent, "memory.max"); /* the root has no rule against processes */
    if (!is_alone(p->own)) return false;
    char name[48];
    (void)snprintf(name, sizeof name, WAIT_PREFIX "%ld", (long)getpid());
    if (!join(p->wait, p->own, name) || mkdir(p->wait, 0755) != 0) return false;
    p->moved = true;
    return put(p->wait, "cgroup.procs", "0") && enable(p, p->own) && try_group(p->parent, "memory.max");
}

static void undo(cli_groups *p) {
    if (p->enabled) (void)put(p->own, "cgroup.subtree_control", "-memory");
    if (p->moved) {
        (void)put(p->own, "cgroup.procs", "0");
        remove_dir(p->wait);
    }
    p->enabled = p->moved = false;
}

static bool use_parent(cli_groups *p, const ct_group *own) {
    ct_group up = *own;
    if (p->version == 1 || !ct_group_up(&up)) return false;
    memcpy(p->parent, up.dir, sizeof p->parent);
    return has_word(up.dir, "cgroup.subtree_control", "memory") && try_group(up.dir, "memory.max") && put(up.dir, "cgroup.procs", "");
}

int cli_groups_begin(cli_groups *p, const char *verb) {
    ct_group g;
    *p = (cli_groups){0};
    if (!ct_group_find(&g, "", "memory")) {
        return cli_fail(CLI_FAILED, verb, "--limit: no control group (cgroup) of this process is visible: needs Linux, with "
                        "/sys/fs/cgroup mounted");
    }
    p->version = g.version;
    memcpy(p->own, g.dir, sizeof p->own);
    bool ok = use_own(p);
    const int why = errno;
    if (!ok) {
        undo(p);
        ok = use_parent(p, &g);
    }
    if (ok) {
        sweep(p->parent);
        return CLI_DONE;
    }
    return cli_fail(CLI_FAILED, verb, "--limit: %s: no group with a memory limit can be made there (%s): run it as root, or in a "
                    "group of its own: systemd-run --user --scope -p Delegate=yes carat %s --limit …", p->own, strerror(why), verb);
}

void cli_groups_end(cli_groups *p) { undo(p); }

/* ---- one group ---- */

/* Without the limit on memory and swap together, version 1 is only told to prefer not to swap. */
static bool forbid_swap(const cli_group *g, uint64_t limit) {
    if (g->version == 2) return !has(g->dir, "memory.swap.max") || put(g->dir, "memory.swap.max", "0");
    if (has(g->dir, "memory.memsw.limit_in_bytes")) return put_number(g->dir, "memory.memsw.limit_in_bytes", limit);
    (void)put(g->dir, "memory.swappiness", "0");
    return true;
}

int cli_group_make(cli_group *g, const cli_groups *p, uint64_t limit, const char *verb) {
    char name[32];
    g->version = p->version;
    (void)snprintf(name, sizeof name, PREFIX "%ld", (long)getpid());
    bool ok = join(g->dir, p->parent, name);
    if (!ok) errno = ENAMETOOLONG;
    ok = ok && mkdir(g->dir, 0755) == 0;
    if (!ok) {
        const int why = errno;
        g->dir[0] = '\0';
        return cli_fail(CLI_FAILED, verb, "--limit: %s: no group can be made: %s", p->parent, strerror(why));
    }
    if (limit == UINT64_MAX) return CLI_DONE;
    if (put_number(g->dir, g->version == 1 ? "memory.limit_in_bytes" : "memory.max", limit) && forbid_swap(g, limit)) return CLI_DONE;
    const int why = errno;
    cli_group_remove(g);
    return cli_fail(CLI_FAILED, verb, "--limit: %s: its memory cannot be limited: %s", p->parent, strerror(why));
}

bool cli_group_enter(const cli_group *g) {
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    return put(g->dir, "cgroup.procs", "0");
}

cli_group_use cli_group_get(const cli_group *g) {
    cli_group_use u = {0};
    ct_group x = {.version = g->version};
    memcpy(x.dir, g->dir, sizeof x.dir);
    (void)ct_group_read(&x, g->version == 1 ? "memory.max_usage_in_bytes" : "memory.peak", &u.peak);
    (void)ct_group_read_key(&x, g->version == 1 ? "memory.oom_control" : "memory.events", "oom_kill", &u.oom_kills);
    return u;
}

void cli_group_remove(cli_group *g) {
    if (!g->dir[0]) return;
    if (g->version == 1) (void)put(g->dir, "memory.force_empty", "1"); /* its file cache: else the group above takes it over */
    remove_dir(g->dir);
    g->dir[0] = '\0';
}
