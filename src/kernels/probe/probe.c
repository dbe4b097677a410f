/* Choice of what this machine can run. On another architecture its lists are empty. */
#include "kernels/probe/probe.h"

const ct_probe_reader *ct_probe_reader_at(int i) {
    const ct_probe_reader *const lists[] = {ct_probe_readers_x86, ct_probe_readers_arm, ct_probe_readers_portable};
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (const ct_probe_reader *r = lists[l]; r->name; r++) {
            if (r->has() && i-- == 0) return r;
        }
    }
    return NULL;
}

const ct_probe_dot *ct_probe_dot_at(int i) {
    const ct_probe_dot *const lists[] = {ct_probe_dots_x86, ct_probe_dots_arm, ct_probe_dots_portable};
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (const ct_probe_dot *d = lists[l]; d->name; d++) {
            if (d->has() && i-- == 0) return d;
        }
    }
    return NULL;
}
