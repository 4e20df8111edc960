/* The model in the order in which an engine would fail: directory, configuration, weights,
 * tokenizer, kernels, memory. The last is the engine's own plan, so the numbers are the ones it
 * would start with. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "inference/engine.h"
#include "inference/model.h"
#include "lsp/cli/doctor.h"
#include "lsp/cli/numbers.h"
#include "tokenizer/tokenizer.h"

enum { STREAM_TOKENS = 8192 };
enum { CONTEXTS_WANTED = 4 }; /* what the engine takes when memory allows */

static const char model_advice[] =
    "give the directory of a whole checkpoint: config.json, weights, tokenizer";

static bool check_directory(struct report *r, const char *dir)
{
    if (!dir)
        report_put(r, "model directory", VERDICT_FAIL,
                   "give --model DIR, set DBRX_MODEL, or put one named model beside the program",
                   "none found");
    else if (!directory_exists(dir))
        report_put(r, "model directory", VERDICT_FAIL, "name a directory with config.json in it",
                   "%s: no such directory", dir);
    else
        report_put(r, "model directory", VERDICT_OK, "", "%s", dir);
    return dir && directory_exists(dir);
}

static bool check_config(struct report *r, const char *dir)
{
    struct model_config c;
    error err;
    if (model_config_read(&c, dir, &err) != OK) {
        report_put(r, "config.json", VERDICT_FAIL, model_advice, "%s", err.message);
        return false;
    }
    const struct model_shape *s = &c.shape;
    report_put(r, "config.json", VERDICT_OK, "",
               "d_model %d, %d layers, %d heads of %d (%d for keys), %d experts of %d, %d used, "
               "vocabulary %d, context %d",
               s->d_model, s->n_layers, s->n_heads, s->head_dim, s->kv_n_heads, s->moe_num_experts,
               s->ffn_hidden_size, s->moe_top_k, s->vocab_size, s->max_seq_len);
    if (c.demo)
        report_put(r, "demo", VERDICT_WARN, "use DBRX for real work: DBRX_MODEL=DIR",
                   "a small model that shows how the program works");
    return true;
}

static bool check_weights(struct report *r, const char *dir)
{
    model *m;
    error err;
    if (model_open(&m, dir, &err) != OK) {
        report_put(r, "weights", VERDICT_FAIL, model_advice, "%s", err.message);
        return false;
    }
    size_t stored = model_stored_bytes(m), page = (size_t)sysconf(_SC_PAGESIZE);
    bool fits = stored / page < (size_t)sysconf(_SC_PHYS_PAGES);
    report_put(r, "weights", fits ? VERDICT_OK : VERDICT_WARN,
               fits ? "" : "use a machine with more memory: they are read from disk at every token",
               "%lld parameters, %zu tensors, %.1f MiB", (long long)model_parameters(m),
               safetensors_count(m->files), (double)stored / (double)MIB);
    model_close(m);
    return true;
}

static bool check_tokenizer(struct report *r, const char *dir)
{
    tokenizer *t;
    error err;
    if (tokenizer_open(&t, dir, &err) != OK) {
        report_put(r, "tokenizer", VERDICT_FAIL, model_advice, "%s", err.message);
        return false;
    }
    report_put(r, "tokenizer", VERDICT_OK, "", "%d ids, sha256 %s", tokenizer_vocabulary_size(t),
               tokenizer_sha256(t));
    tokenizer_close(t);
    return true;
}

/* Which of the backend's variants this machine gets: a device of the smallest shape tells. */
static bool check_kernels(struct report *r, const struct engine_settings *s)
{
    const struct model_shape smallest = {.d_model = 32,
                                         .n_heads = 1,
                                         .kv_n_heads = 1,
                                         .head_dim = 32,
                                         .n_layers = 1,
                                         .ffn_hidden_size = 32,
                                         .moe_num_experts = 1,
                                         .moe_top_k = 1,
                                         .vocab_size = 32,
                                         .max_seq_len = 16,
                                         .rope_theta = 1e4,
                                         .activations = ACTIVATION_BF16};
    /* So many rows that a GPU says who multiplies them. */
    const struct device_options options = {
        .shape = smallest, .n_threads = 1, .rows_max = 128, .seqs_max = 1, .outs_max = 1};
    const struct kernels *k;
    device *d = NULL;
    error err;
    status code = kernels_find(&k, s->backend ? s->backend : "auto", &err);
    if (code == OK) code = k->open(&d, &options, &err);
    if (code != OK) {
        report_put(r, "kernels", VERDICT_FAIL, "choose another with --backend", "%s", err.message);
        return false;
    }
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    bool slow = strcmp(k->name, "reference") == 0, many = !slow && s->n_threads > n_cores;
    long long n_threads = slow ? 1 : s->n_threads ? s->n_threads : n_cores;
    report_put(r, "kernels", many || slow ? VERDICT_WARN : VERDICT_OK,
               slow   ? "for comparing only: use --backend auto"
               : many ? "more threads than cores make it slower"
                      : "",
               "%s, %lld threads on %ld cores", k->describe(d), n_threads, n_cores);
    k->close(d);
    return true;
}

static void check_memory(struct report *r, const struct engine_settings *s, const char *dir)
{
    const struct engine_options options = {.model_dir = dir,
                                           .backend = s->backend,
                                           .n_threads = (int32_t)s->n_threads,
                                           .kv_served = true};
    struct engine_plan plan;
    error err;
    status code = engine_plan(&plan, &options, &err);
    if (code != OK) {
        report_put(r, "memory", VERDICT_FAIL,
                   code == ERR_MEMORY ? "end other programs, or use a smaller model" : model_advice,
                   "%s", err.message);
        return;
    }
    bool enough = plan.kv_tokens >= (int64_t)CONTEXTS_WANTED * plan.shape.max_seq_len;
    report_put(
        r, "memory", enough ? VERDICT_OK : VERDICT_WARN,
        enough ? "" : "fewer requests fit at once: free some memory for more",
        "%lld KV tokens (%.1f contexts, %lld streams of 8k) in %.1f MiB, work %.1f MiB, free "
        "%.1f MiB",
        (long long)plan.kv_tokens, (double)plan.kv_tokens / plan.shape.max_seq_len,
        (long long)plan.kv_tokens / STREAM_TOKENS, (double)plan.kv_bytes / (double)MIB,
        (double)plan.work_bytes / (double)MIB, (double)plan.free_bytes / (double)MIB);
}

void doctor_fit(struct report *r, const struct engine_settings *s, const struct doctor_fit *f)
{
    buffer found = {0};
    struct engine_options options = {.model_dir = model_find(s->model_dir, &found),
                                     .kv_type = KV_E4M3};
    struct engine_fit fit;
    const char *name = "on such a GPU";
    double all = (double)f->memory_bytes / (double)GIB;
    error err;
    status code = OK;
    const char *advice = "choose another --weights or --kv-type";
    if (!options.model_dir) code = fail(&err, ERR_USAGE, "no model: --model DIR is missing");
    if (code == OK && f->weights)
        code = weights_parse(&options.weights, f->weights, "--weights", &err);
    if (code == OK && f->kv_type)
        code = kv_type_parse(&options.kv_type, "--kv-type", f->kv_type, &err);
    if (code == OK) {
        code = engine_fit(&fit, &options, (size_t)f->memory_bytes, &err);
        if (code == ERR_MEMORY) advice = "smaller weights (--weights int4), or a larger GPU";
        if (code == ERR_FORMAT || code == ERR_IO) advice = model_advice;
    }
    if (code == OK)
        report_put(r, name, VERDICT_OK, "",
                   "arithmetic for %.1f GiB, no GPU was asked: weights %.1f GiB, work %.2f GiB, "
                   "%lld KV tokens of %zu bytes, %lld streams of 8k",
                   all, (double)fit.weight_bytes / (double)GIB,
                   (double)fit.work_bytes / (double)GIB, (long long)fit.kv_tokens,
                   fit.kv_bytes_per_token, (long long)fit.kv_tokens / STREAM_TOKENS);
    else
        report_put(r, name, VERDICT_FAIL, options.model_dir ? advice : model_advice,
                   "arithmetic for %.1f GiB, no GPU was asked: %s", all, err.message);
    buffer_free(&found);
}

void doctor_model(struct report *r, const struct engine_settings *s)
{
    buffer found = {0};
    const char *dir = model_find(s->model_dir, &found);
    bool whole = check_directory(r, dir);
    if (whole) {
        bool config = check_config(r, dir);
        bool weights = config && check_weights(r, dir);
        whole = check_tokenizer(r, dir) && weights;
    }
    if (check_kernels(r, s) && whole) check_memory(r, s, dir);
    buffer_free(&found);
}
