/* At most one question is on the pool; while it runs, only the newest of those that follow is kept.
 * A retriever belongs to whoever holds the running question, so it needs no lock. */
#include "lsp/assistant/gatherer.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "context/tags.h"
#include "lsp/assistant/indexer.h"
#include "lsp/assistant/reports.h"

enum {
    FOLDERS_MAX = 16,
    ANSWERS_MAX = 16, /* documents whose last answer is kept */
    RECENT_KEPT = 12,
    REPORTED_MAX = 8, /* of one document */
    RECENT_LINES_APART = 20,
    GATHER_US = 100000 /* longer than anybody would wait: a bound, not a target */
};

/* A repository's map with the memory it lives in. */
struct kept_map {
    struct repository_map map;
    arena memory;
};

struct folder {
    indexer *indexer;
    retriever *retriever; /* NULL while there is no index to open */
    struct kept_map map;
    unsigned map_version; /* of the indexer when the map was read; 0: it was not */
};

/* A visited place, by absolute path; newest first. */
struct visit {
    char *path;
    uint32_t line;
};

struct question {
    uint64_t key;
    buffer path, shown, language_id, content;
    syntax *tree; /* of content, or NULL */
    size_t cursor_byte;
};

struct answer {
    uint64_t key;
    bool taken;
    struct excerpts excerpts;
};

struct job {
    uv_work_t work;
    gatherer *gatherer;
    struct question q;
    retriever *retriever; /* taken from its folder meanwhile, and given back */
    bool want_map;
    unsigned map_version;
    struct kept_map map;
    char *database, *root;
    size_t n_root; /* of the path, and the "/" behind it */
    struct recent_place recent[RECENT_KEPT];
    buffer recent_paths;
    size_t n_recent;
    struct reported reported[REPORTED_MAX];
    arena reported_memory;
    size_t n_reported;
    struct excerpts found;
    status code;
    error err;
};

struct gatherer {
    uv_loop_t *loop;
    struct folder folders[FOLDERS_MAX];
    size_t n_folders;
    struct answer answers[ANSWERS_MAX]; /* newest first */
    size_t n_answers;
    struct visit visits[RECENT_KEPT];
    size_t n_visits;
    struct reports reports;
    struct job *running;
    struct question next; /* the newest one that waits */
    bool has_next, closing;
    const struct language *prepared; /* the last one */
    struct gatherer_watcher watcher;
    atomic_bool cancelled;
};

status gatherer_open(gatherer **out, uv_loop_t *loop, error *err)
{
    *out = memory_take(1, sizeof **out);
    if (!*out) return fail(err, ERR_MEMORY, "no memory for repository context");
    (*out)->loop = loop;
    atomic_init(&(*out)->cancelled, false);
    return OK;
}

void gatherer_watch(gatherer *g, const struct gatherer_watcher *watcher) { g->watcher = *watcher; }

static void on_staged(void *context, const indexer *x)
{
    gatherer *g = context;
    if (g->watcher.staged && !g->closing)
        g->watcher.staged(g->watcher.context, indexer_folder(x), indexer_staged(x));
}

static void on_rules(void *context)
{
    gatherer *g = context;
    if (g->watcher.rules && !g->closing) g->watcher.rules(g->watcher.context);
}

static void question_free(struct question *q)
{
    syntax_free(q->tree);
    buffer_free(&q->path);
    buffer_free(&q->shown);
    buffer_free(&q->language_id);
    buffer_free(&q->content);
    *q = (struct question){0};
}

static void gatherer_free(gatherer *g)
{
    for (size_t i = 0; i < g->n_answers; i++) excerpts_free(&g->answers[i].excerpts);
    for (size_t i = 0; i < g->n_visits; i++) memory_free(g->visits[i].path);
    reports_free(&g->reports);
    question_free(&g->next);
    memory_free(g);
}

static void folder_drop(gatherer *g, size_t i)
{
    indexer_close(g->folders[i].indexer);
    retriever_close(g->folders[i].retriever);
    arena_reset(&g->folders[i].map.memory);
    g->folders[i] = g->folders[--g->n_folders];
}

void gatherer_close(gatherer *g)
{
    if (!g) return;
    g->closing = true;
    atomic_store(&g->cancelled, true);
    while (g->n_folders) folder_drop(g, 0);
    if (!g->running) gatherer_free(g);
}

void gatherer_exclude(gatherer *g)
{
    for (size_t i = 0; i < g->n_folders; i++) indexer_exclude(g->folders[i].indexer);
}

static bool is_folder(const struct folder *f, text folder)
{
    return text_is(folder, indexer_folder(f->indexer));
}

void gatherer_add(gatherer *g, text folder)
{
    error err;
    for (size_t i = 0; i < g->n_folders; i++)
        if (is_folder(&g->folders[i], folder)) return;
    if (g->n_folders == FOLDERS_MAX || folder.size < 2) return;
    struct folder f = {0};
    if (indexer_open(&f.indexer, g->loop, folder, &err) == OK) {
        const struct indexer_watcher watcher = {on_staged, on_rules, g};
        indexer_watch(f.indexer, &watcher);
        g->folders[g->n_folders++] = f;
    } else {
        log_line(LOG_WARN, "%s", err.message);
    }
}

void gatherer_remove(gatherer *g, text folder)
{
    for (size_t i = g->n_folders; i-- > 0;)
        if (is_folder(&g->folders[i], folder)) folder_drop(g, i);
}

/* What of the path lies below the folder; empty: not below. */
static text below(text path, const char *folder)
{
    text f = text_of(folder);
    while (f.size && f.bytes[f.size - 1] == '/') f.size--;
    if (!text_starts(path, f) || path.size < f.size + 2 || path.bytes[f.size] != '/')
        return TEXT("");
    return text_slice(path, f.size + 1, path.size);
}

/* The innermost folder that the file lies in. */
static struct folder *folder_of(gatherer *g, text path)
{
    struct folder *best = NULL;
    for (size_t i = 0; i < g->n_folders; i++) {
        bool inside = below(path, indexer_folder(g->folders[i].indexer)).size > 0;
        if (inside && (!best || strlen(indexer_folder(g->folders[i].indexer)) >
                                    strlen(indexer_folder(best->indexer))))
            best = &g->folders[i];
    }
    return best;
}

void gatherer_saved(gatherer *g, text path)
{
    struct folder *f = folder_of(g, path);
    if (!f || !indexer_path(f->indexer)) return;
    buffer real = {0};
    buffer_print(&real, "%s/", indexer_path(f->indexer));
    buffer_put_text(&real, below(path, indexer_folder(f->indexer)));
    if (!real.failed) indexer_tell(f->indexer, "changed", buffer_text(&real));
    buffer_free(&real);
}

void gatherer_refresh(gatherer *g)
{
    for (size_t i = 0; i < g->n_folders; i++) indexer_tell(g->folders[i].indexer, "head", TEXT(""));
}

/* The file's path from the root of its repository; false: there is no index for it yet. */
static bool root_path_put(buffer *out, const struct folder *f, text path)
{
    buffer real = {0};
    const indexer *x = f->indexer;
    if (!indexer_database(x) || !indexer_path(x) || !indexer_root(x)) return false;
    buffer_print(&real, "%s/", indexer_path(x));
    buffer_put_text(&real, below(path, indexer_folder(x)));
    text relative = below(buffer_text(&real), indexer_root(x));
    buffer_put_text(out, relative);
    bool found = relative.size > 0 && !real.failed;
    buffer_free(&real);
    return found;
}

static uint32_t line_at(text content, size_t cursor)
{
    uint32_t line = 1;
    for (size_t i = 0; i < cursor && i < content.size; i++) line += content.bytes[i] == '\n';
    return line;
}

/* One visit for a neighbourhood: the newest line of it. */
static void visit_note(gatherer *g, text path, uint32_t line)
{
    size_t at = 0;
    for (; at < g->n_visits; at++) {
        const struct visit *v = &g->visits[at];
        uint32_t apart = v->line > line ? v->line - line : line - v->line;
        if (text_is(path, v->path) && apart <= RECENT_LINES_APART) break;
    }
    struct visit here;
    if (at < g->n_visits) {
        here = g->visits[at];
    } else {
        here.path = memory_copy(path.bytes, path.size);
        if (!here.path) return;
        if (g->n_visits == RECENT_KEPT)
            memory_free(g->visits[--at].path);
        else
            g->n_visits++;
    }
    here.line = line;
    memmove(g->visits + 1, g->visits, at * sizeof *g->visits);
    g->visits[0] = here;
}

static void run(uv_work_t *work)
{
    struct job *j = (struct job *)work;
    j->code = OK;
    if (!j->retriever) j->code = retriever_open(&j->retriever, j->database, j->root, &j->err);
    if (j->code != OK) return;
    if (j->want_map && repository_map_open(&j->map.map, &j->map.memory, j->database,
                                           text_of(j->root), &j->err) != OK)
        j->want_map = false;
    const struct retrieve_request request = {
        .document = {buffer_text(&j->q.shown), buffer_text(&j->q.language_id),
                     buffer_text(&j->q.content), j->q.tree},
        .cursor_byte = j->q.cursor_byte,
        .recent = j->recent,
        .n_recent = j->n_recent,
        .reported = j->reported,
        .n_reported = j->n_reported,
        .time_us = GATHER_US,
        .cancel = &j->gatherer->cancelled,
    };
    j->code = retrieve(&j->found, j->retriever, &request, &j->err);
}

static void answer_drop(gatherer *g, size_t i)
{
    excerpts_free(&g->answers[i].excerpts);
    g->n_answers--;
    memmove(g->answers + i, g->answers + i + 1, (g->n_answers - i) * sizeof *g->answers);
}

static void answers_drop(gatherer *g, uint64_t key)
{
    for (size_t i = g->n_answers; i-- > 0;)
        if (g->answers[i].key == key) answer_drop(g, i);
}

static void answer_keep(gatherer *g, uint64_t key, struct excerpts *found)
{
    answers_drop(g, key);
    if (g->n_answers == ANSWERS_MAX) answer_drop(g, ANSWERS_MAX - 1);
    memmove(g->answers + 1, g->answers, g->n_answers * sizeof *g->answers);
    g->answers[0] = (struct answer){.key = key, .excerpts = *found};
    g->n_answers++;
    *found = (struct excerpts){0};
}

/* The retriever goes back to its folder, if that is still there and the retriever still good. */
static void retriever_return(gatherer *g, struct job *j)
{
    for (size_t i = 0; j->retriever && i < g->n_folders; i++) {
        struct folder *f = &g->folders[i];
        const char *database = indexer_database(f->indexer);
        if (f->retriever || !database || strcmp(database, j->database) != 0 || j->code != OK)
            continue;
        f->retriever = j->retriever;
        j->retriever = NULL;
    }
    retriever_close(j->retriever);
}

/* The map goes to the folder that it was read for. */
static void map_keep(gatherer *g, struct job *j)
{
    for (size_t i = 0; j->want_map && i < g->n_folders; i++) {
        struct folder *f = &g->folders[i];
        const char *root = indexer_root(f->indexer);
        if (!root || strcmp(root, j->root) != 0) continue;
        arena_reset(&f->map.memory);
        f->map = j->map;
        f->map_version = j->map_version;
        j->map = (struct kept_map){0};
        return;
    }
}

static void job_free(struct job *j)
{
    arena_reset(&j->map.memory);
    question_free(&j->q);
    excerpts_free(&j->found);
    memory_free(j->database);
    memory_free(j->root);
    buffer_free(&j->recent_paths);
    arena_reset(&j->reported_memory);
    memory_free(j);
}

/* What a language needs, made while nobody waits: the first answers come from the index alone. */
struct preparation {
    uv_work_t work;
    const struct language *language;
};

static void prepare(uv_work_t *work) { tagger_prepare(((struct preparation *)work)->language); }

static void on_prepared(uv_work_t *work, int rc)
{
    (void)rc;
    memory_free(work);
}

static void language_prepare(gatherer *g, const struct question *q)
{
    const struct document_view view = {buffer_text(&q->shown), buffer_text(&q->language_id),
                                       buffer_text(&q->content), NULL};
    const struct language *l = language_of_document(&view);
    struct preparation *p = l && l != g->prepared ? memory_take(1, sizeof *p) : NULL;
    if (!p) return;
    g->prepared = p->language = l;
    if (uv_queue_work(g->loop, &p->work, prepare, on_prepared) != 0) memory_free(p);
}

static void next_start(gatherer *g);

static void on_done(uv_work_t *work, int rc)
{
    struct job *j = (struct job *)work;
    gatherer *g = j->gatherer;
    g->running = NULL;
    if (rc == 0 && j->code != OK) log_line(LOG_DEBUG, "context: %s", j->err.message);
    if (rc == 0 && j->code == OK)
        log_line(LOG_DEBUG, "context: %zu excerpts%s", j->found.n, j->found.cut ? " (cut)" : "");
    retriever_return(g, j);
    if (!g->closing && rc == 0) map_keep(g, j);
    if (!g->closing && rc == 0 && j->code == OK) answer_keep(g, j->q.key, &j->found);
    if (!g->closing) language_prepare(g, &j->q);
    job_free(j);
    if (g->closing)
        gatherer_free(g);
    else
        next_start(g);
}

/* Visits as the retriever wants them: from the root, in memory of the job's own. */
static void recent_put(gatherer *g, struct job *j, const struct folder *f)
{
    size_t ends[RECENT_KEPT], n = 0, from = 0;
    for (size_t i = 0; i < g->n_visits; i++)
        if (folder_of(g, text_of(g->visits[i].path)) == f &&
            root_path_put(&j->recent_paths, f, text_of(g->visits[i].path))) {
            j->recent[n].line = g->visits[i].line;
            ends[n++] = j->recent_paths.size;
        }
    for (size_t i = 0; i < n && !j->recent_paths.failed; from = ends[i++])
        j->recent[i].path = text_slice(buffer_text(&j->recent_paths), from, ends[i]);
    j->n_recent = j->recent_paths.failed ? 0 : n;
}

static text text_keep(arena *a, text t)
{
    const char *copy = arena_copy(a, t.bytes ? t.bytes : "", t.size);
    return (text){copy, copy ? t.size : 0};
}

/* What is reported of the document, with paths from the root. */
static void reported_put(struct gatherer *g, struct job *j, const struct folder *f)
{
    buffer path = {0};
    for (size_t i = 0; i < g->reports.n && j->n_reported < REPORTED_MAX; i++) {
        const struct kept_report *k = &g->reports.kept[i];
        struct reported *to = &j->reported[j->n_reported];
        if (k->key != j->q.key) continue;
        buffer_clear(&path);
        bool points = k->path[0] && root_path_put(&path, f, text_of(k->path));
        *to = (struct reported){.line = k->line, .path_line = k->path_line};
        to->message = text_keep(&j->reported_memory, text_of(k->message));
        to->path = points ? text_keep(&j->reported_memory, buffer_text(&path)) : TEXT("");
        j->n_reported++;
    }
    if (path.failed || j->reported_memory.failed) j->n_reported = 0;
    buffer_free(&path);
}

static bool job_fill(struct job *j, gatherer *g, struct folder *f)
{
    const char *database = indexer_database(f->indexer), *root = indexer_root(f->indexer);
    buffer_clear(&j->q.shown);
    if (!root_path_put(&j->q.shown, f, buffer_text(&j->q.path)) || j->q.shown.failed) return false;
    j->database = memory_copy(database, strlen(database));
    j->root = memory_copy(root, strlen(root));
    if (!j->database || !j->root) return false;
    recent_put(g, j, f);
    reported_put(g, j, f);
    j->map_version = indexer_version(f->indexer);
    j->want_map = j->map_version != f->map_version;
    j->retriever = f->retriever;
    f->retriever = NULL;
    return true;
}

static void next_start(gatherer *g)
{
    if (!g->has_next || g->running || g->closing) return;
    struct folder *f = folder_of(g, buffer_text(&g->next.path));
    struct job *j = f ? memory_take(1, sizeof *j) : NULL;
    g->has_next = false;
    if (!j) return;
    j->gatherer = g;
    j->q = g->next;
    g->next = (struct question){0};
    if (!job_fill(j, g, f)) {
        job_free(j);
        return;
    }
    g->running = j;
    if (uv_queue_work(g->loop, &j->work, run, on_done) != 0) {
        g->running = NULL;
        retriever_return(g, j);
        job_free(j);
    }
}

void gatherer_report(gatherer *g, uint64_t key, uint32_t from_line, uint32_t to_line,
                     const struct reported *said, size_t n)
{
    reports_put(&g->reports, key, from_line, to_line, said, n);
}

void gatherer_note(gatherer *g, const struct gather_query *q)
{
    const struct folder *f = folder_of(g, q->path);
    if (g->closing || q->document.content.size > DOCUMENT_PARSE_MAX || !f) return;
    if (!g->n_visits || !text_is(q->path, g->visits[0].path))
        indexer_tell(f->indexer, "opened", below(q->path, indexer_folder(f->indexer)));
    visit_note(g, q->path, line_at(q->document.content, q->cursor_byte));
    question_free(&g->next);
    g->next.key = q->key;
    g->next.cursor_byte = q->cursor_byte;
    buffer_put_text(&g->next.path, q->path);
    buffer_put_text(&g->next.language_id, q->document.language_id);
    buffer_put_text(&g->next.content, q->document.content);
    g->next.tree = syntax_share(q->document.tree, buffer_text(&g->next.content));
    g->has_next = !g->next.path.failed && !g->next.language_id.failed && !g->next.content.failed;
    next_start(g);
}

const struct excerpts *gatherer_take(gatherer *g, uint64_t key)
{
    for (size_t i = 0; i < g->n_answers; i++) {
        struct answer *a = &g->answers[i];
        if (a->key != key || a->taken) continue;
        a->taken = true;
        return &a->excerpts;
    }
    return NULL;
}

bool gatherer_has(const gatherer *g, uint64_t key)
{
    for (size_t i = 0; i < g->n_answers; i++)
        if (g->answers[i].key == key && !g->answers[i].taken) return true;
    return false;
}

const struct repository_map *gatherer_map(gatherer *g, text path)
{
    const struct folder *f = folder_of(g, path);
    return f && f->map.map.n ? &f->map.map : NULL;
}

const struct excerpts *gatherer_peek(const gatherer *g, uint64_t key)
{
    for (size_t i = 0; i < g->n_answers; i++)
        if (g->answers[i].key == key) return &g->answers[i].excerpts;
    return NULL;
}

void gatherer_forget(gatherer *g, uint64_t key)
{
    answers_drop(g, key);
    reports_forget(&g->reports, key);
}
