/* The environment of the program's own children: ours, with the patterns of excluded files as the
 * settings have them now. Any thread. */
#ifndef LSP_ASSISTANT_ENVIRONMENT_H
#define LSP_ASSISTANT_ENVIRONMENT_H

/* "NAME=value" strings, NULL behind the last; NULL without memory. environment_free frees. */
char **environment_take(void);
void environment_free(char **environment);

#endif
