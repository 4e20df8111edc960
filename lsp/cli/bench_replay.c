#include "lsp/cli/bench_replay.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "lsp/cli/bench.h"

/* Tokens not in cache when a question comes, nine times of ten. */
enum { KEY_TOKENS = 64, LINE_TOKENS = 160 };

status replay_open(struct replay *out, const struct typing_session *s, const tokenizer *t,
                   size_t budget_tokens, error *err)
{
    *out = (struct replay){.tokenizer = t, .budget_tokens = budget_tokens};
    status code = typing_player_open(&out->player, s, err);
    if (code != OK) return code;
    out->prompts = memory_take(s->n_documents ? s->n_documents : 1, sizeof(prompt_session *));
    if (!out->prompts) return fail(err, ERR_MEMORY, "out of memory for a typing session");
    for (size_t i = 0; code == OK && i < s->n_documents; i++)
        code = prompt_session_open(&out->prompts[i], err);
    return code;
}

void replay_close(struct replay *r)
{
    for (size_t i = 0; r->prompts && i < r->player.session->n_documents; i++)
        prompt_session_close(r->prompts[i]);
    memory_free(r->prompts);
    if (r->player.session) typing_player_close(&r->player);
    *r = (struct replay){0};
}

status replay_step(struct replay *r, const struct typing_step **step, struct prompt *prompt,
                   error *err)
{
    status code = typing_player_step(&r->player, step, err);
    *prompt = (struct prompt){0};
    if (code != OK || !*step) return code;
    const struct document_view document = {
        .path = r->player.session->documents[(*step)->document].path,
        .content = buffer_text(&r->player.contents[(*step)->document])};
    const struct prompt_options options = {.budget_tokens = r->budget_tokens};
    return prompt_build(prompt, r->prompts[(*step)->document], r->tokenizer, &document,
                        (*step)->cursor, &options, err);
}

static bool history_grow(struct replay_history *h)
{
    if (h->n < h->room) return true;
    size_t room = h->room ? 2 * h->room : 256;
    int32_t **ids = memory_resize(h->ids, room, sizeof *ids);
    if (!ids) return false;
    h->ids = ids;
    size_t *n_ids = memory_resize(h->n_ids, room, sizeof *n_ids);
    if (!n_ids) return false;
    h->n_ids = n_ids;
    h->room = room;
    return true;
}

static size_t common(const int32_t *a, const int32_t *b, size_t n)
{
    size_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

status replay_history_add(struct replay_history *h, const struct prompt *p, size_t *n_findable,
                          error *err)
{
    const int32_t *ids = p->ids.ids;
    size_t best = 0;
    for (size_t i = h->n; i-- > 0;) {
        /* Who differs where the best one ends cannot be better. */
        if (h->n_ids[i] <= best || best >= p->ids.n || h->ids[i][best] != ids[best]) continue;
        size_t n = common(h->ids[i], ids, h->n_ids[i] < p->ids.n ? h->n_ids[i] : p->ids.n);
        if (n > best) best = n;
    }
    *n_findable = best;
    int32_t *copy = history_grow(h) ? memory_take(p->ids.n, sizeof *copy) : NULL;
    if (!copy) return fail(err, ERR_MEMORY, "out of memory for the prompts of a session");
    memcpy(copy, ids, p->ids.n * sizeof *copy);
    h->ids[h->n] = copy;
    h->n_ids[h->n++] = p->ids.n;
    return OK;
}

void replay_history_free(struct replay_history *h)
{
    for (size_t i = 0; i < h->n; i++) memory_free(h->ids[i]);
    memory_free(h->ids);
    memory_free(h->n_ids);
    *h = (struct replay_history){0};
}

const char *replay_block_at(const struct prompt *p, size_t at)
{
    for (size_t i = 0, end = 0; i < p->n_blocks; i++) {
        end += p->blocks[i].n_tokens;
        if (at < end) return p->blocks[i].kind;
    }
    return "";
}

void replay_figures_add(struct replay_figures *f, int64_t n_prompt, int64_t n_cached,
                        int64_t ttft_us)
{
    f->n++;
    f->n_prompt += n_prompt;
    f->n_cached += n_cached;
    samples_put(&f->missing, (double)(n_prompt - n_cached));
    if (ttft_us > 0) samples_put(&f->ttft_us, (double)ttft_us);
}

void replay_figures_free(struct replay_figures *f)
{
    samples_free(&f->missing);
    samples_free(&f->ttft_us);
}

double replay_share(const struct replay_figures *f)
{
    return f->n_prompt > 0 ? (double)f->n_cached / (double)f->n_prompt : (double)NAN;
}

double replay_limit(enum typing_kind kind, size_t budget_tokens)
{
    switch (kind) {
    case TYPING_KEY:
    case TYPING_ERASE: return KEY_TOKENS;
    case TYPING_NEWLINE:
    case TYPING_ACCEPT: return LINE_TOKENS;
    case TYPING_JUMP: return (double)budget_tokens / 2;
    default: return (double)NAN; /* all but what is common to all prompts */
    }
}

json_t *replay_figures_json(struct replay_figures *f)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "prompts",
                     (json_int_t)f->n, "prompt_tokens", (json_int_t)f->n_prompt, "cached_tokens",
                     (json_int_t)f->n_cached, "computed_tokens",
                     (json_int_t)(f->n_prompt - f->n_cached), "share_found_in_cache",
                     figure_json(replay_share(f)), "tokens_not_in_cache_p50",
                     figure_json(samples_percentile(&f->missing, 50)), "tokens_not_in_cache_p90",
                     figure_json(samples_percentile(&f->missing, 90)), "tokens_not_in_cache_p99",
                     figure_json(samples_percentile(&f->missing, 99)), "ttft_ms_p50",
                     figure_json(samples_percentile(&f->ttft_us, 50) / 1e3), "ttft_ms_p95",
                     figure_json(samples_percentile(&f->ttft_us, 95) / 1e3), "ttft_ms_p99",
                     figure_json(samples_percentile(&f->ttft_us, 99) / 1e3), "ttft_ms_mean",
                     figure_json(samples_mean(&f->ttft_us) / 1e3));
}
