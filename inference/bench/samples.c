#include "inference/bench/samples.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

void samples_put(struct samples *s, double value)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        double *values = memory_resize(s->values, room, sizeof *values);
        if (!values) {
            s->failed = true;
            return;
        }
        s->values = values;
        s->room = room;
    }
    s->values[s->n++] = value;
}

void samples_put_all(struct samples *to, const struct samples *from)
{
    to->failed |= from->failed;
    for (size_t i = 0; i < from->n; i++) samples_put(to, from->values[i]);
}

void samples_free(struct samples *s)
{
    memory_free(s->values);
    *s = (struct samples){0};
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool samples_sort(struct samples *s)
{
    if (s->n == 0 || s->failed) return false;
    qsort(s->values, s->n, sizeof *s->values, double_compare);
    return true;
}

double samples_percentile(struct samples *s, double percent)
{
    if (!samples_sort(s)) return (double)NAN;
    double rank = ceil(percent / 100 * (double)s->n);
    size_t i = rank < 1 ? 0 : (size_t)rank - 1;
    return s->values[i < s->n ? i : s->n - 1];
}

double samples_median(struct samples *s)
{
    if (!samples_sort(s)) return (double)NAN;
    return (s->values[(s->n - 1) / 2] + s->values[s->n / 2]) / 2;
}

double samples_mean(const struct samples *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) sum += s->values[i];
    return s->n && !s->failed ? sum / (double)s->n : (double)NAN;
}

double rate_per_s(double amount, double us)
{
    return amount > 0 && us > 0 ? amount * 1e6 / us : (double)NAN;
}

status share_of(double *out, double part, double whole, const char *what, error *err)
{
    double share = part / whole;
    *out = share;
    if (share > 0 && share <= 1) return OK;
    *out = (double)NAN;
    return fail(err, ERR_FORMAT,
                "%s: the share is %.3f, expected more than 0 and at most 1: the "
                "machine was too busy to be measured",
                what, share);
}
