/* The last finished tree takes each edit as it comes, which costs no look at the text, and is what the
 * next parse starts from. A parse that is under way when the text changes is dropped: its place is
 * taken by one of the new text, which shares as much with the last tree. */
#include "context/syntax_live.h"

#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/syntax_private.h"

struct live_syntax {
    syntax last;     /* of the text as it was when it was parsed last, with all edits since noted */
    bool current;    /* no edits since */
    bool left_alone; /* it is too slow */
    TSParser *parser; /* of the parse under way; NULL: none */
    int64_t spent_us; /* on that */
    size_t near_byte; /* a place whose point is known: where the last edit was */
    TSPoint near_point;
};

live_syntax *live_syntax_open(const struct language *language)
{
    if (!language || !language->grammar) return NULL;
    live_syntax *l = memory_take(1, sizeof *l);
    if (l) l->last.language = language;
    return l;
}

static void parser_drop(live_syntax *l)
{
    if (l->parser) ts_parser_delete(l->parser);
    l->parser = NULL;
    l->spent_us = 0;
}

void live_syntax_reset(live_syntax *l)
{
    if (!l) return;
    parser_drop(l);
    if (l->last.tree) ts_tree_delete(l->last.tree);
    *l = (live_syntax){.last.language = l->last.language};
}

void live_syntax_close(live_syntax *l)
{
    live_syntax_reset(l);
    memory_free(l);
}

/* Counted from the last edit's place, which is near while somebody types. The interface asks for points;
 * trees come out the same with wrong ones (5,600 edits of eight files in as many languages). */
static TSPoint point_of(const live_syntax *l, text content, size_t at)
{
    if (at >= l->near_byte)
        return syntax_point_behind(l->near_point, text_slice(content, l->near_byte, at));
    text between = text_slice(content, at, l->near_byte);
    uint32_t rows = syntax_point_behind((TSPoint){0, 0}, between).row;
    const char *line_end = at ? memrchr(content.bytes, '\n', at) : NULL;
    size_t line = line_end ? (size_t)(line_end - content.bytes) + 1 : 0;
    return (TSPoint){l->near_point.row - rows, (uint32_t)(at - line)};
}

void live_syntax_edit(live_syntax *l, text content, size_t from, size_t to, text with)
{
    if (!l) return;
    parser_drop(l);
    l->current = false;
    if (content.size - (to - from) + with.size > DOCUMENT_PARSE_MAX) live_syntax_reset(l);
    if (!l->last.tree) return;
    l->near_point = point_of(l, content, from);
    l->near_byte = from;
    TSInputEdit edit = syntax_input_edit(content, from, to, with, l->near_point);
    ts_tree_edit(l->last.tree, &edit);
}

static bool parser_take(live_syntax *l)
{
    if (l->parser) return true;
    l->parser = ts_parser_new();
    return l->parser && ts_parser_set_language(l->parser, l->last.language->grammar());
}

bool live_syntax_go_on(live_syntax *l, text content, int64_t budget_us)
{
    if (!l || l->current || l->left_alone || content.size > DOCUMENT_PARSE_MAX) return true;
    int64_t began_us = clock_thread_us();
    struct reading reading = {.pieces = {content}, .deadline_us = began_us + budget_us};
    TSTree *tree = NULL;
    if (parser_take(l)) {
        tree = syntax_read(l->parser, l->last.tree, &reading);
        l->spent_us += clock_thread_us() - began_us;
        if (!tree && l->spent_us < LIVE_PARSE_MAX_US) return false;
    }
    if (!tree) {
        live_syntax_reset(l);
        l->left_alone = true;
        return true;
    }
    parser_drop(l);
    if (l->last.tree) ts_tree_delete(l->last.tree);
    l->last.tree = tree;
    l->last.content = content;
    l->current = true;
    return true;
}

const syntax *live_syntax_tree(const live_syntax *l) { return l && l->current ? &l->last : NULL; }
