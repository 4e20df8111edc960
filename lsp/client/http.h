/* HTTP on the loop: requests to one origin, answers as they arrive.
 *
 * The only user of libcurl. Unix sockets and TCP with TLS; never a proxy, never a redirect, nothing
 * of the environment. It knows no engine and no JSON; the API key goes into one header and nowhere
 * else. One thread: the loop's. All callbacks come from the loop, outside of curl: anything of this
 * header may be called in them. */
#ifndef LSP_CLIENT_HTTP_H
#define LSP_CLIENT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "base/text.h"

typedef struct http_pool http_pool;
typedef struct http_transfer http_transfer;

/* Where all requests of a pool go; the strings are copied. */
struct http_origin {
    const char *url;         /* scheme, host, port and path prefix; no "/" at its end */
    const char *socket_path; /* NULL: TCP */
    const char *api_key;     /* NULL: none; else visible ASCII */
    const char *ca_file;     /* NULL: the system's certificates; else only these */
};

/* Appends `url` as an origin wants it: http or https, host, port and path; a "/" or "/v1" at its end
 * is dropped. ERR_USAGE for anything else, and for credentials in it (which are not repeated). */
status http_url_check(buffer *out, const char *url, error *err);

status http_pool_open(http_pool **out, uv_loop_t *loop, const struct http_origin *origin,
                      error *err);

/* Drops what runs, without callbacks; calls `closed` from the loop when all is freed. Not from
 * within a callback of this header. */
void http_pool_close(http_pool *pool, void (*closed)(void *context), void *context);

struct http_limits {                   /* 0: none */
    int64_t connect_ms, first_byte_ms; /* from sending: connected; all headers of the answer here */
    int64_t idle_ms;                   /* between two pieces of the body */
    int64_t total_ms;
    size_t answer_bytes_max;
};

struct http_head {
    int status;
    bool is_events;        /* text/event-stream */
    int64_t retry_after_s; /* -1: not said */
};

struct http_result {
    status code;        /* OK: an answer came to its end, whatever its HTTP status */
    const char *reason; /* in words when not OK */
    bool refused;       /* nobody listens there */
    bool timed_out;     /* one of the limits in ms */
    bool began;         /* headers came: the peer has acted on the request */
    struct http_head head;
};

struct http_request {
    const char *path; /* "/v1/..." */
    text body;        /* bytes NULL: GET; else POST of JSON, copied */
    bool fresh;       /* on a new connection: proves that one can still be made */
    struct http_limits limits;
    void (*on_bytes)(void *context, const struct http_head *head, text bytes);
    void (*on_done)(void *context, const struct http_result *result); /* the handle is gone then */
    void *context;
};

status http_send(http_pool *pool, const struct http_request *request, http_transfer **out,
                 error *err);

/* Closes the connection at once; no callback comes any more. */
void http_cancel(http_transfer *t);

#endif
