/* A short array: owners with work are at most as many as requests that wait or run. An idle owner's
 * counter is kept while there is room; the least one is forgotten first, which the lift makes
 * harmless. */
#include "inference/owners.h"

#include "base/limits.h"
#include "base/memory.h"

enum { OWNERS_MAX = ENGINE_QUEUE_MAX + ENGINE_SEQUENCES_MAX + 704 };

struct owner {
    uint64_t key;
    int64_t served;
    int32_t n_requests;
};

struct owners {
    struct owner all[OWNERS_MAX];
    int32_t n;
    int64_t last_served; /* of the owner that left last */
};

status owners_open(owners **out, error *err)
{
    *out = memory_take(1, sizeof **out);
    return *out ? OK : fail(err, ERR_MEMORY, "out of memory for the owners");
}

void owners_close(owners *o) { memory_free(o); }

static int32_t slot_idle_least(const owners *o)
{
    int32_t least = -1;
    for (int32_t i = 0; i < o->n; i++)
        if (o->all[i].n_requests == 0 && (least < 0 || o->all[i].served < o->all[least].served))
            least = i;
    return least;
}

static int32_t slot_of(owners *o, uint64_t key)
{
    int32_t slot = 0;
    while (slot < o->n && o->all[slot].key != key) slot++;
    if (slot < o->n) return slot;
    if (o->n < OWNERS_MAX)
        o->n++;
    else
        slot = slot_idle_least(o);
    if (slot < 0) return 0; /* all active, more than can wait: they share */
    o->all[slot] = (struct owner){.key = key};
    return slot;
}

/* What nobody active is below; the last one's counter when nobody is active. */
static int64_t served_floor(const owners *o)
{
    int64_t least = -1;
    for (int32_t i = 0; i < o->n; i++)
        if (o->all[i].n_requests > 0 && (least < 0 || o->all[i].served < least))
            least = o->all[i].served;
    return least < 0 ? o->last_served : least;
}

int32_t owners_enter(owners *o, uint64_t key)
{
    int32_t slot = slot_of(o, key);
    struct owner *owner = &o->all[slot];
    if (owner->n_requests == 0) {
        int64_t least = served_floor(o);
        if (owner->served < least) owner->served = least;
    }
    owner->n_requests++;
    return slot;
}

void owners_leave(owners *o, int32_t slot)
{
    if (--o->all[slot].n_requests == 0) o->last_served = o->all[slot].served;
}

void owners_serve(owners *o, int32_t slot, int64_t n_tokens) { o->all[slot].served += n_tokens; }

int64_t owners_served(const owners *o, int32_t slot) { return o->all[slot].served; }
