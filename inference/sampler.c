/* Randomness is a function of (seed, output index), so a row never depends on its batch. */
#include "inference/sampler.h"

#include "base/memory.h"

status sampler_open(sampler *out, const tokenizer *t, int32_t vocab_size, error *err)
{
    int32_t n_words = (vocab_size + 31) / 32;
    *out = (sampler){.n_words = n_words, .n_masks = 1};
    out->mask = memory_take((size_t)n_words, sizeof *out->mask);
    if (!out->mask) return fail(err, ERR_MEMORY, "out of memory for the mask of dead ids");
    for (int32_t id = 0; id < vocab_size; id++)
        if (!tokenizer_is_dead(t, id)) out->mask[id / 32] |= UINT32_C(1) << id % 32;
    return OK;
}

void sampler_close(sampler *s)
{
    memory_free(s->mask);
    *s = (sampler){0};
}

static status range_check(const char *field, double value, double low, double high, error *err)
{
    if (value >= low && value <= high) return OK;
    return fail(err, ERR_USAGE, "%s is %g, expected %g to %g", field, value, low, high);
}

status sampler_check(const struct generation_spec *spec, error *err)
{
    status s = range_check("temperature", (double)spec->temperature, 0, 100, err);
    if (s == OK) s = range_check("top_k", spec->top_k, 0, INT32_MAX, err);
    if (s == OK) s = range_check("top_p", (double)spec->top_p, 0, 1, err);
    if (s == OK) s = range_check("min_p", (double)spec->min_p, 0, 1, err);
    if (s == OK)
        s = range_check("repetition_penalty", (double)spec->repetition_penalty, 0, 100, err);
    if (s == OK) s = range_check("logprobs", spec->n_logprobs, 0, LOGPROBS_MAX, err);
    return s;
}

struct sample_row sampler_row(const struct generation_spec *spec)
{
    bool penalty = spec->repetition_penalty > 0;
    return (struct sample_row){
        .temperature = spec->temperature,
        .top_k = spec->top_k,
        .top_p = spec->top_p > 0 ? spec->top_p : 1,
        .min_p = spec->min_p,
        .repetition_penalty = penalty ? spec->repetition_penalty : 1,
        .mask = 0,
        .seed = spec->seed,
        .n_logprobs = spec->n_logprobs,
    };
}

struct sample_row sampler_row_at(const struct sample_row *request, const int32_t *tokens,
                                 int32_t n_tokens, int32_t index)
{
    struct sample_row row = *request;
    bool penalty = row.repetition_penalty < 1 || row.repetition_penalty > 1;
    row.history = penalty ? tokens : NULL;
    row.n_history = penalty ? n_tokens : 0;
    row.index = (uint64_t)index;
    return row;
}
