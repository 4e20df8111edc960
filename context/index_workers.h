/* Threads that read, hash and parse files for one updater of the index. They see no database: what
 * they find is taken back by the updater's thread, which alone gives, takes and writes. */
#ifndef CONTEXT_INDEX_WORKERS_H
#define CONTEXT_INDEX_WORKERS_H

#include "context/index_private.h"

/* A file on its way: read first (content, stamp, id), then, if the updater finds its content new,
 * parsed (tags, state). */
struct index_job {
    const struct repository_file *file;
    const void *payload; /* the updater's own */
    const struct language *language;
    bool parse; /* the second step is wanted, or done */
    buffer content;
    struct file_stamp stamp;
    int64_t seen_ns; /* the time just before it was read */
    struct blob_id id;
    struct tags tags;
    enum blob_state state;
    status code; /* of the step that was done */
    error err;
    struct index_job *next;
};

typedef struct index_workers index_workers;

/* n_threads of 0: as many as there are processors, at most INDEX_THREADS_MAX. */
status index_workers_open(index_workers **out, repository *r, size_t n_threads, error *err);
/* Waits for what is under way; jobs that nobody took back are freed. NULL is fine. */
void index_workers_close(index_workers *w);

/* A job to fill, or NULL: so many, or so many bytes, are under way that one must be taken first. */
struct index_job *index_workers_free_job(index_workers *w);
void index_workers_give(index_workers *w, struct index_job *job);
/* A job whose step is done; waits for one if `wait` and any is under way. NULL: none. */
struct index_job *index_workers_take(index_workers *w, bool wait);
/* The job is worked off. */
void index_workers_return(index_workers *w, struct index_job *job);

/* Both steps in the caller's thread. */
void index_job_read(struct index_job *job, repository *r);
void index_job_parse(struct index_job *job, tagger *t);
void index_job_clear(struct index_job *job);

#endif
