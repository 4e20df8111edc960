/* Items: what a selection means as whole pieces of a program, and a program without its comments.
 *
 * Asked of one parse (syntax.h); every function takes NULL for a text without a grammar and then says
 * false. Not thread-safe, as the parse is not. */
#ifndef CONTEXT_SYNTAX_ITEM_H
#define CONTEXT_SYNTAX_ITEM_H

#include "context/syntax.h"

/* A definition with what belongs to it: decorators, `export`, `template`, and the comments and
 * attributes that stand right above. */
struct syntax_item {
    size_t from, to;
    text name;        /* "" where it has none; lives as long as the parse */
    bool is_function; /* else a type, a module, a namespace */
};

/* The innermost definition that contains [from, to]. */
bool syntax_definition(const syntax *s, size_t from, size_t to, struct syntax_item *out);

/* The outermost function that contains it: what an extracted function may stand beside. */
bool syntax_outer_function(const syntax *s, size_t from, size_t to, struct syntax_item *out);

/* The smallest run of whole statements (members, entries) of one block that covers [*from, *to]. */
bool syntax_cover(const syntax *s, size_t *from, size_t *to);

/* The run of comments that touches [*from, *to], line by line without a gap. */
bool syntax_comments(const syntax *s, size_t *from, size_t *to);

/* Appends [from, to) without comments and documentation strings, and without blank lines and white
 * space at the ends of lines: equal for two texts that differ in documentation alone. */
void syntax_code_put(const syntax *s, size_t from, size_t to, buffer *out);

/* Begins of errors and missing tokens inside [from, to), in order; returns how many of n_max. */
size_t syntax_faults(const syntax *s, size_t from, size_t to, size_t *at, size_t n_max);

/* Names that [from, to) itself declares or assigns, each once, and that stand for nothing else there: no
 * member, no argument's name, nothing global; none where variables are found by their spelling.
 * with_parameters: those of its functions too, which in some languages callers may name. Returns how
 * many of n_max; views of the parse. */
size_t syntax_bound_names(const syntax *s, size_t from, size_t to, bool with_parameters,
                          text *names, size_t n_max);

#endif
