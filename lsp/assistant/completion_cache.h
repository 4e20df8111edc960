/* What one document's suggestions are known to be: the one the editor shows, answers not shown yet,
 * and those that were rejected.
 *
 * What is shown stays what is shown: as long as the text agrees, the same suggestion is given, what
 * is left of it, and nothing better. Else an answer that is known may go on here: the lines behind
 * the one that was shown, or what came too late. Where something else was typed than what was
 * shown, that is not offered again. One document, one thread. */
#ifndef LSP_ASSISTANT_COMPLETION_CACHE_H
#define LSP_ASSISTANT_COMPLETION_CACHE_H

#include "lsp/assistant/suggestion.h"

enum { KNOWN_MAX = 8, REJECTED_MAX = 16 };

struct completion_cache {
    struct suggestion shown;
    bool shown_invoked;                 /* somebody asked for it */
    struct suggestion known[KNOWN_MAX]; /* rings */
    struct suggestion rejected[REJECTED_MAX];
    size_t n_known, n_rejected; /* ever put */
};

void completion_cache_free(struct completion_cache *c);

/* An answer is known: `insert` at the cursor, with whatever whole lines there are. */
void completion_cache_learn(struct completion_cache *c, text content, size_t cursor_byte,
                            text insert, size_t replace_bytes);

/* What goes on behind `insert` there is not what belongs here: it is no longer known. */
void completion_cache_cut(struct completion_cache *c, text content, size_t cursor_byte,
                          text insert);

/* What is to be shown here without asking anybody; views until the next call that puts. Of an answer
 * that was not shown before one line, or all when many_lines. False: nothing is known. */
bool completion_cache_find(const struct completion_cache *c, text content, size_t cursor_byte,
                           bool many_lines, struct suggestion_left *out);

/* The editor shows this from now on; false: it did already, or part of what it shows. */
bool completion_cache_show(struct completion_cache *c, text content, size_t cursor_byte,
                           const struct suggestion_left *left, bool invoked);

/* `insert` begins with a line that was rejected here. */
bool completion_cache_refuses(const struct completion_cache *c, text content, size_t cursor_byte,
                              text insert);

/* The text changed; the cursor is, as far as that says, at cursor_byte. What became of what was
 * shown, or of another answer for its place that was taken instead. */
enum suggestion_fate completion_cache_fate(const struct completion_cache *c, text content,
                                           size_t cursor_byte);
/* What was shown is kept, or forgotten, or rejected from now on, accordingly. */
void completion_cache_changed(struct completion_cache *c, text content, size_t cursor_byte);

/* What is shown was sent away: it is rejected here from now on. False: nothing is shown. */
bool completion_cache_dismiss(struct completion_cache *c);

/* Line ends before the first visible character belong to the line that has it. */
text completion_first_line(text insert);

#endif
