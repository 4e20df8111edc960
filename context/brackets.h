/* Brackets outside strings and comments, found without a grammar.
 *
 * A light lexer over the language table: it knows quotes, characters, line and block comments, and
 * goes line by line. A quote that does not close on its line is taken as a plain character, so an
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
};

/* Looks at most TRIM_SCAN_MAX bytes to either side of `at`. */
void bracket_balance_make(struct bracket_balance *out, const struct language *language,
                          text content, size_t at);

#endif
