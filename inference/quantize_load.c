/* A weight goes to the device in stages: some chunks are rounded by all threads into a buffer, then
 * put. Nothing larger than a stage is held twice. */
#include "inference/quantize_load.h"

#include "base/memory.h"
#include "inference/quantize.h"
#include "inference/quantize_plan.h"
#include "inference/quantize_shard.h"
#include "kernels/format.h"

enum { CHUNKS_PER_THREAD = 2 };

struct loading {
    model *m;
    device *d;
    struct quantize_plan plan;
    int32_t n_threads;
    unsigned char *codes, *scales; /* a stage */
    void (*progress)(void *context, double fraction);
    void *context;
    size_t done_bytes;
};

struct saving {
    void (*progress)(void *context, double fraction);
    void *context;
};

/* What remains, mapping the result, takes no time worth a share. */
static void saving_tell(void *context, const struct quantize_progress *p)
{
    const struct saving *s = context;
    double all = p->all_bytes ? (double)p->all_bytes : 1;
    if (s->progress) s->progress(s->context, 0.99 * (double)p->done_bytes / all);
}

static status source_check(enum weight_format found, enum weight_format wanted, error *err)
{
    if (found == WEIGHT_BF16 || found == wanted) return OK;
    return fail(err, ERR_USAGE, "weights are %s already, expected 16 bits or more, or %s",
                format_name(found), format_name(wanted));
}

status weights_settle(struct weights_wanted *w, error *err)
{
    struct model_config config;
    struct saving saving = {w->progress, w->context};
    if (w->format == WEIGHT_F32)
        return w->save_dir ? fail(err, ERR_USAGE, "--save needs --weights") : OK;
    status s = model_config_read(&config, w->model_dir, err);
    if (s != OK) return s;
    s = source_check(config.weights, w->format, err);
    if (s != OK) return fail_in(err, s, "%s", w->model_dir);
    bool as_stored = config.weights == w->format;
    if (!as_stored && w->save_dir) {
        const struct quantize_options options = {.source_dir = w->model_dir,
                                                 .destination_dir = w->save_dir,
                                                 .format = w->format,
                                                 .n_threads = w->n_threads,
                                                 .take_existing = true,
                                                 .progress = saving_tell,
                                                 .context = &saving};
        s = quantize(NULL, &options, err);
        if (s != OK) return s;
        w->model_dir = w->save_dir;
        as_stored = true;
    }
    if (as_stored) w->format = WEIGHT_F32;
    return OK;
}

static status stage_open(struct loading *l, error *err)
{
    size_t values = (size_t)l->n_threads * CHUNKS_PER_THREAD * QUANTIZE_CHUNK_VALUES;
    l->codes = memory_take(values, 1);
    l->scales = memory_take(values / 4, 1); /* rows have 16 values or more */
    return l->codes && l->scales ? OK : fail(err, ERR_MEMORY, "out of memory for quantising");
}

static void progress_tell(struct loading *l)
{
    if (l->progress) l->progress(l->context, (double)l->done_bytes / (double)l->plan.source_bytes);
}

static status stages_put(struct loading *l, weight *w, const struct quantize_item *item, error *err)
{
    int64_t row = 0, per_stage = (int64_t)l->n_threads * CHUNKS_PER_THREAD;
    size_t begin = l->done_bytes;
    for (int64_t first = 0; first < item->n_chunks; first += per_stage) {
        int64_t left = item->n_chunks - first, n_rows;
        struct quantize_stage stage = {.item = item,
                                       .first_chunk = first,
                                       .n_chunks = left < per_stage ? left : per_stage,
                                       .codes = l->codes,
                                       .scales = l->scales};
        status s = quantize_stage_make(&stage, &n_rows, l->n_threads, err);
        if (s == OK) s = l->m->kernels->weight_put(w, row, n_rows, l->codes, l->scales, err);
        if (s != OK) return s;
        row += n_rows;
        l->done_bytes = begin + (size_t)((double)item->from->size_bytes * (double)row /
                                         (double)item->to.n_rows);
        progress_tell(l);
    }
    l->done_bytes = begin + item->from->size_bytes;
    return OK;
}

static status item_load(struct loading *l, const struct quantize_item *item, error *err)
{
    const struct kernels *k = l->m->kernels;
    weight **w = &l->m->weights[item->tensor];
    const struct weight_spec spec = model_tensor_spec(&item->to);
    status s = safetensors_check_files(l->m->files, err);
    if (s == OK && !model_tensor_quantized(&item->to)) {
        size_t bytes = 0;
        s = model_weight_load(l->m, item->tensor, l->d, &bytes, err);
        l->done_bytes += item->from->size_bytes;
        return s;
    }
    if (s == OK) s = k->weight_begin(w, l->d, &spec, err);
    if (s == OK) s = stages_put(l, *w, item, err);
    return s == OK ? k->weight_seal(*w, err) : s;
}

status quantize_load(model *m, enum weight_format format, int32_t n_threads,
                     const struct kernels *kernels, device *d,
                     void (*progress)(void *context, double fraction), void *context, error *err)
{
    struct loading l = {.m = m,
                        .d = d,
                        .n_threads = quantize_threads(n_threads),
                        .progress = progress,
                        .context = context};
    if (format == WEIGHT_F32 || format == m->config.weights)
        return model_load(m, kernels, d, progress, context, err);
    status s = source_check(m->config.weights, format, err);
    if (s != OK) return s;
    m->kernels = kernels;
    s = quantize_plan_make(&l.plan, m, format, QUANTIZE_SHARD_BYTES, err);
    if (s == OK) s = stage_open(&l, err);
    for (int32_t i = 0; s == OK && i < l.plan.n_items; i++) {
        s = item_load(&l, &l.plan.items[i], err);
        progress_tell(&l);
    }
    if (s == OK) model_weights_name(m);
    quantize_plan_free(&l.plan);
    memory_free(l.codes);
    memory_free(l.scales);
    return s;
}

size_t quantize_load_bytes(const model *m, enum weight_format format)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor t = model_tensor_at(&m->config.shape, format, i);
        if (model_tensor_quantized(&t))
            bytes +=
                model_tensor_data(&t, DTYPE_BF16).size_bytes + model_tensor_scales(&t).size_bytes;
    }
    return bytes;
}
