/* What post-processing knows about text alone: which characters may stand in source, what looks
 * like a fence or prose, how lines are indented. Internal to trim; any thread. */
#ifndef CONTEXT_TRIM_TEXT_H
#define CONTEXT_TRIM_TEXT_H

#include "base/text.h"

/* Moves well-formed text from held to clean with "\n" for "\r\n"; what may be the beginning of a
 * character or of "\r\n" stays held. False at the first thing that has no place in source: ill-formed
 * UTF-8, control characters but tab and line ends, invisible direction marks and tags. */
bool trim_text_clean(buffer *held, buffer *clean);

/* A fence line: at least `size` backticks; *bare when nothing but white space follows them. */
bool trim_text_is_fence(text line, size_t size, bool *bare);

/* A line an assistant says around code: "Sure, here is the code:". */
bool trim_text_is_prose(text line);

/* Columns of white space at the line's start; a tab counts tab_size. */
size_t trim_text_indent(text line, size_t tab_size);

bool trim_text_is_blank(text line);

/* Letters, digits and bytes of other alphabets. */
size_t trim_text_word_chars(text line);

/* How a document indents, from the lines around the gap. */
enum indent_style { INDENT_UNKNOWN, INDENT_TABS, INDENT_SPACES };
enum indent_style trim_text_indent_style(text content, size_t at, size_t *unit);

/* Appends the line with its leading white space in the given style. */
void trim_text_put_indented(buffer *out, text line, enum indent_style style, size_t unit);

#endif
