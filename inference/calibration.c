/* Mean squares lie layer by layer: [d_model] before attention, [attention_width] behind it,
 * [experts][d_model] before w1 and v1, [experts][ffn] before w2; behind all layers [d_model] before
 * the head. The file is a header of text, these arrays, and a digest of both. */
#include "inference/calibration.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "inference/batch.h"
#include "inference/forward.h"
#include "inference/kv_pages.h"
#include "inference/tensor_table.h"

enum { WINDOW_TOKENS = 2048, SLICE_ROWS = 256, HEADER_BYTES = 256, DIGEST_CHARS = 64 };
/* Rows seen count beside so many rows in which all columns are alike. */
enum { PRIOR_ROWS = 16 };

struct making {
    calibration *c;
    const struct calibration_options *options;
    model *m;
    device *d;
    kv_pool *kv;
    batch b;
    int32_t *pages, window;
    double *sums; /* [n_squares] */
    struct step_observer observer;
    double done; /* rows x layers */
};

static size_t layer_squares(const calibration *c)
{
    size_t d = (size_t)c->d_model, experts = (size_t)c->n_experts;
    return d + (size_t)c->attention_width + experts * (d + (size_t)c->ffn);
}

/* Where the squares of one input begin; *n of them. */
static size_t squares_at(const calibration *c, enum observed what, int32_t layer, int32_t expert,
                         size_t *n)
{
    size_t d = (size_t)c->d_model, at = (size_t)layer * layer_squares(c);
    *n = d;
    if (what == OBSERVED_QKV) return at;
    if (what == OBSERVED_HEAD) return (size_t)c->n_layers * layer_squares(c);
    at += d;
    if (what == OBSERVED_OUT_PROJ) {
        *n = (size_t)c->attention_width;
        return at;
    }
    at += (size_t)c->attention_width;
    if (what == OBSERVED_EXPERT_IN) return at + (size_t)expert * d;
    *n = (size_t)c->ffn;
    return at + (size_t)c->n_experts * d + (size_t)expert * (size_t)c->ffn;
}

static status calibration_shape(calibration *c, const struct model_shape *shape, error *err)
{
    *c = (calibration){.d_model = shape->d_model,
                       .attention_width = shape->n_heads * shape->head_dim,
                       .ffn = shape->ffn_hidden_size,
                       .n_experts = shape->moe_num_experts,
                       .n_layers = shape->n_layers};
    c->n_squares = (size_t)c->n_layers * layer_squares(c) + (size_t)c->d_model;
    c->n_rows = memory_take((size_t)c->n_layers * (size_t)c->n_experts, sizeof *c->n_rows);
    c->squares = memory_take(c->n_squares, sizeof *c->squares);
    return c->n_rows && c->squares ? OK : fail(err, ERR_MEMORY, "out of memory for statistics");
}

static void rows_seen(void *context, enum observed what, int32_t layer, int32_t expert,
                      const float *rows, size_t stride, int32_t n_rows)
{
    struct making *w = context;
    size_t n;
    double *sums = w->sums + squares_at(w->c, what, layer, expert, &n);
    for (int32_t r = 0; r < n_rows; r++) {
        const float *row = rows + (size_t)r * stride;
        for (size_t k = 0; k < n; k++) sums[k] += (double)row[k] * (double)row[k];
    }
    if (what == OBSERVED_EXPERT_IN)
        w->c->n_rows[(size_t)layer * (size_t)w->c->n_experts + (size_t)expert] += n_rows;
}

static status tokens_check(const struct making *w, error *err)
{
    const struct calibration_options *o = w->options;
    if (o->n_tokens < 1) return fail(err, ERR_USAGE, "no tokens to calibrate on");
    for (size_t i = 0; i < o->n_tokens; i++)
        if (o->tokens[i] < 0 || o->tokens[i] >= w->m->config.shape.vocab_size)
            return fail(err, ERR_USAGE, "token %zu is %d, expected 0 to %d", i, o->tokens[i],
                        w->m->config.shape.vocab_size - 1);
    return OK;
}

static int32_t least(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }

static status making_open(struct making *w, error *err)
{
    const struct model_shape *shape = &w->m->config.shape;
    w->window = least(WINDOW_TOKENS, least(shape->max_seq_len, (int64_t)w->options->n_tokens));
    int32_t n_pages = kv_pages_for_tokens(w->window);
    struct device_options o = {.shape = *shape,
                               .n_threads = w->options->n_threads,
                               .rows_max = SLICE_ROWS,
                               .seqs_max = 1,
                               .outs_max = SLICE_ROWS,
                               .slices_max = (w->window + SLICE_ROWS - 1) / SLICE_ROWS};
    o.shape.activations = ACTIVATION_F32;
    status s = kernels_cpu.open(&w->d, &o, err);
    if (s == OK) s = model_load(w->m, &kernels_cpu, w->d, NULL, NULL, err);
    if (s == OK) s = kernels_cpu.kv_open(&w->kv, w->d, KV_F32, n_pages, err);
    if (s == OK)
        s = batch_open(&w->b,
                       (struct batch_room){
                           .rows = SLICE_ROWS, .seqs = 1, .outs = SLICE_ROWS, .pages = n_pages},
                       err);
    if (s != OK) return s;
    w->pages = memory_take((size_t)n_pages, sizeof *w->pages);
    w->sums = memory_take(w->c->n_squares, sizeof *w->sums);
    if (!w->pages || !w->sums) return fail(err, ERR_MEMORY, "out of memory for statistics");
    for (int32_t i = 0; i < n_pages; i++) w->pages[i] = i;
    w->observer = (struct step_observer){w, rows_seen};
    return OK;
}

static void making_close(struct making *w)
{
    batch_close(&w->b);
    memory_free(w->pages);
    memory_free(w->sums);
    if (w->kv) kernels_cpu.kv_close(w->kv);
    model_close(w->m);
    if (w->d) kernels_cpu.close(w->d);
}

static status slice_run(struct making *w, const int32_t *tokens, int32_t layer, int32_t from,
                        int32_t to, error *err)
{
    struct step_result result;
    bool last = layer == w->c->n_layers - 1;
    batch_begin(&w->b, w->kv, NULL, 0);
    batch_add(&w->b, tokens, from, to, w->pages);
    for (int32_t row = 0; last && row < to - from; row++)
        batch_add_out(&w->b, row, (struct sample_row){0});
    w->b.step.sample = NULL;
    w->b.step.slice = from / SLICE_ROWS;
    w->b.step.observer = &w->observer;
    forward_layers(w->m, w->d, &w->b.step, layer, layer + 1);
    return kernels_cpu.collect(w->d, &result, err);
}

static status window_run(struct making *w, size_t begin, int32_t n_rows, error *err)
{
    const struct calibration_options *o = w->options;
    double all = (double)o->n_tokens * w->c->n_layers;
    for (int32_t layer = 0; layer < w->c->n_layers; layer++) {
        status s = safetensors_check_files(w->m->files, err);
        for (int32_t from = 0; s == OK && from < n_rows; from += SLICE_ROWS)
            s = slice_run(w, o->tokens + begin, layer, from, least(from + SLICE_ROWS, n_rows), err);
        if (s != OK) return s;
        w->done += n_rows;
        if (o->progress) o->progress(o->context, w->done / all);
    }
    return OK;
}

/* Sums to means. Each input's rows: all tokens, or those that chose the expert. */
static status means_take(struct making *w, error *err)
{
    calibration *c = w->c;
    size_t n;
    for (int32_t layer = 0; layer <= c->n_layers; layer++)
        for (int what = OBSERVED_QKV; what <= OBSERVED_HEAD; what++) {
            bool of_expert = what == OBSERVED_EXPERT_IN || what == OBSERVED_HIDDEN;
            if ((layer == c->n_layers) != (what == OBSERVED_HEAD)) continue;
            for (int32_t e = 0; e < (of_expert ? c->n_experts : 1); e++) {
                size_t at = squares_at(c, (enum observed)what, layer, e, &n);
                int64_t rows = of_expert ? c->n_rows[layer * c->n_experts + e] : c->n_tokens;
                for (size_t k = at; rows && k < at + n; k++) {
                    c->squares[k] = (float)(w->sums[k] / (double)rows);
                    if (!isfinite(c->squares[k]))
                        return fail(err, ERR_FORMAT,
                                    "calibration: an activation of layer %d is not finite", layer);
                }
            }
        }
    return OK;
}

static status header_print(char *out, const calibration *c, error *err)
{
    memset(out, ' ', HEADER_BYTES);
    int n = snprintf(out, HEADER_BYTES,
                     "dbrx-ls calibration 1\nd_model %d\nattention_width %d\nffn %d\nexperts %d\n"
                     "layers %d\ntokens %" PRId64 "\ntext %s\n",
                     c->d_model, c->attention_width, c->ffn, c->n_experts, c->n_layers, c->n_tokens,
                     c->text_sha256);
    if (n < 0 || n >= HEADER_BYTES)
        return fail(err, ERR_LIMIT, "calibration: a header of %d bytes", n);
    out[n] = ' ';
    out[HEADER_BYTES - 1] = '\n';
    return OK;
}

static size_t rows_bytes(const calibration *c)
{
    return (size_t)c->n_layers * (size_t)c->n_experts * sizeof *c->n_rows;
}

static status digest_make(const calibration *c, char out[65], char header[HEADER_BYTES], error *err)
{
    struct sha256 h;
    unsigned char digest[32];
    status s = header_print(header, c, err);
    if (s != OK) return s;
    sha256_begin(&h);
    sha256_put(&h, header, HEADER_BYTES);
    sha256_put(&h, c->n_rows, rows_bytes(c));
    sha256_put(&h, c->squares, c->n_squares * sizeof *c->squares);
    sha256_end(&h, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return OK;
}

status calibration_make(calibration *out, const struct calibration_options *options, error *err)
{
    struct making w = {.c = out, .options = options};
    char header[HEADER_BYTES];
    *out = (calibration){0};
    status s = model_open(&w.m, options->model_dir, err);
    if (s == OK) s = tokens_check(&w, err);
    if (s == OK) s = calibration_shape(out, &w.m->config.shape, err);
    if (s == OK) s = making_open(&w, err);
    for (size_t at = 0; s == OK && at < options->n_tokens; at += (size_t)w.window)
        s = window_run(&w, at, least(w.window, (int64_t)(options->n_tokens - at)), err);
    out->n_tokens = (int64_t)options->n_tokens;
    snprintf(out->text_sha256, sizeof out->text_sha256, "%s", options->text_sha256);
    if (s == OK) s = means_take(&w, err);
    if (s == OK) s = digest_make(out, out->sha256, header, err);
    making_close(&w);
    return s;
}

status calibration_write(const calibration *c, const char *path, error *err)
{
    char header[HEADER_BYTES], digest[65];
    buffer all = {0};
    status s = digest_make(c, digest, header, err);
    if (s != OK) return s;
    buffer_put(&all, header, HEADER_BYTES);
    buffer_put(&all, c->n_rows, rows_bytes(c));
    buffer_put(&all, c->squares, c->n_squares * sizeof *c->squares);
    buffer_put(&all, digest, DIGEST_CHARS);
    s = all.failed ? fail(err, ERR_MEMORY, "%s: out of memory", path)
                   : file_write(path, buffer_text(&all), 0644, err);
    buffer_free(&all);
    return s;
}

/* The header is not parsed but made again and compared. */
static status bytes_take(calibration *c, const buffer *bytes, const char *path, error *err)
{
    size_t rows = rows_bytes(c), squares = c->n_squares * sizeof *c->squares;
    size_t size = HEADER_BYTES + rows + squares + DIGEST_CHARS;
    char header[HEADER_BYTES];
    const char *tokens, *line = "\ntokens ", *name = "\ntext ";
    if (bytes->size != size)
        return fail(err, ERR_FORMAT, "%s: %zu bytes, expected %zu", path, bytes->size, size);
    memcpy(c->n_rows, bytes->bytes + HEADER_BYTES, rows);
    memcpy(c->squares, bytes->bytes + HEADER_BYTES + rows, squares);
    memcpy(header, bytes->bytes, HEADER_BYTES);
    header[HEADER_BYTES - 1] = 0;
    tokens = strstr(header, line);
    const char *digest = strstr(header, name);
    if (!tokens || !digest || sscanf(tokens + strlen(line), "%" SCNd64, &c->n_tokens) != 1 ||
        sscanf(digest + strlen(name), "%64[0-9a-f]", c->text_sha256) != 1)
        return fail(err, ERR_FORMAT, "%s: not a file of statistics", path);
    status s = digest_make(c, c->sha256, header, err);
    if (s != OK) return s;
    if (memcmp(header, bytes->bytes, HEADER_BYTES) != 0)
        return fail(err, ERR_FORMAT, "%s: statistics of another model", path);
    if (memcmp(c->sha256, bytes->bytes + size - DIGEST_CHARS, DIGEST_CHARS) != 0)
        return fail(err, ERR_FORMAT, "%s: its contents do not match its checksum", path);
    return OK;
}

status calibration_read(calibration *out, const char *path, const struct model_shape *shape,
                        const char *text_sha256, error *err)
{
    buffer bytes = {0};
    status s = calibration_shape(out, shape, err);
    if (s == OK) s = file_read(&bytes, path, CALIBRATION_BYTES_MAX, err);
    if (s == OK) s = bytes_take(out, &bytes, path, err);
    if (s == OK && text_sha256 && strcmp(text_sha256, out->text_sha256) != 0)
        s = fail(err, ERR_FORMAT, "%s: statistics of another text", path);
    buffer_free(&bytes);
    return s;
}

/* Which input a weight of the tensor table reads; false for those that are not quantised. */
static bool input_of(int32_t tensor, enum observed *what, int32_t *layer)
{
    static const enum observed of_part[LAYER_TENSORS] = {[1] = OBSERVED_QKV,
                                                         [2] = OBSERVED_OUT_PROJ,
                                                         [5] = OBSERVED_EXPERT_IN,
                                                         [6] = OBSERVED_EXPERT_IN,
                                                         [7] = OBSERVED_HIDDEN};
    *what = OBSERVED_HEAD;
    *layer = 0;
    if (tensor < OUTER_TENSORS) return tensor == 2;
    int32_t part = (tensor - OUTER_TENSORS) % LAYER_TENSORS;
    *layer = (tensor - OUTER_TENSORS) / LAYER_TENSORS;
    *what = of_part[part];
    return part == 1 || *what != OBSERVED_QKV;
}

bool calibration_importance(float *out, const calibration *c, int32_t tensor, int32_t expert)
{
    enum observed what;
    int32_t layer;
    size_t n;
    double mean = 0;
    if (!input_of(tensor, &what, &layer)) return false;
    const float *squares = c->squares + squares_at(c, what, layer, expert, &n);
    bool of_expert = what == OBSERVED_EXPERT_IN || what == OBSERVED_HIDDEN;
    double rows = (double)(of_expert ? c->n_rows[layer * c->n_experts + expert] : c->n_tokens);
    for (size_t k = 0; k < n; k++) mean += (double)squares[k] / (double)n;
    if (!(mean > 0)) return false;
    for (size_t k = 0; k < n; k++)
        out[k] = (float)((rows * (double)squares[k] / mean + PRIOR_ROWS) / (rows + PRIOR_ROWS));
    return true;
}

void calibration_free(calibration *c)
{
    memory_free(c->n_rows);
    memory_free(c->squares);
    *c = (calibration){0};
}
