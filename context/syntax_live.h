/* A parse that follows a text while it is edited: one per open document.
 *
 * An edit is only noted; live_syntax_go_on parses, for as long as it is told to, and goes on where it
 * stopped. There is a tree while it speaks of the whole present text, and none in between. The text
 * is the caller's. Not thread-safe. */
#ifndef CONTEXT_SYNTAX_LIVE_H
#define CONTEXT_SYNTAX_LIVE_H

#include <stdint.h>

#include "context/syntax.h"

typedef struct live_syntax live_syntax;

/* NULL when the language has no grammar (or there is no memory): all that follows takes NULL. */
live_syntax *live_syntax_open(const struct language *language);
void live_syntax_close(live_syntax *l);

/* Before it happens: bytes [from, to) of `content`, the present text, become `with`. */
void live_syntax_edit(live_syntax *l, text content, size_t from, size_t to, text with);

/* The text is another one altogether; or nobody will ask for a while: the memory is given back. */
void live_syntax_reset(live_syntax *l);

/* Parses `content`, the present text, for about budget_us. False: there is more to do. A text of more
 * than DOCUMENT_PARSE_MAX bytes is not parsed; nor is one that took LIVE_PARSE_MAX_US in all and was
 * not done, until it is reset. */
bool live_syntax_go_on(live_syntax *l, text content, int64_t budget_us);

/* The parse of the present text, or NULL while it is not known; until the next edit, reset or close.
 * syntax_share makes one that stays. */
const syntax *live_syntax_tree(const live_syntax *l);

#endif
