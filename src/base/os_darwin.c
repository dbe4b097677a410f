/* The same facts on macOS. */
#ifdef __APPLE__
#include "base/os.h"

#include <mach/mach.h>
#include <sys/resource.h>
#include <unistd.h>

int ct_n_cores(void) {
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}

ct_mem_usage ct_memory_usage(void) {
    ct_mem_usage u = {0};
    struct mach_task_basic_info info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count) == KERN_SUCCESS) {
        u.rss = info.resident_size;
        u.rss_peak = info.resident_size_max;
    }
    return u;
}

uint64_t ct_memory_available(void) { return 0; }
uint64_t ct_memory_limit(void) { return 0; }

void ct_memory_trim(void) {}

uint64_t ct_file_evict(const char *path) {
    (void)path;
    return 0;
}

uint64_t ct_map_evict(const ct_mapped_file *f, size_t off, size_t n) {
    (void)f, (void)off, (void)n;
    return 0;
}
#else
typedef int ct_os_darwin_is_empty; /* C11 forbids an empty translation unit */
#endif
