/* Who asks: the user of a Unix socket's other end, or the bearer of the key. */
#ifndef INFERENCE_SERVICE_ACCESS_H
#define INFERENCE_SERVICE_ACCESS_H

#include "inference/service/http.h"

/* Over TCP the Host header must name this machine (a page in a browser whose host name was bound
 * to 127.0.0.1 says another) and, unless `open`, the key must be right. Over a Unix socket the
 * peer's uid must be ours. Sets x->caller and returns true, or x->refusal. */
bool access_check(struct exchange *x, bool open);

/* A part of an owner's namespace: the salt divides what is its own, and reaches nobody else's. */
uint64_t owner_salted(uint64_t owner, text salt);

#endif
