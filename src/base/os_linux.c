/* What only Linux tells: cores under affinity and cgroup quota, resident pages, memory left under a limit. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/os.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* First line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *buf, size_t size) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const bool ok = fgets(buf, (int)size, f) != NULL;
    fclose(f);
    return ok;
}

/* Value in bytes of "Key:   123 kB" in a /proc file; 0 when absent. */
static uint64_t read_kb(const char *path, const char *key) {
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    char line[256];
    uint64_t v = 0;
    const size_t n = strlen(key);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) == 0 && line[n] == ':') {
            v = strtoull(line + n + 1, NULL, 10) * 1024;
            break;
        }
    }
    fclose(f);
    return v;
}

/* Path of this process's cgroup for a v1 controller, or the v2 one when controller is "". */
static bool cgroup_path(const char *controller, char *out, size_t size) {
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return false;
    char line[1024];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *c1 = strchr(line, ':');
        char *c2 = c1 ? strchr(c1 + 1, ':') : NULL;
        if (!c2) continue;
        *c2 = 0;
        const char *list = c1 + 1;
        if (controller[0] == 0) {
            found = list[0] == 0;
        } else {
            for (const char *p = list; !found && p; p = strchr(p, ','), p = p ? p + 1 : NULL) {
                const size_t n = strcspn(p, ",");
                found = n == strlen(controller) && strncmp(p, controller, n) == 0;
            }
        }
        if (found) snprintf(out, size, "%s", strcmp(c2 + 1, "/") == 0 ? "" : c2 + 1);
    }
    fclose(f);
    return found;
}

/* Smallest value of `file` from the process's cgroup up to the root: every ancestor limits. UINT64_MAX = none. */
static uint64_t cgroup_min(const char *mount, const char *controller, const char *file, uint64_t *usage,
                           const char *usage_file) {
    char group[768], path[1024], line[128];
    uint64_t best = UINT64_MAX;
    if (!cgroup_path(controller, group, sizeof group)) return best;
    for (;;) {
        snprintf(path, sizeof path, "%s%s/%s", mount, group, file);
        if (read_line(path, line, sizeof line) && strncmp(line, "max", 3) != 0) {
            const uint64_t v = strtoull(line, NULL, 10);
            if (v < best && v < (UINT64_C(1) << 60)) {
                best = v;
                snprintf(path, sizeof path, "%s%s/%s", mount, group, usage_file);
                *usage = read_line(path, line, sizeof line) ? strtoull(line, NULL, 10) : 0;
            }
        }
        char *slash = strrchr(group, '/');
        if (!slash) break;
        *slash = 0;
    }
    return best;
}

int ct_n_cores(void) {
    cpu_set_t set;
    /* The call fails where the kernel's mask is larger than cpu_set_t (more than 1024 processors). */
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    char group[768], path[1024], line[128];
    if (cgroup_path("", group, sizeof group)) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        uint64_t quota, period;
        if (read_line(path, line, sizeof line) && sscanf(line, "%" SCNu64 " %" SCNu64, &quota, &period) == 2 && period) {
            const int by_quota = (int)((quota + period - 1) / period);
            if (by_quota >= 1 && by_quota < n) n = by_quota;
        }
    }
    return n < 1 ? 1 : n;
}

ct_mem_usage ct_memory_usage(void) {
    ct_mem_usage u = {0};
    u.rss = read_kb("/proc/self/status", "VmRSS");
    u.rss_file = read_kb("/proc/self/status", "RssFile");
    u.rss_peak = read_kb("/proc/self/status", "VmHWM");
    return u;
}

uint64_t ct_memory_available(void) {
    uint64_t free_bytes = read_kb("/proc/meminfo", "MemAvailable");
    uint64_t usage = 0;
    uint64_t limit = cgroup_min("/sys/fs/cgroup", "", "memory.max", &usage, "memory.current");
    if (limit == UINT64_MAX) {
        limit = cgroup_min("/sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes", &usage, "memory.usage_in_bytes");
    }
    if (limit != UINT64_MAX) {
        const uint64_t left = limit > usage ? limit - usage : 0;
        if (left < free_bytes) free_bytes = left;
    }
    return free_bytes;
}
#else
typedef int ct_os_linux_is_empty; /* C11 forbids an empty translation unit */
#endif
