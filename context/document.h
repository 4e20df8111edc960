/* What the context room knows of a document: a snapshot of its text and where it lives.
 *
 * The views belong to the caller and stay valid for the call they are given to. No LSP here. */
#ifndef CONTEXT_DOCUMENT_H
#define CONTEXT_DOCUMENT_H

#include "base/text.h"

struct syntax;

struct document_view {
    text path;        /* as the user would say it: relative to the workspace, else the file name */
    text language_id; /* the editor's id ("c", "python", ...); empty: decided by the path */
    text content;     /* UTF-8 as the editor has it, line ends included */
    const struct syntax *tree; /* the parse of content (context/syntax.h); NULL: nobody keeps one */
};

struct language;

/* The row of the table of languages (context/syntax.h): by id, path, and then by "#!"; or NULL. */
const struct language *language_of_document(const struct document_view *document);

#endif
