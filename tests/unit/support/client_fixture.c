/* Everything that comes is noted in the fixture; what must never happen is asserted where it would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/sha256.h"
#include "tests/unit/support/client_fixture.h"

#include <cmocka.h> /* last: its macro `fail` is not our function */

char ranks[8192], ranks_hash[65], handshake[2048];
static char tokenizer_reply[16384];

/* The 256 single bytes as a rank list, and an engine of ours that has it. */
static void peers_prepare(void)
{
    buffer list = {0};
    char body[1024];
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        base64_encode(&list, (text){&byte, 1});
        buffer_print(&list, " %d\n", i);
    }
    snprintf(ranks, sizeof ranks, "%s", list.bytes);
    sha256_hex(list.bytes, list.size, ranks_hash);
    buffer_free(&list);
    snprintf(body, sizeof body,
             "{\"api\":1,\"version\":\"9.9\",\"model\":\"tiny\",\"tokenizer_sha256\":\"%s\","
             "\"max_model_len\":512,\"vocabulary_size\":260,\"specials\":{\"im_end\":257},"
             "\"features\":[\"token_ids\",\"lease\",\"priority\"],\"state\":\"ready\","
             "\"progress\":1,\"demo\":true}",
             ranks_hash);
    snprintf(handshake, sizeof handshake,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    snprintf(tokenizer_reply, sizeof tokenizer_reply,
             "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(ranks), ranks);
}

void peer_ours(struct server *s)
{
    memset(s, 0, sizeof *s);
    s->replies[ROUTE_HANDSHAKE] = (struct reply){handshake, AFTER_KEEP, NULL};
    s->replies[ROUTE_EVENTS] = (struct reply){LEASE, AFTER_HOLD, NULL};
    s->replies[ROUTE_TOKENIZER] = (struct reply){tokenizer_reply, AFTER_KEEP, NULL};
    s->replies[ROUTE_COMPLETIONS] =
        (struct reply){EVENTS_HEAD PIECE("a") PIECE("b") LAST DONE, AFTER_CLOSE, NULL};
}

static void status_came(void *context, const struct engine_status *s)
{
    struct fixture *f = context;
    (void)s;
    f->n_statuses++;
}

void closed_came(void *context) { ((struct fixture *)context)->n_closed++; }

void text_came(void *context, text piece)
{
    struct fixture *f = context;
    assert_false(f->inside);
    assert_int_equal(f->n_done, 0);
    buffer_put_text(&f->came, piece);
    if (f->cancel_on_text) engine_call_cancel(f->call);
    if (f->close_on_text) engine_client_close(f->client, closed_came, f);
}

void done_came(void *context, const struct engine_answer *a)
{
    struct fixture *f = context;
    assert_false(f->inside);
    f->n_done++;
    f->call = NULL;
    f->code = a->code;
    f->cut = a->cut;
    f->n_prompt = a->n_prompt;
    f->n_cached = a->n_cached;
    f->n_output = a->n_output;
    f->tokens_per_s = a->tokens_per_s;
    snprintf(f->reason, sizeof f->reason, "%s", a->reason);
    snprintf(f->finish, sizeof f->finish, "%s", a->finish);
}

static void watchdog_fired(uv_timer_t *timer)
{
    const struct fixture *f = timer->data;
    const struct engine_status *s = engine_client_status(f->client);
    fail_msg("nothing happened for 30 s; status %d \"%s\", %d done \"%s\"", s->state, s->reason,
             f->n_done, f->reason);
}

void fixture_open(struct fixture *f)
{
    error err;
    server_start(&f->server);
    snprintf(f->endpoint, sizeof f->endpoint, "http://127.0.0.1:%d/v1/", f->server.port);
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &f->watchdog);
    f->watchdog.data = f;
    uv_timer_start(&f->watchdog, watchdog_fired, 30000, 0);
    f->options.loop = &f->loop;
    f->options.endpoint = f->endpoint;
    f->options.on_status = status_came;
    f->options.context = f;
    if (engine_client_open(&f->client, &f->options, &err) != OK) fail_msg("%s", err.message);
}

void fixture_close(struct fixture *f)
{
    if (f->n_closed == 0) engine_client_close(f->client, closed_came, f);
    while (f->n_closed == 0) uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&f->watchdog, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_equal(f->n_closed, 1);
    server_stop(&f->server);
    buffer_free(&f->came);
}

void run_until_state(struct fixture *f, enum engine_state state)
{
    while (engine_client_status(f->client)->state != state) uv_run(&f->loop, UV_RUN_ONCE);
}

void run_until_done(struct fixture *f, int n)
{
    while (f->n_done < n) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->n_done, n);
}

void call_begin(struct fixture *f, int64_t deadline_ms)
{
    static const int32_t prompt[] = {72, 105};
    const text stops[] = {TEXT("\n\"stop\"")};
    const struct engine_request request = {.prompt = prompt,
                                           .n_prompt = 2,
                                           .max_tokens = 7,
                                           .temperature = 0.2F,
                                           .seed = UINT64_MAX,
                                           .stops = stops,
                                           .n_stops = 1,
                                           .priority = "interactive",
                                           .must_start_with = TEXT("x"),
                                           .deadline_ms = deadline_ms};
    const struct engine_callbacks callbacks = {
        .on_text = text_came, .on_done = done_came, .context = f};
    error err;
    f->inside = true;
    if (engine_client_complete(f->client, &request, &callbacks, &f->call, &err) != OK)
        fail_msg("%s", err.message);
    f->inside = false;
}

void check_holds(const char *name, const char *text_found, const char *part)
{
    if (!strstr(text_found, part))
        fail_msg("%s: found \"%s\", expected \"%s\" in it", name, text_found, part);
}

int group_setup(void **state)
{
    static char home[] = "/tmp/dbrx-client-XXXXXX";
    (void)state;
    if (!mkdtemp(home)) return -1;
    setenv("HOME", home, 1);
    setenv("XDG_RUNTIME_DIR", home, 1);
    setenv("XDG_CACHE_HOME", home, 1);
    setenv("XDG_STATE_HOME", home, 1);
    /* A proxy that must never be asked. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    unsetenv("no_proxy");
    peers_prepare();
    *state = home;
    return 0;
}

int group_teardown(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    return system(command);
}
