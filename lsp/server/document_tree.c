/* Trees cost some ten times their text, so only the documents looked at last keep theirs; any other gets
 * a new one when it is asked about. */
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/document.h"
#include "context/syntax_live.h"
#include "lsp/server/documents.h"

struct document_tree {
    live_syntax *live;
    bool wanted; /* there is something to parse */
    int64_t looked_at_us;
};

void document_tree_open(document *d)
{
    const struct document_view view = {
        .path = d->path, .language_id = d->language_id, .content = document_text(d)};
    const struct language *l = language_of_document(&view);
    if (!l || !l->grammar) return;
    struct document_tree *t = d->tree = memory_take(1, sizeof *t);
    if (t) *t = (struct document_tree){live_syntax_open(l), true, clock_us()};
}

void document_tree_close(document *d)
{
    if (d->tree) live_syntax_close(d->tree->live);
    memory_free(d->tree);
    d->tree = NULL;
}

void document_tree_edit(document *d, size_t from, size_t to, text with)
{
    struct document_tree *t = d->tree;
    if (!t) return;
    live_syntax_edit(t->live, document_text(d), from, to, with);
    t->wanted = true;
    t->looked_at_us = clock_us();
}

void document_tree_reset(document *d)
{
    if (!d->tree) return;
    live_syntax_reset(d->tree->live);
    d->tree->wanted = true;
}

const syntax *document_tree_now(const document *d)
{
    return d->tree ? live_syntax_tree(d->tree->live) : NULL;
}

/* Drops trees until what is left is small enough. */
static void trees_bound(const documents *all, const document *kept)
{
    for (;;) {
        const document *d, *oldest = NULL;
        size_t bytes = 0;
        for (size_t i = 0; (d = documents_at(all, i)); i++) {
            if (!document_tree_now(d)) continue;
            bytes += d->content.size;
            if (d != kept && (!oldest || d->tree->looked_at_us < oldest->tree->looked_at_us))
                oldest = d;
        }
        if (bytes <= LIVE_PARSE_BYTES_MAX || !oldest) return;
        live_syntax_reset(oldest->tree->live);
    }
}

static void tree_go_on(const document *d)
{
    if (!live_syntax_go_on(d->tree->live, document_text(d), LIVE_PARSE_STEP_US)) return;
    d->tree->wanted = false;
    trees_bound(d->owner, d);
}

const syntax *document_tree(const document *d)
{
    if (!d->tree || !document_in_step(d)) return NULL;
    d->tree->looked_at_us = clock_us();
    d->tree->wanted = !document_tree_now(d);
    if (d->tree->wanted) tree_go_on(d);
    return document_tree_now(d);
}

bool documents_parse(const documents *all)
{
    const document *d, *latest = NULL;
    for (size_t i = 0; (d = documents_at(all, i)); i++) {
        if (!d->tree || !d->tree->wanted || !document_in_step(d)) continue;
        if (!latest || d->tree->looked_at_us > latest->tree->looked_at_us) latest = d;
    }
    if (latest) tree_go_on(latest);
    return latest;
}
