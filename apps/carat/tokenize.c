/* carat tokenize: text to ids and pieces, and ids back to text. Reads the vocabulary only, never the weights. The text
 * is taken to its last byte: nothing is trimmed. */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "carat.h"
#include "json_out.h"
#include "open.h"
#include "term.h"
#include "verbs.h"

typedef struct {
    cli_common common;
    const char *decode;
    bool special, bos, ids;
} tokenize_args;

#define AT(field) offsetof(tokenize_args, field)
static const cli_opt opts[] = {
    {"--decode", 'd', CLI_TEXT, AT(decode), "IDS", 0, 0, "The other way: print the text of these ids (2,4,6; - is stdin)."},
    {"--special", 0, CLI_FLAG, AT(special), NULL, 0, 0,
     "Read control tokens such as <|turn> in the text; with --decode, print them."},
    {"--bos", 0, CLI_FLAG, AT(bos), NULL, 0, 0, "Put <bos> in front where the model wants one."},
    {"--ids", 0, CLI_FLAG, AT(ids), NULL, 0, 0, "Print the ids alone, separated by commas, as --decode reads them."},
};

/* A piece on one line: controls and ill-formed bytes as \n, \t, \\ or \x0A. */
static void print_piece(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '\n') cli_put("\\n", 2);
        else if (c == '\t') cli_put("\\t", 2);
        else if (c == '\\') cli_put("\\\\", 2);
        else if (c < 0x20 || c == 0x7f) cli_printf("\\x%02X", c);
        else cli_put(s + i, 1);
    }
}

static int print_tokens(const tokenize_args *a, const carat_model *m, const int32_t *tok, size_t n) {
    size_t len;
    if (a->common.json) {
        cli_json *o = cli_json_object(), *ids = cli_json_array(), *pieces = cli_json_array();
        for (size_t i = 0; i < n; i++) {
            const char *s = carat_token_piece(m, tok[i], &len);
            cli_json_add_int(ids, tok[i]);
            cli_json_add_text(pieces, s, s ? len : 0);
        }
        cli_json_put_int(o, "tokens", (int64_t)n);
        cli_json_put(o, "ids", ids);
        cli_json_put(o, "pieces", pieces);
        return cli_json_print(o, "tokenize");
    }
    for (size_t i = 0; i < n; i++) {
        if (a->ids) {
            if (!cli_printf("%s%d", i ? "," : "", (int)tok[i])) break;
            continue;
        }
        const char *s = carat_token_piece(m, tok[i], &len);
        if (!cli_printf("%7d  ", (int)tok[i])) break;
        if (s) print_piece(s, len);
        cli_put("\n", 1);
    }
    if (a->ids) cli_put("\n", 1);
    return CLI_DONE;
}

static int encode(const tokenize_args *a, const carat_model *m) {
    char *text = NULL;
    size_t len = 0, n = 0;
    int32_t *tok = NULL;
    int status = CLI_DONE;
    const char *given = a->common.n_pos > 1 ? a->common.pos[1] : "-";
    if (strcmp(given, "-") == 0) {
        if (a->common.n_pos < 2 && cli_is_terminal(STDIN_FILENO)) {
            return cli_fail(CLI_USAGE, "tokenize", "no text: give TEXT, or - and text on stdin");
        }
        status = cli_read_text(&text, &len, "-", "tokenize");
        given = text;
    } else {
        len = strlen(given);
    }
    const unsigned flags = (a->bos ? CARAT_TOKENIZE_BOS : 0u) | (a->special ? CARAT_TOKENIZE_SPECIAL : 0u);
    if (!status) status = cli_tokenize(&tok, &n, m, given, len, flags, "tokenize");
    if (!status) status = print_tokens(a, m, tok, n);
    ct_free(tok);
    ct_free(text);
    return status;
}

/* Text of the ids. Gives *out: ct_free. */
static int detokenize(char **out, size_t *n_out, const carat_model *m, const int32_t *tok, size_t n, bool special) {
    carat_error err;
    carat_detok *d = NULL;
    size_t cap = 0, len = 0;
    *out = NULL;
    *n_out = 0;
    int rc = carat_detok_new(&d, m, special, &err);
    for (size_t i = 0; !rc && i <= n; i++) {
        const char *s;
        if (i < n) rc = carat_detok_push(d, tok[i], &s, &len, &err);
        else carat_detok_flush(d, &s, &len);
        if (rc) break;
        if (!ct_grow((void **)out, &cap, *n_out + len + 1, 1)) {
            carat_detok_free(&d);
            return cli_fail(CLI_FAILED, "tokenize", "out of memory for the text");
        }
        memcpy(*out + *n_out, s ? s : "", len);
        *n_out += len;
    }
    carat_detok_free(&d);
    return rc ? cli_fail_err("tokenize", &err) : CLI_DONE;
}

static int decode(const tokenize_args *a, const carat_model *m) {
    char *list = NULL, *text = NULL;
    int32_t *tok = NULL;
    size_t len = 0, n = 0;
    int status = CLI_DONE;
    carat_model_info info;
    carat_model_get_info(m, &info);
    if (a->common.n_pos > 1) return cli_fail(CLI_USAGE, "tokenize", "--decode: takes no TEXT");
    if (a->bos || a->ids) return cli_fail(CLI_USAGE, "tokenize", "--bos and --ids: go with a TEXT, not with --decode");
    if (strcmp(a->decode, "-") == 0) {
        status = cli_read_text(&list, &len, "-", "tokenize");
        if (!status && memchr(list, '\0', len)) {
            status = cli_fail(CLI_USAGE, "tokenize", "stdin: holds a NUL byte, no list of ids");
        }
    }
    if (!status) status = cli_parse_ids(&tok, &n, list ? list : a->decode, info.n_vocab, "tokenize");
    if (!status) status = detokenize(&text, &len, m, tok, n, a->special);
    if (!status && a->common.json) {
        cli_json *o = cli_json_object(), *ids = cli_json_array();
        for (size_t i = 0; i < n; i++) cli_json_add_int(ids, tok[i]);
        cli_json_put_int(o, "tokens", (int64_t)n);
        cli_json_put(o, "ids", ids);
        cli_json_put_text(o, "text", text, len);
        status = cli_json_print(o, "tokenize");
    } else if (!status) {
        cli_put(text, len);
        if (cli_is_terminal(STDOUT_FILENO)) cli_put("\n", 1); /* a file gets the text and nothing else */
    }
    ct_free(list);
    ct_free(text);
    ct_free(tok);
    return status;
}

static int run(const void *p) {
    const tokenize_args *a = p;
    carat_model *m = NULL;
    int status = cli_model_open(&m, &a->common, a->common.pos[0], true);
    if (!status) status = a->decode ? decode(a, m) : encode(a, m);
    carat_model_close(&m);
    return status;
}

const cli_verb cli_verb_tokenize = {
    .name = "tokenize",
    .brief = "show the tokens of a text, or the text of tokens",
    .synopsis = "MODEL [TEXT|-]",
    .about = "Prints one token a line: its id and its piece as the vocabulary spells it (U+2581 for a space; newlines and "
             "other controls escaped). The text is TEXT or, without it or with -, everything on stdin, to the last byte.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(tokenize_args),
    .min_pos = 1,
    .max_pos = 2,
    .run = run,
};
