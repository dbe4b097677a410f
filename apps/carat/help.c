/* Help text and man page, both printed from the tables of verbs and options: nothing is written twice.
 * The output depends on the tables and the version alone, never on the terminal, so that it can be committed and
 * compared (docs/man/carat.1). */
#include <string.h>

#include "args_int.h"
#include "carat.h"

enum { WIDTH = 80, HELP_COLUMN = 26 };

/* Examples stand together here, because together they are the tour a newcomer takes. What a line does, then the line;
 * at most 76 columns. */
static const struct {
    const char *verb, *what, *line;
} examples[] = {
    {"run", "A story from the bundled model:", "carat run -p \"Tell me a story about a cat and a red ball.\""},
    {"run", "The likeliest answer of a real model, always the same:",
     "carat run gemma-4-E2B-it-Q4_0.gguf -p \"Why is the sky blue?\" --temp 0"},
    {"run", "A file to summarise, thoughts shown apart:",
     "{ echo \"Summarise:\"; cat notes.txt; } | carat run model.gguf --think on"},
    {"run", "For a script: the text alone, and why it ended:",
     "carat run model.gguf -f prompt.txt --json | jq -r '.text, .stop'"},
    {"run", "A long text is read once:",
     "{ cat book.txt; echo \"Who is Ann?\"; } | carat run m.gguf --session book.kv"},
    {"run", "Asked again, only the new question is read:",
     "{ cat book.txt; echo \"Where is Bo?\"; } | carat run m.gguf --session book.kv"},
    {"inspect", "Which bytes are what, and does it fit in 4 GiB with a context of 8192?",
     "carat inspect model.gguf -c 8192 --ram 4G"},
    {"tokenize", "How many tokens is this file?", "carat tokenize model.gguf --json < notes.txt | jq .tokens"},
    {"tokenize", "There and back:",
     "carat tokenize model.gguf --ids \"Hi there\" | carat tokenize model.gguf -d -"},
    {"logits", "The logits behind three tokens, and every layer on the way:",
     "carat logits model.gguf --tokens 2,4,6 --out logits.npy --taps layers"},
    {"weigh", "Perplexity as llama.cpp's tool measures it:", "carat weigh model.gguf --text wiki.test.raw"},
    {"weigh", "Bits per byte of a whole text, to compare any two models:",
     "carat weigh model.gguf --text notes.txt --windows full -c 2048 --json"},
    {"bench", "Speed of the bundled model, and of another at four depths:", "carat bench"},
    {"bench", "The same with where the time goes:", "carat bench model.gguf -d 0,1K,4K,16K --profile"},
    {"bench", "For a script: the share of the machine's limit that decode reaches:",
     "carat bench model.gguf -p 0 --json | jq '.tests[0].share'"},
    {"cut", "A Hugging Face folder as an 8-bit GGUF:", "carat cut path/to/folder --type q8_0 --out model.gguf"},
    {"cut", "A large model once more, in the layout that starts at once:",
     "carat cut model.gguf --layout panels --out model.panels.gguf"},
    {"synth", "An E2B to measure with, without a download:", "carat synth e2b --type q4_0 --out e2b.gguf"},
};
enum { N_EXAMPLE = sizeof examples / sizeof *examples };

/* Columns a UTF-8 text takes, one per code point. */
static int columns(const char *s, size_t n) {
    int w = 0;
    for (size_t i = 0; i < n; i++) w += ((unsigned char)s[i] & 0xc0) != 0x80;
    return w;
}

/* Wrap text behind `indent` blanks; `at` columns of the first line are taken already (-1: none, not even the indent). */
static void wrap(FILE *f, const char *text, int indent, int at) {
    bool first = at >= 0; /* first word of a line: no blank before it */
    for (const char *p = text; *p;) {
        if (*p == '\n') { /* a single newline breaks the line, two make a paragraph */
            fputc('\n', f);
            at = -1;
            p++;
            continue;
        }
        if (*p == ' ') {
            p++;
            continue;
        }
        const size_t n = strcspn(p, " \n");
        const int w = columns(p, n);
        if (at >= 0 && !first && at + 1 + w > WIDTH) {
            fputc('\n', f);
            at = -1;
        }
        if (at < 0) {
            fprintf(f, "%*s", indent, "");
            at = indent;
            first = true;
        }
        if (!first) fputc(' ', f);
        fwrite(p, 1, n, f);
        at += w + (first ? 0 : 1);
        first = false;
        p += n;
    }
    fputc('\n', f);
}

void cli_help_wrap(FILE *f, const char *text, int indent) { wrap(f, text, indent, -1); }

static void print_opt(FILE *f, const cli_opt *o) {
    char left[80], letter[8] = "    ";
    if (o->letter) (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
    const bool may_lack = o->kind == CLI_CHOICE && o->max > 0;
    (void)snprintf(left, sizeof left, "  %s%s%s%s%s", letter, o->name, !o->arg ? "" : may_lack ? " [" : " ", o->arg ? o->arg : "",
                   may_lack ? "]" : "");
    const int w = columns(left, strlen(left));
    fputs(left, f);
    if (w + 2 > HELP_COLUMN) { /* a long flag has a line of its own */
        fputc('\n', f);
        wrap(f, o->help, HELP_COLUMN, -1);
    } else {
        fprintf(f, "%*s", HELP_COLUMN - w, "");
        wrap(f, o->help, HELP_COLUMN, HELP_COLUMN);
    }
}

void cli_help_verb(FILE *f, const cli_verb *v) {
    fprintf(f, "usage: carat %s %s%s[options]\n\n", v->name, v->synopsis, *v->synopsis ? " " : "");
    cli_help_wrap(f, v->about, 0);
    fprintf(f, "\noptions:\n");
    for (size_t i = 0; i < v->n_opts; i++) print_opt(f, &v->opts[i]);
    if (v->n_opts) fputc('\n', f);
    for (size_t i = v->n_opts; i < cli_opts_count(v); i++) print_opt(f, cli_opts_at(v, i));
    bool any = false;
    for (int i = 0; i < N_EXAMPLE; i++) {
        if (strcmp(examples[i].verb, v->name) != 0) continue;
        if (!any) fprintf(f, "\nexamples:\n");
        any = true;
        fprintf(f, "  %s\n    %s\n", examples[i].what, examples[i].line);
    }
}

/* ---- man page ---- */

/* Text with roff's own characters made harmless. A leading dot or quote would be a request. */
static void roff(FILE *f, const char *s) {
    for (const char *p = s; *p; p++) {
        if (p == s || p[-1] == '\n') {
            while (*p == '\n') { /* paragraph */
                fputs(".PP\n", f);
                p++;
            }
            if (!*p) return;
            if (*p == '.' || *p == '\'') fputs("\\&", f);
        }
        if (*p == '-') fputs("\\-", f);
        else if (*p == '\\') fputs("\\e", f);
        else fputc(*p, f);
    }
}

static void man_opt(FILE *f, const cli_opt *o) {
    fputs(".TP\n", f);
    if (o->letter) fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB", f);
    roff(f, o->name);
    fputs("\\fR", f);
    if (o->arg) {
        const bool may_lack = o->kind == CLI_CHOICE && o->max > 0;
        fputs(may_lack ? " [\\fI" : " \\fI", f);
        roff(f, o->arg);
        fputs(may_lack ? "\\fR]" : "\\fR", f);
    }
    fputc('\n', f);
    roff(f, o->help);
    fputc('\n', f);
}

void cli_help_man(FILE *f, const cli_verb *const *verbs, int n) {
    fprintf(f, ".\\\" generated by carat --help-man from the tables in apps/carat; do not edit\n"
               ".TH CARAT 1 \"\" \"carat %s\" \"Carat manual\"\n"
               ".SH NAME\ncarat \\- run Gemma 4 in the fewest bytes, and weigh what the bytes buy\n.SH SYNOPSIS\n",
            carat_version());
    for (int i = 0; i < n; i++) {
        fprintf(f, "%s.B carat %s\n", i ? ".br\n" : "", verbs[i]->name);
        roff(f, verbs[i]->synopsis);
        fputs(" [options]\n", f);
    }
    fputs(".SH DESCRIPTION\n"
          "MODEL is a .gguf file (the first of a split set) or a Hugging Face folder with config.json, *.safetensors\n"
          "and tokenizer.json. Text goes to standard output, everything else to standard error. Sizes are in binary\n"
          "units (KiB, MiB, GiB).\n.SH COMMON OPTIONS\nEvery verb takes these.\n",
          f);
    for (size_t i = verbs[0]->n_opts; i < cli_opts_count(verbs[0]); i++) man_opt(f, cli_opts_at(verbs[0], i));
    fputs(".PP\nNumbers are decimal. An option that is given twice counts as it was given last.\n"
          "What follows \\fB\\-\\-\\fR is no option, whatever it looks like.\n", f);
    for (int i = 0; i < n; i++) {
        fprintf(f, ".SH CARAT %s\n", verbs[i]->name);
        roff(f, verbs[i]->about);
        fputc('\n', f);
        for (size_t j = 0; j < verbs[i]->n_opts; j++) man_opt(f, &verbs[i]->opts[j]);
    }
    fputs(".SH EXAMPLES\n", f);
    for (int i = 0; i < N_EXAMPLE; i++) {
        fputs(".TP\n", f);
        roff(f, examples[i].what);
        fputs("\n.nf\n\\fB", f);
        roff(f, examples[i].line);
        fputs("\\fR\n.fi\n", f);
    }
    fputs(".SH EXIT STATUS\n.TP\n0\nDone. Also when Ctrl\\-C ended an answer, or whoever read the output went away.\n"
          ".TP\n1\nThe work failed.\n.TP\n2\nThe command line is wrong.\n.TP\n130\nEnded by a second Ctrl\\-C.\n.PP\n"
          "Errors are one line on standard error that begins with\n.BR \"carat: \" .\n"
          ".SH ENVIRONMENT\n.TP\n\\fBNO_COLOR\\fR\nWhere set, thoughts are not dimmed on a terminal.\n"
          ".SH FILES\n.TP\n\\fBmodels/carat\\-story\\-e.gguf\\fR\n"
          "The bundled model, looked for in the folder beside the program's, then in share/carat.\n"
          ".SH SEE ALSO\nThe library is documented in its header,\n.IR carat.h .\n",
          f);
}
