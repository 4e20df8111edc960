/* Only whole lines are looked at, so it does not matter where the stream is cut. */
#include "context/task_answer.h"

#include <string.h>

#include "base/limits.h"
#include "context/trim_text.h"

static void code_scan(struct task_answer *a, const struct task_prompt *p, bool at_end)
{
    for (;;) {
        text rest = text_slice(buffer_text(&a->clean), a->scanned, a->clean.size);
        size_t end = text_find(rest, TEXT("\n"), 0);
        if (end == SIZE_MAX && !(at_end && rest.size)) return;
        text line = text_slice(rest, 0, end);
        bool bare;
        a->closed = trim_text_is_fence(line, p->fence.size, &bare) && bare;
        if (a->closed || end == SIZE_MAX) return;
        a->scanned += end + 1;
    }
}

bool task_answer_put(struct task_answer *a, const struct task_prompt *p, text piece)
{
    if (a->closed || a->unfit || a->large) return false;
    buffer_put_text(&a->said, piece);
    buffer_put_text(&a->held, piece);
    a->unfit = !trim_text_clean(&a->held, &a->clean);
    a->large = a->said.size > TASK_ANSWER_MAX;
    if (p->fence.size) code_scan(a, p, false);
    return !a->closed && !a->unfit && !a->large;
}

/* What the open turn says and the answer goes on with; an engine that does not begin as it was asked to
 * has begun behind it. */
static void whole_put(buffer *out, const struct task_answer *a, const struct task_prompt *p)
{
    text said = text_slice(buffer_text(&a->clean), 0, a->scanned);
    size_t before = p->opening.size - p->must_start_with.size;
    if (text_starts(said, p->must_start_with)) {
        buffer_put_text(out, text_slice(p->opening, 0, before));
    } else {
        buffer_put_text(out, p->opening);
        while (said.size && (said.bytes[0] == ' ' || said.bytes[0] == '\t'))
            said = text_slice(said, 1, said.size);
    }
    buffer_put_text(out, said);
}

status task_answer_code(buffer *out, struct task_answer *a, const struct task_prompt *p,
                        bool finished, error *err)
{
    if (!a->closed && finished) code_scan(a, p, true);
    if (a->said.failed || a->held.failed || a->clean.failed)
        return fail(err, ERR_MEMORY, "out of memory for the answer");
    if (a->large) return fail(err, ERR_LIMIT, "the answer is larger than any edit");
    if (a->unfit)
        return fail(err, ERR_FORMAT, "the answer holds a character that has no place in source");
    if (!a->closed)
        return fail(err, ERR_FORMAT, "the answer was cut off: its code block has no end");
    buffer whole = {0};
    whole_put(&whole, a, p);
    text code = buffer_text(&whole), fence_line;
    text_next_line(&code, &fence_line);
    while (code.size && code.bytes[code.size - 1] == '\n') code.size--;
    bool empty = text_trim(code).size == 0;
    if (!empty) buffer_put_text(out, code);
    bool failed = whole.failed || out->failed;
    buffer_free(&whole);
    if (failed) return fail(err, ERR_MEMORY, "out of memory for the answer");
    return empty ? fail(err, ERR_FORMAT, "the answer is empty") : OK;
}

void task_answer_free(struct task_answer *a)
{
    buffer_free(&a->said);
    buffer_free(&a->held);
    buffer_free(&a->clean);
    *a = (struct task_answer){0};
}

static bool has_line(text piece, text wanted)
{
    text line;
    while (text_next_line(&piece, &line))
        if (text_equal(line, wanted)) return true;
    return false;
}

void task_replacement_put(buffer *out, const struct task_request *q, text code)
{
    text content = q->document.content, line;
    text piece = text_slice(content, q->from_byte, q->to_byte);
    size_t unit;
    bool new_file = q->task == TASK_TESTS;
    enum indent_style style = trim_text_indent_style(content, q->from_byte, &unit);
    bool crlf = text_find(content, TEXT("\r\n"), 0) != SIZE_MAX;
    for (bool first = true; text_next_line(&code, &line); first = false) {
        if (!first) buffer_put_text(out, crlf && !new_file ? TEXT("\r\n") : TEXT("\n"));
        if (has_line(piece, line))
            buffer_put_text(out, line);
        else
            trim_text_put_indented(out, line, style, unit);
    }
    if (new_file) buffer_put_char(out, '\n');
}
