/* Around the experts: rows sorted by expert on the device, hidden units rounded to E4M3, and the combine.
 * Nothing here adds in an order that depends on timing. */
#include "kernels/cuda/experts.cuh"

enum { SORT_THREADS = 512, COMBINE_THREADS = 256, ROUND_THREADS = 512, EXPERTS_AT_MOST = 64 };

/* Entries of one expert in ascending (row, rank): a warp walks the routes, 32 a step, and counts by
 * ballot; with `slot` it also places them from `at`. Returns how many there are. */
DEVICE int expert_walk(const struct cuda_sort &a, int expert, int at, bool place)
{
    int n = a.live->n_rows * a.top_k;
    for (int i = 0; i < n; i += WARP) {
        int mine = i + lane_index();
        bool is = mine < n && a.route[mine] == expert;
        uint32_t all = warp_ballot(is);
        if (is && place) {
            int slot = at + bits_count(all & (((uint32_t)1 << lane_index()) - 1));
            a.slot[mine] = slot;
            a.entry_row[slot] = mine / a.top_k;
        }
        at += bits_count(all);
    }
    return at;
}

/* One block: a warp counts for each expert, the counts are summed, and a warp places its entries. */
KERNEL(SORT_THREADS) sort_kernel(struct cuda_sort a)
{
    SHARED(int32_t, first, EXPERTS_AT_MOST + 1);
    grid_begin();
    for (int e = warp_index(); e < a.n_experts; e += SORT_THREADS / WARP) {
        int n = expert_walk(a, e, 0, false);
        if (lane_index() == 0) first[e + 1] = n;
    }
    if (thread_index() == 0) first[0] = 0;
    block_sync();
    if (thread_index() == 0)
        for (int e = 0; e < a.n_experts; e++) first[e + 1] += first[e];
    block_sync();
    for (int e = thread_index(); e <= a.n_experts; e += SORT_THREADS) a.first[e] = first[e];
    for (int e = warp_index(); e < a.n_experts; e += SORT_THREADS / WARP)
        expert_walk(a, e, first[e], true);
}

void EXPORT(launch_sort)(const struct cuda_sort *a, void *stream)
{
    struct grid g = {1, 1, 1};
    LAUNCH_EARLY(sort_kernel, g, SORT_THREADS, stream, *a);
}

/* Some of the weights that the entry meets next: memory has nothing else to do meanwhile. Of all entries of
 * a step no more than a part of the second-level cache, so it is few entries that this helps. */
DEVICE void round_prefetch(const struct cuda_round &a, int entry)
{
    int64_t bytes = (int64_t)CUDA_PREFETCH_BYTES / a.entries_bound / a.next_n / 16 * 16, group = 0;
    if (bytes == 0) return;
    while (a.first[group + 1] <= entry) group++;
    for (int i = thread_index(); i < a.next_n; i += ROUND_THREADS)
        prefetch(a.next.codes + (group * a.next_n + i) * a.next.row_bytes,
                 (int)(bytes < a.next.row_bytes ? bytes : a.next.row_bytes));
}

/* A block owns an entry: its largest magnitude, and then its codes, four values a thread at a time. Bytes:
 * 4 a value read, and once more from the first-level cache, 1 or 2 written. */
KERNEL(ROUND_THREADS) round_kernel(struct cuda_round a)
{
    SHARED(float, held, ROUND_THREADS / WARP);
    int entry = block_x();
    grid_begin();
    if (entry >= a.first[a.n_groups]) return;
    round_prefetch(a, entry);
    int64_t row = entry * a.to.stride;
    float largest = 0;
    for (int i = 4 * thread_index(); i < a.n; i += 4 * ROUND_THREADS) {
        struct four x = load_four(a.x + row + i);
        for (int j = 0; j < 4; j++) largest = fmaxf(largest, fabsf(x.f[j]));
    }
    float scale = block_max(largest, held) / 448.0f;
    for (int i = 4 * thread_index(); i < a.n; i += 4 * ROUND_THREADS)
        activations_store(a.to, ACTIVATION_E4M3, entry, i, load_four(a.x + row + i), scale);
    if (thread_index() == 0) a.to.scale[entry] = scale;
}

void EXPORT(launch_round)(const struct cuda_round *a, void *stream)
{
    struct grid g = {a->entries_bound, 1, 1};
    LAUNCH_EARLY(round_kernel, g, ROUND_THREADS, stream, *a);
}

/* Gathered, so no two blocks write one value. Only behind the last layer of a step's range: between
 * layers the norm adds as it reads. */
KERNEL(COMBINE_THREADS) combine_kernel(struct cuda_combine a)
{
    int row = block_x();
    grid_begin();
    if (row >= a.live->n_rows || a.live->seq[row] < 0) return;
    for (int i = 4 * thread_index(); i < a.d; i += 4 * COMBINE_THREADS) {
        float *x = a.x + (int64_t)row * a.d + i;
        store_four(x, experts_added(a, row, i, load_four(x)));
    }
}

void EXPORT(launch_combine)(const struct cuda_combine *a, void *stream)
{
    struct grid g = {a->rows_bound, 1, 1};
    LAUNCH_EARLY(combine_kernel, g, COMBINE_THREADS, stream, *a);
}
