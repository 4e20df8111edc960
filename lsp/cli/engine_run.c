/* The question waits until the engine is there. Its end sets a timer, from which everything closes, for
 * nothing may be closed from inside its own callbacks. */
#include "lsp/cli/engine_run.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/file.h"
#include "lsp/cli/terminal.h"

static const int signals[ENGINE_RUN_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

static void on_timer(uv_timer_t *timer);

void engine_run_end(struct engine_run *r, status code)
{
    if (r->ended) return;
    r->ended = true;
    r->code = code;
    terminal_progress("");
    uv_timer_start(&r->timer, on_timer, 0, 0);
}

void engine_run_keep_no_time(struct engine_run *r) { uv_timer_stop(&r->timer); }

static void progress_show(const struct engine_status *now)
{
    char words[320];
    if (now->state == ENGINE_LOADING && now->progress > 0 && now->progress < 1)
        snprintf(words, sizeof words, "%s: %.0f %%", now->reason, floor(now->progress * 100));
    else
        snprintf(words, sizeof words, "%s", now->reason);
    terminal_progress(words);
}

static void ask(struct engine_run *r)
{
    r->asked = true;
    r->ask(r);
}

static void on_status(void *context, const struct engine_status *now)
{
    struct engine_run *r = context;
    if (r->ended || r->asked) return;
    switch (now->state) {
    case ENGINE_STARTING:
    case ENGINE_LOADING: progress_show(now); break;
    case ENGINE_OFF: engine_run_end(r, fail(r->err, ERR_NETWORK, "%s", now->reason)); break;
    case ENGINE_DEGRADED:
        terminal_progress("");
        fprintf(stderr, "dbrx-ls %s: note: %s\n", r->name, now->reason);
        ask(r);
        break;
    case ENGINE_READY: ask(r); break;
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct engine_run *r = handle->data;
    if (r->ended) return;
    r->signal_number = number;
    engine_run_end(r, fail(r->err, ERR_CANCELLED, "cancelled"));
}

static void run_close(struct engine_run *r)
{
    r->closed = true;
    r->stop(r);
    if (r->client) engine_client_close(r->client, NULL, NULL);
    for (int i = 0; i < ENGINE_RUN_SIGNALS; i++) uv_close((uv_handle_t *)&r->signals[i], NULL);
    uv_close((uv_handle_t *)&r->timer, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct engine_run *r = timer->data;
    if (r->closed) return;
    if (r->ended) {
        run_close(r);
        return;
    }
    if (r->asked)
        engine_run_end(r, fail(r->err, ERR_NETWORK, "no whole answer within %g s", r->timeout_s));
    else
        engine_run_end(r, fail(r->err, ERR_NETWORK, "no engine within %g s: %s", r->timeout_s,
                               engine_client_status(r->client)->reason));
}

static status run_open(struct engine_run *r, const struct engine_settings *settings, error *err)
{
    int64_t ms = (int64_t)(r->timeout_s * 1000);
    struct engine_client_options options = engine_settings_client(settings);
    options.loop = &r->loop;
    options.on_status = on_status;
    options.context = r;
    r->until_us = clock_us() + ms * 1000;
    uv_timer_init(&r->loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, on_timer, (uint64_t)ms, 0);
    for (int i = 0; i < ENGINE_RUN_SIGNALS; i++) {
        uv_signal_init(&r->loop, &r->signals[i]);
        r->signals[i].data = r;
        uv_signal_start_oneshot(&r->signals[i], on_signal, signals[i]);
    }
    return engine_client_open(&r->client, &options, err);
}

status engine_run(struct engine_run *r, const struct engine_settings *settings, error *err)
{
    int rc = uv_loop_init(&r->loop);
    if (rc < 0) return fail(err, ERR_IO, "event loop: %s", uv_strerror(rc));
    r->err = err;
    status code = run_open(r, settings, err);
    if (code != OK) engine_run_end(r, code);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    return r->code;
}

void engine_run_pass_on(const struct engine_run *r)
{
    if (!r->signal_number) return;
    signal(r->signal_number, SIG_DFL);
    raise(r->signal_number);
}

status engine_run_check(const struct engine_settings *settings, double timeout_s, error *err)
{
    if (!(timeout_s >= 0.001 && timeout_s <= 86400))
        return fail(err, ERR_USAGE, "--timeout: found %g, expected 0.001 to 86400", timeout_s);
    if (settings->model_dir && !settings->endpoint && !directory_exists(settings->model_dir))
        return fail(err, ERR_IO, "model %s: no such directory", settings->model_dir);
    return OK;
}
