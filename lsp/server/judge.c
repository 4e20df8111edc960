/* Whether an open document may reach a model, as far as the disk has to say it: its git attributes,
 * and what lies behind a link.
 *
 * A short-lived process of our own reads them (`dbrx-ls index --judge`), because the front reads no
 * disk. Until it has ended nothing is done with the document, and questions about it wait; one that
 * ends in any other way than "it may" keeps the document from models. */
#include <string.h>
#include <uv.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsp/assistant/environment.h"
#include "lsp/server/state.h"

enum { JUDGES_MAX = 4, KEY_BYTES = 16 }; /* a key, with what an editor closes or indents */

struct judge {
    uv_process_t process;
    struct server *server;
    uint64_t document_key;
    struct judge *next;
};

/* A request about a document that is being judged. */
struct held {
    struct message message; /* with a reference to its root */
    uint64_t document_key;
    method_handler *handle;
    struct held *next;
};

static const char waiting[] = "whether git attributes exclude it is not known yet";

const char *judge_refusal(const document *d)
{
    const struct companion *c = d->companion;
    if (!c || d->path.size == 0 || d->path.bytes[0] != '/') return NULL; /* no file */
    if (c->verdict == VERDICT_NONE || c->again) return waiting;
    return c->verdict == VERDICT_ALLOWED ? NULL : c->why;
}

bool judge_waits(struct server *s, const document *d)
{
    return document_exclusion(s, d) == waiting;
}

static void held_free(struct server *s, struct held *h)
{
    for (struct held **at = &s->held; *at; at = &(*at)->next) {
        if (*at != h) continue;
        *at = h->next;
        s->n_held--;
        break;
    }
    json_decref(h->message.root);
    memory_free(h);
}

bool judge_holds(struct server *s, const document *d, const struct message *m,
                 method_handler *handle)
{
    if (!judge_waits(s, d) || s->n_held >= LSP_PENDING_MAX) return false;
    struct held *h = memory_take(1, sizeof *h), **at = &s->held;
    if (!h) return false;
    *h = (struct held){.message = *m, .document_key = d->key, .handle = handle};
    json_incref(h->message.root);
    while (*at) at = &(*at)->next; /* they go on in the order they came */
    *at = h;
    s->n_held++;
    return true;
}

void judge_drop(struct server *s, uint64_t document_key)
{
    struct held *next;
    for (struct held *h = s->held; h; h = next) {
        next = h->next;
        if (document_key && h->document_key != document_key) continue;
        server_reply_error(s, h->message.id, RPC_CANCELLED, "cancelled");
        held_free(s, h);
    }
}

bool judge_cancel(struct server *s, const json_t *id)
{
    struct held *h = s->held;
    while (h && !json_equal(h->message.id, id)) h = h->next;
    if (!h) return false;
    server_reply_error(s, h->message.id, RPC_CANCELLED, "cancelled");
    held_free(s, h);
    return true;
}

static struct held *held_of(const struct server *s, uint64_t document_key)
{
    struct held *h = s->held;
    while (h && h->document_key != document_key) h = h->next;
    return h;
}

static void held_go_on(struct server *s, uint64_t document_key)
{
    struct held *h;
    const document *d;
    while ((h = held_of(s, document_key))) {
        struct held now = *h;
        if ((d = documents_find_key(s->documents, document_key)) && judge_waits(s, d)) return;
        json_incref(now.message.root);
        held_free(s, h);
        now.handle(s, &now.message);
        json_decref(now.message.root);
    }
}

static void verdict_take(struct server *s, document *d, const char *why)
{
    struct companion *c = d->companion;
    enum verdict before = c->verdict;
    bool changed = c->again; /* which ended what was asked; what has been asked since waits */
    c->verdict = why ? VERDICT_EXCLUDED : VERDICT_ALLOWED;
    c->why = why;
    c->again = c->again && c->wanted; /* it has changed meanwhile */
    if (why) {
        if (before == VERDICT_ALLOWED && !changed) completions_cancel(s, d->key);
        jobs_document_gone(s, d->key);
        popup_close(d);
        if (s->assistant) assistant_forget(s->assistant, d->key);
    }
    if (before != c->verdict) document_judged(s, d);
    held_go_on(s, d->key);
}

static void judges_start(struct server *s);

static void on_closed(uv_handle_t *handle)
{
    struct judge *j = handle->data;
    memory_free(j);
}

static void judge_end(struct judge *j, const char *why, bool linked)
{
    struct server *s = j->server;
    document *d = documents_find_key(s->documents, j->document_key);
    for (struct judge **at = &s->judges; *at; at = &(*at)->next) {
        if (*at != j) continue;
        *at = j->next;
        s->n_judges--;
        break;
    }
    uv_close((uv_handle_t *)&j->process, on_closed);
    if (s->torn_down || !d || !d->companion) return;
    ((struct companion *)d->companion)->judging = false;
    ((struct companion *)d->companion)->linked = linked;
    verdict_take(s, d, why);
}

static void on_judge_exit(uv_process_t *process, int64_t exit_status, int signal)
{
    struct judge *j = process->data;
    struct server *s = j->server;
    const char *why = signal || exit_status != 1 ? "its git attributes cannot be read"
                                                 : "the git attribute -dbrx or the name behind a "
                                                   "link excludes it";
    bool linked = exit_status == JUDGED_LINKED;
    judge_end(j, signal == 0 && (exit_status == 0 || linked) ? NULL : why, linked);
    judges_start(s);
}

static int spawn(struct judge *j, char *path)
{
    static char program[] = "/proc/self/exe";
    char *args[] = {(char[]){"dbrx-ls"}, (char[]){"index"}, (char[]){"--judge"}, path, NULL};
    char **environment = environment_take();
    const uv_process_options_t options = {
        .file = program, .args = args, .env = environment, .exit_cb = on_judge_exit};
    int rc = environment ? uv_spawn(&j->server->loop, &j->process, &options) : UV_ENOMEM;
    environment_free(environment);
    return rc;
}

/* False: there is no memory to begin. */
static bool judge_start(struct server *s, document *d)
{
    struct companion *c = d->companion;
    struct judge *j = memory_take(1, sizeof *j);
    char *path = j ? memory_copy(d->path.bytes, d->path.size) : NULL;
    c->wanted = false;
    if (!path) {
        memory_free(j);
        return false;
    }
    *j = (struct judge){.server = s, .document_key = d->key, .next = s->judges};
    j->process.data = j;
    s->judges = j;
    s->n_judges++;
    c->judging = true;
    int rc = spawn(j, path);
    memory_free(path);
    if (rc == 0) return true;
    log_line(LOG_WARN, "git attributes: %s", uv_strerror(rc));
    judge_end(j, "its git attributes cannot be read", false);
    return true;
}

static void judges_start(struct server *s)
{
    document *d;
    if (s->ending) return;
    for (size_t i = 0; s->n_judges < JUDGES_MAX && (d = documents_at(s->documents, i)); i++) {
        struct companion *c = d->companion;
        if (!c || !c->wanted || c->judging) continue;
        if (!judge_start(s, d)) verdict_take(s, d, "out of memory for its git attributes");
    }
}

void judge_ask(struct server *s, document *d)
{
    struct companion *c = d->companion;
    if (!c || d->path.size == 0 || d->path.bytes[0] != '/') return;
    c->wanted = true;
    judges_start(s);
}

/* An editor that reads a file again sends changes like any others. Another file behind the path shows as
 * a text that has little of the old one; behind a link it may have much of it, but a key is no file: what
 * types does not wait for a process each time. */
void judge_changed(struct server *s, document *d, size_t n_before, size_t n_removed,
                   size_t n_written)
{
    struct companion *c = d->companion;
    bool typed = n_removed + n_written <= KEY_BYTES, replaced = n_removed > n_before / 2;
    if (!c || c->verdict != VERDICT_ALLOWED || (!replaced && (!c->linked || typed))) return;
    c->again = true;
    judge_ask(s, d);
}

void judge_ask_all(struct server *s)
{
    document *d;
    for (size_t i = 0; (d = documents_at(s->documents, i)); i++) judge_ask(s, d);
}

void judges_close(struct server *s)
{
    judge_drop(s, 0);
    for (struct judge *j = s->judges; j; j = j->next) uv_process_kill(&j->process, SIGKILL);
}
