/* The table of routes, and who may use them. Any connection's thread. */
#ifndef INFERENCE_SERVICE_ROUTES_H
#define INFERENCE_SERVICE_ROUTES_H

#include <stdbool.h>

#include "inference/service/http.h"

struct route {
    const char *method, *path;
    bool open; /* answers without a key: alive and ready, nothing else */
    bool (*handle)(struct exchange *x);
};

enum { N_ROUTES = 10 };
extern const struct route routes[N_ROUTES];

/* Its place in the table. */
size_t route_index(const struct route *r);

/* Sets x->route and x->caller, or x->refusal: too many connections, unknown path, wrong method,
 * wrong host, wrong key, foreign user. */
void route_choose(struct exchange *x, const char *method, const char *path);

/* 503 with the reason and Retry-After: the state is loading, draining or failed. */
bool reply_not_ready(struct exchange *x, const struct service_view *view);

/* Handlers, each in the file of its name. */
bool health_handle(struct exchange *x);      /* status.c */
bool ready_handle(struct exchange *x);       /* status.c */
bool models_handle(struct exchange *x);      /* status.c */
bool handshake_handle(struct exchange *x);   /* status.c */
bool tokenizer_handle(struct exchange *x);   /* status.c */
bool lease_handle(struct exchange *x);       /* lease.c */
bool requests_handle(struct exchange *x);    /* requests.c */
bool metrics_handle(struct exchange *x);     /* status.c */
bool completions_handle(struct exchange *x); /* completions.c */
bool chat_handle(struct exchange *x);        /* chat.c */

#endif
