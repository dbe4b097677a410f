/* carat synth: a GGUF of a variant's true shapes, metadata and tensor names, with random weights. */
#include <string.h>

#include "json_out.h"
#include "open.h"
#include "synth.h"
#include "term.h"
#include "verbs.h"

typedef struct {
    cli_common common;
    const char *type, *out;
    int32_t layout; /* cli_layout */
    cli_seed seed;
} synth_args;

static void defaults(void *args) { ((synth_args *)args)->type = "q4_0"; }

static bool show_progress(void *ud, uint64_t done, uint64_t total) {
    cli_bar_update(ud, (int64_t)(done >> 20), (int64_t)(total >> 20));
    return !cli_interrupted();
}

static int report(const synth_args *a, const synth_opts *o, const synth_result *r) {
    if (a->common.json) {
        cli_json *j = cli_json_object();
        cli_json_put_str(j, "out", o->out);
        cli_json_put_str(j, "variant", o->variant->name);
        cli_json_put_str(j, "type", o->recipe->name);
        cli_json_put_str(j, "layout", o->layout == CLI_LAYOUT_PANELS ? "panels" : "rows");
        cli_json_put_int(j, "tensors", r->n_tensor);
        cli_json_put_int(j, "parameters", r->n_params);
        cli_json_put_bytes(j, "tensor_bytes", r->data_bytes);
        return cli_json_print(j, "synth");
    }
    cli_text size, params;
    cli_printf("%s: %s %s, %d tensors, %s parameters, %s, random weights\n", o->out, o->variant->name, o->recipe->name,
               (int)r->n_tensor, cli_count_text(params, r->n_params), cli_size_text(size, r->data_bytes));
    return CLI_DONE;
}

static int find_variant(const synth_variant **out, const char *name) {
    const char *names[16];
    int n = 0;
    *out = synth_variant_find(name);
    if (*out) return 0;
    for (; n < 16 && synth_variant_at(n); n++) names[n] = synth_variant_at(n)->name;
    return cli_fail(CLI_USAGE, "synth", "%s: no such variant; did you mean %s?", name,
                    names[cli_nearest(name, names, n)]);
}

static int run(const void *args) {
    const synth_args *a = args;
    synth_opts o = {.out = a->out, .layout = (cli_layout)a->layout, .seed = a->seed.given ? a->seed.value : 1};
    if (find_variant(&o.variant, a->common.pos[0]) != 0 || cli_recipe_arg(&o.recipe, "synth", a->type) != 0 ||
        cli_out_arg("synth", o.out) != 0) {
        return CLI_USAGE;
    }
    cli_catch_interrupt();
    cli_bar bar = cli_bar_begin("writing", "MiB");
    o.progress = show_progress;
    o.progress_ud = &bar;
    carat_error err = {0};
    synth_result r;
    const int rc = synth_write(&r, &o, &err);
    cli_bar_end(&bar);
    return rc ? cli_fail_err("synth", &err) : report(a, &o, &r);
}

static const cli_opt opts[] = {
    {"--type", 0, CLI_TEXT, offsetof(synth_args, type), "TYPE", 0, 0,
     "Type of the matrices: " CLI_RECIPE_NAMES " (the usual mix of Q4_K and Q6_K). Default: q4_0."},
    {"--layout", 0, CLI_CHOICE, offsetof(synth_args, layout), CLI_LAYOUTS, 0, 0,
     "How matrices lie: see cut. The values are the same. Default: rows."},
    {"--out", 'o', CLI_TEXT, offsetof(synth_args, out), "FILE", 0, 0, "The GGUF to write."},
    {"--seed", 0, CLI_SEED, offsetof(synth_args, seed), "N", 0, 0, "Same seed, same file. Default: 1."},
};

const cli_verb cli_verb_synth = {
    .name = "synth",
    .brief = "write a GGUF of a variant's true shapes with random weights",
    .synopsis = "VARIANT --out FILE",
    .about =
        "For speed and memory runs without a download: shapes, metadata and tensor names are those of the published "
        "Gemma 4 models, weights are random, the vocabulary is made up (special tokens have their true ids). "
        "VARIANT is e2b, e4b, 31b or 26b-a4b.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(synth_args),
    .min_pos = 1,
    .max_pos = 1,
    .defaults = defaults,
    .run = run,
};
