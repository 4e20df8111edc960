/* How the engine client finds out what it talks to: handshakes, tokenizers, leases, and peers that are
 * none of these. Foreign engines: test_client_foreign.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/paths.h"
#include "tests/unit/support/client_fixture.h"

#include <cmocka.h> /* last: its macro `fail` is not our function */

static void test_tokenizer_of_another_hash_is_refused(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    char forged[2048];
    snprintf(forged, sizeof forged, "%s", handshake);
    memset(strstr(forged, ranks_hash), '0', 64);
    f.server.replies[ROUTE_HANDSHAKE].bytes = forged;
    fixture_open(&f);
    run_until_state(&f, ENGINE_OFF);
    const char *reason = engine_client_status(f.client)->reason;
    check_holds("found", reason, ranks_hash);
    check_holds("expected", reason, "expected 0000000000");
    assert_null(engine_client_tokenizer(f.client));
    call_begin(&f, 0);
    run_until_done(&f, 1);
    assert_int_equal(f.code, ERR_NETWORK);
    assert_int_equal(atomic_load(&f.server.n_requests[ROUTE_COMPLETIONS]), 0);
    fixture_close(&f);
}

/* How often the peer was asked for its tokenizer until it was ready. */
static int tokenizer_fetches(void)
{
    struct fixture f = {0};
    peer_ours(&f.server);
    fixture_open(&f);
    run_until_state(&f, ENGINE_READY);
    int n = atomic_load(&f.server.n_requests[ROUTE_TOKENIZER]);
    fixture_close(&f);
    return n;
}

static void test_tokenizer_is_cached_and_verified(void **state)
{
    (void)state;
    buffer path = {0}, kept = {0};
    char name[128];
    snprintf(name, sizeof name, "tokenizers/%s", ranks_hash);
    assert_int_equal(path_cache(&path, name, NULL), OK);
    remove(path.bytes);
    assert_int_equal(tokenizer_fetches(), 1);
    assert_int_equal(tokenizer_fetches(), 0);
    assert_int_equal(file_read(&kept, path.bytes, MIB, NULL), OK);
    assert_string_equal(kept.bytes, ranks);
    assert_int_equal(file_write(path.bytes, TEXT("IQ== 0\n"), 0600, NULL), OK);
    assert_int_equal(tokenizer_fetches(), 1);
    assert_int_equal(tokenizer_fetches(), 0);
    buffer_free(&path);
    buffer_free(&kept);
}

/* Handshakes that must switch the client off with a reason, never crash it. */
static const struct {
    const char *body, *reason;
} bad_handshakes[] = {
    {"{\"api\":1}", "state"},
    {"{\"api\":1,\"state\":\"ready\"}", "missing"},
    {"{\"api\":1,\"state\":\"ready\",\"tokenizer_sha256\":\"../../../etc/passwd\"}",
     "tokenizer_sha256"},
    {"{\"api\":1,\"state\":\"ready\",\"max_model_len\":-5}", "max_model_len"},
    {"{\"api\":1,\"state\":\"ready\",\"vocabulary_size\":99999999999}", "vocabulary_size"},
    {"{\"api\":1,\"state\":\"loading\",\"vocabulary_size\":10,\"specials\":{\"pad\":10}}",
     "specials.pad"},
};

static void test_bad_handshakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_handshakes / sizeof *bad_handshakes; i++) {
        struct fixture f = {0};
        char reply[1024];
        peer_ours(&f.server);
        snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(bad_handshakes[i].body), bad_handshakes[i].body);
        f.server.replies[ROUTE_HANDSHAKE].bytes = reply;
        fixture_open(&f);
        run_until_state(&f, ENGINE_OFF);
        check_holds(bad_handshakes[i].body, engine_client_status(f.client)->reason,
                    bad_handshakes[i].reason);
        fixture_close(&f);
    }
}

/* While it loads, an engine cannot name its model; the lease tells when it can. */
static void test_loading_becomes_ready(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    f.server.replies[ROUTE_HANDSHAKE] = (struct reply){
        "HTTP/1.1 200 OK\r\n\r\n{\"api\":1,\"version\":\"9.9\",\"state\":\"loading\","
        "\"progress\":0.25,\"features\":[\"lease\"]}",
        AFTER_CLOSE, NULL};
    f.server.later[ROUTE_HANDSHAKE] = (struct reply){handshake, AFTER_KEEP, NULL};
    f.server.replies[ROUTE_EVENTS] =
        (struct reply){EVENTS_HEAD "data: {\"state\":\"loading\",\"progress\":0.5}\n\n: ping\n\n",
                       AFTER_CLOSE, NULL};
    f.server.later[ROUTE_EVENTS] = (struct reply){LEASE, AFTER_HOLD, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_LOADING);
    assert_int_equal(engine_client_status(f.client)->max_model_len, 0);
    run_until_state(&f, ENGINE_READY);
    assert_string_equal(engine_client_status(f.client)->model, "tiny");
    while (engine_client_status(f.client)->queue < 3) uv_run(&f.loop, UV_RUN_ONCE);
    assert_true(f.n_statuses > 0);
    fixture_close(&f);
}

static void test_a_failed_engine_says_why(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    f.server.replies[ROUTE_HANDSHAKE] =
        (struct reply){"HTTP/1.1 200 OK\r\n\r\n{\"api\":1,\"state\":\"failed\","
                       "\"reason\":\"config.json: not \\u001bthere\"}",
                       AFTER_CLOSE, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_OFF);
    assert_string_equal(engine_client_status(f.client)->reason,
                        "the engine failed: config.json: not ?there");
    fixture_close(&f);
}

/* A lease that talks nonsense is dropped with a reason, and tried again. */
static void test_lease_garbage(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    f.server.replies[ROUTE_EVENTS] =
        (struct reply){EVENTS_HEAD "data: {\"state\":\"dancing\"}\n\n", AFTER_HOLD, NULL};
    f.server.later[ROUTE_EVENTS] = (struct reply){LEASE, AFTER_HOLD, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_OFF);
    check_holds("lease", engine_client_status(f.client)->reason, "lease event: state");
    run_until_state(&f, ENGINE_READY);
    fixture_close(&f);
}

static void test_refused_key(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    f.server.replies[ROUTE_HANDSHAKE].bytes = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
    fixture_open(&f);
    run_until_state(&f, ENGINE_OFF);
    check_holds("401", engine_client_status(f.client)->reason, "refuses the key");
    fixture_close(&f);
}

static void test_breaker(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    f.server.replies[ROUTE_COMPLETIONS] = (struct reply){EVENTS_HEAD PIECE("a"), AFTER_CLOSE, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_READY);
    for (int n = 1; n <= 3; n++) {
        f.came.size = 0;
        f.n_done = 0;
        call_begin(&f, 0);
        run_until_done(&f, 1);
        assert_true(f.cut);
    }
    assert_int_equal(engine_client_status(f.client)->state, ENGINE_OFF);
    check_holds("breaker", engine_client_status(f.client)->reason,
                "paused after 3 failed requests");
    call_begin(&f, 0);
    run_until_done(&f, 2);
    assert_int_equal(atomic_load(&f.server.n_requests[ROUTE_COMPLETIONS]), 3);
    run_until_state(&f, ENGINE_READY);
    f.n_done = 0;
    call_begin(&f, 0);
    run_until_done(&f, 1);
    /* Half open: the first failure opens it again. */
    assert_int_equal(engine_client_status(f.client)->state, ENGINE_OFF);
    fixture_close(&f);
}

static void test_endpoints_that_cannot_be(void **state)
{
    (void)state;
    static const char *const endpoints[] = {"",
                                            "localhost:8000",
                                            "ftp://host/",
                                            "file:///etc/passwd",
                                            "http://user:pass@host:1/",
                                            "http://host/?key=1",
                                            "http://host/#x",
                                            "unix:relative",
                                            "http://"};
    uv_loop_t loop;
    uv_loop_init(&loop);
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        const struct engine_client_options o = {.loop = &loop, .endpoint = endpoints[i]};
        engine_client *c;
        error err;
        if (engine_client_open(&c, &o, &err) != ERR_USAGE) fail_msg("accepted %s", endpoints[i]);
        assert_null(strstr(err.message, "pass"));
    }
    const struct engine_client_options o = {
        .loop = &loop, .endpoint = "http://h", .api_key = "a\r\nX-Evil: 1"};
    engine_client *c;
    assert_int_equal(engine_client_open(&c, &o, NULL), ERR_USAGE);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Whether a silent engine lives cannot be asked without memory; later it can. */
static void test_no_memory_to_ask_whether_it_lives(void **state)
{
    (void)state;
    struct fixture f = {0};
    peer_ours(&f.server);
    f.server.replies[ROUTE_COMPLETIONS] = (struct reply){NULL, AFTER_HOLD, NULL};
    fixture_open(&f);
    run_until_state(&f, ENGINE_READY);
    call_begin(&f, 0);
    memory_fail_at(1);
    run_until_state(&f, ENGINE_OFF);
    memory_fail_at(0);
    check_holds("reason", engine_client_status(f.client)->reason, "out of memory");
    run_until_state(&f, ENGINE_READY);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_to_ask_whether_it_lives),
        cmocka_unit_test(test_tokenizer_of_another_hash_is_refused),
        cmocka_unit_test(test_tokenizer_is_cached_and_verified),
        cmocka_unit_test(test_bad_handshakes),
        cmocka_unit_test(test_loading_becomes_ready),
        cmocka_unit_test(test_a_failed_engine_says_why),
        cmocka_unit_test(test_lease_garbage),
        cmocka_unit_test(test_refused_key),
        cmocka_unit_test(test_breaker),
        cmocka_unit_test(test_endpoints_that_cannot_be),
    };
    return cmocka_run_group_tests_name("client_link", tests, group_setup, group_teardown);
}
