/* What args.c and help.c share: walking a verb's options with the common ones behind them. */
#ifndef CLI_ARGS_INT_H
#define CLI_ARGS_INT_H

#include "args.h"

/* `at` of an option that is acted upon instead of stored (--help). */
#define CLI_NO_FIELD ((size_t)-1)

size_t cli_opts_count(const cli_verb *v);
const cli_opt *cli_opts_at(const cli_verb *v, size_t i);

#endif
