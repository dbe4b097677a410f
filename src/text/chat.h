/* Chat templates in C: Gemma 4's (turns, thinking on/off, empty thought of the large variants) and Gemma 3's.
 * REF: Google's template of 2026-07-09 (gemma4-spec 5). Tools and media come with the rooms that need them. */
#ifndef CT_TEXT_CHAT_H
#define CT_TEXT_CHAT_H

#include "text/tokenizer.h"

typedef enum {
    CT_CHAT_GEMMA4,       /* E-type: `<|turn>model\n` opens the answer */
    CT_CHAT_GEMMA4_LARGE, /* thinking off pre-fills an empty thought: `<|turn>model\n<|channel>thought\n<channel|>` */
    CT_CHAT_GEMMA3        /* <start_of_turn>; the system text is put in front of the first user turn */
} ct_chat_kind;

typedef struct {
    const char *s; /* NUL-terminated text of this span */
    size_t len;
    bool special; /* control tokens of the template; all else (content, role names) is never read for them */
} ct_chat_span;

typedef struct ct_chat ct_chat; /* a rendered conversation: spans in order */

/* flags: CARAT_CHAT_THINK, CARAT_CHAT_NO_PROMPT. EINVAL for an unknown role. Gives *out: ct_chat_free. */
int ct_chat_render(ct_chat **out, ct_chat_kind kind, const carat_message *msg, size_t n_msg, unsigned flags,
                   carat_error *err);
size_t ct_chat_n_span(const ct_chat *c);
const ct_chat_span *ct_chat_span_at(const ct_chat *c, size_t i);
void ct_chat_free(ct_chat **c);

#endif
