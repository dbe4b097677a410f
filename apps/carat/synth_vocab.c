/* The made-up vocabulary: see synth_vocab.h. REF: gemma4-spec 4.2, 4.3, 4.5.
 *
 * Every letter piece can be reached by merging: all strings of up to three letters are pieces, every piece has a merge
 * for each way to cut it in two, and shorter pieces merge before longer ones; so whatever pairs form first, what is
 * left of a four-letter piece are two parts that merge. U+2581 (▁, the space) counts as a letter in first place. */
#include "synth_vocab.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "synth_shapes.h"

#define SPACE "\xe2\x96\x81"

enum { NORMAL = 1, CONTROL = 3, USER = 4, BYTE = 6 }; /* tokenizer.ggml.token_type */
enum { ID_NEWLINE = 107, ID_SPACES = 138, ID_HTML = 168, ID_BYTE = 238, ID_PIECE = 494, ID_THOUGHT = 45518,
       ID_TAB = 255968, ID_UPPER = 255999, MAX_RUN = 31 };
enum { N_TRIPLE = 26 * 26 * 26, N_QUAD = 26 * 26 * 26 * 26, MAX_MERGE = 800000 };

static const struct {
    int32_t id;
    int32_t type;
    const char *text;
} specials[] = {
    {0, CONTROL, "<pad>"},           {1, CONTROL, "<eos>"},           {2, CONTROL, "<bos>"},
    {3, CONTROL, "<unk>"},           {4, CONTROL, "<mask>"},          {5, USER, "[multimodal]"},
    {46, CONTROL, "<|tool>"},        {47, CONTROL, "<tool|>"},        {48, USER, "<|tool_call>"},
    {49, USER, "<tool_call|>"},      {50, USER, "<|tool_response>"},  {51, USER, "<tool_response|>"},
    {52, USER, "<|\"|>"},            {98, CONTROL, "<|think|>"},      {100, USER, "<|channel>"},
    {101, USER, "<channel|>"},       {105, CONTROL, "<|turn>"},       {106, CONTROL, "<turn|>"},
    {255999, CONTROL, "<|image>"},   {256000, CONTROL, "<|audio>"},   {258880, CONTROL, "<|image|>"},
    {258881, CONTROL, "<|audio|>"},  {258882, CONTROL, "<image|>"},   {258883, CONTROL, "<audio|>"},
    {258884, CONTROL, "<|video|>"},  {ID_THOUGHT, NORMAL, "thought"},
};

static const char *const html[] = {
    "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "/table", "/caption", "/thead", "/tbody", "/tfoot",
    "/tr", "/th", "/td", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "/h1", "/h2", "/h3", "/h4", "/h5", "/h6",
    "/blockquote", "strong", "em", "b", "i", "u", "s", "sub", "sup", "code", "/strong", "/em", "/b", "/i", "/u", "/s",
    "/sub", "/sup", "/code", "a", "html", "body", "img", "span", "bbox", "ul", "li", "div", "iframe", "footer", "/a",
    "/html", "/body", "/img", "/span", "/bbox", "/ul", "/li", "/div", "/iframe", "/footer",
};
_Static_assert(ID_HTML + sizeof html / sizeof *html == ID_BYTE, "tags fill their ids");

/* Single characters: ASCII, Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, punctuation, arrows and
 * mathematics, kana, CJK, Hangul, pictures. ▁ is added apart. */
static const uint32_t range[][2] = {
    {0x21, 0x7e},     {0xa1, 0x377},     {0x384, 0x52f},    {0x5d0, 0x5ea},     {0x621, 0x64a},
    {0x905, 0x939},   {0xe01, 0xe3a},    {0x2010, 0x2027},  {0x2190, 0x22ff},   {0x3001, 0x3003},
    {0x3041, 0x3096}, {0x30a1, 0x30fa},  {0x4e00, 0x9fff},  {0xac00, 0xd7a3},   {0x1f300, 0x1f64f},
};

typedef struct {
    ct_arena arena;
    char *room; /* of the current chunk */
    size_t left;
    ct_str *piece;
    int32_t *type;
    ct_str *merge;
    size_t n_merge;
    int32_t next; /* id of the next letter piece or character */
    bool failed;  /* out of memory */
} vocab;

static ct_str keep(vocab *v, const char *s, size_t n) {
    enum { CHUNK = 1 << 20 };
    if (n > v->left) {
        v->room = ct_arena_alloc(&v->arena, CHUNK);
        v->left = v->room ? CHUNK : 0;
        if (n > v->left) {
            v->failed = true;
            return (ct_str){"", 0};
        }
    }
    char *own = v->room;
    memcpy(own, s, n);
    v->room += n;
    v->left -= n;
    return (ct_str){own, n};
}

static void put_piece(vocab *v, int32_t id, int32_t type, const char *s, size_t n) {
    v->piece[id] = keep(v, s, n);
    v->type[id] = type;
}

/* The merge that makes s[0,n) from its first `cut` bytes and the rest. */
static void put_merge(vocab *v, const char *s, size_t n, size_t cut) {
    char text[2 * 3 * MAX_RUN + 2];
    memcpy(text, s, cut);
    text[cut] = ' ';
    memcpy(text + cut + 1, s + cut, n - cut);
    if (v->n_merge == MAX_MERGE) v->failed = true;
    else v->merge[v->n_merge++] = keep(v, text, n + 1);
}

/* ---- fixed ids ---------------------------------------------------------------------------------------- */

static void put_unused(vocab *v, int32_t id, int *number) {
    char text[32];
    if (v->piece[id].len > 0) return;
    put_piece(v, id, USER, text, (size_t)snprintf(text, sizeof text, "<unused%d>", (*number)++));
}

static void put_specials(vocab *v) {
    char text[32];
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        put_piece(v, specials[i].id, specials[i].type, specials[i].text, strlen(specials[i].text));
    }
    for (size_t i = 0; i < sizeof html / sizeof *html; i++) {
        put_piece(v, ID_HTML + (int32_t)i, USER, text, (size_t)snprintf(text, sizeof text, "<%s>", html[i]));
    }
    for (int b = 0; b < 256; b++) {
        put_piece(v, ID_BYTE + b, BYTE, text, (size_t)snprintf(text, sizeof text, "<0x%02X>", (unsigned)b));
    }
    int unused = 0;
    for (int32_t id = 0; id < ID_NEWLINE; id++) put_unused(v, id, &unused);
    for (int32_t id = ID_UPPER; id < SYNTH_VOCAB; id++) put_unused(v, id, &unused);
}

/* Runs of one character, from `first` long to MAX_RUN; the longest merge first, as in the real list. */
static void put_runs(vocab *v, int32_t id, int first, const char *one) {
    const size_t n = strlen(one);
    char text[3 * MAX_RUN + 1];
    for (int k = 0; k < MAX_RUN; k++) memcpy(text + (size_t)k * n, one, n);
    for (int k = first; k <= MAX_RUN; k++) put_piece(v, id + k - first, USER, text, (size_t)k * n);
    for (int k = MAX_RUN; k > 1; k--) {
        for (int cut = k - 1; cut >= 1; cut--) put_merge(v, text, (size_t)k * n, (size_t)cut * n);
    }
}

/* "thought" has a fixed id and more letters than the rest: its merges come first of all, one letter at a time. */
static const char thought[] = "thought";

static void put_thought(vocab *v) {
    for (size_t n = 2; n < sizeof thought; n++) put_merge(v, thought, n, n - 1);
}

static bool is_step_of_thought(const char *s, size_t n, size_t cut) {
    return n < sizeof thought && cut == n - 1 && memcmp(s, thought, n) == 0;
}

/* ---- letter pieces ------------------------------------------------------------------------------------ */

/* The next free id, stepping over "thought"; false at the end of the range. */
static bool next_id(vocab *v, int32_t *id) {
    if (v->next == ID_THOUGHT) v->next++;
    if (v->next >= ID_TAB) return false;
    *id = v->next++;
    return true;
}

/* A piece of an optional ▁ and n letters (number `code` in base 26), with a merge for each place to cut it. */
static void put_letters(vocab *v, bool space, int n, int32_t code) {
    char text[3 + 6];
    size_t len = space ? strlen(SPACE) : 0;
    memcpy(text, SPACE, len);
    const size_t first = space ? len : 1;
    for (int k = n - 1; k >= 0; k--, code /= 26) text[len + (size_t)k] = (char)('a' + code % 26);
    len += (size_t)n;
    int32_t id;
    if (!next_id(v, &id)) {
        v->failed = true;
        return;
    }
    put_piece(v, id, NORMAL, text, len);
    for (size_t cut = first; cut < len; cut++) {
        if (!is_step_of_thought(text, len, cut)) put_merge(v, text, len, cut); /* listed twice, the later one counts */
    }
}

static int32_t n_characters(void) {
    int32_t n = 1; /* ▁ */
    for (size_t r = 0; r < sizeof range / sizeof *range; r++) n += (int32_t)(range[r][1] - range[r][0] + 1);
    return n;
}

static int32_t letters_code(const char *s) {
    int32_t code = 0;
    for (; *s; s++) code = code * 26 + (*s - 'a');
    return code;
}

static void put_letter_pieces(vocab *v, uint64_t seed) {
    for (int32_t c = 0; c < 26; c++) put_letters(v, true, 1, c);
    for (int32_t c = 0; c < 26 * 26; c++) put_letters(v, false, 2, c);
    for (int32_t c = 0; c < 26 * 26; c++) put_letters(v, true, 2, c);
    for (int32_t c = 0; c < N_TRIPLE; c++) put_letters(v, false, 3, c);
    for (int32_t c = 0; c < N_TRIPLE; c++) put_letters(v, true, 3, c);
    /* The parts of "thought" that are longer than three letters. */
    const int32_t thou = letters_code("thou");
    put_letters(v, false, 4, thou);
    int32_t id;
    if (next_id(v, &id)) put_piece(v, id, NORMAL, "thoug", 5);
    if (next_id(v, &id)) put_piece(v, id, NORMAL, "though", 6);
    /* As many of the others as there is room for, in an order that visits each once: the factor has no divisor in
     * common with 26. */
    const int32_t end = ID_TAB - n_characters();
    const uint64_t start = seed % N_QUAD;
    for (uint64_t i = 0; v->next < end; i++) {
        const int32_t code = (int32_t)((start + i * 180311) % N_QUAD);
        if (code != thou) put_letters(v, false, 4, code);
    }
}

static void put_characters(vocab *v) {
    int32_t id;
    if (next_id(v, &id)) put_piece(v, id, NORMAL, SPACE, strlen(SPACE));
    for (size_t r = 0; r < sizeof range / sizeof *range; r++) {
        for (uint32_t cp = range[r][0]; cp <= range[r][1]; cp++) {
            uint8_t text[4];
            const int n = ct_utf8_encode(cp, text);
            if (next_id(v, &id)) put_piece(v, id, NORMAL, (const char *)text, (size_t)n);
        }
    }
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static void put_keys(ct_gguf_writer *w, const vocab *v, const float *score) {
    ct_gguf_put_str(w, "tokenizer.ggml.model", "gemma4", strlen("gemma4"));
    ct_gguf_put_arr_str(w, "tokenizer.ggml.tokens", v->piece, SYNTH_VOCAB);
    ct_gguf_put_arr_f32(w, "tokenizer.ggml.scores", score, SYNTH_VOCAB);
    ct_gguf_put_arr_i32(w, "tokenizer.ggml.token_type", v->type, SYNTH_VOCAB);
    ct_gguf_put_arr_str(w, "tokenizer.ggml.merges", v->merge, v->n_merge);
    ct_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 2);
    ct_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 106);
    ct_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 3);
    ct_gguf_put_u32(w, "tokenizer.ggml.padding_token_id", 0);
    ct_gguf_put_u32(w, "tokenizer.ggml.mask_token_id", 4);
    ct_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    ct_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

int synth_put_vocab(ct_gguf_writer *w, uint64_t seed, carat_error *err) {
    vocab v = {.next = ID_PIECE};
    v.piece = ct_alloc_array(SYNTH_VOCAB, sizeof *v.piece);
    v.type = ct_alloc_array(SYNTH_VOCAB, sizeof *v.type);
    v.merge = ct_alloc_array(MAX_MERGE, sizeof *v.merge);
    float *score = ct_alloc_array(SYNTH_VOCAB, sizeof *score);
    if (v.piece && v.type && v.merge && score) {
        put_specials(&v);
        put_thought(&v);
        put_runs(&v, ID_NEWLINE, 1, "\n");
        put_runs(&v, ID_SPACES, 2, SPACE);
        put_runs(&v, ID_TAB, 1, "\t");
        put_letter_pieces(&v, seed);
        put_characters(&v);
        for (int32_t id = ID_PIECE; id < ID_TAB; id++) score[id] = (float)(ID_PIECE - id);
    } else {
        v.failed = true;
    }
    int rc = 0;
    if (v.failed) rc = CT_FAIL(err, CARAT_ENOMEM, "synth: no memory for a vocabulary of %d tokens", SYNTH_VOCAB);
    else put_keys(w, &v, score);
    ct_free(v.piece);
    ct_free(v.type);
    ct_free(v.merge);
    ct_free(score);
    ct_arena_free(&v.arena);
    return rc;
}
