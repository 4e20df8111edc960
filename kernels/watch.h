/* Whether the owner of a device is inside a call of its driver, and since when: a driver that has lost
 * its device may never return, and nothing inside the call can tell.
 *
 * The owner enters and leaves; any one thread looks, at its own pace. Looks are counted and no clock
 * is read, so a process that was stopped for a while, or a machine that slept, is not taken for a
 * device that hangs. NULL is a watch that nobody looks at. */
#ifndef KERNELS_WATCH_H
#define KERNELS_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct device_watch {
    atomic_uint_fast64_t call; /* odd: inside call number call / 2 */
    const char *_Atomic what;  /* of the call, for people; a literal */
    atomic_bool warm;          /* a step has ended: no kernel has to be made ready any more */
};

/* Of the owner. `enter` while inside names the call anew: a step is one call from begin to end. */
void device_watch_enter(struct device_watch *w, const char *what);
void device_watch_leave(struct device_watch *w);
void device_watch_warm(struct device_watch *w);

/* What the looking thread remembers; zero at first. */
struct device_look {
    uint_fast64_t call;
    int64_t n;
};

/* What the owner has been inside of for more than looks_max looks, ten times as many before the first
 * step has ended (a driver translates kernels for a card that it has no code for); else NULL. */
const char *device_watch_look(struct device_watch *w, struct device_look *look, int64_t looks_max);

#endif
