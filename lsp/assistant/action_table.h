/* The actions an editor is offered: data, one row each. Any thread. */
#ifndef LSP_ASSISTANT_ACTION_TABLE_H
#define LSP_ASSISTANT_ACTION_TABLE_H

#include "context/syntax.h"
#include "context/task.h"

/* Which piece of the document an action is about. */
enum action_piece {
    PIECE_LINES,      /* the selected lines; without a selection the definition around the cursor */
    PIECE_STATEMENTS, /* whole statements that cover the selection; else as above */
    PIECE_DEFINITION, /* the innermost definition around the selection */
    PIECE_FUNCTION,   /* the outermost function around it */
    PIECE_COMMENTS    /* the comments it touches */
};

/* When it is offered. The editor asks by itself (automatic) or the user asks. */
enum {
    OFFER_AUTOMATIC = 1,      /* also when the editor asks by itself */
    OFFER_WITH_SELECTION = 2, /* ... by itself, only with something selected */
    NEEDS_SELECTION = 4,      /* never without something selected */
    NEEDS_DIAGNOSTIC = 8,
    NEEDS_INSTRUCTION = 16 /* words of the user, which the client must be able to ask for */
};

struct action_row {
    const char *name;  /* the command is "dbrx-ls." and this */
    const char *title; /* what a menu shows */
    const char *kind;  /* LSP's; "" is the kind of what changes nothing */
    enum task task;
    enum action_piece piece;
    unsigned offer;
};

const struct action_row *action_row_at(size_t i); /* NULL past the end */
const struct action_row *action_row_find(text name);

/* The piece of a document that the action is about when [*from, *to) is selected, as whole lines
 * without the last line end; *name is of the definition, "" where there is none, and lives as long as
 * `s` (NULL: no grammar). ERR_UNSUPPORTED says why there is none. */
status action_piece_find(enum action_piece piece, const syntax *s, text content, size_t *from,
                         size_t *to, text *name, error *err);

/* Where tests of a file go: the name beside it, "test_list.c" for "list.c". False for languages that
 * have no habit. `copy` from 2 on: another name, for when the first is taken. */
bool action_test_name(buffer *out, const struct language *language, text file_name, unsigned copy);

#endif
