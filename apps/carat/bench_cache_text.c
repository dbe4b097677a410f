/* Texts of carat bench --experts: topics, separated by form feeds or by lines of dashes, as tokens. */
#include <string.h>

#include "base/mem.h"
#include "bench_cache.h"
#include "open.h"

/* The end of the topic at p; *next: where the one behind it begins. */
static const char *topic_end(const char *p, const char *end, const char **next) {
    for (const char *line = p; line < end;) {
        const char *nl = memchr(line, '\n', (size_t)(end - line)), *stop = nl ? nl : end, *feed = memchr(line, '\f', (size_t)(stop - line));
        if (feed) return *next = feed + 1, feed;
        size_t n = (size_t)(stop - line);
        if (n && line[n - 1] == '\r') n--;
        size_t dashes = 0;
        while (dashes < n && line[dashes] == '-') dashes++;
        if (n >= 3 && dashes == n) return *next = nl ? nl + 1 : end, line;
        line = nl ? nl + 1 : end;
    }
    return *next = end;
}

static bool is_blank(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!strchr(" \t\r\n", p[i])) return false;
    }
    return true;
}

static int add_topic(cache_state *s, const carat_model *m, const char *p, size_t n, size_t *cap_text, size_t *cap_topic) {
    int32_t *tok;
    size_t n_tok;
    const int status = cli_tokenize(&tok, &n_tok, m, p, n, s->n_topic ? 0 : CARAT_TOKENIZE_BOS, "bench");
    if (status) return status;
    const bool ok = n_tok < INT32_MAX / 2 && ct_grow((void **)&s->text, cap_text, (size_t)s->n_text + n_tok, sizeof *s->text) &&
                    ct_grow((void **)&s->topic, cap_topic, (size_t)s->n_topic + 1, sizeof *s->topic);
    if (ok) {
        s->topic[s->n_topic++] = s->n_text;
        memcpy(s->text + s->n_text, tok, n_tok * sizeof *tok);
        s->n_text += (int32_t)n_tok;
    }
    ct_free(tok);
    return ok ? CLI_DONE : cli_fail(CLI_FAILED, "bench", "%s: out of memory", s->args->text);
}

int bench_cache_read_text(cache_state *s, const carat_model *m) {
    char *text;
    size_t n, cap_text = 0, cap_topic = 0;
    int status = cli_read_text(&text, &n, s->args->text, "bench");
    if (status) return status;
    for (const char *p = text, *end = text + n, *next; p < end && !status && s->n_text < (1 << 24); p = next) {
        const char *stop = topic_end(p, end, &next);
        if (!is_blank(p, (size_t)(stop - p))) status = add_topic(s, m, p, (size_t)(stop - p), &cap_text, &cap_topic);
    }
    ct_free(text);
    if (!status && s->n_text == 0) status = cli_fail(CLI_FAILED, "bench", "--text: %s holds no text", s->args->text);
    return status;
}
