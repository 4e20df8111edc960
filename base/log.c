#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {"error", "warn", "info", "debug"};

static enum log_level level_from_environment(void)
{
    const char *wanted = getenv("DBRX_LOG");
    for (int i = LOG_ERROR; wanted && i <= LOG_DEBUG; i++)
        if (strcmp(wanted, names[i]) == 0) return (enum log_level)i;
    return LOG_WARN;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > level_from_environment()) return;
    char line[1024];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof line, "%FT%T", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used,
                             ".%03ldZ dbrx-ls[%ld] %s: ", now.tv_nsec / 1000000, (long)getpid(),
                             names[level]);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    size_t size = n < 0 ? used : used + (size_t)n;
    if (size > sizeof line - 2) size = sizeof line - 2;
    for (size_t i = used; i < size; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?';
    line[size] = '\n';
    /* A closed or full stderr must never stop the program. */
    if (write(STDERR_FILENO, line, size + 1) < 0) return;
}
