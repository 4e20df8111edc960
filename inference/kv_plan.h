/* How much KV an engine gets, from what was asked for and what the machine has: pages of the device
 * pool and of the host tier, or a refusal with the numbers. Arithmetic only; any thread. */
#ifndef INFERENCE_KV_PLAN_H
#define INFERENCE_KV_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kv_need {
    int64_t context_tokens; /* the longest sequence the model knows */
    size_t page_bytes;
    size_t fixed_bytes; /* weights that are copied, and work */
    size_t free_bytes;  /* 0: the machine does not say */
    double share_free;  /* of it, the most to take, and all of that is taken; 0: see kv_plan_make */
    /* As in engine_options; 0: not asked for. */
    int64_t kv_tokens, memory_bytes, host_tokens, host_bytes;
    bool host_elsewhere; /* the host tier takes none of this memory: a disk's, or a GPU's host's */
};

struct kv_plan {
    int32_t n_pages, n_host_pages;
};

/* --kv-tokens decides; else --memory, or the share of what is free, less all other needs, does; else
 * what fits between one context and four. ERR_USAGE for numbers that make no sense, ERR_MEMORY for
 * those that do not fit. */
status kv_plan_make(struct kv_plan *out, const struct kv_need *need, error *err);

#endif
