/* Post-processing: from what a model says to what may stand in the editor.
 *
 * Fed piece by piece while the answer streams, it decides when to stop and what of it is shown:
 * stop at the closing fence, the suffix's first lines, the end of the line or block -> drop prose
 * and fences -> cut the overlap with the suffix -> drop what has too few visible characters. It knows
 * text only: no ids, no HTTP, no LSP. All text of a model is untrusted input. Not thread-safe. */
#ifndef CONTEXT_TRIM_H
#define CONTEXT_TRIM_H

#include "base/error.h"
#include "context/document.h"

typedef struct trim trim;

struct trim_options {
    struct document_view document;
    size_t cursor_byte;
    text must_start_with; /* the answer repeats these bytes first; they are checked and dropped */
    text fence;           /* closing fence of the prompt's open assistant turn */
    bool many_lines;      /* a block may be completed; else one line */
    bool asked;           /* the user asked: even one character is shown */
};

/* The document's content and tree must live until trim_close; the rest is copied. */
status trim_open(trim **out, const struct trim_options *options, error *err);
void trim_close(trim *t);

enum trim_state { TRIM_MORE, TRIM_DONE }; /* DONE: nothing further can change the result; cancel */

/* Takes the next piece of the answer (any split, also inside a UTF-8 character). */
enum trim_state trim_put(trim *t, text piece);

enum { TRIM_ENDS_MAX = 4 };

struct trim_result {
    text insert; /* what to insert at the cursor; empty: show nothing */
    size_t
        replace_bytes;  /* bytes behind the cursor, on its line, that `insert` replaces (closers) */
    const char *reason; /* why it ended or why it is empty, in words; static */
    /* Sizes of `insert` at which it may stop as well, ascending, the last one the whole: ends of
     * its lines where nothing it opened is open and that parse no worse. 0: there is nothing. */
    size_t ends[TRIM_ENDS_MAX], n_ends;
};

/* The result for what has come so far; `finished` says the model ended by itself. `out` lives until
 * the next call. Whatever was cut off mid-way is not shown: only whole lines if !finished. */
void trim_finish(trim *t, bool finished, struct trim_result *out);

/* One line or many (requests.md): many at an empty block start or on demand; else one. */
bool trim_wants_many_lines(const struct document_view *document, size_t cursor_byte, bool invoked);

/* False where no completion should be asked for at all: inside a line whose rest is more than
 * closers and punctuation. *reason is a static string. */
bool trim_place_is_fit(const struct document_view *document, size_t cursor_byte, bool invoked,
                       const char **reason);

#endif
