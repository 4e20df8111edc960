/* Life of an assistant: its timer, and its sessions from first question to closed document. */
#include "lsp/assistant/assistant.h"

#include "base/memory.h"
#include "lsp/assistant/state.h"

status assistant_open(assistant **out, const struct assistant_options *options, error *err)
{
    assistant *a = memory_take(1, sizeof *a);
    *out = NULL;
    if (!a) return fail(err, ERR_MEMORY, "out of memory for the assistant");
    a->options = *options;
    int code = uv_timer_init(options->loop, &a->timer);
    if (code != 0) {
        memory_free(a);
        return fail(err, ERR_IO, "timer: %s", uv_strerror(code));
    }
    a->timer.data = a;
    *out = a;
    return OK;
}

static void session_free(struct session *s)
{
    prompt_session_close(s->prompts);
    completion_cache_free(&s->cache);
    memory_free(s);
}

void assistant_forget(assistant *a, uint64_t document_key)
{
    struct session **at = &a->sessions;
    if (a->options.gatherer) gatherer_forget(a->options.gatherer, document_key);
    for (struct completion *c = a->completions; c; c = c->next)
        if (c->document_key == document_key) completion_cancel(c);
    while (*at && (*at)->document_key != document_key) at = &(*at)->next;
    struct session *s = *at;
    if (!s) return;
    for (struct run *r = a->runs, *next; r; r = next) {
        next = r->next;
        if (r->session == s) run_abandon(r); /* one that went on behind */
    }
    *at = s->next;
    session_free(s);
}

static void timer_closed(uv_handle_t *handle) { memory_free(handle->data); }

void assistant_close(assistant *a)
{
    if (a->closing) return;
    a->closing = true;
    while (a->runs) run_abandon(a->runs);
    completions_answer(a, true);
    while (a->sessions) {
        struct session *s = a->sessions;
        a->sessions = s->next;
        session_free(s);
    }
    uv_close((uv_handle_t *)&a->timer, timer_closed);
}
