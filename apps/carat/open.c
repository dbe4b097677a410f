/* Models, sessions and texts for the verbs: see open.h. */
#include "open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "plan_text.h"
#include "term.h"

#define BUNDLED "carat-story-e.gguf"
#ifndef CARAT_DATADIR
#define CARAT_DATADIR "/usr/share/carat"
#endif

enum { MAX_TEXT = 1 << 30 };

int cli_fail_err(const char *verb, const carat_error *err) { return cli_fail(CLI_FAILED, verb, "%s", err->msg); }

/* ---- models ---- */

const char *cli_model_path(const cli_common *c, char *buf, size_t cap) {
    if (c->n_pos > 0) return c->pos[0];
    /* Beside the program (a source tree, an unpacked archive), then where it was installed. */
    static const char *const beside[] = {"/../models/" BUNDLED, "/models/" BUNDLED, "/../share/carat/models/" BUNDLED};
    char exe[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = '\0';
        char *slash = strrchr(exe, '/');
        if (slash) *slash = '\0';
        for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
            const int len = snprintf(buf, cap, "%s%s", exe, beside[i]);
            if (len > 0 && (size_t)len < cap && ct_path_exists(buf)) return buf;
        }
    }
    (void)snprintf(buf, cap, "%s/models/%s", CARAT_DATADIR, BUNDLED);
    if (ct_path_exists(buf)) return buf;
    cli_fail(CLI_FAILED, c->verb, "the bundled model %s is neither in ../models beside the program nor in %s/models: name a "
             "MODEL, as in carat %s model.gguf", BUNDLED, CARAT_DATADIR, c->verb);
    return NULL;
}

int cli_model_open(carat_model **out, const cli_common *c, const char *path, bool vocab_only) {
    carat_model_opts o = carat_model_opts_default();
    o.vocab_only = vocab_only;
    o.cpu = c->cpu;
    o.ram = c->ram - c->ram_aside;
    o.ple = (carat_place)c->ple;
    o.experts = (carat_place)c->experts;
    o.expert_cache = c->expert_cache;
    o.no_expert_ahead = c->expert_ahead != 0;
    carat_error err;
    if (*path == '\0') return cli_fail(CLI_USAGE, c->verb, "MODEL is an empty word: name a .gguf file or a folder");
    if (!ct_path_exists(path) && errno == ENOENT) {
        /* The likeliest slip of a first day: the prompt as a bare word. */
        const bool prompt = strcmp(c->verb, "run") == 0;
        return cli_fail(CLI_FAILED, c->verb, "%s: No such file or directory: MODEL is a .gguf file or a Hugging Face folder%s",
                        path, prompt ? " (a prompt goes behind -p)" : "");
    }
    const int rc = carat_model_open(out, path, &o, &err);
    if (rc == 0) return CLI_DONE;
    if (rc == CARAT_EINVAL && c->ram && c->experts == CARAT_PLACE_MAPPED) {
        return cli_fail(CLI_USAGE, c->verb, "--experts mapped: the page cache keeps to no --ram; give one of the two");
    }
    /* Else the one argument a caller can get wrong here is the level; the model's name in front of it would mislead. */
    if (rc == CARAT_EINVAL && c->cpu) {
        const size_t n = strlen(path);
        const bool named = strncmp(err.msg, path, n) == 0 && strncmp(err.msg + n, ": ", 2) == 0;
        return cli_fail(CLI_USAGE, c->verb, "--cpu: %s", named ? err.msg + n + 2 : err.msg);
    }
    return cli_fail_err(c->verb, &err);
}

/* ---- sessions ---- */

carat_session_opts cli_session_opts(const cli_common *c, int32_t n_ctx) {
    carat_session_opts o = carat_session_opts_default();
    o.n_ctx = n_ctx;
    o.n_threads = c->n_threads;
    o.kv = (carat_kv_type)c->kv;
    return o;
}

int cli_session_open(carat_session **out, const carat_model *m, const cli_common *c, const carat_session_opts *o) {
    carat_error err;
    carat_model_info info;
    carat_model_get_info(m, &info);
    if (o->n_ctx > info.n_ctx_train) {
        return cli_fail(CLI_FAILED, c->verb, "context of %d tokens, the model was trained for %d: give a -c of at most %d, or "
                        "less text", (int)o->n_ctx, (int)info.n_ctx_train, (int)info.n_ctx_train);
    }
    if (c->ple && info.d_ple == 0) return cli_fail(CLI_FAILED, c->verb, "--ple: the model has no per-layer embeddings");
    if ((c->experts || c->expert_cache) && info.n_expert == 0) {
        return cli_fail(CLI_FAILED, c->verb, "%s: the model has no experts", c->experts ? "--experts" : "--expert-cache");
    }
    carat_plan plan;
    if (carat_plan_make(&plan, m, o, &err)) return cli_fail_err(c->verb, &err);
    const int32_t usual = info.n_ctx_train < 4096 ? info.n_ctx_train : 4096;
    if (!plan.fits) return cli_plan_refuse(&plan, c, o->n_ctx ? o->n_ctx : usual);
    if (!c->json && (plan.ram || cli_is_terminal(2))) cli_plan_line(&plan);
    return carat_session_new(out, m, o, &err) ? cli_fail_err(c->verb, &err) : CLI_DONE;
}

/* ---- text ---- */

/* To the end of what no one knows the size of: a pipe, a terminal, a device. */
static int read_stream(char **out, size_t *n, int fd, const char *name, const char *verb) {
    void *buf = NULL;
    size_t cap = 0, len = 0;
    for (;;) {
        if (len > MAX_TEXT) {
            ct_free(buf);
            return cli_fail(CLI_FAILED, verb, "%s: more than 1 GiB of text", name);
        }
        if (!ct_grow(&buf, &cap, len + 65536, 1)) {
            ct_free(buf);
            return cli_fail(CLI_FAILED, verb, "%s: out of memory after %zu bytes", name, len);
        }
        const ssize_t got = read(fd, (char *)buf + len, cap - len - 1);
        if (got == 0) break;
        if (got < 0 && errno == EINTR && !cli_interrupted()) continue;
        if (got < 0) {
            ct_free(buf);
            return cli_fail(CLI_FAILED, verb, "%s: cannot be read: %s", name, strerror(errno));
        }
        len += (size_t)got;
    }
    ((char *)buf)[len] = '\0';
    *out = buf;
    *n = len;
    return CLI_DONE;
}

int cli_read_text(char **out, size_t *n, const char *path, const char *verb) {
    *out = NULL;
    *n = 0;
    if (strcmp(path, "-") == 0) return read_stream(out, n, STDIN_FILENO, "stdin", verb);
    if (*path == '\0') return cli_fail(CLI_USAGE, verb, "the name of the text's file is an empty word");
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) { /* a shell's <(command), /dev/stdin */
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return cli_fail(CLI_FAILED, verb, "%s: %s", path, strerror(errno));
        const int status = read_stream(out, n, fd, path, verb);
        close(fd);
        return status;
    }
    carat_error err;
    if (ct_read_file(out, n, path, MAX_TEXT, &err)) return cli_fail_err(verb, &err);
    return CLI_DONE;
}

int cli_tokenize(int32_t **out, size_t *n_out, const carat_model *m, const char *text, size_t len, unsigned flags,
                 const char *verb) {
    carat_error err;
    *out = NULL;
    *n_out = 0;
    /* Every token covers at least one byte, except <bos>: one pass is enough. */
    size_t cap = len + 1;
    int32_t *ids = ct_alloc_array(cap, sizeof *ids);
    if (!ids) return cli_fail(CLI_FAILED, verb, "out of memory for the tokens of %zu bytes", len);
    if (carat_tokenize(m, text, len, flags, ids, cap, n_out, &err)) {
        ct_free(ids);
        return cli_fail_err(verb, &err);
    }
    if (*n_out > cap) { /* ill-formed bytes can become longer (U+FFFD): once more with room */
        ct_free(ids);
        cap = *n_out;
        ids = ct_alloc_array(cap, sizeof *ids);
        if (!ids || carat_tokenize(m, text, len, flags, ids, cap, n_out, &err)) {
            ct_free(ids);
            return cli_fail(CLI_FAILED, verb, "out of memory for %zu tokens", cap);
        }
    }
    *out = ids;
    return CLI_DONE;
}

int cli_parse_ids(int32_t **out, size_t *n_out, const char *list, int32_t n_vocab, const char *verb) {
    *out = NULL;
    *n_out = 0;
    int32_t *ids = ct_alloc_array(strlen(list) / 2 + 1, sizeof *ids);
    if (!ids) return cli_fail(CLI_FAILED, verb, "out of memory for a list of tokens");
    for (const char *p = list;;) {
        while (*p == ' ' || *p == '\n' || *p == '\t') p++;
        char *end;
        errno = 0;
        const long id = strtol(p, &end, 10);
        while (*end == ' ' || *end == '\n' || *end == '\t' || *end == '\r') end++;
        if (end == p || *p < '0' || *p > '9' || errno || (*end != ',' && *end != '\0')) {
            ct_free(ids);
            return cli_fail(CLI_USAGE, verb, "'%.40s' is no list of token ids: write 2,4,6", list);
        }
        if (id >= n_vocab) {
            ct_free(ids);
            return cli_fail(CLI_USAGE, verb, "token %ld is outside the vocabulary of %d", id, (int)n_vocab);
        }
        ids[(*n_out)++] = (int32_t)id;
        if (*end == '\0') break;
        p = end + 1;
    }
    *out = ids;
    return CLI_DONE;
}
