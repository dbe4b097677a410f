/* Traces of routing and the simulator of caches: files written are read back, broken ones are refused with a line that says
 * where, statistics agree with counting by hand, and Belady's bound is the least that any choice of victims reaches. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "expert_sim.h"
#include "expert_trace.h"
#include "expert_use.h"

static char path[] = "/tmp/carat-experts-XXXXXX";

static int make_path(void **state) {
    (void)state;
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

static int read_text(expert_trace *t, const char *text, size_t n, carat_error *err) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return expert_trace_read(t, path, err);
}

/* ---- the file ---- */

static const char small[] =
    "carat-routes 1\n"
    "layers 3 experts 5 used 2 bytes 1500\n"
    "p 0 3 0 0 1 2 3 4 0 1 2 1 2 1 2\n" /* three tokens, and guesses for layer 1 */
    "p 1 2 1 1 2 3 4\n"                /* the last two tokens only, no guesses */
    "d 3 1 0 4 1 0 3\n"
    "d 3 1 1 0 1\n"
    "end 4\n";

static void trace__holds_what_the_file_says(void **state) {
    (void)state;
    expert_trace t = {0};
    carat_error err;
    for (int file = 0; file < 2; file++) {
        assert_int_equal(read_text(&t, small, sizeof small - 1, &err), 0);
        assert_int_equal(t.n_file, file + 1);
        assert_int_equal(t.n_step, 4 * (size_t)(file + 1));
        const expert_step *s = t.step + 4 * file;
        assert_true(s[0].first && !s[1].first && s[2].first && !s[3].first);
        assert_true(!s[0].decode && s[2].decode && s[0].file == file);
        assert_int_equal(s[1].pos, 1);
        assert_int_equal(s[1].n_tok, 2);
        const uint16_t chosen[] = {0, 1, 2, 3, 4, 0}, ahead[] = {1, 2, 1, 2, 1, 2};
        assert_memory_equal(expert_trace_chosen(&t, &s[0]), chosen, sizeof chosen);
        assert_memory_equal(expert_trace_ahead(&t, &s[0]), ahead, sizeof ahead);
        assert_null(expert_trace_ahead(&t, &s[1]));
        assert_int_equal(expert_trace_ahead(&t, &s[2])[1], 3);
    }
    assert_int_equal(expert_trace_layers(&t), 2);
    assert_int_equal(expert_trace_expert_bytes(&t), 150);
    expert_trace_free(&t);
}

static void trace__splits_into_tokens(void **state) {
    (void)state;
    expert_trace t = {0};
    carat_error err;
    assert_int_equal(read_text(&t, small, sizeof small - 1, &err), 0);
    assert_int_equal(expert_trace_split(&t, &err), 0);
    /* token, layer, its experts; layer 1 has no row of token 0 */
    const int want[][4] = {{0, 0, 0, 1}, {1, 0, 2, 3}, {1, 1, 1, 2}, {2, 0, 4, 0}, {2, 1, 3, 4}, {3, 0, 4, 1}, {3, 1, 0, 1}};
    assert_int_equal(t.n_step, 7);
    for (int i = 0; i < 7; i++) {
        const expert_step *s = &t.step[i];
        assert_true(s->decode && s->n_tok == 1 && s->pos == want[i][0] && s->layer == want[i][1] && s->first == (s->layer == 0));
        assert_int_equal(expert_trace_chosen(&t, s)[0], want[i][2]);
        assert_int_equal(expert_trace_chosen(&t, s)[1], want[i][3]);
        assert_int_equal(expert_trace_ahead(&t, s) != NULL, s->layer == 0);
    }
    expert_trace_free(&t);
}

static void trace__refuses_broken_files(void **state) {
    (void)state;
#define HEAD "carat-routes 1\nlayers 3 experts 5 used 2 bytes 0\n"
    static const struct {
        const char *text, *word;
    } broken[] = {
        {"", "is no trace"},
        {"GGUF\3\0\0\0", "is no trace"},
        {"carat-routesx 1\n", "is no trace"},
        {"carat-routes 2\nlayers 3 experts 5 used 2 bytes 0\n", "version 2"},
        {"carat-routes 1 1\n", "line 1"},
        {"carat-routes 1\n", "line 2"},
        {"carat-routes 1\nlayers 3 experts 5 used 6 bytes 0\n", "line 2"},
        {"carat-routes 1\nlayers 0 experts 5 used 2 bytes 0\n", "line 2"},
        {"carat-routes 1\nlayers 99999999999999999999 experts 5 used 2 bytes 0\n", "line 2"},
        {"carat-routes 1\nlayers 3 experts 5000000 used 2 bytes 0\n", "line 2"},
        {"carat-routes 1\nlayers 3 experts -5 used 2 bytes 0\n", "line 2"},
        {"carat-routes 1\nlayers 3 experts 5 used 2 bytes 0 x\n", "line 2"},
        {HEAD, "line 3: the file is cut short"},
        {HEAD "end 0\n", "empty"},
        {HEAD "x 0 1 0 1 2\nend 1\n", "expected p, d or end"},
        {HEAD "d\nend 1\n", "position"},
        {HEAD "d 0 0 0 1 2\nend 1\n", "number of tokens"},
        {HEAD "d 0 65537 0 1 2\nend 1\n", "number of tokens"},
        {HEAD "d 0 60000 0 1 2\nend 1\n", "too few experts"},
        {HEAD "d 99999999999 1 0 1 2\nend 1\n", "position"},
        {HEAD "d 0 1 3 1 2\nend 1\n", "layer"},
        {HEAD "d 0 1 0 1 5\nend 1\n", "below that of the experts"},
        {HEAD "d 0 1 0 1 -1\nend 1\n", "below that of the experts"},
        {HEAD "d 0 1 0 1 2x\nend 1\n", "below that of the experts"},
        {HEAD "d 0 1 0 3 3\nend 1\n", "twice"},
        {HEAD "d 0 1 0 1\nd 0 1 1 1 2\nend 2\n", "too few experts"},
        {HEAD "d 0 1 0 1 2 3\nend 1\n\n\n", "too few experts"},
        {HEAD "d 0 1 0 1 2 3 4 0\nend 1\n", "more experts"},
        {HEAD "d 0 1 0 1 2", "cut short"},
        {HEAD "d 0 1 0 1 2\nd 1 1 1 1 2\nend 2\n", "line 4: a layer of the same chunk"},
        {HEAD "p 0 1 0 1 2\nd 0 1 1 1 2\nend 2\n", "a layer of the same chunk"},
        {HEAD "d 0 1 0 1 2\n", "line 4: the file is cut short"},
        {HEAD "d 0 1 0 1 2\nend 2\n", "counts other lines"},
        {HEAD "d 0 1 0 1 2\nend 1", "counts other lines"},
        {HEAD "d 0 1 0 1 2\nend 1\nmore", "behind the end"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        expert_trace t = {0};
        carat_error err = {0};
        assert_int_equal(read_text(&t, broken[i].text, strlen(broken[i].text), &err), CARAT_EFORMAT);
        if (!strstr(err.msg, broken[i].word)) fail_msg("\"%s\" does not say \"%s\"", err.msg, broken[i].word);
        assert_non_null(strstr(err.msg, path));
        expert_trace_free(&t);
    }
    expert_trace t = {0};
    carat_error err = {0};
    assert_int_equal(read_text(&t, small, sizeof small - 1, &err), 0);
    static const char other[] = HEAD "d 0 1 0 1 2\nend 1\n";
    assert_int_equal(read_text(&t, other, sizeof other - 1, &err), CARAT_EFORMAT);
    assert_non_null(strstr(err.msg, "another model"));
    expert_trace_free(&t);
    assert_int_equal(expert_trace_read(&t, "/nonexistent/trace", &err), CARAT_EIO);
}

/* Every cut of the file, and every byte replaced, is refused or harmless. */
static void trace__survives_any_damage(void **state) {
    (void)state;
    carat_error err;
    for (size_t n = 0; n < sizeof small - 1; n++) {
        expert_trace t = {0};
        assert_int_not_equal(read_text(&t, small, n, &err), 0);
        expert_trace_free(&t);
    }
    char text[sizeof small];
    int n_read = 0;
    for (size_t i = 0; i < sizeof small - 1; i++) {
        static const char with[] = "\0 \n079-p";
        for (size_t k = 0; k < sizeof with - 1; k++) {
            memcpy(text, small, sizeof small);
            text[i] = with[k];
            expert_trace t = {0};
            expert_requests q;
            n_read += read_text(&t, text, sizeof small - 1, &err) == 0;
            if (t.n_file && expert_requests_of(&q, &t, &err) == 0) expert_requests_free(&q);
            expert_trace_free(&t);
        }
    }
    assert_true(n_read > 20); /* other numbers are other traces */
}

/* ---- use ---- */

/* n_tok tokens decoded one by one through n_layer layers; experts drawn with a preference for low numbers, so that some are
 * frequent. Chunks of n_chunk in front where n_chunk > 0. */
static void draw(expert_trace *t, uint64_t seed, int n_layer, int n_expert, int n_used, int n_tok, int n_chunk) {
    ct_rng rng;
    ct_rng_seed(&rng, seed);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "carat-routes 1\nlayers %d experts %d used %d bytes 0\n", n_layer, n_expert, n_used);
    int n_line = 0;
    for (int pos = 0; pos < n_tok;) {
        const int n = pos == 0 && n_chunk ? n_chunk : 1;
        for (int l = 0; l < n_layer; l++, n_line++) {
            fprintf(f, "%s %d %d %d", n > 1 ? "p" : "d", pos, n, l);
            for (int row = 0; row < (l + 1 < n_layer ? 2 : 1) * n; row++) {
                unsigned used = 0;
                for (int j = 0; j < n_used;) {
                    const int e = (int)(ct_rng_uniform(&rng) * ct_rng_uniform(&rng) * n_expert);
                    if (used >> e & 1) continue;
                    used |= 1u << e;
                    fprintf(f, " %d", e);
                    j++;
                }
            }
            fputc('\n', f);
        }
        pos += n;
    }
    fprintf(f, "end %d\n", n_line);
    assert_int_equal(fclose(f), 0);
    carat_error err;
    *t = (expert_trace){0};
    if (expert_trace_read(t, path, &err)) fail_msg("%s", err.msg);
}

static void use__working_sets_are_counted_by_hand(void **state) {
    (void)state;
    expert_trace t;
    carat_error err;
    draw(&t, 3, 3, 12, 2, 70, 9);
    expert_facts f;
    assert_int_equal(expert_facts_of(&f, &t, &err), 0);
    assert_int_equal(f.n_tok[0], 9);
    assert_int_equal(f.n_tok[1], 61);
    /* Rows of each layer in order. */
    const uint16_t *row[3][70], *said[3][70];
    int n[3] = {0};
    for (size_t i = 0; i < t.n_step; i++) {
        const expert_step *s = &t.step[i];
        for (int r = 0; r < s->n_tok; r++) {
            row[s->layer][n[s->layer]] = expert_trace_chosen(&t, s) + 2 * r;
            said[s->layer][n[s->layer]++] = s->has_ahead ? expert_trace_ahead(&t, s) + 2 * r : NULL;
        }
    }
    for (int w = 0; w < EXPERT_N_WINDOW; w++) {
        double sum = 0.0;
        int n_window = 0;
        for (int l = 0; l < 3; l++) {
            for (int from = 0; from + expert_window[w] <= 70; from++, n_window++) {
                unsigned seen = 0;
                for (int i = from; i < from + expert_window[w]; i++) seen |= 1u << row[l][i][0] | 1u << row[l][i][1];
                for (; seen; seen &= seen - 1) sum += 1.0;
            }
        }
        assert_float_equal(f.working_set[w], n_window ? sum / n_window : 0.0, 1e-9);
    }
    int repeated = 0, right = 0;
    for (int l = 0; l < 3; l++) {
        for (int i = 0; i < 70; i++) {
            for (int j = 0; j < 2; j++) {
                repeated += i && (row[l][i][j] == row[l][i - 1][0] || row[l][i][j] == row[l][i - 1][1]);
                right += l && (row[l][i][j] == said[l - 1][i][0] || row[l][i][j] == said[l - 1][i][1]);
            }
        }
    }
    assert_float_equal(f.repeated, repeated / (3 * 69 * 2.0), 1e-9);
    assert_float_equal(f.ahead, right / (2 * 70 * 2.0), 1e-9);
    uint64_t evals = 0;
    for (int e = 0; e < 12; e++) evals += f.count[12 + e];
    assert_int_equal(evals, 140);
    assert_int_equal(f.use[1].evals, 140);
    expert_facts_free(&f);
    expert_trace_free(&t);
    const uint64_t even[4] = {5, 5, 5, 5}, one[4] = {0, 9, 0, 0};
    assert_float_equal(expert_use_of(even, 4).entropy, 2.0, 1e-9);
    assert_float_equal(expert_use_of(one, 4).entropy, 0.0, 1e-9);
    assert_int_equal(expert_use_of(one, 4).used, 1);
}

/* ---- the simulator ---- */

/* Least loads of any choice of victims: tries all sets of residents that can follow. Keys as bits. */
enum { MAX_SETS = 1 << 12 };
static int least_loads(const expert_requests *q, int n_slot) {
    static int cost[MAX_SETS], next[MAX_SETS];
    for (int i = 0; i < MAX_SETS; i++) cost[i] = -1;
    cost[0] = 0;
    for (size_t i = 0; i < q->t->n_step; i++) {
        unsigned need = 0;
        for (size_t k = q->first[i]; k < q->first[i + 1]; k++) need |= 1u << q->request[k].key;
        for (int s = 0; s < MAX_SETS; s++) next[s] = -1;
        for (unsigned s = 0; s < MAX_SETS; s++) {
            if (cost[s] < 0) continue;
            /* Afterwards: any part of what was there or is needed, all of the needed in it, that fits. Leaving a slot empty
             * gains nothing, but is no harm to try. */
            for (unsigned keep = s & ~need;; keep = (keep - 1) & (s & ~need)) {
                const unsigned after = keep | need;
                if (__builtin_popcount(after) <= n_slot) {
                    const int c = cost[s] + __builtin_popcount(need & ~s);
                    if (next[after] < 0 || c < next[after]) next[after] = c;
                }
                if (keep == 0) break;
            }
        }
        memcpy(cost, next, sizeof cost);
    }
    int best = -1;
    for (int s = 0; s < MAX_SETS; s++) {
        if (cost[s] >= 0 && (best < 0 || cost[s] < best)) best = cost[s];
    }
    return best;
}

static int64_t loads(const expert_requests *q, expert_policy p) {
    expert_outcome o;
    carat_error err;
    assert_int_equal(expert_replay(&o, q, &p, &err), 0);
    int64_t uses = 0;
    for (int i = 0; i < 2; i++) {
        uses += o.phase[i].uses;
        if (!p.prefetch) assert_int_equal(o.phase[i].uses, o.phase[i].hits + o.phase[i].loads);
    }
    assert_int_equal(uses, q->first[q->t->n_step]);
    assert_int_equal(o.file_uses[0], o.phase[1].uses);
    assert_int_equal(o.file_hits[0], o.phase[1].hits);
    const int64_t n = o.phase[0].loads + o.phase[1].loads;
    expert_outcome_free(&o);
    return n;
}

static void sim__belady_is_the_least_that_can_be_read(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (int n_slot = 3; n_slot <= 9; n_slot += 2) {
            expert_trace t;
            expert_requests q;
            carat_error err;
            draw(&t, seed, 2, 6, seed % 2 ? 1 : 2, 24, seed % 3 ? 0 : 2);
            assert_int_equal(expert_requests_of(&q, &t, &err), 0);
            const int64_t belady = loads(&q, (expert_policy){.kind = EXPERT_BELADY, .n_slot = n_slot});
            if (n_slot >= q.most) assert_int_equal(belady, least_loads(&q, n_slot));
            const expert_policy other[] = {{.kind = EXPERT_LRU}, {.kind = EXPERT_LAYER_LRU}, {.kind = EXPERT_DECAY, .half_life = 8.0}};
            for (int i = 0; i < 3; i++) {
                expert_policy p = other[i];
                p.n_slot = n_slot;
                assert_true(loads(&q, p) >= belady);
            }
            expert_requests_free(&q);
            expert_trace_free(&t);
        }
    }
}

static void sim__where_all_fits_everything_is_read_once(void **state) {
    (void)state;
    expert_trace t;
    expert_requests q;
    carat_error err;
    draw(&t, 9, 4, 10, 3, 60, 12);
    assert_int_equal(expert_requests_of(&q, &t, &err), 0);
    bool seen[40] = {false};
    int64_t n = 0;
    for (size_t i = 0; i < q.first[t.n_step]; i++) {
        n += !seen[q.request[i].key];
        seen[q.request[i].key] = true;
    }
    for (int kind = EXPERT_DECAY; kind <= EXPERT_BELADY; kind++) {
        assert_int_equal(loads(&q, (expert_policy){.kind = (expert_kind)kind, .half_life = 8.0, .n_slot = 40}), n);
        /* Fewer slots than a layer's chunk asks for: it goes on, reading more. */
        assert_true(loads(&q, (expert_policy){.kind = (expert_kind)kind, .half_life = 8.0, .n_slot = 2}) > n);
        assert_int_equal(loads(&q, (expert_policy){.kind = (expert_kind)kind, .half_life = 8.0, .n_slot = 0}), q.first[t.n_step]);
    }
    for (int32_t n_slot = 1; n_slot < 40; n_slot += 3) {
        (void)loads(&q, (expert_policy){.kind = EXPERT_DECAY, .half_life = 8.0, .n_slot = n_slot, .prefetch = true, .guesses = true});
    }
    expert_requests_free(&q);
    expert_trace_free(&t);
}

/* Two layers in turn, one token a chunk: hand-made. */
static void sim__policies_do_what_they_are_named_for(void **state) {
    (void)state;
    /* Layer 0 always uses expert 0; layer 1 goes 0 1 0 2 0 3. Three slots. */
    static const char text[] =
        "carat-routes 1\nlayers 2 experts 4 used 1 bytes 0\n"
        "d 0 1 0 0 0\nd 0 1 1 0\nd 1 1 0 0 1\nd 1 1 1 1\nd 2 1 0 0 0\nd 2 1 1 0\n"
        "d 3 1 0 0 1\nd 3 1 1 2\nd 4 1 0 0 0\nd 4 1 1 0\nd 5 1 0 0 3\nd 5 1 1 3\nend 12\n";
    expert_trace t = {0};
    expert_requests q;
    expert_outcome o;
    carat_error err;
    assert_int_equal(read_text(&t, text, sizeof text - 1, &err), 0);
    assert_int_equal(expert_requests_of(&q, &t, &err), 0);
    /* Read once each: layer 0's, and 0 1 2 3 of layer 1. */
    assert_int_equal(loads(&q, (expert_policy){.kind = EXPERT_BELADY, .n_slot = 3}), 5);
    assert_int_equal(loads(&q, (expert_policy){.kind = EXPERT_LRU, .n_slot = 3}), 5);
    /* Two slots: one for layer 0, one where layer 1's push out each other. */
    assert_int_equal(loads(&q, (expert_policy){.kind = EXPERT_LAYER_LRU, .n_slot = 2}), 7);
    assert_int_equal(loads(&q, (expert_policy){.kind = EXPERT_LRU, .n_slot = 2}), 7);
    /* Guesses are right but for token 3 (1 is said, 2 is used); what is said of token 2 and 4 is resident. */
    const expert_policy p = {.kind = EXPERT_DECAY, .half_life = INFINITY, .n_slot = 3, .guesses = true};
    assert_int_equal(expert_replay(&o, &q, &p, &err), 0);
    assert_int_equal(o.misses, 5);
    assert_int_equal(o.guessed[EXPERT_GUESS_AHEAD], 3);
    assert_int_equal(o.right[EXPERT_GUESS_AHEAD], 3);
    assert_int_equal(o.right[EXPERT_GUESS_BEFORE], 0);
    expert_outcome_free(&o);
    /* Read ahead: only what layer 0 needs first, and token 3's, is waited for. The wrong guess at token 3 holds its slot, so
     * that expert 0 has to go, and is read again. */
    const expert_policy ahead = {.kind = EXPERT_DECAY, .half_life = INFINITY, .n_slot = 3, .prefetch = true};
    assert_int_equal(expert_replay(&o, &q, &ahead, &err), 0);
    assert_int_equal(o.phase[1].hits, 10);
    assert_int_equal(o.phase[1].loads, 6);
    expert_outcome_free(&o);
    expert_requests_free(&q);
    expert_trace_free(&t);
}

static void use__of_the_last_tokens_is_counted_by_hand(void **state) {
    (void)state;
    expert_recent r = {0};
    assert_true(expert_recent_set(&r, 1) == 0.0);
    assert_true(expert_recent_init(&r, 3, 6));
    assert_true(expert_recent_set(&r, 1) == 0.0);
    const int32_t prompt[] = {0, 1, 1, 2, 2, 3}, one[] = {0, 1}, two[] = {5, 4};
    expert_recent_note(&r, 0, 3, 2, prompt);
    expert_recent_note(&r, 0, 1, 2, one);
    expert_recent_note(&r, 2, 1, 2, two); /* layer 1 has no experts */
    assert_true(expert_recent_set(&r, 1) == 2.0);
    assert_true(expert_recent_set(&r, 2) == 4.0); /* layer 0 alone had two tokens: 2, 3 and 0, 1 */
    assert_true(expert_recent_set(&r, 3) == 4.0);
    expert_recent_note(&r, 2, 1, 2, two);
    assert_true(expert_recent_set(&r, 2) == 3.0); /* 4 and 2 */
    assert_true(expert_recent_set(&r, 5) == 0.0);
    expert_recent_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace__holds_what_the_file_says),
        cmocka_unit_test(trace__splits_into_tokens),
        cmocka_unit_test(trace__refuses_broken_files),
        cmocka_unit_test(trace__survives_any_damage),
        cmocka_unit_test(use__working_sets_are_counted_by_hand),
        cmocka_unit_test(use__of_the_last_tokens_is_counted_by_hand),
        cmocka_unit_test(sim__belady_is_the_least_that_can_be_read),
        cmocka_unit_test(sim__where_all_fits_everything_is_read_once),
        cmocka_unit_test(sim__policies_do_what_they_are_named_for),
    };
    return cmocka_run_group_tests_name("experts", tests, make_path, remove_path);
}
