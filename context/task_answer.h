/* The code of an answer: collected while it streams, closed by its fence, checked against the piece it
 * replaces. All text of a model is untrusted. Not thread-safe; knows no ids and no HTTP. */
#ifndef CONTEXT_TASK_ANSWER_H
#define CONTEXT_TASK_ANSWER_H

#include "context/task.h"

struct task_answer {
    buffer said;        /* as it came, without what comes behind the closing fence */
    buffer held, clean; /* not looked at yet; lines with "\n" */
    size_t scanned;     /* of clean: whole lines up to here are no closing fence */
    bool closed;        /* the closing fence came */
    bool unfit;         /* a character that has no place in source */
    bool large;         /* more than TASK_ANSWER_MAX */
};

/* False when nothing more is wanted: closed, unfit or too large. */
bool task_answer_put(struct task_answer *a, const struct task_prompt *p, text piece);

/* The lines between the fences, "\n" between them and none behind the last. `finished`: the engine came
 * to its end by itself. ERR_FORMAT says what is wrong with the form: no closing fence means cut off. */
status task_answer_code(buffer *out, struct task_answer *a, const struct task_prompt *p,
                        bool finished, error *err);
void task_answer_free(struct task_answer *a);

/* The text that replaces the piece: the document's own line ends and indentation. */
void task_replacement_put(buffer *out, const struct task_request *request, text code);

/* Whether the document reads as it should with the replacement in it: parses no worse, and what the
 * task must leave alone is as it was. OK; ERR_UNSUPPORTED: nothing changed; ERR_FORMAT: *err says, in
 * words a model can use, what is wrong. What cannot be parsed is not judged. */
status task_check(const struct task_request *request, text replacement, error *err);

/* Names of the piece that may change: bound in it and used nowhere else in the file. Appends them
 * with ", " between them; nothing when there are none. */
void task_free_names_put(buffer *out, const struct task_request *request);

#endif
