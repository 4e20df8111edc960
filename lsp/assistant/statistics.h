/* Counters that outlive the process: a file of lines in the user's state directory, one for each
 * time some were written, so that any number of fronts may write. They stay on this machine. */
#ifndef LSP_ASSISTANT_STATISTICS_H
#define LSP_ASSISTANT_STATISTICS_H

#include "base/error.h"
#include "base/text.h"
#include "lsp/assistant/counters.h"

/* The line for what was counted since `before`; empty where there is nothing new. */
void statistics_line(buffer *out, const struct assistant_counters *now,
                     const struct assistant_counters *before, int64_t time_s);

/* Appends a line to the file; blocks for as long as the disk does. */
status statistics_append(text line, error *err);

struct statistics {
    struct assistant_counters sum;
    int64_t since_s; /* time of the oldest line; 0: there is none */
    int64_t n_lines, n_broken;
};

/* Everything in the file. What cannot be read is counted and left out. */
status statistics_read(struct statistics *out, error *err);

#endif
