/* What is staged will be asked about: once it has been the same for a moment, the engine reads the prompt
 * of its commit message, with its lowest priority. One at a time; another stage, and the question
 * itself, end it. */
#include <string.h>

#include "base/memory.h"
#include "lsp/server/state.h"

/* People stage file by file; an engine that is not ready now may be later. */
enum { CALM_MS = 1000, AGAIN_MS = 5000 };

static void stage_forget(struct server *s)
{
    memory_free(s->stage.folder);
    s->stage.folder = NULL;
    uv_timer_stop(&s->stage.timer);
}

static void on_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (s->ending) return;
    if (!s->assistant || !assistant_warms(s->assistant)) {
        uv_timer_start(&s->stage.timer, on_timer, AGAIN_MS, 0);
        return;
    }
    s->stage.job = commit_job_warm(s, s->stage.folder);
    stage_forget(s);
}

static void on_staged(void *context, const char *folder, const char *id)
{
    struct server *s = context;
    stage_stop(s);
    if (!id[0]) return;
    s->stage.folder = memory_copy(folder, strlen(folder));
    if (s->stage.folder) uv_timer_start(&s->stage.timer, on_timer, CALM_MS, 0);
}

static void on_rules(void *context) { judge_ask_all(context); }

void stage_open(struct server *s)
{
    uv_timer_init(&s->loop, &s->stage.timer);
    s->stage.timer.data = s;
    s->stage.open = true;
    const struct gatherer_watcher watcher = {on_staged, on_rules, s};
    if (s->gatherer) gatherer_watch(s->gatherer, &watcher);
}

void stage_stop(struct server *s)
{
    if (!s->stage.open) return;
    if (s->stage.job) commit_job_kill(s->stage.job);
    s->stage.job = NULL;
    stage_forget(s);
}

void stage_close(struct server *s)
{
    if (!s->stage.open) return;
    stage_stop(s);
    s->stage.open = false;
    uv_close((uv_handle_t *)&s->stage.timer, NULL);
}
