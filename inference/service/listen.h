/* Where the service listens, and who may be the engine.
 *
 * Sockets are made here and given to the HTTP layer bound and listening. Called by the main thread
 * while it is the only one (the umask is process-wide). */
#ifndef INFERENCE_SERVICE_LISTEN_H
#define INFERENCE_SERVICE_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct listener {
    int fd;
    int port;       /* TCP: the port bound; Unix: 0 */
    char path[108]; /* Unix: the socket's file; TCP: "" */
    dev_t device;   /* of that file, so that only our own is removed */
    ino_t inode;
};

/* A Unix socket of mode 0600. A file left by a dead process is removed; ERR_BUSY when somebody
 * listens there (asked again for `patience_us`: a holder of the engine lock may see the last
 * moments of a killed one), ERR_LIMIT when the path is longer than a socket address holds. */
status listen_unix(struct listener *out, const char *path, int64_t patience_us, error *err);

/* TCP on an address ("127.0.0.1", "::1", "localhost"; NULL: 127.0.0.1), without TLS a loopback one:
 * ERR_UNSUPPORTED for any other. ERR_USAGE for what is no address, ERR_BUSY when the port is taken. */
status listen_tcp(struct listener *out, const char *host, int port, bool tls, error *err);

/* A listening TCP socket that somebody else has bound; the same rule. */
status listen_inherited(struct listener *out, int fd, bool tls, error *err);

/* Removes the socket file if it is still ours: whoever comes now starts an engine of his own. */
void listener_remove(struct listener *l);

/* Opens `path` and takes the lock without waiting, for the life of the process; *fd keeps it.
 * ERR_BUSY names the pid of the holder. */
status lock_take(int *fd, const char *path, error *err);

/* The same for a descriptor the process inherited, locked already. Writes our pid into the file. */
status lock_adopt(int fd, error *err);

#endif
