/* The tensor directory and the order of layers: see inspect.h. */
#include "inspect.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/status.h"
#include "inspect_model.h"
#include "term.h"

struct inspect_files {
    inspect_model model;
    char layers[2 * CT_MAX_LAYER + 1];
};

/* A blank behind every full layer shows the pattern. */
static void note_layers(inspect_files *f) {
    char *at = f->layers;
    const ct_config *c = &f->model.config;
    for (int i = 0; i < c->n_layer; i++) {
        const bool full = c->layer[i].attn == CT_ATTN_FULL;
        *at++ = full ? 'F' : 'S';
        if (full && i + 1 < c->n_layer) *at++ = ' ';
    }
}

int inspect_files_open(inspect_files **out, const char *path, carat_error *err) {
    inspect_files *f = ct_alloc(sizeof *f);
    *out = f;
    if (!f) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
    const int rc = inspect_model_open(&f->model, path, err);
    if (rc) inspect_files_close(out);
    else note_layers(f);
    return rc;
}

void inspect_files_close(inspect_files **f) {
    if (!f || !*f) return;
    inspect_model_close(&(*f)->model);
    ct_free(*f);
    *f = NULL;
}

const char *inspect_layers(const inspect_files *f) { return f->layers; }
int inspect_n_shared_kv(const inspect_files *f) { return f->model.config.n_kv_shared; }

cli_json *inspect_tensors_json(const inspect_files *f) {
    cli_json *list = cli_json_array();
    for (size_t i = 0; i < ct_source_n_tensor(&f->model.source); i++) {
        const ct_tensor *t = ct_source_tensor_at(&f->model.source, i);
        cli_json *o = cli_json_object(), *shape = cli_json_array();
        cli_json_put_str(o, "name", t->name);
        cli_json_put_str(o, "type", ct_dtype_name(t->dtype));
        cli_json_put_str(o, "layout", t->panels ? "panels" : "rows");
        for (int d = 0; d < t->rank; d++) cli_json_add_int(shape, t->shape[d]);
        cli_json_put(o, "shape", shape);
        cli_json_put_bytes(o, "bytes", t->bytes);
        cli_json_put_str(o, "role", carat_role_key((carat_role)f->model.role[i]));
        cli_json_put_int(o, "file", t->file);
        cli_json_put_bytes(o, "offset", t->offset);
        cli_json_add(list, o);
    }
    return list;
}

void inspect_tensors_print(const inspect_files *f) {
    cli_table *table = cli_table_new("llrrl");
    cli_table_row(table, "tensor", "type", "shape", "bytes", "role");
    cli_table_line(table);
    for (size_t i = 0; i < ct_source_n_tensor(&f->model.source); i++) {
        const ct_tensor *t = ct_source_tensor_at(&f->model.source, i);
        char shape[96] = "", type[32];
        cli_text bytes;
        size_t n = 0;
        for (int d = 0; d < t->rank && n < sizeof shape; d++) {
            n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%lld", d ? " x " : "", (long long)t->shape[d]);
        }
        (void)snprintf(type, sizeof type, "%s%s", ct_dtype_name(t->dtype), t->panels ? " panels" : "");
        cli_table_row(table, t->name, type, t->rank ? shape : "scalar", cli_count_text(bytes, (int64_t)t->bytes),
                      carat_role_key((carat_role)f->model.role[i]));
    }
    cli_table_print(table, false);
}
