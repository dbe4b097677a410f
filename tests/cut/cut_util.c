/* See cut_util.h. */
#include "cut_util.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cut.h"

char dir[] = "/tmp/carat-cut-XXXXXX";
const char *const folders[N_FOLDER] = {"e2b", "e4b", "31b", "26b-a4b", "gemma3"};

int make_dir(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }

int remove_dir(void **state) {
    (void)state;
    char path[600];
    struct dirent *e;
    DIR *d = opendir(dir);
    while (d && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (d) closedir(d);
    return rmdir(dir);
}

const char *in_dir(char *buf, const char *name) { return snprintf(buf, 200, "%s/%s", dir, name), buf; }
const char *oracle(char *buf, int i) { return snprintf(buf, 400, ORACLE_DIR "/%s", folders[i]), buf; }

int try_cut(const char *source, const char *out, const char *recipe, int n_threads, carat_error *err) {
    const cut_opts o = {.source = source, .out = out, .recipe = cli_recipe_find(recipe), .n_threads = n_threads};
    cut_result r;
    return cut_write(&r, &o, err);
}

void cut(const char *source, const char *out, const char *recipe, int n_threads) {
    carat_error err;
    if (try_cut(source, out, recipe, n_threads, &err)) fail_msg("%s", err.msg);
}

ct_gguf *open_gguf(const char *path) {
    ct_gguf *g;
    carat_error err;
    if (ct_gguf_open(&g, path, &err)) fail_msg("%s", err.msg);
    return g;
}
