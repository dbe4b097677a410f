/* carat logits: every position's logits, and on request every layer's named intermediates, as .npy files. The tool of
 * the oracle: the KV cache is f32 here, so that differences are those of the forward pass. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/status.h"
#include "carat.h"
#include "json_out.h"
#include "npy.h"
#include "open.h"
#include "term.h"
#include "verbs.h"

enum { MAX_TAP = 8192, MAX_TAP_NAME = 64 };

typedef struct {
    cli_common common;
    const char *tokens, *prompt, *out, *taps;
    bool special;
    int32_t n_ctx, n_chunk;
} logits_args;

#define AT(field) offsetof(logits_args, field)
static const cli_opt opts[] = {
    {"--tokens", 0, CLI_TEXT, AT(tokens), "IDS", 0, 0,
     "The ids of the tokens to evaluate: 2,4,6. Nothing is put in front."},
    {"--prompt", 'p', CLI_TEXT, AT(prompt), "TEXT", 0, 0, "Evaluate the tokens of this text, <bos> in front."},
    {"--special", 0, CLI_FLAG, AT(special), NULL, 0, 0, "Read control tokens such as <|turn> in the text of -p."},
    {"--out", 'o', CLI_TEXT, AT(out), "F.npy", 0, 0, "Write the logits here: float32 [tokens, vocabulary]."},
    {"--taps", 0, CLI_TEXT, AT(taps), "DIR", 0, 0,
     "Also write each named intermediate to DIR/NAME.npy (as L00.out.npy): float32 [tokens, width]. DIR is made if need be."},
    {"--ctx", 'c', CLI_INT, AT(n_ctx), "CTX", 1, INT32_MAX,
     "Tokens to make room for. Default: as many as are given."},
    {"--chunk", 0, CLI_INT, AT(n_chunk), "N", 1, 65536, "Tokens evaluated at once. The logits do not depend on it. Default: 256."},
    CLI_KV_OPT(logits_args, "f32, so that differences are those of the forward pass"),
    CLI_PLACE_OPTS(logits_args),
};

static void defaults(void *p) { ((logits_args *)p)->common.kv = CARAT_KV_F32; }

/* Files that grow while the session works. The first error is kept and stops the work at the next row. */
typedef struct {
    const logits_args *args;
    int32_t n_vocab;
    cli_npy *logits;
    struct {
        char name[MAX_TAP_NAME];
        cli_npy *f;
    } *tap;
    int n_tap, n_seen;
    int rc;
    carat_error err;
    cli_bar bar;
} writer;

static bool on_row(void *ud, int32_t pos, const float *logits) {
    writer *w = ud;
    (void)pos;
    if (!w->rc) w->rc = cli_npy_write(w->logits, logits, 1, &w->err);
    return w->rc == 0;
}

static bool on_progress(void *ud, int32_t done, int32_t total) {
    writer *w = ud;
    cli_bar_update(&w->bar, done, total);
    return w->rc == 0 && !cli_interrupted();
}

/* A tap's name becomes a file's: nothing but letters, digits, '.', '_' and '-' may be in it. */
static bool is_file_name(const char *s) {
    const size_t n = strlen(s);
    return n > 0 && n < MAX_TAP_NAME && s[0] != '.' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static cli_npy *tap_file(writer *w, const char *name, int32_t n) {
    /* Taps come in the same order for every chunk: the next one is nearly always the one wanted. */
    for (int k = 0; k < w->n_tap; k++) {
        const int i = (w->n_seen + k) % w->n_tap;
        if (strcmp(w->tap[i].name, name) == 0) {
            w->n_seen = i + 1;
            return w->tap[i].f;
        }
    }
    char path[4096];
    const int len = snprintf(path, sizeof path, "%s/%s.npy", w->args->taps, name);
    if (!is_file_name(name) || w->n_tap == MAX_TAP || len < 0 || (size_t)len >= sizeof path) {
        w->rc = CT_FAIL(&w->err, CARAT_EINVAL, "%s/%.64s.npy: cannot be the name of a tap's file", w->args->taps, name);
        return NULL;
    }
    w->rc = cli_npy_open(&w->tap[w->n_tap].f, path, n, &w->err);
    if (w->rc) return NULL;
    memcpy(w->tap[w->n_tap].name, name, strlen(name) + 1);
    w->n_seen = w->n_tap + 1;
    return w->tap[w->n_tap++].f;
}

static void on_tap(void *ud, const char *name, const float *x, int32_t pos, int32_t n_tok, int32_t n) {
    writer *w = ud;
    (void)pos;
    if (w->rc) return;
    cli_npy *f = tap_file(w, name, n);
    if (!f) return;
    if (cli_npy_n_col(f) != n) w->rc = CT_FAIL(&w->err, CARAT_EINVAL, "tap %s changes its width", name);
    else w->rc = cli_npy_write(f, x, n_tok, &w->err);
}

static int open_files(writer *w) {
    carat_error err;
    if (cli_npy_open(&w->logits, w->args->out, w->n_vocab, &err)) return cli_fail_err("logits", &err);
    if (!w->args->taps) return CLI_DONE;
    if (mkdir(w->args->taps, 0777) != 0 && errno != EEXIST) {
        return cli_fail(CLI_FAILED, "logits", "%s: cannot make the folder: %s", w->args->taps, strerror(errno));
    }
    w->tap = ct_alloc_array(MAX_TAP, sizeof *w->tap);
    return w->tap ? CLI_DONE : cli_fail(CLI_FAILED, "logits", "out of memory for taps");
}

static int close_files(writer *w) {
    carat_error err;
    int status = CLI_DONE;
    if (cli_npy_close(&w->logits, &err)) status = cli_fail_err("logits", &err);
    for (int i = 0; i < w->n_tap && !status; i++) {
        if (cli_npy_close(&w->tap[i].f, &err)) status = cli_fail_err("logits", &err);
    }
    return status;
}

/* Widths and counts outlive the files: the report is made before they are closed. */
static cli_json *report(const writer *w) {
    cli_json *o = cli_json_object(), *taps = cli_json_array();
    cli_json_put_int(o, "tokens", cli_npy_n_row(w->logits));
    cli_json_put_int(o, "n_vocab", w->n_vocab);
    cli_json_put_str(o, "out", w->args->out);
    for (int i = 0; i < w->n_tap; i++) {
        cli_json *t = cli_json_object();
        cli_json_put_str(t, "name", w->tap[i].name);
        cli_json_put_int(t, "tokens", cli_npy_n_row(w->tap[i].f));
        cli_json_put_int(t, "width", cli_npy_n_col(w->tap[i].f));
        cli_json_add(taps, t);
    }
    cli_json_put(o, "taps", taps);
    return o;
}

static int evaluate(writer *w, const carat_model *m, const int32_t *tok, size_t n) {
    const logits_args *a = w->args;
    carat_session *s = NULL;
    carat_error err;
    if (a->n_ctx && n > (size_t)a->n_ctx) {
        return cli_fail(CLI_FAILED, "logits", "%zu tokens, the context holds %d: give a larger -c, %zu or more", n,
                        (int)a->n_ctx, n);
    }
    carat_session_opts o = cli_session_opts(&a->common, a->n_ctx ? a->n_ctx : (int32_t)n);
    o.n_chunk = a->n_chunk;
    o.n_logits = 16; /* rows share one walk over the output head */
    o.progress = on_progress;
    o.progress_ud = w;
    if (a->taps) {
        o.tap = on_tap;
        o.tap_ud = w;
    }
    int status = cli_session_open(&s, m, &a->common, &o);
    if (!status) status = open_files(w);
    if (!status) {
        cli_catch_interrupt();
        w->bar = cli_bar_begin("evaluating", "tokens");
        const int rc = carat_session_sync_logits(s, tok, n, true, on_row, w, &err);
        cli_bar_end(&w->bar);
        if (w->rc) status = cli_fail_err("logits", &w->err);
        else if (cli_interrupted()) status = cli_fail(CLI_FAILED, "logits", "interrupted: nothing was written");
        else if (rc) status = cli_fail_err("logits", &err);
    }
    carat_session_free(&s);
    return status;
}

static int check_args(const logits_args *a) {
    if (!a->out || !*a->out) return cli_fail(CLI_USAGE, "logits", "--out: missing; name the .npy file to write");
    if (strcmp(a->out, "-") == 0) return cli_fail(CLI_USAGE, "logits", "--out: writes no pipe; name the .npy file to write");
    if (a->taps && !*a->taps) return cli_fail(CLI_USAGE, "logits", "--taps: name the folder to write to");
    if (!a->tokens == !a->prompt) return cli_fail(CLI_USAGE, "logits", "give --tokens IDS or -p TEXT, one of them");
    if (a->special && !a->prompt) return cli_fail(CLI_USAGE, "logits", "--special: goes with -p");
    return CLI_DONE;
}

static int run(const void *p) {
    const logits_args *a = p;
    writer w = {.args = a};
    carat_model *m = NULL;
    int32_t *tok = NULL;
    size_t n = 0;
    carat_model_info info;
    int status = check_args(a);
    if (!status) status = cli_model_open(&m, &a->common, a->common.pos[0], false);
    if (!status) {
        carat_model_get_info(m, &info);
        w.n_vocab = info.n_vocab;
        const unsigned flags = CARAT_TOKENIZE_BOS | (a->special ? CARAT_TOKENIZE_SPECIAL : 0u);
        status = a->tokens ? cli_parse_ids(&tok, &n, a->tokens, info.n_vocab, "logits")
                           : cli_tokenize(&tok, &n, m, a->prompt, strlen(a->prompt), flags, "logits");
    }
    if (!status && n == 0) status = cli_fail(CLI_FAILED, "logits", "no tokens: give at least one");
    if (!status && n > INT32_MAX) status = cli_fail(CLI_FAILED, "logits", "%zu tokens are too many", n);
    if (!status) status = evaluate(&w, m, tok, n);
    if (!status) {
        cli_json *o = a->common.json ? report(&w) : NULL;
        status = close_files(&w);
        if (o && !status) status = cli_json_print(o, "logits");
        else if (o) cli_json_free(o);
        else if (!status) {
            fprintf(stderr, "%lld tokens x %d logits to %s%s%s\n", (long long)n, (int)w.n_vocab, a->out,
                    a->taps ? ", taps to " : "", a->taps ? a->taps : "");
        }
    }
    cli_npy_discard(&w.logits);
    for (int i = 0; i < w.n_tap; i++) cli_npy_discard(&w.tap[i].f);
    ct_free(w.tap);
    ct_free(tok);
    carat_model_close(&m);
    return status;
}

const cli_verb cli_verb_logits = {
    .name = "logits",
    .brief = "write logits, and layers' intermediates, as .npy",
    .synopsis = "MODEL (--tokens IDS|-p TEXT) --out F.npy",
    .about = "Evaluates tokens and writes the logits of every position, after soft-capping, as a "
             "NumPy file. With --taps each layer's named intermediates are written too, for comparison with another "
             "implementation layer by layer.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(logits_args),
    .min_pos = 1,
    .max_pos = 1,
    .defaults = defaults,
    .run = run,
};
