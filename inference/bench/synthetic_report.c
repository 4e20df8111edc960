/* Units stand in the names. What was not measured is null there and "n/a" here. */
#include "inference/bench/synthetic_report.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "kernels/format.h"

struct report {
    FILE *table, *lines;   /* or NULL */
    buffer machine, cells; /* JSON */
    size_t n_cells;
    enum synthetic_kind last;
};

static const char *const kind_names[] = {"decode", "prefill", "first_token", "operation"};

static void put_number(buffer *b, const char *name, double v)
{
    if (isfinite(v))
        buffer_print(b, ", \"%s\": %.7g", name, v);
    else
        buffer_print(b, ", \"%s\": null", name);
}

/* Names of devices and reasons are plain words; what JSON would escape becomes a space. */
static void put_words(buffer *b, const char *name, const char *words)
{
    buffer_print(b, ", \"%s\": \"", name);
    for (const char *c = words; *c; c++)
        buffer_put_char(b, *c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? ' ' : *c);
    buffer_put_char(b, '"');
}

static const char *bare_number(double v, char *out, size_t size)
{
    if (!isfinite(v))
        snprintf(out, size, "n/a");
    else
        snprintf(out, size, v >= 1000 ? "%.0f" : v >= 10 ? "%.1f" : "%.3f", v);
    return out;
}

static void line_write(FILE *f, const buffer *b)
{
    if (!f || b->failed) return;
    fprintf(f, "%s\n", b->bytes);
    fflush(f);
}

static void machine_json(buffer *b, const struct synthetic_machine *m)
{
    buffer_print(b, "{\"kind\": \"machine\"");
    put_words(b, "device", m->device);
    put_number(b, "compute_capability", m->capability / 10.0);
    put_number(b, "multiprocessors", m->n_processors);
    put_number(b, "memory_bytes", (double)m->total_bytes);
    put_number(b, "memory_free_bytes", (double)m->free_bytes);
    put_number(b, "read_bytes_per_s", m->read.bytes_per_s);
    put_number(b, "read_loop_bytes", (double)m->read.bytes);
    put_number(b, "read_loop_loads_per_thread", m->read.loads);
    put_number(b, "read_loop_blocks_per_multiprocessor", m->read.blocks);
    put_number(b, "mma_sync_bf16_flop_per_s", m->matrix.mma_flop_per_s);
    put_number(b, "cublaslt_bf16_flop_per_s", m->matrix.bf16_flop_per_s);
    put_number(b, "cublaslt_e4m3_flop_per_s", m->matrix.e4m3_flop_per_s);
    put_words(b, "cublaslt_missing", m->matrix.without);
    put_number(b, "matrix_ceiling_flop_per_s", m->matrix_flop_per_s);
    put_words(b, "expert_weights", format_name(m->format));
    put_words(b, "activations", m->shape.activations == ACTIVATION_E4M3 ? "e4m3" : "bf16");
    put_words(b, "kv", m->kv_type == KV_E4M3 ? "e4m3" : "bf16");
    put_number(b, "layers", m->shape.n_layers);
    put_number(b, "weight_bytes", (double)m->weight_bytes);
    put_number(b, "workspace_bytes", (double)m->workspace_bytes);
    put_number(b, "weights_made_s", m->weights_s);
    put_number(b, "kv_tokens", (double)m->kv_tokens);
    int64_t streams = m->kv_tokens / 8192;
    put_number(b, "streams_of_8192", (double)streams);
    buffer_put_char(b, '}');
}

static void on_machine(void *report, const struct synthetic_machine *m)
{
    struct report *r = report;
    char read[32], mma[32], bf16[32], e4m3[32];
    machine_json(&r->machine, m);
    line_write(r->lines, &r->machine);
    if (!r->table) return;
    fprintf(r->table,
            "%s, %d multiprocessors, compute capability %d.%d, %.1f GiB (%.1f free)\n"
            "read %s GB/s over %.2f GiB; matrices TFLOP/s: mma.sync bf16 %s, cuBLASLt bf16 %s, "
            "e4m3 %s%s%s\n"
            "experts %s: %.1f GiB of weights made in %.1f s, %.2f GiB of workspace, KV room for "
            "%lld tokens (%lld streams of 8k)\n",
            m->device, m->n_processors, m->capability / 10, m->capability % 10,
            (double)m->total_bytes / (double)GIB, (double)m->free_bytes / (double)GIB,
            bare_number(m->read.bytes_per_s / 1e9, read, sizeof read),
            (double)m->read.bytes / (double)GIB,
            bare_number(m->matrix.mma_flop_per_s / 1e12, mma, sizeof mma),
            bare_number(m->matrix.bf16_flop_per_s / 1e12, bf16, sizeof bf16),
            bare_number(m->matrix.e4m3_flop_per_s / 1e12, e4m3, sizeof e4m3),
            m->matrix.without[0] ? "; " : "", m->matrix.without, format_name(m->format),
            (double)m->weight_bytes / (double)GIB, m->weights_s,
            (double)m->workspace_bytes / (double)GIB, (long long)m->kv_tokens,
            (long long)m->kv_tokens / 8192);
    fflush(r->table);
}

static void cell_json(buffer *b, const struct synthetic_cell *c)
{
    buffer_print(b, "{\"kind\": \"%s\"", kind_names[c->kind]);
    if (c->operation) put_words(b, "operation", c->operation);
    put_number(b, "rows", c->n_rows);
    put_number(b, "batch", c->n_seqs);
    put_number(b, "context_tokens", c->context);
    buffer_print(b, ", \"measured\": %s", c->measured ? "true" : "false");
    if (c->without[0]) put_words(b, "reason", c->without);
    put_number(b, "warm_ups", c->n_warmups);
    put_number(b, "repeats", c->n_repeats);
    put_number(b, "median_us", c->median_us);
    put_number(b, "low_us", c->low_us);
    put_number(b, "high_us", c->high_us);
    put_number(b, "distinct_experts_per_layer", c->measured ? c->experts_per_layer : (double)NAN);
    if (c->kind != SYNTHETIC_OPERATION) {
        put_number(b, "tokens_per_s", c->tokens_per_s);
        put_number(b, "weight_bytes", c->weight_bytes);
        put_number(b, "kv_bytes", c->kv_bytes);
        put_number(b, "flop", c->flop);
        put_number(b, "bytes_per_s", c->bytes_per_s);
        put_number(b, "flop_per_s", c->flop_per_s);
        put_number(b, "ceiling_us", c->ceiling_us);
        put_number(b, "share_of_ceiling", c->share);
        put_words(b, "bound", c->bound);
    }
    buffer_put_char(b, '}');
}

static void table_head(FILE *f, enum synthetic_kind kind)
{
    if (kind == SYNTHETIC_OPERATION)
        fprintf(f, "\n%-12s %6s %5s %7s %8s %9s %9s %9s %4s\n", "per layer", "rows", "batch",
                "context", "experts", "us", "low", "high", "n");
    else
        fprintf(f, "\n%-12s %6s %5s %7s %8s %9s %9s %9s %4s %9s %8s %8s %7s %s\n", "", "rows",
                "batch", "context", "experts", "ms", "low", "high", "n", "tok/s", "GB/s", "TFLOP/s",
                "share", "of");
}

static void table_row(FILE *f, const struct synthetic_cell *c)
{
    bool op = c->kind == SYNTHETIC_OPERATION;
    double unit = op ? 1 : 1e3;
    char ms[32], low[32], high[32], rate[32], gb[32], tflop[32];
    fprintf(f, "%-12s %6d %5d %7d ", op ? c->operation : kind_names[c->kind], c->n_rows, c->n_seqs,
            c->context);
    if (!c->measured) {
        fprintf(f, "%8s %9s  %s\n", "", "n/a", c->without);
        return;
    }
    fprintf(f, "%8.2f %9s %9s %9s %4d", c->experts_per_layer,
            bare_number(c->median_us / unit, ms, sizeof ms),
            bare_number(c->low_us / unit, low, sizeof low),
            bare_number(c->high_us / unit, high, sizeof high), c->n_repeats);
    if (!op)
        fprintf(f, " %9s %8s %8s", bare_number(c->tokens_per_s, rate, sizeof rate),
                bare_number(c->bytes_per_s / 1e9, gb, sizeof gb),
                bare_number(c->flop_per_s / 1e12, tflop, sizeof tflop));
    if (!op && isfinite(c->share))
        fprintf(f, " %6.1f%% %s", 100 * c->share, c->bound);
    else if (!op)
        fprintf(f, " %7s", "n/a");
    fprintf(f, "\n");
}

static void on_cell(void *report, const struct synthetic_cell *c)
{
    struct report *r = report;
    buffer line = {0};
    cell_json(&line, c);
    line_write(r->lines, &line);
    if (r->n_cells) buffer_print(&r->cells, ",\n  ");
    buffer_put_text(&r->cells, buffer_text(&line));
    if (line.failed) r->cells.failed = true;
    buffer_free(&line);
    r->n_cells++;
    if (!r->table) return;
    bool op = c->kind == SYNTHETIC_OPERATION, was = r->last == SYNTHETIC_OPERATION;
    if (r->n_cells == 1 || op != was) table_head(r->table, c->kind);
    r->last = c->kind;
    table_row(r->table, c);
    fflush(r->table);
}

static status object_put(const struct report *r, bool stopped, buffer *out, error *err)
{
    buffer_print(out, "{\"version\": \"%s\", \"stopped\": %s,\n \"machine\": ", DBRX_VERSION,
                 stopped ? "true" : "false");
    buffer_put_text(out, buffer_text(&r->machine));
    buffer_print(out, ",\n \"cells\": [\n  ");
    buffer_put_text(out, buffer_text(&r->cells));
    buffer_print(out, "]}\n");
    return out->failed || r->machine.failed || r->cells.failed
               ? fail(err, ERR_MEMORY, "out of memory for the report")
               : OK;
}

status synthetic_report_run(const struct synthetic_options *options, FILE *table,
                            const char *lines_path, buffer *json, error *err)
{
    struct synthetic_options o = *options;
    struct report r = {.table = table, .lines = lines_path ? fopen(lines_path, "we") : NULL};
    error memory;
    if (lines_path && !r.lines)
        return fail(err, ERR_IO, "%s: cannot write: %s", lines_path, strerror(errno));
    o.context = &r;
    o.on_machine = on_machine;
    o.on_cell = on_cell;
    status s = synthetic_run(&o, err);
    if (r.machine.size > 0 && object_put(&r, s == ERR_CANCELLED, json, &memory) != OK) {
        *err = memory;
        s = memory.code;
    }
    if (r.lines && fclose(r.lines) != 0 && s == OK)
        s = fail(err, ERR_IO, "%s: cannot write: %s", lines_path, strerror(errno));
    buffer_free(&r.machine);
    buffer_free(&r.cells);
    return s;
}
