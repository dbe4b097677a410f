/* Control groups, read from trees of files that lie as systems lay them: version 1, version 2, both, containers; and from
 * files that hold what they should not. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/group.h"
#include "base/os.h"

#define MIB (UINT64_C(1) << 20)
#define NONE UINT64_MAX
#define V1_NONE "9223372036854771712\n"

static char root[256];

static int tree_begin(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/carat-group.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(root) ? 0 : 1;
}

static int tree_end(void **state) {
    (void)state;
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
    return system(cmd);
}

/* A file of the tree, with the folders above it. */
static void put(const char *path, const char *text) {
    char full[1024];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        mkdir(full, 0700);
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void put_bytes(const char *path, uint64_t v) {
    char text[32];
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)v);
    put(path, text);
}

#define MOUNT_V1_ROOT(controllers, group) \
    "35 31 0:32 " group " /sys/fs/cgroup/" controllers " rw,relatime - cgroup cgroup rw," controllers "\n"
#define MOUNT_V1(controllers) MOUNT_V1_ROOT(controllers, "/")
#define MOUNT_V2_ROOT(group) "41 31 0:38 " group " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNT_V2 MOUNT_V2_ROOT("/")
#define OTHER_MOUNTS "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"

static void meminfo(uint64_t available) {
    char text[200];
    snprintf(text, sizeof text, "MemTotal:       24684084 kB\nMemFree:        1 kB\nMemAvailable:   %llu kB\n",
             (unsigned long long)available / 1024);
    put("proc/meminfo", text);
}

/* Charge and limit of a group, with file cache within the charge. */
static void group_v1(const char *dir, const char *limit, uint64_t usage, uint64_t cache) {
    char path[512], stat[300];
    snprintf(path, sizeof path, "%s/memory.limit_in_bytes", dir);
    put(path, limit);
    snprintf(path, sizeof path, "%s/memory.usage_in_bytes", dir);
    put_bytes(path, usage);
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    snprintf(stat, sizeof stat, "cache 1\nactive_file 12345678900\ntotal_inactive_file %llu\ntotal_active_file %llu\n",
             (unsigned long long)cache / 4, (unsigned long long)(cache - cache / 4));
    put(path, stat);
}

static void group_v2(const char *dir, const char *max, uint64_t current, uint64_t cache) {
    char path[512], stat[300];
    snprintf(path, sizeof path, "%s/memory.max", dir);
    put(path, max);
    snprintf(path, sizeof path, "%s/memory.current", dir);
    put_bytes(path, current);
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    snprintf(stat, sizeof stat, "anon 5\nfile 12345678900\ninactive_file %llu\nactive_file %llu\n",
             (unsigned long long)cache / 4, (unsigned long long)(cache - cache / 4));
    put(path, stat);
}

static void check_memory(uint64_t limit, uint64_t left) {
    const ct_group_memory m = ct_group_memory_get(root);
    if (m.limit != limit) fail_msg("limit %llu, expected %llu", (unsigned long long)m.limit, (unsigned long long)limit);
    if (m.left != left) fail_msg("left %llu, expected %llu", (unsigned long long)m.left, (unsigned long long)left);
}

static void groups__are_none_where_no_files_are(void **state) {
    (void)state;
    ct_group g;
    assert_false(ct_group_find(&g, root, "memory"));
    check_memory(NONE, NONE);
    assert_int_equal(ct_group_available(root), 0);
    assert_int_equal(ct_group_n_cpu(root), 0);
    meminfo(100 * MIB);
    assert_int_equal(ct_group_available(root), 100 * MIB);
}

static void groups_v1__count_every_group_above(void **state) {
    (void)state;
    put("proc/self/cgroup", "8:pids:/\n4:memory:/a/b\n1:cpu,cpuacct:/a\n0::/\n");
    put("proc/self/mountinfo", OTHER_MOUNTS MOUNT_V1("memory") MOUNT_V1("cpu,cpuacct"));
    meminfo(4000 * MIB);
    group_v1("sys/fs/cgroup/memory", V1_NONE, 9000 * MIB, 0);
    group_v1("sys/fs/cgroup/memory/a", "1048576000\n", 900 * MIB, 300 * MIB); /* 1000 MiB; 600 used: 400 left */
    group_v1("sys/fs/cgroup/memory/a/b", "734003200\n", 100 * MIB, 40 * MIB); /* 700 MiB; 60 used: 640 left */
    put_bytes("sys/fs/cgroup/memory/a/b/memory.max_usage_in_bytes", 321 * MIB);
    check_memory(700 * MIB, 400 * MIB);
    assert_int_equal(ct_group_memory_get(root).charged, 100 * MIB);
    assert_int_equal(ct_group_memory_get(root).charged_peak, 321 * MIB);
    assert_int_equal(ct_group_available(root), 400 * MIB);
    meminfo(399 * MIB);
    assert_int_equal(ct_group_available(root), 399 * MIB);
    ct_group g;
    assert_true(ct_group_find(&g, root, "memory"));
    assert_int_equal(g.version, 1);
    assert_string_equal(g.dir + strlen(root), "/sys/fs/cgroup/memory/a/b");
    assert_true(ct_group_up(&g) && ct_group_up(&g));
    assert_string_equal(g.dir + strlen(root), "/sys/fs/cgroup/memory");
    assert_false(ct_group_up(&g));
}

static void groups_v1__know_limits_of_groups_that_are_not_visible(void **state) {
    (void)state;
    /* A container without a group namespace: the path is the host's, mounted is the container's own group. */
    put("proc/self/cgroup", "4:memory:/docker/c0ffee\n");
    put("proc/self/mountinfo", MOUNT_V1_ROOT("memory", "/docker/c0ffee"));
    group_v1("sys/fs/cgroup/memory", V1_NONE, 50 * MIB, 10 * MIB);
    put("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 209715200\ntotal_inactive_file 10485760\n");
    check_memory(200 * MIB, 160 * MIB);
    /* The path does not lie below what is mounted, nor does it exist there. */
    put("proc/self/cgroup", "4:memory:/docker/dead\n");
    check_memory(200 * MIB, 160 * MIB);
    put("proc/self/mountinfo", MOUNT_V1("memory"));
    check_memory(200 * MIB, 160 * MIB);
    put("proc/self/cgroup", "4:memory:/../../beef\n");
    check_memory(200 * MIB, 160 * MIB);
    /* /docker/c0ffee2 is not below /docker/c0ffee. */
    put("proc/self/cgroup", "4:memory:/docker/c0ffee2\n");
    put("proc/self/mountinfo", MOUNT_V1_ROOT("memory", "/docker/c0ffee"));
    group_v1("sys/fs/cgroup/memory2", "1\n", 1, 0);
    check_memory(200 * MIB, 160 * MIB);
}

static void groups_v2__count_every_group_above(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/user.slice/user-1000.slice/run.scope\n");
    put("proc/self/mountinfo", OTHER_MOUNTS MOUNT_V2);
    meminfo(4000 * MIB);
    group_v2("sys/fs/cgroup/user.slice", "2147483648\n", 1500 * MIB, 1000 * MIB);
    group_v2("sys/fs/cgroup/user.slice/user-1000.slice", "max\n", 1400 * MIB, 0);
    group_v2("sys/fs/cgroup/user.slice/user-1000.slice/run.scope", "max\n", 77 * MIB, 0);
    check_memory(2048 * MIB, 1548 * MIB);
    assert_int_equal(ct_group_available(root), 1548 * MIB);
    put("sys/fs/cgroup/user.slice/user-1000.slice/memory.high", "1572864000\n"); /* 1500 MiB, of which 1400 are used */
    check_memory(1500 * MIB, 100 * MIB);
    assert_int_equal(ct_group_memory_get(root).charged, 77 * MIB);
    assert_int_equal(ct_group_memory_get(root).charged_peak, 0); /* kernels before 5.19 do not tell */
    put("sys/fs/cgroup/user.slice/user-1000.slice/run.scope/memory.peak", "99\n");
    assert_int_equal(ct_group_memory_get(root).charged_peak, 99);
}

static void groups_v2__in_a_namespace_begin_at_the_mount(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", MOUNT_V2);
    group_v2("sys/fs/cgroup", "536870912\n", 100 * MIB, 64 * MIB);
    check_memory(512 * MIB, 476 * MIB);
    put("proc/self/cgroup", "0::/../other\n");
    check_memory(512 * MIB, 476 * MIB);
    put("proc/self/cgroup", "0::/gone (deleted)\n");
    check_memory(512 * MIB, 476 * MIB);
    put("proc/self/mountinfo", MOUNT_V2_ROOT("/kubepods/pod1"));
    put("proc/self/cgroup", "0::/kubepods/pod1/main\n");
    group_v2("sys/fs/cgroup/main", "104857600\n", 1 * MIB, 1 * MIB);
    check_memory(100 * MIB, 100 * MIB);
}

static void groups__in_a_hybrid_are_where_the_controller_is(void **state) {
    (void)state;
    put("proc/self/cgroup", "4:memory:/m\n3:name=systemd:/x\n0::/u\n");
    put("proc/self/mountinfo", OTHER_MOUNTS MOUNT_V1("memory")
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    group_v1("sys/fs/cgroup/memory/m", "104857600\n", 30 * MIB, 0);
    put("sys/fs/cgroup/unified/u/cgroup.procs", "1\n");
    check_memory(100 * MIB, 70 * MIB);
    ct_group g;
    assert_true(ct_group_find(&g, root, "memory"));
    assert_int_equal(g.version, 1);
    /* The version 2 side has what version 1 does not. */
    assert_true(ct_group_find(&g, root, "cpu"));
    assert_int_equal(g.version, 2);
    assert_string_equal(g.dir + strlen(root), "/sys/fs/cgroup/unified/u");
    assert_int_equal(ct_group_n_cpu(root), 0);
}

static void mounts__may_have_odd_names_and_lines(void **state) {
    (void)state;
    char text[9000] = "1 2 3:4 / /long rw - overlay overlay lower=";
    memset(text + strlen(text), 'x', 6000);
    strcat(text, "\n\nrubbish\n36 35 0:31 / /half\n36 35 0:31 / /p rw - cgroup2\n36 35 0:31 / /p rw - cgroup2 none\n"
                 "36 35 0:31 / /my\\040groups\\134x rw shared:1 master:2 - cgroup2 none rw\n");
    put("proc/self/mountinfo", text);
    put("proc/self/cgroup", "nonsense\n0:\n0::relative\n0::/a:b c\n");
    group_v2("my groups\\x/a:b c", "1048576\n", 0, 0);
    check_memory(1 * MIB, 1 * MIB);
}

static void limits__that_are_no_numbers_limit_nothing(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/g\n");
    put("proc/self/mountinfo", MOUNT_V2);
    put("sys/fs/cgroup/g/cgroup.procs", "");
    meminfo(10 * MIB);
    static const char *const none[] = {"max\n", "", "\n", "-1\n", "12x\n", "0x10\n", " 5\n", "nan\n", "18446744073709551616\n",
                                       "99999999999999999999999999999999999999\n", V1_NONE, "1152921504606846976\n"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        put("sys/fs/cgroup/g/memory.max", none[i]);
        check_memory(NONE, NONE);
        assert_int_equal(ct_group_available(root), 10 * MIB);
    }
    put("sys/fs/cgroup/g/memory.max", "4096"); /* no newline */
    check_memory(4096, 4096);
    put("sys/fs/cgroup/g/memory.max", "0\n");
    check_memory(0, 0);
    assert_int_equal(ct_group_available(root), 0);
}

static void usage__beyond_the_limit_leaves_nothing(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/g\n");
    put("proc/self/mountinfo", MOUNT_V2);
    group_v2("sys/fs/cgroup/g", "1048576\n", 3 * MIB, 0);
    check_memory(MIB, 0);
    group_v2("sys/fs/cgroup/g", "1048576\n", 3 * MIB, 900 * MIB); /* the counters are not read at one time */
    check_memory(MIB, MIB);
    put("sys/fs/cgroup/g/memory.stat", "active_file rubbish\n");
    check_memory(MIB, 0);
}

static void available__survives_a_strange_meminfo(void **state) {
    (void)state;
    put("proc/meminfo", "MemTotal: 5 kB\n");
    assert_int_equal(ct_group_available(root), 0);
    put("proc/meminfo", "MemAvailable: 99999999999999999999999 kB\n");
    assert_int_equal(ct_group_available(root), 0);
    put("proc/meminfo", "MemAvailable: many kB\n");
    assert_int_equal(ct_group_available(root), 0);
}

static void quotas__of_processors_count_every_group_above(void **state) {
    (void)state;
    put("proc/self/mountinfo", MOUNT_V2);
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(ct_group_n_cpu(root), 0);
    put("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_int_equal(ct_group_n_cpu(root), 3);
    put("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    assert_int_equal(ct_group_n_cpu(root), 1);
    static const char *const odd[] = {"", "50000\n", "50000 0\n", "0 100000\n", "x y\n", "18446744073709551615 1\n", "-1 100000\n"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        put("sys/fs/cgroup/a/b/cpu.max", odd[i]);
        assert_int_equal(ct_group_n_cpu(root), 3);
    }
    put("proc/self/cgroup", "2:cpu,cpuacct:/q/r\n0::/a/b\n");
    put("proc/self/mountinfo", MOUNT_V2 MOUNT_V1("cpu,cpuacct"));
    put("sys/fs/cgroup/cpu,cpuacct/q/r/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/q/r/cpu.cfs_period_us", "100000\n");
    assert_int_equal(ct_group_n_cpu(root), 0);
    put("sys/fs/cgroup/cpu,cpuacct/q/cpu.cfs_quota_us", "400000\n");
    assert_int_equal(ct_group_n_cpu(root), 0); /* no period */
    put("sys/fs/cgroup/cpu,cpuacct/q/cpu.cfs_period_us", "100000\n");
    assert_int_equal(ct_group_n_cpu(root), 4);
}

static void files__are_evicted_without_losing_anything(void **state) {
    (void)state;
    char path[300], back[6] = "";
    put("data", "hello");
    snprintf(path, sizeof path, "%s/data", root);
    assert_true(ct_file_evict(path) <= 1 << 16);
    FILE *f = fopen(path, "r");
    assert_int_equal(fread(back, 1, 5, f), 5);
    fclose(f);
    assert_string_equal(back, "hello");
    assert_int_equal(ct_file_evict("/no/such/file"), 0);
    assert_int_equal(ct_file_evict(root), 0);
}

static void a_part_of_a_mapped_file__is_evicted_without_losing_anything(void **state) {
    (void)state;
    enum { N = 3 * 65536 + 100 };
    char path[300];
    carat_error err = {0};
    ct_mapped_file m;
    snprintf(path, sizeof path, "%s/part", root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < N; i++) fputc(i % 251, f);
    fclose(f);
    assert_int_equal(ct_map_file(&m, path, &err), 0);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < N; i++) assert_int_equal(m.data[i], i % 251);
        assert_true(ct_map_evict(&m, 100, 2 * 65536) <= 2 * 65536);
        assert_true(ct_map_evict(&m, 65536, SIZE_MAX) <= N - 65536); /* to the end */
    }
    assert_int_equal(ct_map_evict(&m, N, 1), 0);
    assert_int_equal(ct_map_evict(&m, 5, 20), 0); /* no whole page */
    ct_unmap_file(&m);
}

static void this_process__has_numbers_that_fit(void **state) {
    (void)state;
#ifdef __linux__
    const ct_mem_usage u = ct_memory_usage();
    assert_true(u.rss_anon > 0 && u.rss_anon <= u.rss);
    const uint64_t limit = ct_memory_limit(), left = ct_memory_available();
    if (limit) assert_true(left <= limit);
    assert_true(left > 0);
#endif
}

#define IN_TREE(f) cmocka_unit_test_setup_teardown(f, tree_begin, tree_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(groups__are_none_where_no_files_are),
        IN_TREE(groups_v1__count_every_group_above),
        IN_TREE(groups_v1__know_limits_of_groups_that_are_not_visible),
        IN_TREE(groups_v2__count_every_group_above),
        IN_TREE(groups_v2__in_a_namespace_begin_at_the_mount),
        IN_TREE(groups__in_a_hybrid_are_where_the_controller_is),
        IN_TREE(mounts__may_have_odd_names_and_lines),
        IN_TREE(limits__that_are_no_numbers_limit_nothing),
        IN_TREE(usage__beyond_the_limit_leaves_nothing),
        IN_TREE(available__survives_a_strange_meminfo),
        IN_TREE(quotas__of_processors_count_every_group_above),
        IN_TREE(files__are_evicted_without_losing_anything),
        IN_TREE(a_part_of_a_mapped_file__is_evicted_without_losing_anything),
        cmocka_unit_test(this_process__has_numbers_that_fit),
    };
    return cmocka_run_group_tests_name("base group", tests, NULL, NULL);
}
