/* Syntax: what tree-sitter says about a text. The only files that see tree-sitter are syntax*.c.
 *
 * A syntax object holds one parse of one text. An unknown language gives NULL from syntax_parse
 * with OK: callers then work on lines and indentation. Parsing is bounded in time and size
 * (base/limits.h). Not thread-safe. */
#ifndef CONTEXT_SYNTAX_H
#define CONTEXT_SYNTAX_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

typedef struct syntax syntax;

/* One row per language: data, not code (context/language.c). */
struct language {
    const char *name;             /* "C", for people */
    const char *fence;            /* "c": the info string of a Markdown fence; never empty */
    const char *extensions[10];   /* without dot, lower case, NULL-terminated */
    const char *file_names[6];    /* whole names such as "Makefile", NULL-terminated */
    const char *language_ids[6];  /* the editors' ids, NULL-terminated */
    const char *interpreters[6];  /* programs a "#!" names, without version, NULL-terminated */
    const char *line_comment;     /* "//", "#", "--" or NULL */
    const char *comment_open;     /* block comment, or NULL */
    const char *comment_close;    /* its end */
    const char *quotes;           /* characters that begin and end a string, "" for prose */
    char char_quote;              /* begins and ends one character, or 0 */
    char block_opener;            /* '{', ':' or 0 when blocks have neither */
    const void *(*grammar)(void); /* tree-sitter language, NULL when none is built in */
};

/* By the editor's id first, then by file name, then by extension; NULL when unknown. Static. */
const struct language *language_find(text language_id, text path);
/* By the program that a first line "#!..." names; NULL when there is none, or it is unknown. */
const struct language *language_find_shebang(text content);
/* What a file is whose name gives `l`: by its first line where that is NULL; a ".h" may be C++. */
const struct language *language_of_content(const struct language *l, text path, text content);
const struct language *language_at(size_t i); /* NULL past the end: for tables and tests */

status syntax_parse(syntax **out, const struct language *language, text content, error *err);
/* The text of `old` with its bytes [from, to) replaced by `with`, parsed again where that changes
 * something: a small change costs a fraction of the first parse. `old` stays as it is; NULL (no
 * grammar) gives NULL. ERR_LIMIT as above. */
status syntax_edit(syntax **out, const syntax *old, size_t from, size_t to, text with, error *err);
/* The same parse beside another copy of its text: `content` has the same bytes and stays the caller's.
 * Nothing is parsed or copied. NULL for NULL, or when there is no memory. Freed by syntax_free. */
syntax *syntax_share(const syntax *s, text content);
void syntax_free(syntax *s); /* NULL is fine */

/* Nodes with errors or missing tokens inside [from, to). */
size_t syntax_error_count(const syntax *s, size_t from, size_t to);
/* All of them, if the bytes [from, to) of the text were `with`; SIZE_MAX when that takes too long. */
size_t syntax_errors_with(const syntax *s, size_t from, size_t to, text with);

/* The smallest named multi-line block that contains byte `at`, as a byte range; false: none. */
bool syntax_enclosing_block(const syntax *s, size_t at, size_t *from, size_t *to);

/* End of the innermost statement or definition that begins at or before `at` and contains it. */
bool syntax_statement_end(const syntax *s, size_t at, size_t *end);

/* True when `at` lies in a comment or a string. */
bool syntax_in_comment(const syntax *s, size_t at);
bool syntax_in_string(const syntax *s, size_t at);

/* Brackets of the text that are brackets to the grammar, in order, before or behind `at`; of those that
 * pair on their own side of it as many as it likes are left out. False: the grammar does not know what
 * stands at `at`, and what was said counts for nothing. */
typedef void syntax_bracket_fn(void *context, char bracket, bool before);
bool syntax_brackets(const syntax *s, size_t at, syntax_bracket_fn *see, void *context);

#endif
