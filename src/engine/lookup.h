/* Prompt lookup: guess what comes next from where the same words stood before.
 *
 * The unit knows no model. It indexes a text of tokens by pairs, finds the earlier place whose preceding tokens agree
 * longest with the end of the text, and takes what followed there as the guess. It also learns, from guesses never
 * evaluated as well as from those that were, how often a match of some length comes true, and from the times it is told
 * what a row more of a pass costs; with both it says how many tokens are worth guessing.
 *
 * Guesses never decide a token: the session evaluates them beside the last token, and they only count where the sampler
 * chooses the same. So a bad guess costs time, never an answer.
 *
 * Allocates in ct_lookup_init alone. Every call is bounded: a search looks at most at CT_LOOKUP_TRIES places. */
#ifndef CT_ENGINE_LOOKUP_H
#define CT_ENGINE_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define CT_LOOKUP_TRIES 64   /* places compared by one search */
#define CT_LOOKUP_CLASSES 6  /* of match lengths: 2, 3, 4, 5-6, 7-11, 12 and more */

typedef struct {
    const int32_t *tok;   /* [cap] the text, borrowed; [0, n) is indexed */
    int32_t n, cap;
    int32_t n_max;        /* tokens of a guess at most */
    int32_t *head;        /* [n_head] last place of a pair of this hash; -1 none */
    int32_t *prev;        /* [cap] the place before of the same hash */
    uint32_t mask;        /* n_head - 1, a power of two less one */
    int32_t at, len;      /* the match: tok[at - len, at) equals the last len tokens; len 0: none */
    struct {
        float p;          /* how often the token behind a match of this class was right */
        float weight;     /* observations behind p, up to a limit: old ones fade */
    } cls[CT_LOOKUP_CLASSES];
    double plain_ms;      /* a pass of one row; 0 = not seen yet */
    double slope;         /* cost of a row more, as a part of plain_ms */
    double slope_weight;  /* observations behind it, up to a limit */
    int32_t since_plain;  /* passes with guesses since the last without */
} ct_lookup;

/* Bytes the index of a text of up to cap tokens takes. */
size_t ct_lookup_bytes(int32_t cap);
/* Keeps tok [cap]: its owner writes it, and tells with push and cut what is text. */
int ct_lookup_init(ct_lookup *l, const int32_t *tok, int32_t cap, int32_t n_max, carat_error *err);
void ct_lookup_free(ct_lookup *l);

/* Forget the text from n on. To be called before tok[n…] is overwritten. */
void ct_lookup_cut(ct_lookup *l, int32_t n);
/* tok[0, n) is the text now; n not less than before. A single new token is also held against the match before it. */
void ct_lookup_push(ct_lookup *l, int32_t n);

/* Tokens that may follow, into out [room]: as many as pay, or with `always` as many as there are. Returns their number,
 * at most n_max and room; 0: no match, or none worth it. */
int32_t ct_lookup_guess(const ct_lookup *l, int32_t *out, int32_t room, bool always);
/* A pass over n_row rows (the last token and n_row - 1 guesses) took this long. */
void ct_lookup_timed(ct_lookup *l, int32_t n_row, double ms);

#endif
