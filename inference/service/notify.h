/* What a service manager says and hears (sd_notify(3), sd_listen_fds(3)), by environment and one
 * datagram socket, without its library. Without a manager every call does nothing. Main thread. */
#ifndef INFERENCE_SERVICE_NOTIFY_H
#define INFERENCE_SERVICE_NOTIFY_H

#include <stdint.h>

#include "base/error.h"

/* Reads NOTIFY_SOCKET and WATCHDOG_USEC and takes them out of the environment. */
void notify_open(void);

/* One message of lines: "READY=1\nSTATUS=...". Lost messages are nobody's loss. */
void notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Called every tick: tells the manager's watchdog, often enough, that the watch goes on. */
void notify_alive(void);

/* The one listening TCP socket the manager passed (LISTEN_FDS), or *fd -1 when it passed none.
 * ERR_USAGE for more than one or another kind. */
status notify_socket(int *fd, error *err);

#endif
