/* One pass of a query over one parse. Several patterns may name the same definition: the one that
 * stands first in the query file wins, so special patterns stand above general ones. Occurrences of
 * identifiers are collected flat, then sorted and counted. */
#include "context/tags.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <tree_sitter/api.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/utf.h"
#include "context/syntax_private.h"
#include "context/tags_source.h"

enum role {
    ROLE_NONE,
    ROLE_NAME,
    ROLE_DEFINITION,
    ROLE_REFERENCE,
    ROLE_IMPORT,
    ROLE_IMPORT_NAME,
    ROLE_IMPORT_NAMES, /* those of its children: a match each would be too many at once */
    ROLE_ONWARD
};

struct query {
    const char *language; /* the name of its row in the table of languages */
    const char *source;
};

#define N_QUERIES 15

struct tagger {
    TSParser *parser;
    TSQueryCursor *cursor;
};

extern const char tag_query_bash[], tag_query_c[], tag_query_cpp[], tag_query_csharp[],
    tag_query_go[], tag_query_java[], tag_query_javascript[], tag_query_lua[], tag_query_php[],
    tag_query_python[], tag_query_ruby[], tag_query_rust[], tag_query_typescript[];

static const struct query queries[N_QUERIES] = {
    {"Bash", tag_query_bash},
    {"C", tag_query_c},
    {"C#", tag_query_csharp},
    {"C++", tag_query_cpp},
    {"CUDA", tag_query_cpp},
    {"Go", tag_query_go},
    {"Java", tag_query_java},
    {"JavaScript", tag_query_javascript},
    {"Lua", tag_query_lua},
    {"PHP", tag_query_php},
    {"Python", tag_query_python},
    {"Ruby", tag_query_ruby},
    {"Rust", tag_query_rust},
    {"TSX", tag_query_typescript},
    {"TypeScript", tag_query_typescript},
};

/* Compiled when first needed, for the life of the process and for all threads: that takes longer than
 * most files do, and a query never changes. */
static pthread_mutex_t compiled_lock = PTHREAD_MUTEX_INITIALIZER;
static TSQuery *compiled[N_QUERIES][2]; /* the whole, and without references */

/* A definition while others may still override it. */
struct found_definition {
    struct tag tag;
    uint32_t name_at, pattern;
};

struct occurrence {
    text name;
    uint32_t at;
};

struct list {
    void *items;
    size_t n, room;
};

struct collecting {
    text content, source; /* source: as the grammar understands it */
    buffer plain;         /* its bytes, where they are others */
    const struct language *language;
    const TSQuery *query;
    struct tags *out;
    struct list definitions, occurrences, imports;
    int64_t deadline_us; /* of clock_thread_us: what is found once about a content is kept */
    bool late, failed;
    bool outline; /* no signatures */
};

status tagger_open(tagger **out, error *err)
{
    tagger *t = memory_take(1, sizeof *t);
    *out = NULL;
    if (!t) return fail(err, ERR_MEMORY, "no memory for tags");
    t->parser = ts_parser_new();
    t->cursor = ts_query_cursor_new();
    *out = t;
    return OK;
}

void tagger_close(tagger *t)
{
    if (!t) return;
    ts_query_cursor_delete(t->cursor);
    ts_parser_delete(t->parser);
    memory_free(t);
}

static size_t query_index(const struct language *language)
{
    size_t i = 0;
    while (language && i < N_QUERIES && strcmp(queries[i].language, language->name) != 0) i++;
    return language ? i : N_QUERIES;
}

bool tagger_knows(const struct language *language) { return query_index(language) < N_QUERIES; }

enum {
    KEYWORDS_MAX = 256,
    DEPTH_MAX = 32 /* of definitions within definitions */
};

/* The words among a grammar's tokens, sorted; made when first needed, as queries are. */
struct keywords {
    text words[KEYWORDS_MAX];
    size_t n;
    bool made;
};

static struct keywords keywords[N_QUERIES];

static int compare_words(const void *a, const void *b)
{
    return text_compare(*(const text *)a, *(const text *)b);
}

static void keywords_make(struct keywords *k, const TSLanguage *grammar)
{
    for (uint32_t i = 0; i < ts_language_symbol_count(grammar) && k->n < KEYWORDS_MAX; i++) {
        text word = text_of(ts_language_symbol_name(grammar, (TSSymbol)i));
        bool letters = ts_language_symbol_type(grammar, (TSSymbol)i) == TSSymbolTypeAnonymous;
        for (size_t at = 0; at < word.size; at++)
            letters = letters && (word.bytes[at] | 32) >= 'a' && (word.bytes[at] | 32) <= 'z';
        if (letters && word.size) k->words[k->n++] = word;
    }
    if (k->n) qsort(k->words, k->n, sizeof *k->words, compare_words);
    k->made = true;
}

bool tagger_is_keyword(const struct language *language, text word)
{
    size_t which = query_index(language);
    if (which == N_QUERIES) return false;
    struct keywords *k = &keywords[which];
    pthread_mutex_lock(&compiled_lock);
    if (!k->made) keywords_make(k, language->grammar());
    pthread_mutex_unlock(&compiled_lock);
    return k->n && bsearch(&word, k->words, k->n, sizeof *k->words, compare_words);
}

static text query_string(const TSQuery *q, uint32_t id)
{
    uint32_t size;
    const char *bytes = ts_query_string_value_for_id(q, id, &size);
    return (text){bytes, size};
}

/* A predicate that nobody evaluates would silently hold. */
static bool predicates_known(const TSQuery *q)
{
    for (uint32_t pattern = 0; pattern < ts_query_pattern_count(q); pattern++) {
        uint32_t n;
        const TSQueryPredicateStep *steps = ts_query_predicates_for_pattern(q, pattern, &n);
        for (uint32_t i = 0; i < n; i++) {
            text name = query_string(q, steps[i].value_id);
            if (!text_is(name, "eq?") && !text_is(name, "not-eq?") && !text_is(name, "any-of?"))
                return false;
            while (steps[i].type != TSQueryPredicateStepTypeDone) i++;
        }
    }
    return true;
}

static status query_compile(TSQuery **out, const struct query *q, const struct language *language,
                            error *err)
{
    uint32_t at;
    TSQueryError wrong;
    TSQuery *made =
        ts_query_new(language->grammar(), q->source, (uint32_t)strlen(q->source), &at, &wrong);
    if (!made)
        return fail(err, ERR_FORMAT, "tag query of %s: error %d at byte %u: \"%.40s\"",
                    language->name, (int)wrong, at, q->source + at);
    if (predicates_known(made)) {
        *out = made;
        return OK;
    }
    ts_query_delete(made);
    return fail(err, ERR_FORMAT, "tag query of %s: an unknown predicate", language->name);
}

/* Patterns of references match at every name, which is most of the work. */
static void references_disable(TSQuery *q, const char *source)
{
    for (uint32_t i = 0; i < ts_query_pattern_count(q); i++) {
        uint32_t from = ts_query_start_byte_for_pattern(q, i),
                 to = ts_query_end_byte_for_pattern(q, i);
        text pattern = {source + from, to - from};
        if (text_find(pattern, TEXT("@reference"), 0) != SIZE_MAX) ts_query_disable_pattern(q, i);
    }
}

static status query_get(const TSQuery **out, size_t which, bool outline,
                        const struct language *language, error *err)
{
    status code = OK;
    pthread_mutex_lock(&compiled_lock);
    TSQuery **made = &compiled[which][outline];
    if (!*made) {
        code = query_compile(made, &queries[which], language, err);
        if (code == OK && outline) references_disable(*made, queries[which].source);
    }
    *out = *made;
    pthread_mutex_unlock(&compiled_lock);
    return code;
}

static void *list_add(struct collecting *r, struct list *l, size_t size)
{
    if (l->n == TAGS_MAX) {
        r->out->cut = true;
        return NULL;
    }
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        void *grown = memory_resize(l->items, room, size);
        if (!grown) {
            r->failed = true;
            return NULL;
        }
        l->items = grown;
        l->room = room;
    }
    return (char *)l->items + size * l->n++;
}

static enum role role_of(const TSQuery *q, uint32_t capture, const char **kind)
{
    uint32_t size;
    const char *name = ts_query_capture_name_for_id(q, capture, &size);
    static const char definition[] = "definition.";
    *kind = name + sizeof definition - 1;
    if (strcmp(name, "name") == 0) return ROLE_NAME;
    if (strcmp(name, "reference") == 0) return ROLE_REFERENCE;
    if (strcmp(name, "import") == 0) return ROLE_IMPORT;
    if (strcmp(name, "import.name") == 0) return ROLE_IMPORT_NAME;
    if (strcmp(name, "import.names") == 0) return ROLE_IMPORT_NAMES;
    if (strcmp(name, "import.onward") == 0) return ROLE_ONWARD;
    return strncmp(name, definition, sizeof definition - 1) == 0 ? ROLE_DEFINITION : ROLE_NONE;
}

static text node_text(const struct collecting *r, TSNode node)
{
    return text_slice(r->content, ts_node_start_byte(node), ts_node_end_byte(node));
}

static text captured(const struct collecting *r, const TSQueryMatch *m, uint32_t capture)
{
    for (uint16_t i = 0; i < m->capture_count; i++)
        if (m->captures[i].index == capture) return node_text(r, m->captures[i].node);
    return TEXT("");
}

/* steps[0] names the predicate, steps[1] the capture, the rest up to n are strings. */
static bool predicate_holds(const struct collecting *r, const TSQueryMatch *m,
                            const TSQueryPredicateStep *steps, uint32_t n)
{
    text left = captured(r, m, steps[1].value_id);
    bool equal = false;
    for (uint32_t i = 2; i < n; i++)
        equal = equal || text_equal(left, query_string(r->query, steps[i].value_id));
    return equal != text_is(query_string(r->query, steps[0].value_id), "not-eq?");
}

static bool match_holds(const struct collecting *r, const TSQueryMatch *m)
{
    uint32_t n, from = 0;
    const TSQueryPredicateStep *steps =
        ts_query_predicates_for_pattern(r->query, m->pattern_index, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i].type != TSQueryPredicateStepTypeDone) continue;
        if (!predicate_holds(r, m, steps + from, i - from)) return false;
        from = i + 1;
    }
    return true;
}

static bool name_good(text name)
{
    if (name.size == 0 || name.size > TAG_NAME_MAX || !utf8_valid(name)) return false;
    for (size_t i = 0; i < name.size; i++)
        if ((unsigned char)name.bytes[i] < ' ') return false;
    return true;
}

static bool is_value_kind(const char *kind)
{
    return strcmp(kind, "variable") == 0 || strcmp(kind, "constant") == 0 ||
           strcmp(kind, "field") == 0;
}

/* Where the head of a definition ends: before its body or its value; the value of a type is what it
 * is. */
static size_t head_end(const struct collecting *r, TSNode node, const char *kind)
{
    static const char *const fields[] = {"body", "accessors", "value", "right"};
    size_t end = ts_node_end_byte(node);
    for (size_t i = 0; i < sizeof fields / sizeof *fields && strcmp(kind, "type") != 0; i++) {
        uint32_t size = (uint32_t)strlen(fields[i]);
        TSNode part = ts_node_child_by_field_name(node, fields[i], size);
        if (ts_node_is_null(part)) continue;
        TSNode inner = ts_node_child_by_field_name(part, "body", 4);
        if (i > 0 && !ts_node_is_null(inner)) part = inner;
        if (ts_node_start_byte(part) < end) end = ts_node_start_byte(part);
    }
    text head = text_slice(r->content, ts_node_start_byte(node), end);
    size_t equals = is_value_kind(kind) ? text_find(head, TEXT("="), 0) : SIZE_MAX;
    return equals == SIZE_MAX ? end : ts_node_start_byte(node) + equals;
}

/* How long the comment is that begins here; 0: none does. */
static size_t comment_at(const struct language *l, text rest)
{
    size_t end;
    if (l->comment_open && text_starts(rest, text_of(l->comment_open))) {
        end = text_find(rest, text_of(l->comment_close), strlen(l->comment_open));
        return end == SIZE_MAX ? rest.size : end + strlen(l->comment_close);
    }
    if (!l->line_comment || !text_starts(rest, text_of(l->line_comment))) return 0;
    end = text_find(rest, TEXT("\n"), 0);
    return end == SIZE_MAX ? rest.size : end;
}

/* On one line, blanks collapsed, ill-formed bytes as "?", without comments, and strings emptied: a
 * default value may be a password, and nobody calls a function differently for it. */
static size_t flatten(char *to, text head, const struct language *language)
{
    const char *quotes = language->quotes;
    size_t n = 0, size;
    char quote = 0;
    for (size_t at = 0; at < head.size && n + 8 < TAG_SIGNATURE_MAX; at += size) {
        uint32_t c = utf8_decode(head, at, &size);
        size_t skipped = quote ? 0 : comment_at(language, text_slice(head, at, head.size));
        if (skipped) {
            size = skipped;
            continue;
        }
        bool blank = c <= ' ' || c == 0x7F;
        if (quote && c == '\\' && at + 1 < head.size) size = 2;
        if (quote && c != (unsigned char)quote) continue;
        if (blank && (n == 0 || to[n - 1] == ' ')) continue;
        if (c < 0x80 && c && strchr(quotes, (int)c)) quote = quote ? 0 : (char)c;
        if (size == 1)
            to[n++] = blank ? ' ' : c >= 0x80 ? '?' : (char)c;
        else
            n += utf8_encode(c, to + n);
    }
    return n;
}

/* "const " or "type ": the word that begins the statement which declares it, and says what it is. */
static size_t declared_put(char *to, const struct collecting *r, TSNode node)
{
    static const char *const statements[] = {"lexical_declaration", "variable_declaration",
                                             "type_declaration", "const_declaration",
                                             "var_declaration"};
    TSNode statement = ts_node_parent(node);
    bool declares = false;
    for (size_t i = 0; !ts_node_is_null(statement) && i < sizeof statements / sizeof *statements;
         i++)
        declares = declares || strcmp(ts_node_type(statement), statements[i]) == 0;
    text word = declares ? node_text(r, ts_node_child(statement, 0)) : TEXT("");
    if (!word.size || word.size > 8 || !tagger_is_keyword(r->language, word)) return 0;
    memcpy(to, word.bytes, word.size);
    to[word.size] = ' ';
    return word.size + 1;
}

static text signature_of(struct collecting *r, TSNode node, const char *kind)
{
    char line[TAG_SIGNATURE_MAX + 16];
    size_t from = ts_node_start_byte(node), n = declared_put(line, r, node);
    text head = text_slice(r->content, from, head_end(r, node, kind));
    n += flatten(line + n, head, r->language);
    while (n > 0 && strchr(" {=:;\\", line[n - 1])) n--;
    const char *copy = arena_copy(&r->out->memory, line, n);
    if (!copy) r->failed = true;
    return (text){copy, copy ? n : 0};
}

static void see_definition(struct collecting *r, TSNode name, TSNode whole, const char *kind,
                           uint32_t pattern)
{
    text word = node_text(r, name);
    if (word.size > 1 && word.bytes[0] == ':') word = text_slice(word, 1, word.size); /* Ruby */
    if (!name_good(word)) return;
    struct found_definition *d = list_add(r, &r->definitions, sizeof *d);
    if (!d) return;
    *d = (struct found_definition){
        .tag = {.name = word,
                .kind = kind,
                .signature = r->outline ? TEXT("") : signature_of(r, whole, kind),
                .from = ts_node_start_byte(whole),
                .to = ts_node_end_byte(whole),
                .line = ts_node_start_point(name).row + 1},
        .name_at = ts_node_start_byte(name),
        .pattern = pattern,
    };
}

/* "a.h", <a.h>, 'a' and a alike: a. */
static text unquoted(text t)
{
    if (t.size >= 2 && strchr("\"'<`", t.bytes[0])) t = text_slice(t, 1, t.size - 1);
    return t;
}

static void see_import(struct collecting *r, text module, text name, bool onward)
{
    module = unquoted(module);
    if (!name_good(module) || (name.size && !name_good(name))) return;
    struct tag_import *list = r->imports.items, *i;
    if (r->imports.n && text_equal(list[r->imports.n - 1].module, module) &&
        text_equal(list[r->imports.n - 1].name, name)) {
        list[r->imports.n - 1].onward |= onward;
        return;
    }
    i = list_add(r, &r->imports, sizeof *i);
    if (i) *i = (struct tag_import){module, name, onward};
}

/* What the children of `names` are called where they come from. */
static void see_import_names(struct collecting *r, text module, TSNode names)
{
    for (uint32_t i = 0; i < ts_node_named_child_count(names); i++) {
        TSNode name = ts_node_child_by_field_name(ts_node_named_child(names, i), "name", 4);
        if (!ts_node_is_null(name) && strcmp(ts_node_type(name), "identifier") == 0)
            see_import(r, module, node_text(r, name), false);
    }
}

static void see_match(struct collecting *r, const TSQueryMatch *m)
{
    TSNode name = {0}, whole = {0}, names = {0};
    text module = TEXT(""), imported = TEXT("");
    const char *kind = "", *any;
    bool onward = false;
    for (uint16_t i = 0; i < m->capture_count; i++) {
        TSNode node = m->captures[i].node;
        switch (role_of(r->query, m->captures[i].index, &any)) {
        case ROLE_NONE: break;
        case ROLE_NAME: name = node; break;
        case ROLE_DEFINITION: whole = node, kind = any; break;
        case ROLE_ONWARD: onward = true; /* fallthrough */
        case ROLE_IMPORT: module = node_text(r, node); break;
        case ROLE_IMPORT_NAME: imported = node_text(r, node); break;
        case ROLE_IMPORT_NAMES: names = node; break;
        case ROLE_REFERENCE: {
            text word = node_text(r, node);
            struct occurrence *o = name_good(word) ? list_add(r, &r->occurrences, sizeof *o) : NULL;
            if (o) *o = (struct occurrence){word, ts_node_start_byte(node)};
        }
        }
    }
    if (!match_holds(r, m)) return;
    if (name.id && whole.id) see_definition(r, name, whole, kind, m->pattern_index);
    if (names.id)
        see_import_names(r, module, names);
    else if (module.size)
        see_import(r, module, imported, onward);
}

static bool query_late(TSQueryCursorState *state)
{
    struct collecting *r = state->payload;
    r->late = r->late || clock_thread_us() > r->deadline_us;
    return r->late;
}

static TSTree *parse(tagger *t, const struct collecting *r)
{
    struct reading reading = {.pieces = {r->source}, .deadline_us = r->deadline_us};
    ts_parser_reset(t->parser);
    if (!ts_parser_set_language(t->parser, r->language->grammar())) return NULL;
    return syntax_read(t->parser, NULL, &reading);
}

static void run_query(tagger *t, struct collecting *r, const TSTree *tree)
{
    TSQueryMatch match;
    TSQueryCursorOptions options = {.payload = r, .progress_callback = query_late};
    ts_query_cursor_set_match_limit(t->cursor, TAGS_PENDING_MAX);
    ts_query_cursor_exec_with_options(t->cursor, r->query, ts_tree_root_node(tree), &options);
    while (!r->failed && ts_query_cursor_next_match(t->cursor, &match)) see_match(r, &match);
}

static int compare_definitions(const void *a, const void *b)
{
    const struct found_definition *x = a, *y = b;
    if (x->name_at != y->name_at) return x->name_at < y->name_at ? -1 : 1;
    return (x->pattern > y->pattern) - (x->pattern < y->pattern);
}

static int compare_place(const void *key, const void *item)
{
    uint32_t at = *(const uint32_t *)key,
             name_at = ((const struct found_definition *)item)->name_at;
    return (at > name_at) - (at < name_at);
}

static int compare_occurrences(const void *a, const void *b)
{
    return text_compare(((const struct occurrence *)a)->name, ((const struct occurrence *)b)->name);
}

static void sort(struct list *l, size_t size, int (*compare)(const void *, const void *))
{
    if (l->n) qsort(l->items, l->n, size, compare);
}

static bool is_kind(const struct tag *t, const char *const *kinds)
{
    for (; *kinds; kinds++)
        if (strcmp(t->kind, *kinds) == 0) return true;
    return false;
}

/* Languages in which functions lie within functions; elsewhere that is a parse gone wrong. */
static bool has_locals(const struct language *l)
{
    static const char *const names[] = {"JavaScript", "TypeScript", "TSX", "Python", "Rust", "Lua"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(l->name, names[i]) == 0) return true;
    return false;
}

/* What is declared inside a function is nobody else's; members of what it returns may be. Definitions
 * come in the order of their names, so that what is around another one comes first. */
static void locals_find(struct found_definition *found, size_t n)
{
    static const char *const functions[] = {"function", "method", TAG_LOCAL, NULL};
    static const char *const members[] = {"method", "field", "property", "prototype", NULL};
    size_t around[DEPTH_MAX], depth = 0;
    for (size_t i = 0; i < n; i++) {
        while (depth > 0 && found[around[depth - 1]].tag.to <= found[i].name_at) depth--;
        bool inside = depth > 0 && is_kind(&found[around[depth - 1]].tag, functions);
        if (inside && !is_kind(&found[i].tag, members)) found[i].tag.kind = TAG_LOCAL;
        if (depth < DEPTH_MAX) around[depth++] = i;
    }
}

static void keep_definitions(struct collecting *r)
{
    struct tags *out = r->out;
    struct found_definition *found = r->definitions.items;
    size_t n = 0;
    sort(&r->definitions, sizeof *found, compare_definitions);
    for (size_t i = 0; i < r->definitions.n; i++)
        if (n == 0 || found[i].name_at != found[n - 1].name_at) found[n++] = found[i];
    r->definitions.n = n;
    if (has_locals(r->language)) locals_find(found, n);
    out->definitions = arena_take(&out->memory, n, sizeof *out->definitions);
    if (n && !out->definitions) r->failed = true;
    for (size_t i = 0; i < n && out->definitions; i++) out->definitions[i] = found[i].tag;
    out->n_definitions = out->definitions ? n : 0;
}

static void keep_references(struct collecting *r)
{
    struct tags *out = r->out;
    struct occurrence *o = r->occurrences.items;
    size_t n = 0;
    for (size_t i = 0; i < r->occurrences.n; i++)
        if (r->definitions.n == 0 || !bsearch(&o[i].at, r->definitions.items, r->definitions.n,
                                              sizeof(struct found_definition), compare_place))
            o[n++] = o[i];
    r->occurrences.n = n;
    sort(&r->occurrences, sizeof *o, compare_occurrences);
    out->references = arena_take(&out->memory, n, sizeof *out->references);
    if (n && !out->references) r->failed = true;
    for (size_t i = 0; i < n && out->references; i++) {
        size_t n_kept = out->n_references;
        if (n_kept > 0 && text_equal(out->references[n_kept - 1].name, o[i].name))
            out->references[n_kept - 1].count++;
        else
            out->references[out->n_references++] = (struct tag_reference){o[i].name, 1};
    }
}

static void keep_imports(struct collecting *r)
{
    struct tags *out = r->out;
    struct tag_import *found = r->imports.items;
    out->imports = arena_take(&out->memory, r->imports.n, sizeof *out->imports);
    if (r->imports.n && !out->imports) r->failed = true;
    for (size_t i = 0; i < r->imports.n && out->imports; i++) out->imports[i] = found[i];
    out->n_imports = out->imports ? r->imports.n : 0;
}

static status collect(tagger *t, struct collecting *r, const TSTree *tree, error *err)
{
    if (tree) {
        run_query(t, r, tree);
        keep_definitions(r);
        keep_references(r);
        keep_imports(r);
    }
    buffer_free(&r->plain);
    memory_free(r->definitions.items);
    memory_free(r->occurrences.items);
    memory_free(r->imports.items);
    if (r->failed)
        return fail(err, ERR_MEMORY, "no memory for the tags of %zu bytes", r->content.size);
    if (!tree || r->late)
        return fail(err, ERR_LIMIT, "%zu bytes of %s took longer than %d ms", r->content.size,
                    r->language->name, TAGS_MAX_US / 1000);
    return OK;
}

static status tags_begin(struct collecting *r, struct tags *out, const struct language *language,
                         text content, bool outline, error *err)
{
    size_t which = query_index(language);
    *out = (struct tags){0};
    *r = (struct collecting){0};
    if (which == N_QUERIES)
        return fail(err, ERR_UNSUPPORTED, "no tag query for %s", language ? language->name : "it");
    if (content.size > INDEX_FILE_MAX)
        return fail(err, ERR_LIMIT, "%zu bytes, indexed are at most %zu", content.size,
                    INDEX_FILE_MAX);
    *r = (struct collecting){.content = content,
                             .source = content,
                             .language = language,
                             .out = out,
                             .outline = outline,
                             .deadline_us = clock_thread_us() + TAGS_MAX_US};
    if (tags_source(&r->plain, language, content)) r->source = buffer_text(&r->plain);
    return query_get(&r->query, which, outline, language, err);
}

status tags_read(struct tags *out, tagger *t, const struct language *language, text content,
                 error *err)
{
    struct collecting r;
    status code = tags_begin(&r, out, language, content, false, err);
    if (code != OK) {
        buffer_free(&r.plain);
        return code;
    }
    TSTree *tree = parse(t, &r);
    code = collect(t, &r, tree, err);
    if (tree) ts_tree_delete(tree);
    return code;
}

status tags_read_outline(struct tags *out, tagger *t, const struct language *language, text content,
                         const syntax *known, size_t from, size_t to, error *err)
{
    struct collecting r;
    bool parsed = known && known->language == language;
    status code =
        tags_begin(&r, out, language, parsed ? content : text_slice(content, from, to), true, err);
    if (code != OK) {
        buffer_free(&r.plain);
        return code;
    }
    if (parsed && r.plain.size) { /* the parse is of what the grammar does not understand */
        buffer_free(&r.plain);
        return tags_read_outline(out, t, language, content, NULL, from, to, err);
    }
    if (to > content.size) to = content.size;
    TSTree *tree = parsed ? NULL : parse(t, &r);
    if (parsed) ts_query_cursor_set_byte_range(t->cursor, (uint32_t)from, (uint32_t)to);
    code = collect(t, &r, parsed ? known->tree : tree, err);
    ts_query_cursor_set_byte_range(t->cursor, 0, UINT32_MAX);
    if (tree) ts_tree_delete(tree);
    return code;
}

void tagger_prepare(const struct language *language)
{
    const TSQuery *query;
    size_t which = query_index(language);
    if (which < N_QUERIES) query_get(&query, which, true, language, NULL);
}

static bool is_word_byte(char c)
{
    unsigned char b = (unsigned char)c;
    return b == '_' || b >= 0x80 || (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z');
}

/* Keys, hashes and encoded data are long, mixed with digits, and not joined from words. */
static bool word_good(text word)
{
    size_t n_digits = 0;
    for (size_t i = 0; i < word.size; i++) {
        if (word.bytes[i] == '_') return name_good(word);
        n_digits += word.bytes[i] >= '0' && word.bytes[i] <= '9';
    }
    bool number = word.size && word.bytes[0] >= '0' && word.bytes[0] <= '9';
    return word.size > 1 && !number && !(word.size >= 16 && n_digits > 0) && name_good(word);
}

status tags_read_words(struct tags *out, text content, error *err)
{
    *out = (struct tags){0};
    struct collecting r = {.content = content, .out = out};
    if (content.size > INDEX_FILE_MAX)
        return fail(err, ERR_LIMIT, "%zu bytes, indexed are at most %zu", content.size,
                    INDEX_FILE_MAX);
    for (size_t from = 0, to; from < content.size; from = to + 1) {
        for (to = from; to < content.size && is_word_byte(content.bytes[to]); to++) {}
        text word = text_slice(content, from, to);
        struct occurrence *o = word_good(word) ? list_add(&r, &r.occurrences, sizeof *o) : NULL;
        if (o) *o = (struct occurrence){word, (uint32_t)from};
    }
    keep_references(&r);
    memory_free(r.occurrences.items);
    return r.failed ? fail(err, ERR_MEMORY, "no memory for the words of %zu bytes", content.size)
                    : OK;
}

void tags_free(struct tags *tags)
{
    arena_reset(&tags->memory);
    *tags = (struct tags){0};
}
