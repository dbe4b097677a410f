/* JSON output: see json_out.h. Keys come out in the order they were put. */
#include "json_out.h"

#include <math.h>
#include <string.h>

#include <jansson.h>

#include "args.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "term.h"

static bool failed; /* memory ran out somewhere: the object is not whole */

static cli_json *kept(cli_json *v) {
    if (!v) failed = true;
    return v;
}

cli_json *cli_json_object(void) { return kept(json_object()); }
cli_json *cli_json_array(void) { return kept(json_array()); }

void cli_json_put(cli_json *o, const char *key, cli_json *v) {
    if (json_object_set_new(o, key, v)) failed = true;
}

void cli_json_put_int(cli_json *o, const char *key, int64_t v) { cli_json_put(o, key, json_integer(v)); }

void cli_json_put_bytes(cli_json *o, const char *key, uint64_t v) {
    cli_json_put(o, key, json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v));
}

void cli_json_put_real(cli_json *o, const char *key, double v) {
    cli_json_put(o, key, isfinite(v) ? json_real(v) : json_null());
}

void cli_json_put_bool(cli_json *o, const char *key, bool v) { cli_json_put(o, key, json_boolean(v)); }
void cli_json_put_null(cli_json *o, const char *key) { cli_json_put(o, key, json_null()); }

/* A string of any bytes. jansson refuses ill-formed UTF-8, so the bad parts are replaced first. */
static json_t *text_value(const char *s, size_t n) {
    json_t *v = json_stringn(s, n);
    if (v || n == 0) return v;
    char *clean = ct_alloc_array(n, 3); /* U+FFFD takes three bytes, and replaces at least one */
    if (!clean) return NULL;
    size_t o = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int ok;
        uint8_t out[4];
        i += (size_t)ct_utf8_decode((const uint8_t *)s + i, n - i, &cp, &ok);
        const int len = ct_utf8_encode(cp, out);
        memcpy(clean + o, out, (size_t)len);
        o += (size_t)len;
    }
    v = json_stringn(clean, o);
    ct_free(clean);
    return v;
}

void cli_json_put_text(cli_json *o, const char *key, const char *s, size_t n) {
    cli_json_put(o, key, text_value(n ? s : "", n));
}

void cli_json_put_str(cli_json *o, const char *key, const char *s) {
    cli_json_put(o, key, s ? text_value(s, strlen(s)) : json_null());
}

void cli_json_add(cli_json *a, cli_json *v) {
    if (json_array_append_new(a, v)) failed = true;
}

void cli_json_add_int(cli_json *a, int64_t v) { cli_json_add(a, json_integer(v)); }
void cli_json_add_text(cli_json *a, const char *s, size_t n) { cli_json_add(a, text_value(n ? s : "", n)); }

void cli_json_free(cli_json *v) { json_decref(v); }

int cli_json_print(cli_json *v, const char *verb) {
    char *text = failed ? NULL : json_dumps(v, JSON_REAL_PRECISION(12));
    json_decref(v);
    if (!text) return cli_fail(CLI_FAILED, verb, "out of memory for JSON");
    cli_put(text, strlen(text));
    cli_put("\n", 1);
    free(text);
    return CLI_DONE;
}
