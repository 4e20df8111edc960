/* A commit message as git and people want it, from what a model said. All of it is untrusted text. */
#ifndef CONTEXT_COMMIT_TEXT_H
#define CONTEXT_COMMIT_TEXT_H

#include "context/commit_facts.h"

enum { COMMIT_SUBJECT_MAX = 72, COMMIT_WIDTH = 72 }; /* characters */

/* Appends subject, and where there is a body a blank line and the body wrapped; a line end behind the
 * last line. Fences, labels and what an assistant says around a message are dropped, as are characters
 * that have no place in text; no line begins with "#", which git would take out. ERR_FORMAT when
 * nothing is left. */
status commit_text_shape(buffer *out, text said, error *err);

/* What is wrong with a shaped message, in words a model can use: the subject's length, its language,
 * its form. OK: nothing. */
status commit_text_check(const struct commit_facts *facts, text message, error *err);

/* The message with its subject cut at a word: what is left of a fault that was named in vain. */
void commit_text_cut(buffer *out, text message);

/* Characters of the first line. */
size_t commit_subject_length(text message);

#endif
