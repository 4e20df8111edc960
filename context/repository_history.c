/* The walk is our own: a heap of commits by time, from HEAD. libgit2's fails as a whole where one
 * parent is missing, as it is at the edge of a shallow clone. */
#include "context/history.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/repository_private.h"
#include "context/secrets.h"

/* Commits still to be seen, the newest on top; `known` is an open-addressed set of all ids met. */
struct walk {
    repository *r;
    git_commit **heap;
    git_oid *known;
    size_t n, n_known, known_room;
};

enum { PARENTS_MAX = 64, HEAP_MAX = 4 * HISTORY_COMMITS_MAX, KNOWN_ROOM = 4 * HEAP_MAX };

/* True when the id was not there before, and there is room. */
static bool known_add(struct walk *w, const git_oid *id)
{
    size_t at;
    memcpy(&at, id->id, sizeof at);
    if (w->n_known >= w->known_room / 2) return false;
    for (at %= w->known_room; !git_oid_is_zero(&w->known[at]); at = (at + 1) % w->known_room)
        if (git_oid_equal(&w->known[at], id)) return false;
    w->known[at] = *id;
    w->n_known++;
    return true;
}

static bool is_newer(git_commit *a, git_commit *b)
{
    return git_commit_time(a) > git_commit_time(b);
}

static void heap_swap(struct walk *w, size_t i, size_t j)
{
    git_commit *c = w->heap[i];
    w->heap[i] = w->heap[j];
    w->heap[j] = c;
}

static void heap_add(struct walk *w, const git_oid *id)
{
    git_commit *c;
    if (w->n == HEAP_MAX || !known_add(w, id) || git_commit_lookup(&c, w->r->git, id) != 0) return;
    size_t at = w->n++;
    w->heap[at] = c;
    for (; at > 0 && is_newer(w->heap[at], w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap_swap(w, at, (at - 1) / 2);
}

static git_commit *heap_take(struct walk *w)
{
    git_commit *top = w->heap[0];
    w->heap[0] = w->heap[--w->n];
    for (size_t at = 0, child; (child = 2 * at + 1) < w->n; at = child) {
        if (child + 1 < w->n && is_newer(w->heap[child + 1], w->heap[child])) child++;
        if (!is_newer(w->heap[child], w->heap[at])) break;
        heap_swap(w, at, child);
    }
    return top;
}

typedef bool see_commit(void *payload, git_commit *commit);

/* Commits from HEAD back, newest first, until `see` says no or n_max were seen. */
static status walk_run(repository *r, size_t n_max, see_commit *see, void *payload, error *err)
{
    git_oid head;
    struct walk w = {.r = r, .known_room = KNOWN_ROOM};
    if (!r->git || !r->head[0] || git_oid_fromstr(&head, r->head) != 0) return OK;
    w.heap = memory_take(HEAP_MAX, sizeof *w.heap);
    w.known = memory_take(KNOWN_ROOM, sizeof *w.known);
    status code = w.heap && w.known ? OK : fail(err, ERR_MEMORY, "no memory for a walk");
    if (code == OK) heap_add(&w, &head);
    for (bool more = true; code == OK && more && w.n > 0 && n_max > 0; n_max--) {
        git_commit *c = heap_take(&w);
        for (unsigned i = 0; i < git_commit_parentcount(c) && i < PARENTS_MAX; i++)
            heap_add(&w, git_commit_parent_id(c, i));
        more = see(payload, c);
        git_commit_free(c);
    }
    while (w.n > 0) git_commit_free(w.heap[--w.n]);
    memory_free(w.heap);
    memory_free(w.known);
    return code;
}

static text arena_text(arena *a, const char *bytes)
{
    size_t size = bytes ? strlen(bytes) : 0;
    const char *copy = arena_copy(a, bytes ? bytes : "", size);
    return (text){copy, copy ? size : 0};
}

/* The first value that counts, or "". */
static text config_text(arena *a, repository *r, const char *name)
{
    git_config *config = NULL;
    git_buf value = {0};
    text found = TEXT("");
    if (git_repository_config_snapshot(&config, r->git) == 0 &&
        git_config_get_string_buf(&value, config, name) == 0)
        found = arena_text(a, value.ptr);
    git_buf_dispose(&value);
    git_config_free(config);
    return found;
}

status repository_user(text *name, text *email, arena *a, repository *r, error *err)
{
    *name = *email = TEXT("");
    if (!r->git) return OK;
    *name = config_text(a, r, "user.name");
    *email = config_text(a, r, "user.email");
    return a->failed ? fail(err, ERR_MEMORY, "no memory for a name") : OK;
}

static text arena_masked(arena *a, const char *bytes)
{
    size_t size = bytes ? strlen(bytes) : 0;
    char *copy = arena_copy(a, bytes ? bytes : "", size);
    if (copy) secrets_mask(copy, size);
    return (text){copy, copy ? size : 0};
}

static void commit_fill(struct commit *out, arena *a, git_commit *c, text own_email)
{
    const git_signature *author = git_commit_author(c);
    git_oid_tostr(out->id, sizeof out->id, git_commit_id(c));
    out->subject = arena_masked(a, git_commit_summary(c));
    out->author = arena_text(a, author ? author->name : "");
    out->email = arena_text(a, author ? author->email : "");
    out->time_s = git_commit_time(c);
    out->n_parents = git_commit_parentcount(c);
    out->is_own = own_email.size && text_equal(out->email, own_email);
}

struct gathering {
    struct commits *out;
    size_t n_max;
    text own_email;
    bool own_only;
};

static bool gather_commit(void *payload, git_commit *c)
{
    struct gathering *g = payload;
    struct commit *to = &g->out->commits[g->out->n];
    const git_signature *author = git_commit_author(c);
    bool own = author && g->own_email.size && text_is(g->own_email, author->email);
    if (!g->own_only || own) {
        commit_fill(to, &g->out->memory, c, g->own_email);
        g->out->n++;
    }
    return g->out->n < g->n_max;
}

status repository_commits(struct commits *out, repository *r, size_t n_max, bool own_only,
                          error *err)
{
    text name;
    *out = (struct commits){0};
    if (n_max > HISTORY_COMMITS_MAX) n_max = HISTORY_COMMITS_MAX;
    struct gathering g = {.out = out, .n_max = n_max, .own_only = own_only};
    status code = repository_user(&name, &g.own_email, &out->memory, r, err);
    out->commits = arena_take(&out->memory, n_max + 1, sizeof *out->commits);
    if (code == OK && !out->commits) code = fail(err, ERR_MEMORY, "no memory for commits");
    if (code == OK && n_max) code = walk_run(r, HISTORY_COMMITS_MAX, gather_commit, &g, err);
    return code == OK && out->memory.failed ? fail(err, ERR_MEMORY, "no memory for commits") : code;
}

void commits_free(struct commits *c)
{
    arena_reset(&c->memory);
    *c = (struct commits){0};
}

struct seeing {
    commit_see *see;
    void *payload;
};

static bool see_for_caller(void *payload, git_commit *c)
{
    struct seeing *s = payload;
    return s->see(s->payload, git_commit_id(c)->id, git_commit_time(c), git_commit_parentcount(c));
}

status repository_walk(repository *r, size_t n_max, commit_see *see, void *payload, error *err)
{
    struct seeing s = {see, payload};
    return walk_run(r, n_max < HISTORY_COMMITS_MAX ? n_max : HISTORY_COMMITS_MAX, see_for_caller,
                    &s, err);
}

/* The commit's tree against its first parent's, names alone; NULL when an object is missing. A
 * parent that is missing is not "no parent": everything would seem new. */
static git_diff *touched_diff(repository *r, const git_oid *id)
{
    git_commit *c = NULL, *parent = NULL;
    git_tree *to = NULL, *from = NULL;
    git_diff *diff = NULL;
    git_diff_options options;
    git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
    bool good = git_commit_lookup(&c, r->git, id) == 0 && git_commit_tree(&to, c) == 0;
    if (good && git_commit_parentcount(c) > 0)
        good = git_commit_parent(&parent, c, 0) == 0 && git_commit_tree(&from, parent) == 0;
    if (good && git_diff_tree_to_tree(&diff, r->git, from, to, &options) != 0) diff = NULL;
    git_tree_free(from);
    git_tree_free(to);
    git_commit_free(parent);
    git_commit_free(c);
    return diff;
}

status repository_touched(text *paths, size_t *n, size_t n_max, arena *a, repository *r,
                          const unsigned char *oid, error *err)
{
    git_oid id;
    *n = 0;
    if (!r->git) return OK;
    memcpy(id.id, oid, sizeof id.id);
    git_diff *diff = touched_diff(r, &id);
    size_t n_deltas = diff ? git_diff_num_deltas(diff) : 0;
    for (size_t i = 0; n_deltas <= n_max && i < n_deltas; i++)
        paths[(*n)++] = arena_text(a, git_diff_get_delta(diff, i)->new_file.path);
    git_diff_free(diff);
    return a->failed ? fail(err, ERR_MEMORY, "no memory for paths") : OK;
}

status repository_blame(struct commit *out, bool *found, arena *a, repository *r, text path,
                        text content, uint32_t line, error *err)
{
    git_blame *reference = NULL, *blame = NULL;
    git_commit *c = NULL;
    git_blame_options options;
    status code = OK;
    git_blame_options_init(&options, GIT_BLAME_OPTIONS_VERSION);
    *found = false;
    *out = (struct commit){0};
    if (!r->git || !r->head[0]) return OK;
    const char *name = arena_copy(a, path.bytes, path.size);
    if (!name) return fail(err, ERR_MEMORY, "no memory for a path");
    if (git_blame_file(&reference, r->git, name, &options) != 0) return OK; /* new, or damaged */
    if (git_blame_buffer(&blame, reference, content.bytes ? content.bytes : "",
                         (uint32_t)content.size) != 0)
        code = fail(err, ERR_IO, "%s: no blame: %s", name, git_reason());
    const git_blame_hunk *hunk = code == OK ? git_blame_get_hunk_byline(blame, line) : NULL;
    if (hunk && git_commit_lookup(&c, r->git, &hunk->final_commit_id) == 0) {
        commit_fill(out, a, c, config_text(a, r, "user.email"));
        *found = true;
    }
    git_commit_free(c);
    git_blame_free(blame);
    git_blame_free(reference);
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for a commit") : code;
}

/* Whether the file may be read: the user's own configuration may name any, the repository's (which
 * came from somebody else) only one that really lies in the working tree. */
static bool template_place(char found[PATH_MAX], const repository *r, const char *value,
                           bool is_own)
{
    char path[2 * PATH_MAX];
    const char *home = getenv("HOME");
    size_t n = strlen(r->root);
    if (strncmp(value, "~/", 2) == 0)
        snprintf(path, sizeof path, "%s/%s", home ? home : "", value + 2);
    else
        snprintf(path, sizeof path, "%s%s%s", value[0] == '/' ? "" : r->root,
                 value[0] == '/' ? "" : "/", value);
    if (strlen(path) >= PATH_MAX || !realpath(path, found)) return false;
    return is_own || (strncmp(found, r->root, n) == 0 && found[n] == '/');
}

status repository_commit_template(buffer *out, repository *r, error *err)
{
    git_config *config = NULL;
    git_config_entry *entry = NULL;
    char found[PATH_MAX];
    struct stat st;
    status code = OK;
    if (r->kind != REPOSITORY_GIT) return OK;
    int fd = -1;
    if (git_repository_config_snapshot(&config, r->git) == 0 &&
        git_config_get_entry(&entry, config, "commit.template") == 0 && entry->value[0] &&
        template_place(found, r, entry->value, entry->level < GIT_CONFIG_LEVEL_LOCAL))
        fd = open(found, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= COMMIT_TEMPLATE_MAX)
        code = stream_read(out, fd, COMMIT_TEMPLATE_MAX, err);
    if (fd >= 0) close(fd);
    git_config_entry_free(entry);
    git_config_free(config);
    return code;
}
