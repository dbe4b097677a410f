/* carat run: one answer to one prompt, streamed.
 *
 * Text goes to stdout as its tokens come; thoughts (between <|channel> and <channel|>) never do: with --think on they
 * are shown on stderr. Ctrl-C ends the answer where it is, as an end like any other. What is printed afterwards is in
 * run_report.c. */
#include "run.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/status.h"
#include "expert_trace.h"
#include "json_out.h"
#include "open.h"
#include "term.h"
#include "verbs.h"

enum { THINK_ON = 0, THINK_OFF = 1 };
enum { SCREEN_OFF = 0, SCREEN_AUTO = 1, SCREEN_ALWAYS = 2 };

#define AT(field) offsetof(run_args, field)
static const cli_opt opts[] = {
    {"--prompt", 'p', CLI_TEXT, AT(prompt), "TEXT", 0, 0,
     "The prompt. Without -p and -f it is read from stdin, to its end."},
    {"--file", 'f', CLI_TEXT, AT(file), "FILE", 0, 0,
     "Read the prompt from a file (- is stdin). One newline at the end of a file or stdin is dropped."},
    {"--raw", 0, CLI_FLAG, AT(raw), NULL, 0, 0,
     "No chat template: continue the prompt as it stands. Control tokens such as <|turn> are read in it, and shown in "
     "the answer. For base models, which know no conversation. Models without the tokens of a chat are always run so, "
     "except that control tokens stay text."},
    {"--system", 0, CLI_TEXT, AT(system), "TEXT", 0, 0,
     "Instruction that stands before the prompt: \"Answer in one sentence.\""},
    {"--max-tokens", 'n', CLI_INT, AT(n_max), "N", -1, INT32_MAX,
     "Tokens to answer with at most, thoughts included. -1: until the model stops or the context is full. Default: 512."},
    {"--ctx", 'c', CLI_INT, AT(n_ctx), "CTX", 1, INT32_MAX,
     "Tokens the context can hold, prompt and answer together; memory is taken for all of them. Default: what the "
     "prompt and -n need (4096 with -n -1), within what the model was trained for."},
    CLI_KV_OPT(run_args, "f16"),
    CLI_PLACE_OPTS(run_args),
    {"--temp", 0, CLI_REAL, AT(temp), "T", 0, 100,
     "Temperature: below 1 the likely gets likelier, above 1 less so; 0 always takes the likeliest token. Default: 1."},
    {"--top-k", 0, CLI_INT, AT(top_k), "K", 0, INT32_MAX, "Choose among the K likeliest tokens; 0 = all. Default: 64."},
    {"--top-p", 0, CLI_REAL, AT(top_p), "P", 0, 1,
     "Choose among the likeliest tokens that together hold P; 1 = all. Default: 0.95."},
    {"--min-p", 0, CLI_REAL, AT(min_p), "P", 0, 1,
     "Drop tokens less likely than P times the likeliest; 0 = none. Default: 0."},
    {"--repeat-penalty", 0, CLI_REAL, AT(repeat_penalty), "X", 0.01, 100,
     "Make the last 64 tokens, prompt included, less likely to come again: 1.1 is much already; 1 = off. Default: 1."},
    {"--seed", 0, CLI_SEED, AT(seed), "N", 0, 0,
     "The same seed gives the same text. Default: another one each time; --stats and --json tell it."},
    {"--think", 0, CLI_CHOICE, AT(think), "on|off", 0, 0,
     "Let the model think before it answers. Thoughts are shown on stderr, and in the JSON as \"thought\", never on "
     "stdout. Default: off."},
    {"--lookup", 0, CLI_CHOICE, AT(lookup), "off|auto|always", 0, 0,
     "Guess tokens from earlier places of the text that read the same, and check several in one pass. The answer is the "
     "same, sooner where it repeats what stands before. auto guesses where that pays, always wherever two tokens repeat. "
     "Default: auto."},
    {"--screen", 0, CLI_CHOICE, AT(screen), "off|auto|always", 0, 0,
     "Where only the likeliest tokens count (--temp 0 or --top-k), leave out those that the upper bits of the output "
     "head prove to be less likely. The answer is the same. auto does so for heads too large for caches, and pauses "
     "where it gains little. Default: auto."},
    {"--session", 0, CLI_TEXT, AT(session), "FILE", 0, 0,
     "Go on from FILE where there is one, and save to it behind the answer: of a prompt that begins as the text held there, "
     "only the rest is read. Put what stays the same in front, the question behind."},
    {"--image", 0, CLI_LIST, AT(image), "FILE", 0, 0, "Not available yet: comes with the vision tower."},
    {"--audio", 0, CLI_LIST, AT(audio), "FILE", 0, 0, "Not available yet: comes with the audio tower."},
    {"--trace", 0, CLI_TEXT, AT(trace), "FILE", 0, 0,
     "Write which experts every layer chose for every token, for carat bench --replay."},
    {"--stats", 0, CLI_FLAG, AT(stats), NULL, 0, 0,
     "After the answer, tables on stderr: speed, memory, use of experts, bytes by role."},
    {"--memory-trace", 0, CLI_TEXT, AT(memory_trace), "FILE", 0, 0,
     "Write memory through time, looked at about every 2 ms: resident anonymous and file pages, and what the control group "
     "is charged with. A plot where FILE ends in .svg, else CSV."},
};

static void defaults(void *p) {
    run_args *a = p;
    const carat_sampler_opts o = carat_sampler_opts_default();
    a->n_max = 512;
    a->temp = o.temp;
    a->top_k = o.top_k;
    a->top_p = o.top_p;
    a->min_p = o.min_p;
    a->repeat_penalty = o.repeat_penalty;
    a->think = THINK_OFF;
    a->lookup = CARAT_LOOKUP_AUTO;
    a->screen = SCREEN_AUTO;
}

/* ---- the prompt ---- */

/* Text of -p, -f or stdin. Gives *out: ct_free. */
static int read_prompt(const run_args *a, char **out, size_t *n) {
    if (a->prompt && a->file) return cli_fail(CLI_USAGE, "run", "-p and -f: give one of them");
    if (a->prompt) {
        *n = strlen(a->prompt);
        if (*n == 0 && !a->raw) return cli_fail(CLI_USAGE, "run", "-p: the prompt is empty");
        *out = ct_strdup_n(a->prompt, *n);
        return *out ? CLI_DONE : cli_fail(CLI_FAILED, "run", "out of memory");
    }
    if (!a->file && cli_is_terminal(STDIN_FILENO)) {
        return cli_fail(CLI_USAGE, "run", "no prompt: give -p TEXT, -f FILE, or text on stdin");
    }
    const int rc = cli_read_text(out, n, a->file ? a->file : "-", "run");
    if (rc) return rc;
    if (*n > 0 && (*out)[*n - 1] == '\n') (*out)[--*n] = '\0';
    if (*n > 0 && (*out)[*n - 1] == '\r') (*out)[--*n] = '\0';
    if (*n == 0 && !a->raw) {
        return cli_fail(CLI_FAILED, "run", "%s: the prompt is empty: give -p TEXT, -f FILE, or text on stdin",
                        a->file ? a->file : "stdin");
    }
    return CLI_DONE;
}

/* Ids of the conversation into r->tok. EUNSUPPORTED is handed back for a model without a template. */
static int tokenize_chat(run_state *r, const char *text, carat_error *err) {
    carat_message msg[2];
    size_t n_msg = 0;
    if (r->args->system) msg[n_msg++] = (carat_message){"system", r->args->system};
    msg[n_msg++] = (carat_message){"user", text};
    const unsigned flags = r->args->think == THINK_ON ? CARAT_CHAT_THINK : 0;
    size_t n = 0;
    int rc = carat_chat_tokens(r->m, msg, n_msg, flags, NULL, 0, &n, err);
    if (rc) return rc;
    r->tok = ct_alloc_array(n, sizeof *r->tok);
    r->cap_tok = n;
    if (!r->tok) return CT_FAIL(err, CARAT_ENOMEM, "out of memory for a prompt of %zu tokens", n);
    return carat_chat_tokens(r->m, msg, n_msg, flags, r->tok, n, &r->n_prompt, err);
}

static int tokenize_prompt(run_state *r, const char *text, size_t len) {
    carat_error err = {0};
    int rc = CARAT_EUNSUPPORTED;
    /* Without these tokens a rendered conversation is only odd text to the model. */
    const bool has_turns = carat_token_find(r->m, "<|turn>") >= 0 || carat_token_find(r->m, "<start_of_turn>") >= 0;
    if (!has_turns && r->args->think == THINK_ON) {
        return cli_fail(CLI_FAILED, "run", "--think: this model has no chat template");
    }
    if (!r->args->raw && has_turns) {
        if (memchr(text, '\0', len)) {
            return cli_fail(CLI_FAILED, "run", "the prompt holds a NUL byte: give plain text, or use --raw");
        }
        rc = tokenize_chat(r, text, &err);
        if (rc && (rc != CARAT_EUNSUPPORTED || r->args->think == THINK_ON)) return cli_fail_err("run", &err);
        r->chat = rc == 0;
    }
    if (rc == CARAT_EUNSUPPORTED) {
        if (r->args->system) return cli_fail(CLI_FAILED, "run", "--system: this model has no chat template");
        const unsigned flags = CARAT_TOKENIZE_BOS | (r->args->raw ? CARAT_TOKENIZE_SPECIAL : 0u);
        const int status = cli_tokenize(&r->tok, &r->n_prompt, r->m, text, len, flags, "run");
        if (status) return status;
        r->cap_tok = r->n_prompt;
    }
    if (r->n_prompt == 0) return cli_fail(CLI_FAILED, "run", "the prompt is empty");
    r->n_tok = r->n_prompt;
    return CLI_DONE;
}

/* ---- setting up ---- */

static bool on_progress(void *ud, int32_t done, int32_t total) {
    cli_bar_update(ud, done, total);
    return !cli_interrupted();
}

static int choose_n_ctx(const run_state *r, int32_t *n_ctx) {
    carat_model_info info;
    carat_model_get_info(r->m, &info);
    const int64_t trained = info.n_ctx_train > 0 ? info.n_ctx_train : 4096;
    const int64_t n_prompt = (int64_t)r->n_prompt;
    int64_t n = r->args->n_ctx;
    if (n == 0) {
        n = r->args->n_max >= 0 ? n_prompt + r->args->n_max : n_prompt > 4096 ? trained : 4096;
        if (n < r->found.n_tok) n = r->found.n_tok;
        if (n > trained) n = trained;
    }
    if (n_prompt > n) {
        return cli_fail(CLI_FAILED, "run", "the prompt has %lld tokens, %s %lld: %s", (long long)n_prompt,
                        n < trained ? "the context holds" : "the model was trained for a context of", (long long)n,
                        n_prompt <= trained ? "give a larger -c" : "shorten the prompt");
    }
    *n_ctx = (int32_t)n;
    return CLI_DONE;
}

static void on_route(void *ud, int32_t layer, int32_t pos, int32_t n_tok, int32_t n_used, const int32_t *expert, const int32_t *ahead) {
    run_state *r = ud;
    expert_recent_note(&r->recent, layer, n_tok, n_used, expert);
    if (r->next_route) r->next_route(r->next_route_ud, layer, pos, n_tok, n_used, expert, ahead);
}

/* Who tells about experts afterwards watches them; --trace comes behind. */
static int watch_experts(run_state *r, carat_session_opts *o) {
    carat_model_info info;
    carat_error err;
    carat_model_get_info(r->m, &info);
    if (r->args->trace && expert_recorder_open(&r->trace, r->args->trace, r->m, o, &err)) return cli_fail_err("run", &err);
    if (info.n_expert == 0 || !(r->args->stats || r->args->common.json)) return CLI_DONE;
    if (!expert_recent_init(&r->recent, info.n_layer, info.n_expert)) return cli_fail(CLI_FAILED, "run", "out of memory");
    r->next_route = o->route;
    r->next_route_ud = o->route_ud;
    o->route = on_route;
    o->route_ud = r;
    return CLI_DONE;
}

static int set_up(run_state *r, cli_bar *bar) {
    int32_t n_ctx = 0;
    int status = run_session_find(r);
    if (!status) status = choose_n_ctx(r, &n_ctx);
    if (status) return status;
    carat_sampler_opts o = carat_sampler_opts_default();
    o.temp = r->args->temp;
    o.top_k = r->args->top_k;
    o.top_p = r->args->top_p;
    o.min_p = r->args->min_p;
    o.repeat_penalty = r->args->repeat_penalty;
    o.seed = r->seed = r->args->seed.given ? r->args->seed.value : ct_entropy() & 0xffffffffu; /* short to retype */

    carat_session_opts so = cli_session_opts(&r->args->common, n_ctx);
    so.progress = on_progress;
    so.progress_ud = bar;
    so.lookup = (carat_lookup)r->args->lookup;
    so.n_top = r->args->screen == SCREEN_OFF ? 0 : carat_sampler_n_top(&o);
    so.screen_always = r->args->screen == SCREEN_ALWAYS;
    so.n_rewind = run_session_n_rewind(r, n_ctx);
    carat_error err;
    status = watch_experts(r, &so);
    if (!status) status = cli_session_open(&r->s, r->m, &r->args->common, &so);
    if (!status && carat_plan_make(&r->plan, r->m, &so, &err)) status = cli_fail_err("run", &err);
    if (!status) status = run_session_load(r);
    if (status) return status;

    carat_model_info info;
    carat_model_get_info(r->m, &info);
    if (carat_sampler_new(&r->sm, info.n_vocab, &o, &err) || carat_detok_new(&r->detok, r->m, r->args->raw, &err)) {
        return cli_fail_err("run", &err);
    }
    for (size_t i = 0; i < r->n_prompt; i++) carat_sampler_accept(r->sm, r->tok[i]);
    r->id_think = r->chat ? carat_token_find(r->m, "<|channel>") : -1;
    r->id_answer = r->chat ? carat_token_find(r->m, "<channel|>") : -1;
    return CLI_DONE;
}

/* ---- the answer ---- */

static bool append(run_text *t, const char *s, size_t n) {
    if (!ct_grow((void **)&t->s, &t->cap, t->n + n, 1)) return false;
    memcpy(t->s + t->n, s, n);
    t->n += n;
    return true;
}

/* Keep text, and show it where it belongs. 0 to go on, else an exit status. */
static int show(run_state *r, const char *s, size_t n) {
    if (n == 0) return CLI_DONE;
    if (!append(r->in_thought ? &r->thought : &r->answer, s, n)) {
        return cli_fail(CLI_FAILED, "run", "out of memory for the answer");
    }
    if (r->args->common.json) return CLI_DONE;
    if (r->in_thought) {
        if (r->args->think == THINK_OFF) return CLI_DONE; /* large variants open an empty thought unasked */
        const bool dim = cli_has_colour(STDERR_FILENO);
        if (dim) fputs("\033[2m", stderr);
        fwrite(s, 1, n, stderr);
        if (dim) fputs("\033[0m", stderr);
        r->thought_shown = true;
        return CLI_DONE;
    }
    if (r->thought_shown) fputs("\n", stderr);
    r->thought_shown = false;
    cli_put(s, n);
    return CLI_DONE;
}

/* The text of a token. A thought opens with its channel's name on a line of its own, which is no part of what was
 * thought: it is taken off, however tokens cut it, and given back when it turns out to be something else. */
static int emit(run_state *r, const char *s, size_t n) {
    static const char name[] = "thought\n";
    const size_t len = sizeof name - 1;
    if (r->in_thought && r->n_name < len) {
        while (n > 0 && r->n_name < len && *s == name[r->n_name]) r->n_name++, s++, n--;
        if (n == 0) return CLI_DONE;
        const size_t matched = r->n_name;
        r->n_name = len;
        if (matched < len) {
            const int status = show(r, name, matched);
            if (status) return status;
        }
    }
    return show(r, s, n);
}

static int emit_token(run_state *r, int32_t tok) {
    const char *s;
    size_t n;
    if (tok == r->id_think || tok == r->id_answer) {
        if (tok < 0) return CLI_DONE;
        carat_detok_flush(r->detok, &s, &n);
        const int status = emit(r, s, n);
        r->in_thought = tok == r->id_think;
        r->n_name = 0;
        return status;
    }
    carat_error err;
    if (carat_detok_push(r->detok, tok, &s, &n, &err)) return cli_fail_err("run", &err);
    return emit(r, s, n);
}

/* Evaluate what r->tok holds. Sets r->stop when Ctrl-C came between. */
static int evaluate(run_state *r) {
    carat_error err;
    const int rc = carat_session_sync(r->s, r->tok, r->n_tok, &err);
    if (rc == CARAT_ECANCEL) r->stop = "interrupted";
    else if (rc) return cli_fail_err("run", &err);
    return CLI_DONE;
}

/* Choose, show and keep one token. Sets r->stop where the answer ends. */
static int step(run_state *r) {
    const int32_t n_answer = (int32_t)(r->n_tok - r->n_prompt);
    if (cli_interrupted()) {
        r->stop = "interrupted";
        return CLI_DONE;
    }
    if (r->args->n_max >= 0 && n_answer >= r->args->n_max) {
        r->stop = "length";
        return CLI_DONE;
    }
    const int32_t tok = carat_sampler_next(r->sm, carat_session_logits(r->s));
    if (tok < 0) {
        return cli_fail(CLI_FAILED, "run", "the model's logits are not numbers (NaN): the file is damaged, get or make it "
                        "again");
    }
    if (n_answer == 0) r->first_ms = ct_now_ms();
    if (carat_token_is_stop(r->m, tok)) {
        r->stop = "stop";
        return CLI_DONE;
    }
    carat_sampler_accept(r->sm, tok);
    if (!ct_grow((void **)&r->tok, &r->cap_tok, r->n_tok + 1, sizeof *r->tok)) {
        return cli_fail(CLI_FAILED, "run", "out of memory for the answer");
    }
    r->tok[r->n_tok++] = tok;
    const int status = emit_token(r, tok);
    if (status) return status;
    if (!r->args->common.json && !cli_flush()) r->stop = "interrupted"; /* nobody reads any more */
    else if (r->args->n_max >= 0 && n_answer + 1 >= r->args->n_max) r->stop = "length";
    else if (r->n_tok > (size_t)carat_session_n_ctx(r->s)) r->stop = "context";
    return CLI_DONE;
}

static int generate(run_state *r, cli_bar *bar) {
    const double t0 = ct_now_ms();
    int status = evaluate(r);
    cli_bar_end(bar);
    r->n_reused = status ? 0 : carat_session_n_past(r->s) - carat_session_n_evaluated(r->s);
    r->prefill_ms = ct_now_ms() - t0;
    r->first_ms = ct_now_ms();
    expert_recorder_phase(r->trace, true);
    memwatch_mark(r->watch, MEMWATCH_FIRST_TOKEN);
    while (status == CLI_DONE && !r->stop) {
        status = step(r);
        if (status || r->stop) break;
        status = evaluate(r);
        if (!r->stop) r->n_decoded++;
    }
    r->end_ms = ct_now_ms();
    memwatch_mark(r->watch, MEMWATCH_END);
    if (status) return status;
    const char *s;
    size_t n;
    carat_detok_flush(r->detok, &s, &n);
    return emit(r, s, n);
}

static int check_args(const run_args *a) {
    if (a->image.n) return cli_fail(CLI_USAGE, "run", "--image: comes with the vision tower, not in this version");
    if (a->audio.n) return cli_fail(CLI_USAGE, "run", "--audio: comes with the audio tower, not in this version");
    if (a->raw && a->system) return cli_fail(CLI_USAGE, "run", "--system: has no place in a --raw prompt");
    if (a->raw && a->think == THINK_ON) return cli_fail(CLI_USAGE, "run", "--think: has no place in a --raw prompt");
    return CLI_DONE;
}

static uint64_t count_loads(const void *m) { return carat_model_expert_loads(m); }

/* Everything between reading the prompt and printing about the answer. */
static int load_and_generate(run_state *r, const char *text, size_t len) {
    const cli_common *c = &r->args->common;
    char buf[PATH_MAX];
    r->start_ms = ct_now_ms();
    const char *path = cli_model_path(c, buf, sizeof buf);
    int status = path ? cli_model_open(&r->m, c, path, false) : CLI_FAILED;
    const double opened_ms = ct_now_ms();
    if (!status) status = tokenize_prompt(r, text, len);
    if (status) return status;
    const double tokenized_ms = ct_now_ms();
    cli_bar bar = cli_bar_begin("reading the prompt", "tokens");
    status = set_up(r, &bar);
    if (status) return status;
    r->load_ms = opened_ms - r->start_ms + (ct_now_ms() - tokenized_ms);
    memwatch_mark(r->watch, MEMWATCH_LOADED);
    carat_session_stats st;
    carat_session_get_stats(r->s, &st);
    if (st.experts == CARAT_PLACE_STREAMED) memwatch_count(r->watch, count_loads, r->m);
    bar.start_ms = ct_now_ms();
    return generate(r, &bar);
}

/* ---- memory through time ---- */

/* The file is opened first: a name that cannot be written is told before any work. */
static int watch_begin(run_state *r, FILE **trace) {
    const char *path = r->args->memory_trace;
    if (path && !(*trace = fopen(path, "w"))) {
        return cli_fail(CLI_FAILED, "run", "--memory-trace: %s: %s", path, strerror(errno));
    }
    if (!path && !r->args->common.json) return CLI_DONE;
    r->watch = memwatch_start(MEMWATCH_PERIOD_MS);
    return r->watch ? CLI_DONE : cli_fail(CLI_FAILED, "run", "no memory or thread to watch memory with");
}

static int write_trace(const run_state *r, FILE *f) {
    const char *path = r->args->memory_trace;
    const size_t n = strlen(path);
    bool ok;
    if (n >= 4 && strcmp(path + n - 4, ".svg") == 0) {
        carat_model_info info;
        memwatch_summary s;
        char title[256], caption[512];
        cli_text peak;
        carat_model_get_info(r->m, &info);
        memwatch_get(r->watch, &s);
        (void)snprintf(title, sizeof title, "Memory through time: %s", info.name && *info.name ? info.name : info.arch);
        (void)snprintf(caption, sizeof caption, "carat %s run, prompt of %zu tokens, answer of %zu; %llu samples, one every "
                       "%.3g ms; most resident: %s.", carat_version(), r->n_prompt, r->n_tok - r->n_prompt,
                       (unsigned long long)s.n, s.period_ms, cli_size_text(peak, s.peak));
        ok = memwatch_write_svg(r->watch, f, title, caption);
    } else {
        ok = memwatch_write_csv(r->watch, f);
    }
    errno = 0;
    if (ok && fflush(f) == 0) return CLI_DONE;
    return cli_fail(CLI_FAILED, "run", "--memory-trace: %s: cannot be written: %s", path, strerror(errno ? errno : EIO));
}

static int run(const void *p) {
    run_state r = {.args = p, .id_think = -1, .id_answer = -1};
    char *text = NULL;
    size_t len = 0;
    FILE *trace = NULL;
    int status = check_args(r.args);
    if (!status) status = read_prompt(r.args, &text, &len);
    if (!status) status = watch_begin(&r, &trace);
    if (!status) {
        cli_catch_interrupt();
        status = load_and_generate(&r, text, len);
    }
    memwatch_stop(r.watch);
    const bool answered = status == CLI_DONE;
    if (answered) status = run_session_save(&r); /* the answer counts, whether it can be saved or not */
    if (answered && trace) {
        const int written = write_trace(&r, trace);
        if (!status) status = written;
    }
    if (answered && r.args->common.json) {
        const int printed = run_print_json(&r);
        if (!status) status = printed;
    } else if (answered) {
        if (r.answer.n == 0 || r.answer.s[r.answer.n - 1] != '\n') cli_put("\n", 1);
        cli_flush();
        run_print_stats(&r);
    }
    if (trace) fclose(trace);
    memwatch_free(&r.watch);
    carat_detok_free(&r.detok);
    carat_sampler_free(&r.sm);
    carat_session_free(&r.s);
    carat_model_close(&r.m);
    carat_error err;
    if (expert_recorder_close(&r.trace, &err) && !status) status = cli_fail_err("run", &err);
    ct_free(text);
    ct_free(r.tok);
    ct_free(r.answer.s);
    ct_free(r.thought.s);
    expert_recent_free(&r.recent);
    return status;
}

const cli_verb cli_verb_run = {
    .name = "run",
    .brief = "answer one prompt",
    .synopsis = "[MODEL]",
    .about = "Answers one prompt, streaming the text to stdout. Without MODEL the bundled story model is used. The prompt "
             "goes through the model's chat template unless --raw is given.\n\n"
             "The answer ends when the model stops, after -n tokens, when the context is full, or with Ctrl-C, which keeps "
             "the text so far (a second one ends the program at once). --json says which: stop, length, context or "
             "interrupted. Its first_token_ms counts from when the prompt is at hand, loading included.\n\n"
             "With --session FILE a long text is read once. The first run reads all of it and saves what the model made of "
             "it; a next run whose prompt begins with the same text loads that in a moment and reads only what is new: the "
             "other question behind the same document. FILE belongs to the model and to --kv, and holds the text in the "
             "clear, always the last one (--stats tells its size).\n\n"
             "Sampling defaults are those published for Gemma 4: temperature 1, top-k 64, top-p 0.95.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(run_args),
    .max_pos = 1,
    .defaults = defaults,
    .run = run,
};
