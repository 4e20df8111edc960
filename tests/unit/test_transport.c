/* Frames in every cut, and the transport over pipes and files. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "lsp/server/transport.h"

#include <cmocka.h> /* last: it has a macro named fail */

/* Events as text: "[body]" per message, "!" per bad header, "#N" per drained message. */
static void events_put(buffer *out, enum frame_event event, const buffer *body, uint64_t length)
{
    if (event == FRAME_MESSAGE)
        buffer_print(out, "[%.*s]", (int)body->size, body->size ? body->bytes : "");
    if (event == FRAME_BAD_HEADER) buffer_put_char(out, '!');
    if (event == FRAME_TOO_LARGE) buffer_print(out, "#%llu", (unsigned long long)length);
}

static void feed(struct frame_reader *r, text bytes, buffer *out)
{
    while (bytes.size) {
        enum frame_event event;
        size_t n = frame_reader_take(r, bytes, &event);
        assert_true(n > 0 && n <= bytes.size);
        bytes = text_slice(bytes, n, bytes.size);
        events_put(out, event, &r->body, r->length_bytes);
    }
}

struct frame_case {
    text bytes;
    const char *events;
};

#define CASE(bytes, events)                                                                        \
    {                                                                                              \
        {bytes, sizeof(bytes) - 1}, events                                                         \
    }

static const struct frame_case cases[] = {
    CASE("Content-Length: 2\r\n\r\n{}", "[{}]"),
    CASE("content-length:2\r\n\r\n{}Content-Length: 3\r\n\r\n[1]", "[{}][[1]]"),
    CASE("CONTENT-LENGTH : 2 \r\n\r\n{}", "[{}]"),
    CASE("Content-Type: x; charset=utf-8\r\nX: y\r\nContent-Length: 2\r\n\r\n{}", "[{}]"),
    CASE("Content-Length: 2\r\nContent-Type: x\r\n\r\n{}", "[{}]"),
    CASE("Content-Length: 2\n\n{}", "[{}]"),
    CASE("\r\n\r\nContent-Length: 2\r\n\r\n{}\r\nContent-Length: 1\r\n\r\n7", "[{}][7]"),
    CASE("Content-Length: 0\r\n\r\nContent-Length: 1\r\n\r\n7", "[][7]"),
    CASE("no colon\r\nContent-Length: 1\r\n\r\n7", "[7]"),
    CASE("X: 1\r\n\r\n{\"a\":1}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: -2\r\n\r\n{}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: 2x\r\n\r\n{}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: +2\r\n\r\n{}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length:\r\n\r\n{}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: 99999999999999999999\r\n\r\n{}cOntent-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: 2000000000\r\n\r\nconconContent-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "[{}]"),
    CASE("Content-LenContent-Length: 2\r\n\r\n{}Content-Length: 1\r\n\r\n7", "![7]"),
    CASE("\0\0\0: \0\r\nContent-Length: 1\r\n\r\n7", "[7]"),
    CASE("Content-Length: 5\r\n\r\n", ""),
    CASE("Content-Length: 5", ""),
};

/* Cut once at `cut`; at 0: byte by byte. */
static void frames_check(const struct frame_case *c, size_t cut)
{
    struct frame_reader r = {0};
    buffer events = {0};
    for (size_t at = 0; cut == 0 && at < c->bytes.size; at++)
        feed(&r, text_slice(c->bytes, at, at + 1), &events);
    if (cut > 0) {
        feed(&r, text_slice(c->bytes, 0, cut), &events);
        feed(&r, text_slice(c->bytes, cut, c->bytes.size), &events);
    }
    assert_string_equal(events.size ? events.bytes : "", c->events);
    buffer_free(&events);
    frame_reader_free(&r);
}

static void test_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t cut = 0; cut <= cases[i].bytes.size; cut++) frames_check(&cases[i], cut);
}

static void test_long_header(void **state)
{
    (void)state;
    struct frame_reader r = {0};
    buffer junk = {0}, events = {0};
    for (size_t i = 0; i < LSP_HEADER_MAX + 100; i++) buffer_put_char(&junk, 'x');
    feed(&r, buffer_text(&junk), &events);
    feed(&r, TEXT("\r\nContent-Length: 1\r\n\r\n7"), &events);
    assert_string_equal(events.bytes, "![7]");
    buffer_free(&junk);
    buffer_free(&events);
    frame_reader_free(&r);
}

/* One byte over the limit is drained, its beginning kept, and the next message is whole. */
static void test_large_message(void **state)
{
    (void)state;
    struct frame_reader r = {0};
    buffer events = {0};
    static char block[MIB];
    memset(block, 'a', sizeof block);
    feed(&r, TEXT("Content-Length: 67108865\r\n\r\n"), &events);
    for (int i = 0; i < 64; i++) {
        feed(&r, (text){block, sizeof block}, &events);
        assert_true(r.body.size <= LSP_DRAIN_KEPT_MAX + MIB);
    }
    feed(&r, TEXT("aContent-Length: 1\r\n\r\n7"), &events);
    assert_string_equal(events.bytes, "#67108865[7]");
    buffer_free(&events);
    frame_reader_free(&r);
}

struct session {
    transport *wire;
    buffer events;
    int n_ends;
    bool closed;
};

static void on_closed(void *context) { ((struct session *)context)->closed = true; }

/* Echoes each body. */
static void on_frame(void *context, enum frame_event event, buffer *body, uint64_t length)
{
    struct session *s = context;
    events_put(&s->events, event, body, length);
    if (event == FRAME_MESSAGE) transport_send(s->wire, buffer_text(body));
}

static void on_end(void *context, const char *reason)
{
    struct session *s = context;
    (void)reason;
    s->n_ends++;
    transport_close(s->wire, on_closed, s);
}

static void session_run(struct session *s, int input, int output)
{
    uv_loop_t loop;
    const struct transport_handler handler = {on_frame, on_end, s};
    error err;
    uv_loop_init(&loop);
    assert_int_equal(transport_open(&s->wire, &loop, input, output, &handler, &err), OK);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_true(s->closed);
    assert_int_equal(s->n_ends, 1);
}

static void test_pipes(void **state)
{
    (void)state;
    static const char sent[] = "Content-Length: 2\r\n\r\nhiContent-Length: 1\r\n\r\nx";
    struct session s = {0};
    int in[2], out[2];
    char got[256] = "";
    assert_int_equal(pipe(in) | pipe(out), 0);
    assert_int_equal(write(in[1], sent, sizeof sent - 1), sizeof sent - 1);
    close(in[1]);
    session_run(&s, in[0], out[1]);
    assert_string_equal(s.events.bytes, "[hi][x]");
    assert_int_equal(read(out[0], got, sizeof got - 1), sizeof sent - 1);
    assert_string_equal(got, sent);
    close(out[0]);
    buffer_free(&s.events);
}

static void test_files(void **state)
{
    (void)state;
    struct session s = {0};
    FILE *in = tmpfile(), *out = tmpfile();
    char got[64] = "";
    assert_true(in && out);
    fputs("Content-Length: 3\r\n\r\nabc", in);
    fflush(in);
    rewind(in);
    session_run(&s, fileno(in), fileno(out));
    assert_string_equal(s.events.bytes, "[abc]");
    rewind(out);
    assert_int_equal(fread(got, 1, sizeof got - 1, out), 24);
    assert_string_equal(got, "Content-Length: 3\r\n\r\nabc");
    fclose(in);
    fclose(out);
    buffer_free(&s.events);
}

/* Output that is not read yet when input ends still arrives: more than a pipe holds. */
static void test_output_drains(void **state)
{
    (void)state;
    struct session s = {0};
    int in[2], out[2];
    static char body[MIB];
    memset(body, 'a', sizeof body);
    assert_int_equal(pipe(in) | pipe(out), 0);
    pid_t writer = fork();
    if (writer == 0) {
        dprintf(in[1], "Content-Length: %zu\r\n\r\n", sizeof body);
        for (size_t at = 0; at < sizeof body;) {
            ssize_t n = write(in[1], body + at, sizeof body - at);
            if (n > 0) at += (size_t)n;
        }
        _exit(0);
    }
    close(in[1]);
    pid_t reader = fork();
    if (reader == 0) { /* its exit code: did all arrive? */
        size_t size = 0;
        close(out[1]);
        usleep(200000);
        for (ssize_t n; (n = read(out[0], body, sizeof body)) > 0;) size += (size_t)n;
        _exit(size == sizeof body + strlen("Content-Length: 1048576\r\n\r\n") ? 0 : 1);
    }
    close(out[0]);
    session_run(&s, in[0], out[1]);
    int code;
    waitpid(writer, NULL, 0);
    waitpid(reader, &code, 0);
    assert_int_equal(code, 0);
    buffer_free(&s.events);
}

/* A reader that is gone ends the session. */
static void test_broken_output(void **state)
{
    (void)state;
    struct session s = {0};
    int in[2], out[2];
    assert_int_equal(pipe(in) | pipe(out), 0);
    close(out[0]);
    assert_int_equal(write(in[1], "Content-Length: 2\r\n\r\nhi", 23), 23);
    session_run(&s, in[0], out[1]);
    close(in[1]);
    buffer_free(&s.events);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),        cmocka_unit_test(test_long_header),
        cmocka_unit_test(test_large_message), cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_files),         cmocka_unit_test(test_output_drains),
        cmocka_unit_test(test_broken_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
