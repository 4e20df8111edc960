/* A backend that computes nothing: steps take the time a table says, on a clock of its own.
 *
 * The scheduler above it is the real one, with real pages, prefixes and slices; what it decides can
 * be asserted to the microsecond on any machine. Tokens are a function of nothing: id 0. It checks
 * what a real device would trip over: a slice that goes on with other rows or another layer than the
 * one it stands at makes collect fail. One thread. */
#ifndef INFERENCE_SIMULATE_TABLE_DEVICE_H
#define INFERENCE_SIMULATE_TABLE_DEVICE_H

#include "kernels/kernels.h"

/* What a step costs: the larger of reading and computing. */
struct table_costs {
    const char *name;
    double dense_bytes;   /* read by every step */
    double experts_bytes; /* all experts; a row reads top_k of them, drawn evenly */
    double kv_bytes;      /* per token of KV */
    double bytes_per_us;  /* reached, not the peak */
    double row_flops;     /* one row, without attention */
    double flops_per_us;  /* reached */
    struct model_shape shape;
    int64_t kv_tokens; /* that fit beside the weights */
    int32_t rows_max;
};

/* "h200-fp8", "h200-int4", "cpu"; NULL: unknown. */
const struct table_costs *table_costs_find(const char *name);

/* Names for a message: "h200-int4, h200-fp8, cpu". */
const char *table_costs_names(void);

extern const struct kernels kernels_table;

/* Opened by itself rather than by kernels_table.open: it needs the costs. */
status table_device_open(device **out, const struct table_costs *costs, error *err);
void table_device_close(device *d);

/* Microseconds since the open; only steps, and waiting, move it. */
int64_t table_device_now_us(const device *d);
void table_device_wait(device *d, int64_t until_us);

/* Rows times layers that were computed. */
int64_t table_device_row_layers(const device *d);

#endif
