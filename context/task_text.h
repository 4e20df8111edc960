/* The words of the tasks. Internal to task*.c. */
#ifndef CONTEXT_TASK_TEXT_H
#define CONTEXT_TASK_TEXT_H

#include "context/task.h"

/* Appends "Task: ..." with all that belongs to the request, ending in a line end. */
void task_words_put(buffer *out, const struct task_request *request);

#endif
