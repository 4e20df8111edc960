/* HTTP: the seam to libmicrohttpd, which only http.c includes.
 *
 * One thread per connection. A handler may therefore simply wait for the engine, and its own
 * connection's descriptor is the only thing it has to watch besides: no suspended connection whose
 * closed peer libmicrohttpd would not notice, no hand-over between threads, and a slow reader stops
 * nobody else. The price is a small stack per open connection, at most HTTP_CONNECTIONS_MAX; the
 * engine behind it serves far fewer at a time. */
#ifndef INFERENCE_SERVICE_HTTP_H
#define INFERENCE_SERVICE_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/text.h"
#include "inference/service/state.h"

struct MHD_Connection;
struct route;

/* A refusal in OpenAI's form: {"error": {"message", "type", "param", "code"}}. */
struct http_error {
    unsigned status;   /* 0: no error */
    const char *code;  /* short stable name, or NULL for null */
    const char *allow; /* 405: the methods there are */
    int retry_after_s; /* 0: no Retry-After */
    char param[64];    /* the field at fault, "" for null */
    char message[512];
};

/* One request and its reply. Lives from its headers to the reply's last byte. */
struct exchange {
    struct service *service;
    const struct route *route;
    struct http_error refusal; /* status != 0: decided on the headers; the body is only skipped */
    buffer body;
    size_t body_bytes;
    struct caller caller; /* whoever asks */
    struct connection *link;
    int64_t begun_us;
    unsigned status; /* of the reply, once there is one */
    bool working;    /* holds a place counted by service_work_begin, given back at the end */
    int fd;          /* the connection's descriptor, to be watched, never read */
    struct MHD_Connection *connection;
};

/* Bodies that are made while they are sent. Embedded as first member of what makes them. */
struct http_source {
    /* Waits for bytes and returns how many were put into out[0, room), 0 at the end, -1 to cut the
     * connection. */
    ssize_t (*read)(struct http_source *source, char *out, size_t room);
    void (*close)(struct http_source *source);
};

struct http_server;

/* Serves on listen_fd (which it owns from then on) until closed, over TLS when s->tls; http_close
 * waits for all handlers, which end soon once service_stop was called. */
status http_open(struct http_server **out, struct service *s, int listen_fd, error *err);
void http_close(struct http_server *server);

/* A request header's value, or NULL. */
const char *http_header(const struct exchange *x, const char *name);

/* Each answers the request, once, and returns what the handler is to return: false means that no
 * reply can be had and the connection is to be closed. */
bool http_reply_json(struct exchange *x, unsigned http_status, buffer *body); /* takes the buffer */
bool http_reply_text(struct exchange *x, const char *type, buffer *body);     /* takes the buffer */
bool http_reply_shared(struct exchange *x, const char *type, const buffer *body); /* outlives all */
bool http_reply_stream(struct exchange *x, struct http_source *source); /* takes the source */
bool http_reply_error(struct exchange *x, const struct http_error *e);

/* Fills *e; the message is cut to one line. */
void http_refuse(struct http_error *e, unsigned http_status, const char *code, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* Appends {"error": {...}}. */
void http_put_error(buffer *out, const struct http_error *e);

/* For handlers that wait longer than the connection's timeout: silence is no reason to close. */
void http_allow_silence(struct exchange *x);

/* True when the peer has closed its end, wholly or for writing: nobody waits for the answer. */
bool http_peer_gone(int fd);

#endif
