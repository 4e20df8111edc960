/* Which names a function binds itself. A leaf is a binding by the fields that lead to it: the way up
 * is kept on a stack while the tree is walked, for asking a node for its parent starts at the root.
 * A word that also stands where somebody else gave the name (a member, an argument's name, a global)
 * is no name of the function's own: words are renamed everywhere or not at all. */
#include <assert.h>
#include <ctype.h>
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
    bool by_spelling; /* something in the range finds variables by their names at run time */
};

struct name_list {
    text names[NAMES_MAX];
    size_t n;
    bool full;
};

enum binding { NAME_USED, NAME_BOUND, NAME_OF_OTHERS };

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
        "pointer_declarator", "identifier_list", "left_assignment_list", "mut_pattern",
        "variable_name",      "literal_element"};
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

/* Members, names of arguments, and what is declared to be somebody else's. */
static bool is_of_others(const char *type, const char *field)
{
    static const char *const fields[] = {"attribute", "field", "method", "key"};
    static const char *const named[] = {"keyword_argument", "argument", "method_invocation",
                                        "member_access_expression",
                                        "scoped_property_access_expression"};
    static const char *const types[] = {"global_statement", "nonlocal_statement",
                                        "global_declaration", "property_element",
                                        "shorthand_field_initializer"};
    if (is_one_of(field, fields, COUNT(fields)) || is_one_of(type, types, COUNT(types)))
        return true;
    return strcmp(field, "name") == 0 && is_one_of(type, named, COUNT(named));
}

/* Of the leaf on top of the stack; a variable that says so by itself ($x) belongs to its function. */
static enum binding leaf_binding(const struct walk *w, bool is_variable)
{
    for (size_t i = w->depth; i-- > 1;) {
        const struct level *at = &w->levels[i], *above = &w->levels[i - 1];
        assert(at->field && above->type); /* every level below depth was entered */
        if (is_group(above->type)) continue;
        if (is_of_others(above->type, at->field)) return NAME_OF_OTHERS;
        if (is_parameter(above->type)) {
            if (strcmp(at->field, "type") == 0 || strcmp(at->field, "value") == 0) return NAME_USED;
            return w->with_parameters ? NAME_BOUND : NAME_OF_OTHERS;
        }
        if (strcmp(above->type, "array_declarator") == 0 && strcmp(at->field, "declarator") == 0)
            continue;
        if (is_variable || (binds_by_field(above->type) && is_binding_field(at->field)))
            return NAME_BOUND;
        return NAME_USED;
    }
    return NAME_USED;
}

/* $this, $GLOBALS, $_GET and their like are the language's. */
static bool is_given_by_php(text name)
{
    if (text_equal(name, TEXT("this")) || text_equal(name, TEXT("GLOBALS"))) return true;
    return name.size > 1 && name.bytes[0] == '_' && isupper((unsigned char)name.bytes[1]);
}

static enum binding word_binding(const struct walk *w, const char *type, text word)
{
    static const char *const ends[] = {"identifier"};
    const char *above = w->depth > 1 ? w->levels[w->depth - 2].type : "";
    assert(above); /* every level below depth was entered */
    if (strcmp(type, "identifier") == 0) return leaf_binding(w, false);
    bool is_name = strcmp(type, "name") == 0;
    if (is_name && strcmp(above, "variable_name") == 0)
        return is_given_by_php(word) ? NAME_OF_OTHERS : leaf_binding(w, true);
    return is_name || syntax_type_ends(type, ends, COUNT(ends)) ? NAME_OF_OTHERS : NAME_USED;
}

/* Whoever calls these, or includes a file into its function, has names that matter as text. */
static bool is_by_spelling(const char *type, text word)
{
    static const char *const types[] = {"dynamic_variable_name", "include_expression",
                                        "include_once_expression", "require_expression",
                                        "require_once_expression"};
    static const char *const calls[] = {"compact", "extract", "get_defined_vars",
                                        "eval",    "exec",    "locals"};
    if (is_one_of(type, types, COUNT(types))) return true;
    if (strcmp(type, "name") != 0 && strcmp(type, "identifier") != 0) return false;
    for (size_t i = 0; i < COUNT(calls); i++)
        if (text_equal(word, text_of(calls[i]))) return true;
    return false;
}

static bool list_has(const struct name_list *list, text name)
{
    for (size_t i = 0; i < list->n; i++)
        if (text_equal(list->names[i], name)) return true;
    return false;
}

static void name_add(struct name_list *list, text name)
{
    if (list_has(list, name)) return;
    if (list->n < NAMES_MAX)
        list->names[list->n++] = name;
    else
        list->full = true;
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

static void node_read(struct walk *w, TSNode node, text all, struct name_list *own,
                      struct name_list *others)
{
    const char *type = ts_node_type(node);
    text word = text_slice(all, ts_node_start_byte(node), ts_node_end_byte(node));
    if (is_by_spelling(type, word)) w->by_spelling = true;
    switch (word_binding(w, type, word)) {
    case NAME_BOUND: name_add(own, word); break;
    case NAME_OF_OTHERS: name_add(others, word); break;
    case NAME_USED: break;
    }
}

size_t syntax_bound_names(const syntax *s, size_t from, size_t to, bool with_parameters,
                          text *names, size_t n_max)
{
    struct walk w = {.depth = 1, .with_parameters = with_parameters};
    struct name_list own = {.n = 0}, others = {.n = 0};
    size_t n = 0;
    if (!s) return 0;
    text all = s->content;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    for (bool more = true; more;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
        if (begin >= to) break;
        const char *field = ts_tree_cursor_current_field_name(&c);
        w.levels[w.depth - 1] = (struct level){ts_node_type(node), field ? field : ""};
        if (begin >= from && end <= to) node_read(&w, node, all, &own, &others);
        more = walk_on(&w, &c, end > from);
    }
    ts_tree_cursor_delete(&c);
    if (w.by_spelling || others.full) return 0;
    for (size_t i = 0; i < own.n && n < n_max; i++)
        if (!list_has(&others, own.names[i])) names[n++] = own.names[i];
    return n;
}
