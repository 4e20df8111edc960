/* Which names a function binds itself. A leaf is a binding by the fields that lead to it: the way up
 * is kept on a stack while the tree is walked, for asking a node for its parent starts at the root. */
#include <assert.h>
#include <string.h>

#include "context/syntax_item.h"
#include "context/syntax_private.h"

enum { DEPTH_MAX = 256, NAMES_MAX = 256 };

struct level {
    const char *type, *field; /* field "" where it has none */
};

struct walk {
    struct level levels[DEPTH_MAX];
    size_t depth;
    bool with_parameters;
};

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, list[i]) == 0) return true;
    return false;
}

static bool binds_by_field(const char *type)
{
    static const char *const types[] = {
        "init_declarator",        "declaration",        "variable_declarator", "let_declaration",
        "short_var_declaration",  "var_spec",           "const_spec",          "assignment",
        "for_in_clause",          "for_statement",      "range_clause",        "for_in_statement",
        "enhanced_for_statement", "for_each_statement", "foreach_statement",   "for_range_loop",
        "for_expression",         "for_generic_clause", "for_numeric_clause",  "catch_clause",
        "let_condition",          "named_expression",   "variable_declaration"};
    return is_one_of(type, types, COUNT(types));
}

/* What groups names and is no place of its own. */
static bool is_group(const char *type)
{
    static const char *const types[] = {
        "expression_list",    "pattern_list",    "tuple_pattern",        "variable_list",
        "pointer_declarator", "identifier_list", "left_assignment_list", "mut_pattern"};
    return is_one_of(type, types, COUNT(types));
}

static bool is_binding_field(const char *field)
{
    static const char *const fields[] = {"declarator", "name", "pattern", "left", "alias"};
    return is_one_of(field, fields, COUNT(fields));
}

static bool is_parameter(const char *type)
{
    static const char *const ends[] = {"parameter", "parameter_declaration", "parameters"};
    return syntax_type_ends(type, ends, COUNT(ends)) && !strstr(type, "type_param");
}

/* Of the leaf on top of the stack. */
static bool is_binding(const struct walk *w)
{
    for (size_t i = w->depth; i-- > 1;) {
        const struct level *at = &w->levels[i], *above = &w->levels[i - 1];
        assert(at->field && above->type); /* every level below depth was entered */
        if (is_group(above->type)) continue;
        if (is_parameter(above->type))
            return w->with_parameters && strcmp(at->field, "type") != 0 &&
                   strcmp(at->field, "value") != 0;
        if (strcmp(above->type, "array_declarator") == 0 && strcmp(at->field, "declarator") == 0)
            continue;
        return binds_by_field(above->type) && is_binding_field(at->field);
    }
    return false;
}

static void name_add(text *names, size_t *n, text name)
{
    for (size_t i = 0; i < *n; i++)
        if (text_equal(names[i], name)) return;
    if (*n < NAMES_MAX) names[(*n)++] = name;
}

/* Down, on, or up and on; false at the end. */
static bool walk_on(struct walk *w, TSTreeCursor *c, bool down)
{
    if (down && w->depth < DEPTH_MAX && ts_tree_cursor_goto_first_child(c)) {
        w->depth++;
        return true;
    }
    while (!ts_tree_cursor_goto_next_sibling(c)) {
        if (!ts_tree_cursor_goto_parent(c)) return false;
        w->depth--;
    }
    return true;
}

size_t syntax_bound_names(const syntax *s, size_t from, size_t to, bool with_parameters,
                          text *names, size_t n_max)
{
    struct walk w = {.depth = 1, .with_parameters = with_parameters};
    text found[NAMES_MAX], all;
    size_t n = 0;
    if (!s) return 0;
    all = (text){s->content, s->size};
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    for (bool more = true; more;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
        const char *field = ts_tree_cursor_current_field_name(&c), *type = ts_node_type(node);
        w.levels[w.depth - 1] = (struct level){type, field ? field : ""};
        bool leaf = strcmp(type, "identifier") == 0 && begin >= from && end <= to;
        if (leaf && is_binding(&w)) name_add(found, &n, text_slice(all, begin, end));
        if (begin >= to) break;
        more = walk_on(&w, &c, end > from);
    }
    ts_tree_cursor_delete(&c);
    if (n > n_max) n = n_max;
    memcpy(names, found, n * sizeof *names);
    return n;
}
