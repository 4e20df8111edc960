/* What a synthetic bench says: a line for people as each cell is done, a line of JSON to a file, and
 * one JSON object at the end. Plain text, no JSON library: it is also built where there is none. */
#ifndef INFERENCE_BENCH_SYNTHETIC_REPORT_H
#define INFERENCE_BENCH_SYNTHETIC_REPORT_H

#include <stdio.h>

#include "base/text.h"
#include "inference/bench/synthetic.h"

/* Runs the bench with the callbacks of `options` (but stopped and on_progress) set by this. The table
 * goes to `table` as cells are done, lines to the file `lines_path` (NULL: none), which is made anew.
 * *json (taken by the caller) is the whole object once there is a machine, also after a share above 1
 * or a stop, then with "stopped" true. */
status synthetic_report_run(const struct synthetic_options *options, FILE *table,
                            const char *lines_path, buffer *json, error *err);

#endif
