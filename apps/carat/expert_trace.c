/* Traces of routing: reading and writing. Every number of a file is checked before it is used: a trace may come from
 * anywhere. */
#include "expert_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/status.h"

enum { MOST_LAYERS = 1024, MOST_EXPERTS = 4096, MOST_USED = 256, MOST_TOKENS = 1 << 16, MOST_POS = 1 << 30 };
#define MOST_BYTES ((size_t)1 << 30) /* of a file */

/* ---- reading ---- */

typedef struct {
    const char *path;
    const char *p, *end; /* what is left */
    int64_t line;
    carat_error *err;
} reader;

static int malformed(const reader *r, const char *what) {
    return CT_FAIL(r->err, CARAT_EFORMAT, "%s: line %lld: %s", r->path, (long long)r->line, what);
}

/* Blanks, then a number of at most `most` up to a blank or the line's end. -1 = the line has no more, -2 = no such number. */
static int64_t number(reader *r, uint64_t most) {
    while (r->p < r->end && *r->p == ' ') r->p++;
    if (r->p == r->end || *r->p == '\n') return -1;
    uint64_t x = 0;
    const char *from = r->p;
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        x = 10 * x + (uint64_t)(*r->p - '0');
        if (x > most) return -2;
    }
    if (r->p == from || (r->p < r->end && *r->p != ' ' && *r->p != '\n')) return -2;
    return (int64_t)x;
}

static bool word(reader *r, const char *w) {
    const size_t n = strlen(w);
    while (r->p < r->end && *r->p == ' ') r->p++;
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n) != 0) return false;
    if (r->p + n < r->end && r->p[n] != ' ' && r->p[n] != '\n') return false;
    r->p += n;
    return true;
}

/* The end of a line, which must be there. */
static bool line_end(reader *r) {
    if (r->p == r->end || *r->p != '\n') return false;
    r->p++;
    r->line++;
    return true;
}

static int read_head(reader *r, expert_trace *t) {
    if (!word(r, "carat-routes")) {
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s: is no trace of routing: the first line must be \"carat-routes 1\" (--trace "
                       "writes such files)", r->path);
    }
    const int64_t version = number(r, INT32_MAX);
    if (version != 1) {
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s: version %lld of the format is not known, 1 is", r->path, (long long)version);
    }
    if (!line_end(r)) return malformed(r, "expected \"carat-routes 1\"");
    const int64_t n_layer = word(r, "layers") ? number(r, MOST_LAYERS) : -1;
    const int64_t n_expert = word(r, "experts") ? number(r, MOST_EXPERTS) : -1;
    const int64_t n_used = word(r, "used") ? number(r, MOST_USED) : -1;
    const int64_t bytes = word(r, "bytes") ? number(r, INT64_MAX / 16) : -1;
    if (n_layer < 1 || n_expert < 1 || n_used < 1 || n_used > n_expert || bytes < 0 || !line_end(r)) {
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s: line 2: expected \"layers L experts E used U bytes B\" with L up to %d, E up "
                       "to %d, U up to %d and E", r->path, MOST_LAYERS, MOST_EXPERTS, MOST_USED);
    }
    if (t->n_file == 0) {
        t->n_layer = (int32_t)n_layer;
        t->n_expert = (int32_t)n_expert;
        t->n_used = (int32_t)n_used;
        t->bytes = (uint64_t)bytes;
    } else if (t->n_layer != n_layer || t->n_expert != n_expert || t->n_used != n_used || t->bytes != (uint64_t)bytes) {
        return CT_FAIL(r->err, CARAT_EFORMAT, "%s: is of another model than the traces before it: replay those of one model",
                       r->path);
    }
    return 0;
}

/* n_tok rows of n_used experts, all different within a row. */
static int read_rows(reader *r, expert_trace *t, int64_t n_tok) {
    if (!ct_grow((void **)&t->expert, &t->cap_expert, t->n_expert_id + (size_t)n_tok * (size_t)t->n_used, sizeof *t->expert)) {
        return CT_FAIL(r->err, CARAT_ENOMEM, "%s: out of memory", r->path);
    }
    for (int64_t i = 0; i < n_tok; i++) {
        uint16_t *row = t->expert + t->n_expert_id;
        for (int32_t j = 0; j < t->n_used; j++) {
            const int64_t e = number(r, (uint64_t)t->n_expert - 1);
            if (e == -1) return malformed(r, "too few experts: for every token as many as are used, or twice that");
            if (e < 0) return malformed(r, "an expert is no number below that of the experts");
            for (int32_t k = 0; k < j; k++) {
                if (row[k] == e) return malformed(r, "a token has the same expert twice");
            }
            row[j] = (uint16_t)e;
        }
        t->n_expert_id += (size_t)t->n_used;
    }
    return 0;
}

/* from: the file's first step. */
static int read_step(reader *r, expert_trace *t, bool decode, size_t from) {
    const int64_t pos = number(r, MOST_POS), n_tok = number(r, MOST_TOKENS), layer = number(r, (uint64_t)t->n_layer - 1);
    if (pos < 0) return malformed(r, "the position is no number up to 2^30");
    if (n_tok < 1) return malformed(r, "the number of tokens is none from 1 to 65536");
    if (layer < 0) return malformed(r, "the layer is no number below that of the layers");
    /* Every expert takes two bytes: a line that has not so many is refused before memory is taken for it. */
    if ((int64_t)(r->end - r->p) < n_tok * t->n_used * 2) return malformed(r, "too few experts");
    if (!ct_grow((void **)&t->step, &t->cap_step, t->n_step + 1, sizeof *t->step)) {
        return CT_FAIL(r->err, CARAT_ENOMEM, "%s: out of memory", r->path);
    }
    const expert_step *before = t->n_step > from ? &t->step[t->n_step - 1] : NULL;
    expert_step s = {.pos = (int32_t)pos, .n_tok = (int32_t)n_tok, .layer = (int32_t)layer, .file = t->n_file, .decode = decode,
                     .first = !before || layer <= before->layer, .at = t->n_expert_id};
    if (!s.first && (pos + n_tok != before->pos + before->n_tok || pos < before->pos || decode != before->decode)) {
        return malformed(r, "a layer of the same chunk has tokens that the layer before had not");
    }
    int rc = read_rows(r, t, n_tok);
    if (rc) return rc;
    while (r->p < r->end && *r->p == ' ') r->p++;
    if (r->p < r->end && *r->p != '\n') {
        s.has_ahead = true;
        rc = read_rows(r, t, n_tok);
        if (rc) return rc;
    }
    if (!line_end(r)) return malformed(r, r->p == r->end ? "the line is cut short" : "more experts than the tokens have");
    t->step[t->n_step++] = s;
    return 0;
}

static int read_all(reader *r, expert_trace *t) {
    int rc = read_head(r, t);
    const size_t from = t->n_step;
    while (!rc) {
        const bool decode = word(r, "d");
        if (decode || word(r, "p")) {
            rc = read_step(r, t, decode, from);
            continue;
        }
        if (r->p == r->end) return malformed(r, "the file is cut short: it must close with \"end\" and the number of layers' lines");
        if (!word(r, "end")) return malformed(r, "expected p, d or end");
        const int64_t n = number(r, INT64_MAX / 16);
        if (n != (int64_t)(t->n_step - from) || !line_end(r)) return malformed(r, "\"end\" counts other lines than there are");
        if (r->p != r->end) return malformed(r, "something stands behind the end");
        if (n == 0) return malformed(r, "the trace is empty");
        t->n_file++;
        return 0;
    }
    return rc;
}

int expert_trace_read(expert_trace *t, const char *path, carat_error *err) {
    char *text;
    size_t n;
    int rc = ct_read_file(&text, &n, path, MOST_BYTES, err);
    if (rc) return rc;
    reader r = {.path = path, .p = text, .end = text + n, .line = 1, .err = err};
    rc = read_all(&r, t);
    ct_free(text);
    return rc;
}

void expert_trace_free(expert_trace *t) {
    ct_free(t->step);
    ct_free(t->expert);
    memset(t, 0, sizeof *t);
}

/* ---- what else a trace tells ---- */

int32_t expert_trace_layers(const expert_trace *t) {
    bool seen[MOST_LAYERS] = {false};
    int32_t n = 0;
    for (size_t i = 0; i < t->n_step; i++) {
        n += !seen[t->step[i].layer];
        seen[t->step[i].layer] = true;
    }
    return n;
}

uint64_t expert_trace_expert_bytes(const expert_trace *t) {
    return t->bytes / ((uint64_t)expert_trace_layers(t) * (uint64_t)t->n_expert);
}

/* One token of a chunk: its row of every layer that has one. */
static void split_token(const expert_trace *t, expert_trace *out, const expert_step *s, size_t n, int32_t pos) {
    const size_t row = (size_t)t->n_used;
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        if (pos < s[i].pos) continue; /* a layer that ran for the last rows only */
        expert_step one = s[i];
        one.pos = pos;
        one.n_tok = 1;
        one.decode = true;
        one.first = first;
        one.at = out->n_expert_id;
        first = false;
        const size_t at = (size_t)(pos - s[i].pos) * row;
        memcpy(out->expert + out->n_expert_id, expert_trace_chosen(t, &s[i]) + at, row * sizeof *out->expert);
        out->n_expert_id += row;
        if (one.has_ahead) {
            memcpy(out->expert + out->n_expert_id, expert_trace_ahead(t, &s[i]) + at, row * sizeof *out->expert);
            out->n_expert_id += row;
        }
        out->step[out->n_step++] = one;
    }
}

int expert_trace_split(expert_trace *t, carat_error *err) {
    expert_trace out = *t;
    size_t n = 0;
    for (size_t i = 0; i < t->n_step; i++) n += (size_t)t->step[i].n_tok;
    out.step = ct_alloc_array(n, sizeof *out.step);
    out.expert = ct_alloc_array(t->n_expert_id, sizeof *out.expert);
    if (!out.step || !out.expert) {
        ct_free(out.step);
        ct_free(out.expert);
        return CT_FAIL(err, CARAT_ENOMEM, "out of memory for a trace of %zu tokens and layers", n);
    }
    out.cap_step = n;
    out.cap_expert = t->n_expert_id;
    out.n_step = out.n_expert_id = 0;
    for (size_t i = 0; i < t->n_step;) {
        size_t k = i + 1;
        while (k < t->n_step && !t->step[k].first) k++;
        for (int32_t r = 0; r < t->step[i].n_tok; r++) split_token(t, &out, t->step + i, k - i, t->step[i].pos + r);
        i = k;
    }
    ct_free(t->step);
    ct_free(t->expert);
    *t = out;
    return 0;
}

/* ---- writing ---- */

struct expert_recorder {
    FILE *f;          /* NULL: into t */
    char *path;
    expert_trace *t;
    int32_t part;
    bool decode;
    int error;      /* errno of the first write that failed */
    int64_t n_line;
};

static void put(expert_recorder *r, const char *s, size_t n) {
    if (!r->error && fwrite(s, 1, n, r->f) != n) r->error = errno ? errno : EIO;
}

static void put_numbers(expert_recorder *r, const int32_t *x, int64_t n) {
    char buf[4096];
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        char digit[12];
        int k = 0;
        for (int32_t v = x[i]; k == 0 || v; v /= 10) digit[k++] = (char)('0' + v % 10);
        buf[at++] = ' ';
        while (k) buf[at++] = digit[--k];
        if (at > sizeof buf - 16) put(r, buf, at), at = 0;
    }
    put(r, buf, at);
}

static void keep_row(expert_trace *t, int64_t n, const int32_t *expert) {
    for (int64_t i = 0; i < n; i++) t->expert[t->n_expert_id++] = (uint16_t)expert[i];
}

static void on_route_keep(void *ud, int32_t layer, int32_t pos, int32_t n_tok, int32_t n_used, const int32_t *expert,
                          const int32_t *ahead) {
    expert_recorder *r = ud;
    expert_trace *t = r->t;
    const int64_t n = (int64_t)n_tok * n_used;
    if (r->error || !ct_grow((void **)&t->step, &t->cap_step, t->n_step + 1, sizeof *t->step) ||
        !ct_grow((void **)&t->expert, &t->cap_expert, t->n_expert_id + 2 * (size_t)n, sizeof *t->expert)) {
        r->error = ENOMEM;
        return;
    }
    t->step[t->n_step] = (expert_step){.pos = pos, .n_tok = n_tok, .layer = layer, .file = r->part, .decode = r->decode,
                                       .first = t->n_step == 0 || layer <= t->step[t->n_step - 1].layer, .has_ahead = ahead != NULL,
                                       .at = t->n_expert_id};
    t->n_step++;
    keep_row(t, n, expert);
    if (ahead) keep_row(t, n, ahead);
}

static void on_route(void *ud, int32_t layer, int32_t pos, int32_t n_tok, int32_t n_used, const int32_t *expert,
                     const int32_t *ahead) {
    expert_recorder *r = ud;
    const int32_t head[3] = {pos, n_tok, layer};
    put(r, r->decode ? "d" : "p", 1);
    put_numbers(r, head, 3);
    put_numbers(r, expert, (int64_t)n_tok * n_used);
    if (ahead) put_numbers(r, ahead, (int64_t)n_tok * n_used);
    put(r, "\n", 1);
    r->n_line++;
}

int expert_recorder_open(expert_recorder **out, const char *path, const carat_model *m, carat_session_opts *o, carat_error *err) {
    *out = NULL;
    carat_model_info info;
    carat_model_get_info(m, &info);
    if (info.n_expert == 0) {
        return CT_FAIL(err, CARAT_EMODEL, "--trace: the model has no experts, so there is no routing to write");
    }
    expert_recorder *r = ct_alloc(sizeof *r);
    if (!r) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
    r->path = ct_strdup_n(path, strlen(path));
    r->f = r->path ? fopen(path, "w") : NULL;
    if (!r->f) {
        const int code = r->path ? CT_FAIL(err, CARAT_EIO, "--trace: %s: cannot create: %s", path, strerror(errno))
                                 : CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
        ct_free(r->path);
        ct_free(r);
        return code;
    }
    char head[160];
    const int n = snprintf(head, sizeof head, "carat-routes 1\nlayers %d experts %d used %d bytes %" PRIu64 "\n", (int)info.n_layer,
                           (int)info.n_expert, (int)info.n_expert_used, info.role[CARAT_ROLE_EXPERTS].bytes);
    put(r, head, (size_t)n);
    o->route = on_route;
    o->route_ud = r;
    o->route_ahead = true;
    *out = r;
    return 0;
}

int expert_recorder_keep(expert_recorder **out, expert_trace *t, bool ahead, const carat_model *m, carat_session_opts *o, carat_error *err) {
    carat_model_info info;
    carat_model_get_info(m, &info);
    *out = NULL;
    if (info.n_expert == 0) return CT_FAIL(err, CARAT_EMODEL, "the model has no experts, so there is no routing to keep");
    expert_recorder *r = ct_alloc(sizeof *r);
    if (!r) return CT_FAIL(err, CARAT_ENOMEM, "routing: out of memory");
    *t = (expert_trace){.n_layer = info.n_layer, .n_expert = info.n_expert, .n_used = info.n_expert_used,
                        .bytes = info.role[CARAT_ROLE_EXPERTS].bytes, .n_file = 1};
    r->t = t;
    o->route = on_route_keep;
    o->route_ud = r;
    o->route_ahead = ahead;
    *out = r;
    return 0;
}

void expert_recorder_part(expert_recorder *r, int32_t n) {
    if (!r) return;
    r->part = n;
    if (r->t && n >= r->t->n_file) r->t->n_file = n + 1;
}

void expert_recorder_phase(expert_recorder *r, bool decode) {
    if (r) r->decode = decode;
}

int expert_recorder_close(expert_recorder **pr, carat_error *err) {
    expert_recorder *r = *pr;
    if (!r) return 0;
    *pr = NULL;
    if (r->t) {
        const int rc = r->error ? CT_FAIL(err, CARAT_ENOMEM, "out of memory for routing") : 0;
        ct_free(r);
        return rc;
    }
    char end[40];
    put(r, end, (size_t)snprintf(end, sizeof end, "end %lld\n", (long long)r->n_line));
    if (fclose(r->f) != 0 && !r->error) r->error = errno;
    const int rc = r->error ? CT_FAIL(err, CARAT_EIO, "--trace: %s: cannot write: %s", r->path, strerror(r->error)) : 0;
    ct_free(r->path);
    ct_free(r);
    return rc;
}
