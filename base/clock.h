/* Time. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Microseconds of the monotonic clock. */
int64_t clock_us(void);

/* Processor time of this thread: for bounds on work, which a busy machine must not make look too much. */
int64_t clock_thread_us(void);

void clock_sleep_us(int64_t us);

#endif
