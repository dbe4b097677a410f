/* Control groups: see group.h. Two files of /proc say where the own group lies: /proc/self/cgroup its path in each
 * hierarchy, /proc/self/mountinfo where a hierarchy is mounted and which of its groups the mount point is. In a container
 * the two need not fit: without a cgroup namespace the path is the host's, with one it may begin with "/..". */
#include "base/group.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 4096 };
/* Version 1 writes "no limit" as the largest number of whole pages; nothing real is as large. */
#define NO_LIMIT (UINT64_C(1) << 60)

/* ---- text ---- */

/* A decimal number or "max" at *p, moved behind it. What is too large for 64 bits is as good as "max". */
static bool parse_number(const char **p, uint64_t *v) {
    const char *s = *p;
    if (strncmp(s, "max", 3) == 0) {
        *p = s + 3;
        *v = UINT64_MAX;
        return true;
    }
    if (*s < '0' || *s > '9') return false;
    uint64_t x = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        const uint64_t d = (uint64_t)(*s - '0');
        x = x > (UINT64_MAX - d) / 10 ? UINT64_MAX : x * 10 + d;
    }
    if (*s && *s != '\n' && *s != ' ') return false;
    *p = s;
    *v = x;
    return true;
}

/* One line without its end; what does not fit buf is dropped. */
static bool next_line(FILE *f, char *buf, size_t size) {
    if (!fgets(buf, (int)size, f)) return false;
    const size_t n = strcspn(buf, "\n");
    if (buf[n] == '\0') {
        for (int c = 0; c != '\n' && c != EOF;) c = fgetc(f);
    }
    buf[n] = '\0';
    return true;
}

static FILE *open_at(const char *dir, const char *file) {
    char path[CT_GROUP_PATH + 64];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

/* Is `word` one of the comma-separated words of list? */
static bool in_list(const char *list, const char *word) {
    const size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL) {
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0')) return true;
    }
    return false;
}

/* ---- where the group is ---- */

/* Path of the own group in the hierarchy that has the controller; of version 2 when controller is "". */
static bool own_path(const char *root, const char *controller, char *out, size_t size) {
    FILE *f = open_at(root, "proc/self/cgroup");
    char line[LINE];
    bool found = false;
    while (f && !found && next_line(f, line, sizeof line)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        list++;
        *path++ = '\0';
        found = *controller ? in_list(list, controller) : *list == '\0';
        if (found) found = snprintf(out, size, "%s", path) < (int)size;
    }
    if (f) fclose(f);
    return found;
}

/* mountinfo writes blanks and backslashes of a path as \ooo. In place. */
static void unescape(char *s) {
    char *o = s;
    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *o++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *o++ = *s++;
        }
    }
    *o = '\0';
}

/* "36 35 0:31 ROOT POINT rw,… [shared:1 …] - TYPE SOURCE OPTIONS"; the strings stay in line. */
static bool parse_mount(char *line, char **mount_root, char **point, char **type, char **options) {
    char *field[5], *p = line;
    for (int i = 0; i < 5; i++) {
        field[i] = p;
        p = strchr(p, ' ');
        if (!p) return false;
        *p++ = '\0';
    }
    p = strstr(p, " - ");
    if (!p) return false;
    *type = p + 3;
    char *source = strchr(*type, ' ');
    if (!source) return false;
    *source++ = '\0';
    *options = strchr(source, ' ');
    if (!*options) return false;
    (*options)++;
    *mount_root = field[3];
    *point = field[4];
    unescape(*mount_root);
    unescape(*point);
    return true;
}

/* The part of a group's path below the group that is mounted; NULL when it does not lie there. */
static const char *below(const char *path, const char *mount_root) {
    if (strstr(path, "/..")) return NULL;
    const size_t n = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    if (strncmp(path, mount_root, n) != 0 || (path[n] != '/' && path[n] != '\0')) return NULL;
    return strcmp(path + n, "/") == 0 ? "" : path + n;
}

static bool find_version(ct_group *out, const char *root, const char *controller, int version) {
    char path[CT_GROUP_PATH / 2], line[LINE];
    if (!own_path(root, version == 1 ? controller : "", path, sizeof path)) return false;
    FILE *f = open_at(root, "proc/self/mountinfo");
    bool found = false, fits = false;
    while (f && !fits && next_line(f, line, sizeof line)) {
        char *mount_root, *point, *type, *options;
        if (!parse_mount(line, &mount_root, &point, &type, &options)) continue;
        if (strcmp(type, version == 1 ? "cgroup" : "cgroup2") != 0) continue;
        if (version == 1 && !in_list(options, controller)) continue;
        const char *rest = below(path, mount_root);
        if (!rest && found) continue; /* the first mount stands where none fits */
        const int n = snprintf(out->dir, sizeof out->dir, "%s%s", root, point);
        if (n <= 0 || (size_t)n + strlen(path) >= sizeof out->dir) continue;
        found = true;
        fits = rest != NULL;
        out->version = version;
        out->n_mount = (size_t)n;
        if (rest) memcpy(out->dir + n, rest, strlen(rest) + 1);
    }
    if (f) fclose(f);
    while (found && access(out->dir, F_OK) != 0) {
        if (!ct_group_up(out)) return false;
    }
    return found;
}

bool ct_group_find(ct_group *out, const char *root, const char *controller) {
    return find_version(out, root, controller, 1) || find_version(out, root, controller, 2);
}

bool ct_group_up(ct_group *g) {
    char *slash = strrchr(g->dir + g->n_mount, '/');
    if (!slash) return false;
    *slash = '\0';
    return true;
}

/* ---- numbers of a group ---- */

bool ct_group_read(const ct_group *g, const char *file, uint64_t *v) {
    FILE *f = open_at(g->dir, file);
    char line[128];
    const char *p = line;
    const bool ok = f && next_line(f, line, sizeof line) && parse_number(&p, v);
    if (f) fclose(f);
    return ok;
}

bool ct_group_read_key(const ct_group *g, const char *file, const char *key, uint64_t *v) {
    FILE *f = open_at(g->dir, file);
    char line[256];
    const size_t n = strlen(key);
    bool ok = false;
    while (f && !ok && next_line(f, line, sizeof line)) {
        const char *p = line + n + 1;
        ok = strncmp(line, key, n) == 0 && line[n] == ' ' && parse_number(&p, v);
    }
    if (f) fclose(f);
    return ok;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Limit of one group; UINT64_MAX = none. */
static uint64_t group_limit(const ct_group *g) {
    uint64_t a = UINT64_MAX, b = UINT64_MAX;
    if (g->version == 1) {
        (void)ct_group_read(g, "memory.limit_in_bytes", &a);
        (void)ct_group_read_key(g, "memory.stat", "hierarchical_memory_limit", &b);
    } else {
        (void)ct_group_read(g, "memory.max", &a);
        (void)ct_group_read(g, "memory.high", &b);
    }
    a = min_u64(a, b);
    return a >= NO_LIMIT ? UINT64_MAX : a;
}

/* What one group holds that it cannot give back by dropping file cache. */
static uint64_t group_used(const ct_group *g) {
    const bool v1 = g->version == 1;
    uint64_t charged = 0, active = 0, inactive = 0;
    (void)ct_group_read(g, v1 ? "memory.usage_in_bytes" : "memory.current", &charged);
    (void)ct_group_read_key(g, "memory.stat", v1 ? "total_active_file" : "active_file", &active);
    (void)ct_group_read_key(g, "memory.stat", v1 ? "total_inactive_file" : "inactive_file", &inactive);
    charged -= min_u64(charged, active);
    return charged - min_u64(charged, inactive);
}

ct_group_memory ct_group_memory_get(const char *root) {
    ct_group_memory m = {.limit = UINT64_MAX, .left = UINT64_MAX};
    ct_group g;
    if (!ct_group_find(&g, root, "memory")) return m;
    (void)ct_group_read(&g, g.version == 1 ? "memory.usage_in_bytes" : "memory.current", &m.charged);
    (void)ct_group_read(&g, g.version == 1 ? "memory.max_usage_in_bytes" : "memory.peak", &m.charged_peak);
    do {
        const uint64_t limit = group_limit(&g);
        if (limit == UINT64_MAX) continue;
        m.limit = min_u64(m.limit, limit);
        m.left = min_u64(m.left, limit - min_u64(limit, group_used(&g)));
    } while (ct_group_up(&g));
    return m;
}

uint64_t ct_group_available(const char *root) {
    FILE *f = open_at(root, "proc/meminfo");
    char line[256];
    uint64_t kb = UINT64_MAX;
    while (f && kb == UINT64_MAX && next_line(f, line, sizeof line)) {
        static const char key[] = "MemAvailable:";
        if (strncmp(line, key, sizeof key - 1) != 0) continue;
        const char *p = line + sizeof key - 1;
        while (*p == ' ') p++;
        if (!parse_number(&p, &kb)) break;
    }
    if (f) fclose(f);
    const uint64_t left = ct_group_memory_get(root).left;
    const uint64_t least = min_u64(kb < NO_LIMIT / 1024 ? kb * 1024 : UINT64_MAX, left);
    return least == UINT64_MAX ? 0 : least;
}

/* Quota and period of one group, in microseconds. */
static bool group_quota(const ct_group *g, uint64_t *quota, uint64_t *period) {
    if (g->version == 1) {
        return ct_group_read(g, "cpu.cfs_quota_us", quota) && ct_group_read(g, "cpu.cfs_period_us", period);
    }
    FILE *f = open_at(g->dir, "cpu.max");
    char line[128];
    bool ok = f && next_line(f, line, sizeof line);
    if (f) fclose(f);
    const char *p = line;
    ok = ok && parse_number(&p, quota) && *p++ == ' ';
    return ok && parse_number(&p, period);
}

int ct_group_n_cpu(const char *root) {
    ct_group g;
    uint64_t least = UINT64_MAX;
    if (!ct_group_find(&g, root, "cpu")) return 0;
    do {
        uint64_t quota, period;
        if (!group_quota(&g, &quota, &period) || quota == 0 || quota >= NO_LIMIT || period == 0) continue;
        least = min_u64(least, quota / period + (quota % period != 0));
    } while (ct_group_up(&g));
    return least > INT_MAX ? 0 : (int)least;
}
