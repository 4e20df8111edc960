/* What all users of a session need: its names, its memory, and the player. */
#include "lsp/cli/typing.h"

#include <string.h>

#include "base/memory.h"

const char *typing_kind_name(enum typing_kind kind)
{
    static const char *const names[] = {"open",   "key",  "erase", "newline",
                                        "accept", "jump", "switch"};
    return names[kind];
}

void typing_session_free(struct typing_session *s)
{
    memory_free(s->steps);
    arena_reset(&s->memory);
    *s = (struct typing_session){0};
}

void typing_sources_free(struct typing_sources *s)
{
    arena_reset(&s->memory);
    *s = (struct typing_sources){0};
}

status typing_player_open(struct typing_player *out, const struct typing_session *s, error *err)
{
    *out = (struct typing_player){.session = s};
    out->contents = memory_take(s->n_documents ? s->n_documents : 1, sizeof *out->contents);
    if (!out->contents) return fail(err, ERR_MEMORY, "out of memory for a typing session");
    for (size_t i = 0; i < s->n_documents; i++) {
        buffer_put_text(&out->contents[i], s->documents[i].base);
        if (out->contents[i].failed)
            return fail(err, ERR_MEMORY, "out of memory for a typing session");
    }
    return OK;
}

void typing_player_close(struct typing_player *p)
{
    for (size_t i = 0; p->contents && i < p->session->n_documents; i++)
        buffer_free(&p->contents[i]);
    memory_free(p->contents);
    *p = (struct typing_player){0};
}

static status splice(buffer *b, const struct typing_step *step, error *err)
{
    size_t behind = b->size - step->at - step->n_removed, size = b->size;
    if (step->n_removed == 0 && step->inserted.size == 0) return OK;
    buffer_put_text(b, step->inserted); /* grows it by as much as is needed */
    if (b->failed) return fail(err, ERR_MEMORY, "out of memory for a typing session");
    memmove(b->bytes + step->at + step->inserted.size, b->bytes + step->at + step->n_removed,
            behind);
    if (step->inserted.size) memcpy(b->bytes + step->at, step->inserted.bytes, step->inserted.size);
    b->size = size - step->n_removed + step->inserted.size;
    b->bytes[b->size] = 0;
    return OK;
}

status typing_player_step(struct typing_player *p, const struct typing_step **out, error *err)
{
    *out = NULL;
    if (p->n_played == p->session->n_steps) return OK;
    const struct typing_step *step = &p->session->steps[p->n_played];
    if (step->document < 0 || (size_t)step->document >= p->session->n_documents)
        return fail(err, ERR_FORMAT, "step %zu: document %d, expected one of %zu", p->n_played,
                    step->document, p->session->n_documents);
    buffer *b = &p->contents[step->document];
    if (step->at > b->size || step->n_removed > b->size - step->at ||
        step->cursor > b->size - step->n_removed + step->inserted.size)
        return fail(err, ERR_FORMAT,
                    "step %zu: bytes %zu to %zu and a cursor at %zu in a document of %zu bytes",
                    p->n_played, step->at, step->at + step->n_removed, step->cursor, b->size);
    p->n_played++;
    *out = step;
    return splice(b, step, err);
}
