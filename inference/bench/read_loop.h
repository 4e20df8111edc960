/* How fast this machine reads memory: the denominator of every share of its bandwidth.
 *
 * Random bytes are read and added up by as many threads as the engine uses, with the widest loads of
 * the machine, several ways; the best pass counts. What fits a cache is read from there, so a step is
 * to be compared with a loop over as many bytes as the step reads. It knows no model. The thread that
 * opened it calls everything here. */
#ifndef INFERENCE_BENCH_READ_LOOP_H
#define INFERENCE_BENCH_READ_LOOP_H

#include <stddef.h>

#include "base/error.h"

typedef struct read_loop read_loop;

/* n_threads 0: all cores. ERR_MEMORY names the size. */
status read_loop_open(read_loop **out, size_t bytes_max, int n_threads, error *err);
void read_loop_close(read_loop *r); /* NULL is fine */

/* Bytes per second of the best of some passes over the first size_bytes (at most bytes_max, and at
 * least 64 KiB), which take about a tenth of a second. */
double read_loop_measure(read_loop *r, size_t size_bytes);

#endif
