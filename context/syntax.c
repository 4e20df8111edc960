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

struct reading {
    text content;
    int64_t deadline_us;
};

static const char *read_text(void *payload, uint32_t at, TSPoint point, uint32_t *n)
{
    const struct reading *r = payload;
    (void)point;
    *n = at < r->content.size ? (uint32_t)r->content.size - at : 0;
    return *n ? r->content.bytes + at : "";
}

static bool time_is_up(TSParseState *state)
{
    const struct reading *r = state->payload;
    return clock_us() > r->deadline_us;
}

/* Parses s->content; `known` is the tree of the text before, edited, or NULL. */
static status parse(syntax *s, TSParser *parser, const TSTree *known, error *err)
{
    struct reading reading = {{s->content, s->size}, clock_us() + PARSE_MAX_US};
    TSInput input = {.payload = &reading, .read = read_text, .encoding = TSInputEncodingUTF8};
    TSParseOptions options = {.payload = &reading, .progress_callback = time_is_up};
    if (!ts_parser_set_language(parser, s->language->grammar()))
        return fail(err, ERR_UNSUPPORTED, "syntax: the grammar of %s has another ABI",
                    s->language->name);
    s->tree = ts_parser_parse_with_options(parser, known, input, options);
    if (!s->tree)
        return fail(err, ERR_LIMIT, "syntax: %zu bytes of %s took longer than %d ms to parse",
                    s->size, s->language->name, PARSE_MAX_US / 1000);
    return OK;
}

/* Takes `content`, which is NULL when there was no memory for it. */
static status make(syntax **out, const struct language *language, char *content, size_t size,
                   const TSTree *known, error *err)
{
    syntax *s = memory_take(1, sizeof *s);
    TSParser *parser = ts_parser_new();
    if (s) *s = (syntax){.language = language, .content = content, .size = size};
    status code = s && content && parser ? parse(s, parser, known, err)
                                         : fail(err, ERR_MEMORY, "syntax: no memory for a parser");
    if (!s) memory_free(content);
    ts_parser_delete(parser);
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

/* Row and column (in bytes) behind `t`, which begins at `at`. */
static TSPoint point_behind(TSPoint at, text t)
{
    for (size_t i = 0; i < t.size; i++) {
        at.column++;
        if (t.bytes[i] == '\n') at = (TSPoint){at.row + 1, 0};
    }
    return at;
}

status syntax_edit(syntax **out, const syntax *old, size_t from, size_t to, text with, error *err)
{
    *out = NULL;
    if (!old) return OK;
    text before = {old->content, old->size};
    if (to > before.size) to = before.size;
    if (from > to) from = to;
    size_t size = before.size - (to - from) + with.size;
    if (with.size > DOCUMENT_PARSE_MAX || size > DOCUMENT_PARSE_MAX)
        return fail(err, ERR_LIMIT, "syntax: the text has %zu bytes, parsed are at most %zu", size,
                    DOCUMENT_PARSE_MAX);
    TSPoint start = point_behind((TSPoint){0, 0}, text_slice(before, 0, from));
    TSInputEdit edit = {.start_byte = (uint32_t)from,
                        .old_end_byte = (uint32_t)to,
                        .new_end_byte = (uint32_t)(from + with.size),
                        .start_point = start,
                        .old_end_point = point_behind(start, text_slice(before, from, to)),
                        .new_end_point = point_behind(start, with)};
    char *content = memory_take(size + 1, 1);
    TSTree *known = ts_tree_copy(old->tree);
    if (content && from) memcpy(content, before.bytes, from);
    if (content && with.size) memcpy(content + from, with.bytes, with.size);
    if (content && to < before.size)
        memcpy(content + from + with.size, before.bytes + to, before.size - to);
    ts_tree_edit(known, &edit);
    status code = make(out, old->language, content, size, known, err);
    ts_tree_delete(known);
    return code;
}

void syntax_free(syntax *s)
{
    if (!s) return;
    if (s->tree) ts_tree_delete(s->tree);
    memory_free(s->content);
    memory_free(s);
}

bool syntax_step_over(TSTreeCursor *c)
{
    while (!ts_tree_cursor_goto_next_sibling(c))
        if (!ts_tree_cursor_goto_parent(c)) return false;
    return true;
}

size_t syntax_error_count(const syntax *s, size_t from, size_t to)
{
    if (!s) return 0;
    size_t n = 0;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
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
    text all = text_slice((text){s->content, s->size}, from, to);
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
