/* What the document defines and imports, as the index says of its file and a parse of the lines that the
 * file on disk does not have. */
#include <string.h>

#include "context/retrieve_private.h"

enum {
    TAGS_CHANGED_MAX = 2048, /* a document may change by so much before it is parsed again */
    TAGS_USED_MAX = 200,
    OWN_SYMBOLS_MAX = 20000, /* of the document */
    RANGES_MAX = 32,         /* of changed lines; what follows belongs to the last */
    LINES_APART = 4          /* changed lines nearer than that are one range */
};

static status no_memory(error *err) { return fail(err, ERR_MEMORY, "no memory for a document"); }

void document_tags_free(struct document_tags *d)
{
    if (d->there) tags_free(&d->tags);
    arena_reset(&d->memory);
    buffer_free(&d->path);
    buffer_free(&d->content);
    *d = (struct document_tags){0};
}

/* The lines that [from, to) touches. */
static text whole_lines(text t, size_t from, size_t to)
{
    while (from > 0 && t.bytes[from - 1] != '\n') from--;
    while (to < t.size && t.bytes[to] != '\n') to++;
    return text_slice(t, from, to);
}

static bool may_import(text lines)
{
    static const char *const words[] = {"import", "include", "require", "use ", "using", "from"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text_find(lines, text_of(words[i]), 0) != SIZE_MAX) return true;
    return false;
}

/* How many bytes they have in common at the beginning, and at the end. */
static void differences(text a, text b, size_t *begin, size_t *end)
{
    size_t least = a.size < b.size ? a.size : b.size;
    *begin = text_common(a, b);
    *end = 0;
    while (*end < least - *begin && a.bytes[a.size - 1 - *end] == b.bytes[b.size - 1 - *end])
        (*end)++;
}

/* Whether tags of the one still say what the other has: little is different between a common beginning
 * and a common end, and no import. */
static bool is_near(text a, text b)
{
    size_t most = a.size > b.size ? a.size : b.size, begin, end;
    differences(a, b, &begin, &end);
    if (most - begin - end > TAGS_CHANGED_MAX) return false;
    return most == begin + end || (!may_import(whole_lines(a, begin, a.size - end)) &&
                                   !may_import(whole_lines(b, begin, b.size - end)));
}

/* Lines of a text by their hashes. */
struct line_set {
    uint64_t *slots; /* [n_slots] 0: free */
    size_t n_slots;
};

static uint64_t line_hash(text line)
{
    uint64_t h = text_hash(line);
    return h ? h : 1;
}

static bool line_set_make(struct line_set *s, arena *a, text content)
{
    size_t n = 1;
    text rest = content, line;
    for (size_t i = 0; i < content.size; i++) n += content.bytes[i] == '\n';
    s->n_slots = 2 * n;
    s->slots = arena_take(a, s->n_slots, sizeof *s->slots);
    while (s->slots && text_next_line(&rest, &line)) {
        uint64_t h = line_hash(line);
        size_t i = h % s->n_slots;
        while (s->slots[i] && s->slots[i] != h) i = (i + 1) % s->n_slots;
        s->slots[i] = h;
    }
    return s->slots != NULL;
}

static bool line_set_has(const struct line_set *s, text line)
{
    uint64_t h = line_hash(line);
    size_t i = h % s->n_slots;
    while (s->slots[i] && s->slots[i] != h) i = (i + 1) % s->n_slots;
    return s->slots[i] != 0;
}

struct range {
    size_t from, to; /* bytes */
};

/* The lines of `now` that `disk` has nowhere: what another line defines, the index knows. */
static size_t changed_ranges(struct range out[RANGES_MAX], const struct line_set *disk, text now)
{
    size_t n = 0, n_same = LINES_APART;
    text rest = now, line;
    while (text_next_line(&rest, &line)) {
        size_t from = (size_t)(line.bytes - now.bytes), to = from + line.size;
        if (line_set_has(disk, line)) {
            n_same++;
            continue;
        }
        if (n == 0 || (n_same >= LINES_APART && n < RANGES_MAX)) out[n++].from = from;
        out[n - 1].to = to;
        n_same = 0;
    }
    return n;
}

/* Puts what changed lines say in front of what is known. */
static status tags_add(struct tags *tags, const struct tags *more, size_t n_more, error *err)
{
    size_t n = tags->n_definitions, n_imports = tags->n_imports;
    for (size_t i = 0; i < n_more; i++) n += more[i].n_definitions, n_imports += more[i].n_imports;
    struct tag *definitions = arena_take(&tags->memory, n + 1, sizeof *definitions);
    struct tag_import *imports = arena_take(&tags->memory, n_imports + 1, sizeof *imports);
    if (!definitions || !imports) return no_memory(err);
    n = n_imports = 0;
    for (size_t i = 0; i <= n_more; i++) {
        const struct tags *from = i < n_more ? &more[i] : tags;
        for (size_t k = 0; k < from->n_definitions; k++) definitions[n++] = from->definitions[k];
        for (size_t k = 0; k < from->n_imports; k++) imports[n_imports++] = from->imports[k];
    }
    tags->definitions = definitions, tags->n_definitions = n;
    tags->imports = imports, tags->n_imports = n_imports;
    return OK;
}

/* And what stands in the lines that the file on disk has otherwise. */
static status changed_tags_add(struct document_tags *d, struct retrieval *t, text disk)
{
    text now = buffer_text(&d->content);
    struct range ranges[RANGES_MAX];
    struct tags more[RANGES_MAX]; /* names lie in the content */
    struct line_set known;
    status code = OK;
    if (is_near(disk, now)) return OK;
    if (!line_set_make(&known, t->memory, disk)) return no_memory(t->err);
    size_t n = changed_ranges(ranges, &known, now), n_read = 0;
    for (; code == OK && n_read < n; n_read++) {
        code = tags_read_outline(&more[n_read], t->r->tagger, t->language, now, t->q->document.tree,
                                 ranges[n_read].from, ranges[n_read].to, t->err);
        if (code == ERR_LIMIT) code = OK;
    }
    if (code == OK && n) code = tags_add(&d->tags, more, n, t->err);
    for (size_t i = 0; i < n_read; i++) tags_free(&more[i]);
    return code;
}

/* What the index says of the file as it is on disk; *there: it knows it. */
static status tags_from_index(bool *there, struct document_tags *d, struct retrieval *t, text *disk)
{
    struct index_symbols symbols;
    struct index_file file;
    struct tags *tags = &d->tags;
    arena *a = &tags->memory;
    text path = t->q->document.path;
    status code = index_file_at(&file, there, t->memory, t->r->index, t->r->tree, path, t->err);
    *disk = code == OK && *there ? retrieval_content(t, path) : TEXT("");
    *there = disk->size > 0;
    if (*there) code = index_blob_is(there, t->r->index, file.blob, *disk, t->err);
    if (code != OK || !*there) return code;
    code = index_symbols_of(&symbols, a, t->r->index, file.blob, OWN_SYMBOLS_MAX, t->err);
    if (code == OK)
        code = index_imports_named(&tags->imports, &tags->n_imports, a, t->r->index, file.blob,
                                   t->err);
    tags->definitions = code == OK ? arena_take(a, symbols.n, sizeof *tags->definitions) : NULL;
    if (!tags->definitions) return code != OK ? code : no_memory(t->err);
    for (size_t i = 0; i < symbols.n; i++) tags->definitions[i].name = symbols.symbols[i].name;
    tags->n_definitions = symbols.n;
    return OK;
}

static status tags_from_parse(struct document_tags *d, struct retrieval *t)
{
    status code = tags_read_outline(&d->tags, t->r->tagger, t->language, buffer_text(&d->content),
                                    t->q->document.tree, 0, d->content.size, t->err);
    return code == ERR_LIMIT ? OK : code; /* what was found in time */
}

status document_tags_refresh(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    const struct document_view *v = &t->q->document;
    if (d->there && text_equal(buffer_text(&d->path), v->path) && ++d->n_used < TAGS_USED_MAX &&
        is_near(buffer_text(&d->content), v->content))
        return OK;
    document_tags_free(d);
    if (!tagger_knows(t->language)) return OK;
    text disk;
    buffer_put_text(&d->path, v->path);
    buffer_put_text(&d->content, v->content);
    status code = d->path.failed || d->content.failed ? no_memory(t->err)
                                                      : tags_from_index(&d->there, d, t, &disk);
    if (code == OK) code = d->there ? changed_tags_add(d, t, disk) : tags_from_parse(d, t);
    d->there = true;
    if (code != OK) document_tags_free(d);
    return code;
}
