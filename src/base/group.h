/* Control groups (cgroups): how much memory and processor time the system lets this process have. Versions 1 and 2, hybrid
 * mounts, namespaces and containers that see only a part of the tree; the limit of every group above counts too.
 *
 * All of it is read from text files below a root folder: "" is the system itself, tests lay out their own. What is missing
 * or is no number limits nothing. Only Linux has groups; elsewhere none is found. */
#ifndef CT_BASE_GROUP_H
#define CT_BASE_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CT_GROUP_PATH = 2048 };

typedef struct {
    int version;              /* 1 or 2 */
    size_t n_mount;           /* bytes of dir that are the mount point; groups above it cannot be seen */
    char dir[CT_GROUP_PATH];  /* folder of the group, without a slash at its end */
} ct_group;

/* The group of this process for a controller ("memory", "cpu"): the version 1 hierarchy that has it, else version 2.
 * Where the own group is not visible below the mount, the nearest group above it that is. */
bool ct_group_find(ct_group *out, const char *root, const char *controller);
/* To the group above; false (and unchanged) at the mount point. */
bool ct_group_up(ct_group *g);

/* The number in a file of the group, "max" as UINT64_MAX. False, *v unchanged, when there is none. */
bool ct_group_read(const ct_group *g, const char *file, uint64_t *v);
/* The number behind a key in a file of lines "key number". */
bool ct_group_read_key(const ct_group *g, const char *file, const char *key, uint64_t *v);

typedef struct {
    uint64_t limit;        /* bytes: smallest limit of the group and all above it; UINT64_MAX = none */
    uint64_t left;         /* smallest of limit - (charge - file cache) of them; UINT64_MAX = no limit */
    uint64_t charged;      /* what the own group is charged with now, file cache included; 0 = not told */
    uint64_t charged_peak; /* at most since the group was made; 0 = not told */
} ct_group_memory;
/* Version 2: memory.max and memory.high, which slows a group down rather than end it; version 1: memory.limit_in_bytes, and
 * hierarchical_memory_limit, which also tells of groups that cannot be seen. File cache (active and inactive) is given back
 * before anybody is refused memory, so it does not count as used. */
ct_group_memory ct_group_memory_get(const char *root);
/* Bytes free for this process: the smallest of MemAvailable and `left`. 0 = unknown. */
uint64_t ct_group_available(const char *root);
/* Processors' worth of time that quotas of the group and of those above allow, rounded up, at least 1; 0 = no quota. */
int ct_group_n_cpu(const char *root);

#endif
