/* A typing session becomes prompts, and figures by the kind of step. Internal to the bench.
 *
 * Prompts are those of the completion (context/prompt.h), one after every step, with a session of
 * anchors per document as the language server has them. One thread. */
#ifndef LSP_CLI_BENCH_REPLAY_H
#define LSP_CLI_BENCH_REPLAY_H

#include <jansson.h>

#include "context/prompt.h"
#include "inference/bench/samples.h"
#include "lsp/cli/typing.h"

/* The documents of a session while it is played, and the prompts they give. */
struct replay {
    struct typing_player player;
    prompt_session **prompts; /* [n_documents] */
    const tokenizer *tokenizer;
    size_t budget_tokens;
};

status replay_open(struct replay *out, const struct typing_session *s, const tokenizer *t,
                   size_t budget_tokens, error *err);
void replay_close(struct replay *r);

/* Plays a step and lays out its prompt; *step NULL at the end. The prompt is freed by the caller. */
status replay_step(struct replay *r, const struct typing_step **step, struct prompt *prompt,
                   error *err);

/* What a cache that forgets nothing would find: the prompts so far, compared token by token. */
struct replay_history {
    int32_t **ids;
    size_t *n_ids;
    size_t n, room;
};

/* Tokens of the prompt that some earlier one begins with too; then remembers it. */
status replay_history_add(struct replay_history *h, const struct prompt *p, size_t *n_findable,
                          error *err);
void replay_history_free(struct replay_history *h);

/* The kind of the block that token `at` stands in; "" behind the last one. */
const char *replay_block_at(const struct prompt *p, size_t at);

/* Figures of some prompts. */
struct replay_figures {
    int64_t n, n_prompt, n_cached; /* prompts; their tokens; those found */
    struct samples missing, ttft_us;
};

void replay_figures_add(struct replay_figures *f, int64_t n_prompt, int64_t n_cached,
                        int64_t ttft_us);
void replay_figures_free(struct replay_figures *f);
double replay_share(const struct replay_figures *f); /* found of asked; NAN when none */

/* Tokens not in cache, nine times of ten, that the prompt's layout promises for this kind. */
double replay_limit(enum typing_kind kind, size_t budget_tokens);

json_t *replay_figures_json(struct replay_figures *f);

#endif
