/* Which files change together: the paths of each commit, by its id, whatever branch it was met on. So
 * a switch of branches and back reads no commit twice, and what a HEAD adds is read once. Commits
 * that touch very many files say nothing about any two of them and count as empty. */
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/exclude.h"
#include "context/history.h"
#include "context/index_private.h"

struct past {
    code_index *x;
    repository *r;
    index_progress *progress;
    void *payload;
    status code;
    error *err;
    arena memory; /* of one commit */
};

static status path_id(int64_t *id, struct past *p, text path)
{
    bool found;
    sqlite3_stmt *s = SQL(p->x, SQL_PATH_FIND);
    bind_bytes(s, 1, path);
    status code = index_step(p->x, s, &found, p->err);
    if (code == OK && found) *id = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    if (code != OK || found) return code;
    s = SQL(p->x, SQL_PATH_ADD);
    bind_bytes(s, 1, path);
    code = index_run(p->x, s, p->err);
    *id = sqlite3_last_insert_rowid(p->x->db);
    return code;
}

static status commit_put(struct past *p, const unsigned char *oid, int64_t time_s,
                         const text *paths, size_t n)
{
    status code = index_begin(p->x, p->err);
    sqlite3_stmt *s = SQL_WITH(p->x, SQL_COMMIT_ADD, time_s);
    bind_bytes(s, 2, (text){(const char *)oid, sizeof(struct blob_id)});
    if (code == OK) code = index_run(p->x, s, p->err);
    int64_t commit = sqlite3_last_insert_rowid(p->x->db), path = 0;
    for (size_t i = 0; code == OK && i < n; i++) {
        if (exclude_reason(paths[i])) continue;
        code = path_id(&path, p, paths[i]);
        if (code == OK)
            code = index_run(p->x, SQL_WITH(p->x, SQL_TOUCHED_ADD, path, commit), p->err);
    }
    return code == OK ? index_share(p->x, p->err) : code;
}

static bool see_commit(void *payload, const unsigned char *oid, int64_t time_s, size_t n_parents)
{
    struct past *p = payload;
    text paths[HISTORY_TOUCHED_MAX];
    size_t n = 0;
    bool known;
    sqlite3_stmt *s = SQL(p->x, SQL_COMMIT_FIND);
    bind_bytes(s, 1, (text){(const char *)oid, sizeof(struct blob_id)});
    p->code = index_step(p->x, s, &known, p->err);
    sqlite3_reset(s);
    if (p->code == OK && !known) {
        if (n_parents < 2)
            p->code =
                repository_touched(paths, &n, HISTORY_TOUCHED_MAX, &p->memory, p->r, oid, p->err);
        if (p->code == OK) p->code = commit_put(p, oid, time_s, paths, n);
        arena_reset(&p->memory);
    }
    if (p->code == OK && p->progress && !p->progress(p->payload, 1, 1))
        p->code = fail(p->err, ERR_CANCELLED, "cancelled while reading the past");
    return p->code == OK;
}

static status prune(struct past *p)
{
    status code = index_begin(p->x, p->err);
    int64_t kept = 2 * HISTORY_COMMITS_MAX;
    if (code == OK) code = index_run(p->x, SQL_WITH(p->x, SQL_COMMITS_PRUNE, kept), p->err);
    if (code == OK && sqlite3_changes(p->x->db) > 0) {
        code = index_run(p->x, SQL(p->x, SQL_TOUCHED_PRUNE), p->err);
        if (code == OK) code = index_run(p->x, SQL(p->x, SQL_PATHS_PRUNE), p->err);
    }
    return code;
}

static status is_past_known(bool *known, struct past *p, int64_t tree)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(p->x, SQL_PAST_HEAD, tree);
    status code = index_step(p->x, s, &found, p->err);
    *known = found && text_is(column_view(s, 0), repository_head(p->r));
    sqlite3_reset(s);
    return code;
}

status index_update_past(code_index *x, repository *r, int64_t tree, index_progress *progress,
                         void *payload, error *err)
{
    bool known;
    struct past p = {.x = x, .r = r, .progress = progress, .payload = payload, .err = err};
    status code = is_past_known(&known, &p, tree);
    if (code != OK || known) return code;
    code = repository_walk(r, HISTORY_COMMITS_MAX, see_commit, &p, err);
    if (code == OK) code = p.code;
    if (code == OK) code = prune(&p);
    sqlite3_stmt *s = SQL_WITH(x, SQL_PAST_SEEN, tree);
    bind_text(s, 2, text_of(repository_head(r)));
    if (code == OK) code = index_run(x, s, err);
    return code == OK || code == ERR_CANCELLED ? (index_commit(x, NULL) == OK ? code : ERR_IO)
                                               : code;
}
