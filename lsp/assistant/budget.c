#include "lsp/assistant/state.h"

enum { PROMPT_TOKENS = 8192, ANSWER_TOKENS = 256 };

/* A model's length that is not known (0) bounds nothing; a short one is shared three to one. */
size_t assistant_budget(const assistant *a, int32_t *answer_tokens)
{
    size_t budget = a->options.budget_tokens ? a->options.budget_tokens : PROMPT_TOKENS;
    int32_t length = engine_client_status(a->options.client)->usable_len;
    *answer_tokens = a->options.max_tokens > 0 ? a->options.max_tokens : ANSWER_TOKENS;
    if (length <= 0) return budget;
    if (*answer_tokens > length / 4) *answer_tokens = length / 4;
    size_t room = (size_t)(length - *answer_tokens);
    return budget < room ? budget : room;
}
