/* The difference of two texts, as patch and git print it. Any thread. */
#ifndef CONTEXT_PATCH_TEXT_H
#define CONTEXT_PATCH_TEXT_H

#include "base/error.h"
#include "base/text.h"

/* Appends a unified diff ("--- a/PATH", "+++ b/PATH", hunks with three lines around a change) that turns
 * `before` into `after`; nothing where they are equal. */
status patch_text_put(buffer *out, text path, text before, text after, error *err);

#endif
