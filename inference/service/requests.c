/* A list under one mutex: requests last milliseconds to minutes and are at most some hundreds. */
#include "inference/service/requests.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
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

/* What the engine said, and when it was asked. */
struct snapshot {
    struct engine_request_info rows[ENGINE_QUEUE_MAX + ENGINE_SEQUENCES_MAX];
    size_t n;
    int64_t asked_us;
    bool answered;
};

enum { ENGINE_SILENT_US = 1900000 }; /* engine_requests gives up after 2 s */

static void snapshot_take(struct snapshot *s, engine *e)
{
    s->asked_us = clock_us();
    s->n = engine_requests(e, s->rows, sizeof s->rows / sizeof *s->rows);
    s->answered = s->n > 0 || clock_us() - s->asked_us < ENGINE_SILENT_US;
}

/* The engine's row of a generation; one that the engine does not know now has ended, or is new. */
static struct engine_request_info row_of(const struct snapshot *s, const struct request_entry *r,
                                         const generation *g)
{
    struct generation_stats stats;
    for (size_t i = 0; i < s->n; i++)
        if (s->rows[i].generation == g && s->rows[i].owner == r->owner) return s->rows[i];
    generation_stats(g, &stats);
    bool is_new = r->begun_us >= s->asked_us;
    return (struct engine_request_info){.state = !s->answered ? "unknown"
                                                 : is_new     ? "queued"
                                                              : "sending",
                                        .waits_for = !s->answered ? "the device"
                                                     : is_new     ? "its turn"
                                                                  : "its reader",
                                        .n_prompt = stats.n_prompt,
                                        .n_cached = stats.n_cached,
                                        .n_computed =
                                            stats.n_prompt + stats.n_output - stats.n_cached,
                                        .n_output = stats.n_output};
}

/* What only its owner may know. */
static void put_details(buffer *out, const struct request_entry *r, size_t i,
                        const struct engine_request_info *row, bool yours)
{
    buffer_print(out,
                 ",\"waits_for\":\"%s\",\"id\":\"%s\",\"choice\":%zu,\"session\":", row->waits_for,
                 r->id, i);
    json_put_string(out, r->session);
    buffer_print(out,
                 ",\"prompt_tokens\":%lld,\"cached_tokens\":%lld,\"computed_tokens\":%lld,"
                 "\"output_tokens\":%lld,\"key\":",
                 (long long)row->n_prompt, (long long)row->n_cached, (long long)row->n_computed,
                 (long long)row->n_output);
    json_put_chars(out, r->caller.name);
    buffer_print(out, ",\"yours\":%s", yours ? "true" : "false");
}

static void put_rows(buffer *out, struct requests *all, const struct snapshot *s,
                     const struct caller *caller)
{
    const char *separator = "";
    int64_t now_us = clock_us();
    for (const struct request_entry *r = all->first; r; r = r->next)
        for (size_t i = 0; i < r->n_generations; i++) {
            bool yours = r->caller.owner == caller->owner;
            const struct engine_request_info row = row_of(s, r, r->generations[i]);
            buffer_print(out, "%s{\"priority\":\"%s\",\"state\":\"%s\",\"age_ms\":%.3f", separator,
                         priority_name(r->priority), row.state,
                         (double)(now_us - r->begun_us) * 1e-3);
            if (yours || caller->admin) put_details(out, r, i, &row, yours);
            buffer_put_char(out, '}');
            separator = ",";
        }
}

bool requests_put(buffer *out, struct requests *all, engine *e, const struct caller *caller)
{
    struct snapshot *s = memory_take(1, sizeof *s);
    if (!s) return false;
    snapshot_take(s, e);
    buffer_put_text(out, TEXT("{\"requests\":["));
    pthread_mutex_lock(&all->mutex);
    put_rows(out, all, s, caller);
    pthread_mutex_unlock(&all->mutex);
    buffer_put_text(out, TEXT("]}"));
    memory_free(s);
    return true;
}

bool requests_handle(struct exchange *x)
{
    struct service_view view;
    buffer body = {0};
    service_look(x->service, &view);
    if (!view.engine) return reply_not_ready(x, &view);
    bool put = requests_put(&body, &x->service->requests, view.engine, &x->caller);
    return put && http_reply_json(x, 200, &body);
}
