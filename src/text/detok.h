/* Streaming detokenizer: emits only complete UTF-8 characters, whatever the token boundaries are. */
#ifndef CT_TEXT_DETOK_H
#define CT_TEXT_DETOK_H

#include "text/tokenizer.h"

typedef struct ct_detok ct_detok;

/* Keeps t. show_control: control tokens are emitted as their text, else dropped. */
int ct_detok_new(ct_detok **out, const ct_tokenizer *t, bool show_control, carat_error *err);
/* *text valid until the next call on d. */
int ct_detok_push(ct_detok *d, int32_t id, const char **text, size_t *len, carat_error *err);
void ct_detok_flush(ct_detok *d, const char **text, size_t *len);
void ct_detok_free(ct_detok **d);

#endif
