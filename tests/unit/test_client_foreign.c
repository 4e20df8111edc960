/* Engines that are not ours: how the client learns whether their ids are ours, what it sends them then,
 * which refusals make it ask otherwise, and what chat engines do to a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/support/client_fixture.h"
#include "tokenizer/chatml.h"

#include <cmocka.h> /* last: its macro `fail` is not our function */

#define JSON_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
/* It says that it closes: a connection closed without a word may fail whoever uses it next. */
#define MISSING "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
#define REFUSED(status)                                                                            \
    "HTTP/1.1 " status " Refused\r\nConnection: close\r\n\r\n"                                     \
    "{\"error\":{\"message\":\"refused with " status "\"}}"
#define MODELS(row) JSON_HEAD "{\"data\":[{" row "}]}"
/* The sample of foreign.c as another program would spell its ids. */
#define SAMPLE "user\\ndef gr\\u00f6\\u00dfe(items):\\n    return [12345 for item in items]\\n"
#define DELTA(text)                                                                                \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"},"                       \
    "\"finish_reason\":null}]}\n\n"
#define CHAT_LAST "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define CHAT_AB   EVENTS_HEAD DELTA("a") DELTA("b") CHAT_LAST DONE

/* What it says of itself, and what comes of that. */
static const struct {
    const char *name, *handshake, *models, *detokenize, *reason, *form;
    int max_model_len, usable_len;
} foreigners[] = {
    {"vLLM, its length told", MISSING, MODELS("\"id\":\"theirs\",\"max_model_len\":4096"),
     JSON_HEAD "{\"prompt\":\"<|im_start|>" SAMPLE "<|im_end|>\"}",
     "no /v1/dbrx there; 4096 tokens by /v1/models", "tokenizer: cl100k", 4096, 4096},
    {"llama.cpp, control tokens left out", MISSING, MODELS("\"id\":\"theirs\""),
     JSON_HEAD "{\"content\":\"" SAMPLE "\"}", "8192 tokens assumed", "tokenizer: cl100k", 8192,
     8192},
    {"known by its name", MISSING, MODELS("\"id\":\"databricks/DBRX-instruct\""), MISSING, "",
     "tokenizer: cl100k", 8192, 8192},
    {"of another vocabulary", MISSING, MODELS("\"id\":\"dbrx\",\"max_model_len\":3000"),
     JSON_HEAD "{\"text\":\"quite another text\"}", "3000 tokens by /v1/models",
     "by chat, for its tokenizer is another: no token healing", 3000, 1980},
    {"a service that says nothing", MISSING, MISSING, MISSING, "8192 tokens assumed",
     "by chat, for its tokenizer is not known (--model DIR names one): no token healing, no exact "
     "budget, no warming",
     8192, 5406},
    {"a page for everything", "HTTP/1.1 200 OK\r\n\r\n<html>", MODELS("\"id\":\"theirs\""),
     "HTTP/1.1 200 OK\r\n\r\n<html>", "its /v1/dbrx is no handshake", "by chat", 8192, 5406},
    {"of another api", "HTTP/1.1 200 OK\r\n\r\n{\"api\":7,\"version\":\"3.2.1\"}",
     MODELS("\"id\":\"dbrx\""), MISSING,
     "its version is 3.2.1 (api 7), ours " DBRX_VERSION " (api 1)", "tokenizer: cl100k", 8192,
     8192},
};

static void peer_foreign(struct fixture *f, const char *models, const char *detokenize)
{
    peer_ours(&f->server);
    f->server.replies[ROUTE_HANDSHAKE] = (struct reply){MISSING, AFTER_CLOSE, NULL};
    f->server.replies[ROUTE_MODELS] = (struct reply){models, AFTER_CLOSE, NULL};
    f->server.replies[ROUTE_DETOKENIZE] = (struct reply){detokenize, AFTER_CLOSE, NULL};
    f->server.replies[ROUTE_CHAT] = (struct reply){CHAT_AB, AFTER_CLOSE, NULL};
}

static int n_asked(struct fixture *f, enum route route)
{
    return atomic_load(&f->server.n_requests[route]);
}

static void test_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof foreigners / sizeof *foreigners; i++) {
        struct fixture f = {0};
        bool ids = strstr(foreigners[i].form, "cl100k") != NULL;
        peer_foreign(&f, foreigners[i].models, foreigners[i].detokenize);
        f.server.replies[ROUTE_HANDSHAKE].bytes = foreigners[i].handshake;
        fixture_open(&f);
        run_until_state(&f, ENGINE_DEGRADED);
        const struct engine_status *s = engine_client_status(f.client);
        check_holds(foreigners[i].name, s->reason, foreigners[i].reason);
        check_holds(foreigners[i].name, s->reason, foreigners[i].form);
        assert_int_equal(s->max_model_len, foreigners[i].max_model_len);
        assert_int_equal(s->usable_len, foreigners[i].usable_len);
        assert_false(s->ours);
        assert_int_equal(s->by_chat, !ids);
        assert_int_equal(tokenizer_specials(engine_client_tokenizer(f.client))->im_start, 100278);
        call_begin(&f, 0);
        run_until_done(&f, 1);
        assert_int_equal(f.code, OK);
        assert_string_equal(f.came.bytes, "ab");
        assert_int_equal(n_asked(&f, ROUTE_COMPLETIONS), ids);
        assert_int_equal(n_asked(&f, ROUTE_CHAT), !ids);
        assert_null(strstr(f.server.last_body, "\"dbrx\":"));
        if (ids) check_holds("ids", f.server.last_body, "\"prompt\":[72,105]");
        assert_int_equal(n_asked(&f, ROUTE_EVENTS), 0);
        fixture_close(&f);
    }
}

static int32_t n_choices;

/* A call of a prompt with turns; "```c\nint a" is what the open one says. */
static void chat_begin(struct fixture *f, const char *priority)
{
    const struct chat_message user = {TEXT("user"), TEXT("Go on with <|im_end|>.")};
    const tokenizer *t = engine_client_tokenizer(f->client);
    token_list ids = {0};
    f->n_done = 0;
    assert_int_equal(chatml_render(t, &ids, &user, 1, true, TEXT("```c\nint a"), NULL), OK);
    const struct engine_request request = {.prompt = ids.ids,
                                           .n_prompt = ids.n,
                                           .max_tokens = 7,
                                           .priority = priority,
                                           .n_choices = n_choices};
    const struct engine_callbacks callbacks = {
        .on_text = text_came, .on_done = done_came, .context = f};
    error err;
    status s = engine_client_complete(f->client, &request, &callbacks, &f->call, &err);
    assert_int_equal(s, strcmp(priority, "warm") == 0 ? ERR_UNSUPPORTED : OK);
    token_list_free(&ids);
}

/* What is refused, and how the next call is asked then. */
static const struct {
    const char *name, *ids, *chat, *chat_later;
    int n_ids, n_chat;           /* requests of the first call */
    int n_ids_then, n_chat_then; /* and of the second */
    status code;
    const char *reason, *state;
} refusals[] = {
    {"ids with 400", REFUSED("400"), CHAT_AB, NULL, 1, 1, 0, 1, OK, "",
     "by chat, for it refuses token ids"},
    {"ids with 422", REFUSED("422"), CHAT_AB, NULL, 1, 1, 0, 1, OK, "", "by chat"},
    {"no such route", REFUSED("404"), CHAT_AB, NULL, 1, 1, 0, 1, OK, "", "by chat"},
    {"no such method", REFUSED("405"), CHAT_AB, NULL, 1, 1, 0, 1, OK, "", "by chat"},
    {"an assistant's turn at the end", REFUSED("400"), REFUSED("400"), CHAT_AB, 1, 2, 0, 1, OK, "",
     "by chat, for it refuses token ids"},
    {"that with 500", REFUSED("400"), REFUSED("500"), CHAT_AB, 1, 2, 0, 1, OK, "", "by chat"},
    {"the request itself", REFUSED("400"), REFUSED("422"), NULL, 1, 2, 1, 2, ERR_USAGE,
     "(HTTP 400): refused with 400", "tokenizer: cl100k"},
    {"no route at all", REFUSED("405"), REFUSED("422"), NULL, 1, 2, 1, 2, ERR_USAGE,
     "(HTTP 422): refused with 422", "tokenizer: cl100k"},
    {"the length", REFUSED("413"), CHAT_AB, NULL, 1, 0, 1, 0, ERR_USAGE, "HTTP 413",
     "tokenizer: cl100k"},
};

static void test_what_it_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct fixture f = {0};
        peer_foreign(&f, MODELS("\"id\":\"dbrx\""), MISSING);
        f.server.replies[ROUTE_COMPLETIONS] = (struct reply){refusals[i].ids, AFTER_CLOSE, NULL};
        f.server.replies[ROUTE_CHAT] = (struct reply){refusals[i].chat, AFTER_CLOSE, NULL};
        f.server.later[ROUTE_CHAT] = (struct reply){refusals[i].chat_later, AFTER_CLOSE, NULL};
        fixture_open(&f);
        run_until_state(&f, ENGINE_DEGRADED);
        chat_begin(&f, "interactive");
        run_until_done(&f, 1);
        int n_ids = n_asked(&f, ROUTE_COMPLETIONS), n_chat = n_asked(&f, ROUTE_CHAT);
        if (f.code != refusals[i].code || n_ids != refusals[i].n_ids ||
            n_chat != refusals[i].n_chat)
            fail_msg("%s: status %d \"%s\", %d by ids, %d by chat", refusals[i].name, f.code,
                     f.reason, n_ids, n_chat);
        check_holds(refusals[i].name, f.reason, refusals[i].reason);
        if (f.code == OK) assert_string_equal(f.came.bytes, "ab");
        check_holds(refusals[i].name, engine_client_status(f.client)->reason, refusals[i].state);
        assert_null(strstr(f.server.last_body, "<|im_end|>"));
        chat_begin(&f, "interactive");
        run_until_done(&f, 1);
        assert_int_equal(n_asked(&f, ROUTE_COMPLETIONS) - n_ids, refusals[i].n_ids_then);
        assert_int_equal(n_asked(&f, ROUTE_CHAT) - n_chat, refusals[i].n_chat_then);
        if (f.code == OK) chat_begin(&f, "warm");
        assert_int_equal(n_asked(&f, ROUTE_CHAT) - n_chat, refusals[i].n_chat_then);
        fixture_close(&f);
    }
}

/* One that has answered to ids refuses the request, not the form. */
static void test_a_proven_form_stays(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_foreign(&f, MODELS("\"id\":\"dbrx\""), MISSING);
    f.server.later[ROUTE_COMPLETIONS] = (struct reply){REFUSED("400"), AFTER_CLOSE, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_DEGRADED);
    chat_begin(&f, "interactive");
    run_until_done(&f, 1);
    assert_int_equal(f.code, OK);
    chat_begin(&f, "interactive");
    run_until_done(&f, 1);
    assert_int_equal(f.code, ERR_USAGE);
    assert_int_equal(n_asked(&f, ROUTE_CHAT), 0);
    assert_false(engine_client_status(f.client)->by_chat);
    fixture_close(&f);
}

/* Several choices may be what is refused: such a call tells nothing of the form. */
static void test_several_choices_tell_nothing(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_foreign(&f, MODELS("\"id\":\"dbrx\""), MISSING);
    f.server.replies[ROUTE_COMPLETIONS] = (struct reply){REFUSED("400"), AFTER_CLOSE, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_DEGRADED);
    n_choices = 3;
    chat_begin(&f, "interactive");
    n_choices = 0;
    run_until_done(&f, 1);
    assert_int_equal(f.code, ERR_USAGE);
    assert_int_equal(n_asked(&f, ROUTE_CHAT), 0);
    assert_false(engine_client_status(f.client)->by_chat);
    fixture_close(&f);
}

/* What was found out belongs to the link: the next one asks anew. */
static void test_a_new_link_asks_anew(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_foreign(&f, MODELS("\"id\":\"dbrx\""), MISSING);
    f.server.replies[ROUTE_COMPLETIONS] = (struct reply){REFUSED("400"), AFTER_CLOSE, NULL};
    f.server.later[ROUTE_CHAT] = (struct reply){EVENTS_HEAD DELTA("a"), AFTER_CLOSE, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_DEGRADED);
    for (int n = 1; n <= 4; n++) { /* one that is answered, three that are cut open the circuit */
        chat_begin(&f, "interactive");
        run_until_done(&f, 1);
        assert_int_equal(f.code, n == 1 ? OK : ERR_NETWORK);
        assert_int_equal(n_asked(&f, ROUTE_COMPLETIONS), 1);
    }
    run_until_state(&f, ENGINE_OFF);
    assert_int_equal(n_asked(&f, ROUTE_DETOKENIZE), 1);
    run_until_state(&f, ENGINE_DEGRADED);
    assert_int_equal(n_asked(&f, ROUTE_DETOKENIZE), 2);
    chat_begin(&f, "interactive");
    run_until_done(&f, 1);
    assert_int_equal(n_asked(&f, ROUTE_COMPLETIONS), 2);
    fixture_close(&f);
}

/* What chat engines stream; the open turn says "```c\nint a". */
static const struct {
    const char *name, *reply;
    enum after after;
    status code;
    bool cut;
    const char *came, *finish;
} streams[] = {
    {"role first, empty deltas, usage last",
     EVENTS_HEAD
     "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
     "data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\n" DELTA("b") CHAT_LAST
     "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n" DONE,
     AFTER_CLOSE, OK, false, "b", "stop"},
    {"comments and CRLF",
     EVENTS_HEAD ": waiting\r\n\r\n"
                 "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\r\n\r\n: ping\r\n\r\n"
                 "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\r\n\r\n"
                 "data: [DONE]\r\n\r\n",
     AFTER_CLOSE, OK, false, "b", "length"},
    {"no [DONE]", EVENTS_HEAD DELTA("b") CHAT_LAST, AFTER_CLOSE, OK, false, "b", "stop"},
    {"no finish_reason", EVENTS_HEAD DELTA("b") DONE, AFTER_CLOSE, OK, false, "b", ""},
    {"neither", EVENTS_HEAD DELTA("b"), AFTER_CLOSE, ERR_NETWORK, true, "b", ""},
    {"held open behind its end", EVENTS_HEAD DELTA("b") CHAT_LAST DONE, AFTER_HOLD, OK, false, "b",
     "stop"},
    {"nothing but an end", EVENTS_HEAD CHAT_LAST DONE, AFTER_CLOSE, OK, false, "", "stop"},
    {"thoughts",
     EVENTS_HEAD
     "data: {\"choices\":[{\"delta\":{\"content\":null,\"reasoning_content\":\"hm\"}}]}\n\n" DELTA(
         "b") CHAT_LAST,
     AFTER_CLOSE, OK, false, "b", "stop"},
    {"no stream",
     JSON_HEAD "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"b = 1;\"},"
               "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3}}",
     AFTER_CLOSE, OK, false, "b = 1;", "stop"},
    {"begun anew", EVENTS_HEAD DELTA("``") DELTA("`c\\nint") DELTA(" ab") DELTA(" = 1;") CHAT_LAST,
     AFTER_CLOSE, OK, false, "b = 1;", "stop"},
    {"begun anew, and ended within", EVENTS_HEAD DELTA("```c\\nin") CHAT_LAST DONE, AFTER_CLOSE, OK,
     false, "```c\nin", "stop"},
    {"begun anew, and cut", EVENTS_HEAD DELTA("```c\\nin"), AFTER_CLOSE, ERR_NETWORK, true, "", ""},
    {"marks across pieces",
     EVENTS_HEAD DELTA("b = \\\"<") DELTA("\xC2\xA6|im_end") DELTA("|>[") CHAT_LAST, AFTER_CLOSE,
     OK, false, "b = \"<|im_end|>[", "stop"},
    {"an error in the stream",
     EVENTS_HEAD DELTA("b") "data: {\"error\":{\"message\":\"lost\"}}\n\n", AFTER_CLOSE,
     ERR_NETWORK, true, "b", ""},
    {"an error and no stream", JSON_HEAD "{\"error\":{\"message\":\"lost\"}}", AFTER_CLOSE,
     ERR_NETWORK, true, "", ""},
    {"no text", EVENTS_HEAD "data: {\"choices\":[{\"delta\":{\"content\":7}}]}\n\n", AFTER_CLOSE,
     ERR_NETWORK, true, "", ""},
    {"a page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", AFTER_CLOSE, ERR_NETWORK,
     true, "", ""},
    {"busy", REFUSED("429"), AFTER_CLOSE, ERR_BUSY, false, "", ""},
};

static void test_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct fixture f = {0};
        peer_foreign(&f, MODELS("\"id\":\"theirs\""), MISSING);
        f.server.replies[ROUTE_CHAT] = (struct reply){streams[i].reply, streams[i].after, NULL};
        fixture_open(&f);
        run_until_state(&f, ENGINE_DEGRADED);
        chat_begin(&f, "interactive");
        run_until_done(&f, 1);
        const char *came = f.came.size ? f.came.bytes : "";
        if (f.code != streams[i].code || f.cut != streams[i].cut ||
            strcmp(came, streams[i].came) != 0 || strcmp(f.finish, streams[i].finish) != 0)
            fail_msg("%s: status %d \"%s\", cut %d, came \"%s\", finish \"%s\"", streams[i].name,
                     f.code, f.reason, f.cut, came, f.finish);
        assert_int_equal(n_asked(&f, ROUTE_COMPLETIONS), 0);
        fixture_close(&f);
    }
}

static void test_cancel_closes_the_stream(void **state)
{
    (void)state;
    struct fixture f = {.cancel_on_text = true};
    peer_foreign(&f, MODELS("\"id\":\"theirs\""), MISSING);
    f.server.replies[ROUTE_CHAT] = (struct reply){EVENTS_HEAD, AFTER_DRIP, DELTA("b")};
    fixture_open(&f);
    run_until_state(&f, ENGINE_DEGRADED);
    chat_begin(&f, "interactive");
    run_until_done(&f, 1);
    assert_int_equal(f.code, ERR_CANCELLED);
    assert_string_equal(f.came.bytes, "b");
    while (atomic_load(&f.server.n_hung_up) == 0) uv_run(&f.loop, UV_RUN_NOWAIT);
    fixture_close(&f);
}

static void test_a_refused_key(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_foreign(&f, MODELS("\"id\":\"theirs\""), MISSING);
    f.server.replies[ROUTE_CHAT] = (struct reply){REFUSED("401"), AFTER_CLOSE, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_DEGRADED);
    chat_begin(&f, "interactive");
    run_until_done(&f, 1);
    assert_int_equal(f.code, ERR_NETWORK);
    assert_int_equal(n_asked(&f, ROUTE_CHAT), 1);
    check_holds("key", engine_client_status(f.client)->reason, "refuses the key");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_is),
        cmocka_unit_test(test_what_it_refuses),
        cmocka_unit_test(test_a_proven_form_stays),
        cmocka_unit_test(test_several_choices_tell_nothing),
        cmocka_unit_test(test_a_new_link_asks_anew),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_cancel_closes_the_stream),
        cmocka_unit_test(test_a_refused_key),
    };
    return cmocka_run_group_tests_name("client_foreign", tests, group_setup, group_teardown);
}
