/* The stream parser: every split of a stream gives the events of the whole. The expected events are
 * read off by hand from the rules of WHATWG HTML, section 9.2.6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "lsp/client/sse.h"

#include <cmocka.h> /* last: its macro `fail` is not our function */

/* Events one after the other, each closed by "|". */
static bool collect(void *context, text data)
{
    buffer_put_text(context, data);
    buffer_put_char(context, '|');
    return true;
}

static const struct {
    const char *name, *stream, *events;
} cases[] = {
    {"one event", "data: a\n\n", "a|"},
    {"no space after the colon", "data:a\n\n", "a|"},
    {"only one space is dropped", "data:  a\n\n", " a|"},
    {"several lines are joined", "data: a\ndata: b\ndata\n\n", "a\nb\n|"},
    {"CR LF", "data: a\r\n\r\ndata: b\r\n\r\n", "a|b|"},
    {"CR alone", "data: a\r\rdata: b\r\r", "a|b|"},
    {"mixed ends", "data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", "a|b|c|"},
    {"comments and pings", ": ping\n\n: x\ndata: a\n:\n\n", "a|"},
    {"other fields", "event: e\nid: 1\nretry: 5\ndata: a\ndatabase: no\nfoo\n\n", "a|"},
    {"empty data is an event", "data\n\ndata:\n\n", "||"},
    {"blank lines alone are none", "\n\n\r\n\r\r", ""},
    {"an unfinished event is none", "data: a\n\ndata: b\n", "a|"},
    {"an unfinished line is none", "data: a\n\ndata: b", "a|"},
    {"byte order mark",
     "\xEF\xBB\xBF"
     "data: a\n\n",
     "a|"},
    {"a second mark is not one",
     "\n\xEF\xBB\xBF"
     "data: a\n\n",
     ""},
    {"bytes that are no UTF-8", "data: \xff\xc0\n\n", "\xff\xc0|"},
    {"a realistic stream",
     "data: {\"choices\":[{\"text\":\"x\"}]}\n\n: ping\n\ndata: {\"choices\":[]}\r\n\r\ndata: "
     "[DONE]\n\n",
     "{\"choices\":[{\"text\":\"x\"}]}|{\"choices\":[]}|[DONE]|"},
};

static void put_ok(struct sse_parser *p, buffer *events, text bytes)
{
    error err;
    assert_int_equal(sse_put(p, bytes, collect, events, &err), OK);
}

static void check_events(const char *name, buffer *events, const char *expected)
{
    if (!text_is(buffer_text(events), expected))
        fail_msg("%s: found \"%s\", expected \"%s\"", name, events->bytes ? events->bytes : "",
                 expected);
    buffer_clear(events);
}

static void test_every_split(void **state)
{
    (void)state;
    buffer events = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text all = text_of(cases[i].stream);
        for (size_t a = 0; a <= all.size; a++)
            for (size_t b = a; b <= all.size; b++) {
                struct sse_parser p = {0};
                put_ok(&p, &events, text_slice(all, 0, a));
                put_ok(&p, &events, text_slice(all, a, b));
                put_ok(&p, &events, text_slice(all, b, all.size));
                check_events(cases[i].name, &events, cases[i].events);
                sse_free(&p);
            }
    }
    buffer_free(&events);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    buffer events = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sse_parser p = {0};
        text all = text_of(cases[i].stream);
        for (size_t at = 0; at < all.size; at++) put_ok(&p, &events, text_slice(all, at, at + 1));
        check_events(cases[i].name, &events, cases[i].events);
        sse_free(&p);
    }
    buffer_free(&events);
}

/* Feeds `unit` until the parser refuses; returns how many bytes it took. */
static size_t bytes_until_refused(const char *unit, status expected)
{
    struct sse_parser p = {0};
    buffer events = {0};
    error err = {0};
    size_t n = 0;
    status s = OK;
    while (s == OK && n < 4 * SSE_EVENT_MAX) {
        s = sse_put(&p, text_of(unit), collect, &events, &err);
        n += strlen(unit);
    }
    assert_int_equal(s, expected);
    assert_int_equal(events.size, 0);
    sse_free(&p);
    buffer_free(&events);
    return n;
}

static void test_limits(void **state)
{
    (void)state;
    assert_in_range(bytes_until_refused("xxxxxxxxxxxxxxxx", ERR_LIMIT), SSE_EVENT_MAX,
                    SSE_EVENT_MAX + 16);
    assert_in_range(bytes_until_refused("data: xxxxxxxxx\n", ERR_LIMIT), SSE_EVENT_MAX,
                    2 * SSE_EVENT_MAX);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        struct sse_parser p = {0};
        buffer events = {0};
        error err = {0};
        memory_fail_at(n);
        status s = sse_put(&p, TEXT("data: abc\n\n"), collect, &events, &err);
        memory_fail_at(0);
        /* The third allocation is the collector's own. */
        assert_int_equal(s, n < 3 ? ERR_MEMORY : OK);
        sse_free(&p);
        buffer_free(&events);
    }
}

struct stopper {
    struct sse_parser *parser;
    int n;
};

static bool stop_and_free(void *context, text data)
{
    struct stopper *s = context;
    assert_true(text_is(data, "a"));
    s->n++;
    sse_free(s->parser);
    return false;
}

static void test_the_callback_may_end_it(void **state)
{
    (void)state;
    struct sse_parser p = {0};
    struct stopper stopper = {&p, 0};
    assert_int_equal(sse_put(&p, TEXT("data: a\n\ndata: b\n\n"), stop_and_free, &stopper, NULL),
                     OK);
    assert_int_equal(stopper.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_the_callback_may_end_it),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
