/* Bytes that come in pieces, out as whole characters.
 *
 * A token may end inside a UTF-8 character: its first bytes are held back until the rest is there.
 * What can never become a character leaves as U+FFFD, one per maximal ill-formed part (Unicode 15,
 * section 3.9, "substitution of maximal subparts"; what TextDecoder does), and never earlier or later
 * than the next byte. One owner, one thread. */
#ifndef INFERENCE_SERVICE_UTF8_HOLD_H
#define INFERENCE_SERVICE_UTF8_HOLD_H

#include "base/text.h"

/* Zeroed: nothing is held. */
struct utf8_hold {
    unsigned char bytes[4];
    unsigned char n;
};

/* Appends to *out all characters that `piece` completes. */
void utf8_hold_put(struct utf8_hold *h, buffer *out, text piece);

/* Nothing more will come: what is still held becomes U+FFFD. */
void utf8_hold_end(struct utf8_hold *h, buffer *out);

#endif
