/* Source as a grammar understands it: what it cannot know is blanked, byte for byte. Any thread. */
#ifndef CONTEXT_TAGS_SOURCE_H
#define CONTEXT_TAGS_SOURCE_H

#include "context/syntax.h"

/* False: the grammar understands `content` as it is, and nothing was written. */
bool tags_source(buffer *out, const struct language *language, text content);

#endif
