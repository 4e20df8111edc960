/* Nobody answers at the local socket: is an engine being started, has one lost its socket, did ours
 * fail, or is it ours to start one? The lock answers; looking at it happens on libuv's pool. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lsp/client/client.h"

static void look_again(engine_client *c)
{
    link_retry_in(c, link_backoff_ms(c, c->n_retries++, RETRY_LOCAL_MIN_MS, RETRY_LOCAL_MAX_MS));
}

static void job_work(uv_work_t *work)
{
    struct local_job *job = work->data;
    if (job->signal_number)
        job->code = local_engine_signal(job->signal_number, &job->why);
    else
        job->code =
            local_engine_look(&job->found, &job->spec, job->may_start, job->log_from, &job->why);
}

/* The engine we started is gone. One that had been ready is started again at once, the first time;
 * one that never was has a reason that will hold: a model that is missing, say. */
static void engine_ended(engine_client *c)
{
    struct local_life *life = &c->life;
    const char *words = c->local_job.found.last_words;
    bool was_ready = life->was_ready;
    life->log_offset = -1;
    life->was_ready = false;
    if (life->stopping_since_us) return; /* as we wished */
    if (!was_ready && life->n_failed_starts == 0) life->n_failed_starts = 1;
    uint64_t wait_ms =
        life->n_failed_starts
            ? link_backoff_ms(c, life->n_failed_starts - 1, START_RETRY_MIN_MS, START_RETRY_MAX_MS)
            : 0;
    life->n_failed_starts++;
    life->start_after_us = clock_us() + (int64_t)wait_ms * 1000;
    if (was_ready)
        link_down(c, ENGINE_STARTING, "the engine ended (%s); it is started again",
                  words[0] ? words : "killed, or crashed without a word");
    else
        link_down(c, ENGINE_OFF, "the local engine could not start: %s",
                  words[0] ? words : "it ended without a word");
    log_line(LOG_WARN, "engine: %s; next start in %.1f s", c->trouble, (double)wait_ms / 1e3);
}

static void found_free(engine_client *c)
{
    struct local_life *life = &c->life;
    if (life->log_offset >= 0) engine_ended(c);
    life->held_since_us = life->stopping_since_us = 0;
    int64_t wait_ms = (life->start_after_us - clock_us()) / 1000 + 1;
    if (wait_ms < 1) wait_ms = 1;
    /* Another front may have more luck meanwhile: look at least every second. */
    link_retry_in(c, wait_ms < RETRY_LOCAL_MAX_MS ? (uint64_t)wait_ms : RETRY_LOCAL_MAX_MS);
}

static void found_held(engine_client *c)
{
    struct local_life *life = &c->life;
    int64_t now_us = clock_us();
    if (life->held_since_us == 0) life->held_since_us = now_us;
    bool missing = now_us - life->held_since_us > SOCKET_MISSING_MS * (int64_t)1000;
    if (life->stopping_since_us || (missing && c->local_job.found.holder)) {
        if (!life->stopping_since_us)
            link_down(c, ENGINE_STARTING, "the engine of pid %ld has lost its socket: replacing it",
                      (long)c->local_job.found.holder);
        local_stop(c, life->stopping_since_us ? life->stop_grace_us / 1000 : KILL_AFTER_MS);
        return;
    }
    if (missing && !c->up && life->log_offset < 0)
        link_down(c, ENGINE_OFF, "engine.lock is held by a process that opens no socket");
    else if (!c->up && life->log_offset < 0 && life->n_failed_starts == 0)
        link_down(c, ENGINE_STARTING, "waiting for the local engine");
    look_again(c);
}

static void found_started(engine_client *c)
{
    struct local_life *life = &c->life;
    life->log_offset = c->local_job.found.log_offset;
    life->held_since_us = life->stopping_since_us = 0;
    life->was_ready = false;
    if (life->n_failed_starts == 0) link_down(c, ENGINE_STARTING, "starting the local engine");
    c->n_retries = 0;
    look_again(c);
}

static void look_done(engine_client *c)
{
    struct local_life *life = &c->life;
    const struct local_job *job = &c->local_job;
    if (job->code != OK) {
        uint64_t wait_ms =
            link_backoff_ms(c, life->n_failed_starts++, START_RETRY_MIN_MS, START_RETRY_MAX_MS);
        link_down(c, ENGINE_OFF, "%s", job->why.message);
        life->start_after_us = clock_us() + (int64_t)wait_ms * 1000;
        link_retry_in(c, wait_ms);
        return;
    }
    switch (job->found.outcome) {
    case LOCAL_FREE: found_free(c); break;
    case LOCAL_HELD: found_held(c); break;
    case LOCAL_STARTED: found_started(c); break;
    }
}

static void job_done(uv_work_t *work, int cancelled)
{
    struct local_job *job = work->data;
    engine_client *c = job->client;
    (void)cancelled;
    job->running = false;
    if (c->closing) {
        client_wake(c);
    } else if (!job->signal_number) {
        look_done(c);
    } else {
        if (job->code != OK) log_line(LOG_INFO, "%s", job->why.message);
        link_retry_in(c, RETRY_LOCAL_MIN_MS * 5);
    }
}

static void job_start(engine_client *c, int signal_number)
{
    struct local_job *job = &c->local_job;
    struct local_life *life = &c->life;
    if (job->running || c->closing) return; /* its end goes on from there */
    job->client = c;
    job->work.data = job;
    job->signal_number = signal_number;
    job->log_from = life->log_offset;
    job->may_start = life->log_offset < 0 && clock_us() >= life->start_after_us;
    job->spec = (struct local_engine_spec){.program = c->program,
                                           .model_dir = c->model_dir,
                                           .backend = c->backend,
                                           .idle = c->idle,
                                           .n_threads = c->n_threads};
    job->running = uv_queue_work(c->loop, &job->work, job_work, job_done) == 0;
    if (!job->running) look_again(c);
}

void local_look(engine_client *c) { job_start(c, 0); }

void local_stop(engine_client *c, int64_t grace_ms)
{
    struct local_life *life = &c->life;
    int64_t now_us = clock_us();
    if (life->stopping_since_us == 0) {
        life->stopping_since_us = now_us;
        life->stop_grace_us = grace_ms * 1000;
        life->killed = false;
        job_start(c, SIGTERM);
    } else if (!life->killed && now_us - life->stopping_since_us > life->stop_grace_us) {
        life->killed = true;
        job_start(c, SIGKILL);
    } else {
        look_again(c);
    }
}

void local_linked(engine_client *c)
{
    c->life.held_since_us = 0;
    c->life.stopping_since_us = 0;
}

void local_ready(engine_client *c) { c->life.was_ready = true; }

void local_lost(engine_client *c)
{
    bool stable = clock_us() - c->up_since_us > 3 * LINK_STABLE_MS * (int64_t)1000;
    if (c->life.was_ready && stable) c->life.n_failed_starts = 0;
}
