/* Checks of an answer before anybody sees it. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "context/syntax_item.h"
#include "context/task_answer.h"

enum { NAMES_MAX = 256, FAULTS_SHOWN = 3, LINE_SHOWN = 120, FRESH_MAX = 64 * 1024 };

/* The document with the replacement in it, both parsed. */
struct comparison {
    const struct task_request *request;
    const struct language *language;
    buffer changed;
    size_t to; /* of the replacement in `changed` */
    syntax *before, *after;
};

static void comparison_close(struct comparison *c)
{
    buffer_free(&c->changed);
    syntax_free(c->before);
    syntax_free(c->after);
}

/* A parse from the beginning has the last word where a text has errors (trim_syntax.c), but a large one takes
 * longer than there is time: there the document's own is edited. */
static status document_parse(syntax **out, const struct task_request *q, const struct language *l)
{
    const struct document_view *d = &q->document;
    bool given = d->tree && d->content.size > FRESH_MAX;
    *out = given ? syntax_share(d->tree, d->content) : NULL;
    return given ? OK : syntax_parse(out, l, d->content, NULL);
}

static status both_parse(struct comparison *c, text replacement)
{
    const struct task_request *q = c->request;
    text changed = buffer_text(&c->changed);
    if (q->task == TASK_TESTS) {
        status code = syntax_parse(&c->before, c->language, TEXT(""), NULL);
        return code == OK ? syntax_parse(&c->after, c->language, changed, NULL) : code;
    }
    status code = document_parse(&c->before, q, c->language);
    if (code != OK) return code;
    return q->document.tree && changed.size > FRESH_MAX
               ? syntax_edit(&c->after, c->before, q->from_byte, q->to_byte, replacement, NULL)
               : syntax_parse(&c->after, c->language, changed, NULL);
}

/* Without a parse of both (no grammar, too large, too slow) nothing is judged. */
static bool comparison_open(struct comparison *c, const struct task_request *q, text replacement)
{
    text content = q->document.content;
    bool new_file = q->task == TASK_TESTS;
    *c = (struct comparison){.request = q, .language = language_of_document(&q->document)};
    if (new_file && q->answer_language) c->language = q->answer_language;
    if (!new_file) buffer_put_text(&c->changed, text_slice(content, 0, q->from_byte));
    buffer_put_text(&c->changed, replacement);
    c->to = c->changed.size;
    if (!new_file) buffer_put_text(&c->changed, text_slice(content, q->to_byte, content.size));
    return !c->changed.failed && both_parse(c, replacement) == OK && c->before && c->after;
}

static text line_at(text content, size_t at)
{
    size_t from = at;
    while (from > 0 && content.bytes[from - 1] != '\n') from--;
    size_t end = text_find(content, TEXT("\n"), from);
    text line = text_trim(text_slice(content, from, end));
    return text_slice(line, 0, LINE_SHOWN);
}

/* The first lines of the answer that do not parse, in words. */
static status faults_tell(const struct comparison *c, error *err)
{
    size_t at[FAULTS_SHOWN], from = c->request->task == TASK_TESTS ? 0 : c->request->from_byte;
    size_t n = syntax_faults(c->after, from, c->to, at, FAULTS_SHOWN);
    buffer words = {0};
    text line = TEXT(""), before;
    for (size_t i = 0; i < n; i++) {
        before = line;
        line = line_at(buffer_text(&c->changed), at[i]);
        if (i && line.bytes == before.bytes) continue; /* one line, several faults */
        buffer_print(&words, "%s\"%.*s\"", i ? ", " : ": at ", (int)line.size,
                     line.size ? line.bytes : "");
    }
    status code = fail(err, ERR_FORMAT, "the code does not parse%s",
                       words.failed || !words.size ? "" : words.bytes);
    buffer_free(&words);
    return code;
}

static status parse_check(const struct comparison *c, error *err)
{
    size_t before = syntax_error_count(c->before, 0, SIZE_MAX);
    size_t after = syntax_error_count(c->after, 0, SIZE_MAX);
    return after > before ? faults_tell(c, err) : OK;
}

/* Code of the piece and of what replaces it, without comments. */
static bool codes_read(const struct comparison *c, buffer *before, buffer *after)
{
    const struct task_request *q = c->request;
    syntax_code_put(c->before, q->from_byte, q->to_byte, before);
    syntax_code_put(c->after, q->from_byte, c->to, after);
    return !before->failed && !after->failed;
}

static status code_check(const struct comparison *c, error *err)
{
    buffer before = {0}, after = {0};
    status code = OK;
    if (!codes_read(c, &before, &after))
        code = fail(err, ERR_MEMORY, "out of memory for a check");
    else if (!text_equal(buffer_text(&before), buffer_text(&after)))
        code = fail(err, ERR_FORMAT, "it changes code; only comments may change");
    buffer_free(&before);
    buffer_free(&after);
    return code;
}

static bool is_word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c & 0x80; }

static text word_at(text t, size_t at)
{
    size_t end = at;
    while (end < t.size && is_word_char(t.bytes[end])) end++;
    return text_slice(t, at, end);
}

static bool has_word(text t, text word)
{
    for (size_t at = 0; (at = text_find(t, word, at)) != SIZE_MAX; at++) {
        char before = at ? t.bytes[at - 1] : ' ';
        bool begins = !is_word_char(before) && before != '\\'; /* "\n" holds no n */
        if (begins && word_at(t, at).size == word.size) return true;
    }
    return false;
}

/* Callers name parameters there. */
static bool has_named_arguments(const struct language *l)
{
    static const char *const names[] = {"Python", "C#", "PHP", "Ruby", "Kotlin", "Swift"};
    for (size_t i = 0; l && i < sizeof names / sizeof *names; i++)
        if (strcmp(l->name, names[i]) == 0) return true;
    return false;
}

static size_t free_names(const struct task_request *q, const struct language *l, const syntax *s,
                         text names[NAMES_MAX])
{
    text content = q->document.content, above = text_slice(content, 0, q->from_byte);
    text below = text_slice(content, q->to_byte, content.size);
    size_t n = syntax_bound_names(s, q->from_byte, q->to_byte, !has_named_arguments(l), names,
                                  NAMES_MAX),
           kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!has_word(above, names[i]) && !has_word(below, names[i])) names[kept++] = names[i];
    return kept;
}

void task_free_names_put(buffer *out, const struct task_request *q)
{
    const struct language *l = language_of_document(&q->document);
    syntax *s = NULL;
    text names[NAMES_MAX];
    if (document_parse(&s, q, l) != OK) return;
    size_t n = free_names(q, l, s, names);
    for (size_t i = 0; i < n; i++)
        buffer_print(out, "%s%.*s", i ? ", " : "", (int)names[i].size, names[i].bytes);
    syntax_free(s);
}

struct renaming {
    text from[NAMES_MAX], to[NAMES_MAX];
    size_t n;
};

static bool list_has(const text *list, size_t n, text word)
{
    for (size_t i = 0; i < n; i++)
        if (text_equal(list[i], word)) return true;
    return false;
}

/* One place where words differ: the same new name for the same old one, and no two become one. */
static bool renaming_add(struct renaming *r, text from, text to)
{
    for (size_t i = 0; i < r->n; i++) {
        bool same_from = text_equal(r->from[i], from), same_to = text_equal(r->to[i], to);
        if (same_from || same_to) return same_from && same_to;
    }
    if (r->n == NAMES_MAX) return false;
    r->from[r->n] = from;
    r->to[r->n++] = to;
    return true;
}

/* Walks both codes word by word. */
static status renaming_read(struct renaming *r, text before, text after, error *err)
{
    size_t a = 0, b = 0;
    while (a < before.size && b < after.size) {
        bool words = is_word_char(before.bytes[a]) && is_word_char(after.bytes[b]);
        text from = word_at(before, a), to = word_at(after, b);
        if (!words && before.bytes[a] != after.bytes[b]) break;
        if (words && !text_equal(from, to) && !renaming_add(r, from, to))
            return fail(err, ERR_FORMAT, "\"%.*s\" has two new names, or shares one",
                        (int)from.size, from.bytes);
        a += words ? from.size : 1;
        b += words ? to.size : 1;
    }
    if (a < before.size || b < after.size)
        return fail(err, ERR_FORMAT, "it changes more than names");
    return OK;
}

static status renaming_check(const struct comparison *c, error *err)
{
    struct renaming r = {.n = 0};
    text allowed[NAMES_MAX];
    buffer before = {0}, after = {0};
    size_t n = free_names(c->request, c->language, c->before, allowed);
    status code = codes_read(c, &before, &after)
                      ? renaming_read(&r, buffer_text(&before), buffer_text(&after), err)
                      : fail(err, ERR_MEMORY, "out of memory for a check");
    for (size_t i = 0; code == OK && i < r.n; i++) {
        if (!list_has(allowed, n, r.from[i]))
            code =
                fail(err, ERR_FORMAT, "\"%.*s\" is used outside the piece and must keep its name",
                     (int)r.from[i].size, r.from[i].bytes);
        else if (has_word(buffer_text(&before), r.to[i]))
            code = fail(err, ERR_FORMAT, "\"%.*s\" is a name that is there already",
                        (int)r.to[i].size, r.to[i].bytes);
        else if (has_word(buffer_text(&after), r.from[i]))
            code = fail(err, ERR_FORMAT, "\"%.*s\" is renamed in some places only",
                        (int)r.from[i].size, r.from[i].bytes);
    }
    buffer_free(&before);
    buffer_free(&after);
    return code;
}

status task_check(const struct task_request *q, text replacement, error *err)
{
    struct comparison c;
    text piece = text_slice(q->document.content, q->from_byte, q->to_byte);
    if (q->task != TASK_TESTS && text_equal(piece, replacement))
        return fail(err, ERR_UNSUPPORTED, "the model would change nothing here");
    status code = OK;
    if (comparison_open(&c, q, replacement)) {
        code = parse_check(&c, err);
        if (code == OK && (q->task == TASK_DOCUMENT || q->task == TASK_TRANSLATE))
            code = code_check(&c, err);
        if (code == OK && q->task == TASK_RENAME) code = renaming_check(&c, err);
    } else if (q->task == TASK_RENAME || q->task == TASK_DOCUMENT || q->task == TASK_TRANSLATE) {
        code = fail(err, ERR_UNSUPPORTED,
                    "the file cannot be parsed, so nobody can tell code from "
                    "comments and names in it");
    }
    comparison_close(&c);
    return code;
}
