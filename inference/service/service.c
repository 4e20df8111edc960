/* The main thread listens, then watches: signals, idleness, the loader, the device. It computes
 * nothing and waits for nobody longer than a tick, so that it always can end the process. */
#include "inference/service/service.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "inference/service/http.h"
#include "inference/service/listen.h"
#include "inference/service/notify.h"
#include "inference/service/state.h"
#include "inference/service/tls.h"
#include "inference/service/upkeep.h"

enum {
    TICK_MS = 100,
    TICKS_A_SECOND = 1000 / TICK_MS,
    FAILURE_SHOWN_US = 2000000,   /* for clients that ask twice a second */
    LAST_WORDS_US = 300000,       /* for idle streams after a device fault */
    GOODBYE_MAX_US = 1000000,     /* for streams to write their last event */
    SOCKET_PATIENCE_US = 1000000, /* a killed engine's lock goes before its socket */
};

struct loader {
    struct service *service;
    struct service_options options; /* a copy: the thread may outlive its caller */
};

static void on_progress(void *context, double fraction) { service_set_progress(context, fraction); }

static status model_load(struct loader *l, engine **e, error *err)
{
    const struct service_options *o = &l->options;
    if (!o->model_dir)
        return fail(err, ERR_USAGE,
                    "no model: expected --model DIR, DBRX_MODEL or the directory "
                    "\"model\" beside the program");
    const struct engine_options options = {.model_dir = o->model_dir,
                                           .backend = o->backend,
                                           .n_threads = o->n_threads,
                                           .kv_type = o->kv_type,
                                           .kv_served = o->kv_served,
                                           .kv_tokens = o->kv_tokens,
                                           .weights = o->weights,
                                           .save_dir = o->save_dir,
                                           .memory_bytes = o->memory_bytes,
                                           .memory_fraction = o->memory_fraction,
                                           .gpu = o->gpu,
                                           .deterministic = o->deterministic,
                                           .watch = &l->service->watch,
                                           .seqs_max = o->seqs_max,
                                           .host_tokens = o->host_tokens,
                                           .host_bytes = o->host_bytes,
                                           .host_directory = o->host_directory,
                                           .progress = on_progress,
                                           .progress_context = l->service};
    status s = engine_open(e, &options, err);
    if (s != OK) return s;
    tokenizer_write_ranks(engine_tokenizer(*e), &l->service->ranks);
    if (!l->service->ranks.failed) return OK;
    engine_close(*e);
    return fail(err, ERR_MEMORY, "out of memory for the tokenizer's ranks");
}

static void *load_main(void *context)
{
    struct loader *l = context;
    error err;
    engine *e = NULL;
    if (model_load(l, &e, &err) != OK) {
        service_set_failed(l->service, &err);
        return NULL;
    }
    log_line(LOG_INFO, "serve: %s on %s ready after %.1f s", engine_model_name(e),
             engine_backend_name(e), (double)(clock_us() - l->service->started_us) * 1e-6);
    service_set_loaded(l->service, e); /* the last use of e here: now others may close it */
    return NULL;
}

/* The signals that end the service; blocked in all threads and taken here only. */
static void signals_block(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* Waits one tick; true when the process is told to end. */
static bool signal_wait(const sigset_t *set)
{
    const struct timespec tick = {.tv_nsec = (long)TICK_MS * 1000000};
    return sigtimedwait(set, NULL, &tick) > 0;
}

static status failure_show(struct service *s, const sigset_t *signals, error *err)
{
    int64_t until_us = clock_us() + FAILURE_SHOWN_US;
    *err = s->failure;
    while (clock_us() < until_us && !signal_wait(signals)) continue;
    return err->code;
}

/* The device's state is undefined: nothing is waited for but the last words of the streams. */
static status device_failure(struct service *s, const char *why, const sigset_t *signals,
                             error *err)
{
    struct service_view view;
    int64_t now_us = clock_us(), least_us = now_us + LAST_WORDS_US,
            most_us = now_us + GOODBYE_MAX_US;
    fail(err, ERR_DEVICE, "the compute device failed: %s", why);
    service_set_failed(s, err);
    do {
        if (signal_wait(signals)) break;
        service_look(s, &view);
        now_us = clock_us();
    } while (now_us < least_us || (view.n_work > 0 && now_us < most_us));
    return ERR_DEVICE;
}

/* Once a tick: whether the device has failed, or is waited for in vain; `why` has room for words. */
static bool device_gone(struct service *s, const struct service_options *o,
                        struct device_look *look, char *why, size_t room)
{
    struct service_view view;
    struct engine_stats stats = {0};
    const char *hangs = device_watch_look(&s->watch, look, o->patience_s * TICKS_A_SECOND);
    service_look(s, &view);
    if (view.engine) engine_stats(view.engine, &stats);
    if (stats.device_failed)
        snprintf(why, room, "%s", stats.device_why);
    else if (hangs)
        snprintf(why, room, "%s: it has not answered for %lld s and more", hangs,
                 (long long)(look->n / TICKS_A_SECOND));
    return stats.device_failed || hangs;
}

/* Lets running answers finish. A second signal means now. */
static status work_finish(struct service *s, const struct service_options *o,
                          struct device_look *look, const sigset_t *signals, error *err)
{
    struct service_view view;
    char why[512];
    int64_t until_us = clock_us() + o->drain_s * 1000000;
    service_drain(s, -1);
    notify_send("STOPPING=1\nSTATUS=draining, at most %lld s", (long long)o->drain_s);
    for (;;) {
        if (device_gone(s, o, look, why, sizeof why)) return device_failure(s, why, signals, err);
        service_look(s, &view);
        upkeep(s, &view);
        if (view.n_work == 0 || clock_us() >= until_us) return OK;
        if (signal_wait(signals)) return fail(err, ERR_CANCELLED, "stopped by a second signal");
    }
}

/* Watches until the service is to end: OK when it may end in order. */
static status service_watch(struct service *s, const struct service_options *o, error *err)
{
    struct service_view view;
    struct device_look look = {0};
    char why[512];
    sigset_t signals;
    signals_block(&signals);
    for (;;) {
        if (signal_wait(&signals)) return work_finish(s, o, &look, &signals, err);
        service_look(s, &view);
        upkeep(s, &view);
        if (view.state == SERVICE_FAILED) return failure_show(s, &signals, err);
        if (device_gone(s, o, &look, why, sizeof why)) return device_failure(s, why, &signals, err);
        if (o->idle_s >= 0 && view.idle_us >= o->idle_s * 1000000 &&
            service_drain(s, o->idle_s * 1000000))
            return OK;
    }
}

static void *close_main(void *engine_of)
{
    engine_close(engine_of);
    return NULL;
}

/* Closes the engine; ERR_DEVICE when the device does not let it. */
static status engine_end(struct service *s, const struct service_options *o, engine *e, error *err)
{
    struct device_look look = {0};
    struct timespec until;
    pthread_t closer;
    const char *hangs = NULL;
    if (pthread_create(&closer, NULL, close_main, e) != 0) {
        engine_close(e);
        return OK;
    }
    do {
        hangs = device_watch_look(&s->watch, &look, o->patience_s * TICKS_A_SECOND);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)TICK_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    } while (!hangs && pthread_clockjoin_np(closer, NULL, CLOCK_MONOTONIC, &until) != 0);
    return hangs ? fail(err, ERR_DEVICE, "the compute device failed: %s: it does not end", hangs)
                 : OK;
}

/* Streams write their last event, then the connections close and the threads end. */
static status service_end(struct service *s, const struct service_options *o,
                          struct http_server *server, error *err)
{
    struct service_view view;
    int64_t until_us = clock_us() + GOODBYE_MAX_US;
    notify_send("STOPPING=1");
    service_stop(s);
    do {
        clock_sleep_us(TICK_MS * 1000 / 10);
        service_look(s, &view);
    } while (view.n_leases + view.n_work > 0 && clock_us() < until_us);
    http_close(server);
    return view.engine ? engine_end(s, o, view.engine, err) : OK;
}

/* The user's own socket, under the lock that makes us his engine. */
static status default_listen(struct listener *l, int lock_fd, error *err)
{
    buffer lock = {0}, path = {0};
    status s = path_runtime(&path, "engine.sock", err);
    if (s == OK) s = path_runtime(&lock, "engine.lock", err);
    if (s == OK && lock_fd < 0) s = lock_take(&lock_fd, lock.bytes, err);
    if (s == OK) s = listen_unix(l, path.bytes, SOCKET_PATIENCE_US, err);
    buffer_free(&lock);
    buffer_free(&path);
    return s;
}

/* Inherited, TCP, a Unix socket by name, or the default one. */
static status service_listen(struct listener *l, const struct service_options *o, int inherited_fd,
                             error *err)
{
    bool tls = o->tls_certificate != NULL;
    status s = o->lock_fd >= 0 ? lock_adopt(o->lock_fd, err) : OK;
    if (s != OK) return s;
    if (inherited_fd >= 0) return listen_inherited(l, inherited_fd, tls, err);
    if (o->port >= 0) return listen_tcp(l, o->host, o->port, tls, err);
    if (o->socket_path)
        return listen_unix(l, o->socket_path, o->lock_fd >= 0 ? SOCKET_PATIENCE_US : 0, err);
    return default_listen(l, o->lock_fd, err);
}

/* Keys and certificate. */
static status tcp_prepare(struct service *s, const struct service_options *o, error *err)
{
    status result = key_ring_open(&s->keys, o->keys_path, o->api_key, err);
    if (result == OK && !o->keys_path && !s->keys.has_single)
        result = fail(err, ERR_USAGE,
                      "--port needs access keys: `dbrx-ls key add NAME`, or one in DBRX_API_KEY");
    if (result == OK && key_ring_count(&s->keys) == 0)
        log_line(LOG_WARN, "serve: %s: no key yet, so nobody is let in", o->keys_path);
    if (result == OK && o->tls_certificate) result = tls_open(o->tls_certificate, o->tls_key, err);
    s->tls = o->tls_certificate != NULL;
    s->allowed_hosts = o->allowed_hosts;
    return result;
}

static status service_prepare(struct service *s, const struct service_options *o, error *err)
{
    snprintf(s->host, sizeof s->host, "%s", o->host ? o->host : "127.0.0.1");
    status result = s->tcp ? tcp_prepare(s, o, err) : OK;
    connections_open(&s->connections);
    requests_open(&s->requests);
    return result == OK ? service_state_open(s, err) : result;
}

static void listening_tell(const struct service *s, const struct listener *l)
{
    bool v6 = strchr(s->host, ':') != NULL;
    if (s->tcp)
        fprintf(stderr, "dbrx-ls serve: listening on %s://%s%s%s:%d\n", s->tls ? "https" : "http",
                v6 ? "[" : "", s->host, v6 ? "]" : "", l->port);
    else
        fprintf(stderr, "dbrx-ls serve: listening on %s\n", l->path);
}

status service_run(const struct service_options *options, error *err)
{
    /* Threads may outlive this call by moments: see the header. */
    static struct service service;
    static struct loader loader;
    static struct http_server *server;
    struct service *s = &service;
    struct listener listener;
    pthread_t thread;
    sigset_t signals;
    int inherited_fd = -1;
    signals_block(&signals);
    notify_open();
    status result = options->inherited ? notify_socket(&inherited_fd, err) : OK;
    s->tcp = options->port >= 0 || inherited_fd >= 0;
    if (result == OK) result = service_prepare(s, options, err);
    if (result == OK) result = service_listen(&listener, options, inherited_fd, err);
    if (result == OK && (result = http_open(&server, s, listener.fd, err)) != OK)
        listener_remove(&listener);
    if (result != OK) return result;
    listening_tell(s, &listener);
    loader = (struct loader){s, *options};
    if (pthread_create(&thread, NULL, load_main, &loader) == 0) {
        pthread_detach(thread);
        result = service_watch(s, options, err);
    } else {
        result = fail(err, ERR_MEMORY, "cannot start the thread that loads the model");
    }
    listener_remove(&listener);
    return result == OK ? service_end(s, options, server, err) : result;
}
