/* Threads that work through numbered tasks together.
 *
 * Which thread takes which task is left to chance, so a task's result must depend on its number
 * alone. One thread, the owner, calls everything here; it works along as thread 0. */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include <stdint.h>

#include "base/error.h"

typedef struct pool pool;
typedef void pool_task(void *context, int64_t task, int thread);

/* n_threads >= 1, the owner included. ERR_IO when the system gives no thread. */
status pool_open(pool **out, int n_threads, error *err);
void pool_close(pool *p); /* NULL is fine */
int pool_threads(const pool *p);

/* Runs tasks 0 .. n_tasks - 1 and returns when all are done. `work` is a guess at the whole in
 * multiply-adds: little work stays on the calling thread, for waking others costs more. */
void pool_run(pool *p, pool_task *run, void *context, int64_t n_tasks, double work);

#endif
