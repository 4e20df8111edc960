#include "lsp/cli/place.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "lsp/cli/judge.h"

/* The number behind the last colon of path, which is cut off there; 0 when there is none. */
static uint32_t number_cut(char *path)
{
    char *colon = strrchr(path, ':'), *end;
    if (!colon || !isdigit((unsigned char)colon[1])) return 0;
    errno = 0;
    unsigned long n = strtoul(colon + 1, &end, 10);
    if (errno || *end || n > UINT32_MAX) return 0;
    *colon = 0;
    return (uint32_t)n;
}

static text without_line_end(text line)
{
    while (line.size && (line.bytes[line.size - 1] == '\n' || line.bytes[line.size - 1] == '\r'))
        line.size--;
    return line;
}

/* Line `line` from 0, below the count, without its end. */
static text line_text(const struct place *p, size_t line)
{
    size_t from = line_index_start(&p->lines, line), to = p->content.size;
    if (line + 1 < line_index_count(&p->lines)) to = line_index_start(&p->lines, line + 1);
    return without_line_end(text_slice(buffer_text(&p->content), from, to));
}

static size_t cursor_find(const struct place *p, uint32_t line, uint32_t column)
{
    if (line > line_index_count(&p->lines)) return p->content.size;
    return line_index_start(&p->lines, line - 1) +
           column_to_byte(line_text(p, line - 1), column - 1, ENCODING_UTF32);
}

static status place_read(struct place *p, error *err)
{
    int64_t from_us = clock_us();
    status s = path_judge(p->path, NULL, err);
    if (s == OK) s = file_read(&p->content, p->path, DOCUMENT_MODEL_MAX, err);
    if (s == OK) s = line_index_reset(&p->lines, buffer_text(&p->content), err);
    p->read_us = clock_us() - from_us;
    return s;
}

static status path_take(struct place *p, const char *word, error *err)
{
    *p = (struct place){.cursor_byte = 0};
    if (strlen(word) >= sizeof p->path)
        return fail(err, ERR_USAGE, "\"%.40s...\" is too long for a path", word);
    memcpy(p->path, word, strlen(word) + 1);
    return OK;
}

status place_open(struct place *p, const char *word, error *err)
{
    status s = path_take(p, word, err);
    if (s != OK) return s;
    uint32_t column = number_cut(p->path), line = column ? number_cut(p->path) : 0;
    if (line == 0 || !p->path[0])
        return fail(err, ERR_USAGE, "found \"%s\", expected FILE:LINE:COL, both from 1", word);
    if ((s = place_read(p, err)) != OK) return s;
    p->cursor_byte = p->end_byte = cursor_find(p, line, column);
    return OK;
}

status place_open_lines(struct place *p, const char *word, error *err)
{
    status s = path_take(p, word, err);
    if (s != OK) return s;
    char *dash = strrchr(p->path, '-');
    uint32_t last = 0, first;
    if (dash && isdigit((unsigned char)dash[1]) &&
        strspn(dash + 1, "0123456789") == strlen(dash + 1)) {
        *dash = ':';
        last = number_cut(p->path);
    }
    first = number_cut(p->path);
    if (!last) last = first;
    if (first == 0 || last < first || !p->path[0])
        return fail(err, ERR_USAGE, "found \"%s\", expected FILE:START-END, lines from 1", word);
    if ((s = place_read(p, err)) != OK) return s;
    size_t n = line_index_count(&p->lines);
    if (first > n)
        return fail(err, ERR_USAGE, "%s has %zu lines, expected lines %u to %u", p->path, n, first,
                    last);
    if (last > n) last = (uint32_t)n;
    p->cursor_byte = line_index_start(&p->lines, first - 1);
    p->end_byte = line_index_start(&p->lines, last - 1) + line_text(p, last - 1).size;
    return OK;
}

void place_close(struct place *p)
{
    line_index_free(&p->lines);
    buffer_free(&p->content);
}

struct document_view place_document(const struct place *p)
{
    return (struct document_view){text_of(p->path), TEXT(""), buffer_text(&p->content), NULL};
}

struct position place_position(const struct place *p, size_t byte)
{
    size_t line = line_index_find(&p->lines, byte), start = line_index_start(&p->lines, line);
    text row = text_slice(buffer_text(&p->content), start, byte);
    return (struct position){(uint32_t)line, byte_to_column(row, row.size, ENCODING_UTF16)};
}

text place_line_before(const struct place *p)
{
    size_t line = line_index_find(&p->lines, p->cursor_byte);
    return text_slice(buffer_text(&p->content), line_index_start(&p->lines, line), p->cursor_byte);
}

text place_line_behind(const struct place *p, size_t byte)
{
    size_t line = line_index_find(&p->lines, byte), start = line_index_start(&p->lines, line);
    text row = line_text(p, line);
    return text_slice(row, byte - start, row.size);
}
