/* One descent from the root to the byte answers every question: what matches on the way is kept, so
 * the cost is the depth of the tree once, however deep a hostile text nests. (Asking a node for its
 * parent starts at the root each time.) Node kinds are told by the names the grammars share. */
#include "context/syntax.h"

#include <string.h>
#include <tree_sitter/api.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/syntax_private.h"

static const char *read_text(void *payload, uint32_t at, TSPoint point, uint32_t *n)
{
    const struct reading *r = payload;
    size_t from = at;
    (void)point;
    for (size_t i = 0; i < COUNT(r->pieces); i++) {
        if (from < r->pieces[i].size) {
            *n = (uint32_t)(r->pieces[i].size - from);
            return r->pieces[i].bytes + from;
        }
        from -= r->pieces[i].size;
    }
    *n = 0;
    return "";
}

static bool time_is_up(TSParseState *state)
{
    const struct reading *r = state->payload;
    return clock_thread_us() > r->deadline_us;
}

TSTree *syntax_read(TSParser *parser, const TSTree *known, struct reading *r)
{
    TSInput input = {.payload = r, .read = read_text, .encoding = TSInputEncodingUTF8};
    TSParseOptions options = {.payload = r, .progress_callback = time_is_up};
    return ts_parser_parse_with_options(parser, known, input, options);
}

TSPoint syntax_point_behind(TSPoint at, text t)
{
    const char *end = t.bytes + t.size;
    for (const char *p = t.bytes; p < end;) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        at.column += (uint32_t)((line_end ? line_end + 1 : end) - p);
        p = line_end ? line_end + 1 : end;
        if (line_end) at = (TSPoint){at.row + 1, 0};
    }
    return at;
}

TSInputEdit syntax_input_edit(text before, size_t from, size_t to, text with, TSPoint start)
{
    return (TSInputEdit){.start_byte = (uint32_t)from,
                         .old_end_byte = (uint32_t)to,
                         .new_end_byte = (uint32_t)(from + with.size),
                         .start_point = start,
                         .old_end_point = syntax_point_behind(start, text_slice(before, from, to)),
                         .new_end_point = syntax_point_behind(start, with)};
}

static status read_whole(TSTree **out, const struct language *l, const TSTree *known,
                         struct reading *r, error *err)
{
    TSParser *parser = ts_parser_new();
    status code = OK;
    size_t size = r->pieces[0].size + r->pieces[1].size + r->pieces[2].size;
    *out = NULL;
    r->deadline_us = clock_thread_us() + PARSE_MAX_US;
    if (!parser)
        code = fail(err, ERR_MEMORY, "syntax: no memory for a parser");
    else if (!ts_parser_set_language(parser, l->grammar()))
        code = fail(err, ERR_UNSUPPORTED, "syntax: the grammar of %s has another ABI", l->name);
    else if (!(*out = syntax_read(parser, known, r)))
        code = fail(err, ERR_LIMIT, "syntax: %zu bytes of %s took longer than %d ms to parse", size,
                    l->name, PARSE_MAX_US / 1000);
    ts_parser_delete(parser);
    return code;
}

/* Takes `content`, which is NULL when there was no memory for it. */
static status make(syntax **out, const struct language *language, char *content, size_t size,
                   const TSTree *known, error *err)
{
    syntax *s = memory_take(1, sizeof *s);
    struct reading reading = {.pieces = {{content, size}}};
    if (!s || !content) {
        memory_free(content);
        memory_free(s);
        return fail(err, ERR_MEMORY, "syntax: no memory for a parse");
    }
    *s = (syntax){.language = language, .content = {content, size}, .owned = content};
    status code = read_whole(&s->tree, language, known, &reading, err);
    if (code == OK)
        *out = s;
    else
        syntax_free(s);
    return code;
}

status syntax_parse(syntax **out, const struct language *language, text content, error *err)
{
    *out = NULL;
    if (!language || !language->grammar) return OK;
    if (content.size > DOCUMENT_PARSE_MAX)
        return fail(err, ERR_LIMIT, "syntax: the text has %zu bytes, parsed are at most %zu",
                    content.size, DOCUMENT_PARSE_MAX);
    return make(out, language, memory_copy(content.bytes, content.size), content.size, NULL, err);
}

syntax *syntax_share(const syntax *s, text content)
{
    syntax *other = s ? memory_take(1, sizeof *other) : NULL;
    if (!other) return NULL;
    *other = (syntax){.language = s->language, .tree = ts_tree_copy(s->tree), .content = content};
    return other;
}

/* The tree of `old` as if its bytes [from, to) were `with`, not parsed yet. */
static TSTree *edited_tree(const syntax *old, size_t from, size_t to, text with)
{
    TSTree *known = ts_tree_copy(old->tree);
    TSPoint start = syntax_point_behind((TSPoint){0, 0}, text_slice(old->content, 0, from));
    TSInputEdit edit = syntax_input_edit(old->content, from, to, with, start);
    ts_tree_edit(known, &edit);
    return known;
}

status syntax_edit(syntax **out, const syntax *old, size_t from, size_t to, text with, error *err)
{
    *out = NULL;
    if (!old) return OK;
    text before = old->content;
    if (to > before.size) to = before.size;
    if (from > to) from = to;
    size_t size = before.size - (to - from) + with.size;
    if (with.size > DOCUMENT_PARSE_MAX || size > DOCUMENT_PARSE_MAX)
        return fail(err, ERR_LIMIT, "syntax: the text has %zu bytes, parsed are at most %zu", size,
                    DOCUMENT_PARSE_MAX);
    char *content = memory_take(size + 1, 1);
    if (content && from) memcpy(content, before.bytes, from);
    if (content && with.size) memcpy(content + from, with.bytes, with.size);
    if (content && to < before.size)
        memcpy(content + from + with.size, before.bytes + to, before.size - to);
    TSTree *known = edited_tree(old, from, to, with);
    status code = make(out, old->language, content, size, known, err);
    ts_tree_delete(known);
    return code;
}

void syntax_free(syntax *s)
{
    if (!s) return;
    if (s->tree) ts_tree_delete(s->tree);
    memory_free(s->owned);
    memory_free(s);
}

bool syntax_step_over(TSTreeCursor *c)
{
    while (!ts_tree_cursor_goto_next_sibling(c))
        if (!ts_tree_cursor_goto_parent(c)) return false;
    return true;
}

static size_t errors_of(const TSTree *tree, size_t from, size_t to)
{
    size_t n = 0;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(tree));
    for (bool more = true; more;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
        bool missing = ts_node_is_missing(node), inside = begin >= from && begin < to;
        if (inside && (missing || ts_node_is_error(node))) n++;
        bool worth = ts_node_has_error(node) && begin < to && (end > from || missing);
        more = (worth && ts_tree_cursor_goto_first_child(&c)) || syntax_step_over(&c);
    }
    ts_tree_cursor_delete(&c);
    return n;
}

size_t syntax_error_count(const syntax *s, size_t from, size_t to)
{
    return s ? errors_of(s->tree, from, to) : 0;
}

size_t syntax_errors_with(const syntax *s, size_t from, size_t to, text with)
{
    text all = s->content;
    struct reading reading = {
        .pieces = {text_slice(all, 0, from), with, text_slice(all, to, all.size)}};
    TSTree *known = edited_tree(s, from, to, with), *tree = NULL;
    size_t n = SIZE_MAX;
    if (read_whole(&tree, s->language, known, &reading, NULL) == OK)
        n = errors_of(tree, 0, SIZE_MAX);
    if (tree) ts_tree_delete(tree);
    ts_tree_delete(known);
    return n;
}

static bool ends_with(const char *type, const char *end)
{
    size_t n = strlen(type), m = strlen(end);
    return n >= m && strcmp(type + n - m, end) == 0;
}

bool syntax_type_ends(const char *type, const char *const *ends, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ends_with(type, ends[i])) return true;
    return false;
}

bool syntax_is_block(TSNode node)
{
    static const char *const ends[] = {"block",
                                       "_body",
                                       "compound_statement",
                                       "declaration_list",
                                       "enumerator_list",
                                       "do_group",
                                       "match_block",
                                       "object",
                                       "dictionary",
                                       "table_constructor",
                                       "initializer_list",
                                       "accessor_list",
                                       "body_statement",
                                       "block_mapping",
                                       "block_sequence"};
    return ts_node_is_named(node) && syntax_type_ends(ts_node_type(node), ends, COUNT(ends));
}

bool syntax_is_comment(TSNode node)
{
    static const char *const ends[] = {"comment"};
    return syntax_type_ends(ts_node_type(node), ends, COUNT(ends));
}

static bool is_string(TSNode node)
{
    static const char *const ends[] = {
        "string",         "string_literal",    "char_literal",    "raw_string",
        "string_content", "character_literal", "rune_literal",    "interpolated_string_expression",
        "quote_scalar",   "block_scalar",      "attribute_value", "string_value",
        "heredoc_body"};
    return syntax_type_ends(ts_node_type(node), ends, COUNT(ends));
}

/* Code inside a string: f"{x}", `${x}`, "$(x)". */
static bool is_interpolation(TSNode node)
{
    static const char *const ends[] = {"interpolation", "substitution", "expansion"};
    return ts_node_is_named(node) && syntax_type_ends(ts_node_type(node), ends, COUNT(ends));
}

/* What one descent to a byte saw; the innermost of each kind. */
struct descent {
    bool in_comment, in_string, has_block, has_statement;
    size_t block_from, block_to, statement_end;
};

/* A line comment still holds what is typed at its end; a block comment does not. */
static bool open_ended(const syntax *s, size_t from, size_t to)
{
    text all = text_slice(s->content, from, to);
    return !text_ends(all, TEXT("*/")) && !text_ends(all, TEXT("]]")) &&
           !text_ends(all, TEXT("-->")) && !text_ends(all, TEXT("\n"));
}

static void descent_see(struct descent *d, const syntax *s, TSNode node, bool parent_holds,
                        size_t at)
{
    size_t from = ts_node_start_byte(node), to = ts_node_end_byte(node);
    bool within = from < at && at < to;
    TSPoint first = ts_node_start_point(node), last = ts_node_end_point(node);
    if (syntax_is_block(node) && first.row < last.row) {
        d->has_block = true;
        d->block_from = from;
        d->block_to = to;
    }
    bool statement = parent_holds || ends_with(ts_node_type(node), "_statement");
    if (ts_node_is_named(node) && statement && !syntax_is_block(node) && !syntax_is_comment(node)) {
        d->has_statement = true;
        d->statement_end = to;
    }
    if (syntax_is_comment(node)) d->in_comment = from < at && (at < to || open_ended(s, from, to));
    if (is_string(node) && within) d->in_string = true;
    if (is_interpolation(node) && within) d->in_string = false;
}

/* The child that contains `at`, else the one that ends there. */
static bool enter_child(TSTreeCursor *c, size_t at)
{
    bool before = ts_tree_cursor_goto_first_child_for_byte(c, (uint32_t)at) < 0
                      ? ts_tree_cursor_goto_last_child(c)
                      : ts_node_start_byte(ts_tree_cursor_current_node(c)) <= at ||
                            ts_tree_cursor_goto_previous_sibling(c);
    TSNode node = ts_tree_cursor_current_node(c);
    return before && ts_node_start_byte(node) <= at && ts_node_end_byte(node) >= at;
}

static struct descent descend(const syntax *s, size_t at)
{
    struct descent d = {0};
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    bool parent_holds = true; /* the root holds statements */
    while (enter_child(&c, at)) {
        TSNode node = ts_tree_cursor_current_node(&c);
        descent_see(&d, s, node, parent_holds, at);
        parent_holds = syntax_is_block(node);
    }
    ts_tree_cursor_delete(&c);
    return d;
}

bool syntax_enclosing_block(const syntax *s, size_t at, size_t *from, size_t *to)
{
    if (!s) return false;
    struct descent d = descend(s, at);
    *from = d.block_from;
    *to = d.block_to;
    return d.has_block;
}

bool syntax_statement_end(const syntax *s, size_t at, size_t *end)
{
    if (!s) return false;
    struct descent d = descend(s, at);
    *end = d.statement_end;
    return d.has_statement;
}

bool syntax_in_comment(const syntax *s, size_t at) { return s && descend(s, at).in_comment; }

bool syntax_in_string(const syntax *s, size_t at) { return s && descend(s, at).in_string; }
