/* What all threads of the service share: its state, the engine once it is there, leases and work.
 *
 * Every field behind `mutex` is read and written with it held; `changed` is signalled whenever one
 * of them changes. `engine`, `model_name` and `ranks` are written once, before the state becomes
 * ready, and never again. */
#ifndef INFERENCE_SERVICE_STATE_H
#define INFERENCE_SERVICE_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "inference/engine.h"
#include "inference/service/connections.h"
#include "inference/service/key_ring.h"
#include "inference/service/meters.h"
#include "inference/service/requests.h"

enum service_state { SERVICE_LOADING, SERVICE_READY, SERVICE_DRAINING, SERVICE_FAILED };

struct service {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum service_state state;
    double progress;   /* 0..1 */
    error failure;     /* state failed: why */
    int n_leases;      /* open event streams */
    int n_work;        /* admitted requests whose reply is not out yet */
    int64_t active_us; /* when a lease or work was last there */
    uint64_t version;  /* counts changes, so that none is missed between a look and a wait */

    atomic_bool stopping; /* every wait ends now: unfinished answers are cut, streams close */

    struct connections connections;
    struct key_ring keys; /* TCP only */
    struct requests requests;
    struct meters meters;

    struct device_watch watch; /* the engine's worker, or the loader, inside its driver */
    engine *engine;
    buffer ranks; /* the tokenizer in tiktoken's text form */

    int64_t started_us;
    int64_t started_unix_s;
    bool tcp; /* keys and Host count; else the peer's uid */
    bool tls;
    char host[64];              /* as given by --host */
    const char *allowed_hosts;  /* more names of this machine, with commas between; or NULL */
    atomic_uint_fast64_t n_ids; /* for the ids of answers */
    uint64_t random;            /* of this process: ids, and seeds of requests without one */
};

/* A consistent look at it. */
struct service_view {
    enum service_state state;
    double progress;
    char reason[512]; /* of a failure, else "" */
    int n_leases, n_work;
    int64_t idle_us; /* since a lease or work was last there; 0 while there is one */
    engine *engine;  /* NULL unless it may be used: ready or draining */
    uint64_t version;
};

status service_state_open(struct service *s, error *err);
void service_state_close(struct service *s);

void service_look(struct service *s, struct service_view *out);
const char *service_state_name(enum service_state state);

/* Waits until something differs from the view with that version, at most timeout_ms. */
void service_wait(struct service *s, uint64_t version, int timeout_ms);

void service_set_progress(struct service *s, double progress);

/* Loading has ended well: ready, unless it is draining already. */
void service_set_loaded(struct service *s, engine *e);

/* Loading or the device has failed; there is no engine to be used any more. */
void service_set_failed(struct service *s, const error *failure);

/* No new work from now on. With if_idle_us >= 0 only if it has been idle for that long, decided in
 * one step with the admission of leases and work. True when it is draining now. */
bool service_drain(struct service *s, int64_t if_idle_us);

/* Ends every wait. */
void service_stop(struct service *s);

/* Admits one request to the engine; false when the service is not ready. Then, once, work_end. */
bool service_work_begin(struct service *s);
void service_work_end(struct service *s);
void service_lease_begin(struct service *s);
void service_lease_end(struct service *s);

#endif
