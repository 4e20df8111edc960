/* Brackets outside strings and comments.
 *
 * In a document by its tree, where there is one. In what a model says, and where there is none, by a
 * light lexer over the language table: it knows quotes, characters, line and block comments, and goes
 * line by line. A quote that does not close on its line is taken as a plain character, so an
 * apostrophe in prose does not swallow a file. Any thread; the state is the caller's. */
#ifndef CONTEXT_BRACKETS_H
#define CONTEXT_BRACKETS_H

#include "context/syntax.h"

enum { BRACKETS_MAX = 256 }; /* nesting followed; deeper ones are not */

/* Open brackets, innermost last, as the characters that close them. */
struct bracket_stack {
    char closers[BRACKETS_MAX];
    size_t n;
};

struct bracket_scan {
    const struct language *language; /* NULL: only brackets are known */
    bool in_comment;                 /* a block comment is open */
    char unclosed[4]; /* quotes that were seen not to close on this line, NUL-terminated */
};

/* Offset of the next bracket of `line` at or after `from`, SIZE_MAX when there is none; *from must
 * be 0 for a new line and is moved on. */
size_t bracket_next(struct bracket_scan *s, text line, size_t *from);

/* ')' for '(' and so on; 0 for what opens nothing. */
char bracket_closer(char opener);

/* What the document's brackets say at a place. */
struct bracket_balance {
    struct bracket_stack open; /* before the place */
    size_t lacking[128];       /* by closing character: how many the file has too few of */
    size_t surplus[128];       /* and how many too many */
    bool in_comment;           /* the place's line begins inside a block comment */
    /* The tree knows the place: no fault on its line before it. */
    bool known, in_words, in_string; /* and says that it lies in a comment or string */
};

/* By `tree`, the parse of `content`; without one (NULL) it looks at most TRIM_SCAN_MAX bytes to either
 * side of `at`. */
void bracket_balance_make(struct bracket_balance *out, const struct language *language,
                          text content, size_t at, const syntax *tree);

/* The place lies in a comment, a string or a text; `before` is its line up to it. */
bool bracket_place_in_words(const struct bracket_balance *b, const struct language *language,
                            text before);

#endif
