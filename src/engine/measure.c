/* Measuring a session: counted work and the profile of carat.h. */
#include <string.h>

#include "engine/engine_int.h"

const char *carat_step_key(carat_step s) {
    switch (s) {
#define X(id, key, text) case id: return key;
        CARAT_STEP_LIST(X)
#undef X
    default: return "?";
    }
}

const char *carat_step_text(carat_step s) {
    switch (s) {
#define X(id, key, text) case id: return text;
        CARAT_STEP_LIST(X)
#undef X
    default: return "?";
    }
}

int carat_session_count_work(const carat_session *s, int32_t depth, int32_t n, bool one_by_one, carat_work *out,
                             carat_error *err) {
    memset(out, 0, sizeof *out);
    if (depth < 0 || n < 1 || depth > s->fw.o.n_ctx - n) {
        return CT_FAIL(err, CARAT_EINVAL, "count_work: %d tokens behind %d, expected at least 1 within the context of %d", n,
                       depth, s->fw.o.n_ctx);
    }
    ct_work_run r = {.pos = depth,
                     .n = one_by_one ? 1 : n,
                     .n_chunk = s->fw.o.n_chunk,
                     .all_rows = s->all_rows,
                     .kv = s->fw.o.kv,
                     .norm_bytes = s->model->info.role[CARAT_ROLE_NORM].bytes_token};
    for (int32_t i = 0; i < (one_by_one ? n : 1); i++, r.pos++) ct_work_add(out, &s->model->cfg, &s->model->weights, &r);
    return 0;
}

/* Outside of sync the caller is at work, which is sampling or whatever else it does. */
void carat_session_profile_start(carat_session *s) {
    ct_profile_start(&s->profile, CARAT_STEP_SAMPLING);
    ct_forward_profile(&s->fw, &s->profile);
}

void carat_session_profile_stop(carat_session *s) {
    ct_profile_stop(&s->profile);
    ct_forward_profile(&s->fw, NULL);
}

void carat_session_profile_get(const carat_session *s, carat_profile *out) { ct_profile_read(&s->profile, out->ms); }
