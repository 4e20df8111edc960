#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void message_clean(char *message)
{
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
}

status(fail)(error *err, status code, const char *format, ...)
{
    if (!err) return code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    message_clean(err->message);
    err->code = code;
    return code;
}

status(fail_in)(error *err, status code, const char *format, ...)
{
    if (!err) return code;
    char below[sizeof err->message];
    va_list args;
    memcpy(below, err->message, sizeof below);
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t n = strlen(err->message);
    snprintf(err->message + n, sizeof err->message - n, ": %s", below);
    message_clean(err->message);
    return code;
}

const char *status_name(status code)
{
    static const char *const names[] = {"ok",      "usage",     "format",      "io",
                                        "memory",  "limit",     "unsupported", "busy",
                                        "network", "cancelled", "device"};
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
