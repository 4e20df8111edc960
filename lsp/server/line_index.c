/* Whether a line starts at byte i depends on bytes i - 1 and i alone. So an edit of [from, old_to)
 * changes only the starts in [from, old_to], both ends included, and the rest moves as a block. */
#include "lsp/server/line_index.h"

#include <string.h>

#include "base/memory.h"

static bool starts_line(text t, size_t i)
{
    if (i == 0) return true;
    char last = t.bytes[i - 1];
    return last == '\n' || (last == '\r' && (i == t.size || t.bytes[i] != '\n'));
}

size_t line_index_count(const struct line_index *index)
{
    return index->n_before + index->n_behind;
}

size_t line_index_start(const struct line_index *index, size_t line)
{
    if (line < index->n_before) return index->starts[line];
    size_t from_end = line_index_count(index) - line;
    return index->size_bytes - index->starts[index->room - from_end];
}

/* How many lines start before `byte`. */
static size_t count_before(const struct line_index *index, size_t byte)
{
    size_t low = 0, high = line_index_count(index);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (line_index_start(index, middle) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t line_index_find(const struct line_index *index, size_t byte)
{
    size_t n = count_before(index, byte + 1);
    return n > 0 ? n - 1 : 0;
}

/* Moves the gap so that exactly `line` starts stand before it. */
static void gap_move(struct line_index *index, size_t line)
{
    uint32_t size = (uint32_t)index->size_bytes;
    while (index->n_before > line) {
        uint32_t start = index->starts[--index->n_before];
        index->starts[index->room - ++index->n_behind] = size - start;
    }
    while (index->n_before < line) {
        uint32_t from_end = index->starts[index->room - index->n_behind--];
        index->starts[index->n_before++] = size - from_end;
    }
}

static status gap_reserve(struct line_index *index, error *err)
{
    if (line_index_count(index) < index->room) return OK;
    size_t room = index->room < 64 ? 64 : index->room + index->room / 2;
    uint32_t *starts = memory_resize(index->starts, room, sizeof *starts);
    if (!starts) return fail(err, ERR_MEMORY, "line index: out of memory for %zu lines", room);
    memmove(starts + room - index->n_behind, starts + index->room - index->n_behind,
            index->n_behind * sizeof *starts);
    index->starts = starts;
    index->room = room;
    return OK;
}

/* Adds the starts of [from, to] behind those that stand before the gap. */
static status starts_put(struct line_index *index, text content, size_t from, size_t to, error *err)
{
    for (size_t i = from; i <= to; i++) {
        if (!starts_line(content, i)) continue;
        status s = gap_reserve(index, err);
        if (s != OK) return s;
        index->starts[index->n_before++] = (uint32_t)i;
    }
    return OK;
}

status line_index_reset(struct line_index *index, text content, error *err)
{
    index->n_before = index->n_behind = 0;
    index->size_bytes = content.size;
    return starts_put(index, content, 0, content.size, err);
}

status line_index_edit(struct line_index *index, text content, size_t from, size_t old_to,
                       size_t new_to, error *err)
{
    size_t first = count_before(index, from), behind = count_before(index, old_to + 1);
    gap_move(index, first);
    index->n_behind -= behind - first;
    index->size_bytes = content.size;
    return starts_put(index, content, from, new_to, err);
}

void line_index_free(struct line_index *index)
{
    memory_free(index->starts);
    *index = (struct line_index){0};
}
