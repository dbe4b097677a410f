/* carat inspect: the ledger of a model. Every byte of the file has a role; what one token touches of it; what the
 * memory of a session is made of, measured on a session that is opened (its memory is reserved, not touched) and never
 * run. */
#include <string.h>

#include "inspect.h"
#include "open.h"
#include "plan_text.h"
#include "term.h"
#include "verbs.h"

typedef struct {
    cli_common common;
    bool tensors;
    int32_t n_ctx;
} inspect_args;

#define AT(field) offsetof(inspect_args, field)
static const cli_opt opts[] = {
    {"--tensors", 0, CLI_FLAG, AT(tensors), NULL, 0, 0, "List every tensor too: name, type, shape, bytes, role."},
    {"--ctx", 'c', CLI_INT, AT(n_ctx), "CTX", 1, INT32_MAX,
     "Context to state the memory for. Default: 4096, or what the model was trained for where that is less."},
    CLI_KV_OPT(inspect_args, "f16"),
    CLI_PLACE_OPTS(inspect_args),
};

typedef struct {
    const inspect_args *args;
    carat_model_info info;
    inspect_files *files;
    carat_plan plan;       /* of a session with n_ctx tokens */
    int32_t n_ctx;
    uint64_t kv_per_token; /* growth of the KV cache with the context, once it is longer than the window */
    uint64_t tensor_bytes; /* of all roles; the rest of the file is header, vocabulary and padding */
} ledger;

/* ---- measuring ---- */

static int probe(const carat_model *m, int32_t kv, int32_t n_ctx, int32_t n_chunk, carat_plan *plan) {
    carat_session_opts o = carat_session_opts_default();
    carat_error err;
    o.n_ctx = n_ctx;
    o.n_chunk = n_chunk;
    o.kv = (carat_kv_type)kv;
    return carat_plan_make(plan, m, &o, &err) ? cli_fail_err("inspect", &err) : CLI_DONE;
}

/* Two contexts beyond the sliding window (which is a ring of fixed length) differ by the growing layers alone. */
static int probe_growth(const carat_model *m, ledger *l) {
    int32_t hi = l->info.n_ctx_train < 16384 ? l->info.n_ctx_train : 16384;
    if (hi < 2) hi = 2;
    carat_plan a, b;
    int status = probe(m, l->args->common.kv, hi / 2, 16, &a);
    if (!status) status = probe(m, l->args->common.kv, hi, 16, &b);
    if (!status && b.kv_bytes > a.kv_bytes) l->kv_per_token = (b.kv_bytes - a.kv_bytes) / (uint64_t)(hi - hi / 2);
    return status;
}

static int measure(const carat_model *m, ledger *l) {
    carat_error err;
    carat_model_get_info(m, &l->info);
    for (int i = 0; i < CARAT_N_ROLE; i++) l->tensor_bytes += l->info.role[i].bytes;
    l->n_ctx = l->args->n_ctx ? l->args->n_ctx : l->info.n_ctx_train < 4096 ? l->info.n_ctx_train : 4096;
    int status = probe(m, l->args->common.kv, l->n_ctx, 0, &l->plan);
    if (!status) status = probe_growth(m, l);
    if (!status && inspect_files_open(&l->files, l->args->common.pos[0], &err)) {
        status = cli_fail_err("inspect", &err);
    }
    return status;
}

static uint64_t other_bytes(const ledger *l) {
    return l->info.file_bytes > l->tensor_bytes ? l->info.file_bytes - l->tensor_bytes : 0;
}

/* ---- JSON ---- */

static cli_json *roles_json(const ledger *l) {
    cli_json *roles = cli_json_object();
    for (int i = 0; i < CARAT_N_ROLE; i++) {
        const carat_ledger_row *r = &l->info.role[i];
        cli_json *o = cli_json_object();
        cli_json_put_int(o, "tensors", r->n_tensor);
        cli_json_put_int(o, "params", r->params);
        cli_json_put_bytes(o, "bytes", r->bytes);
        cli_json_put_real(o, "share", l->info.file_bytes ? (double)r->bytes / (double)l->info.file_bytes : 0.0);
        cli_json_put_int(o, "params_token", r->params_token);
        cli_json_put_bytes(o, "bytes_token", r->bytes_token);
        cli_json_put(roles, carat_role_key((carat_role)i), o);
    }
    return roles;
}

static cli_json *memory_json(const ledger *l) {
    cli_json *m = cli_json_object();
    cli_json_put_int(m, "n_ctx", l->n_ctx);
    cli_json_put_bytes(m, "kv_bytes_per_token", l->kv_per_token);
    cli_json_put_bytes(m, "ple_table_bytes", l->info.role[CARAT_ROLE_PLE_TABLE].bytes);
    cli_json_put(m, "plan", cli_plan_json(&l->plan));
    return m;
}

static int print_json(const ledger *l) {
    const carat_model_info *f = &l->info;
    cli_json *o = cli_json_object(), *layers = cli_json_array(), *params = cli_json_object();
    cli_json_put_str(o, "name", f->name);
    cli_json_put_str(o, "arch", f->arch);
    cli_json_put_str(o, "format", f->format);
    cli_json_put_bytes(o, "file_bytes", f->file_bytes);
    cli_json_put_int(o, "n_layer", f->n_layer);
    cli_json_put_int(o, "d_model", f->d_model);
    cli_json_put_int(o, "n_vocab", f->n_vocab);
    cli_json_put_int(o, "n_ctx_train", f->n_ctx_train);
    cli_json_put_int(o, "w_swa", f->w_swa);
    cli_json_put_int(o, "d_ple", f->d_ple);
    cli_json_put_int(o, "n_expert", f->n_expert);
    cli_json_put_int(o, "n_expert_used", f->n_expert_used);
    for (const char *c = inspect_layers(l->files); *c; c++) {
        if (*c == 'S') cli_json_add_text(layers, "sliding", 7);
        if (*c == 'F') cli_json_add_text(layers, "full", 4);
    }
    cli_json_put(o, "layers", layers);
    cli_json_put_int(o, "n_layer_shared_kv", inspect_n_shared_kv(l->files));
    cli_json_put_int(params, "total", f->params_total);
    cli_json_put_int(params, "effective", f->params_effective);
    cli_json_put_int(params, "active", f->params_active);
    cli_json_put_int(params, "lookup", f->params_lookup);
    cli_json_put(o, "params", params);
    cli_json_put_bytes(o, "bytes_token", f->bytes_token);
    cli_json_put(o, "roles", roles_json(l));
    cli_json_put_bytes(o, "other_bytes", other_bytes(l));
    cli_json_put(o, "memory", memory_json(l));
    if (l->args->tensors) cli_json_put(o, "tensors", inspect_tensors_json(l->files));
    return cli_json_print(o, "inspect");
}

/* ---- text ---- */

static void print_facts(const ledger *l) {
    const carat_model_info *f = &l->info;
    cli_text a, b, c;
    cli_printf("%s: %s, %s, %s in the file\n\n", f->name && *f->name ? f->name : l->args->common.pos[0], f->arch, f->format,
               cli_size_text(a, f->file_bytes));
    cli_printf("layers      %d of width %d", (int)f->n_layer, (int)f->d_model);
    if (inspect_n_shared_kv(l->files)) cli_printf(", the last %d share keys and values", inspect_n_shared_kv(l->files));
    cli_put("\n", 1);
    cli_printf("            %s (S sliding window of %s tokens, F full attention)\n", inspect_layers(l->files),
               cli_count_text(a, f->w_swa));
    cli_printf("vocabulary  %s tokens\n", cli_count_text(a, f->n_vocab));
    cli_printf("context     %s tokens in training\n", cli_count_text(a, f->n_ctx_train));
    if (f->n_expert) cli_printf("experts     %d a layer, %d used for a token\n", (int)f->n_expert, (int)f->n_expert_used);
    if (f->d_ple) cli_printf("per-layer   embeddings of width %d\n", (int)f->d_ple);
    cli_printf("\nparameters  %s in total\n", cli_count_text(a, f->params_total));
    cli_printf("            %s effective (without the per-layer embedding table): %s\n", cli_count_text(a, f->params_effective),
               cli_short_text(b, f->params_effective));
    cli_printf("            %s active (multiplied for a token): %s\n", cli_count_text(a, f->params_active),
               cli_short_text(b, f->params_active));
    cli_printf("            %s lookup (only read, row by row): %s\n", cli_count_text(a, f->params_lookup),
               cli_short_text(c, f->params_lookup));
}

static void print_ledger(const ledger *l) {
    const carat_model_info *f = &l->info;
    cli_table *t = cli_table_new("lrrrrr");
    cli_text n, params, bytes, share, token;
    cli_table_row(t, "role", "tensors", "parameters", "bytes", "share", "a token reads");
    cli_table_line(t);
    int n_tensor = 0;
    int64_t n_param = 0;
    for (int i = 0; i < CARAT_N_ROLE; i++) {
        const carat_ledger_row *r = &f->role[i];
        if (r->n_tensor == 0) continue;
        n_tensor += r->n_tensor;
        n_param += r->params;
        (void)snprintf(share, sizeof share, "%.1f%%", 100.0 * (double)r->bytes / (double)f->file_bytes);
        cli_table_row(t, carat_role_text((carat_role)i), cli_count_text(n, r->n_tensor), cli_count_text(params, r->params),
                      cli_size_text(bytes, r->bytes), share, cli_size_text(token, r->bytes_token));
    }
    (void)snprintf(share, sizeof share, "%.1f%%", 100.0 * (double)other_bytes(l) / (double)f->file_bytes);
    cli_table_row(t, "header, vocabulary, padding", "", "", cli_size_text(bytes, other_bytes(l)), share, "");
    cli_table_line(t);
    cli_table_row(t, "all", cli_count_text(n, n_tensor), cli_count_text(params, n_param), cli_size_text(bytes, f->file_bytes),
                  "100.0%", cli_size_text(token, f->bytes_token));
    cli_table_print(t, false);
}

static void print_memory(const ledger *l) {
    cli_text a;
    cli_plan_table(&l->plan, l->n_ctx);
    cli_printf("  a token of context more takes %s\n", cli_size_text(a, l->kv_per_token));
}

static int run(const void *p) {
    ledger l = {.args = p};
    carat_model *m = NULL;
    int status = cli_model_open(&m, &l.args->common, l.args->common.pos[0], false);
    if (!status) status = measure(m, &l);
    if (!status && l.args->common.json) {
        status = print_json(&l);
    } else if (!status) {
        print_facts(&l);
        cli_put("\n", 1);
        print_ledger(&l);
        cli_put("\n", 1);
        print_memory(&l);
        if (l.args->tensors) {
            cli_put("\n", 1);
            inspect_tensors_print(l.files);
        }
    }
    inspect_files_close(&l.files);
    carat_model_close(&m);
    return status;
}

const cli_verb cli_verb_inspect = {
    .name = "inspect",
    .brief = "the ledger of a model: parameters and bytes by role",
    .synopsis = "MODEL",
    .about = "Every byte of the file by its role, what one decoded token reads of it, the parameter counts (total, "
             "effective, active, lookup) and what a session would need in memory. With --ram it says whether that fits; "
             "nothing is refused here.",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .args_size = sizeof(inspect_args),
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
