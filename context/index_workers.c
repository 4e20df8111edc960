/* Two queues under one lock: steps to do, steps done. A bare repository is read by the updater's
 * thread, in give: libgit2's objects belong to it. */
#include "context/index_workers.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/secrets.h"

enum { JOBS_MAX = 128, STACK_BYTES = 1 << 20 };
#define JOB_BYTES_MAX (32 * MIB)

struct queue {
    struct index_job *first, *last;
};

struct index_workers {
    repository *r;
    pthread_mutex_t lock;
    pthread_cond_t given, done;
    struct queue to_do, finished; /* under the lock, as is `closing` */
    bool closing;
    pthread_t threads[INDEX_THREADS_MAX];
    size_t n_threads;
    /* the updater's thread alone: */
    struct index_job jobs[JOBS_MAX];
    struct index_job *free;
    size_t n_out;   /* given and not taken */
    size_t n_bytes; /* of all jobs in use, by the sizes of their files */
};

static void queue_put(struct queue *q, struct index_job *job)
{
    job->next = NULL;
    if (q->last)
        q->last->next = job;
    else
        q->first = job;
    q->last = job;
}

static struct index_job *queue_take(struct queue *q)
{
    struct index_job *job = q->first;
    if (!job) return NULL;
    q->first = job->next;
    if (!q->first) q->last = NULL;
    return job;
}

void index_job_read(struct index_job *job, repository *r)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    job->seen_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    buffer_clear(&job->content);
    job->code =
        repository_read(&job->content, &job->stamp, r, job->file, INDEX_FILE_MAX, &job->err);
    if (job->code == OK) job->id = blob_id_of(buffer_text(&job->content));
}

/* Code gives identifiers and heads without strings; of other text every word could be a password. */
static bool may_tell(const struct language *language)
{
    return !tagger_knows(language) || strcmp(language->name, "Bash") == 0;
}

void index_job_parse(struct index_job *job, tagger *t)
{
    if (may_tell(job->language)) secrets_mask(job->content.bytes, job->content.size);
    job->code = blob_parse(&job->tags, &job->state, t, job->language, job->file->path,
                           buffer_text(&job->content), &job->err);
}

void index_job_clear(struct index_job *job)
{
    tags_free(&job->tags);
    buffer_free(&job->content);
    *job = (struct index_job){0};
}

static void *work(void *argument)
{
    index_workers *w = argument;
    tagger *t = NULL;
    error err;
    status code = tagger_open(&t, &err);
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct index_job *job = queue_take(&w->to_do);
        if (!job && w->closing) break;
        if (!job) {
            pthread_cond_wait(&w->given, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        if (job->parse && code != OK) {
            job->code = code;
            job->err = err;
        } else if (job->parse) {
            index_job_parse(job, t);
        } else {
            index_job_read(job, w->r);
        }
        pthread_mutex_lock(&w->lock);
        queue_put(&w->finished, job);
        pthread_cond_signal(&w->done);
    }
    pthread_mutex_unlock(&w->lock);
    tagger_close(t);
    return NULL;
}

static size_t processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > INDEX_THREADS_MAX ? INDEX_THREADS_MAX : (size_t)n;
}

status index_workers_open(index_workers **out, repository *r, size_t n_threads, error *err)
{
    pthread_attr_t attributes;
    index_workers *w = *out = memory_take(1, sizeof *w);
    if (!w) return fail(err, ERR_MEMORY, "no memory for threads");
    w->r = r;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->given, NULL);
    pthread_cond_init(&w->done, NULL);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        w->jobs[i].next = w->free;
        w->free = &w->jobs[i];
    }
    if (n_threads == 0 || n_threads > INDEX_THREADS_MAX) n_threads = processors();
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (w->n_threads < n_threads &&
           pthread_create(&w->threads[w->n_threads], &attributes, work, w) == 0)
        w->n_threads++;
    pthread_attr_destroy(&attributes);
    if (w->n_threads > 0) return OK;
    index_workers_close(w);
    *out = NULL;
    return fail(err, ERR_IO, "no thread can be started");
}

void index_workers_close(index_workers *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    w->to_do = (struct queue){0};
    pthread_cond_broadcast(&w->given);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
    for (size_t i = 0; i < JOBS_MAX; i++) index_job_clear(&w->jobs[i]);
    pthread_cond_destroy(&w->given);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->lock);
    memory_free(w);
}

struct index_job *index_workers_free_job(index_workers *w)
{
    struct index_job *job = w->free;
    if (!job || (w->n_out > 0 && w->n_bytes > JOB_BYTES_MAX)) return NULL;
    w->free = job->next;
    return job;
}

void index_workers_give(index_workers *w, struct index_job *job)
{
    bool in_place = !job->parse && repository_kind(w->r) == REPOSITORY_BARE;
    if (!job->parse) w->n_bytes += job->file->stamp.size_bytes;
    if (in_place) index_job_read(job, w->r);
    w->n_out++;
    pthread_mutex_lock(&w->lock);
    queue_put(in_place ? &w->finished : &w->to_do, job);
    pthread_cond_signal(&w->given);
    pthread_mutex_unlock(&w->lock);
}

struct index_job *index_workers_take(index_workers *w, bool wait)
{
    if (w->n_out == 0) return NULL;
    pthread_mutex_lock(&w->lock);
    struct index_job *job = queue_take(&w->finished);
    while (!job && wait) {
        pthread_cond_wait(&w->done, &w->lock);
        job = queue_take(&w->finished);
    }
    pthread_mutex_unlock(&w->lock);
    if (job) w->n_out--;
    return job;
}

void index_workers_return(index_workers *w, struct index_job *job)
{
    w->n_bytes -= job->file->stamp.size_bytes;
    index_job_clear(job);
    job->next = w->free;
    w->free = job;
}
