/* Languages that people speak: their names, and which one a text is in. Any thread. */
#ifndef CONTEXT_HUMAN_LANGUAGE_H
#define CONTEXT_HUMAN_LANGUAGE_H

#include "base/text.h"

/* "German" for "de", "de-AT", "de_DE.UTF-8"; "" for what is not known. Static. */
text human_language_name(text locale);

/* The language of prose, by its script and, among those written in Latin letters, by its small words;
 * "" when that does not tell. Static. */
text human_language_of(text prose);

#endif
