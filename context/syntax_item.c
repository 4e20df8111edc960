/* One descent from the root, as in syntax.c. Kinds of definitions are told by the ends of the names
 * that grammars give them; a definition inside a wrapper (decorators, `export`) is the wrapper. */
#include "context/syntax_item.h"

#include <string.h>

#include "context/syntax_private.h"

static bool is_function(TSNode node)
{
    static const char *const ends[] = {
        "function_definition",    "function_declaration",     "function_item",
        "method_definition",      "method_declaration",       "constructor_declaration",
        "destructor_declaration", "local_function_statement", "generator_function_declaration"};
    const char *type = ts_node_type(node);
    if (!ts_node_is_named(node)) return false;
    if (strcmp(type, "method") == 0 || strcmp(type, "singleton_method") == 0) return true;
    return syntax_type_ends(type, ends, COUNT(ends));
}

static bool has_body(TSNode node)
{
    return !ts_node_is_null(ts_node_child_by_field_name(node, "body", 4));
}

static bool is_container(TSNode node)
{
    static const char *const ends[] = {"class_definition",
                                       "class_declaration",
                                       "class_specifier",
                                       "struct_specifier",
                                       "union_specifier",
                                       "enum_specifier",
                                       "struct_item",
                                       "enum_item",
                                       "trait_item",
                                       "impl_item",
                                       "mod_item",
                                       "interface_declaration",
                                       "enum_declaration",
                                       "struct_declaration",
                                       "record_declaration",
                                       "trait_declaration",
                                       "namespace_definition",
                                       "namespace_declaration",
                                       "type_declaration",
                                       "internal_module"};
    const char *type = ts_node_type(node);
    if (!ts_node_is_named(node)) return false;
    /* `struct node *n` names a type and defines none. */
    if (strcmp(type, "class") == 0 || strcmp(type, "module") == 0) return has_body(node);
    if (!syntax_type_ends(type, ends, COUNT(ends))) return false;
    return !strstr(type, "_specifier") || has_body(node);
}

/* What holds a definition and nothing else. */
static bool is_wrapper(TSNode node)
{
    static const char *const ends[] = {"decorated_definition", "export_statement",
                                       "template_declaration", "ambient_declaration"};
    return ts_node_is_named(node) && syntax_type_ends(ts_node_type(node), ends, COUNT(ends));
}

static text node_text(const syntax *s, TSNode node)
{
    return text_slice(s->content, ts_node_start_byte(node), ts_node_end_byte(node));
}

static TSNode field(TSNode node, const char *name)
{
    return ts_node_child_by_field_name(node, name, (uint32_t)strlen(name));
}

/* The field "name", or in C and its kin what stands at the end of the declarators. */
static text name_of(const syntax *s, TSNode node)
{
    enum { NAME_MAX_BYTES = 128, DECLARATORS_MAX = 16 };
    TSNode name = field(node, "name");
    if (ts_node_is_null(name)) {
        TSNode at = field(node, "declarator");
        for (int i = 0; i < DECLARATORS_MAX && !ts_node_is_null(at); i++) {
            name = at;
            at = field(at, "declarator");
        }
    }
    text found = ts_node_is_null(name) ? TEXT("") : node_text(s, name);
    bool fits =
        found.size <= NAME_MAX_BYTES && (!found.size || !memchr(found.bytes, '\n', found.size));
    return fits ? found : TEXT("");
}

static bool is_attribute(TSNode node)
{
    static const char *const ends[] = {"attribute_item", "attribute_list"};
    return syntax_type_ends(ts_node_type(node), ends, COUNT(ends));
}

/* A comment that holds its line's end does not reach into the next. */
static uint32_t last_row(TSNode node)
{
    TSPoint end = ts_node_end_point(node);
    return end.column == 0 && end.row > 0 ? end.row - 1 : end.row;
}

/* Comments and attributes whose last line is the one above. (A step costs as much as there are
 * siblings.) */
static size_t reach_above(TSNode node)
{
    enum { STEPS_MAX = 64 };
    TSNode at = node;
    for (int i = 0; i < STEPS_MAX; i++) {
        TSNode above = ts_node_prev_sibling(at);
        if (ts_node_is_null(above) || (!syntax_is_comment(above) && !is_attribute(above))) break;
        TSNode before = ts_node_prev_sibling(above);
        bool trails =
            !ts_node_is_null(before) && last_row(before) == ts_node_start_point(above).row;
        if (last_row(above) + 1 < ts_node_start_point(at).row || trails) break;
        at = above;
    }
    return ts_node_start_byte(at);
}

/* The child of the cursor's node that contains [from, to]. */
static bool enter_holder(TSTreeCursor *c, size_t from, size_t to)
{
    if (!ts_tree_cursor_goto_first_child(c)) return false;
    do {
        TSNode node = ts_tree_cursor_current_node(c);
        if (ts_node_start_byte(node) <= from && ts_node_end_byte(node) >= to &&
            (ts_node_end_byte(node) > from || from == to))
            return true;
    } while (ts_tree_cursor_goto_next_sibling(c));
    ts_tree_cursor_goto_parent(c);
    return false;
}

static void item_make(struct syntax_item *out, const syntax *s, TSNode node, TSNode whole)
{
    out->from = reach_above(whole);
    out->to = ts_node_end_byte(whole);
    out->name = name_of(s, node);
    out->is_function = is_function(node);
}

/* The first or the last definition on the way down. */
static bool definition_find(const syntax *s, size_t from, size_t to, bool outer_function,
                            struct syntax_item *out)
{
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    TSNode found = {0}, whole = {0}, wrapper = {0};
    while (enter_holder(&c, from, to)) {
        TSNode node = ts_tree_cursor_current_node(&c);
        bool fits = is_function(node) || (!outer_function && is_container(node));
        if (fits) {
            found = node;
            whole = wrapper.id ? wrapper : node;
            if (outer_function) break;
        }
        if (is_wrapper(node))
            wrapper = node;
        else
            wrapper = (TSNode){0};
    }
    if (found.id) item_make(out, s, found, whole);
    ts_tree_cursor_delete(&c);
    return found.id != NULL;
}

bool syntax_definition(const syntax *s, size_t from, size_t to, struct syntax_item *out)
{
    return s && definition_find(s, from, to, false, out);
}

bool syntax_outer_function(const syntax *s, size_t from, size_t to, struct syntax_item *out)
{
    return s && definition_find(s, from, to, true, out);
}

/* Named children of the cursor's node that touch [from, to]. */
static bool children_cover(TSTreeCursor *c, size_t *from, size_t *to)
{
    size_t low = SIZE_MAX, high = 0;
    if (!ts_tree_cursor_goto_first_child(c)) return false;
    do {
        TSNode node = ts_tree_cursor_current_node(c);
        size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
        if (!ts_node_is_named(node) || end < *from || begin > *to) continue;
        if ((end == *from || begin == *to) && *from != *to) continue;
        if (low == SIZE_MAX) low = begin;
        high = end;
    } while (ts_tree_cursor_goto_next_sibling(c));
    ts_tree_cursor_goto_parent(c);
    if (low == SIZE_MAX || low > *from || high < *to) return false;
    *from = low;
    *to = high;
    return true;
}

bool syntax_cover(const syntax *s, size_t *from, size_t *to)
{
    if (!s) return false;
    size_t a = *from, b = *to;
    bool found = false, holds = true; /* the root holds statements */
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    do {
        size_t low = a, high = b;
        holds = holds || syntax_is_block(ts_tree_cursor_current_node(&c));
        if (holds && children_cover(&c, &low, &high)) {
            *from = low;
            *to = high;
            found = true;
        }
        holds = false;
    } while (enter_holder(&c, a, b));
    ts_tree_cursor_delete(&c);
    return found;
}

bool syntax_comments(const syntax *s, size_t *from, size_t *to)
{
    if (!s) return false;
    bool found = false;
    size_t low = 0, high = 0;
    uint32_t row = 0;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    for (bool more = true; more;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        bool comment = syntax_is_comment(node);
        if (comment) {
            size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
            bool follows = high > 0 && ts_node_start_point(node).row <= row + 1;
            if (!follows && found) break;
            if (!follows) low = begin;
            high = end;
            row = last_row(node);
            found = found || (begin <= *to && end >= *from);
        }
        more = (!comment && ts_tree_cursor_goto_first_child(&c)) || syntax_step_over(&c);
    }
    ts_tree_cursor_delete(&c);
    if (!found) return false;
    *from = low;
    *to = high;
    return true;
}

/* A statement that is a string and nothing else: Python's documentation. */
static bool is_documentation(TSNode node)
{
    if (syntax_is_comment(node)) return true;
    if (strcmp(ts_node_type(node), "expression_statement") != 0) return false;
    if (ts_node_child_count(node) != 1) return false;
    return strcmp(ts_node_type(ts_node_child(node, 0)), "string") == 0;
}

static void code_lines_put(buffer *out, text code)
{
    text line;
    while (text_next_line(&code, &line)) {
        while (line.size && strchr(" \t\r\f", line.bytes[line.size - 1])) line.size--;
        if (line.size == 0) continue;
        buffer_put_text(out, line);
        buffer_put_char(out, '\n');
    }
}

void syntax_code_put(const syntax *s, size_t from, size_t to, buffer *out)
{
    buffer code = {0};
    text all = s->content;
    size_t at = from;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    for (bool more = true; more;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
        bool skip = is_documentation(node);
        if (begin >= to) break;
        if (skip && end > at) {
            if (begin > at) buffer_put_text(&code, text_slice(all, at, begin));
            /* What a comment that holds its line's end takes with it is put back. */
            if (end > begin && end <= all.size && all.bytes[end - 1] == '\n')
                buffer_put_char(&code, '\n');
            at = end;
        }
        more = (!skip && end > at && ts_tree_cursor_goto_first_child(&c)) || syntax_step_over(&c);
    }
    ts_tree_cursor_delete(&c);
    if (at < to) buffer_put_text(&code, text_slice(all, at, to));
    code_lines_put(out, buffer_text(&code));
    if (code.failed) out->failed = true;
    buffer_free(&code);
}

size_t syntax_faults(const syntax *s, size_t from, size_t to, size_t *at, size_t n_max)
{
    size_t n = 0;
    if (!s) return 0;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    for (bool more = true; more && n < n_max;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
        bool missing = ts_node_is_missing(node);
        if (begin >= from && begin < to && (missing || ts_node_is_error(node))) at[n++] = begin;
        bool worth = ts_node_has_error(node) && begin < to && (end > from || missing);
        more = (worth && ts_tree_cursor_goto_first_child(&c)) || syntax_step_over(&c);
    }
    ts_tree_cursor_delete(&c);
    return n;
}
