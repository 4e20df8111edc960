/* One mutex, one condition: requests last milliseconds to minutes, so nothing here is hot. */
#include "inference/service/state.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"

status service_state_open(struct service *s, error *err)
{
    pthread_condattr_t monotonic;
    s->state = SERVICE_LOADING;
    s->started_us = s->active_us = clock_us();
    s->started_unix_s = (int64_t)time(NULL);
    if (getrandom(&s->random, sizeof s->random, 0) != (ssize_t)sizeof s->random)
        return fail(err, ERR_IO, "getrandom: %s", strerror(errno));
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return OK;
}

void service_state_close(struct service *s)
{
    buffer_free(&s->ranks);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
}

const char *service_state_name(enum service_state state)
{
    static const char *const names[] = {"loading", "ready", "draining", "failed"};
    return names[state];
}

void service_look(struct service *s, struct service_view *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = (struct service_view){.state = s->state,
                                 .progress = s->progress,
                                 .n_leases = s->n_leases,
                                 .n_work = s->n_work,
                                 .version = s->version};
    if (s->state == SERVICE_FAILED) memcpy(out->reason, s->failure.message, sizeof out->reason);
    if (s->state == SERVICE_READY || s->state == SERVICE_DRAINING) out->engine = s->engine;
    if (s->n_leases + s->n_work == 0) out->idle_us = clock_us() - s->active_us;
    pthread_mutex_unlock(&s->mutex);
}

void service_wait(struct service *s, uint64_t version, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += timeout_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->mutex);
    while (s->version == version && !atomic_load(&s->stopping))
        if (pthread_cond_timedwait(&s->changed, &s->mutex, &until) != 0) break;
    pthread_mutex_unlock(&s->mutex);
}

static void change_end(struct service *s)
{
    s->version++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void service_set_progress(struct service *s, double progress)
{
    pthread_mutex_lock(&s->mutex);
    if (progress > s->progress) s->progress = progress < 1 ? progress : 1;
    change_end(s);
}

void service_set_loaded(struct service *s, engine *e)
{
    pthread_mutex_lock(&s->mutex);
    s->engine = e;
    s->progress = 1;
    if (s->state == SERVICE_LOADING) s->state = SERVICE_READY;
    /* Whoever waited for the model gets the full idle time to come back. */
    s->active_us = clock_us();
    change_end(s);
}

void service_set_failed(struct service *s, const error *failure)
{
    pthread_mutex_lock(&s->mutex);
    s->failure = *failure;
    s->state = SERVICE_FAILED;
    change_end(s);
}

bool service_drain(struct service *s, int64_t if_idle_us)
{
    pthread_mutex_lock(&s->mutex);
    bool idle = s->n_leases + s->n_work == 0 && clock_us() - s->active_us >= if_idle_us;
    if (if_idle_us < 0 || idle) s->state = SERVICE_DRAINING;
    bool draining = s->state == SERVICE_DRAINING;
    change_end(s);
    return draining;
}

void service_stop(struct service *s)
{
    pthread_mutex_lock(&s->mutex);
    atomic_store(&s->stopping, true);
    change_end(s);
}

bool service_work_begin(struct service *s)
{
    pthread_mutex_lock(&s->mutex);
    bool admitted = s->state == SERVICE_READY;
    if (admitted) s->n_work++;
    change_end(s);
    return admitted;
}

void service_work_end(struct service *s)
{
    pthread_mutex_lock(&s->mutex);
    s->n_work--;
    s->active_us = clock_us();
    change_end(s);
}

void service_lease_begin(struct service *s)
{
    pthread_mutex_lock(&s->mutex);
    s->n_leases++;
    change_end(s);
}

void service_lease_end(struct service *s)
{
    pthread_mutex_lock(&s->mutex);
    s->n_leases--;
    s->active_us = clock_us();
    change_end(s);
}
