/* The same work by llama.cpp's library, with its own choices of kernels, layouts and KV type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml-backend.h"
#include "gguf.h"
#include "llama.h"
#include "tests/bench/peer.h"

struct peer_llama {
    struct llama_model *model;
    struct llama_context *context;
    struct llama_batch batch;
    int n_prompt, n_threads;
};

static void quiet(enum ggml_log_level level, const char *words, void *context)
{
    (void)context;
    if (level >= GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_CONT) fputs(words, stderr);
}

static void library_start(const char *library_dir)
{
    llama_log_set(quiet, NULL);
    ggml_backend_load_all_from_path(library_dir);
}

struct peer_llama *peer_llama_open(const char *library_dir, const char *gguf, int n_threads,
                                   int n_prompt, int n_decode)
{
    struct peer_llama *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    library_start(library_dir);
    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    p->model = llama_model_load_from_file(gguf, model_params);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)(n_prompt + n_decode + 31) / 32 * 32;
    params.n_batch = params.n_ubatch = (uint32_t)n_prompt;
    params.n_seq_max = 1;
    params.n_threads = params.n_threads_batch = n_threads;
    p->n_prompt = n_prompt;
    p->n_threads = n_threads;
    if (p->model) p->context = llama_init_from_model(p->model, params);
    if (p->context) p->batch = llama_batch_init(n_prompt, 0, 1);
    if (p->batch.token) return p;
    fprintf(stderr, "peer: llama.cpp cannot open %s\n", gguf);
    peer_llama_close(p);
    return NULL;
}

void peer_llama_close(struct peer_llama *p)
{
    if (!p) return;
    if (p->batch.token) llama_batch_free(p->batch);
    if (p->context) llama_free(p->context);
    if (p->model) llama_model_free(p->model);
    free(p);
}

/* Rows [from, from + n), logits of the last one. */
static int rows_run(struct peer_llama *p, const int32_t *tokens, int from, int n)
{
    p->batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        p->batch.token[i] = tokens[i];
        p->batch.pos[i] = from + i;
        p->batch.n_seq_id[i] = 1;
        p->batch.seq_id[i][0] = 0;
        p->batch.logits[i] = i == n - 1;
    }
    return llama_decode(p->context, p->batch);
}

double peer_llama_prefill(struct peer_llama *p, const int32_t *tokens, int n, const float **logits)
{
    llama_memory_clear(llama_get_memory(p->context), true);
    double begun = peer_clock_s(p->n_threads);
    if (rows_run(p, tokens, 0, n) != 0) return -1;
    llama_synchronize(p->context);
    double took = peer_clock_s(p->n_threads) - begun;
    *logits = llama_get_logits_ith(p->context, n - 1);
    return took;
}

double peer_llama_decode(struct peer_llama *p, const int32_t *tokens, int n)
{
    double begun = peer_clock_s(p->n_threads);
    for (int i = 0; i < n; i++)
        if (rows_run(p, tokens + i, p->n_prompt + i, 1) != 0) return -1;
    llama_synchronize(p->context);
    return peer_clock_s(p->n_threads) - begun;
}

int peer_llama_quantize(const char *library_dir, const char *from, const char *to, const char *type,
                        int n_threads)
{
    library_start(library_dir);
    llama_model_quantize_params params = llama_model_quantize_default_params();
    bool four = strcmp(type, "q4_0") == 0;
    params.nthread = n_threads;
    params.ftype = four ? LLAMA_FTYPE_MOSTLY_Q4_0 : LLAMA_FTYPE_MOSTLY_Q8_0;
    params.output_tensor_type = params.token_embedding_type =
        four ? GGML_TYPE_Q4_0 : GGML_TYPE_Q8_0;
    params.allow_requantize = params.pure = true;
    return (int)llama_model_quantize(from, to, &params);
}

static double key_u32(struct gguf_context *g, const char *key)
{
    int64_t id = gguf_find_key(g, key);
    return id < 0 ? 0 : (double)gguf_get_val_u32(g, id);
}

double peer_llama_step_bytes(const char *gguf)
{
    struct gguf_context *g = gguf_init_from_file(gguf, (struct gguf_init_params){.no_alloc = true});
    double bytes = 0;
    if (!g) return 0;
    double share = key_u32(g, "dbrx.expert_used_count") / key_u32(g, "dbrx.expert_count");
    for (int64_t i = 0; i < gguf_get_n_tensors(g); i++) {
        const char *name = gguf_get_tensor_name(g, i);
        double size = (double)gguf_get_tensor_size(g, i);
        if (strcmp(name, "token_embd.weight") == 0) size /= key_u32(g, "dbrx.vocab_size");
        if (strstr(name, "_exps.")) size *= share;
        bytes += size;
    }
    gguf_free(g);
    return bytes;
}
