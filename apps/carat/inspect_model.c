/* Opening a model's files: see inspect_model.h. */
#include "inspect_model.h"

#include <string.h>

#include "base/mem.h"
#include "model/weights.h"

/* What is bound is not kept, only under which role. */
static int read_roles(inspect_model *m, carat_error *err) {
    ct_arena arena = {0};
    ct_weights weights;
    const size_t n = ct_source_n_tensor(&m->source);
    m->role = ct_alloc(n);
    if (!m->role) return CT_FAIL(err, CARAT_ENOMEM, "no memory for a list of %zu tensors", n);
    const int rc = ct_weights_bind(&weights, &m->config, &m->source, &arena, m->role, err);
    ct_arena_free(&arena);
    return rc;
}

int inspect_model_open(inspect_model *m, const char *path, carat_error *err) {
    carat_error inner = {0};
    memset(m, 0, sizeof *m);
    int rc = ct_source_open(&m->source, path, &inner);
    if (rc == 0) rc = ct_source_config(&m->config, &m->source, path, &inner);
    if (rc == 0) rc = read_roles(m, &inner);
    if (rc == 0) return 0;
    inspect_model_close(m);
    /* Messages about keys and tensors do not know the path. */
    if (strncmp(inner.msg, path, strlen(path)) == 0) return CT_FAIL(err, rc, "%s", inner.msg);
    return CT_FAIL(err, rc, "%.200s: %s", path, inner.msg);
}

void inspect_model_close(inspect_model *m) {
    ct_source_close(&m->source);
    ct_free(m->role);
    memset(m, 0, sizeof *m);
}

int inspect_model_n_files(const inspect_model *m) {
    return m->source.gguf ? ct_gguf_n_files(m->source.gguf) : ct_safetensors_n_files(m->source.st);
}

const ct_mapped_file *inspect_model_file(const inspect_model *m, int i) {
    return m->source.gguf ? ct_gguf_file(m->source.gguf, i) : ct_safetensors_file(m->source.st, i);
}
