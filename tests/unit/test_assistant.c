/* The assistant's promises about callbacks, with an engine that is away: one answer for each query,
 * never from inside a call, whatever the callback does. What engines answer: completion.test.js. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/memory.h"
#include "lsp/assistant/assistant.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

struct bench {
    uv_loop_t loop;
    engine_client *client;
    assistant *assistant;
    int n_answers, n_cancelled, n_failed, n_left; /* n_left: to ask again from the callback */
    bool closes, inside, refused;
};

static void on_answer(void *context, const struct completion_answer *answer);

static status ask(struct bench *b, uint64_t key, completion **out)
{
    completion *c;
    error err;
    const struct completion_query query = {
        .document = {TEXT("a.c"), TEXT("c"), TEXT("int x\n")},
        .document_key = key,
        .cursor_byte = 5,
    };
    b->inside = true;
    status s = assistant_complete(b->assistant, &query, on_answer, b, out ? out : &c, &err);
    b->inside = false;
    return s;
}

static void on_answer(void *context, const struct completion_answer *answer)
{
    struct bench *b = context;
    assert_false(b->inside);
    b->n_answers++;
    b->n_cancelled += answer->cancelled;
    b->n_failed += answer->failed;
    assert_true(answer->insert.size == 0 && answer->reason[0]);
    if (b->n_left > 0 && b->n_left--) assert_int_equal(ask(b, 1, NULL), OK);
    if (b->closes) {
        b->closes = false;
        assistant_close(b->assistant);
        b->refused = ask(b, 1, NULL) == ERR_CANCELLED;
        b->assistant = NULL;
    }
}

static void bench_open(struct bench *b)
{
    *b = (struct bench){0};
    error err;
    assert_int_equal(uv_loop_init(&b->loop), 0);
    const struct engine_client_options client = {.loop = &b->loop, .endpoint = "unix:/nowhere/x"};
    assert_int_equal(engine_client_open(&b->client, &client, &err), OK);
    const struct assistant_options options = {.loop = &b->loop, .client = b->client};
    assert_int_equal(assistant_open(&b->assistant, &options, &err), OK);
}

static void bench_close(struct bench *b)
{
    if (b->assistant) assistant_close(b->assistant);
    engine_client_close(b->client, NULL, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
}

static void answers_wait(struct bench *b, int n)
{
    while (b->n_answers < n) uv_run(&b->loop, UV_RUN_ONCE);
    assert_int_equal(b->n_answers, n);
}

static void test_ask_again(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b);
    b.n_left = 50;
    assert_int_equal(ask(&b, 1, NULL), OK);
    /* The loop goes round: it looks at timers twice a round, and again when one of the client's has
     * moved its clock on; never for as long as somebody asks. */
    while (b.n_answers < 51) {
        int n_before = b.n_answers;
        uv_run(&b.loop, UV_RUN_ONCE);
        assert_true(b.n_answers - n_before < 10);
    }
    assert_int_equal(b.n_failed, 51);
    bench_close(&b);
    assert_int_equal(b.n_answers, 51);
}

static void test_close_inside(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b);
    b.closes = true;
    for (uint64_t key = 1; key <= 4; key++) assert_int_equal(ask(&b, key, NULL), OK);
    answers_wait(&b, 4);
    assert_true(b.refused);
    bench_close(&b);
    assert_int_equal(b.n_answers, 4);
}

static void test_cancel_and_forget(void **state)
{
    (void)state;
    struct bench b;
    completion *c;
    bench_open(&b);
    assert_int_equal(ask(&b, 1, &c), OK);
    assert_int_equal(ask(&b, 2, NULL), OK);
    assert_int_equal(ask(&b, 3, NULL), OK);
    completion_cancel(c);
    completion_cancel(c);
    assistant_forget(b.assistant, 2);
    assistant_forget(b.assistant, 7); /* unknown */
    assert_int_equal(b.n_answers, 0);
    answers_wait(&b, 3);
    assert_int_equal(b.n_cancelled, 2);
    bench_close(&b);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b);
    int n_asked = 0, n_refused = 0;
    for (int64_t n = 1; n <= 8; n++) {
        completion *c = (completion *)&b;
        memory_fail_at(n);
        status s = ask(&b, 100 + (uint64_t)n, &c);
        memory_fail_at(0);
        assert_true(s == OK || (s == ERR_MEMORY && !c));
        n_asked += s == OK;
        n_refused += s != OK;
    }
    assert_true(n_asked > 0 && n_refused > 0);
    answers_wait(&b, n_asked);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask_again),
        cmocka_unit_test(test_close_inside),
        cmocka_unit_test(test_cancel_and_forget),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
