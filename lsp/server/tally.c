/* Counters on their way to disk: every few minutes on a thread of the pool, and at the end. */
#include <time.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsp/assistant/statistics.h"
#include "lsp/server/state.h"

enum { EVERY_MS = 300000 };

struct tally_job {
    uv_work_t work;
    buffer line;
    status code;
    error why;
};

/* What the present assistant has counted that is not written yet. */
static void line_take(struct server *s, buffer *out)
{
    struct assistant_counters now;
    if (!s->assistant) return;
    assistant_counters(s->assistant, &now);
    statistics_line(out, &now, &s->tally.written, time(NULL));
    s->tally.written = now;
}

static void job_run(uv_work_t *work)
{
    struct tally_job *job = work->data;
    job->code = statistics_append(buffer_text(&job->line), &job->why);
}

static void job_done(uv_work_t *work, int code)
{
    struct tally_job *job = work->data;
    (void)code;
    if (job->code != OK) log_line(LOG_WARN, "statistics: %s", job->why.message);
    buffer_free(&job->line);
    memory_free(job);
}

static void on_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct tally_job *job = memory_take(1, sizeof *job);
    if (!job) return;
    job->work.data = job;
    line_take(s, &job->line);
    if (job->line.size == 0 || uv_queue_work(&s->loop, &job->work, job_run, job_done) != 0) {
        buffer_free(&job->line);
        memory_free(job);
    }
}

void tally_open(struct server *s)
{
    uv_timer_init(&s->loop, &s->tally.timer);
    s->tally.timer.data = s;
    uv_timer_start(&s->tally.timer, on_timer, EVERY_MS, EVERY_MS);
    s->tally.open = true;
}

void tally_assistant_ends(struct server *s)
{
    buffer line = {0};
    error err;
    line_take(s, &line);
    if (statistics_append(buffer_text(&line), &err) != OK)
        log_line(LOG_WARN, "statistics: %s", err.message);
    buffer_free(&line);
    s->tally.written = (struct assistant_counters){0};
}

void tally_close(struct server *s)
{
    if (!s->tally.open) return;
    s->tally.open = false;
    uv_close((uv_handle_t *)&s->tally.timer, NULL);
}
