/* A report: named rows, each with a verdict and, where one can do something, what to do.
 *
 * Rows are copied and bounded; what is too long is cut, what is one too many is left out. It knows
 * nothing of what is looked at. One thread. */
#ifndef LSP_CLI_REPORT_H
#define LSP_CLI_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL };
enum { REPORT_ROWS_MAX = 32 };

struct report_row {
    const char *name; /* static */
    enum verdict verdict;
    char value[560];
    const char *source; /* outlives the report; where a setting comes from, else NULL */
    const char *advice; /* static; "" when there is nothing to do */
};

struct report {
    struct report_row rows[REPORT_ROWS_MAX];
    size_t n_rows;
};

void report_put(struct report *r, const char *name, enum verdict verdict, const char *advice,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A row of VERDICT_OK: the value of a setting and its source. */
void report_put_setting(struct report *r, const char *name, const char *value, const char *source);

bool report_failed(const struct report *r); /* some row failed */

/* To stdout, for people or as {"version", "ok", "rows": [{"name", "verdict", "value", "source",
 * "advice"}]}. */
status report_print(const struct report *r, bool json, error *err);

#endif
