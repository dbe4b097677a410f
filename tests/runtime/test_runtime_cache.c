/* The replacement policy: its limits are LRU and LFU as textbooks have them, between them it agrees with a model that keeps
 * every use there ever was, and what is particular to a walk over layers holds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "runtime/cache.h"

static void *make(ct_cache *c, int32_t n_slot, int32_t n_layer, int32_t n_expert, double half_life) {
    void *memory = ct_alloc(ct_cache_bytes(n_slot, n_layer, n_expert));
    assert_non_null(memory);
    ct_cache_init(c, memory, n_slot, n_layer, n_expert, half_life);
    return memory;
}

/* Find the key, or put it there; its use is told before, as the live cache does. True: it was there. Afterwards it is not pinned. */
static bool fetch(ct_cache *c, int32_t key) {
    if (ct_cache_find(c, key) >= 0) return true;
    const int32_t slot = ct_cache_take(c, key);
    assert_true(slot >= 0);
    ct_cache_unpin(c, slot);
    return false;
}

/* One layer, a token a letter: its hits as letters in capitals, misses as they are. */
static void replay_letters(ct_cache *c, const char *trace, char *seen) {
    for (; *trace; trace++) {
        const int32_t key = *trace - 'a';
        ct_cache_enter(c, 0, 1);
        ct_cache_use(c, key, 1);
        *seen++ = fetch(c, key) ? (char)(*trace - 'a' + 'A') : *trace;
    }
    *seen = '\0';
}

static void cache__without_memory_is_lru(void **state) {
    (void)state;
    ct_cache c;
    char seen[64];
    void *memory = make(&c, 3, 1, 8, 0.0);
    replay_letters(&c, "abcdabeabcde", seen); /* Belady's own example: ten faults with three frames */
    assert_string_equal(seen, "abcdabeABcde");
    replay_letters(&c, "cdecdafcd", seen); /* c, d, e are there; a, f push the oldest out */
    assert_string_equal(seen, "CDECDafcd");
    ct_free(memory);
    memory = make(&c, 4, 1, 8, 0.0);
    replay_letters(&c, "aaaabcdeabcd", seen); /* four uses do not save a from a scan of five keys */
    assert_string_equal(seen, "aAAAbcdeabcd");
    ct_free(memory);
}

static void cache__with_endless_memory_is_lfu(void **state) {
    (void)state;
    ct_cache c;
    char seen[64];
    void *memory = make(&c, 2, 1, 8, INFINITY);
    replay_letters(&c, "aaabcbcba", seen); /* a is never pushed out; b and c, once and twice, push out each other */
    assert_string_equal(seen, "aAAbcbcbA");
    replay_letters(&c, "bbbbbbbbcccca", seen); /* b overtakes a; what was not resident has kept its count: c passes a too */
    assert_string_equal(seen, "BBBBBBBBcCCCa");
    ct_free(memory);
}

static void cache__forgets_by_half_lives(void **state) {
    (void)state;
    /* a is used 8 times at once, then b once, 3 half-lives later less one token or more one: only then b is worth more. */
    for (int more = -1; more <= 1; more += 2) {
        ct_cache c;
        void *memory = make(&c, 2, 1, 4, 10.0);
        ct_cache_enter(&c, 0, 1);
        ct_cache_use(&c, 0, 8);
        fetch(&c, 0);
        ct_cache_enter(&c, 0, 30 + more);
        ct_cache_use(&c, 1, 1);
        fetch(&c, 1);
        ct_cache_enter(&c, 0, 5); /* both grow older alike */
        ct_cache_use(&c, 2, 1);
        fetch(&c, 2);
        assert_int_equal(ct_cache_find(&c, 0) >= 0, more < 0);
        assert_int_equal(ct_cache_find(&c, 1) >= 0, more > 0);
        ct_free(memory);
    }
}

/* ---- a model that remembers all ---- */

enum { M_LAYER = 5, M_EXPERT = 6, M_KEY = M_LAYER * M_EXPERT, M_USE = 4000 };

typedef struct {
    double half_life;
    int64_t clock[M_LAYER];
    struct {
        int64_t at;
        int weight;
    } use[M_KEY][M_USE];
    int n_use[M_KEY];
    bool resident[M_KEY];
    int n_pin[M_KEY];
} model;

/* Sum of all uses, halved each half-life. */
static double worth(const model *m, int key) {
    double sum = 0.0;
    for (int i = 0; i < m->n_use[key]; i++) {
        const double age = (double)(m->clock[key / M_EXPERT] - m->use[key][i].at);
        sum += m->use[key][i].weight * (m->half_life > 0.0 ? exp2(-age / m->half_life) : exp2(-32.0 * age));
    }
    return sum;
}

static bool same_history(const model *m, int a, int b) {
    if (m->n_use[a] != m->n_use[b]) return false;
    for (int i = 0; i < m->n_use[a]; i++) {
        if (m->use[a][i].weight != m->use[b][i].weight ||
            m->clock[a / M_EXPERT] - m->use[a][i].at != m->clock[b / M_EXPERT] - m->use[b][i].at) return false;
    }
    return true;
}

/* Is `gone` a victim the rules allow: unpinned, nothing is worth less, and of equals it is the last to be needed. */
static void check_victim(const model *m, int gone, int layer_now) {
    assert_true(m->resident[gone] && m->n_pin[gone] == 0);
    const double w = worth(m, gone);
    const int ahead = (gone / M_EXPERT - layer_now + M_LAYER - 1) % M_LAYER;
    for (int k = 0; k < M_KEY; k++) {
        if (!m->resident[k] || m->n_pin[k]) continue;
        assert_true(w <= worth(m, k) * (1.0 + 1e-5));
        if (same_history(m, gone, k)) assert_true(ahead >= (k / M_EXPERT - layer_now + M_LAYER - 1) % M_LAYER);
    }
}

static void run_model(double half_life, int32_t n_slot, uint64_t seed) {
    static model m;
    memset(&m, 0, sizeof m);
    m.half_life = half_life;
    ct_rng rng;
    ct_rng_seed(&rng, seed);
    ct_cache c;
    void *memory = make(&c, n_slot, M_LAYER, M_EXPERT, half_life);
    int n_resident = 0, n_full = 0, n_evicted = 0;
    for (int step = 0; step < 600; step++) {
        const int layer = step % M_LAYER, n_tok = ct_rng_u64(&rng) % 8 == 0 ? 40 : 1;
        ct_cache_enter(&c, layer, n_tok);
        m.clock[layer] += n_tok;
        for (int i = 0; i < 4; i++) {
            /* Mostly the layer's own experts, sometimes a guess for another layer, which counts as no use. */
            const bool guess = ct_rng_u64(&rng) % 6 == 0;
            const int in = guess ? (layer + 1) % M_LAYER : layer;
            const int key = in * M_EXPERT + (int)(ct_rng_uniform(&rng) * ct_rng_uniform(&rng) * M_EXPERT);
            if (!guess) {
                const int weight = 1 + (int)(ct_rng_u64(&rng) % (uint64_t)n_tok);
                ct_cache_use(&c, key, weight);
                m.use[key][m.n_use[key]].at = m.clock[in];
                m.use[key][m.n_use[key]++].weight = weight;
            }
            assert_int_equal(ct_cache_find(&c, key) >= 0, m.resident[key]);
            if (m.resident[key]) {
                if (ct_rng_u64(&rng) % 2) {
                    ct_cache_pin(&c, ct_cache_find(&c, key));
                    m.n_pin[key]++;
                }
                continue;
            }
            int was[M_KEY], n_free = 0;
            for (int s = 0; s < n_slot; s++) was[s] = ct_cache_key_of(&c, s);
            for (int k = 0; k < M_KEY; k++) n_free += m.resident[k] && m.n_pin[k] == 0;
            const int32_t slot = ct_cache_take(&c, key);
            if (n_resident == n_slot && n_free == 0) {
                assert_int_equal(slot, -1);
                assert_int_equal(ct_cache_find(&c, key), -1);
                n_full++;
                continue;
            }
            assert_true(slot >= 0 && ct_cache_find(&c, key) == slot && ct_cache_key_of(&c, slot) == key);
            if (was[slot] >= 0) {
                assert_int_equal(n_resident, n_slot); /* nothing goes while there is an empty slot */
                check_victim(&m, was[slot], layer);
                assert_int_equal(ct_cache_find(&c, was[slot]), -1);
                m.resident[was[slot]] = false;
                n_resident--;
                n_evicted++;
            }
            m.resident[key] = true;
            n_resident++;
            if (ct_rng_u64(&rng) % 16 == 0) { /* could not be read */
                ct_cache_drop(&c, slot);
                m.resident[key] = false;
                n_resident--;
            } else if (ct_rng_u64(&rng) % 2) {
                m.n_pin[key] = 1; /* remains pinned */
            } else {
                ct_cache_unpin(&c, slot);
            }
        }
        if (ct_rng_u64(&rng) % 3) continue;
        for (int k = 0; k < M_KEY; k++) {
            for (; m.n_pin[k]; m.n_pin[k]--) ct_cache_unpin(&c, ct_cache_find(&c, k));
        }
    }
    assert_true(n_evicted > 100);
    if (n_slot < 10) assert_true(n_full > 10);
    ct_free(memory);
}

static void cache__agrees_with_a_model_that_remembers_every_use(void **state) {
    (void)state;
    const double half_life[] = {0.0, 0.5, 3.0, 10.7, 64.0, 1000.0, INFINITY};
    for (size_t h = 0; h < sizeof half_life / sizeof *half_life; h++) {
        run_model(half_life[h], 7, 11 + h);
        run_model(half_life[h], 15, 101 + h);
    }
}

/* ---- the walk over layers ---- */

/* Chunks that use every expert of every layer; hits of the last half. weight: NULL = all alike. */
static double scan(int32_t n_slot, double half_life, int n_tok, ct_rng *weight) {
    enum { L = 6, E = 8, CHUNKS = 60 };
    ct_cache c;
    void *memory = make(&c, n_slot, L, E, half_life);
    int n_hit = 0;
    for (int i = 0; i < CHUNKS * L; i++) {
        const int32_t layer = i % L;
        ct_cache_enter(&c, layer, n_tok);
        for (int32_t e = 0; e < E; e++) {
            const int32_t key = ct_cache_key(&c, layer, e);
            ct_cache_use(&c, key, weight ? 1 + (int32_t)(ct_rng_u64(weight) % (uint64_t)n_tok) : n_tok);
            if (ct_cache_find(&c, key) < 0) continue;
            ct_cache_pin(&c, ct_cache_find(&c, key));
            n_hit += i >= CHUNKS / 2 * L;
        }
        for (int32_t e = 0; e < E; e++) {
            const int32_t key = ct_cache_key(&c, layer, e);
            if (ct_cache_find(&c, key) < 0) assert_true(ct_cache_take(&c, key) >= 0);
        }
        for (int32_t e = 0; e < E; e++) ct_cache_unpin(&c, ct_cache_find(&c, ct_cache_key(&c, layer, e)));
    }
    ct_free(memory);
    return (double)n_hit / (CHUNKS / 2 * L * E);
}

static void cache__keeps_its_share_when_every_chunk_uses_all(void **state) {
    (void)state;
    const double half_life[] = {0.0, 1.0, 32.0, 128.0, INFINITY};
    for (size_t h = 0; h < sizeof half_life / sizeof *half_life; h++) {
        for (int n_slot = 8; n_slot <= 48; n_slot += 8) {
            /* The layer at work occupies 8 slots; what the others keep can be hit. More than that, of what the circle has
             * left, is impossible when all uses weigh the same. */
            const double kept = (n_slot - 8.0) / 48.0, most = (n_slot - 8.0) / (48.0 - 8.0);
            const double alike = scan(n_slot, half_life[h], 256, NULL);
            if (alike < kept - 1e-6 || alike > most + 0.01) fail_msg("H %g, %d slots: %.3f hit", half_life[h], n_slot, alike);
            ct_rng rng;
            ct_rng_seed(&rng, 5);
            const double random = scan(n_slot, half_life[h], 256, &rng);
            if (random < kept - 0.02) fail_msg("H %g, %d slots: %.3f of random uses hit", half_life[h], n_slot, random);
        }
    }
}

static void cache__of_equals_the_layer_that_is_needed_last_goes(void **state) {
    (void)state;
    const double half_life[] = {0.0, 7.0, INFINITY};
    for (size_t h = 0; h < 3; h++) {
        for (int32_t now = 0; now < 4; now++) {
            ct_cache c;
            void *memory = make(&c, 4, 4, 3, half_life[h]);
            /* Many tokens before: histories are equal though they began at different times. */
            for (int32_t i = 0; i < 4 * 1000 + now + 1; i++) {
                ct_cache_enter(&c, i % 4, 1);
                ct_cache_use(&c, ct_cache_key(&c, i % 4, 0), 1);
                if (i < 4) fetch(&c, ct_cache_key(&c, i % 4, 0));
            }
            if (half_life[h] > 100.0) { /* LFU: the layers up to the present one have one use more */
                for (int32_t l = now + 1; l < 4; l++) ct_cache_use(&c, ct_cache_key(&c, l, 0), 1);
            }
            /* Two new keys: the present layer's goes, then the one's before it. */
            for (int32_t back = 0; back < 2; back++) {
                assert_true(ct_cache_take(&c, ct_cache_key(&c, now, 1 + back)) >= 0);
                for (int32_t l = 0; l < 4; l++) {
                    assert_int_equal(ct_cache_find(&c, ct_cache_key(&c, l, 0)) < 0, (now - l + 4) % 4 <= back);
                }
            }
            ct_free(memory);
        }
    }
}

static void cache__a_guess_that_was_never_used_goes_first(void **state) {
    (void)state;
    ct_cache c;
    void *memory = make(&c, 3, 2, 4, 16.0);
    for (int32_t e = 0; e < 2; e++) {
        ct_cache_enter(&c, 0, 1);
        ct_cache_use(&c, e, 1);
        fetch(&c, e);
    }
    const int32_t slot = ct_cache_take(&c, ct_cache_key(&c, 1, 3)); /* pinned while it is loading */
    ct_cache_enter(&c, 0, 1000);
    ct_cache_use(&c, 2, 1);
    fetch(&c, 2);
    assert_int_equal(ct_cache_find(&c, 7), slot);
    assert_int_equal(ct_cache_find(&c, 0), -1);
    ct_cache_unpin(&c, slot);
    ct_cache_use(&c, 3, 1);
    fetch(&c, 3);
    assert_int_equal(ct_cache_find(&c, 7), -1);
    assert_true(ct_cache_find(&c, 1) >= 0);
    ct_free(memory);
}

static void cache__without_slots_has_none_to_give(void **state) {
    (void)state;
    ct_cache c;
    void *memory = make(&c, 0, 2, 4, 16.0);
    ct_cache_enter(&c, 1, 1);
    ct_cache_use(&c, 5, 1);
    assert_int_equal(ct_cache_find(&c, 5), -1);
    assert_int_equal(ct_cache_take(&c, 5), -1);
    ct_free(memory);
}

/* 2^33 tokens: years of decoding. Scores neither overflow nor lose what tells them apart. */
static void cache__lives_long(void **state) {
    (void)state;
    const double half_life[] = {0.0, 0.1, 64.0};
    for (size_t h = 0; h < 3; h++) {
        ct_cache c;
        void *memory = make(&c, 2, 1, 4, half_life[h]);
        for (int i = 0; i < 7; i++) ct_cache_enter(&c, 0, 1 << 30);
        for (int32_t e = 0; e < 3; e++) {
            ct_cache_enter(&c, 0, 1);
            ct_cache_use(&c, e, 1);
            if (e < 2) fetch(&c, e);
        }
        fetch(&c, 2);
        assert_int_equal(ct_cache_find(&c, 0), -1);
        const int32_t slot = ct_cache_take(&c, 3); /* used never */
        assert_int_equal(ct_cache_find(&c, 1), -1);
        ct_cache_unpin(&c, slot);
        fetch(&c, 0);
        assert_int_equal(ct_cache_find(&c, 3), -1);
        ct_free(memory);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache__without_memory_is_lru),
        cmocka_unit_test(cache__with_endless_memory_is_lfu),
        cmocka_unit_test(cache__forgets_by_half_lives),
        cmocka_unit_test(cache__agrees_with_a_model_that_remembers_every_use),
        cmocka_unit_test(cache__keeps_its_share_when_every_chunk_uses_all),
        cmocka_unit_test(cache__of_equals_the_layer_that_is_needed_last_goes),
        cmocka_unit_test(cache__a_guess_that_was_never_used_goes_first),
        cmocka_unit_test(cache__without_slots_has_none_to_give),
        cmocka_unit_test(cache__lives_long),
    };
    return cmocka_run_group_tests_name("runtime cache", tests, NULL, NULL);
}
