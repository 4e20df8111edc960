/* The default mode: cells of prefill and decoding, as JSON and as two tables. */
#include <math.h>
#include <stdio.h>

#include "inference/bench/step_bench.h"
#include "kernels/format.h"
#include "lsp/cli/bench.h"

enum { CONTEXT_TOKENS = 512 };

static const int32_t prefill_tokens[] = {64, 512, 2048};
static const int32_t decode_seqs[] = {1, 4};
enum { N_PREFILL = 3, N_DECODE = 2 };

struct cells {
    struct step_bench_model model;
    struct step_cell prefill[N_PREFILL], decode[N_DECODE];
    int n_prefill, n_decode;
};

static void on_loading(void *context, double fraction)
{
    (void)context;
    bench_progress("loading %3.0f %%", 100 * fraction);
}

static json_t *times_json(const struct step_cell *c)
{
    return json_pack("{s:b, s:I, s:o, s:o, s:o, s:o, s:o}", "fits", c->fits, "repeats",
                     (json_int_t)c->n_repeats, "median_ms", figure_json(c->median_us / 1e3),
                     "low_ms", figure_json(c->low_us / 1e3), "high_ms",
                     figure_json(c->high_us / 1e3), "tokens_per_s", figure_json(c->tokens_per_s),
                     "gflop_per_s", figure_json(rate_per_s(c->flop, c->median_us) / 1e9));
}

static json_t *prefill_json(const struct step_cell *c)
{
    json_t *cell = json_pack("{s:i}", "tokens", c->n_rows), *times = times_json(c);
    json_object_update(cell, times);
    json_decref(times);
    return cell;
}

static json_t *decode_json(const struct step_cell *c)
{
    json_t *times = times_json(c);
    json_t *cell =
        json_pack("{s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "batch", c->n_seqs, "context_tokens",
                  c->context, "distinct_experts_per_layer", figure_json(c->experts_per_layer),
                  "weight_bytes_per_step", figure_json(c->weight_bytes), "kv_bytes_per_step",
                  figure_json(c->kv_bytes), "gb_per_s", figure_json(c->bytes_per_s / 1e9),
                  "read_loop_gb_per_s", figure_json(c->loop_bytes_per_s / 1e9),
                  "share_of_read_bandwidth", figure_json(c->share));
    json_object_update(cell, times);
    json_decref(times);
    return cell;
}

static json_t *model_json(const struct step_bench_model *m)
{
    return json_pack("{s:I, s:I, s:s, s:b, s:i, s:i, s:i}", "parameters",
                     (json_int_t)m->n_parameters, "stored_bytes", (json_int_t)m->stored_bytes,
                     "weights", format_name(m->weights), "demo", m->demo, "layers",
                     m->shape.n_layers, "experts", m->shape.moe_num_experts, "context_tokens",
                     m->shape.max_seq_len);
}

static void cells_report(struct bench_report *r, const struct cells *c)
{
    json_t *prefill = json_array(), *decode = json_array();
    for (int i = 0; i < c->n_prefill; i++)
        json_array_append_new(prefill, prefill_json(&c->prefill[i]));
    for (int i = 0; i < c->n_decode; i++) json_array_append_new(decode, decode_json(&c->decode[i]));
    report_set(r, "model", model_json(&c->model));
    report_set(r, "backend", json_string(c->model.backend));
    report_set(r, "machine_read_gb_per_s", figure_json(c->model.read_bytes_per_s / 1e9));
    report_set(r, "prefill", prefill);
    report_set(r, "decode", decode);
    for (int i = 0; i < c->n_decode; i++)
        if (c->decode[i].fault.code != OK) report_fault(r, "%s", c->decode[i].fault.message);
}

static void cells_print(const struct cells *c)
{
    printf("%s, %.1f M parameters, %.1f MB stored%s; %s; memory read at %s GB/s\n\n",
           format_name(c->model.weights), (double)c->model.n_parameters / 1e6,
           (double)c->model.stored_bytes / 1e6, c->model.demo ? " (demo)" : "", c->model.backend,
           figure_text(c->model.read_bytes_per_s / 1e9, 1));
    printf("%-16s %8s %8s %8s %10s %9s\n", "prefill", "ms", "low", "high", "tokens/s", "GFLOP/s");
    for (int i = 0; i < c->n_prefill; i++) {
        const struct step_cell *p = &c->prefill[i];
        printf("%6d tokens    %8s %8s %8s %10s %9s\n", p->n_rows,
               figure_text(p->median_us / 1e3, 2), figure_text(p->low_us / 1e3, 2),
               figure_text(p->high_us / 1e3, 2), figure_text(p->tokens_per_s, 0),
               figure_text(rate_per_s(p->flop, p->median_us) / 1e9, 1));
    }
    printf("\n%-16s %8s %8s %8s %10s %8s %9s %8s %8s %6s\n", "decode", "ms", "low", "high",
           "tokens/s", "experts", "MB/step", "GB/s", "of GB/s", "share");
    for (int i = 0; i < c->n_decode; i++) {
        const struct step_cell *d = &c->decode[i];
        printf("%2d streams of %-4d%7s %8s %8s %10s %8s %9s %8s %8s %6s\n", d->n_seqs, d->context,
               figure_text(d->median_us / 1e3, 2), figure_text(d->low_us / 1e3, 2),
               figure_text(d->high_us / 1e3, 2), figure_text(d->tokens_per_s, 0),
               figure_text(d->experts_per_layer, 1),
               figure_text((d->weight_bytes + d->kv_bytes) / 1e6, 1),
               figure_text(d->bytes_per_s / 1e9, 2), figure_text(d->loop_bytes_per_s / 1e9, 2),
               figure_text(d->share, 2));
    }
}

static status cells_measure(struct cells *c, step_bench *b, error *err)
{
    status s = OK;
    step_bench_model(b, &c->model);
    int32_t context = c->model.shape.max_seq_len / 2;
    if (context > CONTEXT_TOKENS) context = CONTEXT_TOKENS;
    for (int i = 0; s == OK && i < N_PREFILL; i++) {
        bench_progress("prefill of %d tokens", prefill_tokens[i]);
        s = step_bench_prefill(b, prefill_tokens[i], &c->prefill[i], err);
        c->n_prefill += s == OK;
    }
    for (int i = 0; s == OK && i < N_DECODE; i++) {
        bench_progress("decoding with batch %d", decode_seqs[i]);
        s = step_bench_decode(b, decode_seqs[i], context, &c->decode[i], err);
        c->n_decode += s == OK;
    }
    return s;
}

status bench_steps(const struct bench_request *request, struct bench_report *r, error *err)
{
    struct cells cells = {0};
    step_bench *b;
    struct step_bench_options options = {.model_dir = request->model_dir,
                                         .backend = request->backend,
                                         .n_threads = (int32_t)request->n_threads,
                                         .kv_type = KV_BF16,
                                         .n_repeats = (int32_t)request->n_repeats,
                                         .stop = &bench_stop,
                                         .progress = on_loading};
    status s = step_bench_open(&b, &options, err);
    if (s != OK) return s;
    s = cells_measure(&cells, b, err);
    step_bench_close(b); /* before an engine opens the same model */
    cells_report(r, &cells);
    bench_progress("%s", "");
    if (!r->json) cells_print(&cells);
    return s;
}
