/* Prose of a model as Markdown that can do nothing: no link, image, reference or HTML is left in it,
 * and no character that has no place in text.
 *
 * Works on a stream in any cut. Code between backticks and in fences stays as it is; elsewhere "<"
 * becomes "&lt;" and what could make a link of brackets is pulled apart by a space. When renderers
 * could disagree on whether something is code, it is no code. Source: CommonMark 0.31. */
#ifndef CONTEXT_PROSE_H
#define CONTEXT_PROSE_H

#include "base/text.h"

struct prose {
    buffer raw, clean;    /* bytes that are no whole character yet; characters to look at */
    size_t fence, indent; /* of the open fence: backticks (0: none is open) and spaces before it */
    bool in_line;         /* the line's beginning was judged */
    bool escaped;         /* behind a backslash */
    char last;            /* the last character put out in this line */
};

/* Appends to *out what of all text so far is certain. */
void prose_put(struct prose *p, text piece, buffer *out);
/* Nothing more comes. */
void prose_finish(struct prose *p, buffer *out);
void prose_free(struct prose *p);

#endif
