/* Lines are read once: what an assistant puts around them is dropped, the first that is left is the
 * subject, and the rest are paragraphs and items that are filled to the width. */
#include "context/commit_text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/utf.h"
#include "context/human_language.h"
#include "context/trim_text.h"

static size_t length_of(text t)
{
    size_t n = 0, size;
    for (size_t at = 0; at < t.size; at += size, n++) utf8_decode(t, at, &size);
    return n;
}

/* Without what has no place in text; "\r" alone is a line end nobody means. */
static void clean_put(buffer *out, text said)
{
    buffer held = {0};
    buffer_put_text(&held, said);
    while (!trim_text_clean(&held, out) || held.size) {
        size_t size;
        utf8_decode(buffer_text(&held), 0, &size);
        buffer_drop_front(&held, size);
    }
    if (held.failed) out->failed = true;
    buffer_free(&held);
}

static bool starts_any_case(text line, const char *word)
{
    size_t n = strlen(word);
    return line.size >= n && strncasecmp(line.bytes, word, n) == 0;
}

/* "Commit message:", "Subject: add x", "**fix: y**", "`z`": the words without their wrapping. */
static text subject_unwrap(text line)
{
    static const char *const labels[] = {"commit message:", "subject:", "title:", "message:"};
    line = text_trim(line);
    while (line.size && (line.bytes[0] == '#' || line.bytes[0] == ' '))
        line = text_slice(line, 1, line.size);
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        if (starts_any_case(line, labels[i]))
            line = text_trim(text_slice(line, strlen(labels[i]), line.size));
    while (line.size >= 2 && strchr("*`\"'", line.bytes[0]) &&
           line.bytes[line.size - 1] == line.bytes[0])
        line = text_trim(text_slice(line, 1, line.size - 1));
    return line;
}

static bool is_noise(text line)
{
    bool bare;
    return trim_text_is_fence(line, 3, &bare) || trim_text_is_prose(line) ||
           text_is(text_trim(line), "---");
}

/* Where an item's words begin: behind "- ", "* ", "12. "; 0 for a line that is none. */
static size_t item_indent(text line)
{
    size_t at = 0, digits;
    while (at < line.size && line.bytes[at] == ' ') at++;
    digits = at;
    while (digits < line.size && isdigit((unsigned char)line.bytes[digits])) digits++;
    bool numbered = digits > at && digits + 1 < line.size && strchr(".)", line.bytes[digits]);
    if (numbered && line.bytes[digits + 1] == ' ') return digits + 2;
    bool marked = at + 1 < line.size && strchr("-*+", line.bytes[at]) && line.bytes[at + 1] == ' ';
    return marked ? at + 2 : 0;
}

/* "Signed-off-by: A <a@b>": a line that must stay whole. */
static bool is_trailer(text line)
{
    size_t colon = text_find(line, TEXT(": "), 0);
    if (colon == SIZE_MAX || colon == 0 || !isupper((unsigned char)line.bytes[0])) return false;
    bool dashes = false;
    for (size_t i = 0; i < colon; i++) {
        if (!isalpha((unsigned char)line.bytes[i]) && line.bytes[i] != '-') return false;
        dashes = dashes || line.bytes[i] == '-';
    }
    return dashes;
}

/* Fills words into lines of the width. */
struct filler {
    buffer *out;
    size_t column, indent; /* indent: of the lines behind the first of an item */
};

static void word_put(struct filler *f, text word)
{
    size_t n = length_of(word);
    bool hash = word.bytes[0] == '#'; /* at a line's beginning git would take it for a comment */
    bool breaks = f->column > f->indent && f->column + 1 + n > COMMIT_WIDTH;
    if (breaks) {
        buffer_put_char(f->out, '\n');
        for (size_t i = 0; i < f->indent; i++) buffer_put_char(f->out, ' ');
        f->column = f->indent;
    }
    if (f->column > f->indent || (hash && f->column == 0)) {
        buffer_put_char(f->out, ' ');
        f->column++;
    }
    buffer_put_text(f->out, word);
    f->column += n;
}

static void words_put(struct filler *f, text line)
{
    for (size_t at = 0; at < line.size;) {
        size_t end = at;
        while (end < line.size && !strchr(" \t", line.bytes[end])) end++;
        if (end > at) word_put(f, text_slice(line, at, end));
        at = end + 1;
    }
}

static void line_close(struct filler *f)
{
    if (f->column) buffer_put_char(f->out, '\n');
    f->column = f->indent = 0;
}

/* A line of the body: the paragraph goes on, or an item, a trailer or a new paragraph begins. */
static void body_line_put(struct filler *f, text line, bool *blank)
{
    size_t item = item_indent(line);
    if (text_trim(line).size == 0) {
        line_close(f);
        *blank = true;
        return;
    }
    if (*blank) buffer_put_char(f->out, '\n');
    if (item || is_trailer(line)) line_close(f);
    *blank = false;
    if (item) {
        text mark = text_trim(text_slice(line, 0, item));
        buffer_put_text(f->out, mark);
        buffer_put_char(f->out, ' ');
        f->column = f->indent = mark.size + 1;
        line = text_slice(line, item, line.size);
    }
    words_put(f, line);
    if (is_trailer(line)) line_close(f);
}

status commit_text_shape(buffer *out, text said, error *err)
{
    buffer clean = {0};
    clean_put(&clean, said);
    text rest = buffer_text(&clean), line, subject = TEXT("");
    while (subject.size == 0 && text_next_line(&rest, &line))
        if (!is_noise(line)) subject = subject_unwrap(line);
    struct filler f = {.out = out};
    for (size_t at = 0; at < subject.size; at++) /* blanks of any kind become one */
        if (at == 0 || subject.bytes[at] != ' ' || subject.bytes[at - 1] != ' ')
            buffer_put_char(out, subject.bytes[at] == '\t' ? ' ' : subject.bytes[at]);
    if (subject.size) buffer_put_char(out, '\n');
    for (bool blank = true, first = true; subject.size && text_next_line(&rest, &line);) {
        bool bare;
        if (trim_text_is_fence(line, 3, &bare)) continue;
        if (first && text_trim(line).size == 0) continue; /* one blank line, wherever it stood */
        if (first) blank = true;
        first = false;
        body_line_put(&f, line, &blank);
    }
    line_close(&f);
    bool failed = clean.failed || out->failed;
    buffer_free(&clean);
    if (failed) return fail(err, ERR_MEMORY, "out of memory for a message");
    if (subject.size == 0) return fail(err, ERR_FORMAT, "the answer holds no message");
    return OK;
}

static text subject_of(text message)
{
    return text_slice(message, 0, text_find(message, TEXT("\n"), 0));
}

size_t commit_subject_length(text message) { return length_of(subject_of(message)); }

status commit_text_check(const struct commit_facts *facts, text message, error *err)
{
    size_t n = commit_subject_length(message);
    text language = human_language_of(message), wanted = facts->human_language;
    if (n > COMMIT_SUBJECT_MAX)
        return fail(err, ERR_FORMAT, "the subject has %zu characters; it may have at most %d", n,
                    COMMIT_SUBJECT_MAX);
    if (facts->conventional && !commit_subject_is_conventional(subject_of(message)))
        return fail(err, ERR_FORMAT,
                    "the subject does not read \"type(scope): words\" as Conventional Commits do");
    if (wanted.size && language.size && !text_equal(language, wanted))
        return fail(err, ERR_FORMAT, "it is in %.*s; the messages here are in %.*s",
                    (int)language.size, language.bytes, (int)wanted.size, wanted.bytes);
    return OK;
}

void commit_text_cut(buffer *out, text message)
{
    text subject = subject_of(message), rest = text_slice(message, subject.size, message.size);
    size_t end = 0, word = 0, n = 0, size;
    for (; end < subject.size && n < COMMIT_SUBJECT_MAX; end += size, n++) {
        utf8_decode(subject, end, &size);
        if (subject.bytes[end] == ' ') word = end;
    }
    if (end < subject.size && subject.bytes[end] != ' ' && word) end = word;
    buffer_put_text(out, text_trim(text_slice(subject, 0, end)));
    buffer_put_text(out, rest);
}
