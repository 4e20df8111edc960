/* The rhythm of keys and answers: how long an automatic question waits before the engine is asked.
 *
 * While answers come faster than keys, asking at once costs nothing that would be thrown away. Where
 * they come slower, most answers would be overtaken by the next key: then the engine is asked when
 * the typing pauses. Pure. */
#ifndef LSP_ASSISTANT_RHYTHM_H
#define LSP_ASSISTANT_RHYTHM_H

#include <stdint.h>

struct rhythm {
    int64_t key_us;              /* when the last one came; 0: none yet */
    double interval_ms, ttft_ms; /* means over the last few; 0: not known */
};

void rhythm_key(struct rhythm *r, int64_t now_us);
void rhythm_answer(struct rhythm *r, double ttft_ms);

/* Microseconds from now until the engine should be asked; 0: at once. */
int64_t rhythm_wait_us(const struct rhythm *r, int64_t now_us);

#endif
