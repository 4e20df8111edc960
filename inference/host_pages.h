/* The second tier's room: KV pages kept in host memory, one slot each.
 *
 *   device pool   [p0][p1][p2] ...        kernels' own memory; page numbers of kv_pages
 *                   |    ^
 *              save |    | load           one contiguous copy per page
 *                   v    |
 *   host slots    [s0][s1][s2] ...        memory (pinned, in slabs, for a GPU), or a mapped file
 *                                          without a name
 *
 * It moves bytes and knows which slots are free; who lies where is the prefix cache's business. The
 * file is made without a name (or loses it at once), so that it vanishes with the process, and all
 * its blocks are allocated at open: a full disk is found there and never as a SIGBUS later.
 *
 * Copies go through the kernel table, n pages a call: a backend that copies in the background has
 * only to keep its copies and steps in order. The worker thread only. */
#ifndef INFERENCE_HOST_PAGES_H
#define INFERENCE_HOST_PAGES_H

#include "kernels/kernels.h"

typedef struct host_pages host_pages;

struct host_pages_options {
    const struct kernels *kernels; /* pages_save and pages_load are used */
    kv_pool *kv;                   /* must outlive the slots, as the device must */
    device *device;                /* whose pool it is */
    size_t page_bytes;             /* of this pool, as kernels->plan says */
    int32_t n_slots;               /* at least 1 */
    const char *directory;         /* where the file is made; NULL: anonymous memory */
};

/* ERR_MEMORY, or ERR_IO with directory, size and reason (no room on the disk among them). */
status host_pages_open(host_pages **out, const struct host_pages_options *options, error *err);
void host_pages_close(host_pages *h); /* NULL is fine */

/* A free slot, or -1; and back. */
int32_t host_pages_take(host_pages *h);
void host_pages_release(host_pages *h, int32_t slot);

/* Copies n pages out of the device pool, or into it. Ordered like the steps: a page may be written
 * again after a save, a slot taken again after a load. A slot may occur twice: the last one counts. */
void host_pages_save(host_pages *h, const int32_t *slots, const int32_t *pages, int32_t n);
void host_pages_load(host_pages *h, const int32_t *pages, const int32_t *slots, int32_t n);

int32_t host_pages_count(const host_pages *h);
int32_t host_pages_free_count(const host_pages *h);
bool host_pages_is_taken(const host_pages *h, int32_t slot); /* for checks */

#endif
