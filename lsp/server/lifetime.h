/* The ends of a front that nobody says good-bye to: signals, and the client's process.
 *
 * A parent's death is told by the kernel (PR_SET_PDEATHSIG); a process id from the client is looked
 * at every two seconds, if it exists to begin with (in a container it need not). One thread. */
#ifndef LSP_SERVER_LIFETIME_H
#define LSP_SERVER_LIFETIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/error.h"

struct lifetime {
    uv_signal_t terminate, interrupt, hangup, orphaned;
    uv_timer_t watch;
    pid_t parent; /* at the beginning */
    pid_t client; /* 0: none is watched */
    void (*on_end)(void *context, const char *reason);
    void *context;
};

status lifetime_open(struct lifetime *l, uv_loop_t *loop,
                     void (*on_end)(void *context, const char *reason), void *context, error *err);
void lifetime_watch(struct lifetime *l, int64_t process_id);
void lifetime_close(struct lifetime *l);

#endif
