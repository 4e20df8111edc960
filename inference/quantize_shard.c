/* A chunk is some rows of one expert. Its thread widens them from the mapped source, rounds them row
 * by row and writes numbers and scales; what rounding did is kept by chunk and summed up in order. */
#include "inference/quantize_shard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "inference/quantize_row.h"
#include "kernels/format.h"

enum { PROGRESS_MS = 200 };

struct job {
    const struct quantize_item *items; /* chunks are counted through them */
    const calibration *statistics;
    const char *path;
    int fd;
    const struct quantize_stage *stage; /* instead of a file, or NULL */
    int64_t first, end;                 /* chunks */
    struct rounding *roundings; /* [end - first], each written by the thread that has the chunk */
    pthread_mutex_t lock;       /* of all below */
    pthread_cond_t ended;       /* a thread ended */
    int64_t next;
    int32_t n_running;
    size_t done_bytes;
    int64_t failed_at; /* the lowest chunk that failed, else INT64_MAX */
    status failure;
    error why;
};

struct chunk {
    const struct quantize_item *item;
    int64_t expert, first, n; /* rows of the expert */
};

struct scratch {
    float *values, *segment, *importance;
    unsigned char *codes, *scales;
};

static struct chunk chunk_at(const struct job *job, int64_t i)
{
    const struct quantize_item *item = job->items;
    for (; i >= item->n_chunks; item++) i -= item->n_chunks;
    int64_t rows = item->to.n_rows / item->to.n_experts;
    int64_t per_expert = item->n_chunks / item->to.n_experts;
    struct chunk c = {item, i / per_expert, i % per_expert * item->chunk_rows, item->chunk_rows};
    if (c.n > rows - c.first) c.n = rows - c.first;
    return c;
}

/* Rows of the checkpoint to come; of a transposed expert they are columns of the source. */
static void chunk_read(const struct scratch *s, const struct chunk *c)
{
    const struct quantize_item *item = c->item;
    int64_t columns = item->to.n_columns, rows = item->to.n_rows / item->to.n_experts;
    if (!item->transpose) {
        tensor_widen(s->values, item->from, (size_t)((c->expert * rows + c->first) * columns),
                     (size_t)(c->n * columns));
        return;
    }
    for (int64_t k = 0; k < columns; k++) {
        int64_t at = (c->expert * columns + k) * rows + c->first;
        tensor_widen(s->segment, item->from, (size_t)at, (size_t)c->n);
        for (int64_t r = 0; r < c->n; r++) s->values[r * columns + k] = s->segment[r];
    }
}

static status chunk_check(const struct scratch *s, const struct chunk *c, error *err)
{
    int64_t columns = c->item->to.n_columns, rows = c->item->to.n_rows / c->item->to.n_experts;
    int64_t bad = values_find_bad(s->values, c->n * columns);
    if (bad < 0) return OK;
    int64_t row = c->expert * rows + c->first + bad / columns, column = bad % columns;
    if (c->item->transpose) {
        row = c->expert * columns + bad % columns;
        column = c->first + bad / columns;
    }
    return fail(err, ERR_FORMAT,
                "%s: tensor %s: value [%" PRId64 ", %" PRId64 "] is %g, expected a finite number",
                c->item->from->file, c->item->from->name, row, column, (double)s->values[bad]);
}

static status bytes_write(const struct job *job, const void *bytes, size_t size, size_t at,
                          error *err)
{
    const char *from = bytes;
    while (size) {
        ssize_t n = pwrite(job->fd, from, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(err, ERR_IO, "%s: cannot write: %s", job->path, strerror(errno));
        from += n;
        at += (size_t)n;
        size -= (size_t)n;
    }
    return OK;
}

/* Its first row among those of all experts. */
static int64_t chunk_row(const struct chunk *c)
{
    return c->expert * (c->item->to.n_rows / c->item->to.n_experts) + c->first;
}

static status chunk_copy(const struct job *job, const struct chunk *c, error *err)
{
    const struct quantize_item *item = c->item;
    size_t row_bytes = (size_t)item->to.n_columns * tensor_dtype_bytes(item->from->dtype);
    size_t row = (size_t)chunk_row(c);
    return bytes_write(job, item->from->bytes + row * row_bytes, (size_t)c->n * row_bytes,
                       item->data_at + row * row_bytes, err);
}

static void rows_round(const struct job *job, const struct scratch *s, const struct chunk *c,
                       unsigned char *codes, unsigned char *scales, struct rounding *rounding)
{
    const struct model_tensor *to = &c->item->to;
    size_t row_bytes = format_row_bytes(to->format, to->n_columns);
    size_t scale_bytes = format_row_scale_bytes(to->format, to->n_columns);
    bool known = job->statistics && calibration_importance(s->importance, job->statistics,
                                                           c->item->tensor, (int32_t)c->expert);
    for (int64_t r = 0; r < c->n; r++)
        quantize_row(codes + (size_t)r * row_bytes, scales + (size_t)r * scale_bytes, to->format,
                     s->values + r * to->n_columns, known ? s->importance : NULL, to->n_columns,
                     rounding);
}

static status chunk_make(const struct job *job, const struct scratch *s, int64_t i, error *err)
{
    struct chunk c = chunk_at(job, i);
    const struct model_tensor *to = &c.item->to;
    struct rounding *rounding = &job->roundings[i - job->first];
    size_t row = (size_t)chunk_row(&c);
    chunk_read(s, &c);
    status rc = chunk_check(s, &c, err);
    if (rc != OK) return rc;
    if (!model_tensor_quantized(to)) return chunk_copy(job, &c, err);
    size_t row_bytes = format_row_bytes(to->format, to->n_columns);
    size_t scale_bytes = format_row_scale_bytes(to->format, to->n_columns);
    if (job->stage) {
        struct chunk first = chunk_at(job, job->first);
        size_t from = row - (size_t)chunk_row(&first);
        rows_round(job, s, &c, job->stage->codes + from * row_bytes,
                   job->stage->scales + from * scale_bytes, rounding);
        return OK;
    }
    rows_round(job, s, &c, s->codes, s->scales, rounding);
    rc =
        bytes_write(job, s->codes, (size_t)c.n * row_bytes, c.item->data_at + row * row_bytes, err);
    if (rc != OK) return rc;
    return bytes_write(job, s->scales, (size_t)c.n * scale_bytes,
                       c.item->scales_at + row * scale_bytes, err);
}

static status scratch_open(struct scratch *s, error *err)
{
    s->values = memory_take(QUANTIZE_CHUNK_VALUES, sizeof *s->values);
    s->segment = memory_take(D_MODEL_MAX, sizeof *s->segment);
    s->importance = memory_take(D_MODEL_MAX, sizeof *s->importance);
    s->codes = memory_take(QUANTIZE_CHUNK_VALUES, 1);
    s->scales = memory_take(QUANTIZE_CHUNK_VALUES / 4, 1); /* rows have 16 values or more */
    if (s->values && s->segment && s->importance && s->codes && s->scales) return OK;
    return fail(err, ERR_MEMORY, "out of memory for a chunk");
}

static void scratch_close(struct scratch *s)
{
    memory_free(s->values);
    memory_free(s->segment);
    memory_free(s->importance);
    memory_free(s->codes);
    memory_free(s->scales);
}

/* -1 when there is none, or somebody failed. Chunks are taken in order, so that all before a failed
 * one have been tried: the failure reported does not depend on threads. */
static int64_t chunk_take(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    int64_t i = job->failure == OK && job->next < job->end ? job->next++ : -1;
    pthread_mutex_unlock(&job->lock);
    return i;
}

static void chunk_end(struct job *job, int64_t i, status s, const error *why)
{
    size_t bytes = 0;
    if (s == OK) {
        struct chunk c = chunk_at(job, i);
        bytes = (size_t)(c.n * c.item->to.n_columns) * tensor_dtype_bytes(c.item->from->dtype);
    }
    pthread_mutex_lock(&job->lock);
    job->done_bytes += bytes;
    if (s != OK && i < job->failed_at) {
        job->failed_at = i;
        job->failure = s;
        job->why = *why;
    }
    pthread_mutex_unlock(&job->lock);
}

static void *worker(void *context)
{
    struct job *job = context;
    struct scratch scratch = {0};
    error why;
    status s = scratch_open(&scratch, &why);
    if (s != OK) chunk_end(job, INT64_MAX - 1, s, &why);
    for (int64_t i; (i = chunk_take(job)) >= 0;) {
        s = chunk_make(job, &scratch, i, &why);
        chunk_end(job, i, s, &why);
    }
    scratch_close(&scratch);
    pthread_mutex_lock(&job->lock);
    job->n_running--;
    pthread_cond_signal(&job->ended);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

/* Under the lock, which is free while progress is told. */
static void workers_wait(struct job *job, const struct quantize_workers *workers)
{
    while (job->n_running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += PROGRESS_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&job->ended, &job->lock, &until);
        size_t done = job->done_bytes;
        pthread_mutex_unlock(&job->lock);
        if (workers->progress) workers->progress(workers->context, done);
        pthread_mutex_lock(&job->lock);
    }
}

static status workers_run(struct job *job, const struct quantize_workers *workers, error *err)
{
    int32_t n = workers->n_threads, n_started = 0;
    pthread_condattr_t clock;
    pthread_t *threads = memory_take((size_t)n, sizeof *threads);
    if (!threads) return fail(err, ERR_MEMORY, "out of memory for %d threads", n);
    pthread_mutex_init(&job->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&job->ended, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_lock(&job->lock);
    while (n_started < n && pthread_create(&threads[n_started], NULL, worker, job) == 0)
        n_started++;
    job->n_running = n_started; /* none of them can end before the lock is free */
    workers_wait(job, workers);
    pthread_mutex_unlock(&job->lock);
    for (int32_t i = 0; i < n_started; i++) pthread_join(threads[i], NULL);
    pthread_cond_destroy(&job->ended);
    pthread_mutex_destroy(&job->lock);
    memory_free(threads);
    if (n_started == 0) return fail(err, ERR_IO, "cannot start a thread");
    if (job->failure == OK) return OK;
    return fail(err, job->failure, "%s", job->why.message);
}

static void results_sum(struct quantize_plan *plan, const struct quantize_shard *shard,
                        const struct job *job)
{
    const struct rounding *r = job->roundings;
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        struct quantize_item *item = &plan->items[i];
        struct rounding sum = {0};
        for (int64_t c = 0; c < item->n_chunks; c++, r++) {
            sum.largest = fmax(sum.largest, r->largest);
            sum.error_squares += r->error_squares;
            sum.value_squares += r->value_squares;
        }
        item->result.error_max = sum.largest;
        item->result.error_relative =
            sum.value_squares > 0 ? sqrt(sum.error_squares / sum.value_squares) : 0;
    }
}

static status file_open(struct job *job, const struct quantize_shard *shard, error *err)
{
    job->fd = open(job->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (job->fd < 0) return fail(err, ERR_IO, "%s: cannot create: %s", job->path, strerror(errno));
    if (ftruncate(job->fd, (off_t)shard->file_bytes) != 0)
        return fail(err, ERR_IO, "%s: cannot size: %s", job->path, strerror(errno));
    return bytes_write(job, shard->header.bytes, shard->header.size, 0, err);
}

status quantize_shard_write(struct quantize_plan *plan, int32_t shard, const char *path,
                            const struct quantize_workers *workers, error *err)
{
    const struct quantize_shard *to = &plan->shards[shard];
    struct job job = {.items = &plan->items[to->first],
                      .statistics = workers->statistics,
                      .path = path,
                      .fd = -1,
                      .failed_at = INT64_MAX};
    for (int32_t i = 0; i < to->n; i++) job.end += job.items[i].n_chunks;
    job.roundings = memory_take((size_t)job.end, sizeof *job.roundings);
    status s =
        job.roundings ? file_open(&job, to, err) : fail(err, ERR_MEMORY, "%s: out of memory", path);
    if (s == OK) s = workers_run(&job, workers, err);
    if (s == OK && fsync(job.fd) != 0)
        s = fail(err, ERR_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (job.fd >= 0 && close(job.fd) != 0 && s == OK)
        s = fail(err, ERR_IO, "%s: cannot close: %s", path, strerror(errno));
    if (s == OK) results_sum(plan, to, &job);
    memory_free(job.roundings);
    return s;
}

status quantize_stage_make(const struct quantize_stage *stage, int64_t *n_rows, int32_t n_threads,
                           error *err)
{
    struct quantize_workers workers = {.n_threads = n_threads};
    struct job job = {.items = stage->item,
                      .fd = -1,
                      .stage = stage,
                      .first = stage->first_chunk,
                      .next = stage->first_chunk,
                      .end = stage->first_chunk + stage->n_chunks,
                      .failed_at = INT64_MAX};
    struct chunk first = chunk_at(&job, job.first), last = chunk_at(&job, job.end - 1);
    *n_rows = chunk_row(&last) + last.n - chunk_row(&first);
    job.roundings = memory_take((size_t)stage->n_chunks, sizeof *job.roundings);
    status s = job.roundings ? workers_run(&job, &workers, err)
                             : fail(err, ERR_MEMORY, "%s: out of memory", stage->item->to.name);
    memory_free(job.roundings);
    return s;
}
