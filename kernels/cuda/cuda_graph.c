/* A step of few rows is some hundred launches of microseconds each: captured once, they are made again
 * by one call. Graphs are found by bucket of rows (1, 2, 4, ... 64) and range of layers; head, residual
 * and pool also stand in their launches, so they are part of the key. Everything else that differs from
 * step to step is read on the device from struct cuda_live, whose address stays.
 *
 * One model per device: the weights of a captured range are those of its first step. */
#include "kernels/cuda/cuda.h"

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

static void close_graph(device *d, struct cuda_graph *graph)
{
    if (graph->graph) cuda_ok(d, d->run->graph_close(graph->graph), "closing a graph");
    graph->graph = NULL;
}

static struct cuda_graph *room(device *d)
{
    struct cuda_graphs *g = &d->graphs;
    struct cuda_graph *oldest = &g->all[0];
    if (g->n < CUDA_GRAPHS_MAX) return &g->all[g->n++];
    for (int i = 1; i < g->n; i++)
        if (g->all[i].used_at < oldest->used_at) oldest = &g->all[i];
    close_graph(d, oldest);
    return oldest;
}

bool cuda_graph_begin(device *d)
{
    const struct step *s = d->step;
    d->rows_bound = s->n_rows;
    d->outs_bound = s->n_outs;
    if (d->graphs.off || s->n_rows == 0 || s->n_rows > CUDA_GRAPH_ROWS) return true;
    struct cuda_graph_key key = key_of(d);
    struct cuda_graph *graph = find(&d->graphs, &key);
    d->rows_bound = key.rows;
    d->outs_bound = key.outs;
    if (graph) {
        graph->used_at = ++d->graphs.clock;
        cuda_ok(d, d->run->graph_launch(graph->graph, d->stream), "a captured step");
        return false;
    }
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
        d->failure.code == OK)
        cuda_ok(d, d->run->graph_launch(graph->graph, d->stream), "a captured step");
}

void cuda_graphs_drop(device *d)
{
    for (int i = 0; i < d->graphs.n; i++) close_graph(d, &d->graphs.all[i]);
    d->graphs.n = 0;
}
