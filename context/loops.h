/* A model in a loop: text whose end says the same thing over and over. Pure; any thread. */
#ifndef CONTEXT_LOOPS_H
#define CONTEXT_LOOPS_H

#include "base/text.h"

/* Within a line of code: at most 32 bytes, eight times and 64 bytes at least; of one character 200, so
 * that rulers ("-----") pass. */
bool loops_in_line(text line);

/* In prose: the same, or up to 512 bytes (sentences, lines, paragraphs) four times over. */
bool loops_in_prose(text said);

#endif
