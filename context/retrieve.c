/* Sources run one after the other in order of what they bring per millisecond; each is looked at
 * against the clock. Fusion by rank needs no common scale of the sources' scores. */
#include "context/retrieve.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/retrieve_private.h"
#include "context/tree_file.h"

enum {
    RANK_HALF = 20,       /* the candidate at this rank counts half of the first one */
    TYPES_WHOLE_MAX = 12, /* the best types are shown with their bodies */
    TYPE_LINES_MAX = 40,
    STRINGS_MAX = 3,      /* emptied strings in the head of a type */
    LINES_LEFT_MIN = 3,   /* of an excerpt of which the rest stands already in another */
    DEFINITIONS_MAX = 24, /* of one name */
    FUSION_SLOTS = 4096   /* more than twice what all sources find */
};

/* A type is shown with its body from this share of the best score on. */
#define WHOLE_FROM 0.4

struct source {
    const char *name;
    double weight;
    status (*find)(struct retrieval *t);
};

static const struct source sources[N_RETRIEVE_SOURCES] = {
    [SOURCE_DEFINITION] = {"definition", 1.0, definitions_find},
    [SOURCE_IMPORT] = {"import", 0.8, imports_find},
    [SOURCE_KIN] = {"kin", 0.6, kin_find},
    [SOURCE_USAGE] = {"usage", 0.4, usage_find},
    [SOURCE_REPORTED] = {"reported", 2.0, reported_find},
    [SOURCE_RECENT] = {"recent", 0.6, recent_find},
    [SOURCE_SIMILAR] = {"similar", 0.5, similar_find},
};

const char *retrieve_source_name(enum retrieve_source source) { return sources[source].name; }

static status no_memory(error *err) { return fail(err, ERR_MEMORY, "no memory for retrieval"); }

status retriever_open(retriever **out, const char *database, const char *root, error *err)
{
    retriever *r = memory_take(1, sizeof *r);
    *out = NULL;
    if (!r) return no_memory(err);
    r->root = memory_copy(root, strlen(root));
    status code = r->root ? OK : no_memory(err);
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

void retriever_close(retriever *r)
{
    if (!r) return;
    document_tags_free(&r->document);
    projects_free(&r->projects);
    arena_reset(&r->definitions.memory);
    arena_reset(&r->symbols.memory);
    tagger_close(r->tagger);
    index_close(r->index);
    memory_free(r->root);
    memory_free(r);
}

static text text_keep(arena *a, text t)
{
    const char *copy = arena_copy(a, t.bytes ? t.bytes : "", t.size);
    return (text){copy, copy ? t.size : 0};
}

/* Forgets what another index said, and all when there is much, or memory was short. */
static status definitions_begin(struct retrieval *t)
{
    struct definition_cache *c = &t->r->definitions;
    int64_t version;
    status code = index_version(&version, t->r->index, t->err);
    if (code != OK ||
        (version == c->index_version && c->n < DEFINITIONS_CACHED_MAX / 2 && !c->memory.failed))
        return code;
    arena_reset(&c->memory);
    memset(c->slots, 0, sizeof c->slots);
    c->n = 0;
    c->index_version = version;
    return OK;
}

status definitions_of(struct index_symbols *out, struct retrieval *t, text name)
{
    struct definition_cache *c = &t->r->definitions;
    const size_t n_slots = sizeof c->slots / sizeof *c->slots;
    size_t i = text_hash(name) % n_slots;
    *out = (struct index_symbols){0};
    for (; c->slots[i].name.size; i = (i + 1) % n_slots)
        if (text_equal(c->slots[i].name, name)) {
            *out = c->slots[i].found;
            return OK;
        }
    if (c->n == DEFINITIONS_CACHED_MAX || retrieval_late(t)) return OK;
    text kept = text_keep(&c->memory, name);
    status code = index_definitions(out, &c->memory, t->r->index, text_of(t->r->root), kept,
                                    DEFINITIONS_MAX, t->err);
    if (code == OK && kept.size) c->slots[i] = (struct known_name){kept, *out}, c->n++;
    return code;
}

bool retrieval_late(struct retrieval *t)
{
    if (t->deadline_us && clock_us() > t->deadline_us) t->cut = true;
    if (t->q->cancel && atomic_load(t->q->cancel)) t->cut = true;
    return t->cut;
}

static text content_read(struct retrieval *t, text path)
{
    struct file_stamp stamp;
    error ignored;
    buffer read = {0};
    text content = TEXT("");
    if (is_excluded(t, path)) return content;
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

text retrieval_content(struct retrieval *t, text path)
{
    struct known_path spare, *k = path_known(t, path, &spare);
    if (!k->is_read) k->content = content_read(t, path);
    k->is_read = true;
    return k->content;
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

static bool is_same(const struct candidate *a, const struct candidate *b)
{
    if (!a->symbol != !b->symbol) return false;
    if (a->symbol)
        return a->symbol->from == b->symbol->from && text_equal(a->path, b->path) &&
               text_equal(a->symbol->name, b->symbol->name);
    return a->line < b->line + b->n_lines && b->line < a->line + a->n_lines &&
           text_equal(a->path, b->path);
}

/* The same definition counts once, by its best score. */
void candidate_put(struct retrieval *t, enum retrieve_source source, const struct candidate *one)
{
    struct candidates *c = &t->found[source];
    if (one->score <= 0) return;
    if (c->n == CANDIDATES_EACH_MAX && c->items[c->worst].score >= one->score) return;
    for (size_t i = 0; i < c->n; i++)
        if (is_same(&c->items[i], one)) {
            if (one->score > c->items[i].score) c->items[i] = *one;
            return;
        }
    c->items[c->n < CANDIDATES_EACH_MAX ? c->n++ : c->worst] = *one;
    for (size_t i = c->worst = 0; i < c->n && c->n == CANDIDATES_EACH_MAX; i++)
        if (c->items[i].score < c->items[c->worst].score) c->worst = i;
}

void symbol_put(struct retrieval *t, enum retrieve_source source, const struct index_symbol *s,
                double score, const char *reason)
{
    struct candidate c = {.symbol = s, .path = s->path, .line = s->line, .n_lines = 1};
    c.reason = reason;
    c.score = score;
    if (s->signature.size) candidate_put(t, source, &c);
}

/* By score, then by place, so that equal questions have equal answers. */
static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    int order = text_compare(x->path, y->path);
    if (order) return order;
    if (x->line != y->line) return x->line > y->line ? 1 : -1;
    return (x->n_lines > y->n_lines) - (x->n_lines < y->n_lines);
}

/* One list of all sources; what several of them found has the sum. */
struct fusion {
    struct candidate *all;
    enum retrieve_source *by;
    size_t n;
    uint16_t slots[FUSION_SLOTS]; /* of definitions, by place: index + 1 */
    uint16_t lines[FUSION_SLOTS]; /* [n_lines] of lines: they may overlap */
    size_t n_lines;
};

/* Where the candidate is, or where it is to be noted. */
static uint16_t *fusion_place(struct fusion *f, const struct candidate *c)
{
    if (!c->symbol) {
        size_t i = 0;
        while (i < f->n_lines && !is_same(&f->all[f->lines[i] - 1], c)) i++;
        return &f->lines[i];
    }
    size_t i = (text_hash(c->symbol->name) ^ c->symbol->from) % FUSION_SLOTS;
    while (f->slots[i] && !is_same(&f->all[f->slots[i] - 1], c)) i = (i + 1) % FUSION_SLOTS;
    return &f->slots[i];
}

static void fusion_add(struct fusion *f, const struct candidate *c, enum retrieve_source source)
{
    uint16_t none = 0, *place = source == SOURCE_SIMILAR ? &none : fusion_place(f, c);
    if (*place) {
        f->all[*place - 1].score += c->score;
        return;
    }
    f->by[f->n] = source;
    f->all[f->n] = *c;
    *place = (uint16_t)++f->n;
    f->n_lines += !c->symbol && place != &none;
}

static void fuse(struct fusion *f, struct retrieval *t)
{
    for (size_t s = 0; s < N_RETRIEVE_SOURCES; s++) {
        struct candidates *c = &t->found[s];
        qsort(c->items, c->n, sizeof *c->items, compare_candidates);
        for (size_t i = 0; i < c->n; i++) {
            struct candidate one = c->items[i];
            one.score = sources[s].weight * RANK_HALF / (double)(RANK_HALF + i);
            fusion_add(f, &one, (enum retrieve_source)s);
        }
    }
}

static bool overlaps(const struct excerpts *out, text path, uint32_t line, uint32_t n_lines)
{
    for (size_t i = 0; i < out->n; i++) {
        const struct excerpt *e = &out->items[i];
        if (e->line && e->line < line + n_lines && line < e->line + e->n_lines &&
            text_equal(path, e->path))
            return true;
    }
    return false;
}

/* Signatures carry no strings, but a type may be made of them. */
static bool has_literal(text type)
{
    return memchr(type.bytes, '"', type.size) || memchr(type.bytes, '\'', type.size);
}

/* A type with its body, as far as TYPE_LINES_MAX and where no other excerpt has some of it; false when
 * the file has changed since. */
static bool type_whole(struct excerpt *e, struct retrieval *t, const struct index_symbol *s,
                       const struct excerpts *out)
{
    text content = retrieval_content(t, s->path), whole = text_slice(content, s->from, s->to);
    uint32_t line = 1, n_lines = 1;
    if (s->to > content.size || text_find(whole, s->name, 0) == SIZE_MAX) return false;
    for (size_t i = 0; i < s->from; i++) line += content.bytes[i] == '\n';
    for (size_t i = 0; i + 1 < whole.size; i++) n_lines += whole.bytes[i] == '\n';
    if (overlaps(out, s->path, line, n_lines)) return false;
    if (n_lines > TYPE_LINES_MAX || (n_lines < 2 && !has_literal(whole))) return false;
    e->head = e->content;
    e->content = lines_of(content, &line, &n_lines);
    e->line = line;
    e->n_lines = n_lines;
    return true;
}

/* Lines of a candidate that an excerpt shows already are taken off it; false when few are left. */
static bool lines_left(struct candidate *c, const struct excerpt *e)
{
    uint32_t end = c->line + c->n_lines, shown_end = e->line + e->n_lines;
    if (!e->line || !text_equal(c->path, e->path) || e->line >= end || shown_end <= c->line)
        return true;
    uint32_t above = e->line > c->line ? e->line - c->line : 0,
             below = end > shown_end ? end - shown_end : 0, line = 1;
    if (below > above) {
        line = c->n_lines - below + 1;
        c->line = shown_end;
    }
    c->n_lines = above > below ? above : below;
    uint32_t blank_above = line;
    c->content = lines_of(c->content, &line, &c->n_lines);
    c->line += line - blank_above;
    return c->n_lines >= LINES_LEFT_MIN;
}

/* Excerpts do not overlap: what stands there already is not shown again. */
static bool is_left(struct candidate *c, const struct excerpts *out)
{
    for (size_t i = 0; i < out->n; i++)
        if (!lines_left(c, &out->items[i])) return false;
    return true;
}

static bool is_shown(const struct excerpts *out, const struct candidate *c)
{
    for (size_t i = 0; i < out->n; i++) {
        const struct excerpt *e = &out->items[i];
        if (e->line && c->line >= e->line && c->line + c->n_lines <= e->line + e->n_lines &&
            text_equal(c->path, e->path))
            return true;
    }
    return false;
}

/* Where a type begins to be a list of strings, which are not in its head; SIZE_MAX: it is none. */
static size_t strings_at(text head)
{
    size_t first = SIZE_MAX, n = 0;
    for (size_t i = 0; i + 1 < head.size; i++) {
        bool empty = head.bytes[i] == head.bytes[i + 1] && strchr("\"'", head.bytes[i]);
        if (empty && n++ == 0) first = i;
        i += empty;
    }
    return n >= STRINGS_MAX ? first : SIZE_MAX;
}

/* A head that is too long for the index, or says nothing more, ends at a word and says that it goes on. */
static text signature_line(arena *a, const struct index_symbol *s)
{
    text signature = s->signature;
    size_t strings = is_type(s->kind) ? strings_at(signature) : SIZE_MAX;
    bool cut = signature.size + 12 >= TAG_SIGNATURE_MAX || strings != SIZE_MAX;
    signature = text_slice(signature, 0, strings);
    while (cut && signature.size && signature.bytes[signature.size - 1] != ' ') signature.size--;
    while (strings != SIZE_MAX && signature.size &&
           strchr(" |", signature.bytes[signature.size - 1]))
        signature.size--;
    const char *more = strings != SIZE_MAX ? " ..." : cut ? "..." : "";
    char *line = arena_print(a, "%.*s%s\n", (int)signature.size, signature.bytes, more);
    return (text){line, line ? strlen(line) : 0};
}

static void excerpt_put(struct excerpts *out, struct retrieval *t, const struct candidate *c,
                        enum retrieve_source source, bool whole, size_t *n_whole)
{
    struct excerpt e = {.path = text_keep(t->memory, c->path), .reason = c->reason};
    e.score = c->score;
    e.source = source;
    if (!c->symbol) {
        e.content = c->content;
        e.line = c->line;
        e.n_lines = c->n_lines;
    } else {
        e.content = signature_line(t->memory, c->symbol);
        e.n_lines = 1;
        e.from = c->symbol->from;
        if (is_type(c->symbol->kind) && whole) *n_whole += type_whole(&e, t, c->symbol, out);
    }
    if (e.content.size) out->items[out->n++] = e;
}

struct ranked {
    struct candidate candidate; /* first: compare_candidates */
    enum retrieve_source source;
};

static int compare_excerpts(const void *a, const void *b)
{
    const struct excerpt *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    int order = text_compare(x->path, y->path);
    if (order) return order;
    if (x->line != y->line) return x->line > y->line ? 1 : -1;
    return (x->from > y->from) - (x->from < y->from);
}

static status excerpts_make(struct excerpts *out, struct retrieval *t)
{
    const size_t room = N_RETRIEVE_SOURCES * CANDIDATES_EACH_MAX;
    struct fusion *f = arena_take(t->memory, 1, sizeof *f);
    struct ranked *ranked = arena_take(t->memory, room, sizeof *ranked);
    out->items = arena_take(t->memory, room, sizeof *out->items);
    if (!f) return no_memory(t->err);
    f->all = arena_take(t->memory, room, sizeof *f->all);
    f->by = arena_take(t->memory, room, sizeof *f->by);
    if (t->memory->failed) return no_memory(t->err);
    fuse(f, t);
    size_t n_whole = 0;
    for (size_t i = 0; i < f->n; i++) ranked[i] = (struct ranked){f->all[i], f->by[i]};
    qsort(ranked, f->n, sizeof *ranked, compare_candidates);
    for (size_t i = 0; i < 2 * f->n; i++) { /* windows, which hide nothing, last */
        struct ranked *r = &ranked[i % f->n];
        struct candidate *c = &r->candidate;
        bool is_near_best = c->score >= WHOLE_FROM * ranked[0].candidate.score;
        if ((r->source == SOURCE_SIMILAR) != (i >= f->n)) continue;
        if (!is_excluded(t, c->path) && !is_shown(out, c) && (c->symbol || is_left(c, out)))
            excerpt_put(out, t, c, r->source, is_near_best && n_whole < TYPES_WHOLE_MAX, &n_whole);
    }
    if (out->n) qsort(out->items, out->n, sizeof *out->items, compare_excerpts);
    return t->memory->failed ? no_memory(t->err) : OK;
}

static status retrieve_run(struct excerpts *out, struct retrieval *t)
{
    status code = definitions_begin(t);
    if (code == OK) code = document_tags_refresh(t);
    if (code == OK) code = names_find(t);
    if (code == OK) code = imported_find(t);
    for (size_t s = 0; code == OK && s < N_RETRIEVE_SOURCES && !retrieval_late(t); s++) {
        int64_t from_us = clock_thread_us();
        if (t->q->without >> s & 1) continue;
        code = sources[s].find(t);
        out->source_us[s] = clock_thread_us() - from_us;
    }
    if (code == OK) code = excerpts_make(out, t);
    out->cut = t->cut;
    return code;
}

status retrieve(struct excerpts *out, retriever *r, const struct retrieve_request *request,
                error *err)
{
    *out = (struct excerpts){0};
    struct retrieval *t = memory_take(1, sizeof *t);
    if (!t) return no_memory(err);
    t->r = r;
    t->q = request;
    t->memory = &out->memory;
    t->err = err;
    t->deadline_us = request->time_us ? clock_us() + request->time_us : 0;
    t->language = language_of_document(&request->document);
    status code = index_read_begin(r->index, err);
    if (code == OK) {
        code = retrieve_run(out, t);
        index_read_end(r->index);
    }
    memory_free(t);
    return code;
}

void excerpts_free(struct excerpts *e)
{
    arena_reset(&e->memory);
    *e = (struct excerpts){0};
}
