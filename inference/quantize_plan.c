/* Sizes follow from the configuration alone, so every offset is known at once. Shapes are multiples
 * of 16 (kernels.h), hence tensors of a shard stay aligned when its header is padded. */
#include "inference/quantize_plan.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"

enum { HEADER_ALIGNMENT = 64 };

static struct quantize_item item_of(const model *source, enum weight_format format, int32_t i)
{
    const struct model_shape *shape = &source->config.shape;
    struct model_tensor as_is = model_tensor_at(shape, WEIGHT_BF16, i);
    struct quantize_item item = {.tensor = i,
                                 .to = model_tensor_at(shape, format, i),
                                 .from = safetensors_find(source->files, as_is.name)};
    item.transpose = as_is.transposed && !item.to.transposed;
    item.data = model_tensor_data(&item.to, item.from->dtype);
    if (model_tensor_quantized(&item.to)) item.scales = model_tensor_scales(&item.to);
    int64_t rows = item.to.n_rows / item.to.n_experts;
    item.chunk_rows = (int64_t)QUANTIZE_CHUNK_VALUES / item.to.n_columns;
    if (item.chunk_rows > rows) item.chunk_rows = rows;
    item.n_chunks = (rows + item.chunk_rows - 1) / item.chunk_rows * item.to.n_experts;
    snprintf(item.result.name, sizeof item.result.name, "%s", item.to.name);
    item.result.format = item.to.format;
    return item;
}

static size_t item_bytes(const struct quantize_item *item)
{
    return item->data.size_bytes + item->scales.size_bytes;
}

static void header_put(buffer *json, const struct stored_tensor *t, size_t *at)
{
    buffer_print(json, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRId64, json->size > 1 ? "," : "",
                 t->name, tensor_dtype_name(t->dtype), t->shape[0]);
    if (t->n_dimensions == 2) buffer_print(json, ",%" PRId64, t->shape[1]);
    buffer_print(json, "],\"data_offsets\":[%zu,%zu]}", *at, *at + t->size_bytes);
    *at += t->size_bytes;
}

/* Offsets of items count from the end of the header until its size is known. */
static status shard_lay(struct quantize_plan *plan, struct quantize_shard *shard, error *err)
{
    buffer json = {0};
    size_t at = 0;
    buffer_put_char(&json, '{');
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        struct quantize_item *item = &plan->items[i];
        item->data_at = at;
        header_put(&json, &item->data, &at);
        item->scales_at = at;
        if (item->scales.size_bytes) header_put(&json, &item->scales, &at);
        shard->source_bytes += item->from->size_bytes;
    }
    buffer_put_char(&json, '}');
    while ((8 + json.size) % HEADER_ALIGNMENT && !json.failed) buffer_put_char(&json, ' ');
    for (int i = 0; i < 8; i++)
        buffer_put_char(&shard->header, (char)((uint64_t)json.size >> (8 * i) & 255));
    buffer_put_text(&shard->header, buffer_text(&json));
    shard->file_bytes = shard->header.size + at;
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        plan->items[i].data_at += shard->header.size;
        plan->items[i].scales_at += shard->header.size;
    }
    bool failed = json.failed || shard->header.failed;
    buffer_free(&json);
    return failed ? fail(err, ERR_MEMORY, "out of memory for a header") : OK;
}

/* Fills shards in order; returns how many. With `out` NULL it only counts. */
static int32_t shards_fill(struct quantize_shard *out, const struct quantize_plan *plan,
                           size_t shard_bytes)
{
    int32_t n = 0;
    size_t bytes = 0;
    for (int32_t i = 0; i < plan->n_items; i++) {
        size_t more = item_bytes(&plan->items[i]);
        if (i == 0 || bytes + more > shard_bytes) {
            if (out) out[n].first = i;
            bytes = 0;
            n++;
        }
        if (out) out[n - 1].n++;
        bytes += more;
    }
    return n;
}

status quantize_plan_make(struct quantize_plan *out, const model *source, enum weight_format format,
                          size_t shard_bytes, error *err)
{
    *out = (struct quantize_plan){.n_items = source->n_weights};
    out->items = memory_take((size_t)out->n_items, sizeof *out->items);
    if (!out->items) return fail(err, ERR_MEMORY, "out of memory for a plan");
    for (int32_t i = 0; i < out->n_items; i++) out->items[i] = item_of(source, format, i);
    int32_t n = shards_fill(NULL, out, shard_bytes);
    if (n > SHARDS_MAX)
        return fail(err, ERR_LIMIT, "%d shards of at most %zu bytes, expected at most %d", n,
                    shard_bytes, SHARDS_MAX);
    out->shards = memory_take((size_t)n, sizeof *out->shards);
    if (!out->shards) return fail(err, ERR_MEMORY, "out of memory for a plan");
    out->n_shards = shards_fill(out->shards, out, shard_bytes);
    for (int32_t i = 0; i < n; i++) {
        struct quantize_shard *shard = &out->shards[i];
        snprintf(shard->name, sizeof shard->name, "model-%05d-of-%05d.safetensors", i + 1, n);
        status s = shard_lay(out, shard, err);
        if (s != OK) return s;
        out->source_bytes += shard->source_bytes;
        out->file_bytes += shard->file_bytes;
    }
    return OK;
}

void quantize_plan_free(struct quantize_plan *plan)
{
    for (int32_t i = 0; i < plan->n_shards; i++) buffer_free(&plan->shards[i].header);
    memory_free(plan->shards);
    memory_free(plan->items);
    *plan = (struct quantize_plan){0};
}
