/* The log: lines on stderr, and nowhere else (stdout belongs to the protocol).
 *
 * Never document text, prompts, keys or ids of tokens: names of methods, sizes, times, reasons.
 * Thread-safe: one write per line. The level comes from DBRX_LOG (error, warn, info, debug). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
