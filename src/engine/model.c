/* Opening and closing models, and what is known about one. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_int.h"

const char *carat_version(void) { return "0.1.0"; }

carat_model_opts carat_model_opts_default(void) { return (carat_model_opts){.size = sizeof(carat_model_opts)}; }

static int read_tokenizer(carat_model *m, const char *path, carat_error *err) {
    if (m->source.gguf) {
        if (!ct_gguf_find(m->source.gguf, "tokenizer.ggml.model")) return 0;
        return ct_tokenizer_from_gguf(&m->tokenizer, m->source.gguf, err);
    }
    char file[4096];
    if (snprintf(file, sizeof file, "%s/tokenizer.json", path) >= (int)sizeof file || !ct_path_exists(file)) return 0;
    return ct_tokenizer_from_hf(&m->tokenizer, path, err);
}

static void fill_info(carat_model *m) {
    carat_model_info *i = &m->info;
    i->arch = m->cfg.arch == CT_ARCH_GEMMA4 ? "gemma4" : "gemma3";
    i->name = m->cfg.name;
    i->format = m->source.gguf ? "gguf" : "safetensors";
    /* A GGUF opened for its vocabulary only may not say; then the vocabulary does. */
    i->n_vocab = m->cfg.n_vocab ? m->cfg.n_vocab : m->tokenizer ? ct_tokenizer_n_vocab(m->tokenizer) : 0;
    i->n_layer = m->cfg.n_layer;
    i->d_model = m->cfg.d_model;
    i->n_ctx_train = m->cfg.n_ctx_train;
    i->n_expert = m->cfg.n_expert;
    i->n_expert_used = m->cfg.n_expert_used;
    i->d_ple = m->cfg.d_ple;
    i->w_swa = m->cfg.w_swa;
    i->has_text = m->tokenizer != NULL;
    i->file_bytes = ct_source_file_bytes(&m->source);
    i->heap_bytes = sizeof *m + m->arena.bytes + (m->tokenizer ? ct_tokenizer_bytes(m->tokenizer) : 0);
}

/* Bytes of file i in front of its first tensor. */
static size_t names_bytes(const ct_source *s, int i) {
    size_t first = ct_source_file(s, i)->size;
    for (size_t k = 0; k < ct_source_n_tensor(s); k++) {
        const ct_tensor *t = ct_source_tensor_at(s, k);
        if (t->file == i && t->offset < first) first = (size_t)t->offset;
    }
    return first;
}

/* With little memory only norms are read through the mapping: a page each, and nothing of what lies around them. */
static void read_quietly(const ct_source *s) {
    for (int i = 0; i < ct_source_n_files(s); i++) {
        const ct_mapped_file *f = ct_source_file(s, i);
        ct_map_random(f, names_bytes(s, i), f->size);
    }
}

/* What the system read ahead of the names, or mapped around norms because the page cache had it, is given back. */
static void give_back(const ct_source *s) {
    for (int i = 0; i < ct_source_n_files(s); i++) {
        const ct_mapped_file *f = ct_source_file(s, i);
        const size_t names = names_bytes(s, i);
        ct_map_release(f->data + names, f->size - names);
        ct_map_forget(f, names, f->size);
    }
}

static int bind_weights(carat_model *m, carat_error *err) {
    const size_t n = ct_source_n_tensor(&m->source);
    uint8_t *role = ct_alloc(n);
    if (!role) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    const int rc = ct_weights_bind(&m->weights, &m->cfg, &m->source, &m->arena, role, err);
    if (!rc) ct_ledger_fill(&m->info, &m->cfg, &m->weights, &m->source, role);
    ct_free(role);
    CT_TRY(rc);
    m->has_weights = true;
    m->place = ct_alloc(sizeof *m->place);
    if (!m->place) return CT_FAIL(err, CARAT_ENOMEM, "out of memory");
    pthread_mutex_init(&m->place->lock, NULL);
    /* A folder's tokenizer may know tokens that the text model has no embedding for (images of Gemma 3 1B); a GGUF is
     * written with one row a token. */
    const int32_t n_tok = m->tokenizer ? ct_tokenizer_n_vocab(m->tokenizer) : 0;
    if (m->source.gguf && n_tok > m->cfg.n_vocab) {
        return CT_FAIL(err, CARAT_EMODEL,
                       "key tokenizer.ggml.tokens has %d tokens, expected at most the %d rows of token_embd.weight", n_tok,
                       m->cfg.n_vocab);
    }
    return 0;
}

static int open_into(carat_model *m, const char *path, const carat_model_opts *o, carat_error *err) {
    ct_cpu_level level = ct_cpu_best();
    if (o->cpu) {
        ct_cpu_level cap;
        if (!ct_cpu_parse(o->cpu, &cap)) {
            return CT_FAIL(err, CARAT_EINVAL, "cpu level \"%s\", expected ref, portable, avx2, avxvnni, avx512, avx512vnni, neon, dotprod or i8mm",
                           o->cpu);
        }
        if (!ct_cpu_has(cap)) {
            return CT_FAIL(err, CARAT_EUNSUPPORTED, "cpu level %s: this machine has up to %s", o->cpu, ct_cpu_name(level));
        }
        level = cap;
    }
    ct_kernels_init(&m->kernels, level);
    m->opts = *o;
    m->opts.cpu = NULL;
    CT_TRY(ct_source_open(&m->source, path, err));
    const uint64_t free_bytes = ct_memory_available();
    m->quiet = o->ram || (free_bytes && free_bytes < ct_source_file_bytes(&m->source));
    if (m->quiet) read_quietly(&m->source); /* before anything of them is read */
    else if (!o->vocab_only) ct_place_advise(&m->source);
    CT_TRY(ct_source_config(&m->cfg, &m->source, path, err));
    CT_TRY(read_tokenizer(m, path, err));
    if (!o->vocab_only) CT_TRY(bind_weights(m, err));
    if (m->quiet) give_back(&m->source);
    fill_info(m);
    return 0;
}

static int check_places(const carat_model_opts *o, carat_error *err) {
    if (o->ple < CARAT_PLACE_AUTO || o->ple > CARAT_PLACE_ZERO) {
        return CT_FAIL(err, CARAT_EINVAL, "carat_model_open: opts.ple is %d, expected a carat_place", (int)o->ple);
    }
    if (o->experts < CARAT_PLACE_AUTO || o->experts > CARAT_PLACE_STREAMED || (o->experts == CARAT_PLACE_MAPPED && o->ram)) {
        return CT_FAIL(err, CARAT_EINVAL, "carat_model_open: opts.experts is %s, expected auto, resident, streamed or, without a ceiling, mapped",
                       carat_place_key(o->experts));
    }
    return 0;
}

int carat_model_open(carat_model **out, const char *path, const carat_model_opts *opts, carat_error *err) {
    *out = NULL;
    const carat_model_opts o = opts ? *opts : carat_model_opts_default();
    if (!path || o.size != sizeof o) return CT_FAIL(err, CARAT_EINVAL, "carat_model_open: path is NULL or opts.size is wrong");
    CT_TRY(check_places(&o, err));
    carat_model *m = ct_alloc(sizeof *m);
    if (!m) return CT_FAIL(err, CARAT_ENOMEM, "%s: out of memory", path);
    carat_error inner = {0};
    const int rc = open_into(m, path, &o, &inner);
    if (rc) {
        carat_model_close(&m);
        /* Messages from below the file rooms do not know the path; say it once. */
        const size_t n = strlen(path);
        const char *shown = n > CT_PATH_SHOWN ? path + n - CT_PATH_SHOWN : path;
        if (strncmp(inner.msg, shown, strlen(shown)) == 0) return CT_FAIL(err, rc, "%s", inner.msg);
        return CT_FAIL(err, rc, "%s: %s", shown, inner.msg);
    }
    *out = m;
    return 0;
}

void carat_model_close(carat_model **mp) {
    carat_model *m = *mp;
    if (!m) return;
    if (m->place) ct_place_free(m->place);
    ct_free(m->place);
    ct_tokenizer_free(&m->tokenizer);
    ct_arena_free(&m->arena);
    ct_source_close(&m->source);
    ct_free(m);
    *mp = NULL;
}

void carat_model_get_info(const carat_model *m, carat_model_info *out) { *out = m->info; }

const char *carat_role_key(carat_role r) {
    switch (r) {
#define X(id, key, text) case id: return key;
        CARAT_ROLE_LIST(X)
#undef X
    default: return "?";
    }
}

const char *carat_role_text(carat_role r) {
    switch (r) {
#define X(id, key, text) case id: return text;
        CARAT_ROLE_LIST(X)
#undef X
    default: return "?";
    }
}
