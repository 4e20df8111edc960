/* What people see: texts that cannot harm a terminal, and a line of progress. One thread. */
#ifndef LSP_CLI_TERMINAL_H
#define LSP_CLI_TERMINAL_H

#include "base/text.h"

/* Prints to stdout; control characters other than "\n" and "\t" become "?", for escape sequences of
 * a file or a model must not reach a terminal. */
void terminal_print(text t);

/* The same in grey where stdout is a terminal. */
void terminal_print_grey(text t);

/* Replaces the progress line of stderr; "" removes it. Nothing where stderr is no terminal. */
void terminal_progress(const char *words);

#endif
