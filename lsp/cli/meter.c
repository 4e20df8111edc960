#include "lsp/cli/meter.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { WIDTH = 30, SHOWN_EVERY_US = 200000 };

struct meter meter_begin(const char *unit)
{
    return (struct meter){
        .unit = unit, .terminal = isatty(STDERR_FILENO) != 0, .begun_us = clock_us()};
}

static void time_print(char *out, size_t size, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, size, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, size, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(out, size, "%ld s", s);
}

static void bar_print(const struct meter *m, double done, double all, double before, int64_t now_us)
{
    char left[64] = "", bar[WIDTH + 1];
    double share = all > 0 ? done / all : 1;
    double seconds = (double)(now_us - m->begun_us) * 1e-6;
    double rate = seconds > 0 ? (done - before) / seconds : 0;
    for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    bar[WIDTH] = 0;
    if (rate > 0) time_print(left, sizeof left, (all - done) / rate);
    fprintf(stderr, "%s[%s] %3.0f %%  %.*f %s/s%s%s%s", m->terminal ? "\r\033[K" : "", bar,
            share * 100, rate < 10 ? 2 : 0, rate, m->unit, *left ? "  left: " : "", left,
            m->terminal ? "" : "\n");
}

void meter_show(struct meter *m, double done, double all, double before)
{
    int64_t now = clock_us();
    if (m->terminal) {
        if (done < all && now - m->shown_us < SHOWN_EVERY_US) return;
        m->shown_us = now;
        bar_print(m, done, all, before, now);
        return;
    }
    int tenths = all > 0 ? (int)(done / all * 10) : 10;
    if (tenths <= m->tenths) return;
    m->tenths = tenths;
    bar_print(m, done, all, before, now);
}

void meter_end(struct meter *m)
{
    if (m->terminal && m->shown_us) fputc('\n', stderr);
    m->shown_us = 0;
}
