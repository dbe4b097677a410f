/* Building the one JSON object that --json prints: a thin door over jansson, so that no verb names the library.
 * Every call accepts NULL objects and remembers that memory ran out; cli_json_print reports it. */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct json_t cli_json;

cli_json *cli_json_object(void);
cli_json *cli_json_array(void);

/* Into an object under key; put takes v over. */
void cli_json_put(cli_json *o, const char *key, cli_json *v);
void cli_json_put_int(cli_json *o, const char *key, int64_t v);
void cli_json_put_bytes(cli_json *o, const char *key, uint64_t v);
void cli_json_put_real(cli_json *o, const char *key, double v); /* null for what is no finite number */
void cli_json_put_bool(cli_json *o, const char *key, bool v);
void cli_json_put_null(cli_json *o, const char *key);
void cli_json_put_text(cli_json *o, const char *key, const char *s, size_t n); /* ill-formed UTF-8 becomes U+FFFD */
void cli_json_put_str(cli_json *o, const char *key, const char *s);           /* NULL becomes null */

/* At the end of an array; add takes v over. */
void cli_json_add(cli_json *a, cli_json *v);
void cli_json_add_int(cli_json *a, int64_t v);
void cli_json_add_text(cli_json *a, const char *s, size_t n);

void cli_json_free(cli_json *v);
/* Print to stdout as one line, and free. Returns the exit status. */
int cli_json_print(cli_json *v, const char *verb);

#endif
