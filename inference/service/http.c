/* libmicrohttpd calls the handler three times: with the headers, per piece of the body, and at its
 * end. What the headers decide (route, key, size) is decided first; a refused body is skipped, not
 * stored, so that the client reads a reply and not a reset. */
#include "inference/service/http.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/service/json_write.h"
#include "inference/service/routes.h"
#include "inference/service/tls.h"

/* Beyond HTTP_CONNECTIONS_MAX there is room for those that are told to come back later. */
enum { CONNECTIONS_REFUSED_MAX = 32, STACK_BYTES = 512 * 1024, STREAM_BLOCK_BYTES = 16 * 1024 };

/* A client that keeps sending a refused body gets no further than this. */
#define BODY_SKIPPED_MAX (4 * HTTP_BODY_MAX)

struct http_server {
    struct MHD_Daemon *daemon;
};

const char *http_header(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

bool http_peer_gone(int fd)
{
    struct pollfd watched = {.fd = fd, .events = POLLRDHUP};
    return poll(&watched, 1, 0) > 0 &&
           (watched.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

static void timeout_set(struct exchange *x, unsigned seconds)
{
    MHD_set_connection_option(x->connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

void http_allow_silence(struct exchange *x) { timeout_set(x, 0); }

static bool response_queue(struct exchange *x, unsigned http_status, struct MHD_Response *response,
                           const char *type)
{
    if (!response) return false;
    /* From "none" to a value: this also restarts the clock. */
    timeout_set(x, 0);
    timeout_set(x, HTTP_TIMEOUT_S);
    x->status = http_status;
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    bool queued = MHD_queue_response(x->connection, http_status, response) == MHD_YES;
    MHD_destroy_response(response);
    return queued;
}

/* A response that owns the buffer's bytes; the buffer is empty afterwards. */
static struct MHD_Response *response_of(buffer *body)
{
    struct MHD_Response *response = NULL;
    if (!body->failed)
        response = MHD_create_response_from_buffer_with_free_callback(body->size, body->bytes,
                                                                      memory_free);
    if (response)
        *body = (buffer){0};
    else
        buffer_free(body);
    return response;
}

bool http_reply_json(struct exchange *x, unsigned http_status, buffer *body)
{
    return response_queue(x, http_status, response_of(body), "application/json");
}

bool http_reply_text(struct exchange *x, const char *type, buffer *body)
{
    return response_queue(x, MHD_HTTP_OK, response_of(body), type);
}

bool http_reply_shared(struct exchange *x, const char *type, const buffer *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->size, body->bytes, MHD_RESPMEM_PERSISTENT);
    return response_queue(x, MHD_HTTP_OK, response, type);
}

static ssize_t source_read(void *context, uint64_t at, char *out, size_t room)
{
    struct http_source *source = context;
    (void)at;
    ssize_t n = source->read(source, out, room);
    if (n > 0) return n;
    return n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void source_close(void *context)
{
    struct http_source *source = context;
    source->close(source);
}

bool http_reply_stream(struct exchange *x, struct http_source *source)
{
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, source_read, source, source_close);
    if (!response) source->close(source);
    return response_queue(x, MHD_HTTP_OK, response, "text/event-stream; charset=utf-8");
}

static const char *error_type(unsigned http_status)
{
    if (http_status == 403) return "permission_error";
    if (http_status == 429) return "rate_limit_error";
    return http_status >= 500 ? "server_error" : "invalid_request_error";
}

void http_refuse(struct http_error *e, unsigned http_status, const char *code, const char *format,
                 ...)
{
    va_list args;
    *e = (struct http_error){.status = http_status, .code = code};
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
}

void http_put_error(buffer *out, const struct http_error *e)
{
    buffer_put_text(out, TEXT("{\"error\":{\"message\":"));
    json_put_chars(out, e->message);
    buffer_put_text(out, TEXT(",\"type\":"));
    json_put_chars(out, error_type(e->status));
    buffer_put_text(out, TEXT(",\"param\":"));
    json_put_chars(out, e->param[0] ? e->param : NULL);
    buffer_put_text(out, TEXT(",\"code\":"));
    json_put_chars(out, e->code);
    buffer_put_text(out, TEXT("}}"));
}

bool http_reply_error(struct exchange *x, const struct http_error *e)
{
    buffer body = {0};
    char seconds[16];
    http_put_error(&body, e);
    struct MHD_Response *response = response_of(&body);
    if (!response) return false;
    snprintf(seconds, sizeof seconds, "%d", e->retry_after_s);
    if (e->retry_after_s) MHD_add_response_header(response, "Retry-After", seconds);
    if (e->status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (e->allow) MHD_add_response_header(response, "Allow", e->allow);
    return response_queue(x, e->status, response, "application/json");
}

/* The declared size of the body: 0 when absent or chunked (it is counted anyway). */
static size_t body_declared(const struct exchange *x)
{
    const char *value = http_header(x, "Content-Length");
    unsigned long long size = 0;
    return value && sscanf(value, "%llu", &size) == 1 ? (size_t)size : 0;
}

static void body_refuse(struct exchange *x)
{
    http_refuse(&x->refusal, 413, "body_too_large", "body: more than %zu bytes", HTTP_BODY_MAX);
    buffer_free(&x->body);
}

/* Whether to answer before the body: the client asked first, or would send without end. */
static bool answers_early(const struct exchange *x)
{
    const char *expect = http_header(x, "Expect");
    return x->refusal.status != 0 && ((expect && strcasecmp(expect, "100-continue") == 0) ||
                                      body_declared(x) > BODY_SKIPPED_MAX);
}

static struct exchange *exchange_begin(struct service *s, struct MHD_Connection *connection,
                                       const char *method, const char *path)
{
    struct exchange *x = memory_take(1, sizeof *x);
    if (!x) return NULL;
    x->service = s;
    x->connection = connection;
    x->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    x->link =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    x->begun_us = clock_us();
    if (!x->link) { /* out of memory for it */
        memory_free(x);
        return NULL;
    }
    connection_allow(&s->connections, x->link, HTTP_BODY_US);
    route_choose(x, method, path);
    if (x->refusal.status == 0 && body_declared(x) > HTTP_BODY_MAX) body_refuse(x);
    return x;
}

static bool body_take(struct exchange *x, const char *bytes, size_t size)
{
    x->body_bytes += size;
    if (x->refusal.status == 0 && x->body_bytes > HTTP_BODY_MAX) body_refuse(x);
    if (x->refusal.status == 0) buffer_put(&x->body, bytes, size);
    return !x->body.failed && x->body_bytes <= BODY_SKIPPED_MAX;
}

static bool exchange_answer(struct exchange *x)
{
    connection_allow(&x->service->connections, x->link, -1);
    return x->refusal.status ? http_reply_error(x, &x->refusal) : x->route->handle(x);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_bytes, void **request)
{
    struct exchange *x = *request;
    bool go_on = true;
    (void)version;
    if (!x) {
        *request = x = exchange_begin(context, connection, method, path);
        if (x && answers_early(x)) go_on = http_reply_error(x, &x->refusal);
    } else if (*upload_bytes) {
        go_on = body_take(x, upload, *upload_bytes);
        *upload_bytes = 0;
    } else {
        go_on = exchange_answer(x);
    }
    return x && go_on ? MHD_YES : MHD_NO;
}

/* One line for each request: the key's name, never the key. */
static void exchange_log(const struct exchange *x)
{
    const char *who = x->caller.name[0] ? x->caller.name : "-";
    meter_reply(&x->service->meters, x->route ? route_index(x->route) : METER_ROUTES_MAX,
                x->status);
    log_line(LOG_INFO, "http: %s %s %s %u %.1f ms", who, x->route ? x->route->method : "-",
             x->route ? x->route->path : "-", x->status, (double)(clock_us() - x->begun_us) * 1e-3);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode reason)
{
    struct exchange *x = *request;
    (void)context, (void)connection, (void)reason;
    if (!x) return;
    if (x->working) service_work_end(x->service);
    exchange_log(x);
    connection_allow(&x->service->connections, x->link, HTTP_HEADER_US);
    buffer_free(&x->body);
    memory_free(x);
    *request = NULL;
}

static const struct sockaddr *peer_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct service *s = context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *socket_context = connection_begin(&s->connections, fd, peer_of(connection));
        atomic_fetch_add(&s->meters.connections, 1);
    } else {
        connection_end(&s->connections, *socket_context);
    }
}

static enum MHD_Result on_accept(void *context, const struct sockaddr *address, socklen_t size)
{
    struct service *s = context;
    (void)size;
    return connection_welcome(&s->connections, address) ? MHD_YES : MHD_NO;
}

/* What the library has to say about bad requests: for those who look for it. */
__attribute__((format(printf, 2, 0))) static void on_log(void *context, const char *format,
                                                         va_list args)
{
    char line[256];
    (void)context;
    vsnprintf(line, sizeof line, format, args);
    log_line(LOG_DEBUG, "http: %s", line);
}

/* `tls` is a list of options, empty without TLS. */
static struct MHD_Daemon *daemon_start(struct service *s, int listen_fd,
                                       const struct MHD_OptionItem *tls)
{
    return MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_ERROR_LOG | (s->tls ? MHD_USE_TLS : 0),
        0, on_accept, s, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(HTTP_CONNECTIONS_MAX + CONNECTIONS_REFUSED_MAX), MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)HTTP_TIMEOUT_S, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

status http_open(struct http_server **out, struct service *s, int listen_fd, error *err)
{
    static char priorities[] = TLS_PRIORITIES;
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(intptr_t)tls_certificate},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, priorities},
        {MHD_OPTION_END, 0, NULL}};
    *out = memory_take(1, sizeof **out);
    if (!*out) return fail(err, ERR_MEMORY, "out of memory for the HTTP server");
    (*out)->daemon = daemon_start(s, listen_fd, s->tls ? tls : &tls[2]);
    if ((*out)->daemon) return OK;
    memory_free(*out);
    *out = NULL;
    return fail(err, ERR_IO, "the HTTP server does not start");
}

void http_close(struct http_server *server)
{
    if (server) MHD_stop_daemon(server->daemon);
    memory_free(server);
}
