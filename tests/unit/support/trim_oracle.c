#include "tests/unit/support/trim_oracle.h"

#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "base/utf.h"
#include "context/syntax_live.h"
#include "context/trim.h"

enum { LINES_MAX = 12, CUT_PIECES = 40, BELOW_BYTES = 300 };

const char *const wrapping_names[WRAPPINGS] = {"plain",    "fenced",  "prose", "repeated",
                                               "indented", "windows", "cut"};

static const char preface[] = "Sure, here is the code:\n\n```c\n";

static size_t line_end_after(text whole, size_t at, size_t n_lines)
{
    size_t end = text_find(whole, TEXT("\n"), at);
    for (; n_lines > 0 && end != SIZE_MAX; n_lines--) end = text_find(whole, TEXT("\n"), end + 1);
    return end == SIZE_MAX ? whole.size : end;
}

bool oracle_place(struct oracle *o, const char *path, text whole, uint64_t seed, uint64_t k)
{
    *o = (struct oracle){.path = path, .whole = whole};
    o->at = utf8_floor(whole, random_at(seed, k) % whole.size);
    o->many = random_at(seed + 50, k) % 2;
    o->with_tree = random_at(seed + 150, k) % 2;
    o->to = line_end_after(whole, o->at, o->many ? random_at(seed + 100, k) % LINES_MAX : 0);
    /* The end of the turn, spelt out, ends an answer. */
    if (text_find(text_slice(whole, o->at, o->to), TEXT("<|im_end|>"), 0) != SIZE_MAX) return false;
    /* Behind the last character of a line there is nothing to say on it. */
    return text_trim(text_slice(whole, o->at, line_end_after(whole, o->at, 0))).size > 0;
}

/* The line's indentation in the other style; false where it is no multiple of a unit. */
static bool other_indent_put(buffer *out, text line, size_t unit)
{
    size_t n = 0;
    while (n < line.size && (line.bytes[n] == ' ' || line.bytes[n] == '\t')) n++;
    bool tabs = n && line.bytes[0] == '\t';
    char own = tabs ? '\t' : ' ';
    for (size_t i = 0; i < n; i++)
        if (line.bytes[i] != own) return false;
    if (!tabs && n % unit) return false;
    for (size_t i = 0; i < (tabs ? n * unit : n / unit); i++)
        buffer_put_char(out, tabs ? ' ' : '\t');
    buffer_put_text(out, text_slice(line, n, line.size));
    return true;
}

/* The smallest indentation by spaces in the file: what a tab stands for. */
static size_t unit_of(text whole)
{
    size_t unit = SIZE_MAX;
    text line;
    while (text_next_line(&whole, &line)) {
        size_t n = 0;
        while (n < line.size && line.bytes[n] == ' ') n++;
        if (n >= 2 && n < unit && n < line.size && line.bytes[n] != '*') unit = n;
    }
    return unit == SIZE_MAX || unit > 8 ? 4 : unit;
}

static bool has_indent(text lines)
{
    return text_find(lines, TEXT("\n  "), 0) != SIZE_MAX ||
           text_find(lines, TEXT("\n\t"), 0) != SIZE_MAX;
}

/* Only where the rest of the file shows how it is indented. */
static bool indented_put(buffer *out, const struct oracle *o, text truth)
{
    size_t unit = unit_of(o->whole), end = text_find(truth, TEXT("\n"), 0);
    if (end == SIZE_MAX || !(has_indent(text_slice(o->whole, 0, o->at)) ||
                             has_indent(text_slice(o->whole, o->to, o->whole.size))))
        return false;
    buffer_put_text(out, text_slice(truth, 0, end));
    text rest = text_slice(truth, end + 1, truth.size), line;
    while (text_next_line(&rest, &line)) {
        buffer_put_char(out, '\n');
        if (!other_indent_put(out, line, unit)) return false;
    }
    return true;
}

/* False where the wrapping makes no sense at this place. */
static bool answer_put(buffer *out, const struct oracle *o, enum wrapping w, text must)
{
    text truth = text_slice(o->whole, o->at, o->to);
    /* Where the file itself goes on as the chatter begins, the chatter is no chatter. */
    if (w == PROSE && must.size && text_starts(text_of(preface), must)) return false;
    if (w == PROSE) buffer_put_text(out, text_of(preface));
    if (w == FENCED) buffer_put_text(out, TEXT("```c\n"));
    buffer_put_text(out, must);
    if (w == INDENTED) {
        if (!indented_put(out, o, truth)) return false;
    } else {
        buffer_put_text(out, truth);
    }
    if (w == REPEATED) buffer_put_text(out, text_slice(o->whole, o->to, o->to + BELOW_BYTES));
    if (w != CUT) buffer_put_text(out, TEXT("\n```"));
    if (w == PROSE) buffer_put_text(out, TEXT("\nI hope this helps!"));
    return true;
}

static void windows_put(buffer *out, text t)
{
    for (size_t i = 0; i < t.size; i++) {
        if (t.bytes[i] == '\n') buffer_put_char(out, '\r');
        buffer_put_char(out, t.bytes[i]);
    }
}

/* The end of a line, or in front of a closer. */
static bool ends_well(text truth, size_t size)
{
    while (size < truth.size && (truth.bytes[size] == ' ' || truth.bytes[size] == '\t')) size++;
    return size >= truth.size || strchr("\r\n)]}", truth.bytes[size]);
}

/* What the prompt rolls back from the end of the lines before the gap. */
static text must_of(text before, const tokenizer *t)
{
    size_t from = before.size;
    for (int lines = 0; from > 0 && lines < 3; from--) lines += before.bytes[from - 1] == '\n';
    text tail = text_slice(before, from, before.size);
    size_t end = tokenizer_stable_boundary(t, tail, tail.size);
    return text_slice(tail, end, tail.size);
}

/* As an open document is parsed: however long it takes, up to a bound far away. */
static syntax *parse_patiently(const char *path, text content)
{
    enum { STEP_US = 20000 };
    live_syntax *l = live_syntax_open(language_find(TEXT(""), text_of(path)));
    while (!live_syntax_go_on(l, content, STEP_US)) {}
    syntax *s = syntax_share(live_syntax_tree(l), content);
    live_syntax_close(l);
    return s;
}

/* 0 is what no parse says. */
static size_t errors_of(const char *path, text content)
{
    syntax *s = parse_patiently(path, content);
    size_t n = syntax_error_count(s, 0, SIZE_MAX);
    syntax_free(s);
    return n;
}

static void result_judge(struct oracle_result *out, const struct oracle *o, enum wrapping w,
                         const struct document_view *d, size_t at, size_t gap_errors,
                         const struct trim_result *r)
{
    buffer truth = {0}, after = {0};
    text piece = text_slice(o->whole, o->at, w == REPEATED ? o->whole.size : o->to);
    if (w == WINDOWS)
        windows_put(&truth, piece);
    else
        buffer_put_text(&truth, piece);
    text t = buffer_text(&truth);
    out->shown = r->insert.size > 0;
    if (!text_starts(t, r->insert) || (r->insert.size && !ends_well(t, r->insert.size)))
        snprintf(out->fault, sizeof out->fault,
                 "%s at byte %zu, %s, many %d: found \"%.*s\" (%s), the file has \"%.*s\"", o->path,
                 o->at, wrapping_names[w], o->many,
                 (int)(r->insert.size < 160 ? r->insert.size : 160), r->insert.bytes, r->reason,
                 (int)(t.size < 160 ? t.size : 160), t.bytes);
    buffer_put_text(&after, text_slice(d->content, 0, at));
    buffer_put_text(&after, r->insert);
    buffer_put_text(&after, text_slice(d->content, at + r->replace_bytes, d->content.size));
    size_t errors = out->shown ? errors_of(o->path, buffer_text(&after)) : 0;
    out->worse = errors > gap_errors && errors_of(o->path, o->whole) == 0;
    if (out->worse && !out->fault[0])
        snprintf(out->worse_words, sizeof out->worse_words,
                 "%s at byte %zu, %s, many %d: %zu errors after \"%.*s\" (%s), %zu with the gap",
                 o->path, o->at, wrapping_names[w], o->many, errors,
                 (int)(r->insert.size < 400 ? r->insert.size : 400), r->insert.bytes, r->reason,
                 gap_errors);
    buffer_free(&truth);
    buffer_free(&after);
}

void oracle_run(struct oracle_result *out, const struct oracle *o, enum wrapping w,
                const tokenizer *tokens, uint64_t seed)
{
    buffer content = {0}, answer = {0};
    text before = text_slice(o->whole, 0, o->at), must = must_of(before, tokens);
    *out = (struct oracle_result){.said = answer_put(&answer, o, w, must)};
    if (w == WINDOWS) {
        windows_put(&content, before);
        size_t at = content.size;
        windows_put(&content, text_slice(o->whole, o->to, o->whole.size));
        before = text_slice(buffer_text(&content), 0, at);
    } else {
        buffer_put_text(&content, before);
        buffer_put_text(&content, text_slice(o->whole, o->to, o->whole.size));
    }
    struct trim_options options = {.cursor_byte = before.size, .fence = TEXT("```")};
    options.document =
        (struct document_view){text_of(o->path), TEXT(""), buffer_text(&content), NULL};
    syntax *tree = out->said ? parse_patiently(o->path, buffer_text(&content)) : NULL;
    if (o->with_tree) options.document.tree = tree;
    options.many_lines = o->many;
    options.must_start_with = must;
    trim *t = NULL;
    if (out->said && trim_open(&t, &options, NULL) == OK) {
        struct trim_result r;
        size_t at = 0;
        for (uint64_t i = 0; at < answer.size && (w != CUT || i <= CUT_PIECES); i++) {
            size_t n = 1 + random_at(seed, i) % 12;
            if (trim_put(t, text_slice(buffer_text(&answer), at, at + n)) == TRIM_DONE) break;
            at += n;
        }
        trim_finish(t, w != CUT, &r);
        result_judge(out, o, w, &options.document, before.size,
                     syntax_error_count(tree, 0, SIZE_MAX), &r);
    }
    trim_close(t);
    syntax_free(tree);
    buffer_free(&content);
    buffer_free(&answer);
}
