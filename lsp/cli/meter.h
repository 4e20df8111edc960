/* How far long work is, on stderr: one line that is rewritten on a terminal, otherwise a line for
 * every tenth. The thread that began it. */
#ifndef LSP_CLI_METER_H
#define LSP_CLI_METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
    const char *unit; /* of the rate: "MiB", "tokens" */
    bool terminal;
    int tenths; /* lines printed so far, without a terminal */
    int64_t begun_us, shown_us;
};

struct meter meter_begin(const char *unit);

/* `done` of `all` units are done, `before` of them by an earlier process. */
void meter_show(struct meter *m, double done, double all, double before);

/* Leaves the line of a terminal. Without it an error would stand in the bar. */
void meter_end(struct meter *m);

#endif
