/* Tokens served by owner: who got least goes first.
 *
 * A counter per owner with work; whoever comes, or comes back, is lifted to the least of the active
 * ones, so that idling saves nothing up (Sheng et al. 2024, "Fairness in serving large language
 * models", virtual token counter). Prompt tokens count 1 when computed and 0 when found, output
 * tokens 2. It knows no requests. The worker thread only. */
#ifndef INFERENCE_OWNERS_H
#define INFERENCE_OWNERS_H

#include <stdint.h>

#include "base/error.h"

typedef struct owners owners;

enum { OWNER_OUTPUT_WEIGHT = 2 };

/* ERR_MEMORY. */
status owners_open(owners **out, error *err);
void owners_close(owners *o);

/* One request more of this owner, and its slot until owners_leave: one request less. */
int32_t owners_enter(owners *o, uint64_t owner);
void owners_leave(owners *o, int32_t slot);

void owners_serve(owners *o, int32_t slot, int64_t n_tokens);
int64_t owners_served(const owners *o, int32_t slot);

#endif
