/* Rows of a table wherever it is: the same bytes from memory, a mapping and the disk, whatever was read ahead, fails, or is
 * pushed out of the few slots. */
#include "base/mem.h"
#include "runtime/tier.h"
#include "stream_util.h"

enum { N_ROW = 600, ROW = 1000, AT = 777, MOST = 16 };

static ct_io *io;
static ct_tier tier;

static const uint8_t *expected(int32_t row) { return disk.file.data + AT + (size_t)row * ROW; }

static ct_tier_source source(carat_place place) {
    return (ct_tier_source){.place = place, .data = expected(0), .row_bytes = ROW, .n_row = N_ROW, .file = &disk.direct, .offset = AT, .io = io};
}

static int begin(void **state) {
    (void)state;
    disk_open("tier", AT + (size_t)N_ROW * ROW); /* the last row ends with the file, inside a block */
    assert_int_equal(ct_io_new(&io, 4, ct_direct_room(ROW), NULL), 0);
    const ct_tier_source s = source(CARAT_PLACE_STREAMED);
    return ct_tier_init(&tier, &s, 2 * MOST, NULL);
}

static int end(void **state) {
    (void)state;
    atomic_store(&disk.closed, false);
    ct_tier_free(&tier);
    ct_io_free(&io);
    disk_close();
    return 0;
}

static void assert_rows(ct_tier *t, const int32_t *row, int n) {
    carat_error err = {0};
    const uint8_t *out[MOST];
    if (ct_tier_rows(t, row, n, out, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++) {
        if (memcmp(out[i], expected(row[i]), ROW) != 0) fail_msg("row %d, the %d. of %d, is another", row[i], i, n);
    }
}

static void fill(int32_t *row, int n, ct_rng *rng, int among) {
    for (int i = 0; i < n; i++) row[i] = (int32_t)(ct_rng_u64(rng) % (uint64_t)among);
}

static void rows__in_place(void **state) {
    (void)state;
    static const carat_place place[] = {CARAT_PLACE_RESIDENT, CARAT_PLACE_MAPPED};
    ct_rng rng;
    ct_rng_seed(&rng, 1);
    for (int p = 0; p < 2; p++) {
        ct_tier t;
        const ct_tier_source s = source(place[p]);
        assert_int_equal(ct_tier_init(&t, &s, 0, NULL), 0);
        int32_t row[MOST];
        for (int i = 0; i < 50; i++) {
            fill(row, MOST, &rng, N_ROW);
            ct_tier_ahead(&t, row, MOST);
            assert_rows(&t, row, MOST);
        }
        assert_int_equal(t.reads, 50 * MOST);
        assert_int_equal(ct_tier_bytes(&s, 2 * MOST), 0);
        ct_tier_free(&t);
    }
}

static void rows__that_are_nowhere_are_zero(void **state) {
    (void)state;
    static const uint8_t zero[ROW];
    ct_tier t;
    const ct_tier_source s = source(CARAT_PLACE_ZERO);
    assert_int_equal(ct_tier_init(&t, &s, 2 * MOST, NULL), 0);
    const int32_t row[3] = {0, 7, N_ROW - 1};
    const uint8_t *out[3];
    assert_int_equal(ct_tier_rows(&t, row, 3, out, NULL), 0);
    for (int i = 0; i < 3; i++) assert_memory_equal(out[i], zero, ROW);
    ct_tier_free(&t);
    assert_int_equal(atomic_load(&disk.calls), 0);
}

/* The same rows from few slots: most asked for at once with exactly twice as many slots, repeated, ahead and not. */
static void rows__from_disk_whatever_was_read_ahead(void **state) {
    (void)state;
    ct_rng rng;
    ct_rng_seed(&rng, 2);
    int32_t row[MOST], next[MOST];
    fill(next, MOST, &rng, N_ROW);
    for (int i = 0; i < 1500; i++) {
        const int among = i % 3 == 0 ? N_ROW : i % 3 == 1 ? 40 : 5, n = 1 + (int)(ct_rng_u64(&rng) % MOST);
        memcpy(row, next, sizeof row);
        fill(next, MOST, &rng, among);
        if (i % 7 == 0) ct_tier_ahead(&tier, next, MOST); /* before this turn's rows */
        if (i % 5 == 0) fill(row, MOST, &rng, N_ROW);     /* others than were read ahead */
        assert_rows(&tier, row, i % 11 == 0 ? MOST : n);
        if (i % 2) ct_tier_ahead(&tier, next, MOST);
        if (i % 4 == 3) ct_tier_ahead(&tier, row, MOST);  /* ahead again: no room, or there already */
    }
    static const int32_t last[] = {N_ROW - 1, 0, N_ROW - 1, N_ROW - 2, 0};
    assert_rows(&tier, last, 5);
}

/* Rows given stay where they are while others are read ahead, until the next call. */
static void rows__given_stay_until_the_next_call(void **state) {
    (void)state;
    int32_t row[MOST], other[4 * MOST];
    const uint8_t *out[MOST];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < MOST; i++) row[i] = round * 20 + i;
        for (int i = 0; i < 4 * MOST; i++) other[i] = 300 + round * 16 + i;
        assert_int_equal(ct_tier_rows(&tier, row, MOST, out, NULL), 0);
        for (int k = 0; k < 4; k++) ct_tier_ahead(&tier, other + k * MOST, MOST);
        disk_sleep(3000);
        for (int i = 0; i < MOST; i++) assert_memory_equal(out[i], expected(row[i]), ROW);
    }
}

static uint64_t disk_reads(void) {
    uint64_t reads, bytes;
    ct_latency time;
    ct_tier_disk(&tier, &reads, &bytes, &time);
    assert_int_equal(time.n, reads);
    assert_true(bytes >= reads * ROW);
    return reads;
}

static void rows__asked_for_longest_ago_go_first(void **state) {
    (void)state;
    for (int32_t r = 0; r < 2 * MOST; r++) assert_rows(&tier, &r, 1); /* every slot full */
    static const int32_t again[] = {0, 3};
    assert_rows(&tier, again, 2);
    assert_int_equal(tier.hits, 2);
    const int32_t fresh[] = {100, 101, 102};
    assert_rows(&tier, fresh, 3); /* in the places of 1, 2, 4 */
    uint64_t before = disk_reads();
    static const int32_t kept[] = {0, 3, 5, 31, 100};
    assert_rows(&tier, kept, 5);
    assert_int_equal(disk_reads(), before);
    for (int i = 0; i < 3; i++) {
        static const int32_t gone[] = {1, 2, 4};
        before = disk_reads();
        assert_rows(&tier, &gone[i], 1);
        assert_int_equal(disk_reads(), before + 1);
    }
}

/* The same row many times in a list is one read. */
static void repeated__rows_are_read_once(void **state) {
    (void)state;
    int32_t row[MOST];
    for (int i = 0; i < MOST; i++) row[i] = i % 2 ? 5 : 9;
    ct_tier_ahead(&tier, row, MOST);
    assert_rows(&tier, row, MOST);
    assert_int_equal(disk_reads(), 2);
    assert_int_equal(tier.hits, 0);
    assert_rows(&tier, row, MOST);
    assert_int_equal(disk_reads(), 2);
    assert_int_equal(tier.hits, MOST);
}

static void ahead__leaves_half_of_the_slots(void **state) {
    (void)state;
    int32_t many[4 * MOST];
    for (int i = 0; i < 4 * MOST; i++) many[i] = i;
    atomic_store(&disk.closed, true);
    ct_tier_ahead(&tier, many, 4 * MOST);
    ct_tier_ahead(&tier, many + MOST, 3 * MOST);
    ct_tier_ahead(&tier, many, 0);
    assert_int_equal(tier.n_ahead, MOST);
    atomic_store(&disk.closed, false);
    assert_rows(&tier, many + 3 * MOST, MOST); /* quite others */
    for (int i = 0; i < 4; i++) assert_rows(&tier, many + i * MOST, MOST);
}

/* ---- failures ---- */

static int rows_of(const int32_t *row, int n, carat_error *err) {
    const uint8_t *out[MOST];
    memset(err, 0, sizeof *err);
    return ct_tier_rows(&tier, row, n, out, err);
}

static void make_bad(int32_t row) {
    atomic_store(&disk.bad_from, AT + (uint64_t)row * ROW);
    atomic_store(&disk.bad_to, AT + (uint64_t)(row + 1) * ROW);
}

static void a__row_that_fails_is_read_again_when_asked_for_again(void **state) {
    (void)state;
    carat_error err;
    int32_t row[MOST];
    for (int i = 0; i < MOST; i++) row[i] = 20 * i;
    make_bad(100);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rows_of(row, MOST, &err), CARAT_EIO);
        assert_int_equal(err.code, CARAT_EIO);
        assert_non_null(strstr(err.msg, "cannot be read"));
        assert_null(strchr(err.msg, '\n'));
    }
    static const int32_t good[] = {0, 20, 40}; /* others are not touched */
    assert_rows(&tier, good, 3);
    make_bad(-1000000);
    assert_rows(&tier, row, MOST);
}

/* Every read fails, over and over: slots are not used up. */
static void failures__use_up_no_slots(void **state) {
    (void)state;
    carat_error err;
    ct_rng rng;
    ct_rng_seed(&rng, 3);
    int32_t row[MOST];
    for (int i = 0; i < 200; i++) {
        atomic_store(&disk.fail_after, i % 5);
        fill(row, MOST, &rng, N_ROW);
        ct_tier_ahead(&tier, row, MOST / 2);
        (void)rows_of(row, MOST, &err);
        ct_tier_ahead(&tier, row, MOST);
        atomic_store(&disk.fail_after, -1);
        if (i % 3 == 0) assert_rows(&tier, row, MOST);
    }
}

/* Reading ahead that failed is no error of a later call: it is tried again when the row is asked for. */
static void reading__ahead_may_fail(void **state) {
    (void)state;
    const int32_t row = 50, other = 200;
    make_bad(row);
    ct_tier_ahead(&tier, &row, 1);
    while (disk_reads() == 0) disk_sleep(200);
    make_bad(-1000000);
    assert_rows(&tier, &other, 1);
    assert_rows(&tier, &row, 1);
    /* The same where it is asked for at once. */
    for (int32_t next = 60; next < 100; next += 10) {
        const uint64_t before = disk_reads();
        make_bad(next);
        ct_tier_ahead(&tier, &next, 1);
        while (disk_reads() == before) disk_sleep(200);
        make_bad(-1000000);
        assert_rows(&tier, &next, 1);
    }
}

static void files__that_change_are_an_error_even_for_rows_held(void **state) {
    (void)state;
    carat_error err;
    const int32_t row[] = {1, 2, 3};
    assert_rows(&tier, row, 3);
    assert_int_equal(truncate(disk.path, (off_t)(AT + N_ROW * ROW / 2)), 0);
    assert_int_equal(rows_of(row, 3, &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "was cut to"));
    const int32_t gone = N_ROW - 1;
    assert_int_equal(rows_of(&gone, 1, &err), CARAT_EIO);
    assert_non_null(strstr(err.msg, "was cut to"));
}

/* Changed while the rows were on their way: their bytes may be of either version. */
static void *cut_then_open(void *ud) {
    (void)ud;
    disk_await(1);
    assert_int_equal(truncate(disk.path, (off_t)disk.file.size + 1), 0);
    atomic_store(&disk.closed, false);
    return NULL;
}

static void files__that_change_while_rows_are_read(void **state) {
    (void)state;
    carat_error err;
    pthread_t t;
    const int32_t row = 9;
    atomic_store(&disk.closed, true);
    assert_int_equal(pthread_create(&t, NULL, cut_then_open, NULL), 0);
    assert_int_equal(rows_of(&row, 1, &err), CARAT_EIO);
    pthread_join(t, NULL);
    assert_non_null(strstr(err.msg, "was written to"));
}

static void *open_later(void *ud) {
    (void)ud;
    disk_await(1);
    disk_sleep(20000);
    atomic_store(&disk.closed, false);
    return NULL;
}

static void free__waits_for_what_is_being_read(void **state) {
    (void)state;
    pthread_t t;
    int32_t row[MOST];
    for (int i = 0; i < MOST; i++) row[i] = i;
    atomic_store(&disk.closed, true);
    ct_tier_ahead(&tier, row, MOST);
    assert_int_equal(pthread_create(&t, NULL, open_later, NULL), 0);
    ct_tier_free(&tier);
    assert_false(atomic_load(&disk.closed));
    pthread_join(t, NULL);
    ct_tier_free(&tier); /* of nothing */
}

static void bytes__are_what_is_held(void **state) {
    (void)state;
    const ct_tier_source s = source(CARAT_PLACE_STREAMED);
    const uint64_t ten = ct_tier_bytes(&s, 10), twenty = ct_tier_bytes(&s, 20);
    assert_in_range(twenty - ten, 10 * ROW, 10 * (ROW + 256));
    assert_true(2 * ten - twenty >= N_ROW * sizeof(uint16_t));
    ct_tier t;
    carat_error err = {0};
    ct_tier_source vast = s;
    vast.n_row = INT64_MAX;
    assert_int_equal(ct_tier_init(&t, &vast, 10, &err), CARAT_ENOMEM);
    ct_tier_free(&t);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(rows__in_place),
        CASE(rows__that_are_nowhere_are_zero),
        CASE(rows__from_disk_whatever_was_read_ahead),
        CASE(rows__given_stay_until_the_next_call),
        CASE(rows__asked_for_longest_ago_go_first),
        CASE(repeated__rows_are_read_once),
        CASE(ahead__leaves_half_of_the_slots),
        CASE(a__row_that_fails_is_read_again_when_asked_for_again),
        CASE(failures__use_up_no_slots),
        CASE(reading__ahead_may_fail),
        CASE(files__that_change_are_an_error_even_for_rows_held),
        CASE(files__that_change_while_rows_are_read),
        CASE(free__waits_for_what_is_being_read),
        CASE(bytes__are_what_is_held),
    };
    return cmocka_run_group_tests_name("runtime tier", tests, NULL, NULL);
}
