/* carat cut: a model, as a GGUF file or a Hugging Face folder, to a GGUF of another type or in another layout. */
#include "cut.h"

#include <string.h>

#include "base/os.h"
#include "json_out.h"
#include "open.h"
#include "term.h"
#include "verbs.h"

typedef struct {
    cli_common common;
    const char *type, *out, *name;
    int32_t layout; /* cli_layout; -1 = not given */
} cut_args;

static void defaults(void *args) { ((cut_args *)args)->layout = -1; }

static bool show_progress(void *ud, uint64_t done, uint64_t total) {
    cli_bar_update(ud, (int64_t)(done >> 20), (int64_t)(total >> 20));
    return !cli_interrupted();
}

static int report(const cut_args *a, const cut_opts *o, const cut_result *r) {
    if (a->common.json) {
        cli_json *j = cli_json_object();
        cli_json_put_str(j, "out", o->out);
        cli_json_put_str(j, "type", o->recipe ? o->recipe->name : "kept");
        cli_json_put_str(j, "layout", o->layout == CLI_LAYOUT_PANELS ? "panels" : "rows");
        cli_json_put_int(j, "panels", r->n_panels);
        cli_json_put_int(j, "tensors", r->n_tensor);
        cli_json_put_int(j, "left_out", r->n_left_out);
        cli_json_put_bytes(j, "source_tensor_bytes", r->source_bytes);
        cli_json_put_bytes(j, "tensor_bytes", r->data_bytes);
        return cli_json_print(j, "cut");
    }
    cli_text before, after;
    cli_printf("%s: %s, %d tensors, %s from %s\n", o->out, o->recipe ? o->recipe->name : "types kept", (int)r->n_tensor,
               cli_size_text(after, r->data_bytes), cli_size_text(before, r->source_bytes));
    if (r->n_panels > 0) {
        cli_printf("%d of them lie as panels, which only carat reads (carat cut --layout rows turns them back)\n", (int)r->n_panels);
    }
    if (r->n_left_out > 0) {
        cli_printf("%d tensors were left out: vision, audio, and what is never read, such as keys and values of layers "
                   "that use another layer's\n", (int)r->n_left_out);
    }
    return CLI_DONE;
}

/* A folder is opened as a model first: the engine checks everything about its tokenizer that GGUF takes for granted. */
static int check_folder(const cli_common *c) {
    carat_model *m = NULL;
    if (!ct_path_is_dir(c->pos[0])) return CLI_DONE;
    const int status = cli_model_open(&m, c, c->pos[0], true);
    carat_model_close(&m);
    return status;
}

static int run(const void *args) {
    const cut_args *a = args;
    cut_opts o = {.source = a->common.pos[0], .out = a->out, .name = a->name,
                  .layout = a->layout == CLI_LAYOUT_PANELS ? CLI_LAYOUT_PANELS : CLI_LAYOUT_ROWS,
                  .n_threads = a->common.n_threads > 0 ? a->common.n_threads : ct_n_cores()};
    const bool keep = !a->type && a->layout >= 0 && !ct_path_is_dir(o.source);
    if (!keep && cli_recipe_arg(&o.recipe, "cut", a->type) != 0) return CLI_USAGE;
    if (cli_out_arg("cut", o.out) != 0) return CLI_USAGE;
    if (check_folder(&a->common) != CLI_DONE) return CLI_FAILED;
    cli_catch_interrupt();
    cli_bar bar = cli_bar_begin("writing", "MiB");
    o.progress = show_progress;
    o.progress_ud = &bar;
    carat_error err = {0};
    cut_result r;
    const int rc = cut_write(&r, &o, &err);
    cli_bar_end(&bar);
    return rc ? cli_fail_err("cut", &err) : report(a, &o, &r);
}

static const cli_opt opts[] = {
    {"--type", 0, CLI_TEXT, offsetof(cut_args, type), "TYPE", 0, 0,
     "Type of the matrices: " CLI_RECIPE_NAMES ". Rows that do not fill its blocks get the nearest type that fits. With --layout alone, a "
     "GGUF keeps its types."},
    {"--layout", 0, CLI_CHOICE, offsetof(cut_args, layout), CLI_LAYOUTS, 0, 0,
     "How matrices lie: rows, as every GGUF reader expects, or panels, as the fast kernels read them. Default: rows."},
    {"--out", 'o', CLI_TEXT, offsetof(cut_args, out), "FILE", 0, 0,
     "The GGUF to write; appears only when it is complete."},
    {"--name", 0, CLI_TEXT, offsetof(cut_args, name), "TEXT", 0, 0,
     "Name of the model in the file (general.name). Default: the name in a GGUF, the name of a folder."},
};

const cli_verb cli_verb_cut = {
    .name = "cut",
    .brief = "write a model as GGUF in another type or layout",
    .synopsis = "MODEL --type TYPE --out FILE",
    .about = "From a GGUF or a Hugging Face folder, tensor by tensor, in a few MiB of memory. Norms, scalars, the router "
             "and rope_freqs stay F32, per_layer_model_proj BF16. Of a folder, vision and audio towers are left out, "
             "as is what is never read; of a GGUF, every tensor is kept, and every key that is not about types.\n\n"
             "Every matrix gets the one type that was asked for (q4_k_m is a mix of two); choosing types by a size "
             "(--fit) and by the importance of weights (--calibrate) will come later.\n\n"
             "Each time a file in rows is opened to run, it is copied into the layout of the fast kernels, beside the "
             "file's own pages. With --layout panels the file is that layout: it is used where it lies, nothing is "
             "copied, processes share it, and the system may drop and read back its pages. Worth it for a model that "
             "is large beside the memory, or started often; logits are the same, bit for bit. Only matrices of Q4_0, "
             "Q8_0, Q4_K, Q5_K and Q6_K can lie so, and only carat reads the file; --layout rows gives back its "
             "tensors, byte for byte.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(cut_args),
    .defaults = defaults,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
