/* Control groups for children: a limit ends who exceeds it, no limit none; what is told afterwards; nothing stays behind, not
 * even of a run that was killed. Exits 77, said loudly, where groups cannot be made. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "args.h"
#include "cgroup.h"

#define MIB (UINT64_C(1) << 20)

static char said[1024];

/* The program's, but kept instead of printed. */
int cli_fail(int status, const char *what, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int n = snprintf(said, sizeof said, "%s: ", what ? what : "");
    vsnprintf(said + n, sizeof said - (size_t)n, fmt, ap);
    va_end(ap);
    return status;
}

/* In a child: touch so many bytes of memory that is not shared with the parent. */
static void use_memory(size_t n) {
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) _exit(9);
    for (size_t i = 0; i < n; i += 4096) p[i] = (char)i;
}

/* Wait status of a child of the group that used n bytes. */
static int child_in(const cli_group *g, size_t n) {
    const pid_t pid = fork();
    if (pid == 0) {
        if (!cli_group_enter(g)) _exit(8);
        use_memory(n);
        _exit(0);
    }
    int st = -1;
    assert_true(pid > 0);
    while (waitpid(pid, &st, 0) < 0 && errno == EINTR) {}
    return st;
}

static void groups__end_who_exceeds_the_limit(void **state) {
    (void)state;
    cli_groups place;
    cli_group g;
    assert_int_equal(cli_groups_begin(&place, "test"), 0);
    assert_int_equal(cli_group_make(&g, &place, 32 * MIB, "test"), 0);
    const int st = child_in(&g, 128 * MIB);
    assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    const cli_group_use u = cli_group_get(&g);
    assert_true(u.oom_kills >= 1);
    assert_true(u.peak <= 32 * MIB);
    char dir[CT_GROUP_PATH];
    memcpy(dir, g.dir, sizeof dir);
    cli_group_remove(&g);
    assert_int_not_equal(access(dir, F_OK), 0);
    cli_group_remove(&g); /* again is fine */
    cli_groups_end(&place);
}

static void groups__let_be_who_keeps_to_the_limit(void **state) {
    (void)state;
    cli_groups place;
    cli_group g;
    assert_int_equal(cli_groups_begin(&place, "test"), 0);
    for (int i = 0; i < 2; i++) { /* with a limit, and without */
        assert_int_equal(cli_group_make(&g, &place, i ? UINT64_MAX : 128 * MIB, "test"), 0);
        assert_int_equal(child_in(&g, 64 * MIB), 0);
        const cli_group_use u = cli_group_get(&g);
        assert_int_equal(u.oom_kills, 0);
        if (u.peak) assert_true(u.peak >= 64 * MIB && u.peak < 128 * MIB);
        cli_group_remove(&g);
    }
    cli_groups_end(&place);
}

static void groups__of_a_killed_run_are_removed_by_the_next(void **state) {
    (void)state;
    cli_groups place;
    cli_group g;
    const pid_t pid = fork();
    if (pid == 0) {
        if (cli_groups_begin(&place, "test") || cli_group_make(&g, &place, 32 * MIB, "test")) _exit(1);
        _exit(0); /* without removing it */
    }
    int st = -1;
    waitpid(pid, &st, 0);
    assert_int_equal(st, 0);
    assert_int_equal(cli_groups_begin(&place, "test"), 0);
    char name[CT_GROUP_PATH + 32];
    snprintf(name, sizeof name, "%s/carat.%ld", place.parent, (long)pid);
    assert_int_not_equal(access(name, F_OK), 0);
    cli_groups_end(&place);
}

static void groups__cannot_be_made_twice_at_once(void **state) {
    (void)state;
    cli_groups place;
    cli_group g, other;
    assert_int_equal(cli_groups_begin(&place, "test"), 0);
    assert_int_equal(cli_group_make(&g, &place, UINT64_MAX, "test"), 0);
    assert_int_equal(cli_group_make(&other, &place, UINT64_MAX, "test"), 1);
    assert_non_null(strstr(said, "test: --limit: "));
    assert_null(strchr(said, '\n'));
    cli_group_remove(&other);
    cli_group_remove(&g);
    cli_groups_end(&place);
}

int main(void) {
    cli_groups place;
    if (cli_groups_begin(&place, "test") != 0) {
        fprintf(stderr, "SKIPPED: %s\n", said);
        return 77;
    }
    cli_groups_end(&place);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups__end_who_exceeds_the_limit),
        cmocka_unit_test(groups__let_be_who_keeps_to_the_limit),
        cmocka_unit_test(groups__of_a_killed_run_are_removed_by_the_next),
        cmocka_unit_test(groups__cannot_be_made_twice_at_once),
    };
    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
