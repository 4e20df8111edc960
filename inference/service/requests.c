/* A list under one mutex: requests last milliseconds to minutes and are at most some hundreds. */
#include "inference/service/requests.h"

#include <string.h>

#include "base/clock.h"
#include "inference/service/json_write.h"
#include "inference/service/routes.h"

void requests_open(struct requests *all)
{
    *all = (struct requests){0};
    pthread_mutex_init(&all->mutex, NULL);
}

static bool takes_place_of(const struct request_entry *newer, text supersedes,
                           const struct request_entry *older)
{
    if (older->caller.owner != newer->caller.owner || atomic_load(&older->superseded)) return false;
    if (text_is(supersedes, older->id)) return true;
    return text_is(supersedes, "session") && newer->session.size &&
           text_equal(newer->session, older->session);
}

static int supersede(struct requests *all, const struct request_entry *newer, text supersedes)
{
    int n = 0;
    for (struct request_entry *e = supersedes.size ? all->first : NULL; e; e = e->next) {
        if (!takes_place_of(newer, supersedes, e)) continue;
        atomic_store(&e->superseded, true);
        for (size_t i = 0; i < e->n_generations; i++) generation_cancel(e->generations[i]);
        n++;
    }
    return n;
}

/* Those of the same key that are not about to end. */
static int count_of(const struct requests *all, uint64_t key_id)
{
    int n = 0;
    for (const struct request_entry *e = all->first; e; e = e->next)
        n += e->caller.key_id == key_id && !atomic_load(&e->superseded);
    return n;
}

int requests_enter(struct requests *all, struct request_entry *entry, text supersedes, error *err)
{
    pthread_mutex_lock(&all->mutex);
    int n = supersede(all, entry, supersedes);
    if (entry->caller.key_id >= CALLER_KEYS &&
        count_of(all, entry->caller.key_id) >= HTTP_REQUESTS_KEY_MAX) {
        fail(err, ERR_BUSY, "more than %d requests of one key at once", HTTP_REQUESTS_KEY_MAX);
        n = -1;
    } else {
        entry->before = all->last;
        *(all->last ? &all->last->next : &all->first) = entry;
        all->last = entry;
        entry->entered = true;
    }
    pthread_mutex_unlock(&all->mutex);
    return n;
}

void requests_submitted(struct requests *all, struct request_entry *entry, generation *g)
{
    pthread_mutex_lock(&all->mutex);
    entry->generations[entry->n_generations++] = g;
    if (atomic_load(&entry->superseded)) generation_cancel(g);
    pthread_mutex_unlock(&all->mutex);
}

void requests_leave(struct requests *all, struct request_entry *entry)
{
    if (!entry->entered) return;
    pthread_mutex_lock(&all->mutex);
    *(entry->before ? &entry->before->next : &all->first) = entry->next;
    *(entry->next ? &entry->next->before : &all->last) = entry->before;
    pthread_mutex_unlock(&all->mutex);
    entry->entered = false;
}

static const char *priority_name(enum priority p)
{
    static const char *const names[N_PRIORITIES] = {"interactive", "action", "batch", "warm"};
    return names[p];
}

/* What only its owner may know. */
static void put_details(buffer *out, const struct request_entry *e, size_t i, bool yours)
{
    struct generation_stats stats;
    generation_stats(e->generations[i], &stats);
    buffer_print(out, ",\"id\":\"%s\",\"choice\":%zu,\"session\":", e->id, i);
    json_put_string(out, e->session);
    buffer_print(out,
                 ",\"prompt_tokens\":%lld,\"cached_tokens\":%lld,\"output_tokens\":%lld,\"key\":",
                 (long long)stats.n_prompt, (long long)stats.n_cached, (long long)stats.n_output);
    json_put_chars(out, e->caller.name);
    buffer_print(out, ",\"yours\":%s", yours ? "true" : "false");
}

void requests_put(buffer *out, struct requests *all, engine *e, const struct caller *caller)
{
    const char *separator = "";
    int64_t now_us = clock_us();
    (void)e;
    buffer_put_text(out, TEXT("{\"requests\":["));
    pthread_mutex_lock(&all->mutex);
    for (const struct request_entry *r = all->first; r; r = r->next)
        for (size_t i = 0; i < r->n_generations; i++) {
            bool yours = r->caller.owner == caller->owner;
            buffer_print(out, "%s{\"priority\":\"%s\",\"age_ms\":%.3f", separator,
                         priority_name(r->priority), (double)(now_us - r->begun_us) * 1e-3);
            if (yours || caller->admin) put_details(out, r, i, yours);
            buffer_put_char(out, '}');
            separator = ",";
        }
    pthread_mutex_unlock(&all->mutex);
    buffer_put_text(out, TEXT("]}"));
}

bool requests_handle(struct exchange *x)
{
    struct service_view view;
    buffer body = {0};
    service_look(x->service, &view);
    if (!view.engine) return reply_not_ready(x, &view);
    requests_put(&body, &x->service->requests, view.engine, &x->caller);
    return http_reply_json(x, 200, &body);
}
