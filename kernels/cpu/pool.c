/* A job is published by raising `round`; every worker takes tasks from a shared counter until none
 * is left and reports itself done. Workers spin for a moment between jobs, for the next one usually
 * follows at once, and then sleep. */
#include "kernels/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum { SPIN_US = 50 };
#define WORK_WORTH_WAKING 60000.0

struct worker {
    pool *owner;
    pthread_t thread;
    int number;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct worker *workers; /* [n_threads - 1] */
    int n_threads, n_started, n_asleep;
    pool_task *run;
    void *context;
    int64_t n_tasks;
    atomic_int_fast64_t next;
    atomic_uint round;
    atomic_int n_busy;
    bool closing;
};

static void tasks_take(pool *p, int thread)
{
    for (;;) {
        int64_t task = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (task >= p->n_tasks) return;
        p->run(p->context, task, thread);
    }
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Waits for a round other than `seen` and returns it. */
static unsigned round_wait(pool *p, unsigned seen)
{
    int64_t until = clock_us() + SPIN_US;
    for (int i = 0; atomic_load_explicit(&p->round, memory_order_acquire) == seen; i++) {
        cpu_relax();
        if (i % 64 == 63 && clock_us() > until) break;
    }
    if (atomic_load_explicit(&p->round, memory_order_acquire) == seen) {
        pthread_mutex_lock(&p->lock);
        p->n_asleep++;
        while (atomic_load_explicit(&p->round, memory_order_acquire) == seen)
            pthread_cond_wait(&p->wake, &p->lock);
        p->n_asleep--;
        pthread_mutex_unlock(&p->lock);
    }
    return atomic_load_explicit(&p->round, memory_order_acquire);
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    pool *p = w->owner;
    unsigned seen = 0;
    for (;;) {
        seen = round_wait(p, seen);
        if (p->closing) return NULL;
        tasks_take(p, w->number);
        atomic_fetch_sub_explicit(&p->n_busy, 1, memory_order_release);
    }
}

static void round_start(pool *p)
{
    atomic_store_explicit(&p->n_busy, p->n_started, memory_order_relaxed);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
    if (p->n_asleep > 0) pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(pool *p, pool_task *run, void *context, int64_t n_tasks, double work)
{
    if (n_tasks <= 1 || p->n_started == 0 || work < WORK_WORTH_WAKING) {
        for (int64_t task = 0; task < n_tasks; task++) run(context, task, 0);
        return;
    }
    p->run = run;
    p->context = context;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    round_start(p);
    tasks_take(p, 0);
    int64_t patience = clock_us() + SPIN_US;
    for (int i = 0; atomic_load_explicit(&p->n_busy, memory_order_acquire) > 0; i++) {
        cpu_relax();
        /* More threads than cores: let a preempted worker finish. */
        if (i % 64 == 63 && clock_us() > patience) clock_sleep_us(0);
    }
}

status pool_open(pool **out, int n_threads, error *err)
{
    *out = NULL;
    pool *p = memory_take(1, sizeof *p);
    if (p) p->workers = memory_take((size_t)n_threads, sizeof *p->workers);
    if (!p || !p->workers) {
        memory_free(p);
        return fail(err, ERR_MEMORY, "threads: out of memory");
    }
    p->n_threads = n_threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (; p->n_started < n_threads - 1; p->n_started++) {
        struct worker *w = &p->workers[p->n_started];
        *w = (struct worker){.owner = p, .number = p->n_started + 1};
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0) {
            pool_close(p);
            return fail(err, ERR_IO, "cannot start thread %d: %s", w->number, strerror(rc));
        }
    }
    *out = p;
    return OK;
}

void pool_close(pool *p)
{
    if (!p) return;
    p->closing = true;
    round_start(p);
    for (int i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    memory_free(p->workers);
    memory_free(p);
}

int pool_threads(const pool *p) { return p->n_threads; }
