#include "runtime/profile.h"

#include <string.h>

#include "base/os.h"

void ct_profile_start(ct_profile *p, carat_step step) {
    memset(p, 0, sizeof *p);
    p->step = step;
    p->on = true;
    p->since_ms = ct_now_ms();
}

carat_step ct_profile_switch(ct_profile *p, carat_step step) {
    const double now = ct_now_ms();
    const carat_step before = p->step;
    p->ms[before] += now - p->since_ms;
    p->since_ms = now;
    p->step = step;
    return before;
}

void ct_profile_stop(ct_profile *p) {
    if (!p->on) return;
    (void)ct_profile_switch(p, p->step);
    p->on = false;
}

void ct_profile_read(const ct_profile *p, double ms[CARAT_N_STEP]) {
    memcpy(ms, p->ms, sizeof p->ms);
    if (p->on) ms[p->step] += ct_now_ms() - p->since_ms;
}
