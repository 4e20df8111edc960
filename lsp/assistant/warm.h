/* Speculative prefix caching: the engine computes the prompts of places that will be asked about,
 * before they are. Private to the assistant.
 *
 *     wishes --best first--> one warm request under way --done--> ledger (useful? wasted?)
 *
 * Predictions come from what the editor says: a document is opened, its text changes, the cursor
 * rests, a suggestion is shown (its accepted state, and the line behind that). Who turns to another
 * document ends nothing of the one that is left. Editors open documents while the engine still loads:
 * each is warmed as it is when the engine is ready. A prompt is built as the next question would build
 * it, and the session's anchors are put back. At most one request is under way, never beside a real one
 * of ours, with the engine's lowest priority; it ends when the text says that it no longer helps. What
 * was gathered since takes effect here: a better plan of excerpts becomes the session's when its warm
 * request is complete. */
#ifndef LSP_ASSISTANT_WARM_H
#define LSP_ASSISTANT_WARM_H

#include "lsp/assistant/warm_ledger.h"
#include "tokenizer/tokenizer.h"

struct assistant;
struct session;
struct question;
struct run;
struct suggestion_left;

enum { WARM_WISHES_MAX = 8 };

struct warm_wish {
    enum warm_kind kind;
    struct question *question; /* a reference */
    int64_t not_before_us;
};

struct warmer {
    struct warm_wish wishes[WARM_WISHES_MAX];
    size_t n_wishes;
    struct warm_call *running;
    struct warm_ledger ledger;
    bool foreign_caches;  /* a foreign engine has said so of a second request */
    bool engine_is_ready; /* as it was last told */
    int64_t engine;       /* counts how often it became ready: what was cached before is lost */
    uint64_t active_key;  /* the document of the last event */
    token_list last_real; /* the newest real prompt */
    int64_t computed_us;  /* that the complete warm requests took, for how many tokens */
    int64_t n_computed;
};

/* What happened. `question` is the document's newest state; it is kept in the session. */
void warm_opened(struct assistant *a, struct session *s, struct question *question);
void warm_changed(struct assistant *a, struct session *s, struct question *question, bool foreseen);
void warm_asked(struct assistant *a, struct session *s, struct question *question);
void warm_shown(struct assistant *a, const struct question *question,
                const struct suggestion_left *left);
void warm_engine_changed(struct assistant *a);

/* A real request begins with the run's prompt, or has ended. */
void warm_real_begins(struct assistant *a, const struct run *r);
void warm_real_ended(struct assistant *a, const struct run *r);

/* When there is something to do; INT64_MAX: nothing. And that it is done. */
int64_t warm_next_us(const struct assistant *a);
void warm_step(struct assistant *a);

void warm_forget(struct assistant *a, uint64_t document_key);
void warm_close(struct assistant *a);

#endif
