/* A step of few rows is some hundred launches of microseconds each: captured once, they are made again
 * by one call. Graphs are found by bucket of rows (1, 2, 4, ... 64) and range of layers; head, residual
 * and pool also stand in their launches, so they are part of the key. Everything else that differs from
 * step to step is read on the device from struct cuda_live, whose address stays.
 *
 * They take device memory, which is not said beforehand: the plan leaves room for an estimate, each is
 * measured by what was free before and behind it, and those used longest ago go when that room is full.
 *
 * One model per device: the weights of a captured range are those of its first step. */
#include "base/log.h"
#include "kernels/cuda/cuda.h"

size_t cuda_graphs_bytes(const struct model_shape *s)
{
    enum { LAUNCHES_A_LAYER = 11, LAUNCHES_AROUND = 8 };
    size_t launches = (size_t)s->n_layers * LAUNCHES_A_LAYER + LAUNCHES_AROUND;
    return launches * CUDA_LAUNCH_BYTES * CUDA_GRAPHS_PLANNED;
}

static int32_t bucket(int32_t n)
{
    int32_t b = 1;
    while (b < n) b *= 2;
    return b;
}

static struct cuda_graph_key key_of(const device *d)
{
    const struct step *s = d->step;
    struct cuda_graph_key key = {0};
    bool last = d->layer_to == d->s.n_layers;
    key.rows = bucket(s->n_rows);
    key.outs = last && s->n_outs > 0 ? bucket(s->n_outs) : 0;
    key.layer_from = d->layer_from;
    key.layer_to = d->layer_to;
    key.slice = s->slice;
    key.kv = s->kv->bytes;
    key.samples = key.outs > 0 && s->sample;
    return key;
}

static bool key_equal(const struct cuda_graph_key *a, const struct cuda_graph_key *b)
{
    return a->rows == b->rows && a->outs == b->outs && a->layer_from == b->layer_from &&
           a->layer_to == b->layer_to && a->slice == b->slice && a->kv == b->kv &&
           a->samples == b->samples;
}

static struct cuda_graph *find(struct cuda_graphs *g, const struct cuda_graph_key *key)
{
    for (int i = 0; i < g->n; i++)
        if (key_equal(&g->all[i].key, key)) return &g->all[i];
    return NULL;
}

static void close_graph(device *d, int at)
{
    struct cuda_graphs *g = &d->graphs;
    if (g->all[at].graph) cuda_ok(d, d->run->graph_close(g->all[at].graph), "closing a graph");
    g->bytes -= g->all[at].bytes;
    g->all[at] = g->all[--g->n];
}

static int oldest(const struct cuda_graphs *g)
{
    int at = 0;
    for (int i = 1; i < g->n; i++)
        if (g->all[i].used_at < g->all[at].used_at) at = i;
    return at;
}

static struct cuda_graph *room(device *d)
{
    struct cuda_graphs *g = &d->graphs;
    if (g->n == CUDA_GRAPHS_MAX) close_graph(d, oldest(g));
    return &g->all[g->n++];
}

/* What the newest took; older ones go, or all, when that is more than there is. */
static void measure(device *d, struct cuda_graph *newest)
{
    struct cuda_graphs *g = &d->graphs;
    size_t left;
    if (!cuda_ok(d, d->run->memory(&left), "free memory")) return;
    newest->bytes = g->free_before > left ? g->free_before - left : 0;
    g->bytes += newest->bytes;
    g->full = newest->bytes > g->bytes_max;
    if (g->full)
        log_line(LOG_WARN,
                 "cuda: a captured step takes %zu KiB, %zu are planned for all: steps are launched "
                 "anew",
                 newest->bytes >> 10, g->bytes_max >> 10);
    while (g->n > 0 && g->bytes > g->bytes_max) close_graph(d, oldest(g));
}

bool cuda_graph_begin(device *d)
{
    const struct step *s = d->step;
    d->rows_bound = s->n_rows;
    d->outs_bound = s->n_outs;
    if (d->graphs.off || d->graphs.full || s->n_rows == 0 || s->n_rows > CUDA_GRAPH_ROWS)
        return true;
    struct cuda_graph_key key = key_of(d);
    struct cuda_graph *graph = find(&d->graphs, &key);
    d->rows_bound = key.rows;
    d->outs_bound = key.outs;
    if (graph) {
        graph->used_at = ++d->graphs.clock;
        cuda_ok(d, d->run->graph_launch(graph->graph, d->stream), "a captured step");
        return false;
    }
    if (!cuda_ok(d, d->run->memory(&d->graphs.free_before), "free memory")) return true;
    if (!cuda_ok(d, d->run->capture_begin(d->stream), "capturing a step")) return true;
    d->cost.whole = false; /* a capture is not what a step costs */
    graph = room(d);
    *graph = (struct cuda_graph){.key = key, .used_at = ++d->graphs.clock};
    d->graphs.capturing = graph;
    return true;
}

void cuda_graph_end(device *d)
{
    struct cuda_graph *graph = d->graphs.capturing;
    if (!graph) return;
    d->graphs.capturing = NULL;
    if (cuda_ok(d, d->run->capture_end(d->stream, &graph->graph), "capturing a step") &&
        d->failure.code == OK &&
        cuda_ok(d, d->run->graph_launch(graph->graph, d->stream), "a captured step"))
        measure(d, graph);
}

void cuda_graphs_drop(device *d)
{
    while (d->graphs.n > 0) close_graph(d, d->graphs.n - 1);
}
