/* A model that copies: DBRX's shape with weights set by hand as the two layers of an induction
 * circuit (Olsson et al. 2022).
 *
 * The residual has four parts of 128: the token T, the token before it P, what comes out O, and a
 * constant C. Tokens are random signs, nearly orthogonal to each other.
 *
 *   layer 0, head 0   queries and keys are made of C alone and turned by one position against each
 *                     other, so that rotation makes every token look at the one before it: P = T there
 *   layer 1, head 0   a query T looks for the key P: at the token behind its own last occurrence.
 *                     Only the slow pairs of the rotation are used. O = T there
 *   lm_head           reads O: the output is the token that came next the last time
 *
 * Experts add nothing. In a text without repeated pairs of tokens the copy is exact and certain. */
#ifndef TESTS_UNIT_COPYING_MODEL_H
#define TESTS_UNIT_COPYING_MODEL_H

#include <math.h>

#include "base/memory.h"
#include "base/random.h"

#include "tests/unit/model_dir.h"

enum { COPY_PART = 128, COPY_WIDTH = 4 * COPY_PART, COPY_HALF = COPY_PART / 2, COPY_SLOW = 28 };

#define COPY_THETA 1e9

static inline float copy_sign(int32_t id, int j)
{
    return random_at(77, (uint64_t)id * COPY_PART + (uint64_t)j) & 1 ? 1.0F : -1.0F;
}

static inline float copy_constant(int j) { return j % 2 ? -1.0F : 1.0F; }

/* The checkpoint's file in memory; every tensor is F32. */
struct copy_file {
    buffer bytes;
};

static inline float *copy_tensor(struct copy_file *f, const char *name)
{
    char quoted[128];
    unsigned long long at = 0;
    uint64_t header;
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    size_t place = text_find(buffer_text(&f->bytes), text_of(quoted), 0);
    assert_true(place != SIZE_MAX);
    place = text_find(buffer_text(&f->bytes), TEXT("data_offsets\":["), place);
    assert_int_equal(sscanf(f->bytes.bytes + place, "data_offsets\":[%llu", &at), 1);
    memcpy(&header, f->bytes.bytes, sizeof header);
    return (float *)(void *)(f->bytes.bytes + 8 + header + at);
}

static inline float *copy_tensor_clear(struct copy_file *f, const char *name, size_t n)
{
    float *values = copy_tensor(f, name);
    memset(values, 0, n * sizeof *values);
    return values;
}

static inline void copy_ones(struct copy_file *f, const char *name)
{
    float *values = copy_tensor(f, name);
    for (int i = 0; i < COPY_WIDTH; i++) values[i] = 1;
}

/* One row of Wqkv: `amplitude` whatever the token, out of C, which the norm has scaled. */
static inline void copy_row_constant(float *row, double amplitude, double scale)
{
    for (int j = 0; j < COPY_PART; j++)
        row[3 * COPY_PART + j] = (float)(amplitude / (COPY_PART * scale)) * copy_constant(j);
}

static inline void copy_previous_head(float *qkv, double scale)
{
    const size_t width = COPY_WIDTH;
    for (int i = 0; i < COPY_HALF; i++) {
        double turn = pow(COPY_THETA, -2.0 * i / COPY_PART), amplitude = 7.9;
        copy_row_constant(qkv + (size_t)i * width, amplitude * cos(turn), scale);
        copy_row_constant(qkv + (size_t)(i + COPY_HALF) * width, -amplitude * sin(turn), scale);
        copy_row_constant(qkv + (width + (size_t)i) * width, amplitude, scale);
    }
}

static inline void copy_matching_head(float *qkv, double scale)
{
    const size_t width = COPY_WIDTH;
    for (int pair = COPY_SLOW; pair < COPY_HALF; pair++)
        for (int half = 0; half < 2; half++) {
            size_t row = (size_t)(pair + half * COPY_HALF);
            int j = pair - COPY_SLOW + half * (COPY_HALF - COPY_SLOW);
            qkv[row * width + (size_t)j] = (float)(5 / scale);                       /* Q: T */
            qkv[(width + row) * width + COPY_PART + (size_t)j] = (float)(5 / scale); /* K: P */
        }
}

static inline void copy_layer(struct copy_file *f, int layer)
{
    char name[96];
    const size_t width = COPY_WIDTH;
    /* Squares in the residual: T and C, and P from layer 1 on; the norm makes them `width`. */
    double scale = sqrt((double)COPY_WIDTH / ((2.0 + layer) * COPY_PART));
    snprintf(name, sizeof name, "transformer.blocks.%d.norm_attn_norm.norm_1.weight", layer);
    copy_ones(f, name);
    snprintf(name, sizeof name, "transformer.blocks.%d.norm_attn_norm.attn.Wqkv.weight", layer);
    float *qkv = copy_tensor_clear(f, name, 3 * width * width);
    if (layer == 0)
        copy_previous_head(qkv, scale);
    else
        copy_matching_head(qkv, scale);
    snprintf(name, sizeof name, "transformer.blocks.%d.norm_attn_norm.attn.out_proj.weight", layer);
    float *out = copy_tensor_clear(f, name, width * width);
    for (size_t j = 0; j < COPY_PART; j++) {
        qkv[(2 * width + j) * width + j] = 1; /* V: T */
        out[((size_t)(1 + layer) * COPY_PART + j) * width + j] = (float)(1 / scale);
    }
    snprintf(name, sizeof name, "transformer.blocks.%d.ffn.experts.mlp.w2", layer);
    copy_tensor_clear(f, name, 2 * 32 * width);
}

/* With a tokenizer of MODEL_RANKS ranks; logits of the right token are `certainty` above the mean. */
static inline void copying_model_make(const char *name, double certainty)
{
    struct copy_file f = {0};
    char path[1024];
    error err;
    model_make(name, "--dtype f32 --d-model 512 --n-heads 4 --kv-n-heads 4 --n-layers 2 --ffn 32 "
                     "--experts 2 --top-k 1 --rope-theta 1e9 --max-seq-len 1024");
    tokenizer_make(name);
    snprintf(path, sizeof path, "%s/model.safetensors", model_path(name));
    if (file_read(&f.bytes, path, SIZE_MAX, &err) != OK) fail_msg("%s", err.message);
    float *wte = copy_tensor(&f, "transformer.wte.weight");
    float *head = copy_tensor_clear(&f, "lm_head.weight", (size_t)MODEL_VOCAB * COPY_WIDTH);
    for (int32_t id = 0; id < MODEL_VOCAB; id++)
        for (int j = 0; j < COPY_PART; j++) {
            float *row = wte + (size_t)id * COPY_WIDTH + j, sign = copy_sign(id, j);
            row[0] = sign;
            row[COPY_PART] = row[2 * COPY_PART] = 0;
            row[3 * COPY_PART] = copy_constant(j);
            head[(size_t)id * COPY_WIDTH + 2 * COPY_PART + (size_t)j] =
                (float)(certainty / COPY_PART) * sign;
        }
    copy_layer(&f, 0);
    copy_layer(&f, 1);
    copy_ones(&f, "transformer.norm_f.weight");
    file_put(model_path(name), "model.safetensors", buffer_text(&f.bytes));
    buffer_free(&f.bytes);
}

#endif
