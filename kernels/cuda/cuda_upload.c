/* One step, one copy: the host packs what kernels read into pinned memory, each array on 16 bytes.
 * Host pointers do not travel: a history becomes a bitmap of the ids it holds. */
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"

/* Room for n * size bytes in the packed step; *at is their place. First pass: host is NULL. */
static unsigned char *place(struct cuda_upload *u, bool pack, size_t n, size_t size, size_t *at)
{
    size_t bytes, end;
    *at = (u->size + 15) / 16 * 16;
    if (!size_mul(n, size, &bytes) || !size_add(*at, bytes, &end)) {
        u->failed = true;
        return NULL;
    }
    u->size = end;
    return pack ? u->host + *at : NULL;
}

static const void *array(struct cuda_upload *u, bool pack, const void *from, size_t n, size_t size)
{
    size_t at;
    if (!from || n == 0) return NULL;
    unsigned char *to = place(u, pack, n, size, &at);
    if (to) memcpy(to, from, n * size);
    return u->device + at;
}

static bool is_penalised(const struct sample_row *row)
{
    return row->repetition_penalty > 0 && row->repetition_penalty != 1 && row->n_history > 0;
}

static void bitmap_fill(uint32_t *bits, const struct sample_row *row, int32_t n_vocab)
{
    for (int32_t i = 0; i < row->n_history; i++) {
        int32_t id = row->history[i];
        if (id >= 0 && id < n_vocab) bits[id / 32] |= (uint32_t)1 << (id % 32);
    }
}

static void samples(device *d, bool pack, const struct step *s, struct cuda_live *live)
{
    struct cuda_upload *u = &d->upload;
    size_t n_outs = s->sample ? (size_t)s->n_outs : 0, at, words = (size_t)d->words;
    int32_t n_penalised = 0;
    for (size_t i = 0; i < n_outs; i++) n_penalised += is_penalised(&s->sample[i]);
    struct cuda_sample_row *rows =
        (struct cuda_sample_row *)(void *)place(u, pack, n_outs, sizeof *rows, &at);
    live->sample = n_outs ? (const struct cuda_sample_row *)(const void *)(u->device + at) : NULL;
    uint32_t *bits =
        (uint32_t *)(void *)place(u, pack, (size_t)n_penalised * words, sizeof *bits, &at);
    live->penalised = (const uint32_t *)(const void *)(u->device + at);
    if (!pack) return;
    memset(bits, 0, (size_t)n_penalised * words * sizeof *bits);
    n_penalised = 0;
    for (size_t i = 0; i < n_outs; i++) {
        const struct sample_row *r = &s->sample[i];
        rows[i] = (struct cuda_sample_row){
            .temperature = r->temperature,
            .top_p = r->top_p,
            .min_p = r->min_p,
            .repetition_penalty = r->repetition_penalty,
            .top_k = r->top_k,
            .n_logprobs = r->n_logprobs,
            .mask = r->mask,
            .penalised = is_penalised(r) ? n_penalised : -1,
            .seed = r->seed,
            .index = r->index,
        };
        if (is_penalised(r)) bitmap_fill(bits + (size_t)n_penalised++ * words, r, d->s.vocab_size);
    }
}

/* The columns of the page table that hold pages. */
static int32_t pages_used(const struct step *s)
{
    int32_t most = 0;
    for (int32_t i = 0; i < s->n_seqs; i++)
        if (s->kv_len[i] > most) most = s->kv_len[i];
    return (most + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

static const int32_t *page_table(struct cuda_upload *u, bool pack, const struct step *s,
                                 int32_t columns)
{
    size_t at, n = (size_t)s->n_seqs * (size_t)columns;
    int32_t *to = (int32_t *)(void *)place(u, pack, n, sizeof *to, &at);
    for (int32_t i = 0; pack && i < s->n_seqs; i++) {
        int32_t used = (s->kv_len[i] + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
        memset(to + (size_t)i * (size_t)columns, 0, (size_t)columns * sizeof *to);
        memcpy(to + (size_t)i * (size_t)columns, s->page_table + (size_t)i * (size_t)s->pages_max,
               (size_t)used * sizeof *to);
    }
    return (const int32_t *)(const void *)(u->device + at);
}

/* Queries of a row that share K and V. */
static int32_t heads_packed(const device *d)
{
    int32_t group = d->s.n_heads / d->s.kv_n_heads;
    return group < CUDA_HEADS_PACKED ? group : CUDA_HEADS_PACKED;
}

/* Rows of one sequence, side by side, that attention works on at once: {first row, rows} each. A
 * deterministic step of many rows has the tiles of few, and none reaches over the end of a part. */
static const int32_t *tiles(device *d, bool pack, const struct step *s, int32_t *n_tiles)
{
    size_t at;
    bool many = s->n_rows > CUDA_GRAPH_ROWS && !d->o.deterministic;
    int32_t rows = (many ? CUDA_QUERIES : CUDA_COLUMNS) / heads_packed(d), n = 0, i = 0;
    int32_t *to =
        (int32_t *)(void *)place(&d->upload, pack, (size_t)s->n_rows, 2 * sizeof *to, &at);
    while (i < s->n_rows) {
        int32_t first = i++;
        if (d->o.deterministic && first % CUDA_GRAPH_ROWS == 0)
            d->tile_at[first / CUDA_GRAPH_ROWS] = n;
        if (s->seq[first] < 0) continue;
        while (i < s->n_rows && i - first < rows && s->seq[i] == s->seq[first] &&
               (many || i % CUDA_GRAPH_ROWS != 0))
            i++;
        if (to) to[2 * n] = first;
        if (to) to[2 * n + 1] = i - first;
        n++;
    }
    *n_tiles = n;
    d->tile_at[(s->n_rows + CUDA_GRAPH_ROWS - 1) / CUDA_GRAPH_ROWS] = n;
    return (const int32_t *)(const void *)(d->upload.device + at);
}

/* Measures or packs the step; both passes lay the same arrays at the same places. What kernels know of
 * them stands first, where it stays as long as the memory does. */
static void lay(device *d, bool pack, const struct step *s)
{
    struct cuda_upload *u = &d->upload;
    size_t rows = (size_t)s->n_rows, outs = (size_t)s->n_outs, at;
    int32_t columns = pages_used(s);
    struct cuda_live live = {s->n_rows, s->n_seqs, s->n_outs, .pages_max = columns};
    u->size = 0;
    struct cuda_live *to = (struct cuda_live *)(void *)place(u, pack, 1, sizeof live, &at);
    live.token = array(u, pack, s->token, rows, sizeof *s->token);
    live.position = array(u, pack, s->position, rows, sizeof *s->position);
    live.seq = array(u, pack, s->seq, rows, sizeof *s->seq);
    live.out_row = array(u, pack, s->out_row, outs, sizeof *s->out_row);
    live.page_table = page_table(u, pack, s, columns);
    live.chunks = (columns * KV_PAGE_TOKENS + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK;
    live.tile = tiles(d, pack, s, &live.n_tiles);
    d->n_tiles = live.n_tiles;
    live.mask = array(u, pack, s->mask, (size_t)s->n_masks * (size_t)d->words, sizeof *s->mask);
    live.forced =
        array(u, pack, s->routes_forced, (size_t)d->s.n_layers * rows * (size_t)d->s.moe_top_k,
              sizeof *s->routes_forced);
    samples(d, pack, s, &live);
    if (to) *to = live;
}

void cuda_upload_close(device *d)
{
    if (d->upload.host) d->run->host_give(d->upload.host);
    if (d->upload.device) d->run->give(d->upload.device);
    d->upload = (struct cuda_upload){0};
}

/* Of the first step: page tables of every sequence at its longest and two bitmaps a sequence, so that
 * the address, which captured graphs hold, seldom changes. */
static size_t room_first(const device *d)
{
    enum { ROOM_MAX = 16 * 1024 * 1024 };
    size_t pages = ((size_t)d->s.max_seq_len + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    size_t bytes = (size_t)d->o.seqs_max * (pages + 2 * (size_t)d->words) * sizeof(int32_t);
    return bytes < ROOM_MAX ? bytes : ROOM_MAX;
}

/* Grows by half at least, so that a growing context does not take memory at every step. */
static bool reserve(device *d, size_t bytes)
{
    struct cuda_upload *u = &d->upload;
    void *host = NULL;
    if (bytes <= u->room) return true;
    if (u->room == 0) bytes += room_first(d);
    if (!cuda_ok(d, d->run->wait(d->stream), "wait")) return false;
    cuda_graphs_drop(d); /* they hold the address */
    cuda_upload_close(d);
    size_t room = bytes + bytes / 2 + 4096;
    bool ok = cuda_ok(d, d->run->host_take(&host, room), "pinned memory for a step");
    u->host = host;
    u->device = ok ? cuda_take(d, room, "the arrays of a step", &d->failure) : NULL;
    u->room = u->device ? room : 0;
    d->live = (const struct cuda_live *)(const void *)u->device;
    return u->device;
}

bool cuda_upload_step(device *d, const struct step *s)
{
    struct cuda_upload *u = &d->upload;
    u->failed = false;
    lay(d, false, s);
    if (u->failed) {
        fail(&d->failure, ERR_DEVICE, "cuda: the arrays of a step are too large");
        return false;
    }
    /* The step before may still be on its way out of the same pinned memory. */
    if (d->enqueued && !cuda_ok(d, d->run->wait(d->stream), "wait")) return false;
    if (!reserve(d, u->size)) return false;
    lay(d, true, s);
    return cuda_ok(d, d->run->copy(u->device, u->host, u->size, d->stream), "upload of a step");
}
