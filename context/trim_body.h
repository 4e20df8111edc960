/* The body of an answer: its lines, taken one by one, until something says that it ends.
 *
 * A line is accepted, or accepted in part, or refused; the first refusal ends the body. What stands
 * around the gap decides: brackets the file has or lacks, lines that stand below, indentation.
 * Internal to trim; not thread-safe. */
#ifndef CONTEXT_TRIM_BODY_H
#define CONTEXT_TRIM_BODY_H

#include "context/brackets.h"
#include "context/document.h"
#include "context/trim_text.h"

enum { BODY_LINES_MAX = 400, BELOW_LINES_MAX = 20 };

/* What stands around the gap; views of the copies trim.c keeps. */
struct trim_place {
    const struct language *language; /* NULL: text */
    text before;                     /* the gap's line up to the gap */
    text rest;                       /* and behind it, without white space around */
    size_t rest_offset;              /* white space between the gap and rest */
    text below[BELOW_LINES_MAX];     /* non-blank lines below the gap */
    size_t n_below;
    struct bracket_balance balance;
    enum indent_style style;
    size_t indent_unit;
    size_t fence_size;
    bool many_lines;
    bool indented; /* the gap stands as deep as the block that the line above it opens */
};

struct body_line {
    size_t end; /* of the accepted text behind this line, with its line end */
    uint64_t hash;
    bool balanced; /* all brackets the answer opened are closed behind this line, and it is whole */
    bool blank;
    bool goes_on; /* the next line is part of it */
};

struct trim_body {
    struct trim_place *place;
    buffer accepted;
    struct body_line lines[BODY_LINES_MAX];
    size_t n_lines, n_visible;
    struct bracket_stack stack; /* opened by the answer */
    struct bracket_scan scan;
    size_t base_indent;    /* of the first visible line */
    bool opened_block;     /* the first visible line left a block open */
    bool in_block_by_line; /* by its last character, where no bracket says so */
    size_t replace_bytes;  /* of place->rest, swallowed by the first line */
    buffer whole_line;     /* the first line as it came, where a bracket of it was refused */
    size_t n_deeper;       /* characters of white space too many in front of each line */
    bool ended;
    const char *reason; /* static; why it ended */
};

/* trim_place.c: what `indented` says, for a gap behind nothing but white space. */
bool trim_gap_is_indented(const struct language *l, text content, size_t cursor_byte,
                          size_t indent_unit);

void trim_body_begin(struct trim_body *b, struct trim_place *place);

/* Takes a line without its line end. False once the body has ended. */
bool trim_body_line(struct trim_body *b, text line);

/* Where `accepted` may be cut, ascending: behind lines that leave no bracket open. The last one is
 * the whole, unless brackets are open that the file does not close: then the body goes back to the
 * last line without, or to its first line. Returns how many, 0 when there is nothing. */
size_t trim_body_ends(const struct trim_body *b, bool finished, size_t ends[BODY_LINES_MAX]);

void trim_body_free(struct trim_body *b);

#endif
