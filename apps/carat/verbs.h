/* The verbs, one file each. main.c lists them in the order of the help text. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "args.h"

extern const cli_verb cli_verb_run;
extern const cli_verb cli_verb_inspect;
extern const cli_verb cli_verb_tokenize;
extern const cli_verb cli_verb_logits;
extern const cli_verb cli_verb_weigh;
extern const cli_verb cli_verb_bench;
extern const cli_verb cli_verb_cut;
extern const cli_verb cli_verb_synth;

#endif
