/* The open documents, byte for byte as the client has them.
 *
 * Text is UTF-8 in one piece with an index of its lines. Whatever cannot be applied puts a document
 * out of step: its text is dropped, and nothing is answered about it until it is opened again. It
 * knows positions in all three encodings, no JSON and no model. One thread: the loop's.
 * Source: LSP 3.18, text document synchronization. */
#ifndef LSP_SERVER_DOCUMENTS_H
#define LSP_SERVER_DOCUMENTS_H

#include "base/error.h"
#include "base/utf.h"
#include "context/syntax.h"
#include "lsp/server/line_index.h"

struct position {
    uint32_t line, character; /* from 0; character in units of the encoding */
};

struct range {
    struct position start, end;
};

typedef struct documents documents;

typedef struct document {
    buffer names;                /* uri, language_id and path, one behind the other */
    text uri, language_id, path; /* views of it; path is of the URI, decoded: see uri.h */
    uint64_t key;                /* never given twice: another opening is another document */
    int64_t version;             /* the client's */
    int64_t revision;            /* ours: grows with every change, whatever the client counts */
    buffer content;              /* empty while out of step */
    struct line_index lines;
    char out_of_step[200]; /* why; "" while in step */
    uint64_t uri_hash;
    documents *owner;
    void *companion;            /* the server's; not touched here */
    struct document_tree *tree; /* document_tree.c's; NULL: the language has no grammar */
} document;

status documents_open(documents **out, error *err);
void documents_close(documents *all);

document *documents_find(const documents *all, text uri); /* NULL: not open */
document *documents_find_key(const documents *all, uint64_t key);
document *documents_at(const documents *all, size_t i); /* NULL past the end, for loops */

/* Opens or opens again. A content that cannot be kept leaves a document out of step; an error comes
 * only where even that cannot be noted. */
status documents_add(documents *all, document **out, text uri, text language_id, int64_t version,
                     text content, error *err);
void documents_remove(document *d);

bool document_in_step(const document *d);
void document_put_out_of_step(document *d, const char *reason);

/* Replaces `range` (NULL: everything) by `replacement`, which must be well-formed UTF-8 and not
 * part of the document. Positions past the end of line or document clamp, as the protocol says; a
 * range that ends before it begins or that cuts a character in two is ERR_FORMAT, and the document
 * is out of step. */
status document_change(document *d, const struct range *range, text replacement,
                       enum position_encoding encoding, error *err);

text document_text(const document *d);

/* The parse of the present text, or NULL: no grammar, too large, or not done yet, though this works on
 * it for LIVE_PARSE_STEP_US. Until the document changes. */
const syntax *document_tree(const document *d);
const syntax *document_tree_now(const document *d); /* without working on it */
/* Works as long where a tree is wanted, on the document looked at last. False: there was nothing to do. */
bool documents_parse(const documents *all);

/* document_tree.c, for documents.c */
void document_tree_open(document *d);
void document_tree_close(document *d);
void document_tree_edit(document *d, size_t from, size_t to, text with); /* before it happens */
void document_tree_reset(document *d);

/* Byte of a position, clamped to its line's end and to the beginning of a character. */
size_t document_byte(const document *d, struct position p, enum position_encoding encoding);
struct position document_position(const document *d, size_t byte, enum position_encoding encoding);

#endif
