/* `dbrx-ls index`: brings the repository's index up to date, and looks a name up in it. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/utf.h"
#include "context/history.h"
#include "context/index_query.h"
#include "context/map.h"
#include "context/repository.h"
#include "lsp/cli/command.h"
#include "lsp/cli/configuration.h"
#include "lsp/cli/index_follow.h"
#include "lsp/cli/judge.h"
#include "lsp/cli/place.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

/* Definitions of one name that are worth printing. */
#define PLACES_MAX 1000
/* Files that change with one, as many. */
#define TOGETHER_MAX 20
/* Seconds for what git attributes say of one file: milliseconds, unless somebody means harm. */
#define JUDGE_S 5

static const char usage[] =
    "usage: dbrx-ls index [PATH] [OPTIONS]\n\n"
    "Brings the index of the repository (or folder) that PATH lies in up to date: what its files\n"
    "define, use and import. PATH is by default the current directory. The index stands in the\n"
    "user's cache directory; stopping it at any moment loses nothing.";

struct index_request {
    bool json, follow, map;
    const char *path, *find, *together, *judge, *blame;
    int64_t map_tokens; /* 0: all of the map */
};

/* Damaged or hostile bytes may make a parser take memory: it may have INDEX_MEMORY_MAX, above what
 * the process has mapped by now (under a sanitizer that is terabytes). */
static void limit_memory(void)
{
    unsigned long pages = 0;
    struct rlimit limit;
    FILE *statm = fopen("/proc/self/statm", "re");
    int found = statm ? fscanf(statm, "%*u %*u %*u %*u %*u %lu", &pages) : 0;
    if (statm) fclose(statm);
    if (found != 1 || getrlimit(RLIMIT_DATA, &limit) != 0) return;
    rlim_t bound = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + INDEX_MEMORY_MAX;
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > bound) {
        limit.rlim_cur = bound;
        setrlimit(RLIMIT_DATA, &limit);
    }
}

/* A bar that stays on its line. */
static bool show_progress(void *payload, size_t n_done, size_t n_files)
{
    static const char full[] = "##############################";
    int width = n_files ? (int)(30 * n_done / n_files) : 0;
    (void)payload;
    if (n_files == 0)
        fprintf(stderr, "\r\033[Kwaiting: another process makes this index");
    else if (n_files == 1 && n_done == 0)
        fprintf(stderr, "\r\033[Klooking for files");
    else
        fprintf(stderr, "\r\033[K[%-30.*s] %zu / %zu files", width, full, n_done, n_files);
    return true;
}

/* Ill-formed bytes of paths become U+FFFD: JSON is UTF-8. */
static json_t *json_of(text t)
{
    buffer good = {0};
    char bytes[4];
    for (size_t at = 0, size; at < t.size; at += size) {
        uint32_t c = utf8_decode(t, at, &size);
        buffer_put(&good, bytes, utf8_encode(c, bytes));
    }
    json_t *string = json_stringn(good.bytes ? good.bytes : "", good.size);
    buffer_free(&good);
    return string;
}

static json_t *places_json(const struct index_symbols *places)
{
    json_t *list = json_array();
    for (size_t i = 0; i < places->n; i++) {
        const struct index_symbol *p = &places->symbols[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:I, s:o, s:o, s:I, s:I}", "path", json_of(p->path),
                                        "line", (json_int_t)p->line, "kind", json_of(p->kind),
                                        "signature", json_of(p->signature), "from",
                                        (json_int_t)p->from, "to", (json_int_t)p->to));
    }
    return list;
}

static json_t *report_json(const struct index_report *n, const repository *r)
{
    static const char *const kinds[] = {"git", "bare", "folder"};
    json_t *skipped = json_object();
    for (size_t i = 0; i < N_INDEX_SKIPS; i++)
        json_object_set_new(skipped, index_skip_name((enum index_skip)i),
                            json_integer((json_int_t)n->n_skipped[i]));
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:f}",
        "kind", kinds[repository_kind(r)], "root", json_of(text_of(repository_root(r))), "head",
        json_of(text_of(repository_head(r))), "branch", json_of(text_of(repository_branch(r))),
        "files", (json_int_t)n->n_files, "parsed", (json_int_t)n->n_parsed, "reused",
        (json_int_t)n->n_reused, "skipped", skipped, "removed", (json_int_t)n->n_removed, "symbols",
        (json_int_t)n->n_symbols, "references", (json_int_t)n->n_references, "bytes",
        (json_int_t)n->source_bytes, "parsed_bytes", (json_int_t)n->parsed_bytes, "database_bytes",
        (json_int_t)n->database_bytes, "rebuilt", n->rebuilt, "truncated", n->truncated, "ms",
        (double)n->elapsed_us / 1e3);
}

/* Names and signatures come from files: nothing of them may move a terminal's cursor. */
static void put_clean(buffer *out, text t)
{
    for (size_t i = 0; i < t.size; i++) {
        unsigned char c = (unsigned char)t.bytes[i];
        buffer_put_char(out, c < ' ' || c == 0x7F ? '?' : t.bytes[i]);
    }
}

static void put_report(buffer *out, const struct index_report *n, const repository *r)
{
    put_clean(out, text_of(repository_root(r)));
    buffer_print(out, ": %zu files: %zu parsed, %zu known", n->n_files, n->n_parsed, n->n_reused);
    for (size_t i = 0; i < N_INDEX_SKIPS; i++)
        if (n->n_skipped[i])
            buffer_print(out, ", %zu %s", n->n_skipped[i], index_skip_name((enum index_skip)i));
    if (n->truncated) buffer_print(out, "; there are more, which are left out");
    buffer_print(out,
                 "\n%llu definitions, %llu references in %.1f MiB; database %.1f MiB; %.2f s%s\n",
                 (unsigned long long)n->n_symbols, (unsigned long long)n->n_references,
                 (double)n->source_bytes / (double)MIB, (double)n->database_bytes / (double)MIB,
                 (double)n->elapsed_us / 1e6, n->rebuilt ? " (built anew: it was damaged)" : "");
}

static void put_places(buffer *out, const struct index_symbols *places)
{
    for (size_t i = 0; i < places->n; i++) {
        put_clean(out, places->symbols[i].path);
        buffer_print(out, ":%u: ", places->symbols[i].line);
        put_clean(out, places->symbols[i].signature);
        buffer_put_char(out, '\n');
    }
}

/* What was asked for beside bringing the index up to date. */
struct findings {
    struct index_symbols places;
    struct index_files together;
    struct repository_map map;
};

static json_t *map_json(const struct repository_map *map)
{
    json_t *list = json_array();
    for (size_t i = 0; i < map->n; i++)
        json_array_append_new(list, json_pack("{s:o, s:o}", "path", json_of(map->lines[i].path),
                                              "signature", json_of(map->lines[i].signature)));
    return list;
}

static json_t *together_json(const struct index_files *files)
{
    json_t *list = json_array();
    for (size_t i = 0; i < files->n; i++)
        json_array_append_new(list, json_pack("{s:o, s:f}", "path", json_of(files->files[i].path),
                                              "score", files->files[i].score));
    return list;
}

static void put_together(buffer *out, const struct index_files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        buffer_print(out, "%.2f  ", files->files[i].score);
        put_clean(out, files->files[i].path);
        buffer_put_char(out, '\n');
    }
}

/* Counted with the tokenizer that is part of the program. */
static status put_map(buffer *out, const struct repository_map *map, int64_t tokens, error *err)
{
    tokenizer *t = NULL;
    status code = tokens ? tokenizer_open(&t, NULL, err) : OK;
    if (code == OK) code = repository_map_text(out, map, t, (size_t)tokens, err);
    tokenizer_close(t);
    return code;
}

static status answer(const struct index_request *q, const struct index_report *report,
                     const struct findings *f, const repository *r, error *err)
{
    buffer out = {0};
    status code = OK;
    if (q->json) {
        json_t *all = report_json(report, r);
        if (all && q->find) json_object_set_new(all, "definitions", places_json(&f->places));
        if (all && q->map) json_object_set_new(all, "map", map_json(&f->map));
        if (all && q->together) json_object_set_new(all, "together", together_json(&f->together));
        char *line = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
        if (line) buffer_print(&out, "%s\n", line);
        out.failed = out.failed || !line;
        free(line);
        json_decref(all);
    } else if (q->find) {
        put_places(&out, &f->places);
    } else if (q->map) {
        code = put_map(&out, &f->map, q->map_tokens, err);
    } else if (q->together) {
        put_together(&out, &f->together);
    } else {
        put_report(&out, report, r);
    }
    if (code == OK)
        code = out.failed ? fail(err, ERR_MEMORY, "no memory for the answer")
                          : command_write(buffer_text(&out), err);
    buffer_free(&out);
    return code;
}

static status find_all(struct findings *f, arena *a, const struct index_request *q, code_index *x,
                       const repository *r, error *err)
{
    int64_t tree;
    text root = text_of(repository_root(r));
    status code = index_tree(&tree, x, root, err);
    if (code == OK && q->find)
        code = index_definitions(&f->places, a, x, root, text_of(q->find), PLACES_MAX, err);
    if (code == OK && q->map) code = repository_map_read(&f->map, a, x, tree, err);
    if (code == OK && q->together)
        code =
            index_files_together(&f->together, a, x, tree, text_of(q->together), TOGETHER_MAX, err);
    return code;
}

static status index_answer(const struct index_request *q, error *err)
{
    repository *r = NULL;
    code_index *x = NULL;
    struct index_report report;
    struct findings found = {0};
    arena memory = {0};
    bool terminal = isatty(STDERR_FILENO);
    status code = repository_open(&r, q->path, err);
    if (code != OK) goto out;
    if (repository_notice(r)) fprintf(stderr, "dbrx-ls index: %s\n", repository_notice(r));
    if ((code = index_open(&x, r, err)) != OK) goto out;
    code = index_update(&report, x, r, terminal ? show_progress : NULL, NULL, err);
    if (terminal) fprintf(stderr, "\r\033[K");
    if (code == OK) code = find_all(&found, &memory, q, x, r, err);
    if (code == OK) code = answer(q, &report, &found, r, err);
out:
    arena_reset(&memory);
    index_close(x);
    repository_close(r);
    return code;
}

static void commit_put(buffer *out, const struct commit *c)
{
    char day[16];
    time_t at = (time_t)c->time_s;
    struct tm utc;
    if (!gmtime_r(&at, &utc) || !strftime(day, sizeof day, "%Y-%m-%d", &utc)) day[0] = 0;
    buffer_print(out, "%.12s  %s  ", c->id, day);
    put_clean(out, c->author);
    buffer_put_text(out, TEXT("  "));
    put_clean(out, c->subject);
    buffer_put_char(out, '\n');
}

/* Asked of the repository that the file lies in; the index is not needed. */
static status blame_put(buffer *out, const char *word, error *err)
{
    struct place p;
    struct commit c;
    repository *r = NULL;
    arena memory = {0};
    char *real = NULL;
    bool found = false;
    status code = place_open_lines(&p, word, err);
    if (code == OK && !(real = realpath(p.path, NULL)))
        code = fail(err, ERR_IO, "%s: no such file", p.path);
    if (code == OK) {
        char *name = strrchr(real, '/');
        *name = 0;
        code = repository_open(&r, real, err);
        *name = '/';
    }
    if (code == OK) {
        text below = path_below(text_of(real), text_of(repository_root(r)));
        code = repository_blame(&c, &found, &memory, r, below, buffer_text(&p.content),
                                place_position(&p, p.cursor_byte).line + 1, err);
    }
    if (code == OK && !found)
        code = fail(err, ERR_UNSUPPORTED, "%s: no commit has this line yet", word);
    if (code == OK) commit_put(out, &c);
    repository_close(r);
    arena_reset(&memory);
    free(real);
    place_close(&p);
    return code;
}

static int blame(const char *word)
{
    buffer out = {0};
    error err;
    status code = blame_put(&out, word, &err);
    if (code == OK) code = command_write(buffer_text(&out), &err);
    buffer_free(&out);
    return code == OK ? EXIT_DONE : command_fail("index", &err);
}

/* Hostile attribute files must not keep an editor waiting. */
static int judge(const char *path)
{
    error err;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(JUDGE_S);
    bool linked = false;
    if (path_judge(path, &linked, &err) != OK) return command_fail("index", &err);
    return linked ? JUDGED_LINKED : EXIT_DONE;
}

int command_index(int argc, char **argv)
{
    struct index_request q = {.path = "."};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &q.json, NULL, "counters as one JSON object", 0, 0},
        {"follow", OPTION_FLAG, &q.follow, NULL, "stay, take commands on stdin (for editors)", 0,
         0},
        {"judge", OPTION_TEXT, &q.judge, "FILE",
         "whether names, patterns and git attributes let a model see FILE; exit 1: no, 4: a link "
         "does",
         0, 0},
        {"find", OPTION_TEXT, &q.find, "NAME", "print the definitions of NAME", 0, 0},
        {"map", OPTION_FLAG, &q.map, NULL, "print the repository map: the most used definitions", 0,
         0},
        {"tokens", OPTION_INTEGER, &q.map_tokens, "N", "as much of the map as fits in N tokens", 1,
         SEQUENCE_TOKENS_MAX},
        {"together", OPTION_TEXT, &q.together, "FILE",
         "print the files that change in the same commits as FILE (from the root)", 0, 0},
        {"blame", OPTION_TEXT, &q.blame, "FILE:LINE",
         "print the commit that changed a line last: id, day, author, subject", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    if (n_rest > 1) {
        fail(&err, ERR_USAGE, "expected one PATH (see --help)");
        return command_fail("index", &err);
    }
    if (n_rest == 1) q.path = argv[1];
    struct configuration files;
    if (configuration_read(&files, &err) != OK) return command_fail("index", &err);
    configuration_free(&files); /* what it excludes is known now */
    limit_memory();
    if (q.judge) return judge(q.judge);
    if (q.blame) return blame(q.blame);
    if (q.follow) return index_follow(q.path, &err) == OK ? EXIT_DONE : command_fail("index", &err);
    return index_answer(&q, &err) == OK ? EXIT_DONE : command_fail("index", &err);
}
