/* The assistant's promises about callbacks: one answer for each query, never from inside a call,
 * whatever the callback does, with an engine that is away; and with one that answers, wherever memory
 * ends. What engines answer: completion.test.js. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "lsp/assistant/assistant.h"
#include "tests/unit/support/client_fixture.h"

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

/* An engine whose tokens are single bytes, and that goes on with " = 1;". */
static void peer_that_completes(struct server *s)
{
    static char reply[4096];
    char body[1024];
    peer_ours(s);
    snprintf(body, sizeof body,
             "{\"api\":1,\"version\":\"9.9\",\"model\":\"tiny\",\"tokenizer_sha256\":\"%s\","
             "\"max_model_len\":16384,\"vocabulary_size\":260,"
             "\"specials\":{\"im_start\":256,\"im_end\":257},"
             "\"features\":[\"token_ids\",\"lease\",\"priority\",\"must_start_with\"],"
             "\"state\":\"ready\",\"progress\":1,\"demo\":true}",
             ranks_hash);
    snprintf(reply, sizeof reply,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    s->replies[ROUTE_HANDSHAKE] = (struct reply){reply, AFTER_KEEP, NULL};
    s->replies[ROUTE_COMPLETIONS] =
        (struct reply){EVENTS_HEAD PIECE(" x = 1;\\n") PIECE("```") LAST DONE, AFTER_CLOSE, NULL};
}

/* What a document goes through: one answer for each question that was taken. */
struct life {
    assistant *assistant;
    int n_asked, n_answers, n_shown, n_cancelled;
};

static void on_life(void *context, const struct completion_answer *answer)
{
    struct life *l = context;
    l->n_answers++;
    l->n_cancelled += answer->cancelled;
    l->n_shown += text_is(answer->insert, " = 1;");
}

static void life_ask(struct life *l, const struct completion_query *query)
{
    completion *c;
    error err;
    l->n_asked += assistant_complete(l->assistant, query, on_life, l, &c, &err) == OK;
}

static void life_wait(const struct life *l, uv_loop_t *loop)
{
    while (l->n_answers < l->n_asked) uv_run(loop, UV_RUN_ONCE);
}

/* Memory ends at the n-th allocation of what is called (0: it does not), or `while_said`, of what
 * comes from the loop. True when there was an n-th. */
static bool life_go(struct life *l, uv_loop_t *loop, uint64_t key, int64_t n, bool while_said)
{
    struct completion_query query = {.document = {TEXT("a.c"), TEXT("c"), TEXT("int x\n")},
                                     .document_key = key};
    memory_fail_at(while_said ? 0 : n);
    assistant_opened(l->assistant, &query);
    query.cursor_byte = 5;
    query.invoked = key % 2;
    life_ask(l, &query);
    life_ask(l, &query);
    bool reached = memory_fail_at(while_said ? n : 0);
    life_wait(l, loop);
    reached = memory_fail_at(while_said ? 0 : n) || reached;
    query.document.content = TEXT("int x =\n");
    query.cursor_byte = 7;
    assistant_changed(l->assistant, &query, 2);
    life_ask(l, &query);
    reached = memory_fail_at(0) || reached;
    life_wait(l, loop);
    return reached;
}

struct world {
    struct fixture f;
    struct life l;
};

static void world_open(struct world *w, bool silent)
{
    error err;
    *w = (struct world){.l = {.n_asked = 0}};
    peer_that_completes(&w->f.server);
    if (silent) w->f.server.replies[ROUTE_COMPLETIONS] = (struct reply){NULL, AFTER_HOLD, NULL};
    fixture_open(&w->f);
    run_until_state(&w->f, ENGINE_READY);
    const struct assistant_options options = {.loop = &w->f.loop,
                                              .client = w->f.client,
                                              .automatic_deadline_ms = 500,
                                              .invoked_deadline_ms = 500};
    assert_int_equal(assistant_open(&w->l.assistant, &options, &err), OK);
}

/* All is as it was: what is asked now is answered. */
static void world_close(struct world *w)
{
    int n_before = w->l.n_shown;
    /* The client leaves an engine alone for a moment that has failed it. */
    for (uint64_t key = 1000000; w->l.n_shown == n_before; key++)
        life_go(&w->l, &w->f.loop, key, 0, false);
    assistant_close(w->l.assistant);
    assert_int_equal(w->l.n_answers, w->l.n_asked);
    fixture_close(&w->f);
}

/* What waits for a generation that the text contradicts is cancelled with it, whoever asked. */
static void test_change_cancels(void **state)
{
    (void)state;
    struct world w;
    struct completion_query query = {
        .document = {TEXT("a.c"), TEXT("c"), TEXT("int x\n")}, .document_key = 1, .cursor_byte = 5};
    world_open(&w, true);
    life_ask(&w.l, &query);
    query.document.content = TEXT("int y\n");
    assistant_changed(w.l.assistant, &query, 1);
    life_wait(&w.l, &w.f.loop);
    assert_int_equal(w.l.n_cancelled, 1);
    assistant_close(w.l.assistant);
    fixture_close(&w.f);
}

static void test_memory_ends_anywhere(void **state)
{
    (void)state;
    struct world w;
    int64_t n = 1;
    for (bool reached = true; reached;) {
        world_open(&w, false);
        for (int i = 0; i < 32 && reached; i++, n++) {
            reached = life_go(&w.l, &w.f.loop, (uint64_t)n, n, false);
            if (n % 2) assistant_forget(w.l.assistant, (uint64_t)n);
        }
        world_close(&w);
    }
    assert_true(n > 50);
}

static void test_memory_ends_while_it_is_said(void **state)
{
    (void)state;
    static const int64_t ends[] = {1, 2, 4, 8};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct world w;
        world_open(&w, false);
        life_go(&w.l, &w.f.loop, 1, ends[i], true);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask_again),
        cmocka_unit_test(test_close_inside),
        cmocka_unit_test(test_cancel_and_forget),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_change_cancels),
        cmocka_unit_test(test_memory_ends_anywhere),
        cmocka_unit_test(test_memory_ends_while_it_is_said),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
