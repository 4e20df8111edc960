/* One word says which job runs and how many of its tasks nobody has taken: round * 2^32 + left. A
 * thread takes a task by exchanging the word for one less. A word with tasks left cannot outlive its
 * job, so who succeeds knows that what it read about the job was true; who comes late finds nothing
 * left and is not waited for. The owner waits for finished tasks, never for threads.
 *
 * Threads spin for a moment between jobs, for the next one usually follows at once, then sleep. */
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
    pthread_cond_t wake, finished;
    struct worker *workers; /* [n_threads - 1] */
    int n_threads, n_started;
    atomic_int n_asleep;
    atomic_bool owner_asleep, closing;
    /* The job. Atomic because a late thread may look while the next one is being written. */
    _Atomic(pool_task *) run;
    _Atomic(void *) context;
    atomic_uint n_tasks;
    atomic_uint_fast64_t word;
    atomic_uint n_finished;
};

enum { TASKS_MAX = 1 << 30 };

static void task_finish(pool *p, unsigned n_tasks)
{
    if (atomic_fetch_add(&p->n_finished, 1) + 1 != n_tasks || !atomic_load(&p->owner_asleep))
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->finished);
    pthread_mutex_unlock(&p->lock);
}

static void tasks_take(pool *p, int thread)
{
    uint_fast64_t word = atomic_load(&p->word);
    while ((uint32_t)word > 0) {
        pool_task *run = atomic_load_explicit(&p->run, memory_order_relaxed);
        void *context = atomic_load_explicit(&p->context, memory_order_relaxed);
        unsigned n_tasks = atomic_load_explicit(&p->n_tasks, memory_order_relaxed);
        if (!atomic_compare_exchange_weak(&p->word, &word, word - 1)) continue;
        run(context, n_tasks - (uint32_t)word, thread);
        task_finish(p, n_tasks);
        word = atomic_load(&p->word);
    }
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* True when there is work, false when the pool closes. */
static bool work_wait(pool *p)
{
    int64_t until = clock_us() + SPIN_US;
    for (int i = 1;; i++) {
        if ((uint32_t)atomic_load(&p->word) > 0) return true;
        if (atomic_load(&p->closing)) return false;
        cpu_relax();
        if (i % 64 == 0 && clock_us() > until) break;
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while ((uint32_t)atomic_load(&p->word) == 0 && !atomic_load(&p->closing))
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
    return !atomic_load(&p->closing);
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    while (work_wait(w->owner)) tasks_take(w->owner, w->number);
    return NULL;
}

static void sleepers_wake(pool *p)
{
    if (atomic_load(&p->n_asleep) == 0) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* A worker that holds a task may have lost its core: after a moment of spinning leave it ours. */
static void finish_wait(pool *p, unsigned n_tasks)
{
    int64_t until = clock_us() + SPIN_US;
    for (int i = 1; atomic_load(&p->n_finished) != n_tasks; i++) {
        cpu_relax();
        if (i % 64 == 0 && clock_us() > until) break;
    }
    if (atomic_load(&p->n_finished) == n_tasks) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->owner_asleep, true);
    while (atomic_load(&p->n_finished) != n_tasks) pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->owner_asleep, false);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(pool *p, pool_task *run, void *context, int64_t n_tasks, double work)
{
    if (n_tasks <= 1 || p->n_started == 0 || work < WORK_WORTH_WAKING || n_tasks > TASKS_MAX) {
        for (int64_t task = 0; task < n_tasks; task++) run(context, task, 0);
        return;
    }
    unsigned n = (unsigned)n_tasks;
    uint_fast64_t round = (atomic_load(&p->word) >> 32) + 1;
    atomic_store_explicit(&p->run, run, memory_order_relaxed);
    atomic_store_explicit(&p->context, context, memory_order_relaxed);
    atomic_store_explicit(&p->n_tasks, n, memory_order_relaxed);
    atomic_store(&p->n_finished, 0);
    atomic_store(&p->word, round << 32 | n);
    sleepers_wake(p);
    tasks_take(p, 0);
    finish_wait(p, n);
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
    pthread_cond_init(&p->finished, NULL);
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
    atomic_store(&p->closing, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->finished);
    pthread_mutex_destroy(&p->lock);
    memory_free(p->workers);
    memory_free(p);
}

int pool_threads(const pool *p) { return p->n_threads; }
