/* Where the lines of a text begin, kept up to date edit by edit.
 *
 *     starts:  | before the last edit: from the front | free | behind it: from the end |
 *
 * A gap buffer of line starts: those before the gap are stored as distance from the text's front,
 * those behind as distance from its end, so an edit moves only the entries between it and the
 * edit before, and never looks at text it did not bring. Lines end in "\n", "\r\n" or "\r" (LSP
 * 3.18, text documents). Not thread-safe; knows no encodings. */
#ifndef LSP_SERVER_LINE_INDEX_H
#define LSP_SERVER_LINE_INDEX_H

#include "base/error.h"
#include "base/text.h"

struct line_index {
    uint32_t *starts;
    size_t n_before, n_behind, room;
    size_t size_bytes; /* of the text */
};

/* Indexes `content` afresh; at most DOCUMENT_TRACK_MAX bytes. */
status line_index_reset(struct line_index *index, text content, error *err);

/* `content` is the text after bytes [from, old_to) of it were replaced by [from, new_to). On
 * ERR_MEMORY the index is unusable until it is reset. */
status line_index_edit(struct line_index *index, text content, size_t from, size_t old_to,
                       size_t new_to, error *err);

size_t line_index_count(const struct line_index *index); /* at least 1 */

/* First byte of a line (line < count). */
size_t line_index_start(const struct line_index *index, size_t line);

/* The line that holds `byte`: the last one that starts at or before it. */
size_t line_index_find(const struct line_index *index, size_t byte);

void line_index_free(struct line_index *index);

#endif
