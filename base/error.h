/* Errors: one status per kind, one message for people.
 *
 * A fallible function returns `status`, takes its outputs first and `error *err` last. `fail` is the
 * only way to make an error; the caller owns the struct, usually on its stack. A message is one
 * line: it names the file or field, what was found and what was expected. `err` may be NULL where
 * the caller does not care for the words. Any thread may call; nothing is shared. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

typedef enum status {
    OK = 0,
    ERR_USAGE,       /* the caller of the program asked for something that does not exist */
    ERR_FORMAT,      /* bytes from outside break their format's rules */
    ERR_IO,          /* the operating system refused: errno is in the message */
    ERR_MEMORY,      /* an allocation failed */
    ERR_LIMIT,       /* a bound of base/limits.h was reached */
    ERR_UNSUPPORTED, /* valid, but outside what this program does */
    ERR_BUSY,        /* try again later: a queue is full, a lock is held */
    ERR_NETWORK,     /* a peer is away, slow or talks nonsense */
    ERR_CANCELLED,   /* the work was no longer wanted */
    ERR_DEVICE,      /* the compute device failed; its process must end */
} status;

typedef struct error {
    status code;
    char message[512]; /* UTF-8, NUL-terminated, one line */
} error;

/* Fills `err` (when not NULL) and returns `code`. Control characters in the result become '?', so a
 * message never breaks a log line or a terminal. */
status fail(error *err, status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message of an error on its way up and returns `code`, the status that
 * came from below. */
status fail_in(error *err, status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The analyser reads one file at a time and would follow the paths on which a failure were OK. */
#ifdef __clang_analyzer__
#define fail(err, code, ...)    (fail(err, code, __VA_ARGS__), (code))
#define fail_in(err, code, ...) (fail_in(err, code, __VA_ARGS__), (code))
#endif

/* "format", "io", ...: the stable name of a status, for JSON and logs. */
const char *status_name(status code);

#endif
