/* The cache of streamed experts: every part is what lies in the file, laid out or not; threads that share few slots neither
 * block each other nor see wrong bytes; what fails reaches who asked for it, and nobody later. */
#include "runtime/experts.h"
#include "stream_util.h"

enum { N_LAYER = 3, N_EXPERT = 12, GRAIN = 16, MOST = 4, N_READER = 4 };

static ct_io *io;
static ct_experts *cache;
static ct_expert_layer layer[N_LAYER];

/* Laid out: every byte turned over, rows of a grain in the other order. */
static size_t laid_at(const ct_expert_part *p, int64_t row) {
    const int64_t first = row - row % GRAIN, n = p->n_row - first < GRAIN ? p->n_row - first : GRAIN;
    return (size_t)(first + n - 1 - (row - first)) * p->row_bytes;
}

static void lay(const ct_expert_part *p, int64_t row0, int64_t n_row, const uint8_t *src, uint8_t *dst) {
    for (int64_t r = 0; r < n_row; r++) {
        for (size_t i = 0; i < p->row_bytes; i++) dst[laid_at(p, row0 + r) + i] = src[(size_t)r * p->row_bytes + i] ^ 0xff;
    }
}

/* Parts behind each other at odd offsets and strides. factor: rows of the largest kind, more than one job each. */
static size_t make_layers(int64_t factor) {
    size_t at = 123;
    for (int il = 0; il < N_LAYER; il++) {
        for (int k = 0; k < CT_EXPERT_PARTS; k++) {
            const int64_t n_row = (il == 2 ? factor : 1) * (k == 2 ? 40 : 23 + il);
            const size_t row_bytes = k == 1 ? 96 : 130 + 34 * (size_t)il;
            layer[il].part[k] = (ct_expert_part){.file = &disk.direct, .offset = at, .stride = (size_t)n_row * row_bytes + 7 * (size_t)k,
                                                 .n_row = n_row, .row_bytes = row_bytes, .slot_bytes = (size_t)n_row * row_bytes,
                                                 .lay = (il + k) % 2 == 0};
            at += N_EXPERT * layer[il].part[k].stride + 50;
        }
    }
    const ct_expert_part *last = &layer[N_LAYER - 1].part[CT_EXPERT_PARTS - 1];
    return (size_t)(last->offset + (N_EXPERT - 1) * last->stride + (uint64_t)last->n_row * last->row_bytes); /* ends with the file */
}

static void open_cache(int n_slot, int64_t factor) {
    carat_error err = {0};
    disk_open("experts", make_layers(factor));
    ct_experts_opts o = {.layer = layer, .n_layer = N_LAYER, .n_expert = N_EXPERT, .n_slot = n_slot, .lay = lay, .grain = GRAIN,
                         .half_life = 64.0};
    if (ct_io_new(&io, N_READER, ct_experts_buffer(layer, N_LAYER, GRAIN), &err)) fail_msg("%s", err.msg);
    o.io = io;
    if (ct_experts_new(&cache, &o, &err)) fail_msg("%s", err.msg);
    assert_int_equal(ct_experts_n_slot(cache), n_slot);
}

static int begin(void **state) {
    (void)state;
    open_cache(2 * MOST, 1);
    return 0;
}

static int end(void **state) {
    (void)state;
    atomic_store(&disk.closed, false);
    ct_experts_free(&cache);
    ct_io_free(&io);
    disk_close();
    return 0;
}

/* ---- a session ---- */

typedef struct {
    ct_expert_use use;
    int32_t expert[N_EXPERT], slot[N_EXPERT];
    uint8_t given[N_EXPERT];
    carat_expert_stats stats;
    ct_rng rng;
    int rounds, failed, wrong;
    bool hints;
} user;

static user *user_new(uint64_t seed) {
    user *u = calloc(1, sizeof *u);
    assert_non_null(u);
    u->use = (ct_expert_use){.expert = u->expert, .slot = u->slot, .given = u->given, .stats = &u->stats};
    ct_rng_seed(&u->rng, seed);
    return u;
}

/* n different experts, at random. */
static void pick(user *u, int n) {
    int32_t all[N_EXPERT];
    for (int i = 0; i < N_EXPERT; i++) all[i] = i;
    for (int i = 0; i < n; i++) {
        const int j = i + (int)(ct_rng_u64(&u->rng) % (uint64_t)(N_EXPERT - i));
        const int32_t e = all[j];
        all[j] = all[i];
        all[i] = u->expert[i] = e;
    }
}

static bool is_right(const user *u, int il, int i) {
    for (int k = 0; k < CT_EXPERT_PARTS; k++) {
        const ct_expert_part *p = &layer[il].part[k];
        const uint8_t *file = disk.file.data + p->offset + (uint64_t)u->expert[i] * p->stride, *have = ct_experts_data(cache, &u->use, i, k);
        if (!p->lay) {
            if (memcmp(have, file, (size_t)p->n_row * p->row_bytes) != 0) return false;
            continue;
        }
        for (int64_t r = 0; r < p->n_row; r++) {
            for (size_t b = 0; b < p->row_bytes; b++) {
                if ((have[laid_at(p, r) + b] ^ file[(size_t)r * p->row_bytes + b]) != 0xff) return false;
            }
        }
    }
    return true;
}

/* Take all that was begun. 0, or -2 with err. */
static int take_all(user *u, int il, carat_error *err) {
    memset(err, 0, sizeof *err);
    for (;;) {
        const int i = ct_experts_next(cache, &u->use, true, err);
        if (i == u->use.n) break;
        if (i == -2) return i;
        u->wrong += i < 0 || i >= u->use.n || !is_right(u, il, i);
    }
    for (int i = 0; i < u->use.n; i++) u->wrong += !is_right(u, il, i); /* they stay until the end */
    return 0;
}

static int use_layer(user *u, int il, int n, carat_error *err) {
    static const int32_t weight[N_EXPERT] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    ct_experts_enter(cache, il, n, u->expert, weight, n);
    ct_experts_begin(cache, &u->use, il, n);
    const int rc = take_all(u, il, err);
    ct_experts_end(cache, &u->use);
    return rc;
}

static void hint_at_random(user *u) {
    int32_t e[3];
    for (int i = 0; i < 3; i++) e[i] = (int32_t)(ct_rng_u64(&u->rng) % N_EXPERT);
    ct_experts_hint(cache, (int)(ct_rng_u64(&u->rng) % N_LAYER), e, 3, true, &u->stats);
}

static void *session(void *ud) {
    user *u = ud;
    for (int i = 0; i < u->rounds; i++) {
        carat_error err;
        const int il = i % N_LAYER, n = 1 + (int)(ct_rng_u64(&u->rng) % MOST);
        pick(u, n);
        if (use_layer(u, il, n, &err)) u->failed++;
        if (u->hints) hint_at_random(u);
    }
    return NULL;
}

static void assert_all_right(user *u) {
    assert_int_equal(session(u), NULL);
    assert_int_equal(u->wrong, 0);
    assert_int_equal(u->failed, 0);
}

/* ---- bytes ---- */

static void every__part_is_what_lies_in_the_file(void **state) {
    (void)state;
    user *u = user_new(1);
    u->rounds = 400;
    u->hints = true;
    assert_all_right(u);
    assert_true(u->stats.hits > 0 && u->stats.misses > 0 && u->stats.hint_hits <= u->stats.hinted);
    assert_int_equal(ct_experts_loads(cache), u->stats.misses + u->stats.hinted);
    free(u);
}

/* Parts of more than one read, of both kinds. */
static void large__parts_come_in_pieces(void **state) {
    end(state);
    open_cache(2 * MOST, 500);
    assert_true((size_t)layer[2].part[0].n_row * layer[2].part[0].row_bytes > (size_t)2 << 20);
    user *u = user_new(2);
    for (int i = 0; i < 6; i++) {
        carat_error err;
        pick(u, MOST);
        assert_int_equal(use_layer(u, i == 3 ? 0 : 2, MOST, &err), 0);
    }
    assert_int_equal(u->wrong, 0);
    free(u);
}

static void counts__are_of_experts_needed(void **state) {
    (void)state;
    carat_error err;
    user *u = user_new(3);
    for (int i = 0; i < MOST; i++) u->expert[i] = i;
    assert_int_equal(use_layer(u, 0, MOST, &err), 0);
    assert_int_equal(u->stats.misses, MOST);
    assert_int_equal(u->stats.hits, 0);
    assert_int_equal(use_layer(u, 0, MOST, &err), 0);
    assert_int_equal(u->stats.misses, MOST);
    assert_int_equal(u->stats.hits, MOST);
    uint64_t bytes = 0;
    for (int k = 0; k < CT_EXPERT_PARTS; k++) bytes += (uint64_t)layer[0].part[k].n_row * layer[0].part[k].row_bytes;
    assert_int_equal(u->stats.read_bytes, MOST * bytes);
    /* A hint counts once, and as a hit when it is needed. */
    const int32_t nine = 9;
    ct_experts_hint(cache, 0, &nine, 1, true, &u->stats);
    ct_experts_hint(cache, 0, &nine, 1, true, &u->stats);
    assert_int_equal(u->stats.hinted, 1);
    u->expert[0] = 9;
    assert_int_equal(use_layer(u, 0, 1, &err), 0);
    assert_int_equal(u->stats.hint_hits, 1);
    assert_int_equal(u->stats.misses, MOST);
    assert_int_equal(use_layer(u, 0, 1, &err), 0);
    assert_int_equal(u->stats.hint_hits, 1);
    assert_int_equal(u->wrong, 0);
    free(u);
}

/* Without waiting: nothing while the disk stands still. */
static void next__does_not_wait_unless_told(void **state) {
    (void)state;
    carat_error err;
    user *u = user_new(4);
    u->expert[0] = 3;
    assert_int_equal(use_layer(u, 1, 1, &err), 0);
    atomic_store(&disk.closed, true);
    u->expert[0] = 5, u->expert[1] = 3;
    ct_experts_begin(cache, &u->use, 1, 2);
    assert_int_equal(ct_experts_next(cache, &u->use, false, &err), 1); /* is there */
    assert_int_equal(ct_experts_next(cache, &u->use, false, &err), -1);
    atomic_store(&disk.closed, false);
    assert_int_equal(ct_experts_next(cache, &u->use, true, &err), 0);
    assert_int_equal(ct_experts_next(cache, &u->use, false, &err), 2);
    ct_experts_end(cache, &u->use);
    ct_experts_begin(cache, &u->use, 1, 0); /* nobody needs any */
    assert_int_equal(ct_experts_next(cache, &u->use, true, &err), 0);
    ct_experts_end(cache, &u->use);
    free(u);
}

/* ---- threads ---- */

static void share(int n_thread, int n_slot, int rounds, bool hints) {
    pthread_t t[4];
    user *u[4];
    end(NULL);
    open_cache(n_slot, 1);
    for (int i = 0; i < n_thread; i++) {
        u[i] = user_new(10 + (uint64_t)i);
        u[i]->rounds = rounds;
        u[i]->hints = hints;
        assert_int_equal(pthread_create(&t[i], NULL, session, u[i]), 0);
    }
    uint64_t loads = 0;
    for (int i = 0; i < n_thread; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(u[i]->wrong, 0);
        assert_int_equal(u[i]->failed, 0);
        loads += u[i]->stats.misses + u[i]->stats.hinted;
        free(u[i]);
    }
    assert_int_equal(ct_experts_loads(cache), loads);
}

static void threads__share_few_slots(void **state) {
    (void)state;
    share(2, 2 * MOST, 600, true);
    share(4, 2 * MOST, 400, true);
    share(4, 2 * MOST, 400, false);
    share(4, 5 * MOST, 400, true);
}

static void *begin_and_end(void *ud) {
    user *u = ud;
    carat_error err;
    (void)use_layer(u, 1, MOST, &err);
    return NULL;
}

/* Who finds no slots begins no read: those who hold them lose nothing, and take less than two turns of the disk. */
static void who__waits_for_slots_reads_nothing(void **state) {
    (void)state;
    carat_error err;
    pthread_t t[2];
    user *a = user_new(5), *b[2] = {user_new(6), user_new(7)};
    for (int i = 0; i < MOST; i++) {
        a->expert[i] = i, b[0]->expert[i] = 4 + i, b[1]->expert[i] = 8 + i;
    }
    ct_experts_begin(cache, &a->use, 0, MOST);
    assert_int_equal(take_all(a, 0, &err), 0);
    ct_expert_use more = a->use; /* the same session's other list, so that too few are left */
    int32_t expert[1] = {11}, slot[1];
    uint8_t given[1];
    more.expert = expert, more.slot = slot, more.given = given;
    ct_experts_begin(cache, &more, 2, 1);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, begin_and_end, b[i]), 0);
    disk_sleep(20000);
    assert_int_equal(ct_experts_loads(cache), MOST + 1);
    for (int i = 0; i < MOST; i++) assert_true(is_right(a, 0, i));
    ct_experts_end(cache, &a->use);
    ct_experts_end(cache, &more);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(b[i]->wrong, 0);
        assert_int_equal(b[i]->stats.misses, MOST);
        assert_int_equal(b[i]->stats.hits, 0);
    }
    assert_int_equal(ct_experts_loads(cache), 3 * MOST + 1);
    free(a), free(b[0]), free(b[1]);
}

/* ---- failures ---- */

static void make_bad(int il, int32_t expert) {
    const ct_expert_part *p = &layer[il].part[1];
    atomic_store(&disk.bad_from, p->offset + (uint64_t)expert * p->stride + 10);
    atomic_store(&disk.bad_to, p->offset + (uint64_t)expert * p->stride + 11);
}

static void make_good(void) {
    atomic_store(&disk.bad_to, 0);
    atomic_store(&disk.fail_after, -1);
}

/* An expert far from the bad one, whose blocks are others. */
static void failures__reach_who_needs_the_expert(void **state) {
    (void)state;
    carat_error err;
    user *u = user_new(8);
    make_bad(1, 2);
    for (int i = 0; i < 5; i++) {
        u->expert[0] = 9, u->expert[1] = 2, u->expert[2] = 11;
        assert_int_equal(use_layer(u, 1, 3, &err), -2);
        assert_int_equal(err.code, CARAT_EIO);
        assert_non_null(strstr(err.msg, "cannot be read"));
        assert_null(strchr(err.msg, '\n'));
        u->expert[1] = 10;
        assert_int_equal(use_layer(u, 1, 3, &err), 0);
    }
    make_good();
    u->expert[1] = 2;
    assert_int_equal(use_layer(u, 1, 3, &err), 0);
    assert_int_equal(u->wrong, 0);
    free(u);
}

/* Two need the expert while its read fails: both are told. Who begins after it failed has it read again, though the first
 * has not let go. */
static void failures__are_not_inherited(void **state) {
    (void)state;
    carat_error err;
    user *a = user_new(1), *b = user_new(2), *c = user_new(3);
    a->expert[0] = b->expert[0] = c->expert[0] = 2;
    make_bad(1, 2);
    atomic_store(&disk.closed, true);
    ct_experts_begin(cache, &a->use, 1, 1);
    ct_experts_begin(cache, &b->use, 1, 1);
    atomic_store(&disk.closed, false);
    assert_int_equal(take_all(a, 1, &err), -2);
    assert_int_equal(take_all(b, 1, &err), -2);
    make_good();
    assert_int_equal(use_layer(c, 1, 1, &err), 0);
    assert_int_equal(c->stats.misses, 1);
    ct_experts_end(cache, &a->use);
    ct_experts_end(cache, &b->use);
    assert_int_equal(use_layer(b, 1, 1, &err), 0);
    assert_int_equal(b->stats.misses, 1); /* tried again by itself when a's read had failed */
    assert_int_equal(b->stats.hits, 1);   /* of c's */
    assert_int_equal(c->wrong + b->wrong, 0);
    free(a), free(b), free(c);
}

/* A read that was begun for another and fails, here for a hint, is tried again by who needs the expert. */
static void failures__begun_before_are_tried_again(void **state) {
    (void)state;
    carat_error err;
    user *u = user_new(3);
    const int32_t two = 2;
    make_bad(1, two);
    atomic_store(&disk.closed, true);
    ct_experts_hint(cache, 1, &two, 1, true, &u->stats);
    disk_await(1);
    u->expert[0] = two;
    ct_experts_begin(cache, &u->use, 1, 1);
    atomic_store(&disk.closed, false);
    while (atomic_load(&disk.failed) == 0) disk_sleep(200);
    make_good();
    assert_int_equal(take_all(u, 1, &err), 0);
    ct_experts_end(cache, &u->use);
    assert_int_equal(u->stats.misses, 1);
    assert_int_equal(u->stats.hits, 0);
    assert_int_equal(u->wrong, 0);
    free(u);
}

/* Everything fails now and then: no slot stays pinned, so that a full list still finds its place. */
static void failures__leave_no_pin(void **state) {
    (void)state;
    user *u = user_new(9);
    for (int i = 0; i < 300; i++) {
        carat_error err;
        atomic_store(&disk.fail_after, i % 13);
        pick(u, MOST);
        (void)use_layer(u, i % N_LAYER, MOST, &err);
        hint_at_random(u);
        make_good();
        if (i % 10) continue;
        pick(u, MOST); /* what still runs may fail, what is begun now does not */
        assert_int_equal(use_layer(u, i % N_LAYER, MOST, &err), 0);
    }
    ct_experts_free(&cache); /* waits for nothing that never comes */
    assert_int_equal(u->wrong, 0);
    free(u);
}

static void threads__and_failures(void **state) {
    (void)state;
    pthread_t t[4];
    user *u[4];
    for (int i = 0; i < 4; i++) {
        u[i] = user_new(20 + (uint64_t)i);
        u[i]->rounds = 200;
        u[i]->hints = true;
        assert_int_equal(pthread_create(&t[i], NULL, session, u[i]), 0);
    }
    for (int i = 0; i < 60; i++) {
        atomic_store(&disk.fail_after, i % 7);
        disk_sleep(500);
        make_good();
        disk_sleep(500);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(u[i]->wrong, 0);
        u[i]->rounds = 20, u[i]->failed = 0;
    }
    (void)session(u[0]); /* what failed last is forgotten by now */
    u[0]->failed = 0;
    assert_all_right(u[0]);
    for (int i = 0; i < 4; i++) free(u[i]);
}

static void hints__that_fail_are_forgotten(void **state) {
    (void)state;
    carat_error err;
    user *u = user_new(4);
    const int32_t two = 2;
    for (int i = 0; i < 20; i++) {
        make_bad(1, two);
        ct_experts_hint(cache, 1, &two, 1, true, &u->stats);
        while (ct_experts_loads(cache) == 0 || atomic_load(&disk.calls) < 3) disk_sleep(200);
        disk_sleep(2000);
        make_good();
        if (i % 2) continue;
        u->expert[0] = two;
        /* On a busy machine the read may still be about to fail; then it fails for who asked, once. */
        if (use_layer(u, 1, 1, &err)) assert_int_equal(use_layer(u, 1, 1, &err), 0);
        for (int k = 0; k < 12; k++) { /* push it out again */
            pick(u, MOST);
            assert_int_equal(use_layer(u, 0, MOST, &err), 0);
        }
    }
    assert_int_equal(u->wrong, 0);
    free(u);
}

/* However many are hinted at, lists of half the slots find theirs while not one hint can be read. */
static void hints__leave_room(void **state) {
    (void)state;
    user *u = user_new(5);
    int32_t all[N_EXPERT];
    for (int i = 0; i < N_EXPERT; i++) all[i] = i;
    atomic_store(&disk.closed, true);
    for (int il = 0; il < N_LAYER; il++) ct_experts_hint(cache, il, all, N_EXPERT, true, &u->stats);
    assert_int_equal(u->stats.hinted, 2 * MOST / 4);
    for (int i = 0; i < MOST; i++) u->expert[i] = 8 + i;
    ct_experts_begin(cache, &u->use, 0, MOST); /* does not wait */
    atomic_store(&disk.closed, false);
    carat_error err;
    assert_int_equal(take_all(u, 0, &err), 0);
    ct_experts_end(cache, &u->use);
    assert_int_equal(u->wrong, 0);
    free(u);
}

static void files__that_change_are_an_error_even_for_experts_held(void **state) {
    (void)state;
    carat_error err;
    user *u = user_new(6);
    pick(u, MOST);
    assert_int_equal(use_layer(u, 0, MOST, &err), 0);
    assert_int_equal(truncate(disk.path, (off_t)disk.file.size / 2), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(use_layer(u, 0, 2, &err), -2);
        assert_non_null(strstr(err.msg, "was cut to"));
        u->expert[0] = (u->expert[0] + 5) % N_EXPERT;
        u->expert[1] = (u->expert[0] + 1) % N_EXPERT;
        (void)use_layer(u, 2, 2, &err); /* beyond the end */
        assert_non_null(strstr(err.msg, "was cut to"));
    }
    free(u);
}

static void free__waits_for_what_is_being_read(void **state) {
    (void)state;
    user *u = user_new(7);
    const int32_t e[2] = {1, 2};
    atomic_store(&disk.delay_us, 5000);
    ct_experts_hint(cache, 0, e, 2, true, &u->stats);
    ct_experts_free(&cache);
    assert_null(cache);
    ct_experts_free(&cache);
    free(u);
}

static void bytes__are_what_is_held_and_impossible_ones_refused(void **state) {
    (void)state;
    ct_experts_opts o = {.layer = layer, .n_layer = N_LAYER, .n_expert = N_EXPERT, .n_slot = 10, .lay = lay, .grain = GRAIN, .io = io};
    const size_t slot = ct_experts_slot_bytes(layer, N_LAYER), ten = ct_experts_bytes(&o);
    assert_int_equal(slot % CT_DIRECT_ALIGN, 0);
    o.n_slot = 20;
    assert_in_range(ct_experts_bytes(&o) - ten, 10 * slot, 10 * (slot + 2048));
    static ct_expert_layer vast[N_LAYER];
    memcpy(vast, layer, sizeof vast);
    vast[1].part[0].slot_bytes = (size_t)1 << 58;
    o.layer = vast, o.n_slot = 16;
    carat_error err = {0};
    ct_experts *t = NULL;
    assert_int_equal(ct_experts_new(&t, &o, &err), CARAT_ENOMEM);
    assert_null(t);
    assert_true(err.msg[0] != 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(every__part_is_what_lies_in_the_file),
        CASE(large__parts_come_in_pieces),
        CASE(counts__are_of_experts_needed),
        CASE(next__does_not_wait_unless_told),
        CASE(threads__share_few_slots),
        CASE(who__waits_for_slots_reads_nothing),
        CASE(failures__reach_who_needs_the_expert),
        CASE(failures__are_not_inherited),
        CASE(failures__begun_before_are_tried_again),
        CASE(failures__leave_no_pin),
        CASE(threads__and_failures),
        CASE(hints__that_fail_are_forgotten),
        CASE(hints__leave_room),
        CASE(files__that_change_are_an_error_even_for_experts_held),
        CASE(free__waits_for_what_is_being_read),
        CASE(bytes__are_what_is_held_and_impossible_ones_refused),
    };
    return cmocka_run_group_tests_name("runtime experts", tests, NULL, NULL);
}
