/* The typist: puts one text into one document the way people and their editors do. Internal to
 * typing sessions; one thread. */
#ifndef LSP_CLI_TYPING_TYPIST_H
#define LSP_CLI_TYPING_TYPIST_H

#include "lsp/cli/typing.h"

typedef struct typist typist;

/* Appends steps to `session`, whose documents must be there. */
status typist_open(typist **out, struct typing_session *session, uint64_t seed, error *err);
void typist_close(typist *t); /* NULL is fine */

/* Goes to byte `at` of the document, a line's end, and types `target`, which begins with "\n". Then
 * the document is what it was with the target at `at`, whatever happened in between. */
status typist_type(typist *t, int32_t document, size_t at, text target, error *err);

#endif
