/* The answers under way: who has how many, which one a newer request takes the place of, and what
 * each waits for (GET /v1/dbrx/requests).
 *
 * An entry lives in its answer and belongs to the answer's thread; others see it only under the
 * mutex, between enter and leave. */
#ifndef INFERENCE_SERVICE_REQUESTS_H
#define INFERENCE_SERVICE_REQUESTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "inference/engine.h"
#include "inference/service/key_ring.h"

struct request_entry {
    struct request_entry *next, *before;
    struct caller caller;
    const char *id; /* "cmpl-..." */
    text session;   /* "" without one */
    enum priority priority;
    int64_t begun_us;
    generation *generations[HTTP_CHOICES_MAX]; /* those submitted */
    size_t n_generations;
    bool entered;
    atomic_bool superseded; /* a newer one took its place: its generations are cancelled */
};

struct requests {
    pthread_mutex_t mutex;
    struct request_entry *first, *last;
};

void requests_open(struct requests *all);

/* Enters `entry`, which the caller has filled. What it `supersedes` is cancelled first: the answer
 * of that id, or with "session" every older one of the same session, if their owner is its own.
 * Returns how many were, or -1: ERR_BUSY, when the caller's key has HTTP_REQUESTS_KEY_MAX under way
 * besides. */
int requests_enter(struct requests *all, struct request_entry *entry, text supersedes, error *err);

/* Its next generation is on its way. */
void requests_submitted(struct requests *all, struct request_entry *entry, generation *g);

/* Before its generations are freed; also when it was never entered. */
void requests_leave(struct requests *all, struct request_entry *entry);

/* {"requests": [...]}, the oldest first, as `caller` may see them: his own in full (all, for an
 * administrator), of others priority, state and age. */
void requests_put(buffer *out, struct requests *all, engine *e, const struct caller *caller);

#endif
