/* The beginning is held until it is decided; that takes a line and the tail, or one character where
 * the engine simply goes on. */
#include "lsp/client/chat_answer.h"

enum verdict { UNDECIDED, GOES_ON, BEGINS_ANEW, NEITHER };

/* Beside the opening; more than an engine says before it comes to its code block. */
enum { WORDS_MAX = 2048 };

void chat_answer_begin(struct chat_answer *a, text known, text must)
{
    buffer_put_text(&a->opening, known);
    buffer_put_text(&a->opening, must);
    a->n_known = known.size;
    a->passes = a->opening.size == 0;
}

void chat_answer_free(struct chat_answer *a)
{
    buffer_free(&a->opening);
    buffer_free(&a->held);
}

static size_t backticks(text t)
{
    size_t n = 0;
    while (n < t.size && t.bytes[n] == '`') n++;
    return n;
}

static size_t line_end(text t)
{
    size_t end = text_find(t, TEXT("\n"), 0);
    return end == SIZE_MAX ? t.size : end;
}

static bool is_blank(text t) { return text_trim(t).size == 0; }

/* Whether `said` begins with `wanted`, as far as it has come. */
static enum verdict begins_with(text said, text wanted)
{
    size_t n = text_common(said, wanted);
    if (n == wanted.size) return BEGINS_ANEW;
    return n == said.size ? UNDECIDED : NEITHER;
}

/* `said` begins with a fence: whether the opening's is said again, whatever its language is called.
 * *at is where what the opening says ends in it. A blank opening line is the same in any width. */
static enum verdict fence_again(text said, text opening, size_t *at)
{
    size_t n_fence = backticks(opening), end = line_end(said);
    if (backticks(said) < n_fence && end == said.size && backticks(said) == said.size)
        return UNDECIDED;
    if (backticks(said) != n_fence) return NEITHER;
    if (end == said.size) return UNDECIDED;
    bool bare = is_blank(text_slice(said, n_fence, end));
    text body = text_slice(said, end + 1, said.size);
    text tail = text_slice(opening, line_end(opening) + 1, opening.size);
    enum verdict v = begins_with(body, tail);
    *at = end + 1 + tail.size;
    if (!is_blank(tail)) return v;
    if (bare) return NEITHER; /* it closes the block */
    if (v != NEITHER) return v;
    *at = end + 1;
    while (*at < said.size && (said.bytes[*at] == ' ' || said.bytes[*at] == '\t')) ++*at;
    return BEGINS_ANEW;
}

/* Behind words, a fence at the beginning of a line. SIZE_MAX: none yet. */
static size_t fence_find(text said, text fence)
{
    for (size_t at = 0; at < said.size; at += line_end(text_slice(said, at, said.size)) + 1)
        if (text_starts(text_slice(said, at, said.size), fence)) return at;
    return SIZE_MAX;
}

/* What stands behind the white space it begins with. */
static text unindented(text said)
{
    text visible = text_trim(said);
    return visible.size ? text_slice(said, (size_t)(visible.bytes - said.bytes), said.size)
                        : TEXT("");
}

/* The opening is a code block's. */
static enum verdict code_decide(text said, text opening, text must, size_t *at)
{
    text fence = text_slice(opening, 0, backticks(opening)), visible = unindented(said);
    enum verdict v = begins_with(said, opening);
    *at = opening.size;
    if (v != NEITHER || visible.size == 0) return v == NEITHER ? UNDECIDED : v;
    if (visible.bytes[0] == '`' && !text_starts(must, TEXT("`"))) {
        v = fence_again(visible, opening, at);
        *at += said.size - visible.size;
        return v;
    }
    v = begins_with(said, must);
    if (v != NEITHER || is_blank(must)) return v == UNDECIDED ? UNDECIDED : GOES_ON;
    size_t found = fence_find(said, fence);
    if (found == SIZE_MAX) return UNDECIDED;
    v = fence_again(text_slice(said, found, said.size), opening, at);
    *at += found;
    return v;
}

static enum verdict decide(const struct chat_answer *a, size_t *at)
{
    text said = buffer_text(&a->held), opening = buffer_text(&a->opening);
    text must = text_slice(opening, a->n_known, opening.size);
    if (text_starts(opening, TEXT("```"))) return code_decide(said, opening, must, at);
    text visible = unindented(said);
    enum verdict v = begins_with(visible, opening);
    *at = said.size - visible.size + opening.size;
    return v == NEITHER ? GOES_ON : v;
}

static void pass(struct chat_answer *a, buffer *out, enum verdict v, size_t at)
{
    text said = buffer_text(&a->held), opening = buffer_text(&a->opening);
    if (v == BEGINS_ANEW) {
        buffer_put_text(out, text_slice(opening, a->n_known, opening.size));
        said = text_slice(said, at, said.size);
    }
    buffer_put_text(out, said);
    out->failed |= a->held.failed || a->opening.failed;
    buffer_free(&a->held);
    a->passes = true;
}

void chat_answer_put(struct chat_answer *a, buffer *out, text piece)
{
    if (a->passes) {
        chat_text_read(&a->reader, out, piece);
        return;
    }
    size_t at = 0;
    chat_text_read(&a->reader, &a->held, piece);
    enum verdict v = decide(a, &at);
    bool enough = a->held.size > a->opening.size + WORDS_MAX;
    if (v != UNDECIDED || enough || a->held.failed || a->opening.failed) pass(a, out, v, at);
}

void chat_answer_end(struct chat_answer *a, buffer *out)
{
    chat_text_read_end(&a->reader, a->passes ? out : &a->held);
    if (!a->passes) pass(a, out, NEITHER, 0);
}
