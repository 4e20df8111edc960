/* Whether a suggestion was typed or taken over: more of it than a key brings, at once, was taken. */
#include "base/clock.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum { KEY_BYTES_MAX = 4 /* one character, or a bracket and its closer */ };

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* What no editor inserts by itself for one key. */
static bool is_taken(text inserted)
{
    size_t n_words = 0;
    for (size_t i = 0; i < inserted.size; i++) n_words += is_word(inserted.bytes[i]);
    return inserted.size > KEY_BYTES_MAX || n_words > 1;
}

static void accepted_count(assistant *a, struct session *s, const struct suggestion_left *before,
                           size_t before_cursor)
{
    a->counters.accepted++;
    a->counters.accepted_bytes += (int64_t)before->rest.size;
    outcomes_accept(&s->outcomes, before_cursor - before->before_bytes, before->rest, clock_us());
}

void acceptance_note(assistant *a, struct session *s, enum suggestion_fate fate,
                     const struct suggestion_left *before, size_t before_cursor,
                     const struct completion_query *now, text inserted)
{
    s->accepted = false;
    if (fate == SUGGESTION_CONTRADICTED) a->counters.rejected++;
    if (fate == SUGGESTION_HOLDS && is_taken(text_trim(inserted))) {
        a->counters.accepted_partly++;
        a->counters.accepted_bytes += (int64_t)inserted.size;
    }
    if (fate != SUGGESTION_DONE) return;
    s->done_id = s->shown_id;
    s->done_was_typed = !is_taken(inserted) && inserted.size < before->rest.size + KEY_BYTES_MAX;
    if (inserted.size >= before->rest.size && before->rest.size > 1) s->done_was_typed = false;
    if (s->done_was_typed)
        a->counters.typed++;
    else
        accepted_count(a, s, before, before_cursor);
    s->accepted = !s->done_was_typed;
    s->accepted_byte = now->cursor_byte;
}

void assistant_accepted(assistant *a, uint64_t shown_id)
{
    struct session *s = a->sessions;
    while (s && s->done_id != shown_id) s = s->next;
    if (!s || shown_id == 0 || !s->done_was_typed) return;
    s->done_was_typed = false;
    a->counters.typed--;
    a->counters.accepted++;
}

void assistant_dismissed(assistant *a, uint64_t document_key)
{
    struct session *s = session_of(a, document_key);
    if (s && completion_cache_dismiss(&s->cache)) a->counters.rejected++;
}

void assistant_edited(assistant *a, uint64_t document_key, size_t from, size_t n_removed,
                      size_t n_inserted)
{
    struct session *s = session_of(a, document_key);
    if (s) outcomes_edit(&s->outcomes, from, n_removed, n_inserted);
}

int64_t acceptance_next_us(const assistant *a)
{
    int64_t next_us = INT64_MAX;
    for (const struct session *s = a->sessions; s; s = s->next)
        if (outcomes_next_us(&s->outcomes) < next_us) next_us = outcomes_next_us(&s->outcomes);
    return next_us;
}

void acceptance_check(assistant *a)
{
    for (struct session *s = a->sessions; s; s = s->next)
        if (s->latest)
            outcomes_check(&s->outcomes, s->latest->query.document.content, clock_us(),
                           &a->counters);
}
