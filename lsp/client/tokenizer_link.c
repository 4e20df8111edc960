/* The tokenizer that belongs to the link: among those kept open, else in the cache, else from the
 * engine. Opening one takes some ten milliseconds, so it happens on libuv's pool. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "lsp/client/client.h"

static void key_wanted(const engine_client *c, struct tokenizer_key *key)
{
    memset(key, 0, sizeof *key); /* compared as bytes */
    if (c->foreign) return;
    memcpy(key->sha256, c->engine.tokenizer_sha256, sizeof key->sha256);
    key->specials = c->engine.specials;
    key->vocabulary_size = c->engine.vocabulary_size;
}

static bool key_equal(const struct tokenizer_key *a, const struct tokenizer_key *b)
{
    return strcmp(a->sha256, b->sha256) == 0 && a->vocabulary_size == b->vocabulary_size &&
           memcmp(&a->specials, &b->specials, sizeof a->specials) == 0;
}

static void job_work(uv_work_t *work)
{
    struct tokenizer_job *job = work->data;
    job->opened = NULL;
    switch (job->task) {
    case TASK_CACHE: job->code = tokenizer_cache_open(&job->opened, &job->key, &job->why); break;
    case TASK_RANKS:
        job->code =
            tokenizer_cache_add(&job->opened, &job->key, buffer_text(&job->ranks), &job->why);
        break;
    case TASK_OPEN: job->code = tokenizer_open(&job->opened, job->model_dir, &job->why); break;
    }
}

static void fetch_send(engine_client *c);

static void refuse(engine_client *c, const char *why)
{
    log_line(LOG_WARN, "tokenizer refused: %s", why);
    link_down(c, ENGINE_OFF, "%s", why);
    link_retry_in(c, link_backoff_ms(c, c->n_retries++, START_RETRY_MIN_MS, RETRY_MAX_MS));
}

static void job_done(uv_work_t *work, int cancelled)
{
    struct tokenizer_job *job = work->data;
    engine_client *c = job->client;
    struct tokenizer_key wanted;
    (void)cancelled;
    job->running = false;
    buffer_free(&job->ranks);
    if (job->code == OK) {
        c->kept[c->n_kept].key = job->key;
        c->kept[c->n_kept++].tokenizer = job->opened;
    } else {
        log_line(LOG_INFO, "tokenizer: %s", job->why.message);
    }
    key_wanted(c, &wanted);
    if (c->closing)
        client_wake(c);
    else if (!c->up)
        return;
    else if (job->code == OK || !key_equal(&wanted, &job->key))
        tokenizer_ensure(c);
    else if (job->task == TASK_CACHE)
        fetch_send(c);
    else
        refuse(c, job->why.message);
}

static void job_start(engine_client *c, enum tokenizer_task task, const struct tokenizer_key *key)
{
    struct tokenizer_job *job = &c->tokenizer_job;
    if (c->n_kept == TOKENIZERS_OPEN_MAX) {
        refuse(c, "the engine changed its tokenizer too often: start the editor's server again");
        return;
    }
    job->client = c;
    job->work.data = job;
    job->task = task;
    job->key = *key;
    job->model_dir = c->model_dir;
    job->running = uv_queue_work(c->loop, &job->work, job_work, job_done) == 0;
}

static void fetch_bytes_came(void *context, const struct http_head *head, text bytes)
{
    engine_client *c = context;
    if (head->status == 200) buffer_put_text(&c->tokenizer_job.ranks, bytes);
}

static void fetch_done(void *context, const struct http_result *result)
{
    engine_client *c = context;
    struct tokenizer_job *job = &c->tokenizer_job;
    char why[200];
    c->fetch = NULL;
    if (result->code == OK && result->head.status == 200 && !job->ranks.failed) {
        job_start(c, TASK_RANKS, &job->key);
        return;
    }
    if (result->code != OK)
        snprintf(why, sizeof why, "the engine's tokenizer: %s", result->reason);
    else
        snprintf(why, sizeof why, "the engine's tokenizer: HTTP %d", result->head.status);
    refuse(c, why);
}

/* The ranks are gathered in the job's own buffer: no job runs while they come. */
static void fetch_send(engine_client *c)
{
    error err;
    struct http_request request = {.path = "/v1/dbrx/tokenizer",
                                   .limits = {.connect_ms = HANDSHAKE_CONNECT_MS,
                                              .first_byte_ms = HANDSHAKE_TOTAL_MS,
                                              .idle_ms = HANDSHAKE_TOTAL_MS,
                                              .total_ms = TOKENIZER_TOTAL_MS,
                                              .answer_bytes_max = TOKENIZER_FILE_MAX},
                                   .on_bytes = fetch_bytes_came,
                                   .on_done = fetch_done,
                                   .context = c};
    buffer_clear(&c->tokenizer_job.ranks);
    if (http_send(c->http, &request, &c->fetch, &err) != OK) refuse(c, err.message);
}

void tokenizer_ensure(engine_client *c)
{
    struct tokenizer_key key;
    key_wanted(c, &key);
    if (!c->foreign && !key.sha256[0]) return; /* not known while the engine loads */
    c->tokenizer = NULL;
    for (size_t i = 0; i < c->n_kept; i++)
        if (key_equal(&c->kept[i].key, &key)) c->tokenizer = c->kept[i].tokenizer;
    if (!c->tokenizer && !c->tokenizer_job.running && !c->fetch)
        job_start(c, c->foreign ? TASK_OPEN : TASK_CACHE, &key);
    foreign_learn(c);
    status_touch(c);
}

void tokenizer_close_all(engine_client *c)
{
    for (size_t i = 0; i < c->n_kept; i++) tokenizer_close(c->kept[i].tokenizer);
    buffer_free(&c->tokenizer_job.ranks);
}
