/* An update walks two sorted lists side by side: the files there are, and the files the database
 * knows. Whatever has the stamp it had is done; whatever git vouches for and the database knows is
 * done without being read; the rest is read, and parsed only when its content is new. Reading and
 * parsing is done by other threads (index_workers.h); what they find is written in the order in which
 * it comes, because rows depend on contents alone. */
#include "context/index.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/exclude.h"
#include "context/index_workers.h"
#include "context/path_text.h"

/* A file that changed within this time of being looked at may change again under the same time. */
#define STAMP_DOUBT_NS 20000000
#define PROGRESS_US    100000
#define LISTING_US     10000
/* Rows between two questions whether to go on: some 10 ms. */
#define KNOWN_BETWEEN 4096
/* Contents parsed at once: as many as there are jobs. */
#define PARSING_MAX 256

/* A row of `files`. */
struct known_file {
    text path;
    const struct language *language;
    struct blob_row blob;
    struct file_stamp stamp;
    int64_t seen_ns; /* the time just before the stamp was taken */
};

struct known_files {
    struct known_file *files;
    size_t n, room;
    arena memory;
};

struct update {
    code_index *x;
    repository *r;
    index_workers *workers;
    struct index_job *waiting; /* read, and the same new content is being parsed */
    struct parsing {           /* contents that are being parsed */
        struct blob_id id;
        const struct language *language;
    } parsing[PARSING_MAX];
    size_t n_parsing;
    struct index_report *report;
    struct repository_files list;
    struct known_files known;
    bool *seen; /* of the list: worked off, or on its way */
    bool room;  /* for contents that were left out */
    int64_t tree, listed_ns, told_us;
    index_progress *progress;
    void *payload;
    error *err;
};

const char *index_skip_name(enum index_skip reason)
{
    static const char *const names[] = {"excluded", "large",      "binary", "minified",
                                        "slow",     "unreadable", "full"};
    return names[reason];
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Before any file is looked at. */
static bool goes_on(void *payload)
{
    struct update *u = payload;
    int64_t now = clock_us();
    if (!u->progress || now - u->told_us < LISTING_US) return true;
    u->told_us = now;
    return u->progress(u->payload, 0, 1);
}

static status cancelled(struct update *u)
{
    return fail(u->err, ERR_CANCELLED, "cancelled among %zu files", u->list.n);
}

static status tree_open(struct update *u)
{
    bool found = false;
    text root = text_of(repository_root(u->r));
    status code = index_begin(u->x, u->err);
    sqlite3_stmt *s = SQL(u->x, SQL_TREE_ADD);
    bind_bytes(s, 1, root);
    if (code == OK) code = index_run(u->x, s, u->err);
    s = SQL(u->x, SQL_TREE_FIND);
    bind_bytes(s, 1, root);
    if (code == OK) code = index_step(u->x, s, &found, u->err);
    if (found) u->tree = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return code == OK ? index_commit(u->x, u->err) : code;
}

static const struct language *language_named(text name)
{
    const struct language *l = NULL;
    for (size_t i = 0; (l = language_at(i)) && !text_is(name, l->name); i++) {}
    return l;
}

static status known_add(struct update *u, sqlite3_stmt *s)
{
    static const int columns[] = {1, 3, 2};
    struct known_files *k = &u->known;
    error *err = u->err;
    if (k->n == k->room) {
        size_t room = k->room ? 2 * k->room : 256;
        void *grown = memory_resize(k->files, room, sizeof *k->files);
        if (!grown) return fail(err, ERR_MEMORY, "no memory for %zu known files", room);
        k->files = grown;
        k->room = room;
    }
    k->files[k->n++] = (struct known_file){
        .path = column_bytes(&k->memory, s, 0),
        .stamp = {.size_bytes = (uint64_t)sqlite3_column_int64(s, 4),
                  .inode = (uint64_t)sqlite3_column_int64(s, 5),
                  .mtime_ns = sqlite3_column_int64(s, 6),
                  .ctime_ns = sqlite3_column_int64(s, 7)},
        .seen_ns = sqlite3_column_int64(s, 8),
        .language = language_named(column_view(s, 9)),
    };
    if (k->memory.failed) return fail(err, ERR_MEMORY, "no memory for %zu known files", k->n);
    return blob_read(&k->files[k->n - 1].blob, u->x, s, columns, err);
}

/* All files of the tree, or the one at `path`. */
static status known_load(struct update *u, text path)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(u->x, path.size ? SQL_FILE_KNOWN : SQL_FILE_LIST, u->tree);
    if (path.size) bind_bytes(s, 2, path);
    status code = index_step(u->x, s, &found, u->err);
    while (code == OK && found) {
        code = known_add(u, s);
        if (code == OK && u->known.n % KNOWN_BETWEEN == 0 && !goes_on(u)) code = cancelled(u);
        if (code == OK) code = index_step(u->x, s, &found, u->err);
    }
    sqlite3_reset(s);
    return code;
}

static void known_free(struct known_files *k)
{
    memory_free(k->files);
    arena_reset(&k->memory);
    *k = (struct known_files){0};
}

/* With the time: the longest unused go first. */
static status blob_leave(struct update *u, const struct blob_row *blob)
{
    u->x->n_left++;
    return index_run(u->x, SQL_WITH(u->x, SQL_BLOB_LEFT, blob->id, (int64_t)time(NULL)), u->err);
}

/* A path that is gone leaves its content behind. */
static status file_forget(struct update *u, const struct known_file *old)
{
    status code = index_begin(u->x, u->err);
    sqlite3_stmt *s = SQL_WITH(u->x, SQL_FILE_DROP, u->tree);
    bind_bytes(s, 2, old->path);
    if (code == OK) code = index_run(u->x, s, u->err);
    return code == OK ? blob_leave(u, &old->blob) : code;
}

static status file_put(struct update *u, const struct repository_file *f,
                       const struct known_file *old, int64_t blob, const struct file_stamp *stamp,
                       int64_t seen_ns)
{
    status code = index_begin(u->x, u->err);
    sqlite3_stmt *s =
        SQL_WITH(u->x, SQL_FILE_PUT, u->tree, blob, f->mode, (int64_t)stamp->size_bytes,
                 (int64_t)stamp->inode, stamp->mtime_ns, stamp->ctime_ns, seen_ns);
    bind_bytes(s, 9, f->path);
    bind_bytes(s, 10, path_stem(f->path));
    bind_bytes(s, 11, path_folder_name(f->path));
    if (code == OK) code = index_run(u->x, s, u->err);
    if (code == OK && old && old->blob.id != blob) code = blob_leave(u, &old->blob);
    return code;
}

static bool stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->size_bytes == b->size_bytes && a->inode == b->inode && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

/* Whether the index has what the content says, or cannot take it. */
static bool is_settled(const struct update *u, const struct blob_row *blob)
{
    return blob->id && (blob->state != BLOB_FULL || !u->room);
}

/* True when the file cannot have changed since the row was written. */
static bool is_untouched(const struct update *u, const struct repository_file *f,
                         const struct known_file *old, const struct language *language)
{
    return old && repository_kind(u->r) != REPOSITORY_BARE && old->language == language &&
           is_settled(u, &old->blob) && stamp_equal(&f->stamp, &old->stamp) &&
           old->stamp.ctime_ns + STAMP_DOUBT_NS < old->seen_ns;
}

/* Counts a file whose content the index has, now or from before. */
static void report_blob(struct index_report *report, const struct blob_row *blob, bool parsed)
{
    static const enum index_skip reasons[] = {
        [BLOB_BINARY] = SKIP_BINARY,
        [BLOB_MINIFIED] = SKIP_MINIFIED,
        [BLOB_SLOW] = SKIP_SLOW,
        [BLOB_FULL] = SKIP_FULL,
    };
    if (blob->state > BLOB_WORDS) {
        report->n_skipped[reasons[blob->state]]++;
        return;
    }
    report->source_bytes += (uint64_t)blob->size_bytes;
    if (parsed) {
        report->n_parsed++;
        report->parsed_bytes += (uint64_t)blob->size_bytes;
    } else {
        report->n_reused++;
    }
}

static status file_skip(struct update *u, const struct known_file *old, enum index_skip reason)
{
    u->report->n_skipped[reason]++;
    status code = old ? file_forget(u, old) : OK;
    if (code == OK && old && reason == SKIP_EXCLUDED)
        code = blob_forget(u->x, old->blob.id, u->err);
    return code;
}

/* The id git vouches for speaks of the bytes on disk only when no filter changed their number. */
static status find_unread(struct blob_row *blob, struct update *u, const struct repository_file *f,
                          const struct language *language)
{
    *blob = (struct blob_row){0};
    if (!f->identified) return OK;
    status code = blob_find(blob, u->x, &f->id, language, u->err);
    bool same_size = (uint64_t)blob->size_bytes == f->stamp.size_bytes;
    if (repository_kind(u->r) != REPOSITORY_BARE && !same_size) blob->id = 0;
    if (!is_settled(u, blob)) blob->id = 0;
    return code;
}

/* The content stands in the index: the file is its, too. */
static status job_put(struct update *u, struct index_job *j, const struct blob_row *blob)
{
    report_blob(u->report, blob, j->parse);
    return file_put(u, j->file, j->payload, blob->id, &j->stamp, j->seen_ns);
}

static bool is_parsing(const struct update *u, const struct index_job *j)
{
    for (size_t i = 0; i < u->n_parsing; i++)
        if (u->parsing[i].language == j->language &&
            memcmp(&u->parsing[i].id, &j->id, sizeof j->id) == 0)
            return true;
    return false;
}

static void parsing_end(struct update *u, const struct index_job *j)
{
    for (size_t i = 0; i < u->n_parsing; i++)
        if (u->parsing[i].language == j->language &&
            memcmp(&u->parsing[i].id, &j->id, sizeof j->id) == 0)
            u->parsing[i] = u->parsing[--u->n_parsing];
}

/* Read: *again says that it goes on its way once more, or waits. */
static status job_was_read(struct update *u, struct index_job *j, bool *again)
{
    struct blob_row blob;
    if (j->code == ERR_LIMIT) return file_skip(u, j->payload, SKIP_LARGE);
    if (j->code == ERR_IO || j->code == ERR_FORMAT)
        return file_skip(u, j->payload, SKIP_UNREADABLE);
    if (j->code != OK) return fail(u->err, j->code, "%s", j->err.message);
    if (repository_kind(u->r) == REPOSITORY_BARE)
        u->x->source_bytes += source_bytes_of(j->content.size) - INDEX_SOURCE_MIN;
    status code = blob_find(&blob, u->x, &j->id, j->language, u->err);
    if (code == OK && is_settled(u, &blob)) return job_put(u, j, &blob);
    *again = code == OK;
    if (code != OK) return code;
    if (is_parsing(u, j) || u->n_parsing == PARSING_MAX) {
        j->next = u->waiting;
        u->waiting = j;
        return OK;
    }
    u->parsing[u->n_parsing++] = (struct parsing){j->id, j->language};
    j->parse = true;
    index_workers_give(u->workers, j);
    return OK;
}

static status job_was_parsed(struct update *u, struct index_job *j)
{
    struct blob_row blob;
    parsing_end(u, j);
    if (j->code != OK) return fail(u->err, j->code, "%s", j->err.message);
    status code =
        blob_add(&blob, u->x, &j->id, j->language, j->content.size, j->state, &j->tags, u->err);
    return code == OK ? job_put(u, j, &blob) : code;
}

/* Whatever waited for a content to be written looks for it again. */
static status jobs_awake(struct update *u)
{
    status code = OK;
    struct index_job *list = u->waiting;
    u->waiting = NULL;
    while (list) {
        struct index_job *j = list;
        bool again = false;
        list = j->next;
        if (code == OK) code = job_was_read(u, j, &again);
        if (!again) index_workers_return(u->workers, j);
    }
    return code;
}

/* One step that is done; *any says whether there was one. */
static status job_finish(struct update *u, bool wait, bool *any)
{
    bool again = false;
    struct index_job *j = index_workers_take(u->workers, wait);
    *any = j != NULL;
    if (!j) return OK;
    bool parsed = j->parse;
    status code = parsed ? job_was_parsed(u, j) : job_was_read(u, j, &again);
    if (!again) index_workers_return(u->workers, j);
    if (code == OK && parsed && u->waiting) code = jobs_awake(u);
    return code == OK ? index_share(u->x, u->err) : code;
}

/* Sends the file on its way; finishes others while there is no room for it. */
static status read_changed(struct update *u, const struct repository_file *f,
                           const struct known_file *old, const struct language *language)
{
    bool any = true;
    status code = OK;
    struct index_job *j;
    while (code == OK && !(j = index_workers_free_job(u->workers)))
        code = job_finish(u, true, &any);
    if (code != OK) return code;
    *j = (struct index_job){.file = f, .payload = old, .language = language};
    index_workers_give(u->workers, j);
    while (code == OK && any) code = job_finish(u, false, &any);
    return code;
}

/* *done: nothing of the file has to be read. */
static status update_unread(struct update *u, const struct repository_file *f,
                            const struct known_file *old, const struct language *language,
                            bool *done)
{
    struct blob_row blob;
    *done = true;
    if (f->excluded || exclude_reason(f->path)) return file_skip(u, old, SKIP_EXCLUDED);
    if (f->stamp.size_bytes > INDEX_FILE_MAX) return file_skip(u, old, SKIP_LARGE);
    if (is_untouched(u, f, old, language)) {
        report_blob(u->report, &old->blob, false);
        return OK;
    }
    status code = find_unread(&blob, u, f, language);
    *done = code != OK || blob.id != 0;
    if (code != OK || !*done) return code;
    report_blob(u->report, &blob, false);
    if (old && old->blob.id == blob.id && stamp_equal(&f->stamp, &old->stamp) &&
        repository_kind(u->r) == REPOSITORY_BARE)
        return OK;
    return file_put(u, f, old, blob.id, &f->stamp, u->listed_ns);
}

static status update_file(struct update *u, const struct repository_file *f,
                          const struct known_file *old)
{
    bool done;
    const struct language *language = language_find(TEXT(""), f->path);
    status code = update_unread(u, f, old, language, &done);
    return code == OK && !done ? read_changed(u, f, old, language) : code;
}

static int compare_paths(text a, text b)
{
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Counted are files that are worked off, not those under way. */
static bool tell_progress(struct update *u)
{
    const struct index_report *report = u->report;
    size_t n_done = report->n_parsed + report->n_reused;
    for (size_t i = 0; i < N_INDEX_SKIPS; i++) n_done += report->n_skipped[i];
    int64_t now = clock_us();
    bool last = n_done == u->list.n;
    if (!u->progress || (!last && now - u->told_us < PROGRESS_US)) return true;
    u->told_us = now;
    return u->progress(u->payload, n_done, u->list.n);
}

static int compare_known(const void *key, const void *item)
{
    return compare_paths(*(const text *)key, ((const struct known_file *)item)->path);
}

static const struct known_file *known_find(const struct known_files *k, text path)
{
    return k->n ? bsearch(&path, k->files, k->n, sizeof *k->files, compare_known) : NULL;
}

static status progress_tell(struct update *u) { return tell_progress(u) ? OK : cancelled(u); }

/* Finishes all that is on its way. */
static status jobs_finish(struct update *u)
{
    status code = OK;
    for (bool any = true; code == OK && any;) {
        code = job_finish(u, true, &any);
        if (code == OK) code = progress_tell(u);
    }
    return code;
}

/* What belongs to a file that the user has opened does not wait for the order of names. */
static status update_near(struct update *u, text path)
{
    size_t *near = NULL, n = 0;
    status code = index_near(&near, &n, &u->list, u->r, path, u->err);
    for (size_t i = 0; code == OK && i < n; i++) {
        const struct repository_file *f = &u->list.files[near[i]];
        if (u->seen[near[i]]) continue;
        u->seen[near[i]] = true;
        code = update_file(u, f, known_find(&u->known, f->path));
        if (code == OK) code = progress_tell(u);
    }
    memory_free(near);
    if (code == OK) code = jobs_finish(u);
    return code == OK ? index_commit(u->x, u->err) : code;
}

static status update_opened(struct update *u)
{
    status code = OK;
    buffer path = {0};
    while (code == OK && u->x->opened && u->x->opened(u->x->opened_payload, &path)) {
        if (!path.failed) code = update_near(u, buffer_text(&path));
        buffer_clear(&path);
    }
    buffer_free(&path);
    return code;
}

static status update_all(struct update *u)
{
    size_t i = 0, k = 0;
    status code = update_opened(u);
    while (code == OK && (i < u->list.n || k < u->known.n)) {
        const struct repository_file *f = i < u->list.n ? &u->list.files[i] : NULL;
        const struct known_file *old = k < u->known.n ? &u->known.files[k] : NULL;
        int order = !f ? 1 : !old ? -1 : compare_paths(f->path, old->path);
        if (old && order > 0) {
            u->report->n_removed++;
            code = file_forget(u, old);
        } else if (f && !u->seen[i]) {
            u->seen[i] = true;
            code = update_file(u, f, order == 0 ? old : NULL);
        }
        i += order <= 0;
        k += order >= 0;
        if (code == OK) code = index_share(u->x, u->err);
        if (code == OK) code = progress_tell(u);
        if (code == OK) code = update_opened(u);
    }
    return code == OK ? jobs_finish(u) : code;
}

static status update_files(struct update *u)
{
    u->seen = memory_take(u->list.n + 1, sizeof *u->seen);
    if (!u->seen) return fail(u->err, ERR_MEMORY, "no memory for %zu files", u->list.n);
    status code = update_all(u);
    memory_free(u->seen);
    u->seen = NULL;
    status closed = code == OK || code == ERR_CANCELLED ? index_commit(u->x, u->err) : OK;
    return code == OK ? closed : code;
}

/* A working tree that was deleted holds contents nobody will ask for again. */
static status drop_lost_trees(struct update *u)
{
    bool found;
    arena paths = {0};
    int64_t lost[16];
    size_t n = 0;
    sqlite3_stmt *s = SQL(u->x, SQL_TREE_LIST);
    status code = index_step(u->x, s, &found, u->err);
    while (code == OK && found && n < sizeof lost / sizeof *lost) {
        text root = column_bytes(&paths, s, 1);
        if (root.bytes && !directory_exists(root.bytes)) lost[n++] = sqlite3_column_int64(s, 0);
        code = index_step(u->x, s, &found, u->err);
    }
    sqlite3_reset(s);
    arena_reset(&paths);
    if (code == OK && n) code = index_begin(u->x, u->err);
    for (size_t i = 0; code == OK && i < n; i++) {
        code = index_run(u->x, SQL_WITH(u->x, SQL_TREE_DROP_FILES, lost[i]), u->err);
        if (code == OK) code = index_run(u->x, SQL_WITH(u->x, SQL_TREE_DROP, lost[i]), u->err);
    }
    return code;
}

static status tree_close(struct update *u)
{
    status code = drop_lost_trees(u);
    if (code == OK) code = index_begin(u->x, u->err);
    sqlite3_stmt *s = SQL_WITH(u->x, SQL_TREE_SEEN, u->tree, (int64_t)time(NULL));
    bind_text(s, 3, text_of(repository_head(u->r)));
    bind_text(s, 4, text_of(repository_branch(u->r)));
    if (code == OK) code = index_run(u->x, s, u->err);
    return code == OK ? index_commit(u->x, u->err) : code;
}

static status report_sums(struct update *u)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(u->x, SQL_SUMS, u->tree);
    status code = index_step(u->x, s, &found, u->err);
    if (code == OK && found) {
        u->report->n_symbols = (uint64_t)sqlite3_column_int64(s, 0);
        u->report->n_references = (uint64_t)sqlite3_column_int64(s, 1);
    }
    sqlite3_reset(s);
    return code == OK ? index_size(u->x, &u->report->database_bytes, u->err) : code;
}

/* What is made of the whole: after the files, so that questions about them are answered meanwhile. */
static status update_rest(struct update *u)
{
    size_t n_changes = u->report->n_parsed + u->report->n_removed;
    status code = index_update_map(u->x, u->r, u->tree, u->list.n, n_changes, u->progress,
                                   u->payload, u->err);
    if (code == OK) code = index_update_past(u->x, u->r, u->tree, u->progress, u->payload, u->err);
    return code;
}

/* What the database may take, for a tree such as this. */
static status source_measure(struct update *u)
{
    u->x->source_bytes = 0;
    u->x->measured = false;
    u->x->n_left = 0;
    for (size_t i = 0; i < u->list.n; i++) {
        const struct repository_file *f = &u->list.files[i];
        if (!f->excluded && f->stamp.size_bytes <= INDEX_FILE_MAX)
            u->x->source_bytes += source_bytes_of(f->stamp.size_bytes);
    }
    status code = blobs_room(&u->room, u->x, true, u->err);
    u->x->n_left = INDEX_LEFT_MIN; /* there may be some of before */
    return code;
}

static status update_once(struct update *u)
{
    status code = index_check(u->x, u->err);
    if (code == OK) code = tree_open(u);
    if (code == OK) code = known_load(u, TEXT(""));
    if (code == OK) code = source_measure(u);
    if (code == OK) code = index_workers_open(&u->workers, u->r, 0, u->err);
    if (code == OK) code = update_files(u);
    index_workers_close(u->workers);
    u->workers = NULL;
    u->waiting = NULL;
    u->n_parsing = 0;
    if (code == OK) code = tree_close(u);
    if (code == OK) code = update_rest(u);
    if (code == OK) code = blobs_evict(u->x, u->report->n_skipped[SKIP_FULL] > 0, u->err);
    if (code == OK) code = report_sums(u);
    index_rollback(u->x);
    index_settle(u->x);
    known_free(&u->known);
    return code;
}

status index_update(struct index_report *out, code_index *x, repository *r,
                    index_progress *progress, void *payload, error *err)
{
    int64_t from_us = clock_us();
    *out = (struct index_report){0};
    struct update u = {
        .x = x, .r = r, .report = out, .progress = progress, .payload = payload, .err = err};
    status code = index_lock(x, progress, payload, err);
    u.listed_ns = now_ns();
    repository_set_go_on(r, goes_on, &u);
    if (code == OK) code = repository_list(&u.list, r, err);
    repository_set_go_on(r, NULL, NULL);
    if (code == OK) code = update_once(&u);
    if (code != OK && x->damaged && index_rebuild(x, err) == OK) {
        *out = (struct index_report){0};
        code = update_once(&u);
    }
    out->n_files = u.list.n;
    out->rules = u.list.rules;
    out->truncated = u.list.truncated;
    out->rebuilt = x->rebuilt;
    out->elapsed_us = clock_us() - from_us;
    repository_files_free(&u.list);
    index_unlock(x);
    return code;
}

/* The one file in this thread: a thread of its own would take longer to start. */
static status update_alone(struct update *u, const struct repository_file *f,
                           const struct known_file *old)
{
    struct blob_row blob = {0};
    struct index_job j = {.file = f, .payload = old, .language = language_find(TEXT(""), f->path)};
    bool untouched = false;
    status code = update_unread(u, f, old, j.language, &untouched);
    if (code != OK || untouched) return code;
    tagger *tags = NULL;
    index_job_read(&j, u->r);
    if (j.code != OK) {
        code = file_skip(u, old, j.code == ERR_LIMIT ? SKIP_LARGE : SKIP_UNREADABLE);
        index_job_clear(&j);
        return code;
    }
    code = blob_find(&blob, u->x, &j.id, j.language, u->err);
    if (code == OK && !is_settled(u, &blob)) {
        j.parse = true;
        code = tagger_open(&tags, u->err);
        if (code == OK) index_job_parse(&j, tags);
        if (code == OK && j.code != OK) code = fail(u->err, j.code, "%s", j.err.message);
        if (code == OK)
            code =
                blob_add(&blob, u->x, &j.id, j.language, j.content.size, j.state, &j.tags, u->err);
        tagger_close(tags);
    }
    if (code == OK) code = job_put(u, &j, &blob);
    index_job_clear(&j);
    return code;
}

/* Beside an updater of the whole tree: both write the same rows, which depend on content alone. */
status index_update_file(bool *changed, code_index *x, repository *r, text path, error *err)
{
    struct index_report report = {0};
    *changed = false;
    if (path.size == 0) return OK;
    struct update *u = memory_take(1, sizeof *u);
    if (!u) return fail(err, ERR_MEMORY, "no memory for an update");
    *u = (struct update){.x = x, .r = r, .report = &report, .err = err, .listed_ns = now_ns()};
    status code = repository_list_one(&u->list, r, path, err);
    if (code == OK) code = tree_open(u);
    if (code == OK) code = known_load(u, path);
    const struct known_file *old = u->known.n ? u->known.files : NULL;
    bool within = x->unbounded;
    u->room = x->unbounded = true;
    if (code == OK && u->list.n)
        code = update_alone(u, u->list.files, old);
    else if (code == OK && old)
        code = file_forget(u, old);
    if (code == OK) code = index_commit(x, err);
    x->unbounded = within;
    *changed = code == OK && (report.n_parsed || (old && !u->list.n));
    index_rollback(x);
    known_free(&u->known);
    repository_files_free(&u->list);
    memory_free(u);
    return code;
}

void index_set_bounds(code_index *x, uint64_t floor_bytes, uint64_t max_bytes)
{
    x->floor_bytes = floor_bytes;
    x->max_bytes = max_bytes;
}

void index_ask_opened(code_index *x, index_opened *opened, void *payload)
{
    x->opened = opened;
    x->opened_payload = payload;
}
