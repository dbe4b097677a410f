/* The memory plan for people and programs: what is where, before anything runs. */
#ifndef CLI_PLAN_TEXT_H
#define CLI_PLAN_TEXT_H

#include "args.h"
#include "carat.h"
#include "json_out.h"

cli_json *cli_plan_json(const carat_plan *p);
/* A table on stdout. n_ctx: of the session the plan was made for. */
void cli_plan_table(const carat_plan *p, int32_t n_ctx);
/* "memory: …" on one line of stderr. */
void cli_plan_line(const carat_plan *p);
/* What does not fit, the smallest ceiling that would, and what else would help: the verb's error; returns its exit status.
 * The plan was made for --ram, or for what is free. */
int cli_plan_refuse(const carat_plan *p, const cli_common *c, int32_t n_ctx);

#endif
