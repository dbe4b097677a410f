/* carat: the verb table. Everything a verb needs is in its own file; here a verb is found, its arguments are parsed and
 * it is run. Knows no option of any verb. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "carat.h"
#include "term.h"
#include "verbs.h"

static const cli_verb *const verbs[] = {
    &cli_verb_run,   &cli_verb_inspect, &cli_verb_tokenize, &cli_verb_logits,
    &cli_verb_weigh, &cli_verb_bench,   &cli_verb_cut,      &cli_verb_synth,
};
enum { N_VERB = sizeof verbs / sizeof *verbs };

static void print_help(FILE *f) {
    fprintf(f, "carat %s: run Gemma 4 in the fewest bytes, and weigh what the bytes buy\n\n"
               "usage: carat VERB [arguments] [options]\n\nverbs:\n", carat_version());
    for (int i = 0; i < N_VERB; i++) fprintf(f, "  %-10s %s\n", verbs[i]->name, verbs[i]->brief);
    fprintf(f, "\nMODEL is a .gguf file or a Hugging Face folder; carat run without one uses the\n"
               "bundled model, which tells small stories.\n"
               "\nfirst steps:\n"
               "  carat run -p \"Tell me a story about a cat.\"\n"
               "  carat run model.gguf -p \"Why is the sky blue?\" --stats\n"
               "  carat inspect model.gguf\n"
               "\ncarat VERB --help explains a verb: options with their defaults, and examples.\n"
               "carat --version prints the version, carat --help-man the manual page (roff).\n");
}

static const cli_verb *find_verb(const char *name) {
    for (int i = 0; i < N_VERB; i++) {
        if (strcmp(name, verbs[i]->name) == 0) return verbs[i];
    }
    return NULL;
}

static int unknown_verb(const char *word) {
    static const char *const flags[] = {"--help", "--version", "--help-man"};
    static const char *const later[] = {"chat", "serve"}; /* promised, and looked for */
    const char *names[N_VERB];
    for (int i = 0; i < N_VERB; i++) names[i] = verbs[i]->name;
    for (int i = 0; i < 2; i++) {
        if (strcmp(word, later[i]) == 0) {
            return cli_fail(CLI_USAGE, NULL, "%s: not in this version yet (carat --help lists the verbs there are)", word);
        }
    }
    if (*word == '\0') return cli_fail(CLI_USAGE, NULL, "the verb is an empty word (carat --help lists the verbs)");
    const bool flag = word[0] == '-';
    const int near = flag ? cli_hint(word, flags, 3) : cli_hint(word, names, N_VERB);
    if (near < 0) {
        return cli_fail(CLI_USAGE, NULL, "%s: no such %s (carat --help lists the verbs)", word,
                        flag ? "flag before a verb" : "verb");
    }
    return cli_fail(CLI_USAGE, NULL, "%s: no such %s; did you mean %s? (carat --help lists the verbs)", word,
                    flag ? "flag before a verb" : "verb", flag ? flags[near] : names[near]);
}

static int run_verb(const cli_verb *v, int argc, char **argv) {
    int status;
    void *args = ct_alloc(v->args_size);
    if (!args) return cli_fail(CLI_FAILED, v->name, "out of memory");
    if (cli_args_parse(v, argc, argv, args, &status)) status = v->run(args);
    ct_free(args);
    return cli_end(v->name, status);
}

/* A mapped file that is cut short, or whose disk fails, shows as this signal in whoever reads the page. Nothing can go on; what
 * can be done is to say why. */
static void on_bus_error(int sig) {
    static const char text[] = "carat: the model file was cut short, or its disk failed, while it was mapped: get or make the file again "
                               "(with --ram SIZE it is read into memory instead)\n";
    (void)sig;
    const ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    _exit(CLI_FAILED);
}

int main(int argc, char **argv) {
    signal(SIGBUS, on_bus_error);
    /* A reader who goes away (carat … | head) shows as a failed write, not as a signal. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) {
        cli_printf("carat %s\n", carat_version());
        return cli_end(NULL, CLI_DONE);
    }
    if (strcmp(word, "--help-man") == 0) {
        cli_help_man(stdout, verbs, N_VERB);
        return cli_end(NULL, CLI_DONE);
    }
    const bool help = strcmp(word, "help") == 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) {
        print_help(stdout);
        return cli_end(NULL, CLI_DONE);
    }
    const cli_verb *v = find_verb(help ? argv[2] : word);
    if (!v) return unknown_verb(help ? argv[2] : word);
    if (help) {
        cli_help_verb(stdout, v);
        return cli_end(NULL, CLI_DONE);
    }
    return run_verb(v, argc - 2, argv + 2);
}
