/* What the prompt's tests share: a tokenizer, a document, and what must hold for every prompt. */
#ifndef TESTS_PROMPT_FIXTURE_H
#define TESTS_PROMPT_FIXTURE_H

#include "context/prompt.h"

extern tokenizer *cl100k; /* between fixture_open and fixture_close, a group's setup and teardown */
int fixture_open(void **state);
int fixture_close(void **state);

struct document_view view(const char *path, text content);
prompt_session *session(void);

/* A prompt with its text, of the document alone, within the budget. */
void build(struct prompt *p, prompt_session *s, const struct document_view *d, size_t cursor,
           size_t budget);

/* The whole prompt, each run between control tokens encoded in one go by the tokenizer itself. */
void assert_encoded_as_whole(const token_list *ids);

/* Fence, tail and rolled-back bytes are what stands before the gap. */
void assert_tail_meets_gap(const struct prompt *p, text content, size_t cursor);

#endif
