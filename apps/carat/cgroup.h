/* Control groups with a memory limit, one after the other, for child processes: what a program is like on a machine that has
 * less memory. Linux, with the right to make groups: as root, or in a group that was delegated.
 *
 * Version 1: below the own group. Version 2 allows limits only below groups without processes of their own: below the own
 * group where that is the system's root, or where this process is alone in it (it then waits in a second child until
 * cli_groups_end); else beside the own group, where the limits of the own one do not reach. Swap is forbidden to the groups,
 * so that it does not help. */
#ifndef CLI_CGROUP_H
#define CLI_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/group.h"

/* Where groups are made. */
typedef struct {
    int version;
    bool enabled, moved;       /* to be undone: the controller was switched on here; this process moved to `wait` */
    char own[CT_GROUP_PATH];  /* the own group when all began */
    char parent[CT_GROUP_PATH];
    char wait[CT_GROUP_PATH];
} cli_groups;

/* Finds the place, and clears it of groups that a killed run left. Without the right to make groups one line says what is
 * needed. Returns the exit status; cli_groups_end is to be called either way. */
int cli_groups_begin(cli_groups *p, const char *verb);
void cli_groups_end(cli_groups *p);

typedef struct {
    int version;
    char dir[CT_GROUP_PATH]; /* empty: there is none */
} cli_group;

/* A group with a limit; UINT64_MAX = none. Returns the exit status. */
int cli_group_make(cli_group *g, const cli_groups *p, uint64_t limit, const char *verb);
/* In a child, before anything else: joins the group, and dies with its parent. */
bool cli_group_enter(const cli_group *g);

typedef struct {
    uint64_t peak;      /* most bytes charged; 0 where the kernel does not tell (version 2 before Linux 5.19) */
    uint64_t oom_kills; /* processes ended because there was no memory left */
} cli_group_use;
cli_group_use cli_group_get(const cli_group *g);

/* After its processes have ended. */
void cli_group_remove(cli_group *g);

#endif
