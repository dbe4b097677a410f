/* carat run --session: what is held is loaded before the prompt is read and saved behind the answer.
 *
 * What the next prompt has in common with the text held is reused, where the layers with a sliding window can still go
 * back to: they keep, besides their window, the past that this answer and a question of N_QUESTION tokens take. */
#include <string.h>

#include "base/file.h"
#include "base/os.h"
#include "open.h"
#include "run.h"

enum { N_QUESTION = 256 };

static int advise(const carat_error *err) {
    const bool file_is_wrong = err->code == CARAT_EFORMAT || err->code == CARAT_EMODEL || err->code == CARAT_EINVAL;
    return cli_fail(CLI_FAILED, "run", "%s%s", err->msg, file_is_wrong ? ": delete the file, or name another with --session" : "");
}

int run_session_find(run_state *r) {
    const char *path = r->args->session;
    carat_error err;
    if (!path) return CLI_DONE;
    if (*path == '\0') return cli_fail(CLI_USAGE, "run", "--session: the name of the file is an empty word");
    if (ct_path_exists(path)) {
        uint64_t fingerprint;
        if (carat_snapshot_get_info(&r->found, path, &err)) return advise(&err);
        if (carat_model_fingerprint(&fingerprint, r->m, &err)) return cli_fail_err("run", &err);
        r->has_found = true;
        /* Another model's numbers size nothing; loading will tell. */
        if (r->found.fingerprint != fingerprint) r->found.n_tok = r->found.n_rewind = 0;
    }
    /* What cannot be written should show before the work. */
    ct_out_file *probe = NULL;
    if (ct_out_file_new(&probe, path, 0600, &err)) return cli_fail_err("run", &err);
    ct_out_file_free(&probe);
    return CLI_DONE;
}

int32_t run_session_n_rewind(const run_state *r, int32_t n_ctx) {
    if (!r->args->session) return 0;
    const int64_t answer = r->args->n_max >= 0 ? r->args->n_max : n_ctx - (int64_t)r->n_prompt;
    const int64_t n = answer + N_QUESTION > r->found.n_rewind ? answer + N_QUESTION : r->found.n_rewind;
    return (int32_t)(n < n_ctx ? n : n_ctx);
}

int run_session_load(run_state *r) {
    carat_error err;
    if (!r->has_found) return CLI_DONE;
    if (carat_session_load(r->s, r->args->session, &err)) return advise(&err);
    r->n_loaded = carat_session_n_past(r->s);
    return CLI_DONE;
}

int run_session_save(run_state *r) {
    carat_error err;
    if (!r->args->session) return CLI_DONE;
    if (carat_session_save(r->s, r->args->session, &err)) return cli_fail_err("run", &err);
    r->n_saved = carat_session_n_past(r->s);
    return CLI_DONE;
}
