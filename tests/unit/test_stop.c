/* Stop strings: whatever way the output is cut into tokens, what comes out is the text before the
 * first stop string, and nothing is held back longer than it might still become one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "inference/stop.h"

struct expectation {
    const char *output, *stops[3], *released;
    bool stopped;
};

/* Released: by hand, the text before the leftmost occurrence. */
static const struct expectation table[] = {
    {"hello world", {NULL}, "hello world", false},
    {"hello world", {"lo w"}, "hel", true},
    {"hello world", {"hello"}, "", true},
    {"hello world", {"world"}, "hello ", true},
    {"hello world", {"worlds"}, "hello world", false},
    {"aaaaab", {"aab"}, "aaa", true},
    {"abababac", {"ababac"}, "ab", true},
    {"one two three", {"three", "two"}, "one ", true},
    {"one two three", {"o three", "two t"}, "one ", true},
    {"xxaby", {"b", "ab"}, "xx", true},
    {"```\ncode\n```\n", {"\n```"}, "```\ncode", true},
    {"gr\xc3\xbc\xc3\x9f", {"\xc3\x9f"}, "gr\xc3\xbc", true},
};

static size_t stops_of(const struct expectation *e, text *stops)
{
    size_t n = 0;
    while (n < 3 && e->stops[n]) {
        stops[n] = text_of(e->stops[n]);
        n++;
    }
    return n;
}

static void expect(const struct expectation *e, buffer *out, bool stopped)
{
    text released = text_of(e->released);
    assert_int_equal(stopped, e->stopped);
    assert_int_equal(out->size, released.size);
    if (released.size) assert_memory_equal(out->bytes, released.bytes, released.size);
}

static void every_cut_gives_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        text all = text_of(table[i].output), stops[3];
        size_t n_stops = stops_of(&table[i], stops);
        for (size_t cut = 0; cut < (size_t)1 << (all.size - 1); cut++) {
            struct stop_matcher m = {.stops = stops, .n_stops = n_stops};
            buffer out = {0};
            bool stopped = false;
            size_t from = 0;
            for (size_t at = 1; at <= all.size && !stopped; at++) {
                if (at < all.size && !(cut >> (at - 1) & 1)) continue;
                stopped = stop_push(&m, text_slice(all, from, at), &out);
                from = at;
            }
            if (!stopped) stop_flush(&m, &out);
            expect(&table[i], &out, stopped);
            stop_free(&m);
            buffer_free(&out);
        }
    }
}

static void nothing_is_held_longer_than_needed(void **state)
{
    (void)state;
    const text stops[] = {TEXT("\n\n"), TEXT("END")};
    static const struct {
        const char *piece, *out;
    } steps[] = {{"a\n", "a"}, {"b", "\nb"}, {"E", ""}, {"N", ""}, {"X", "ENX"}, {"EEN", "E"}};
    struct stop_matcher m = {.stops = stops, .n_stops = 2};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        buffer out = {0};
        assert_false(stop_push(&m, text_of(steps[i].piece), &out));
        assert_true(text_is(buffer_text(&out), steps[i].out));
        buffer_free(&out);
    }
    stop_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(nothing_is_held_longer_than_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
