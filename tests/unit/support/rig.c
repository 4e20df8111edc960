/* See rig.h. Stored codes are drawn at random and their meaning is written out by hand: nothing is
 * encoded, so no encoder can hide a decoder's fault. */
#include "tests/unit/support/rig.h"

#include <math.h>

#include "base/random.h"

struct rig_options rig_defaults(void)
{
    return (struct rig_options){
        .shape = {.d_model = 64,
                  .n_heads = 4,
                  .kv_n_heads = 2,
                  .head_dim = 16,
                  .n_layers = 2,
                  .ffn_hidden_size = 96,
                  .moe_num_experts = 6,
                  .moe_top_k = 3,
                  .vocab_size = 101,
                  .max_seq_len = 2048,
                  .rope_theta = 500000,
                  .clip_qkv = 8},
        .format = WEIGHT_F32,
        .kv = KV_F32,
        .n_threads = 1,
        .rows_max = 64,
        .seqs_max = 4,
        .slices_max = 1,
        .n_pages = 80,
    };
}

static double unit(uint64_t key, uint64_t i)
{
    return random_unit(key, 3 * i) + random_unit(key, 3 * i + 1) + random_unit(key, 3 * i + 2) -
           1.5;
}

static void *keep(struct rig *r, size_t n, size_t size)
{
    void *block = calloc(n, size);
    assert_non_null(block);
    r->bytes[r->n_bytes++] = block;
    return block;
}

/* E4M3 by its definition: sign, 4 bits of exponent with bias 7, 3 bits of mantissa. */
static double e4m3_meaning(uint8_t code)
{
    int e = code >> 3 & 15, m = code & 7;
    double a = e == 0 ? m / 8.0 * pow(2, -6) : (1 + m / 8.0) * pow(2, e - 7);
    return code & 0x80 ? -a : a;
}

static float f32_of_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &wide, sizeof f);
    return f;
}

static uint16_t upper_half(float f)
{
    uint32_t wide;
    memcpy(&wide, &f, sizeof wide);
    return (uint16_t)(wide >> 16);
}

/* One row: stored bytes and scales, and the values they stand for. */
static void row_make(uint64_t key, enum weight_format format, int64_t row, int64_t n, double sigma,
                     double mean, unsigned char *stored, unsigned char *scales, float *meaning)
{
    float row_scale = (float)(sigma * (0.5 + random_unit(key ^ 77, (uint64_t)row)));
    if (format == WEIGHT_FP8_ROW) row_scale /= 100;
    if (format == WEIGHT_INT8_ROW) row_scale /= 74;
    if (format == WEIGHT_FP8_ROW || format == WEIGHT_INT8_ROW) memcpy(scales, &row_scale, 4);
    for (int64_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)(row * n + i), bits = random_at(key, at);
        float value = (float)(mean + 2 * sigma * unit(key, at));
        uint16_t half = upper_half(value);
        if (format == WEIGHT_F32) memcpy(stored + 4 * i, &value, 4);
        if (format == WEIGHT_BF16) {
            memcpy(stored + 2 * i, &half, 2);
            value = f32_of_bf16(half);
        } else if (format == WEIGHT_FP8_ROW) {
            stored[i] = (uint8_t)((bits & 0x7F) == 0x7F ? bits - 1 : bits);
            value = (float)(e4m3_meaning(stored[i]) * (double)row_scale);
        } else if (format == WEIGHT_INT8_ROW) {
            stored[i] = (uint8_t)bits;
            value = (float)((int)(bits & 255) - (bits & 128 ? 256 : 0)) * row_scale;
        } else if (format == WEIGHT_INT4_G128) {
            uint16_t scale = upper_half((float)(sigma / 4.6));
            memcpy(scales + i / 128 * 2, &scale, 2);
            int code = (int)(bits & 15), number = code >= 8 ? code - 16 : code;
            stored[i / 2] |= (unsigned char)(i % 2 ? code << 4 : code);
            value = (float)number * f32_of_bf16(scale);
        }
        meaning[i] = value;
    }
}

static size_t stored_bytes(enum weight_format f, int64_t n)
{
    return (size_t)(f == WEIGHT_F32         ? 4 * n
                    : f == WEIGHT_BF16      ? 2 * n
                    : f == WEIGHT_INT4_G128 ? (n + 1) / 2
                                            : n);
}

static weight *weight_make(struct rig *r, const char *name, enum weight_format format, int64_t rows,
                           int64_t columns, int32_t experts, bool transposed, double sigma,
                           double mean)
{
    size_t bytes = stored_bytes(format, columns);
    size_t scale_bytes = format == WEIGHT_INT4_G128 ? (size_t)(columns + 127) / 128 * 2 : 4;
    unsigned char *stored = keep(r, (size_t)rows, bytes);
    unsigned char *scales = calloc((size_t)rows, scale_bytes);
    float *meaning =
        r->o.mirror ? keep(r, (size_t)(rows * columns), 4) : calloc((size_t)columns, 4);
    error err = {0};
    weight *w = NULL;
    uint64_t key = random_at((uint64_t)name[0] << 8 | (uint64_t)name[1], (uint64_t)r->n_all);
    for (int64_t i = 0; i < rows; i++)
        row_make(key, format, i, columns, sigma, mean, stored + (size_t)i * bytes,
                 scales + (size_t)i * scale_bytes, r->o.mirror ? meaning + i * columns : meaning);
    struct weight_spec spec = {.name = name,
                               .format = r->o.mirror ? WEIGHT_F32 : format,
                               .n_rows = rows,
                               .n_columns = columns,
                               .n_experts = experts,
                               .transposed = transposed,
                               .borrowed = true};
    assert_int_equal(r->k->weight_begin(&w, r->d, &spec, &err), OK);
    assert_int_equal(
        r->k->weight_put(w, 0, rows, r->o.mirror ? (void *)meaning : stored, scales, &err), OK);
    assert_int_equal(r->k->weight_seal(w, &err), OK);
    free(scales);
    if (!r->o.mirror) free(meaning);
    return r->all[r->n_all++] = w;
}

static void layer_make(struct rig *r, struct layer_weights *w)
{
    const struct model_shape *s = &r->o.shape;
    enum weight_format f = r->o.format, plain = f == WEIGHT_BF16 ? WEIGHT_BF16 : WEIGHT_F32;
    int64_t d = s->d_model, heads = s->n_heads * s->head_dim, ffn = s->ffn_hidden_size;
    int64_t qkv = heads + 2 * s->kv_n_heads * s->head_dim;
    int32_t n = s->moe_num_experts;
    bool transposed = f == WEIGHT_F32 || f == WEIGHT_BF16;
    double unit_d = 1 / sqrt((double)d);
    w->norm_1 = weight_make(r, "norm_1", plain, 1, d, 1, false, 0.1, 1);
    w->qkv = weight_make(r, "qkv", f, qkv, d, 1, false, 6 * unit_d, 0);
    w->out_proj = weight_make(r, "out_proj", f, d, heads, 1, false, 0.2 * unit_d, 0);
    w->norm_2 = weight_make(r, "norm_2", plain, d, 1, 1, false, 0.1, 1);
    w->router = weight_make(r, "router", plain, n, d, 1, false, unit_d, 0);
    w->w1 = weight_make(r, "w1", f, n * ffn, d, n, false, unit_d, 0);
    w->v1 = weight_make(r, "v1", f, n * ffn, d, n, false, unit_d, 0);
    w->w2 = weight_make(r, "w2", f, transposed ? n * ffn : n * d, transposed ? d : ffn, n,
                        transposed, 2 / sqrt((double)ffn), 0);
}

void rig_open(struct rig *r, const struct kernels *k, const struct rig_options *o)
{
    error err = {0};
    *r = (struct rig){.k = k, .o = *o};
    struct device_options options = {.shape = o->shape,
                                     .n_threads = o->n_threads,
                                     .rows_max = o->rows_max,
                                     .seqs_max = o->seqs_max,
                                     .outs_max = o->rows_max,
                                     .slices_max = o->slices_max,
                                     .deterministic = o->deterministic,
                                     .gpu = o->gpu,
                                     .variant = o->variant};
    if (k->open(&r->d, &options, &err) != OK) fail_msg("%s", err.message);
    enum weight_format f = o->format;
    int64_t d = o->shape.d_model, vocab = o->shape.vocab_size;
    double deviation = o->wte_deviation > 0 ? o->wte_deviation : 1;
    r->wte = weight_make(r, "wte", f, vocab, d, 1, false, deviation, 0);
    r->norm_f = weight_make(r, "norm_f", WEIGHT_F32, 1, d, 1, false, 0.1, 1);
    r->head = weight_make(r, "lm_head", f, vocab, d, 1, false, 2 / sqrt((double)d), 0);
    for (int32_t l = 0; l < o->shape.n_layers; l++) layer_make(r, &r->layer[l]);
    assert_int_equal(k->kv_open(&r->kv, r->d, o->kv, o->n_pages, &err), OK);
}

void rig_close(struct rig *r)
{
    r->k->kv_close(r->kv);
    for (int i = 0; i < r->n_all; i++) r->k->weight_free(r->all[i]);
    r->k->close(r->d);
    for (int i = 0; i < r->n_bytes; i++) free(r->bytes[i]);
}

static int32_t *ints(int32_t n) { return calloc((size_t)n + 1, sizeof(int32_t)); }

void rig_step_begin(struct rig_step *t, int32_t rows_max, int32_t seqs_max, int32_t pages_max)
{
    *t = (struct rig_step){
        .token = ints(rows_max),
        .position = ints(rows_max),
        .seq = ints(rows_max),
        .seq_row = ints(seqs_max),
        .kv_len = ints(seqs_max),
        .pages = ints(seqs_max * pages_max),
        .out_row = ints(rows_max),
        .sample = calloc((size_t)rows_max + 1, sizeof(struct sample_row)),
        .n_seqs_room = seqs_max,
    };
    t->s = (struct step){.token = t->token,
                         .position = t->position,
                         .seq = t->seq,
                         .seq_row = t->seq_row,
                         .kv_len = t->kv_len,
                         .page_table = t->pages,
                         .pages_max = pages_max,
                         .out_row = t->out_row,
                         .sample = t->sample,
                         .want_logits = true,
                         .want_routes = true};
}

static void out_add(struct rig_step *t, int32_t row)
{
    t->out_row[t->s.n_outs] = row;
    t->sample[t->s.n_outs++] = (struct sample_row){.top_p = 1, .repetition_penalty = 1, .mask = -1};
}

void rig_add(struct rig_step *t, const int32_t *tokens, int32_t from, int32_t n,
             const int32_t *pages, bool all_outs)
{
    int32_t seq = t->s.n_seqs++, n_pages = (from + n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    for (int32_t i = 0; i < n; i++) {
        int32_t row = t->s.n_rows++;
        t->token[row] = tokens[from + i];
        t->position[row] = from + i;
        t->seq[row] = seq;
        if (all_outs || i == n - 1) out_add(t, row);
    }
    for (int32_t p = 0; p < n_pages; p++) t->pages[seq * t->s.pages_max + p] = pages[p];
    t->kv_len[seq] = from + n;
    t->seq_row[seq + 1] = t->s.n_rows;
}

void rig_add_padding(struct rig_step *t, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        t->token[t->s.n_rows] = 0;
        t->seq[t->s.n_rows++] = -1;
    }
}

void rig_step_end(struct rig_step *t)
{
    void *blocks[] = {t->token,  t->position, t->seq,     t->seq_row,
                      t->kv_len, t->pages,    t->out_row, t->sample};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
}

status rig_try(struct rig *r, struct rig_step *t, int32_t from, int32_t to, struct step_result *out,
               error *err)
{
    const struct kernels *k = r->k;
    t->s.kv = r->kv;
    bool enqueue = k->step_begin(r->d, &t->s, from, to);
    if (enqueue && from == 0) k->embed(r->d, r->wte);
    for (int32_t l = from; l < to && enqueue; l++) {
        k->attn_in(r->d, l, &r->layer[l]);
        k->attention(r->d, l);
        k->attn_out(r->d, l, &r->layer[l]);
        k->experts(r->d, l, &r->layer[l]);
    }
    if (enqueue && to == r->o.shape.n_layers) {
        k->head(r->d, r->norm_f, r->head);
        k->sample(r->d);
    }
    k->step_end(r->d);
    return k->collect(r->d, out, err);
}

void rig_run(struct rig *r, struct rig_step *t, int32_t from, int32_t to, struct step_result *out)
{
    error err = {0};
    if (rig_try(r, t, from, to, out, &err) != OK) fail_msg("%s", err.message);
}

float *rig_logits(struct rig *r, const int32_t *tokens, int32_t n)
{
    struct rig_step t;
    struct step_result result;
    int32_t n_pages = (n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS, *pages = ints(n_pages);
    size_t row = (size_t)r->o.shape.vocab_size;
    float *out = calloc((size_t)n * row, sizeof *out);
    for (int32_t p = 0; p < n_pages; p++) pages[p] = p;
    for (int32_t at = 0; at < n; at += r->o.rows_max) {
        int32_t rows = n - at < r->o.rows_max ? n - at : r->o.rows_max;
        rig_step_begin(&t, rows, 1, n_pages);
        rig_add(&t, tokens, at, rows, pages, true);
        rig_run(r, &t, 0, r->o.shape.n_layers, &result);
        memcpy(out + (size_t)at * row, result.logits, (size_t)rows * row * sizeof *out);
        rig_step_end(&t);
    }
    free(pages);
    return out;
}

int32_t *rig_tokens(int32_t n, int32_t vocab, uint64_t seed)
{
    int32_t *tokens = calloc((size_t)n, sizeof *tokens);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(random_at(seed, (uint64_t)i) % (uint64_t)vocab);
    return tokens;
}

double rig_difference(const float *found, const float *expected, size_t n)
{
    double largest = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        double by = fabs((double)found[i] - (double)expected[i]);
        if (!isnan(apart) && !(by <= apart)) apart = by;
    }
    return apart / largest;
}

void rig_half_layer(struct rig *r, struct rig_step *t)
{
    t->s.kv = r->kv;
    assert_true(r->k->step_begin(r->d, &t->s, 0, 1));
    r->k->embed(r->d, r->wte);
    r->k->attn_in(r->d, 0, &r->layer[0]);
}

void rig_other_half(struct rig *r, bool with_experts, struct step_result *out)
{
    error err = {0};
    r->k->attention(r->d, 0);
    r->k->attn_out(r->d, 0, &r->layer[0]);
    if (with_experts) r->k->experts(r->d, 0, &r->layer[0]);
    r->k->head(r->d, r->norm_f, r->head);
    r->k->sample(r->d);
    r->k->step_end(r->d);
    if (r->k->collect(r->d, out, &err) != OK) fail_msg("%s", err.message);
}

unsigned char *rig_pages_take(struct rig *r, int32_t n, size_t *size)
{
    struct memory_plan plan;
    int32_t all[64];
    for (int32_t i = 0; i < n; i++) all[i] = i;
    assert_int_equal(r->k->plan(r->d, r->o.kv, &plan, NULL), OK);
    *size = plan.kv_bytes_per_page * (size_t)n;
    unsigned char *bytes = calloc(1, *size);
    r->k->pages_save(r->kv, bytes, all, n);
    return bytes;
}

void rig_pages_give(struct rig *r, const unsigned char *bytes, int32_t n)
{
    int32_t all[64];
    for (int32_t i = 0; i < n; i++) all[i] = i;
    r->k->pages_load(r->kv, all, bytes, n);
}
