/* Conversations as Gemma's templates write them, for text turns. REF gemma4-spec 5.1 to 5.3.
 *
 * The result is a list of spans: control tokens, and everything else, in which none is ever recognised, whatever a
 * user types. Role names and the newlines around content belong to the second kind: text between two control tokens
 * must be tokenized in one go to get the ids that the whole rendered string would have. */
#include "text/chat.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

typedef struct {
    ct_chat_span span; /* what the door shows: s and len follow text */
    char *text;
    size_t cap;
} slot;

struct ct_chat {
    slot *slot;
    size_t n, cap;
    bool failed; /* out of memory: reported once, at the end */
};

static void put_n(ct_chat *c, bool special, const char *s, size_t len) {
    if (c->failed || len == 0) return;
    if (c->n == 0 || c->slot[c->n - 1].span.special != special) {
        if (!ct_grow((void **)&c->slot, &c->cap, c->n + 1, sizeof *c->slot)) {
            c->failed = true;
            return;
        }
        c->slot[c->n++] = (slot){.span = {.special = special}};
    }
    slot *last = &c->slot[c->n - 1];
    const size_t at = last->span.len;
    if (len >= SIZE_MAX - at || !ct_grow((void **)&last->text, &last->cap, at + len + 1, 1)) {
        c->failed = true;
        return;
    }
    memcpy(last->text + at, s, len);
    last->text[at + len] = '\0';
    last->span.s = last->text;
    last->span.len = at + len;
}

static void put_control(ct_chat *c, const char *s) { put_n(c, true, s, strlen(s)); }
static void put_text(ct_chat *c, const char *s) { put_n(c, false, s, strlen(s)); }

/* ---- trimming: the white space that Python's strip() knows, which is what the templates use ---- */

static bool is_space(uint32_t cp) {
    return (cp >= 0x09 && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

static void put_trimmed(ct_chat *c, const char *s, size_t len) {
    size_t from = len, to = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int ok;
        const size_t start = at;
        at += (size_t)ct_utf8_decode((const uint8_t *)s + at, len - at, &cp, &ok);
        if (is_space(cp)) continue;
        if (from == len) from = start;
        to = at;
    }
    if (from < to) put_n(c, false, s + from, to - from);
}

/* Earlier answers lose their thoughts: every <|channel> up to the next <channel|> (or the end) goes, and so does a
 * closing mark without an opening one. What is left is trimmed. */
static void put_answer(ct_chat *c, const char *s) {
    static const char open[] = "<|channel>", close[] = "<channel|>";
    char *kept = ct_alloc(strlen(s) + 1);
    size_t n = 0;
    if (!kept) {
        c->failed = true;
        return;
    }
    const char *thought = strstr(s, open);
    for (;;) {
        const char *end = strstr(s, close);
        const char *stop = end ? end : s + strlen(s);
        while (thought && thought < s) thought = strstr(thought + 1, open);
        if (thought && thought < stop) stop = thought;
        memcpy(kept + n, s, (size_t)(stop - s));
        n += (size_t)(stop - s);
        if (!end) break;
        s = end + strlen(close);
    }
    put_trimmed(c, kept, n);
    ct_free(kept);
}

/* ---- roles ---- */

typedef enum { ROLE_SYSTEM, ROLE_USER, ROLE_MODEL, ROLE_UNKNOWN } role;

static role role_of(const char *s) {
    static const struct {
        const char *name;
        role r;
    } names[] = {{"system", ROLE_SYSTEM},
                 {"developer", ROLE_SYSTEM},
                 {"user", ROLE_USER},
                 {"model", ROLE_MODEL},
                 {"assistant", ROLE_MODEL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(s, names[i].name) == 0) return names[i].r;
    }
    return ROLE_UNKNOWN;
}

static int check_messages(const carat_message *msg, size_t n, carat_error *err) {
    if (n == 0) return CT_FAIL(err, CARAT_EINVAL, "the conversation has no messages");
    for (size_t i = 0; i < n; i++) {
        if (!msg[i].role || !msg[i].content)
            return CT_FAIL(err, CARAT_EINVAL, "message %zu has no role or no content", i);
        if (role_of(msg[i].role) == ROLE_UNKNOWN)
            return CT_FAIL(err, CARAT_EINVAL, "message %zu has the role \"%.40s\", expected system, user or model", i,
                           msg[i].role);
    }
    return 0;
}

/* ---- Gemma 4 ---- */

static void open_turn(ct_chat *c, const char *name) {
    put_control(c, "<|turn>");
    put_text(c, name);
    put_text(c, "\n");
}

static void close_turn(ct_chat *c) { put_control(c, "<turn|>\n"); }

static void render_gemma4(ct_chat *c, bool large, const carat_message *msg, size_t n_msg, unsigned flags) {
    static const char *const names[] = {"system", "user", "model"};
    const bool think = (flags & CARAT_CHAT_THINK) != 0;
    size_t i = 0;
    put_control(c, "<bos>");
    if (think || role_of(msg[0].role) == ROLE_SYSTEM) {
        open_turn(c, names[ROLE_SYSTEM]);
        if (think) {
            put_control(c, "<|think|>");
            put_text(c, "\n");
        }
        if (role_of(msg[0].role) == ROLE_SYSTEM) {
            put_trimmed(c, msg[0].content, strlen(msg[0].content));
            i = 1;
        }
        close_turn(c);
    }
    for (role last = ROLE_UNKNOWN; i < n_msg; i++) {
        const role r = role_of(msg[i].role);
        if (r != ROLE_MODEL || last != ROLE_MODEL) open_turn(c, names[r]);
        if (r == ROLE_MODEL)
            put_answer(c, msg[i].content);
        else
            put_trimmed(c, msg[i].content, strlen(msg[i].content));
        last = r;
        /* Answers in a row are one turn. */
        if (r != ROLE_MODEL || i + 1 == n_msg || role_of(msg[i + 1].role) != ROLE_MODEL) close_turn(c);
    }
    if (flags & CARAT_CHAT_NO_PROMPT) return;
    open_turn(c, names[ROLE_MODEL]);
    if (large && !think) {
        put_control(c, "<|channel>");
        put_text(c, "thought\n");
        put_control(c, "<channel|>");
    }
}

/* ---- Gemma 3 ---- */

static int render_gemma3(ct_chat *c, const carat_message *msg, size_t n_msg, unsigned flags, carat_error *err) {
    const bool has_system = role_of(msg[0].role) == ROLE_SYSTEM;
    if (flags & CARAT_CHAT_THINK)
        return CT_FAIL(err, CARAT_EUNSUPPORTED, "this model's chat template has no thinking mode");
    if (has_system && n_msg == 1)
        return CT_FAIL(err, CARAT_EINVAL,
                       "a system message needs a user message after it in this model's chat template");
    put_control(c, "<bos>");
    for (size_t i = has_system; i < n_msg; i++) {
        const role want = (i - has_system) % 2 == 0 ? ROLE_USER : ROLE_MODEL;
        if (role_of(msg[i].role) != want)
            return CT_FAIL(err, CARAT_EINVAL, "message %zu has the role \"%.40s\", but user and model must alternate",
                           i, msg[i].role);
        put_control(c, "<start_of_turn>");
        put_text(c, want == ROLE_USER ? "user\n" : "model\n");
        if (has_system && i == 1) {
            put_text(c, msg[0].content); /* not trimmed, as in the original template */
            put_text(c, "\n\n");
        }
        put_trimmed(c, msg[i].content, strlen(msg[i].content));
        put_control(c, "<end_of_turn>\n");
    }
    if (flags & CARAT_CHAT_NO_PROMPT) return 0;
    put_control(c, "<start_of_turn>");
    put_text(c, "model\n");
    return 0;
}

int ct_chat_render(ct_chat **out, ct_chat_kind kind, const carat_message *msg, size_t n_msg, unsigned flags,
                   carat_error *err) {
    *out = NULL;
    CT_TRY(check_messages(msg, n_msg, err));
    ct_chat *c = ct_alloc(sizeof *c);
    if (!c) return CT_FAIL(err, CARAT_ENOMEM, "no memory for a conversation");
    int rc = 0;
    if (kind == CT_CHAT_GEMMA3)
        rc = render_gemma3(c, msg, n_msg, flags, err);
    else
        render_gemma4(c, kind == CT_CHAT_GEMMA4_LARGE, msg, n_msg, flags);
    if (rc == 0 && c->failed) rc = CT_FAIL(err, CARAT_ENOMEM, "no memory for a conversation of %zu messages", n_msg);
    if (rc)
        ct_chat_free(&c);
    else
        *out = c;
    return rc;
}

size_t ct_chat_n_span(const ct_chat *c) { return c->n; }

const ct_chat_span *ct_chat_span_at(const ct_chat *c, size_t i) { return i < c->n ? &c->slot[i].span : NULL; }

void ct_chat_free(ct_chat **c) {
    if (!c || !*c) return;
    for (size_t i = 0; i < (*c)->n; i++) ct_free((*c)->slot[i].text);
    ct_free((*c)->slot);
    ct_free(*c);
    *c = NULL;
}
