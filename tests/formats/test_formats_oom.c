/* Out of memory: fail the first, second, third … allocation of an open or a write until it succeeds. Each failure must
 * be ENOMEM with a message, and leak nothing (the sanitizer build watches). calloc is wrapped at link time: it is the
 * only way base/mem.c gets memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "craft.h"
#include "formats/gguf_priv.h"
#include "formats/gguf_write.h"
#include "formats/safetensors_priv.h"

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static long countdown = -1; /* allocations until one fails; negative = never */

void *__wrap_calloc(size_t n, size_t size) {
    if (countdown == 0) return NULL;
    if (countdown > 0) countdown--;
    return __real_calloc(n, size);
}

/* Run `attempt` with ever more memory; returns how many failures it took. */
static int ladder(int (*attempt)(const craft *c, carat_error *err), const craft *c) {
    for (int n = 0; n < 1000; n++) {
        carat_error err = {0};
        countdown = n;
        const int rc = attempt(c, &err);
        countdown = -1;
        if (rc == 0) return n;
        const char *bad = craft_bad_failure(rc, &err, CARAT_ENOMEM, "no memory");
        if (bad) fail_msg("allocation %d: %s: %d %s", n, bad, rc, err.msg);
    }
    fail_msg("never succeeded");
    return 0;
}

static int open_gguf(const craft *c, carat_error *err) {
    ct_gguf *g;
    const int rc = ct_gguf_open_memory(&g, c->p, c->n, "x.gguf", err);
    if (rc) assert_null(g);
    ct_gguf_close(&g);
    return rc;
}

static void gguf__survives_every_failed_allocation(void **state) {
    (void)state;
    craft c = {0};
    char word[32];
    craft_line(&c, "h:3,40,40");
    for (int i = 0; i < 40; i++) {
        craft_line(&c, (snprintf(word, sizeof word, "k:key.%d,4 d:1", i), word));
    }
    for (int i = 0; i < 40; i++)
        craft_line(&c, (snprintf(word, sizeof word, "t:w%d,0,%d,1", i, 32 * i), word));
    craft_line(&c, "p:32 z:1280");
    assert_true(ladder(open_gguf, &c) >= 8);
    craft_free(&c);
}

static int open_safetensors(const craft *c, carat_error *err) {
    ct_safetensors *st;
    const int rc = ct_safetensors_open_memory(&st, c->p, c->n, "x.safetensors", err);
    if (rc) assert_null(st);
    ct_safetensors_close(&st);
    return rc;
}

static void safetensors__survives_every_failed_allocation(void **state) {
    (void)state;
#if CT_HAVE_JANSSON
    craft c = {0};
    craft_safetensors(&c,
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                      "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                      0, 8);
    assert_true(ladder(open_safetensors, &c) >= 5);
    craft_free(&c);
#else
    (void)open_safetensors;
    skip();
#endif
}

static int write_gguf(const craft *c, carat_error *err) {
    const int64_t shape[] = {8};
    ct_gguf_writer *w;
    int rc = ct_gguf_writer_new(&w, (const char *)c->p, err);
    if (rc) return rc;
    ct_gguf_put_u32(w, "a", 1);
    ct_gguf_put_str(w, "b", "text", 4);
    rc = ct_gguf_put_tensor(w, "x", CT_F32, 1, shape, err);
    if (rc == 0) rc = ct_gguf_writer_begin(w, err);
    if (rc == 0) rc = ct_gguf_write(w, "0123456789abcdef0123456789abcdef", 32, err);
    if (rc == 0) rc = ct_gguf_writer_finish(w, err);
    ct_gguf_writer_free(&w);
    return rc;
}

static void writer__survives_every_failed_allocation(void **state) {
    (void)state;
    char *dir = craft_tmpdir(), *path = craft_path(dir, "x.gguf");
    const craft c = {(uint8_t *)path, strlen(path), 0};
    assert_true(ladder(write_gguf, &c) >= 8);
    free(path);
    craft_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__survives_every_failed_allocation),
        cmocka_unit_test(safetensors__survives_every_failed_allocation),
        cmocka_unit_test(writer__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
