/* carat weigh: how well a model predicts a text: perplexity, and bits per byte, which compares across vocabularies.
 *
 * The text is tokenized once and read in windows; what a window is and which of its tokens are scored:
 *   half    windows of n_ctx tokens one behind the other, the first token replaced by <bos>, the second half scored.
 *           REF llama.cpp tools/perplexity/perplexity.cpp: the same tokens, windows, positions and error bar, so that
 *           the numbers compare. Its -f drops one newline at the end of a text, so this does too.
 *   stride  windows of n_ctx tokens that start every N tokens, the first token replaced by <bos>, the last N scored.
 *   full    <bos> and n_ctx - 1 tokens, all of them scored: every byte of the text counts once.
 * The interval takes tokens as independent, which neighbours are not: it is a lower bound of the doubt. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "carat.h"
#include "json_out.h"
#include "open.h"
#include "term.h"
#include "verbs.h"

enum { WINDOWS_HALF = 0, WINDOWS_FULL = 1 };

typedef struct {
    cli_common common;
    const char *text;
    int32_t n_ctx, stride, n_chunk;
    int32_t windows; /* index into "half|full" */
} weigh_args;

#define AT(field) offsetof(weigh_args, field)
static const cli_opt opts[] = {
    {"--text", 0, CLI_TEXT, AT(text), "FILE", 0, 0, "The text to predict (- is stdin), read as plain text."},
    {"--windows", 0, CLI_CHOICE, AT(windows), "half|full", 0, 0,
     "half: windows of CTX tokens, the second half of each is scored, as llama.cpp's perplexity does (which drops one "
     "newline at the end of the text). full: every token of the text is scored once, from <bos> on. Default: half."},
    {"--ctx", 'c', CLI_INT, AT(n_ctx), "CTX", 4, 1 << 20,
     "Tokens a window holds. Default: 512. More context gives a lower perplexity: say which was used."},
    {"--stride", 0, CLI_INT, AT(stride), "N", 1, 1 << 20,
     "Windows overlap: each starts N tokens after the one before, and its last N tokens are scored. Slower by CTX/N, "
     "and every token has at least CTX - N before it."},
    {"--chunks", 0, CLI_INT, AT(n_chunk), "N", 1, INT32_MAX, "Read the first N windows only. Default: all."},
    CLI_KV_OPT(weigh_args, "f16"),
    CLI_PLACE_OPTS(weigh_args),
};

typedef struct {
    const weigh_args *args;
    const carat_model *m;
    carat_session *s;
    int32_t n_vocab, n_ctx, bos; /* bos: -1 when the model wants none */
    int32_t *tok;                /* the text; in half and stride mode with <bos> in front */
    size_t n_tok, n_text;        /* tokens, bytes */
    uint64_t *byte_at;           /* [n_tok + 1] bytes of text before token i */
    int32_t *window;             /* [n_ctx] */
    int64_t n_window, i_window;
    int32_t n_before;            /* tokens of the window evaluated by calls before the current one */
    /* The sums. */
    int64_t n_scored;
    uint64_t n_bytes;
    double nll, nll2;
    double ms;
    cli_bar bar;
} weighing;

/* ---- one window ---- */

/* Rows [first, …) predict the token after them. */
static bool on_row(void *ud, int32_t pos, const float *logits) {
    weighing *w = ud;
    const double x = -carat_logprob(logits, w->n_vocab, w->window[pos + 1]);
    w->nll += x;
    w->nll2 += x * x;
    w->n_scored++;
    return !cli_interrupted();
}

static bool on_progress(void *ud, int32_t done, int32_t total) {
    weighing *w = ud;
    (void)total;
    cli_bar_update(&w->bar, w->i_window * w->n_ctx + w->n_before + done, w->n_window * w->n_ctx);
    return !cli_interrupted();
}

/* Score what rows [first, n - 1) of w->window[0,n) predict. */
static int score(weighing *w, int32_t n, int32_t first, carat_error *err) {
    /* Tokens before `first` are evaluated without their logits; the last token predicts nothing that is known. */
    w->n_before = 0;
    if (first > 0) {
        const int rc = carat_session_sync(w->s, w->window, (size_t)first, err);
        if (rc) return rc;
        w->n_before = first;
    }
    return carat_session_sync_logits(w->s, w->window, (size_t)(n - 1), first == 0, on_row, w, err);
}

static int score_window(weighing *w, int64_t i, carat_error *err) {
    const size_t n_ctx = (size_t)w->n_ctx;
    size_t at, n, skip = 0; /* text tokens [at, at + n), behind `skip` tokens that are not of the text */
    int32_t first;
    if (w->args->windows == WINDOWS_FULL) {
        skip = w->bos >= 0;
        at = (size_t)i * (n_ctx - skip);
        n = w->n_tok - at < n_ctx - skip ? w->n_tok - at : n_ctx - skip;
        first = 0;
        if (skip) w->window[0] = w->bos;
        memcpy(w->window + skip, w->tok + at, n * sizeof *w->tok);
    } else {
        at = (size_t)i * (w->args->stride ? (size_t)w->args->stride : n_ctx);
        n = n_ctx;
        first = w->args->stride ? w->n_ctx - w->args->stride - 1 : w->n_ctx / 2;
        memcpy(w->window, w->tok + at, n * sizeof *w->tok);
        if (w->bos >= 0) w->window[0] = w->bos;
    }
    if (n + skip < 2) return 0; /* one token alone predicts nothing */
    w->n_bytes += w->byte_at[at + n] - w->byte_at[at + (size_t)first + 1 - skip];
    return score(w, (int32_t)(n + skip), first, err);
}

/* ---- the text ---- */

/* byte_at: what the detokenizer has given out before each token. */
static int count_bytes(weighing *w) {
    carat_error err;
    carat_detok *d = NULL;
    w->byte_at = ct_alloc_array(w->n_tok + 1, sizeof *w->byte_at);
    if (!w->byte_at) return cli_fail(CLI_FAILED, "weigh", "out of memory for %zu tokens", w->n_tok);
    if (carat_detok_new(&d, w->m, false, &err)) return cli_fail_err("weigh", &err);
    uint64_t sum = 0;
    int rc = 0;
    for (size_t i = 0; i <= w->n_tok && !rc; i++) {
        const char *s;
        size_t n;
        w->byte_at[i] = sum;
        if (i < w->n_tok) rc = carat_detok_push(d, w->tok[i], &s, &n, &err);
        else carat_detok_flush(d, &s, &n);
        if (!rc) sum += n;
    }
    w->byte_at[w->n_tok] = sum;
    carat_detok_free(&d);
    return rc ? cli_fail_err("weigh", &err) : CLI_DONE;
}

static int read_tokens(weighing *w) {
    const weigh_args *a = w->args;
    char *text = NULL;
    int32_t *bos = NULL;
    size_t n_bos = 0;
    int status = cli_read_text(&text, &w->n_text, a->text, "weigh");
    if (!status) status = cli_tokenize(&bos, &n_bos, w->m, "", 0, CARAT_TOKENIZE_BOS, "weigh");
    w->bos = n_bos == 1 ? bos[0] : -1;
    const unsigned flags = a->windows == WINDOWS_FULL ? 0 : CARAT_TOKENIZE_BOS;
    if (!status && w->n_text == 0) status = cli_fail(CLI_FAILED, "weigh", "%s: is empty: give more text", a->text);
    if (!status && a->windows == WINDOWS_HALF && !a->stride && text[w->n_text - 1] == '\n') w->n_text--;
    if (!status) status = cli_tokenize(&w->tok, &w->n_tok, w->m, text, w->n_text, flags, "weigh");
    if (!status) status = count_bytes(w);
    ct_free(text);
    ct_free(bos);
    return status;
}

static int plan_windows(weighing *w) {
    const weigh_args *a = w->args;
    const size_t n_ctx = (size_t)w->n_ctx;
    if (a->windows == WINDOWS_FULL) {
        const size_t per = n_ctx - (w->bos >= 0);
        w->n_window = (int64_t)((w->n_tok + per - 1) / per);
    } else if (w->n_tok >= n_ctx) {
        w->n_window = (int64_t)(a->stride ? (w->n_tok - n_ctx) / (size_t)a->stride + 1 : w->n_tok / n_ctx);
    }
    if (w->n_window == 0) {
        return cli_fail(CLI_FAILED, "weigh", "%s: has %zu tokens with <bos>, a window takes %zu: give more text, a smaller "
                        "-c, or --windows full", a->text, w->n_tok, n_ctx);
    }
    if (a->n_chunk && a->n_chunk < w->n_window) w->n_window = a->n_chunk;
    return CLI_DONE;
}

/* ---- the result ---- */

typedef struct {
    double nll, nll_error, ppl, ppl_error, bits_per_byte;
} result;

static result conclude(const weighing *w) {
    result r = {0};
    const double n = (double)w->n_scored;
    if (w->n_scored < 1) return r;
    r.nll = w->nll / n;
    const double var = w->nll2 / n - r.nll * r.nll;
    if (w->n_scored > 1 && var > 0.0) r.nll_error = sqrt(var / (n - 1.0));
    r.ppl = exp(r.nll);
    r.ppl_error = r.nll_error * r.ppl;
    if (w->n_bytes) r.bits_per_byte = w->nll / log(2.0) / (double)w->n_bytes;
    return r;
}

static const char *mode_name(const weigh_args *a) {
    return a->windows == WINDOWS_FULL ? "full" : a->stride ? "stride" : "half";
}

static int print_json(const weighing *w, const result *r) {
    cli_json *o = cli_json_object();
    cli_json_put_str(o, "model", w->args->common.pos[0]);
    cli_json_put_str(o, "text", w->args->text);
    cli_json_put_str(o, "windows", mode_name(w->args));
    cli_json_put_int(o, "n_ctx", w->n_ctx);
    if (w->args->stride) cli_json_put_int(o, "stride", w->args->stride);
    cli_json_put_int(o, "n_windows", w->n_window);
    cli_json_put_int(o, "text_tokens", (int64_t)w->n_tok);
    cli_json_put_bytes(o, "text_bytes", w->n_text);
    cli_json_put_int(o, "scored_tokens", w->n_scored);
    cli_json_put_bytes(o, "scored_bytes", w->n_bytes);
    cli_json_put_real(o, "nll", r->nll);
    cli_json_put_real(o, "nll_error", r->nll_error);
    cli_json_put_real(o, "perplexity", r->ppl);
    cli_json_put_real(o, "perplexity_error", r->ppl_error);
    cli_json_put_real(o, "bits_per_byte", r->bits_per_byte);
    cli_json_put_real(o, "ms", w->ms);
    return cli_json_print(o, "weigh");
}

static int print_result(const weighing *w) {
    const result r = conclude(w);
    if (isnan(w->nll)) {
        return cli_fail(CLI_FAILED, "weigh", "the model's logits are not numbers (NaN): the file is damaged, get or make it "
                        "again");
    }
    if (w->n_scored == 0) return cli_fail(CLI_FAILED, "weigh", "%s: nothing to score", w->args->text);
    if (w->args->common.json) return print_json(w, &r);
    cli_text n, t;
    cli_printf("perplexity     %.4f ± %.4f\n", r.ppl, r.ppl_error);
    cli_printf("nats a token   %.5f ± %.5f\n", r.nll, r.nll_error);
    cli_printf("bits a byte    %.5f\n", r.bits_per_byte);
    cli_printf("scored         %s tokens, ", cli_count_text(n, w->n_scored));
    cli_printf("%s bytes, in %s windows of ", cli_count_text(n, (int64_t)w->n_bytes), cli_count_text(t, w->n_window));
    cli_printf("%d (%s)\n", (int)w->n_ctx, mode_name(w->args));
    fprintf(stderr, "%s\n", cli_time_text(t, w->ms));
    return CLI_DONE;
}

static int score_all(weighing *w) {
    carat_error err;
    const double t0 = ct_now_ms();
    int rc = 0;
    w->bar = cli_bar_begin("weighing", "tokens");
    for (w->i_window = 0; w->i_window < w->n_window && !rc; w->i_window++) rc = score_window(w, w->i_window, &err);
    cli_bar_end(&w->bar);
    w->ms = ct_now_ms() - t0;
    if (!rc) return CLI_DONE;
    if (!cli_interrupted()) return cli_fail_err("weigh", &err);
    if (w->n_scored == 0) return cli_fail(CLI_FAILED, "weigh", "interrupted before anything was scored");
    return cli_fail(CLI_FAILED, "weigh", "interrupted in window %lld of %lld (perplexity so far %.4f)",
                    (long long)w->i_window, (long long)w->n_window, conclude(w).ppl);
}

static int check_args(const weigh_args *a) {
    if (!a->text || !*a->text) return cli_fail(CLI_USAGE, "weigh", "--text: missing; name the text to predict");
    if (a->stride && a->windows == WINDOWS_FULL) {
        return cli_fail(CLI_USAGE, "weigh", "--stride: goes with --windows half");
    }
    if (a->stride >= a->n_ctx) return cli_fail(CLI_USAGE, "weigh", "--stride: must be smaller than -c %d", (int)a->n_ctx);
    return CLI_DONE;
}

static void defaults(void *p) { ((weigh_args *)p)->n_ctx = 512; }

static int run(const void *p) {
    const weigh_args *a = p;
    weighing w = {.args = a, .n_ctx = a->n_ctx};
    carat_model *m = NULL;
    int status = check_args(a);
    if (!status) status = cli_model_open(&m, &a->common, a->common.pos[0], false);
    w.m = m;
    if (!status) status = read_tokens(&w);
    if (!status) status = plan_windows(&w);
    if (!status) {
        carat_model_info info;
        carat_model_get_info(m, &info);
        w.n_vocab = info.n_vocab;
        w.window = ct_alloc_array((size_t)w.n_ctx, sizeof *w.window);
        if (!w.window) status = cli_fail(CLI_FAILED, "weigh", "out of memory for a window");
    }
    carat_session_opts o = cli_session_opts(&a->common, w.n_ctx);
    o.n_logits = 16; /* rows share one walk over the output head, the largest matrix; their bits stay the same */
    o.progress = on_progress;
    o.progress_ud = &w;
    if (!status) status = cli_session_open(&w.s, m, &a->common, &o);
    cli_catch_interrupt();
    if (!status) status = score_all(&w);
    if (!status) status = print_result(&w);
    carat_session_free(&w.s);
    carat_model_close(&m);
    ct_free(w.tok);
    ct_free(w.byte_at);
    ct_free(w.window);
    return status;
}

const cli_verb cli_verb_weigh = {
    .name = "weigh",
    .brief = "measure how well a model predicts a text",
    .synopsis = "MODEL --text FILE",
    .about = "Perplexity (e to the mean negative log-likelihood of a token, with its standard error) and bits per byte of a "
             "text. Perplexities compare only between models with the same vocabulary; bits per byte compare between all, "
             "because bytes are the same for everyone. With the default windows the perplexity is that of llama.cpp's "
             "perplexity tool with the same context.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(weigh_args),
    .min_pos = 1,
    .max_pos = 1,
    .defaults = defaults,
    .run = run,
};
