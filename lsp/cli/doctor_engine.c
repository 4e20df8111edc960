/* Directories, and the engine that is asked. A running local engine is asked as an endpoint, for so
 * the client never starts one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/paths.h"
#include "lsp/cli/doctor.h"
#include "lsp/client/local_engine.h"

enum { PROBE_MS = 4000 };

static void check_directory(struct report *r, const char *name, const char *advice,
                            status (*find)(buffer *out, const char *name, error *err))
{
    buffer path = {0};
    error err;
    if (find(&path, "", &err) != OK)
        report_put(r, name, VERDICT_FAIL, advice, "%s", err.message);
    else if (access(path.bytes, W_OK | X_OK) != 0)
        report_put(r, name, VERDICT_FAIL, advice, "%s: %s", path.bytes, strerror(errno));
    else
        report_put(r, name, VERDICT_OK, "", "%s (writable)", path.bytes);
    buffer_free(&path);
}

void doctor_directories(struct report *r)
{
    check_directory(r, "runtime directory", "set XDG_RUNTIME_DIR to a directory of your own",
                    path_runtime);
    check_directory(r, "cache directory", "set XDG_CACHE_HOME to a directory of your own",
                    path_cache);
    check_directory(r, "state directory", "set XDG_STATE_HOME to a directory of your own",
                    path_state);
}

struct probe {
    uv_loop_t loop;
    uv_timer_t timer;
    engine_client *client;
    struct engine_status last;
    bool ended, closed;
};

static void on_timer(uv_timer_t *timer)
{
    struct probe *p = timer->data;
    p->ended = true;
    if (p->closed) return;
    p->closed = true;
    engine_client_close(p->client, NULL, NULL);
    uv_close((uv_handle_t *)timer, NULL);
}

static void on_status(void *context, const struct engine_status *now)
{
    struct probe *p = context;
    if (p->ended) return;
    p->last = *now;
    if (now->state == ENGINE_STARTING || now->state == ENGINE_LOADING) return;
    p->ended = true;
    uv_timer_start(&p->timer, on_timer, 0, 0);
}

/* What the engine at `endpoint` says to somebody with these settings, or with none; one that still loads
 * is given PROBE_MS to say more. */
static status engine_probe(struct engine_status *out, const char *endpoint,
                           const struct engine_settings *s, error *err)
{
    struct probe p = {.ended = false};
    struct engine_client_options options = {.loop = &p.loop,
                                            .endpoint = endpoint,
                                            .api_key = s ? s->api_key : NULL,
                                            .ca_file = s ? s->ca_file : NULL,
                                            .model_dir = s ? s->model_dir : NULL,
                                            .on_status = on_status,
                                            .context = &p};
    int rc = uv_loop_init(&p.loop);
    *out = (struct engine_status){.state = ENGINE_OFF};
    if (rc < 0) return fail(err, ERR_IO, "event loop: %s", uv_strerror(rc));
    status code = engine_client_open(&p.client, &options, err);
    if (code == OK) {
        p.last = *engine_client_status(p.client);
        uv_timer_init(&p.loop, &p.timer);
        p.timer.data = &p;
        uv_timer_start(&p.timer, on_timer, PROBE_MS, 0);
    }
    uv_run(&p.loop, UV_RUN_DEFAULT);
    uv_loop_close(&p.loop);
    *out = p.last;
    return code;
}

static void put_engine(struct report *r, const char *name, const struct engine_status *s,
                       const char *advice)
{
    static const char *const states[] = {"starting", "loading", "ready", "degraded", "off"};
    enum verdict verdict = VERDICT_OK;
    char loading[32] = "", context[32] = "";
    if (s->state == ENGINE_LOADING && s->progress < 1)
        snprintf(loading, sizeof loading, " %d %%", (int)(s->progress * 100));
    if (s->max_model_len > 0) snprintf(context, sizeof context, ", context %d", s->max_model_len);
    if (s->state == ENGINE_OFF)
        verdict = VERDICT_FAIL;
    else if (s->state == ENGINE_STARTING || s->state == ENGINE_DEGRADED)
        verdict = VERDICT_WARN;
    report_put(r, name, verdict, verdict == VERDICT_OK ? "" : advice, "%s%s%s%s%s%s%s%s",
               states[s->state], loading, s->model[0] ? ", model " : "", s->model, context,
               s->demo ? " (demo)" : "", s->reason[0] ? ": " : "", s->reason);
}

static void check_endpoint(struct report *r, const struct engine_settings *s)
{
    struct engine_status now;
    error err;
    if (engine_probe(&now, s->endpoint, s, &err) != OK)
        report_put(r, "engine", VERDICT_FAIL, "correct --endpoint or DBRX_ENDPOINT", "%s",
                   err.message);
    else
        put_engine(r, "engine", &now,
                   now.state == ENGINE_DEGRADED
                       ? "usable as it is; dbrx-ls of this version serves more"
                       : "check the URL, that the engine runs there, and DBRX_API_KEY");
}

static bool check_socket(struct report *r, buffer *socket_path)
{
    const struct sockaddr_un *room = NULL;
    error err;
    if (path_runtime(socket_path, "engine.sock", &err) != OK) {
        report_put(r, "engine socket", VERDICT_FAIL, "see the runtime directory", "%s",
                   err.message);
        return false;
    }
    bool fits = socket_path->size < sizeof room->sun_path;
    report_put(r, "engine socket", fits ? VERDICT_OK : VERDICT_FAIL,
               fits ? "" : "set XDG_RUNTIME_DIR to a shorter path", "%s%s", socket_path->bytes,
               fits ? "" : ": longer than a socket's path can be");
    return fits;
}

/* An engine goes by its directory's name; one that runs is not replaced because of it. */
static void check_model_name(struct report *r, const struct engine_settings *s, const char *running)
{
    buffer found = {0};
    const char *dir = model_find(s->model_dir, &found);
    char *real = dir ? realpath(dir, NULL) : NULL;
    const char *slash = real ? strrchr(real, '/') : NULL;
    if (running[0] && slash && strcmp(slash + 1, running) != 0)
        report_put(r, "engine's model", VERDICT_WARN, "close the windows that use it, or end it",
                   "%s runs, not %s", running, slash + 1);
    free(real);
    buffer_free(&found);
}

/* Asks the engine that holds the lock. */
static void check_running(struct report *r, const struct engine_settings *s, pid_t holder,
                          const char *socket_path)
{
    buffer endpoint = {0};
    struct engine_status now;
    error err;
    report_put(r, "engine lock", VERDICT_OK, "", "held by pid %ld", (long)holder);
    buffer_print(&endpoint, "unix:%s", socket_path);
    if (endpoint.failed) {
        report_put(r, "engine", VERDICT_FAIL, "", "out of memory");
    } else if (engine_probe(&now, endpoint.bytes, NULL, &err) != OK) {
        report_put(r, "engine", VERDICT_FAIL, "", "%s", err.message);
    } else {
        put_engine(r, "engine", &now, "end the process that holds the lock; editors start another");
        check_model_name(r, s, now.model);
    }
    buffer_free(&endpoint);
}

static void check_local(struct report *r, const struct engine_settings *s)
{
    const struct local_engine_spec nothing = {0};
    struct local_finding found;
    buffer socket_path = {0};
    error err;
    if (!check_socket(r, &socket_path)) goto out;
    if (local_engine_look(&found, &nothing, false, -1, &err) != OK)
        report_put(r, "engine lock", VERDICT_FAIL, "see the runtime directory", "%s", err.message);
    else if (found.outcome == LOCAL_HELD)
        check_running(r, s, found.holder, socket_path.bytes);
    else
        report_put(r, "engine", VERDICT_OK, "", "not running; it starts when an editor does");
out:
    buffer_free(&socket_path);
}

void doctor_engine(struct report *r, const struct engine_settings *s)
{
    if (s->endpoint)
        check_endpoint(r, s);
    else
        check_local(r, s);
}
