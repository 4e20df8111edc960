/* FILE:LINE:COL, as compilers and grep print places: a file read, and the byte meant in it.
 *
 * LINE and COL count from 1, COL in characters (code points); past the end they count as the end.
 * Lines end as in editors: "\n", "\r\n" or "\r". It knows no model and no prompt. Any thread. */
#ifndef LSP_CLI_PLACE_H
#define LSP_CLI_PLACE_H

#include <stdint.h>

#include "base/error.h"
#include "context/document.h"
#include "lsp/server/documents.h"

struct place {
    char path[4096]; /* as given, without the numbers */
    buffer content;
    struct line_index lines;
    size_t cursor_byte, end_byte;
    int64_t read_us;
};

/* Reads the file that `word` names. ERR_USAGE when it names no place, ERR_UNSUPPORTED for files
 * that never reach a model, by name, pattern or git attribute, as given or behind its links; ERR_IO,
 * ERR_LIMIT and ERR_FORMAT from reading. place_close frees, also after a failure. */
status place_open(struct place *out, const char *word, error *err);
/* The same for FILE:START-END or FILE:LINE, whole lines from 1: cursor_byte is where they begin, end_byte
 * where the last one ends, without its line end. */
status place_open_lines(struct place *out, const char *word, error *err);
void place_close(struct place *p);

/* The file as a document; its language is told from the path. */
struct document_view place_document(const struct place *p);

/* From 0, in UTF-16 code units: LSP's position of a byte. */
struct position place_position(const struct place *p, size_t byte);

/* The text of the cursor's line that stands before the cursor, and behind `byte` on its line. */
text place_line_before(const struct place *p);
text place_line_behind(const struct place *p, size_t byte);

#endif
