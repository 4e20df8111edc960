/* One allocation holds all texts; the views are set when it no longer moves. */
#include "base/memory.h"
#include "lsp/assistant/state.h"

struct question *question_new(const struct completion_query *query, bool many_lines)
{
    struct question *q = memory_take(1, sizeof *q);
    if (!q) return NULL;
    q->n_references = 1;
    q->query = *query;
    q->query.document.tree = NULL;
    q->many_lines = many_lines;
    text *const views[] = {&q->query.document.path, &q->query.document.language_id,
                           &q->query.document.content, &q->query.path};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) buffer_put_text(&q->bytes, *views[i]);
    if (q->bytes.failed) {
        question_release(q);
        return NULL;
    }
    const char *at = q->bytes.bytes;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        views[i]->bytes = at;
        if (at) at += views[i]->size;
    }
    q->tree = syntax_share(query->document.tree, q->query.document.content);
    q->query.document.tree = q->tree;
    q->place = completion_place_of(q->query.document.content, query->cursor_byte);
    return q;
}

void question_release(struct question *q)
{
    if (!q || --q->n_references > 0) return;
    syntax_free(q->tree);
    buffer_free(&q->bytes);
    memory_free(q);
}
