/* make_checkpoint: a seeded random DBRX checkpoint of any shape, as safetensors and as GGUF.
 *
 * Every value is a function of (seed, tensor name, index) alone, so shards, formats and orders of
 * writing hold the same numbers, and the same command writes the same bytes. Values are rounded to
 * the safetensors dtype first; GGUF then stores exactly those, as F32 or (--gguf-type bf16) BF16.
 * Scales are chosen so that with unit-variance norms about a fifth of q, k and v passes the clip, every
 * layer adds about as much to the residual as is there, and logits have a standard deviation of 2.5.
 * Shapes outside the engine's contract are written too: a loader must refuse them. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "tokenizer/tokenizer.h"

enum { CHUNK_VALUES = 65536, NAME_MAX_BYTES = 96, GGUF_ALIGNMENT = 32 };

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };

static const char usage[] =
    "usage: make_checkpoint [--out DIR] [--gguf FILE] [OPTIONS]\n\n"
    "Writes a seeded random DBRX checkpoint as safetensors, as GGUF, or as both.\n\n"
    "  --d-model N  --n-heads N  --kv-n-heads N  --n-layers N  --ffn N  --experts N  --top-k N\n"
    "  --vocab N  --max-seq-len N  --rope-theta X  --clip X  the model's shape\n"
    "  --dtype f32|bf16|f16     of the safetensors; GGUF holds the same, rounded, values\n"
    "  --gguf-type f32|bf16     of the GGUF's matrices; norms and router are F32 always\n"
    "  --routes-spread X        standard deviation of the router's logits\n"
    "  --gains-spread X         spread of the norms' gains: exp of X times a normal number, with "
    "a\n"
    "                           mean square of 1; so that some columns count more than others\n"
    "  --qkv-scale X            of the queries, keys and values: below 1 attention is less sharp\n"
    "  --shards N               files besides the index\n"
    "  --seed N                 the same seed gives the same bytes\n"
    "  --tokenizer none|embedded  also write cl100k's ranks and DBRX's specials\n"
    "  --demo                   mark the model as a stand-in in config.json\n";

static const char *const dtype_names[] = {"F32", "BF16", "F16"};

struct options {
    const char *out, *gguf, *gguf_type, *dtype, *tokenizer;
    long d_model, n_heads, kv_n_heads, n_layers, ffn, experts, top_k, vocab, max_seq_len;
    long shards, seed, demo;
    double rope_theta, clip, routes_spread, gains_spread, qkv_scale;
    enum dtype type, matrix_type; /* of safetensors; of GGUF's matrices */
};

/* One tensor. `experts` > 1 marks a stack of matrices, which GGUF stores as three dimensions;
 * `transposed` says that GGUF wants each of them the other way round. */
struct tensor {
    char name[NAME_MAX_BYTES], gguf_name[NAME_MAX_BYTES];
    uint64_t n_rows, n_columns; /* n_columns 0: a vector of n_rows */
    uint64_t n_experts;
    bool transposed;
    double mean, deviation;
    double log_spread; /* > 0: values are exp(log_spread * unit - log_spread^2) */
    uint64_t key;
};

struct model {
    struct options o;
    struct tensor *tensors;
    size_t n_tensors;
};

static int complain(const char *what, const char *name)
{
    fprintf(stderr, "make_checkpoint: %s: %s\n", what, name);
    return 1;
}

static uint64_t name_hash(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a */
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001B3u;
    return h;
}

static uint64_t tensor_values(const struct tensor *t)
{
    return t->n_columns ? t->n_rows * t->n_columns : t->n_rows;
}

static uint16_t bf16_from(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

static float bf16_value(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Round to nearest even by scaling: exact in double, and values here are far below f16's largest. */
static uint16_t f16_from(float f)
{
    uint16_t sign = signbit(f) ? 0x8000u : 0;
    double a = fabs((double)f);
    if (a < 6.103515625e-05) return (uint16_t)(sign | (uint16_t)nearbyint(a * 16777216.0));
    int exponent;
    double m = nearbyint(frexp(a, &exponent) * 2048.0); /* 1024..2048 */
    return (uint16_t)(sign | (uint16_t)(((exponent + 14) << 10) + (int)m - 1024));
}

static float f16_value(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double a = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return (float)(h & 0x8000u ? -a : a);
}

/* Value `index`: the sum of four uniform 16-bit numbers has a bell's shape and no far tails. */
static float tensor_value(const struct tensor *t, uint64_t key_mixed, uint64_t index)
{
    uint64_t r = random_mix(key_mixed + index * 0x9E3779B97F4A7C15u);
    int32_t sum = (int32_t)((r & 0xFFFF) + (r >> 16 & 0xFFFF) + (r >> 32 & 0xFFFF) + (r >> 48));
    double unit = (sum - 131070) * (1.7320508075688772 / 65536.0);
    if (t->log_spread > 0) return (float)exp(t->log_spread * (unit - t->log_spread));
    return (float)(t->mean + t->deviation * unit);
}

/* n values from `first` in steps of `stride`, rounded to the checkpoint's dtype. */
static void tensor_fill(float *out, const struct tensor *t, enum dtype type, uint64_t first,
                        uint64_t stride, size_t n)
{
    uint64_t key = random_mix(t->key);
    for (size_t i = 0; i < n; i++) out[i] = tensor_value(t, key, first + i * stride);
    if (type == DTYPE_BF16)
        for (size_t i = 0; i < n; i++) out[i] = bf16_value(bf16_from(out[i]));
    if (type == DTYPE_F16)
        for (size_t i = 0; i < n; i++) out[i] = f16_value(f16_from(out[i]));
}

static bool values_write(FILE *f, const float *values, size_t n, enum dtype type)
{
    static uint16_t half[CHUNK_VALUES];
    if (type == DTYPE_F32) return fwrite(values, sizeof *values, n, f) == n;
    for (size_t i = 0; i < n; i++)
        half[i] = type == DTYPE_BF16 ? bf16_from(values[i]) : f16_from(values[i]);
    return fwrite(half, sizeof *half, n, f) == n;
}

/* Values are rounded to the checkpoint's dtype, then written in another that holds them. */
static bool tensor_write(FILE *f, const struct tensor *t, enum dtype type, enum dtype written)
{
    static float chunk[CHUNK_VALUES];
    uint64_t left = tensor_values(t);
    for (uint64_t at = 0; left > 0;) {
        size_t n = left < CHUNK_VALUES ? (size_t)left : CHUNK_VALUES;
        tensor_fill(chunk, t, type, at, 1, n);
        if (!values_write(f, chunk, n, written)) return false;
        at += n;
        left -= n;
    }
    return true;
}

static struct tensor *tensor_add(struct model *m, const char *name, const char *gguf_name,
                                 uint64_t n_rows, uint64_t n_columns, double deviation)
{
    struct tensor *t = &m->tensors[m->n_tensors++];
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->gguf_name, sizeof t->gguf_name, "%s", gguf_name);
    t->n_rows = n_rows;
    t->n_columns = n_columns;
    t->n_experts = 1;
    t->deviation = deviation;
    t->key = random_at((uint64_t)m->o.seed, name_hash(name));
    return t;
}

static struct tensor *block_add(struct model *m, long layer, const char *name,
                                const char *gguf_name, uint64_t n_rows, uint64_t n_columns,
                                double deviation)
{
    char full[NAME_MAX_BYTES], gguf_full[NAME_MAX_BYTES];
    snprintf(full, sizeof full, "transformer.blocks.%ld.%s", layer, name);
    snprintf(gguf_full, sizeof gguf_full, "blk.%ld.%s.weight", layer, gguf_name);
    return tensor_add(m, full, gguf_full, n_rows, n_columns, deviation);
}

static void gains_add(struct model *m, long layer, const char *name, const char *gguf_name)
{
    struct tensor *t = block_add(m, layer, name, gguf_name, (uint64_t)m->o.d_model, 0, 0.1);
    t->mean = 1;
    t->log_spread = m->o.gains_spread;
}

static void layer_add(struct model *m, long layer)
{
    const struct options *o = &m->o;
    uint64_t d = (uint64_t)o->d_model, ffn = (uint64_t)o->ffn, experts = (uint64_t)o->experts;
    uint64_t head_dim = d / (uint64_t)o->n_heads;
    double unit = 1 / sqrt((double)d);
    /* 20 % of a normal distribution lies beyond 1.2816 deviations; the clip lies there. */
    double qkv = (o->clip > 0 ? o->clip / 1.2816 : 2) * o->qkv_scale;
    gains_add(m, layer, "norm_attn_norm.norm_1.weight", "attn_norm");
    block_add(m, layer, "norm_attn_norm.attn.Wqkv.weight", "attn_qkv",
              d + 2 * (uint64_t)o->kv_n_heads * head_dim, d, qkv * unit);
    block_add(m, layer, "norm_attn_norm.attn.out_proj.weight", "attn_output", d, d,
              1.25 / qkv * unit);
    gains_add(m, layer, "norm_attn_norm.norm_2.weight", "attn_output_norm");
    block_add(m, layer, "ffn.router.layer.weight", "ffn_gate_inp", experts, d,
              o->routes_spread * unit);
    struct tensor *w1 =
        block_add(m, layer, "ffn.experts.mlp.w1", "ffn_gate_exps", experts * ffn, d, unit);
    struct tensor *v1 =
        block_add(m, layer, "ffn.experts.mlp.v1", "ffn_up_exps", experts * ffn, d, unit);
    struct tensor *w2 = block_add(m, layer, "ffn.experts.mlp.w2", "ffn_down_exps", experts * ffn, d,
                                  3 / sqrt((double)ffn));
    w1->n_experts = v1->n_experts = w2->n_experts = experts;
    w2->transposed = true;
}

static bool model_list(struct model *m)
{
    const struct options *o = &m->o;
    uint64_t d = (uint64_t)o->d_model, vocab = (uint64_t)o->vocab;
    m->tensors = memory_take((size_t)o->n_layers * 8 + 3, sizeof *m->tensors);
    if (!m->tensors) return false;
    tensor_add(m, "transformer.wte.weight", "token_embd.weight", vocab, d, 1);
    for (long layer = 0; layer < o->n_layers; layer++) layer_add(m, layer);
    tensor_add(m, "transformer.norm_f.weight", "output_norm.weight", d, 0, 0.1)->mean = 1;
    tensor_add(m, "lm_head.weight", "output.weight", vocab, d, 2.5 / sqrt((double)d));
    return true;
}

static uint64_t tensor_bytes(const struct tensor *t, enum dtype type)
{
    return tensor_values(t) * (type == DTYPE_F32 ? 4 : 2);
}

static void header_print(buffer *out, const struct model *m, size_t from, size_t to)
{
    uint64_t at = 0;
    buffer_print(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = from; i < to; i++) {
        const struct tensor *t = &m->tensors[i];
        uint64_t size = tensor_bytes(t, m->o.type);
        buffer_print(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", t->name,
                     dtype_names[m->o.type], (unsigned long long)t->n_rows);
        if (t->n_columns) buffer_print(out, ",%llu", (unsigned long long)t->n_columns);
        buffer_print(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                     (unsigned long long)(at + size));
        at += size;
    }
    buffer_put_char(out, '}');
    while (out->size % 8) buffer_put_char(out, ' ');
}

static int shard_write(const struct model *m, const char *path, size_t from, size_t to)
{
    buffer header = {0};
    header_print(&header, m, from, to);
    FILE *f = fopen(path, "wb");
    uint64_t size = header.size;
    bool ok = f && !header.failed && fwrite(&size, sizeof size, 1, f) == 1 &&
              fwrite(header.bytes, 1, header.size, f) == header.size;
    for (size_t i = from; ok && i < to; i++)
        ok = tensor_write(f, &m->tensors[i], m->o.type, m->o.type);
    if (f && fclose(f) != 0) ok = false;
    buffer_free(&header);
    return ok ? 0 : complain(path, strerror(errno));
}

static void shard_name(char *out, size_t size, long shard, long n_shards)
{
    if (n_shards == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05ld-of-%05ld.safetensors", shard + 1, n_shards);
}

/* Shards of about equal bytes, none empty; the index names the shard of every tensor. */
static int shards_write(const struct model *m, buffer *index)
{
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < m->n_tensors; i++) total += tensor_bytes(&m->tensors[i], m->o.type);
    buffer_print(index, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
                 (unsigned long long)total);
    size_t from = 0;
    for (long s = 0; s < m->o.shards; s++) {
        char name[64], path[4096];
        size_t to = from, rest = (size_t)(m->o.shards - 1 - s);
        uint64_t end = total / (uint64_t)m->o.shards * (uint64_t)(s + 1);
        shard_name(name, sizeof name, s, m->o.shards);
        do {
            buffer_print(index, "%s\n    \"%s\": \"%s\"", to ? "," : "", m->tensors[to].name, name);
            done += tensor_bytes(&m->tensors[to++], m->o.type);
        } while (m->n_tensors - to > rest && (done < end || rest == 0));
        snprintf(path, sizeof path, "%s/%s", m->o.out, name);
        if (shard_write(m, path, from, to)) return 1;
        from = to;
    }
    buffer_print(index, "\n  }\n}\n");
    return 0;
}

static int text_file_write(const char *directory, const char *name, const buffer *content)
{
    char path[4096];
    error err = {0};
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (content->failed) return complain(path, "out of memory");
    return file_write(path, buffer_text(content), 0644, &err) == OK ? 0
                                                                    : complain(path, err.message);
}

static int config_write(const struct options *o)
{
    static const char *const torch_names[] = {"float32", "bfloat16", "float16"};
    buffer b = {0};
    buffer_print(&b,
                 "{\n  \"architectures\": [\"DbrxForCausalLM\"],\n  \"model_type\": \"dbrx\",\n");
    buffer_print(&b,
                 "  \"attn_config\": {\"clip_qkv\": %.17g, \"kv_n_heads\": %ld, "
                 "\"model_type\": \"\", \"rope_theta\": %.17g},\n",
                 o->clip, o->kv_n_heads, o->rope_theta);
    buffer_print(&b, "  \"d_model\": %ld,\n  \"emb_pdrop\": 0.0,\n", o->d_model);
    buffer_print(&b,
                 "  \"ffn_config\": {\"ffn_hidden_size\": %ld, \"model_type\": \"\", "
                 "\"moe_jitter_eps\": 0.01, \"moe_loss_weight\": 0.05, "
                 "\"moe_num_experts\": %ld, \"moe_top_k\": %ld},\n",
                 o->ffn, o->experts, o->top_k);
    buffer_print(
        &b,
        "  \"initializer_range\": 0.02,\n  \"max_seq_len\": %ld,\n  \"n_heads\": %ld,\n"
        "  \"n_layers\": %ld,\n  \"output_router_logits\": false,\n  \"resid_pdrop\": 0.0,\n"
        "  \"router_aux_loss_coef\": 0.05,\n  \"tie_word_embeddings\": false,\n"
        "  \"torch_dtype\": \"%s\",\n  \"use_cache\": true,\n",
        o->max_seq_len, o->n_heads, o->n_layers, torch_names[o->type]);
    if (o->demo) buffer_print(&b, "  \"dbrx_ls\": {\"demo\": true},\n");
    buffer_print(&b, "  \"vocab_size\": %ld\n}\n", o->vocab);
    int rc = text_file_write(o->out, "config.json", &b);
    buffer_free(&b);
    return rc;
}

static const struct {
    const char *spelling;
    int32_t id; /* DBRX's */
} specials[] = {{"<|endoftext|>", 100257},  {"<|fim_prefix|>", 100258},  {"<|fim_middle|>", 100259},
                {"<|fim_suffix|>", 100260}, {"<|endofprompt|>", 100276}, {"<|pad|>", 100277},
                {"<|im_start|>", 100278},   {"<|im_end|>", 100279}};
enum { N_SPECIALS = sizeof specials / sizeof *specials, DBRX_VOCABULARY = 100280 };

/* The first n lines: any prefix of a rank list is a tokenizer of its own. */
static void ranks_cut(buffer *ranks, long n)
{
    text rest = buffer_text(ranks), line;
    for (long i = 0; i < n; i++)
        if (!text_next_line(&rest, &line)) return;
    ranks->size -= rest.size;
}

/* cl100k's ranks and DBRX's specials; in a smaller vocabulary fewer ranks, and the specials last. */
static int tokenizer_write(const struct options *o)
{
    buffer ranks = {0}, config = {0};
    tokenizer *t = NULL;
    error err = {0};
    bool small = o->vocab < DBRX_VOCABULARY;
    if (o->vocab < 256 + N_SPECIALS)
        return complain("--tokenizer embedded", "--vocab has no room for 256 bytes and 8 specials");
    if (tokenizer_open(&t, NULL, &err) != OK) return complain("--tokenizer", err.message);
    tokenizer_write_ranks(t, &ranks);
    if (small) ranks_cut(&ranks, o->vocab - N_SPECIALS);
    buffer_print(&config, "{\n  \"tokenizer_class\": \"GPT2Tokenizer\",\n"
                          "  \"added_tokens_decoder\": {");
    for (int32_t i = 0; i < N_SPECIALS; i++)
        buffer_print(&config, "%s\n    \"%d\": {\"content\": \"%s\", \"special\": true}",
                     i ? "," : "", small ? (int32_t)o->vocab - N_SPECIALS + i : specials[i].id,
                     specials[i].spelling);
    buffer_print(&config, "\n  }\n}\n");
    int rc = text_file_write(o->out, "cl100k_base.tiktoken", &ranks);
    if (rc == 0) rc = text_file_write(o->out, "tokenizer_config.json", &config);
    tokenizer_close(t);
    buffer_free(&ranks);
    buffer_free(&config);
    return rc;
}

/* config.json comes last: a directory with one is a whole model. */
static int safetensors_write(const struct model *m)
{
    buffer index = {0};
    error err = {0};
    if (directory_make(m->o.out, 0755, &err) != OK) return complain(m->o.out, err.message);
    int rc = shards_write(m, &index);
    if (rc == 0 && m->o.shards > 1)
        rc = text_file_write(m->o.out, "model.safetensors.index.json", &index);
    buffer_free(&index);
    if (rc == 0 && strcmp(m->o.tokenizer, "embedded") == 0) rc = tokenizer_write(&m->o);
    return rc ? rc : config_write(&m->o);
}

/* GGUF, version 3: little-endian, strings with a 64-bit length, dimensions fastest first. */

static void put_u32(buffer *b, uint32_t v) { buffer_put(b, &v, sizeof v); }

static void put_u64(buffer *b, uint64_t v) { buffer_put(b, &v, sizeof v); }

static void put_string(buffer *b, const char *s)
{
    put_u64(b, strlen(s));
    buffer_put(b, s, strlen(s));
}

enum { GGUF_U32 = 4, GGUF_F32 = 6, GGUF_STRING = 8, GGUF_N_METADATA = 16 };

static void put_meta_u32(buffer *b, const char *key, long value)
{
    put_string(b, key);
    put_u32(b, GGUF_U32);
    put_u32(b, (uint32_t)value);
}

static void put_meta_f32(buffer *b, const char *key, double value)
{
    float f = (float)value;
    put_string(b, key);
    put_u32(b, GGUF_F32);
    buffer_put(b, &f, sizeof f);
}

static void put_meta_string(buffer *b, const char *key, const char *value)
{
    put_string(b, key);
    put_u32(b, GGUF_STRING);
    put_string(b, value);
}

static void gguf_metadata(buffer *b, const struct options *o)
{
    put_meta_string(b, "general.architecture", "dbrx");
    put_meta_string(b, "general.name", "random");
    put_meta_u32(b, "general.alignment", GGUF_ALIGNMENT);
    put_meta_u32(b, "dbrx.block_count", o->n_layers);
    put_meta_u32(b, "dbrx.context_length", o->max_seq_len);
    put_meta_u32(b, "dbrx.embedding_length", o->d_model);
    put_meta_u32(b, "dbrx.feed_forward_length", o->ffn);
    put_meta_u32(b, "dbrx.attention.head_count", o->n_heads);
    put_meta_u32(b, "dbrx.attention.head_count_kv", o->kv_n_heads);
    put_meta_u32(b, "dbrx.expert_count", o->experts);
    put_meta_u32(b, "dbrx.expert_used_count", o->top_k);
    put_meta_f32(b, "dbrx.attention.clamp_kqv", o->clip);
    put_meta_f32(b, "dbrx.attention.layer_norm_epsilon", 1e-5);
    put_meta_f32(b, "dbrx.rope.freq_base", o->rope_theta);
    put_meta_string(b, "tokenizer.ggml.model", "none");
    put_meta_u32(b, "dbrx.vocab_size", o->vocab);
}

static uint64_t padded(uint64_t size)
{
    return (size + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

/* llama.cpp wants the router in F32, like the norms. */
static enum dtype gguf_dtype(const struct model *m, const struct tensor *t)
{
    bool small = t->n_columns == 0 || strstr(t->gguf_name, "ffn_gate_inp");
    return small ? DTYPE_F32 : m->o.matrix_type;
}

static void gguf_header(buffer *b, const struct model *m)
{
    enum { GGUF_TYPE_F32 = 0, GGUF_TYPE_BF16 = 30 };
    uint64_t at = 0;
    buffer_put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, m->n_tensors);
    put_u64(b, GGUF_N_METADATA);
    gguf_metadata(b, &m->o);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct tensor *t = &m->tensors[i];
        uint64_t rows = t->n_rows / t->n_experts;
        put_string(b, t->gguf_name);
        put_u32(b, t->n_columns == 0 ? 1 : t->n_experts > 1 ? 3 : 2);
        if (t->n_columns) put_u64(b, t->transposed ? rows : t->n_columns);
        put_u64(b, t->transposed ? t->n_columns : rows);
        if (t->n_experts > 1) put_u64(b, t->n_experts);
        enum dtype type = gguf_dtype(m, t);
        put_u32(b, type == DTYPE_F32 ? GGUF_TYPE_F32 : GGUF_TYPE_BF16);
        put_u64(b, at);
        at += padded(tensor_bytes(t, type));
    }
    while (b->size % GGUF_ALIGNMENT) buffer_put_char(b, 0);
}

/* [rows][columns] of every expert, written as [columns][rows]. */
static bool tensor_write_transposed(FILE *f, const struct tensor *t, enum dtype type,
                                    enum dtype written)
{
    static float chunk[CHUNK_VALUES];
    uint64_t rows = t->n_rows / t->n_experts;
    for (uint64_t e = 0; e < t->n_experts; e++)
        for (uint64_t c = 0; c < t->n_columns; c++)
            for (uint64_t r = 0; r < rows; r += CHUNK_VALUES) {
                size_t n = rows - r < CHUNK_VALUES ? (size_t)(rows - r) : CHUNK_VALUES;
                uint64_t first = (e * rows + r) * t->n_columns + c;
                tensor_fill(chunk, t, type, first, t->n_columns, n);
                if (!values_write(f, chunk, n, written)) return false;
            }
    return true;
}

static int gguf_write(const struct model *m)
{
    static const char zeros[GGUF_ALIGNMENT];
    buffer header = {0};
    gguf_header(&header, m);
    FILE *f = fopen(m->o.gguf, "wb");
    bool ok = f && !header.failed && fwrite(header.bytes, 1, header.size, f) == header.size;
    for (size_t i = 0; ok && i < m->n_tensors; i++) {
        const struct tensor *t = &m->tensors[i];
        enum dtype type = gguf_dtype(m, t);
        uint64_t size = tensor_bytes(t, type);
        ok = t->transposed ? tensor_write_transposed(f, t, m->o.type, type)
                           : tensor_write(f, t, m->o.type, type);
        size_t pad = (size_t)(padded(size) - size);
        ok = ok && fwrite(zeros, 1, pad, f) == pad;
    }
    if (f && fclose(f) != 0) ok = false;
    buffer_free(&header);
    return ok ? 0 : complain(m->o.gguf, strerror(errno));
}

static const struct {
    const char *name;
    enum { OPTION_TEXT, OPTION_LONG, OPTION_REAL, OPTION_FLAG } kind;
    size_t offset;
} option_table[] = {
    {"--out", OPTION_TEXT, offsetof(struct options, out)},
    {"--gguf", OPTION_TEXT, offsetof(struct options, gguf)},
    {"--gguf-type", OPTION_TEXT, offsetof(struct options, gguf_type)},
    {"--dtype", OPTION_TEXT, offsetof(struct options, dtype)},
    {"--tokenizer", OPTION_TEXT, offsetof(struct options, tokenizer)},
    {"--d-model", OPTION_LONG, offsetof(struct options, d_model)},
    {"--n-heads", OPTION_LONG, offsetof(struct options, n_heads)},
    {"--kv-n-heads", OPTION_LONG, offsetof(struct options, kv_n_heads)},
    {"--n-layers", OPTION_LONG, offsetof(struct options, n_layers)},
    {"--ffn", OPTION_LONG, offsetof(struct options, ffn)},
    {"--experts", OPTION_LONG, offsetof(struct options, experts)},
    {"--top-k", OPTION_LONG, offsetof(struct options, top_k)},
    {"--vocab", OPTION_LONG, offsetof(struct options, vocab)},
    {"--max-seq-len", OPTION_LONG, offsetof(struct options, max_seq_len)},
    {"--rope-theta", OPTION_REAL, offsetof(struct options, rope_theta)},
    {"--clip", OPTION_REAL, offsetof(struct options, clip)},
    {"--routes-spread", OPTION_REAL, offsetof(struct options, routes_spread)},
    {"--gains-spread", OPTION_REAL, offsetof(struct options, gains_spread)},
    {"--qkv-scale", OPTION_REAL, offsetof(struct options, qkv_scale)},
    {"--shards", OPTION_LONG, offsetof(struct options, shards)},
    {"--seed", OPTION_LONG, offsetof(struct options, seed)},
    {"--demo", OPTION_FLAG, offsetof(struct options, demo)},
};

static int option_set(struct options *o, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof option_table / sizeof *option_table; i++) {
        char *field = (char *)o + option_table[i].offset, *end = NULL;
        if (strcmp(name, option_table[i].name) != 0) continue;
        if (option_table[i].kind == OPTION_FLAG) {
            *(long *)(void *)field = 1;
            return 1;
        }
        if (!value) return -complain("needs a value", name);
        if (option_table[i].kind == OPTION_TEXT)
            *(const char **)(void *)field = value;
        else if (option_table[i].kind == OPTION_LONG)
            *(long *)(void *)field = strtol(value, &end, 10);
        else
            *(double *)(void *)field = strtod(value, &end);
        if (end && (*end || end == value)) return -complain("is no number", value);
        return 2;
    }
    return -complain("unknown option", name);
}

static int options_read(struct options *o, int argc, char **argv)
{
    static const char *const types[] = {"f32", "bf16", "f16"};
    for (int i = 1; i < argc;) {
        int used = option_set(o, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (used < 0) return 2;
        i += used;
    }
    for (o->type = DTYPE_F32; o->type <= DTYPE_F16 && strcmp(o->dtype, types[o->type]) != 0;)
        o->type++;
    if (o->type > DTYPE_F16) return 1 + complain("--dtype is not f32, bf16 or f16", o->dtype);
    o->matrix_type = strcmp(o->gguf_type, "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32;
    if (strcmp(o->gguf_type, "f32") != 0 && (o->matrix_type != o->type || o->type == DTYPE_F32))
        return 1 + complain("--gguf-type is not f32, nor bf16 with --dtype bf16", o->gguf_type);
    if (strcmp(o->tokenizer, "none") != 0 && strcmp(o->tokenizer, "embedded") != 0)
        return 1 + complain("--tokenizer is not none or embedded", o->tokenizer);
    const long *counts[] = {&o->d_model, &o->n_heads, &o->kv_n_heads,  &o->n_layers, &o->ffn,
                            &o->experts, &o->vocab,   &o->max_seq_len, &o->shards};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (*counts[i] < 1 || *counts[i] > 100000000)
            return 1 + complain("dimensions and shards", "must be positive");
    if (o->shards > o->n_layers * 8 + 3) return 1 + complain("--shards", "more than tensors");
    if (!o->out && !o->gguf)
        return 1 + complain("nothing to do", "--out DIR or --gguf FILE is missing");
    return 0;
}

int main(int argc, char **argv)
{
    struct model m = {.o = {.dtype = "bf16",
                            .gguf_type = "f32",
                            .tokenizer = "none",
                            .d_model = 64,
                            .n_heads = 4,
                            .kv_n_heads = 2,
                            .n_layers = 2,
                            .ffn = 96,
                            .experts = 4,
                            .top_k = 2,
                            .vocab = 256,
                            .max_seq_len = 2048,
                            .shards = 1,
                            .seed = 1,
                            .rope_theta = 500000,
                            .clip = 8,
                            .routes_spread = 1,
                            .qkv_scale = 1}};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) return fputs(usage, stdout) < 0;
    int rc = options_read(&m.o, argc, argv);
    if (rc) return rc;
    if (!model_list(&m)) return complain("out of memory", "list of tensors");
    if (m.o.out) rc = safetensors_write(&m);
    if (rc == 0 && m.o.gguf) rc = gguf_write(&m);
    uint64_t total = 0;
    for (size_t i = 0; i < m.n_tensors; i++) total += tensor_values(&m.tensors[i]);
    if (rc == 0) printf("%llu parameters\n", (unsigned long long)total);
    memory_free(m.tensors);
    return rc;
}
