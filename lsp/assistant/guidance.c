#include "lsp/assistant/guidance.h"

#include <string.h>

#include "context/brackets.h"

enum { STOP_WORD_CHARS_MIN = 6, STOP_BYTES_MAX = 200, SCORE_IDS_MAX = 32 };

/* How chat models begin to talk, and code does not. */
static const char *const prose[] = {"Sure",  "Certainly",     "Here",  "Okay",  "Absolutely",
                                    "Sorry", "Unfortunately", "Below", "Great", "Let's"};

static text line_of(text content, size_t cursor, size_t *from)
{
    const char *start = cursor ? memrchr(content.bytes, '\n', cursor) : NULL;
    *from = start ? (size_t)(start - content.bytes) + 1 : 0;
    return text_slice(content, *from, text_find(content, TEXT("\n"), cursor));
}

/* The id of a text that is one token. */
static void forbid(struct guidance *g, const tokenizer *t, const char *before, const char *word)
{
    buffer all = {0};
    token_list ids = {0};
    buffer_print(&all, "%s%s", before, word);
    if (!all.failed) tokenizer_encode(t, &ids, buffer_text(&all));
    if (!ids.failed && ids.n == 1 && g->n_forbid_first < GUIDANCE_IDS_MAX)
        g->forbid_first[g->n_forbid_first++] = ids.ids[0];
    token_list_free(&ids);
    buffer_free(&all);
}

/* At the beginning of a line of code. In words, words come first. */
static void forbid_prose(struct guidance *g, const tokenizer *t, bool insists)
{
    for (size_t i = 0; i < sizeof prose / sizeof *prose; i++) {
        forbid(g, t, "", prose[i]);
        forbid(g, t, " ", prose[i]);
    }
    if (!insists) return;
    forbid(g, t, "", "```");
    forbid(g, t, "", "```\n");
    forbid(g, t, "", "````");
}

/* What the file closes already, unless the gap's line does: that may be said again and replaced. */
static void forbid_closers(struct guidance *g, const struct bracket_balance *balance, text behind)
{
    static const char closers[] = ")]}";
    size_t n = 0;
    for (const char *c = closers; *c; c++)
        if (balance->lacking[(unsigned char)*c] == 0 &&
            text_find(behind, (text){c, 1}, 0) == SIZE_MAX)
            g->forbid_unopened[n++] = *c;
}

static size_t word_chars(text t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.size; i++) n += (t.bytes[i] | 32) >= 'a' && (t.bytes[i] | 32) <= 'z';
    return n;
}

/* Where the text goes on below the gap; a bracket alone stands everywhere and stops nothing. */
static void stop_make(struct guidance *g, const tokenizer *t, text below)
{
    text line = {0}; /* the text may end at the gap */
    while (text_next_line(&below, &line) && text_trim(line).size == 0) {}
    if (word_chars(line) < STOP_WORD_CHARS_MIN || line.size > STOP_BYTES_MAX) return;
    buffer_put_char(&g->stop, '\n');
    buffer_put_text(&g->stop, line);
    if (g->stop.failed) buffer_clear(&g->stop);
    tokenizer_encode(t, &g->score, buffer_text(&g->stop));
    if (g->score.failed) g->score.n = 0;
    if (g->score.n > SCORE_IDS_MAX) g->score.n = SCORE_IDS_MAX;
}

void guidance_make(struct guidance *g, const tokenizer *t, const struct document_view *document,
                   size_t cursor_byte, text must_start_with, bool insists)
{
    text content = document->content;
    size_t from;
    const struct language *l = language_of_document(document);
    *g = (struct guidance){.n_forbid_first = 0};
    text line = line_of(content, cursor_byte, &from);
    text before = text_slice(content, from, cursor_byte);
    text behind = text_slice(content, cursor_byte, from + line.size);
    struct bracket_balance balance;
    bracket_balance_make(&balance, l, content, cursor_byte, document->tree);
    stop_make(g, t, text_slice(content, from + line.size + 1, content.size));
    if (bracket_place_in_words(&balance, l, before)) return;
    forbid_closers(g, &balance, behind);
    if (text_trim(before).size == 0 && text_trim(must_start_with).size == 0)
        forbid_prose(g, t, insists);
}

void guidance_below_make(struct guidance_below *out, const tokenizer *t, text content,
                         size_t cursor_byte)
{
    size_t end = text_find(content, TEXT("\n"), cursor_byte);
    text below = text_slice(content, end == SIZE_MAX ? content.size : end + 1, content.size), line;
    *out = (struct guidance_below){.n_line_ends = 1};
    while (text_next_line(&below, &line)) {
        if (text_trim(line).size == 0) {
            out->n_line_ends++;
            continue;
        }
        if (text_ends(line, TEXT("\r"))) line.size--;
        if (line.size <= STOP_BYTES_MAX) tokenizer_encode(t, &out->ids, line);
        if (out->ids.failed) out->ids.n = 0;
        if (out->ids.n > SCORE_IDS_MAX) out->ids.n = SCORE_IDS_MAX;
        return;
    }
}

void guidance_free(struct guidance *g)
{
    buffer_free(&g->stop);
    token_list_free(&g->score);
}
