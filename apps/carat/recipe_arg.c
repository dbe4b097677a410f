/* --type and --out of the verbs that write models. */
#include <signal.h>

#include "args.h"
#include "base/os.h"
#include "recipe.h"

int cli_recipe_arg(const cli_recipe **out, const char *verb, const char *value) {
    const char *names[32];
    int n = 0;
    if (!value) return cli_fail(CLI_USAGE, verb, "--type TYPE is missing; one of " CLI_RECIPE_NAMES);
    *out = cli_recipe_find(value);
    if (*out) return 0;
    for (; n < 32 && cli_recipe_at(n); n++) names[n] = cli_recipe_at(n)->name;
    return cli_fail(CLI_USAGE, verb, "--type %s: no such type; did you mean %s?", value,
                    names[cli_nearest(value, names, n)]);
}

int cli_out_arg(const char *verb, const char *out) {
    if (!out) return cli_fail(CLI_USAGE, verb, "--out FILE is missing");
    if (ct_path_is_dir(out)) {
        return cli_fail(CLI_USAGE, verb, "--out %s: is a folder, expected the name of a file", out);
    }
    signal(SIGXFSZ, SIG_IGN);
    return 0;
}
