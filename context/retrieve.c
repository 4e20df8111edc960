/* Sources run one after the other in order of what they bring per millisecond; each is looked at
 * against the clock. Fusion by rank needs no common scale of the sources' scores. */
#include "context/retrieve.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/exclude.h"
#include "context/retrieve_private.h"
#include "context/tree_file.h"

enum {
    RANK_HALF = 10,          /* the candidate at this rank counts half of the first one */
    TAGS_CHANGED_MAX = 2048, /* a document may change by so much before it is parsed again */
    TAGS_USED_MAX = 200
};

struct source {
    const char *name;
    double weight;
    status (*find)(struct retrieval *t);
};

static const struct source sources[N_RETRIEVE_SOURCES] = {
    [SOURCE_DEFINITION] = {"definition", 1.0, definitions_find},
    [SOURCE_IMPORT] = {"import", 0.8, imports_find},
    [SOURCE_RECENT] = {"recent", 0.6, recent_find},
    [SOURCE_SIMILAR] = {"similar", 0.5, similar_find},
};

const char *retrieve_source_name(enum retrieve_source source) { return sources[source].name; }

status retriever_open(retriever **out, const char *database, const char *root, error *err)
{
    retriever *r = memory_take(1, sizeof *r);
    *out = NULL;
    if (!r) return fail(err, ERR_MEMORY, "no memory for retrieval");
    r->root = memory_copy(root, strlen(root));
    status code = r->root ? OK : fail(err, ERR_MEMORY, "no memory for retrieval");
    if (code == OK) code = index_open_reading(&r->index, database, err);
    if (code == OK) code = index_tree(&r->tree, r->index, text_of(root), err);
    if (code == OK) code = tagger_open(&r->tagger, err);
    if (code != OK) {
        retriever_close(r);
        return code;
    }
    *out = r;
    return OK;
}

static void document_tags_free(struct document_tags *d)
{
    if (d->there) tags_free(&d->tags);
    arena_reset(&d->memory);
    buffer_free(&d->path);
    buffer_free(&d->content);
    *d = (struct document_tags){0};
}

void retriever_close(retriever *r)
{
    if (!r) return;
    document_tags_free(&r->document);
    tagger_close(r->tagger);
    index_close(r->index);
    memory_free(r->root);
    memory_free(r);
}

/* What the two do not have in common between a common beginning and a common end. */
static size_t changed_bytes(text a, text b)
{
    size_t least = a.size < b.size ? a.size : b.size, most = a.size + b.size - least;
    size_t begin = text_common(a, b), end = 0;
    while (end < least - begin && a.bytes[a.size - 1 - end] == b.bytes[b.size - 1 - end]) end++;
    return most - begin - end;
}

static status document_tags_refresh(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    const struct document_view *v = &t->q->document;
    const struct language *language = language_of_document(v);
    if (d->there && text_equal(buffer_text(&d->path), v->path) && ++d->n_used < TAGS_USED_MAX &&
        changed_bytes(buffer_text(&d->content), v->content) <= TAGS_CHANGED_MAX)
        return OK;
    document_tags_free(d);
    if (!tagger_knows(language)) return OK;
    buffer_put_text(&d->path, v->path);
    buffer_put_text(&d->content, v->content);
    if (d->path.failed || d->content.failed)
        return fail(t->err, ERR_MEMORY, "no memory for the document's tags");
    status code = tags_read(&d->tags, t->r->tagger, language, buffer_text(&d->content), t->err);
    d->there = true;
    return code == ERR_LIMIT ? OK : code; /* what was found in time */
}

bool retrieval_late(struct retrieval *t)
{
    if (t->deadline_us && clock_us() > t->deadline_us) t->cut = true;
    if (t->q->cancel && atomic_load(t->q->cancel)) t->cut = true;
    return t->cut;
}

/* Languages that can use each other's definitions. */
static int family(const struct language *l)
{
    static const char *const families[][4] = {{"C", "C++", "CUDA", NULL},
                                              {"JavaScript", "TypeScript", "TSX", NULL}};
    for (int i = 0; l && i < 2; i++)
        for (int k = 0; families[i][k]; k++)
            if (strcmp(l->name, families[i][k]) == 0) return i;
    return -1;
}

bool is_kindred(const struct retrieval *t, text path)
{
    const struct language *l = language_find(TEXT(""), path);
    return l == t->language || (family(l) >= 0 && family(l) == family(t->language));
}

bool is_document(const struct retrieval *t, text path)
{
    return text_equal(path, t->q->document.path);
}

text retrieval_content(struct retrieval *t, text path)
{
    struct file_stamp stamp;
    error ignored;
    buffer read = {0};
    text content = TEXT("");
    if (exclude_reason(path)) return content;
    for (size_t i = 0; i < t->q->n_open; i++)
        if (text_equal(t->q->open[i].path, path)) return t->q->open[i].content;
    if (tree_file_read(&read, &stamp, t->r->root, path, INDEX_FILE_MAX, &ignored) == OK &&
        !memchr(read.bytes ? read.bytes : "", 0, read.size)) {
        const char *copy = arena_copy(t->memory, read.bytes ? read.bytes : "", read.size);
        if (copy) content = (text){copy, read.size};
    }
    buffer_free(&read);
    return content;
}

static bool is_blank(text line) { return text_trim(line).size == 0; }

text lines_of(text content, uint32_t *line, uint32_t *n_lines)
{
    text rest = content, one;
    uint32_t at = 1, n = 0;
    while (at < *line && text_next_line(&rest, &one)) at++;
    const char *from = rest.bytes;
    while (n < *n_lines && text_next_line(&rest, &one)) {
        if (n == 0 && is_blank(one)) { /* not yet begun */
            from = rest.bytes;
            (*line)++;
            (*n_lines)--;
            continue;
        }
        n++;
    }
    text all = {from, from ? (size_t)(rest.bytes - from) : 0};
    for (; n > 0; n--) {
        size_t end = all.size - (all.size && all.bytes[all.size - 1] == '\n'), start = end;
        while (start > 0 && all.bytes[start - 1] != '\n') start--;
        if (!is_blank(text_slice(all, start, end))) break;
        all.size = start;
    }
    *n_lines = n;
    return all;
}

void candidate_put(struct retrieval *t, enum retrieve_source source, const struct excerpt *e)
{
    struct candidates *c = &t->found[source];
    size_t worst = 0;
    if (e->content.size == 0 || e->score <= 0) return;
    if (c->n < CANDIDATES_EACH_MAX) {
        worst = c->n++;
    } else {
        for (size_t i = 1; i < c->n; i++)
            if (c->items[i].score < c->items[worst].score) worst = i;
        if (c->items[worst].score >= e->score) return;
    }
    c->items[worst] = *e;
    c->items[worst].source = source;
}

/* By score, then by place, so that equal questions have equal answers. */
static int compare_excerpts(const void *a, const void *b)
{
    const struct excerpt *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    size_t n = x->path.size < y->path.size ? x->path.size : y->path.size;
    int order = n ? memcmp(x->path.bytes, y->path.bytes, n) : 0;
    if (order) return order;
    if (x->path.size != y->path.size) return x->path.size > y->path.size ? 1 : -1;
    return (x->line > y->line) - (x->line < y->line);
}

static bool overlaps(const struct excerpt *a, const struct excerpt *b)
{
    if (!text_equal(a->path, b->path)) return false;
    if (a->line == 0 || b->line == 0)
        return a->line == b->line && text_equal(a->content, b->content);
    return a->line < b->line + b->n_lines && b->line < a->line + a->n_lines;
}

static void fuse(struct excerpts *out, struct retrieval *t)
{
    struct excerpt *all = out->items;
    size_t n = 0, kept = 0;
    for (size_t s = 0; s < N_RETRIEVE_SOURCES; s++) {
        struct candidates *c = &t->found[s];
        qsort(c->items, c->n, sizeof *c->items, compare_excerpts);
        for (size_t i = 0; i < c->n; i++) {
            all[n] = c->items[i];
            all[n++].score = sources[s].weight * RANK_HALF / (double)(RANK_HALF + i);
        }
    }
    qsort(all, n, sizeof *all, compare_excerpts);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < kept && !overlaps(&all[i], &all[k])) k++;
        if (k < kept)
            all[k].score += all[i].score / 2; /* two sources agree on it */
        else
            all[kept++] = all[i];
    }
    qsort(all, kept, sizeof *all, compare_excerpts);
    out->n = kept;
}

static status retrieve_run(struct excerpts *out, struct retrieval *t)
{
    t->language = language_of_document(&t->q->document);
    status code = document_tags_refresh(t);
    if (code == OK) code = near_names_find(t);
    if (code == OK) code = imported_find(t);
    for (size_t s = 0; code == OK && s < N_RETRIEVE_SOURCES && !retrieval_late(t); s++) {
        int64_t from_us = clock_us();
        if (t->q->without >> s & 1) continue;
        code = sources[s].find(t);
        out->source_us[s] = clock_us() - from_us;
    }
    if (code != OK) return code;
    out->items =
        arena_take(t->memory, N_RETRIEVE_SOURCES * CANDIDATES_EACH_MAX, sizeof *out->items);
    if (!out->items || t->memory->failed) return fail(t->err, ERR_MEMORY, "no memory for excerpts");
    fuse(out, t);
    out->cut = t->cut;
    return OK;
}

status retrieve(struct excerpts *out, retriever *r, const struct retrieve_request *request,
                error *err)
{
    *out = (struct excerpts){0};
    struct retrieval *t = memory_take(1, sizeof *t);
    if (!t) return fail(err, ERR_MEMORY, "no memory for retrieval");
    t->r = r;
    t->q = request;
    t->memory = &out->memory;
    t->err = err;
    t->deadline_us = request->time_us ? clock_us() + request->time_us : 0;
    status code = retrieve_run(out, t);
    memory_free(t);
    return code;
}

void excerpts_free(struct excerpts *e)
{
    arena_reset(&e->memory);
    *e = (struct excerpts){0};
}
