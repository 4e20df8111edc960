/* Brackets that are tokens of the language. A node without a fault that lies on one side of the place
 * pairs its own, so only what spans the place, or is in fault, is entered: a few dozen nodes, however
 * long the text. */
#include <string.h>

#include "context/syntax_private.h"

/* "(", but also "${" and "[[": each bracket of the token. */
static void token_see(TSNode node, size_t at, syntax_bracket_fn *see, void *context)
{
    size_t from = ts_node_start_byte(node), to = ts_node_end_byte(node);
    if (ts_node_is_missing(node) || ts_node_is_named(node) || (from < at && at < to)) return;
    for (const char *c = ts_node_type(node); *c; c++)
        if (strchr("()[]{}", *c)) see(context, *c, to <= at);
}

/* The grammar leaves alone what stands here: words, the body of a macro, another language. */
static bool is_opaque(const syntax *s, TSNode leaf, size_t at)
{
    size_t from = ts_node_start_byte(leaf), to = ts_node_end_byte(leaf);
    if (!ts_node_is_named(leaf) || !(from < at && at <= to)) return false;
    for (size_t i = from; i < to; i++)
        if (s->content.bytes[i] && strchr("()[]{}", s->content.bytes[i])) return true;
    return false;
}

bool syntax_brackets(const syntax *s, size_t at, syntax_bracket_fn *see, void *context)
{
    bool opaque = false;
    TSTreeCursor c = ts_tree_cursor_new(ts_tree_root_node(s->tree));
    for (bool more = true; more;) {
        TSNode node = ts_tree_cursor_current_node(&c);
        bool leaf = ts_node_child_count(node) == 0;
        bool spans = ts_node_start_byte(node) < at && at <= ts_node_end_byte(node);
        if (leaf) {
            token_see(node, at, see, context);
            opaque = opaque || is_opaque(s, node, at);
        }
        more = ((spans || ts_node_has_error(node)) && ts_tree_cursor_goto_first_child(&c)) ||
               syntax_step_over(&c);
    }
    ts_tree_cursor_delete(&c);
    return !opaque || syntax_in_string(s, at) || syntax_in_comment(s, at);
}
