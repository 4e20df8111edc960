/* An engine client on a loop, driven by lines: what a front does with it, without an editor.
 *
 * usage: client_driver [--endpoint URL] [--program FILE] [--model DIR] [--backend NAME]
 *                      [--idle SECONDS] [--key KEY] [--ca FILE] [--first-byte-ms N] [--idle-ms N]
 * stdin, one JSON object per line:
 *   {"do": "complete", "id": N, "text": "..." | "tokens": [..], "max_tokens": N, "temperature": X,
 *    "seed": N, "stops": [..], "priority": "...", "must_start_with": "...", "deadline_ms": N}
 *   {"do": "cancel", "id": N}   {"do": "status"}   {"do": "quit"}
 * stdout, one JSON object per line: {"event": "status" | "text" | "done" | "refused" | "closed", ...}.
 * It ends with stdin. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "lsp/client/engine_client.h"

enum { STOPS_MAX = 32, LINE_MAX_BYTES = 8 << 20 };

struct driver {
    uv_loop_t loop;
    uv_pipe_t input;
    engine_client *client;
    buffer lines;
    struct call *calls;
    bool closing;
};

struct call {
    struct driver *driver;
    struct call *next;
    json_int_t id;
    engine_call *handle;
};

static void print_event(json_t *event)
{
    char *line = json_dumps(event, JSON_COMPACT);
    json_decref(event);
    if (!line) return;
    printf("%s\n", line);
    fflush(stdout);
    free(line);
}

static void print_status(const struct driver *d, const struct engine_status *s)
{
    static const char *const states[] = {"starting", "loading", "ready", "degraded", "off"};
    const tokenizer *t = d->client ? engine_client_tokenizer(d->client) : NULL;
    print_event(json_pack("{s:s, s:s, s:s, s:f, s:s, s:s, s:b, s:b, s:b, s:i, s:f, s:s}", "event",
                          "status", "state", states[s->state], "reason", s->reason, "progress",
                          s->progress, "model", s->model, "endpoint", s->endpoint, "local",
                          s->local, "ours", s->ours, "demo", s->demo, "max_model_len",
                          (int)s->max_model_len, "queue", s->queue, "tokenizer",
                          t ? tokenizer_sha256(t) : ""));
}

static void status_changed(void *context, const struct engine_status *s)
{
    print_status(context, s);
}

static void text_came(void *context, text piece)
{
    const struct call *call = context;
    print_event(json_pack("{s:s, s:I, s:s%}", "event", "text", "id", call->id, "text", piece.bytes,
                          piece.size));
}

static void call_done(void *context, const struct engine_answer *a)
{
    struct call *call = context, **at = &call->driver->calls;
    print_event(json_pack("{s:s, s:I, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I}", "event",
                          "done", "id", call->id, "code", status_name(a->code), "reason", a->reason,
                          "cut", a->cut, "finish", a->finish, "n_prompt", (json_int_t)a->n_prompt,
                          "n_cached", (json_int_t)a->n_cached, "n_output", (json_int_t)a->n_output,
                          "ttft_us", (json_int_t)a->ttft_us, "total_us", (json_int_t)a->total_us));
    while (*at && *at != call) at = &(*at)->next;
    if (*at) *at = call->next;
    memory_free(call);
}

static const char *string_of(const json_t *command, const char *name)
{
    return json_string_value(json_object_get(command, name));
}

static void prompt_read(const struct driver *d, token_list *ids, const json_t *command)
{
    const json_t *tokens = json_object_get(command, "tokens");
    const tokenizer *t = engine_client_tokenizer(d->client);
    for (size_t i = 0; i < json_array_size(tokens); i++)
        token_list_put(ids, (int32_t)json_integer_value(json_array_get(tokens, i)));
    if (t) tokenizer_encode(t, ids, text_of(string_of(command, "text")));
    if (ids->n == 0) token_list_put(ids, 1); /* not ready: the call fails before it is sent */
}

static void command_complete(struct driver *d, const json_t *command)
{
    token_list ids = {0};
    text stops[STOPS_MAX];
    const json_t *list = json_object_get(command, "stops");
    struct call *call = memory_take(1, sizeof *call);
    error err;
    if (!call) return;
    call->driver = d;
    call->id = json_integer_value(json_object_get(command, "id"));
    prompt_read(d, &ids, command);
    struct engine_request request = {
        .prompt = ids.ids,
        .n_prompt = ids.n,
        .max_tokens = (int32_t)json_integer_value(json_object_get(command, "max_tokens")),
        .temperature = (float)json_number_value(json_object_get(command, "temperature")),
        .seed = (uint64_t)json_integer_value(json_object_get(command, "seed")),
        .stops = stops,
        .priority = string_of(command, "priority"),
        .must_start_with = text_of(string_of(command, "must_start_with")),
        .deadline_ms = json_integer_value(json_object_get(command, "deadline_ms"))};
    for (; request.n_stops < json_array_size(list) && request.n_stops < STOPS_MAX;
         request.n_stops++)
        stops[request.n_stops] = text_of(json_string_value(json_array_get(list, request.n_stops)));
    const struct engine_callbacks callbacks = {
        .on_text = text_came, .on_done = call_done, .context = call};
    status s = engine_client_complete(d->client, &request, &callbacks, &call->handle, &err);
    token_list_free(&ids);
    if (s == OK) {
        call->next = d->calls;
        d->calls = call;
        return;
    }
    print_event(json_pack("{s:s, s:I, s:s, s:s}", "event", "refused", "id", call->id, "code",
                          status_name(s), "reason", err.message));
    memory_free(call);
}

static void client_gone(void *context)
{
    struct driver *d = context;
    d->client = NULL;
    print_event(json_pack("{s:s}", "event", "closed"));
}

static void driver_close(struct driver *d)
{
    if (d->closing) return;
    d->closing = true;
    uv_close((uv_handle_t *)&d->input, NULL);
    engine_client_close(d->client, client_gone, d);
}

static void command_run(struct driver *d, const json_t *command)
{
    const char *what = string_of(command, "do");
    json_int_t id = json_integer_value(json_object_get(command, "id"));
    if (!what) return;
    if (strcmp(what, "complete") == 0) command_complete(d, command);
    if (strcmp(what, "status") == 0) print_status(d, engine_client_status(d->client));
    if (strcmp(what, "quit") == 0) driver_close(d);
    if (strcmp(what, "cancel") == 0)
        for (struct call *c = d->calls; c; c = c->next)
            if (c->id == id) engine_call_cancel(c->handle);
}

static void room_give(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    static char room[65536];
    (void)handle;
    (void)wanted;
    *out = uv_buf_init(room, sizeof room);
}

static void input_came(uv_stream_t *stream, ssize_t n, const uv_buf_t *piece)
{
    struct driver *d = stream->data;
    if (n < 0) {
        driver_close(d);
        return;
    }
    buffer_put(&d->lines, piece->base, (size_t)n);
    for (;;) {
        size_t end = text_find(buffer_text(&d->lines), TEXT("\n"), 0);
        if (end == SIZE_MAX || d->closing) break;
        json_t *command = json_loadb(d->lines.bytes, end, 0, NULL);
        buffer_drop_front(&d->lines, end + 1);
        if (command) command_run(d, command);
        json_decref(command);
    }
    if (d->lines.failed || d->lines.size > LINE_MAX_BYTES) driver_close(d);
}

static bool option_take(struct engine_client_options *o, const char *name, const char *value)
{
    const struct {
        const char *name, **text;
        int64_t *number;
    } rows[] = {{"--endpoint", &o->endpoint, NULL}, {"--program", &o->program, NULL},
                {"--model", &o->model_dir, NULL},   {"--backend", &o->backend, NULL},
                {"--idle", &o->idle, NULL},         {"--key", &o->api_key, NULL},
                {"--ca", &o->ca_file, NULL},        {"--first-byte-ms", NULL, &o->first_byte_ms},
                {"--idle-ms", NULL, &o->idle_ms}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        if (rows[i].text) *rows[i].text = value;
        if (rows[i].number) *rows[i].number = strtoll(value, NULL, 10);
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct driver d = {0};
    struct engine_client_options options = {
        .loop = &d.loop, .on_status = status_changed, .context = &d};
    error err;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && option_take(&options, argv[i], argv[i + 1])) continue;
        fprintf(stderr, "client_driver: unknown option %s\n", argv[i]);
        return 2;
    }
    uv_loop_init(&d.loop);
    uv_pipe_init(&d.loop, &d.input, 0);
    d.input.data = &d;
    if (engine_client_open(&d.client, &options, &err) != OK) {
        fprintf(stderr, "client_driver: %s\n", err.message);
        return err.code == ERR_USAGE ? 2 : 1;
    }
    if (uv_pipe_open(&d.input, 0) != 0 ||
        uv_read_start((uv_stream_t *)&d.input, room_give, input_came) != 0)
        driver_close(&d);
    uv_run(&d.loop, UV_RUN_DEFAULT);
    buffer_free(&d.lines);
    return uv_loop_close(&d.loop) == 0 ? 0 : 1;
}
