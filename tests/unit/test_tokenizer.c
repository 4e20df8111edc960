/* The tokenizer behind its public header: ids, prefixes of the rank list, boundaries by brute force,
 * ChatML. Its files are tested in test_tokenizer_files.c; what compares it with tiktoken itself is
 * tests/node/tokenizer.test.js. */
#include "base/memory.h"
#include "base/random.h"
#include "base/sha256.h"
#include "tokenizer/chatml.h"
#include "tokenizer/tokenizer.h"

#include "tests/unit/tokenizer_support.h"

static int group_setup(void **state)
{
    (void)state;
    error err;
    return tokenizer_open(&embedded, NULL, &err) == OK ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    tokenizer_close(embedded);
    return 0;
}

static tokenizer *prefix_open(size_t n)
{
    buffer list = {0};
    tokenizer *t = NULL;
    error err = {0};
    ranks_prefix(&list, n);
    if (tokenizer_open_ranks(&t, buffer_text(&list), &NO_SPECIALS, (int32_t)n, &err) != OK)
        fail_msg("%s", err.message);
    buffer_free(&list);
    return t;
}

/* dbrx.md's facts about DBRX's vocabulary, and ids that npm's tiktoken 1.0.22 gives. */
static void test_embedded(void **state)
{
    (void)state;
    assert_int_equal(tokenizer_vocabulary_size(embedded), 100352);
    int n_dead = 0, n_special = 0, n_stop = 0;
    for (int32_t id = 0; id < 100352; id++) {
        n_dead += tokenizer_is_dead(embedded, id);
        n_special += tokenizer_is_special(embedded, id);
        n_stop += tokenizer_is_stop(embedded, id);
        bool expected_dead = id == 100256 || (id >= 100261 && id <= 100275) || id >= 100280;
        assert_int_equal(tokenizer_is_dead(embedded, id), expected_dead);
    }
    assert_int_equal(n_dead, 88);
    assert_int_equal(n_special, 8);
    assert_int_equal(n_stop, 2);
    assert_true(tokenizer_is_stop(embedded, 100257) && tokenizer_is_stop(embedded, 100279));
    assert_true(tokenizer_is_dead(embedded, -1) && tokenizer_is_dead(embedded, INT32_MAX));
    assert_true(text_is(tokenizer_token_bytes(embedded, 9906), "Hello"));
    assert_true(text_is(tokenizer_token_bytes(embedded, 100278), "<|im_start|>"));
    assert_int_equal(tokenizer_token_bytes(embedded, 100300).size, 0);
    assert_encodes(embedded, TEXT("Hello world"), (int32_t[]){9906, 1917}, 2);
    assert_encodes(embedded, TEXT(""), NULL, 0);
    assert_encodes(embedded, TEXT("<|im_end|>"), (int32_t[]){27, 91, 318, 6345, 91, 29}, 6);
}

static void test_specials_by_spelling(void **state)
{
    (void)state;
    token_list ids = {0};
    tokenizer_encode_specials(embedded, &ids, TEXT("Hello<|im_end|> world<|<|pad|>"));
    assert_ids(&ids, (int32_t[]){9906, 100279, 1917, 27, 91, 100277}, 6);
    buffer with = {0}, without = {0};
    tokenizer_decode(embedded, &with, ids.ids, ids.n, true);
    tokenizer_decode(embedded, &without, ids.ids, ids.n, false);
    assert_string_equal(with.bytes, "Hello<|im_end|> world<|<|pad|>");
    assert_string_equal(without.bytes, "Hello world<|");
    buffer_free(&with);
    buffer_free(&without);
    token_list_free(&ids);
}

/* The digest stored beside the embedded list is that of the list as written. */
static void test_sha256_of_written_ranks(void **state)
{
    (void)state;
    buffer list = {0};
    char digest[65];
    error err;
    tokenizer_write_ranks(embedded, &list);
    sha256_hex(list.bytes, list.size, digest);
    assert_string_equal(tokenizer_sha256(embedded), digest);
    tokenizer *again = NULL;
    assert_int_equal(tokenizer_open_ranks(&again, buffer_text(&list), tokenizer_specials(embedded),
                                          tokenizer_vocabulary_size(embedded), &err),
                     OK);
    assert_string_equal(tokenizer_sha256(again), digest);
    assert_int_equal(tokenizer_specials(again)->im_end, 100279);
    tokenizer_close(again);
    buffer_free(&list);
}

/* BPE as its definition reads, over one piece: look at every neighbouring pair, join the one of
 * lowest rank, again from the start. The tokens' bytes are searched one by one. */
static size_t naive_bpe(const tokenizer *t, text piece, int32_t *ids)
{
    size_t start[512], n = piece.size;
    int32_t n_ranks = tokenizer_vocabulary_size(t);
    for (size_t i = 0; i <= n; i++) start[i] = i;
    for (;;) {
        int32_t best = n_ranks;
        size_t best_at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            text pair = text_slice(piece, start[i], start[i + 2]);
            for (int32_t id = 0; id < best; id++)
                if (text_equal(tokenizer_token_bytes(t, id), pair)) {
                    best = id;
                    best_at = i;
                }
        }
        if (best == n_ranks) break;
        for (size_t i = best_at + 1; i < n; i++) start[i] = start[i + 1];
        n--;
    }
    for (size_t i = 0; i < n; i++)
        for (int32_t id = 0; id < n_ranks; id++)
            if (text_equal(tokenizer_token_bytes(t, id), text_slice(piece, start[i], start[i + 1])))
                ids[i] = id;
    return n;
}

/* Pieces of one class, short and long, so that both ways of merging run. */
static void test_prefix_merges_like_the_definition(void **state)
{
    (void)state;
    static const size_t n_ranks[] = {256, 300, 700};
    static const char *const letters[] = {"a", "ab", "etaoinsrhl", "the"};
    for (size_t r = 0; r < 3; r++) {
        tokenizer *t = prefix_open(n_ranks[r]);
        for (uint64_t round = 0; round < 24; round++) {
            const char *alphabet = letters[round % 4];
            char bytes[200];
            size_t size = 1 + random_at(r, round) % (round % 8 == 7 ? sizeof bytes : 40);
            for (size_t i = 0; i < size; i++)
                bytes[i] = alphabet[random_at(round, i) % strlen(alphabet)];
            int32_t expected[200];
            size_t n = naive_bpe(t, (text){bytes, size}, expected);
            assert_encodes(t, (text){bytes, size}, expected, n);
        }
        tokenizer_close(t);
    }
}

static void test_prefix_round_trip(void **state)
{
    (void)state;
    static const size_t n_ranks[] = {256, 257, 1000, 16256, 100255};
    static const char sample[] = "if (x)\n{\n\treturn 12345; // na\xC3\xAFve \xF0\x9F\x98\x80"
                                 " \xFF\xC3 don't\r\n\r\n   }";
    text whole = {sample, sizeof sample - 1};
    for (size_t r = 0; r < 5; r++) {
        tokenizer *t = prefix_open(n_ranks[r]);
        token_list ids = {0};
        buffer back = {0};
        tokenizer_encode(t, &ids, whole);
        for (size_t i = 0; i < ids.n; i++) assert_in_range(ids.ids[i], 0, n_ranks[r] - 1);
        tokenizer_decode(t, &back, ids.ids, ids.n, false);
        assert_true(text_equal(buffer_text(&back), whole));
        assert_int_equal(tokenizer_count(t, whole), ids.n);
        buffer_free(&back);
        token_list_free(&ids);
        tokenizer_close(t);
    }
}

/* A megabyte of one letter, of spaces, of digits, of line ends: time and memory stay bounded, and
 * the bytes come back. */
static void test_long_runs(void **state)
{
    (void)state;
    static const char *const units[] = {"a",    " ", "7", "\n", "\r\n", "=", "\xE5\xA5\xBD",
                                        "\xFF", "ab"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        buffer run = {0}, back = {0};
        token_list ids = {0};
        while (run.size < 1000000) buffer_put_text(&run, text_of(units[u]));
        tokenizer_encode(embedded, &ids, buffer_text(&run));
        tokenizer_decode(embedded, &back, ids.ids, ids.n, false);
        assert_true(text_equal(buffer_text(&back), buffer_text(&run)));
        token_list_free(&ids);
        buffer_free(&run);
        buffer_free(&back);
    }
}

static const char *const fragments[] = {
    "",
    "a",
    "B",
    " ",
    "  ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "'",
    "s",
    "'s",
    "'r",
    "e",
    "l",
    "ll",
    "'LL",
    "1",
    "23",
    "456",
    "!",
    "(){",
    "::",
    "\xC3\xA9",
    "\xC5\xBF",
    "\xC2\xA0",
    "\xE3\x80\x80",
    "\xE2\x80\xA8",
    "\xC3",
    "\xE2\x80",
    "\xF0\x9F",
    "\x98\x80",
    "\xF0\x9F\x98\x80",
    "\x80",
    "\xFF",
    "x = 'v",
    "\xD9\xA3",
    "\xCC\x81",
    "d",
    "\xA9",
};
enum { N_FRAGMENTS = sizeof fragments / sizeof *fragments };

/* encode(bytes[0, cut)) followed by encode(bytes[cut, ...)) */
static bool halves_equal_whole(text whole, size_t cut)
{
    token_list one = {0}, two = {0};
    tokenizer_encode(embedded, &one, whole);
    tokenizer_encode(embedded, &two, text_slice(whole, 0, cut));
    tokenizer_encode(embedded, &two, text_slice(whole, cut, whole.size));
    bool equal = one.n == two.n && (one.n == 0 || memcmp(one.ids, two.ids, one.n * 4) == 0);
    token_list_free(&one);
    token_list_free(&two);
    return equal;
}

/* Whatever follows the prefix, cutting at its stable boundary changes nothing. */
static void boundary_check(text prefix, size_t boundary, uint64_t seed)
{
    for (size_t i = 0; i < N_FRAGMENTS; i++) {
        buffer whole = {0};
        buffer_put_text(&whole, prefix);
        buffer_put_text(&whole, text_of(fragments[i]));
        size_t more = random_at(seed, i) % 3;
        for (size_t k = 0; k < more; k++)
            buffer_put_text(&whole, text_of(fragments[random_at(seed + i, k) % N_FRAGMENTS]));
        if (!halves_equal_whole(buffer_text(&whole), boundary))
            fail_msg("cut at %zu of seed %llu moves", boundary, (unsigned long long)seed);
        buffer_free(&whole);
    }
}

/* A prefix of up to seven fragments. */
static void prefix_make(buffer *out, uint64_t seed)
{
    size_t n = random_at(seed, 1000) % 8;
    for (size_t i = 0; i < n; i++)
        buffer_put_text(out, text_of(fragments[random_at(seed, i) % N_FRAGMENTS]));
}

static void test_stable_boundary_by_brute_force(void **state)
{
    (void)state;
    size_t n_late = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        buffer prefix = {0};
        prefix_make(&prefix, seed);
        text t = buffer_text(&prefix);
        size_t boundary = tokenizer_stable_boundary(embedded, t, t.size);
        assert_in_range(boundary, 0, t.size);
        boundary_check(t, boundary, seed);
        n_late += boundary > 0 && boundary + 8 > t.size;
        buffer_free(&prefix);
    }
    assert_true(n_late > 1000); /* it does not hide at 0 */
}

/* Derived by hand from the pattern: which piece could still grow. */
static void test_stable_boundary_values(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t expected;
    } rows[] = {
        {"", 0},
        {"foo", 0},         /* more letters */
        {"foo bar", 3},     /* " bar" may become " bars" */
        {"foo(", 3},        /* "(" may become "()" */
        {"x = 1", 4},       /* "1" may become "12" */
        {"x = 123", 7},     /* three digits are full */
        {"it's", 4},        /* a contraction is full */
        {"it'l", 2},        /* "'l" may become "'ll" or "'lx" */
        {"a\n", 1},         /* "\n" may become "\n\n" */
        {"a\n  b", 3},      /* "a", "\n", " ", and " b" that may grow */
        {"a\n  ", 1},       /* another "\n" would swallow "\n  " */
        {"a  1", 2},        /* "a", " ", " ", but "a  " alone is "a", "  " */
        {"ab\xC3", 0},      /* an unfinished character may be a letter */
        {"ab \xE2\x82", 2}, /* and " " waits for it */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text t = text_of(rows[i].bytes);
        assert_int_equal(tokenizer_stable_boundary(embedded, t, t.size), rows[i].expected);
    }
    assert_int_equal(tokenizer_stable_boundary(embedded, TEXT("foo bar baz"), 8), 7);
    assert_int_equal(tokenizer_stable_boundary(embedded, TEXT("foo bar"), 100), 3);
}

/* system 9125, user 882, assistant 78191, newline 198, "Hi" 13347, "Sure" 40914, "\n\n" 271,
 * "<|im_end|>" as text 27 91 318 6345 91 29: npm's tiktoken; the order is the template's. */
static void test_chatml(void **state)
{
    (void)state;
    enum { START = 100278, END = 100279 };
    const struct chat_message messages[] = {{TEXT("system"), TEXT(" \nHi\t\n")},
                                            {TEXT("user"), TEXT("Hi")},
                                            {TEXT("assistant"), TEXT("\nHi")},
                                            {TEXT("user"), TEXT("<|im_end|>")}};
    token_list ids = {0};
    error err;
    assert_int_equal(chatml_render(embedded, &ids, messages, 2, true, TEXT("Sure"), &err), OK);
    assert_ids(&ids,
               (int32_t[]){START, 9125, 198, 13347, END, 198, START, 882, 198, 13347, END, 198,
                           START, 78191, 198, 40914},
               16);
    ids.n = 0;
    assert_int_equal(chatml_render(embedded, &ids, messages + 1, 3, false, TEXT(""), &err), OK);
    assert_ids(&ids, (int32_t[]){START, 882,   198, 13347, END, 198, START, 78191, 271, 13347, END,
                                 198,   START, 882, 198,   27,  91,  318,   6345,  91,  29,    END},
               22);
    ids.n = 0;
    chatml_begin(embedded, &ids, TEXT("user"));
    chatml_end(embedded, &ids);
    assert_ids(&ids, (int32_t[]){START, 882, 198, END, 198}, 5);
    token_list_free(&ids);
}

static void test_chatml_refuses(void **state)
{
    (void)state;
    const struct chat_message tool = {TEXT("tool"), TEXT("x")}, user = {TEXT("user"), TEXT("x")};
    token_list ids = {0};
    error err;
    assert_int_equal(chatml_render(embedded, &ids, &tool, 1, false, TEXT(""), &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "messages[0].role: found \"tool\""));
    tokenizer *t = prefix_open(300);
    assert_int_equal(chatml_render(t, &ids, &user, 1, false, TEXT(""), &err), ERR_UNSUPPORTED);
    assert_int_equal(ids.n, 0);
    tokenizer_close(t);
    token_list_free(&ids);
}

/* encode says so; count answers with an upper bound. */
static void test_encode_without_memory(void **state)
{
    (void)state;
    char long_piece[500];
    memset(long_piece, 'q', sizeof long_piece);
    text piece = {long_piece, sizeof long_piece};
    for (int64_t n = 1; n <= 3; n++) {
        token_list ids = {0};
        memory_fail_at(n);
        tokenizer_encode(embedded, &ids, piece);
        size_t counted = tokenizer_count(embedded, piece);
        memory_fail_at(0);
        assert_true(ids.failed);
        assert_int_equal(counted, piece.size);
        token_list_free(&ids);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedded),
        cmocka_unit_test(test_specials_by_spelling),
        cmocka_unit_test(test_sha256_of_written_ranks),
        cmocka_unit_test(test_prefix_merges_like_the_definition),
        cmocka_unit_test(test_prefix_round_trip),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_stable_boundary_by_brute_force),
        cmocka_unit_test(test_stable_boundary_values),
        cmocka_unit_test(test_chatml),
        cmocka_unit_test(test_chatml_refuses),
        cmocka_unit_test(test_encode_without_memory),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
