/* llama_logits: all logits of a GGUF model by llama.cpp's own library, as a second engine to compare
 * with. usage: llama_logits LIBRARY_DIR MODEL.gguf < ids > fp32 rows. K and V are kept as F32 and
 * flash attention is off, so that it computes in full precision. With --tokenize behind them it reads
 * text and prints its ids by lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml-backend.h"
#include "llama.h"

enum { TOKENS_MAX = 32768 };

static void quiet(enum ggml_log_level level, const char *text, void *context)
{
    (void)context;
    if (level >= GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_CONT) fputs(text, stderr);
}

static int ids_read(llama_token *out)
{
    int n = 0;
    while (n < TOKENS_MAX && scanf("%d%*[, \n]", &out[n]) == 1) n++;
    return n;
}

static int rows_write(struct llama_context *context, const llama_token *ids, int n, int n_vocab)
{
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    int rc = llama_decode(context, batch);
    for (int i = 0; rc == 0 && i < n; i++) {
        const float *row = llama_get_logits_ith(context, i);
        if (!row || fwrite(row, sizeof *row, (size_t)n_vocab, stdout) != (size_t)n_vocab) rc = 1;
    }
    llama_batch_free(batch);
    return rc;
}

static int logits_write(struct llama_model *model)
{
    static llama_token ids[TOKENS_MAX];
    int n = ids_read(ids);
    if (n == 0) return fprintf(stderr, "llama_logits: no ids\n"), 1;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)n + 32;
    params.n_batch = params.n_ubatch = (uint32_t)n;
    params.n_seq_max = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.n_threads = params.n_threads_batch = 2;
    struct llama_context *context = llama_init_from_model(model, params);
    if (!context) return fprintf(stderr, "llama_logits: no context\n"), 1;
    int rc = rows_write(context, ids, n, llama_vocab_n_tokens(llama_model_get_vocab(model)));
    llama_free(context);
    return rc;
}

static int ids_write(struct llama_model *model)
{
    static llama_token ids[TOKENS_MAX];
    static char text[4 * TOKENS_MAX];
    int32_t size = (int32_t)fread(text, 1, sizeof text, stdin);
    int32_t n =
        llama_tokenize(llama_model_get_vocab(model), text, size, ids, TOKENS_MAX, false, false);
    for (int32_t i = 0; i < n; i++) printf("%d\n", ids[i]);
    return n < 0;
}

int main(int argc, char **argv)
{
    bool tokenize = argc == 4 && strcmp(argv[3], "--tokenize") == 0;
    if (argc != 3 && !tokenize)
        return fprintf(stderr, "usage: llama_logits LIBRARY_DIR MODEL [--tokenize]\n"), 2;
    llama_log_set(quiet, NULL);
    ggml_backend_load_all_from_path(argv[1]);
    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    model_params.vocab_only = tokenize;
    struct llama_model *model = llama_model_load_from_file(argv[2], model_params);
    if (!model) return fprintf(stderr, "llama_logits: no model\n"), 1;
    int rc = tokenize ? ids_write(model) : logits_write(model);
    llama_model_free(model);
    return rc;
}
