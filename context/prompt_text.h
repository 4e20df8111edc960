/* The fixed words of the prompt: what the model is told, and how a task is spelt. Internal. */
#ifndef CONTEXT_PROMPT_TEXT_H
#define CONTEXT_PROMPT_TEXT_H

#include "base/text.h"

extern const text PROMPT_SYSTEM;

/* Before the lines of map.h. */
#define HEADING_MAP "The definitions that this repository uses most, by file:\n"

struct prompt_example {
    text user, assistant;
};

enum { PROMPT_EXAMPLES = 3 };
extern const struct prompt_example prompt_examples[PROMPT_EXAMPLES];

/* Headings of the last user turn; the examples use the same. Each stands before a fence. */
#define HEADING_BELOW  "Below the gap:\n"
#define HEADING_ABOVE  "Above the gap:\n"
#define HEADING_BEHIND "Right behind the gap:\n"

/* What is not shown is said where it would stand. */
#define HEADING_BEHIND_CUT "Right behind the gap, and more:\n"
#define SAYS_LEFT_OUT      "A line too long to show.\n"
#define SAYS_BELOW         "Below the gap: a line too long to show.\n"
#define SAYS_TAIL_CUT      "The end of a long line:\n"

/* The longest run of backticks in a text, and into `fence` one that is longer than n of them: at least
 * three. A text with longer runs than PROMPT_FENCE_MAX is no text to quote. */
enum { PROMPT_FENCE_MIN = 3, PROMPT_FENCE_MAX = 32 };
size_t prompt_backticks(text t);
void prompt_fence_make(char fence[PROMPT_FENCE_MAX + 1], size_t n);

/* The path, its end where it is long; control characters become '?'. */
void prompt_path_put(buffer *out, text path);

/* "Task: fill the gap in PATH (LANGUAGE).\n". */
void prompt_task_put(buffer *out, text path, const char *language);

/* The heading, the fence with its info string, the content (a line end is added where it lacks
 * one) and the closing fence. */
void prompt_fenced_put(buffer *out, const char *heading, text fence, const char *info,
                       text content);

#endif
