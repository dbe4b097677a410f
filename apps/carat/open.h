/* What the verbs share: find and open a model, open a session within --ram, read text from files and stdin. Every call
 * prints its own error line and returns an exit status. */
#ifndef CLI_OPEN_H
#define CLI_OPEN_H

#include "args.h"
#include "carat.h"

/* Print a library error as the verb's, and return CLI_FAILED. */
int cli_fail_err(const char *verb, const carat_error *err);

/* The model named on the command line; without one, the bundled model's path (in buf), or NULL with the error printed. */
const char *cli_model_path(const cli_common *c, char *buf, size_t cap);

/* Gives *out: carat_model_close. */
int cli_model_open(carat_model **out, const cli_common *c, const char *path, bool vocab_only);

/* The row of a verb's options table for the type of the KV cache; words in the order of carat_kv_type. */
#define CLI_KV_OPT(args, def)                                                                                          \
    {"--kv", 0, CLI_CHOICE, offsetof(args, common.kv), "f16|f32|q8_0", 0, 0,                                           \
     "Keep keys and values of the context as this type. q8_0 takes half the memory of f16 and costs a little quality; " \
     "it needs heads whose size is a multiple of 32. Default: " def "."}

/* Rows of a verb's options table that say where weights are kept. *_bare: what --ple and --experts mean without a word, 0: they
 * need one; *_help: and how that is told. */
#define CLI_PLACE_OPTS_OR(args, ple_bare, ple_help, experts_bare, experts_help)                                        \
    {"--ple", 0, CLI_CHOICE, offsetof(args, common.ple), "auto|resident|mapped|streamed|zero", 0, ple_bare,            \
     "Where the table of per-layer embeddings is, of which a token reads one row: in memory, left to the page cache, on disk " \
     "with a cache of recent rows, or nowhere (all zero: what would the model be without it?). Default: auto, which maps it, " \
     "and under --ram keeps it in memory if it fits, else on disk." ple_help},                                         \
    {"--experts", 0, CLI_CHOICE, offsetof(args, common.experts), "auto|resident|mapped|streamed", 0, experts_bare,     \
     "Where the experts of a mixture are: in memory, left to the page cache (a file with --layout panels, no --ram), or on disk " \
     "with a cache of those in use. Default: auto, in memory if they fit." experts_help},                              \
    {"--expert-cache", 0, CLI_SIZE, offsetof(args, common.expert_cache), "SIZE", 0, 0,                                 \
     "Most memory that streamed experts take. Default: what --ram leaves."},                                           \
    {"--expert-ahead", 0, CLI_CHOICE, offsetof(args, common.expert_ahead), "on|off", 0, 0,                             \
     "Read streamed experts ahead that the next layer's router would choose now. Default: on."}
#define CLI_PLACE_OPTS(args) CLI_PLACE_OPTS_OR(args, 0, "", 0, "")

/* Session options from the common flags and n_ctx (0 = default). */
carat_session_opts cli_session_opts(const cli_common *c, int32_t n_ctx);
/* Refuses a session that does not fit, before any of it is reserved, then opens it; where memory is limited, or stderr is a
 * terminal, with a line on stderr that says what is where. Gives *out: carat_session_free. */
int cli_session_open(carat_session **out, const carat_model *m, const cli_common *c, const carat_session_opts *o);

/* A whole text; "-" is stdin, pipes and devices are read to their end. Final NUL, not counted in *n. Gives *out: ct_free. */
int cli_read_text(char **out, size_t *n, const char *path, const char *verb);

/* Ids of a text. Gives *out: ct_free. */
int cli_tokenize(int32_t **out, size_t *n_out, const carat_model *m, const char *text, size_t len, unsigned flags,
                 const char *verb);
/* "2,4,6" to ids within the vocabulary. Gives *out: ct_free. Returns CLI_USAGE for a malformed list. */
int cli_parse_ids(int32_t **out, size_t *n_out, const char *list, int32_t n_vocab, const char *verb);

#endif
