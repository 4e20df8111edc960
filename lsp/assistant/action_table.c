/* Rows, and how a selection becomes a piece. Without a grammar a definition is a paragraph: lines
 * without a blank one between them. */
#include "lsp/assistant/action_table.h"

#include <string.h>

#include "context/syntax_item.h"

static const struct action_row rows[] = {
    {"fix", "Fix", "quickfix", TASK_FIX, PIECE_DEFINITION, OFFER_AUTOMATIC | NEEDS_DIAGNOSTIC},
    {"explain", "Explain", "", TASK_EXPLAIN, PIECE_LINES, OFFER_AUTOMATIC | OFFER_WITH_SELECTION},
    {"simplify", "Simplify", "refactor.rewrite", TASK_SIMPLIFY, PIECE_STATEMENTS,
     OFFER_AUTOMATIC | OFFER_WITH_SELECTION},
    {"extract", "Extract Into a Function", "refactor.rewrite", TASK_EXTRACT, PIECE_FUNCTION,
     OFFER_AUTOMATIC | OFFER_WITH_SELECTION | NEEDS_SELECTION},
    {"rename", "Rename Locals for Clarity", "refactor.rewrite", TASK_RENAME, PIECE_FUNCTION,
     OFFER_AUTOMATIC | OFFER_WITH_SELECTION},
    {"rewrite", "Change as I Say...", "refactor.rewrite", TASK_INSTRUCTION, PIECE_STATEMENTS,
     OFFER_AUTOMATIC | OFFER_WITH_SELECTION | NEEDS_INSTRUCTION},
    {"document", "Document", "refactor.rewrite", TASK_DOCUMENT, PIECE_DEFINITION, 0},
    {"tests", "Generate Tests", "", TASK_TESTS, PIECE_DEFINITION, 0},
    {"translate", "Translate the Comment", "refactor.rewrite", TASK_TRANSLATE, PIECE_COMMENTS, 0},
};

const struct action_row *action_row_at(size_t i)
{
    return i < sizeof rows / sizeof *rows ? &rows[i] : NULL;
}

const struct action_row *action_row_find(text name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (text_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

static size_t line_start(text t, size_t at)
{
    while (at > 0 && t.bytes[at - 1] != '\n') at--;
    return at;
}

static size_t line_end(text t, size_t at)
{
    while (at < t.size && t.bytes[at] != '\n') at++;
    return at > 0 && at < t.size && t.bytes[at - 1] == '\r' ? at - 1 : at;
}

static bool is_blank(text t, size_t at)
{
    return text_trim(text_slice(t, line_start(t, at), line_end(t, at))).size == 0;
}

/* What is selected without white space at both ends; a cursor stays one. */
static void selection_trim(text t, size_t *from, size_t *to)
{
    text selected = text_trim(text_slice(t, *from, *to));
    if (selected.size) {
        *from = (size_t)(selected.bytes - t.bytes);
        *to = *from + selected.size;
        return;
    }
    *to = *from;
    size_t at = line_start(t, *from);
    while (at < t.size && (t.bytes[at] == ' ' || t.bytes[at] == '\t')) at++;
    if (at > *from) *from = *to = at; /* the cursor stands in the indentation */
}

static void paragraph_find(text t, size_t *from, size_t *to)
{
    size_t a = line_start(t, *from), b = line_end(t, *to);
    if (is_blank(t, *from)) return;
    while (a > 0 && !is_blank(t, a - 1)) a = line_start(t, a - 1);
    while (b < t.size) {
        size_t next = t.bytes[b] == '\r' ? b + 2 : b + 1;
        if (next >= t.size || is_blank(t, next)) break;
        b = line_end(t, next);
    }
    *from = a;
    *to = b;
}

static void item_take(const struct syntax_item *item, size_t *from, size_t *to, text *name)
{
    *from = item->from;
    *to = item->to;
    *name = item->name;
}

static void definition_take(const syntax *s, text content, size_t *from, size_t *to, text *name)
{
    struct syntax_item item;
    if (syntax_definition(s, *from, *to, &item))
        item_take(&item, from, to, name);
    else if (!syntax_cover(s, from, to) && *from == *to)
        paragraph_find(content, from, to);
}

static status piece_take(enum action_piece piece, const syntax *s, text content, size_t *from,
                         size_t *to, text *name, error *err)
{
    struct syntax_item item;
    bool selected = *from != *to;
    switch (piece) {
    case PIECE_LINES:
        if (!selected) definition_take(s, content, from, to, name);
        break;
    case PIECE_STATEMENTS:
        if (!selected)
            definition_take(s, content, from, to, name);
        else
            syntax_cover(s, from, to);
        break;
    case PIECE_DEFINITION: definition_take(s, content, from, to, name); break;
    case PIECE_FUNCTION:
        if (!syntax_outer_function(s, *from, *to, &item))
            return fail(err, ERR_UNSUPPORTED, "there is no function here");
        item_take(&item, from, to, name);
        break;
    case PIECE_COMMENTS:
        if (!syntax_comments(s, from, to))
            return fail(err, ERR_UNSUPPORTED, "there is no comment here");
        break;
    }
    return OK;
}

status action_piece_find(enum action_piece piece, const syntax *s, text content, size_t *from,
                         size_t *to, text *name, error *err)
{
    *name = TEXT("");
    selection_trim(content, from, to);
    status code = piece_take(piece, s, content, from, to, name, err);
    if (code != OK) return code;
    *from = line_start(content, *from);
    while (*to > *from && (content.bytes[*to - 1] == '\n' || content.bytes[*to - 1] == '\r')) --*to;
    *to = line_end(content, *to);
    if (text_trim(text_slice(content, *from, *to)).size == 0)
        return fail(err, ERR_UNSUPPORTED, "there is nothing but white space here");
    return OK;
}

/* Habits of test files; "%" is the file's name without extension. */
static const struct test_habit {
    const char *fence, *before, *behind, *extension; /* extension NULL: the file's own */
} habits[] = {
    {"c", "test_", "", NULL},      {"cpp", "", "_test", NULL},
    {"cuda", "", "_test", NULL},   {"csharp", "", "Tests", NULL},
    {"python", "test_", "", "py"}, {"javascript", "", ".test", NULL},
    {"tsx", "", ".test", NULL},    {"typescript", "", ".test", NULL},
    {"go", "", "_test", NULL},     {"rust", "", "_test", NULL},
    {"java", "", "Test", NULL},    {"kotlin", "", "Test", NULL},
    {"ruby", "", "_test", NULL},   {"php", "", "Test", NULL},
    {"lua", "", "_spec", NULL},    {"bash", "", "", "bats"},
};

bool action_test_name(buffer *out, const struct language *language, text file_name, unsigned copy)
{
    const struct test_habit *habit = NULL;
    for (size_t i = 0; language && i < sizeof habits / sizeof *habits; i++)
        if (strcmp(habits[i].fence, language->fence) == 0) habit = &habits[i];
    size_t dot = file_name.size;
    while (dot > 0 && file_name.bytes[dot - 1] != '.') dot--;
    if (!habit || dot < 2) return false;
    text stem = text_slice(file_name, 0, dot - 1);
    text extension = text_slice(file_name, dot, file_name.size);
    /* A header's tests are source. */
    if (text_is(extension, "h")) extension = TEXT("c");
    if (text_is(extension, "hpp") || text_is(extension, "hh")) extension = TEXT("cpp");
    if (habit->extension) extension = text_of(habit->extension);
    buffer_print(out, "%s%.*s", habit->before, (int)stem.size, stem.bytes);
    if (copy > 1) buffer_print(out, "_%u", copy);
    buffer_print(out, "%s.%.*s", habit->behind, (int)extension.size, extension.bytes);
    return true;
}
