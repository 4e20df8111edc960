/* Stop strings: byte strings that end an output and are not in it, wherever tokens were cut.
 *
 * What might become a stop string is held back until it has or has not. Bytes only; it knows no
 * tokens and no UTF-8. One thread at a time. */
#ifndef INFERENCE_STOP_H
#define INFERENCE_STOP_H

#include "base/text.h"

/* A zeroed struct with `stops` set is ready; stop_free frees what it holds. */
struct stop_matcher {
    const text *stops; /* [n_stops] none empty; must outlive the matcher */
    size_t n_stops;
    buffer held; /* given, not released: the beginning of a stop string, perhaps */
};

/* Takes more output. Appends to *out what can be no part of a stop string any more. True: a stop
 * string is complete, *out got the bytes before it, and there will be no more. Of several the one
 * that begins first counts. Memory: held.failed or out->failed. */
bool stop_push(struct stop_matcher *m, text bytes, buffer *out);

/* The output has ended without a stop string: releases what was held back. */
void stop_flush(struct stop_matcher *m, buffer *out);

void stop_free(struct stop_matcher *m);

#endif
