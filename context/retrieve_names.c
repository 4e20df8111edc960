/* Names are found by their characters, not by a parse: half-typed code parses badly. Comments and
 * strings count too; what they name is often what comes. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "context/retrieve_private.h"

enum { NAME_MIN = 3, NAME_MAX_BYTES = 80, PART_MIN = 3, PARTS_MAX = 12, NEAR_ALL_MAX = 400 };

static bool is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

struct found_names {
    struct near_name names[NEAR_ALL_MAX];
    size_t n;
};

static void name_add(struct found_names *f, text name, double weight)
{
    for (size_t i = 0; i < f->n; i++)
        if (text_equal(f->names[i].name, name)) {
            f->names[i].weight += weight;
            return;
        }
    if (f->n < NEAR_ALL_MAX) f->names[f->n++] = (struct near_name){name, weight};
}

static void line_names(struct found_names *f, text line, double weight)
{
    for (size_t at = 0; at < line.size;) {
        size_t from = at;
        while (at < line.size && is_name_byte(line.bytes[at])) at++;
        text name = text_slice(line, from, at);
        if (name.size >= NAME_MIN && name.size <= NAME_MAX_BYTES &&
            !isdigit((unsigned char)name.bytes[0]))
            name_add(f, name, weight);
        at += at == from;
    }
}

/* Lines above count less the farther they are, lines below count half as much. */
static void names_around(struct found_names *f, text content, size_t cursor)
{
    size_t end = cursor;
    for (int d = 0; d <= NEAR_LINES_ABOVE; d++) {
        size_t from = end;
        while (from > 0 && content.bytes[from - 1] != '\n') from--;
        line_names(f, text_slice(content, from, end), 1.0 / (1.0 + d / 5.0));
        if (from == 0) break;
        end = from - 1;
    }
    text rest = text_slice(content, cursor, content.size), line;
    for (int d = 0; d <= NEAR_LINES_BELOW && text_next_line(&rest, &line); d++)
        line_names(f, line, 0.5 / (1.0 + d / 5.0));
}

static int compare_names(const void *a, const void *b)
{
    const struct near_name *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    size_t n = x->name.size < y->name.size ? x->name.size : y->name.size;
    int order = memcmp(x->name.bytes, y->name.bytes, n);
    return order ? order : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

/* The next part of a name: at underscores, and where a capital follows a small letter. */
static bool next_part(text name, size_t *at, text *part)
{
    while (*at < name.size && !isalnum((unsigned char)name.bytes[*at])) (*at)++;
    size_t from = *at;
    while (*at < name.size && isalnum((unsigned char)name.bytes[*at])) {
        bool hump = *at > from && isupper((unsigned char)name.bytes[*at]) &&
                    !isupper((unsigned char)name.bytes[*at - 1]);
        if (hump) break;
        (*at)++;
    }
    *part = text_slice(name, from, *at);
    return part->size > 0;
}

static uint64_t part_hash(text part)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < part.size; i++)
        h = (h ^ (uint64_t)tolower((unsigned char)part.bytes[i])) * 0x100000001b3u;
    return h ? h : 1;
}

const uint64_t *name_parts(arena *a, text name)
{
    uint64_t parts[PARTS_MAX + 1];
    size_t n = 0;
    text part;
    for (size_t at = 0; n < PARTS_MAX && next_part(name, &at, &part);)
        if (part.size >= PART_MIN) parts[n++] = part_hash(part);
    parts[n++] = 0;
    uint64_t *copy = arena_take(a, n, sizeof *copy);
    if (copy) memcpy(copy, parts, n * sizeof *copy);
    return copy;
}

static int compare_parts(const void *a, const void *b)
{
    const struct near_part *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return (x->weight < y->weight) - (x->weight > y->weight);
}

/* Names come heaviest first, so of equal parts the first one counts. */
static status near_parts_find(struct retrieval *t)
{
    size_t n = 0, kept = 0;
    t->parts = arena_take(t->memory, NEAR_NAMES_MAX * PARTS_MAX, sizeof *t->parts);
    for (size_t i = 0; t->parts && i < t->n_names; i++) {
        const uint64_t *parts = name_parts(t->memory, t->names[i].name);
        for (; parts && *parts; parts++)
            t->parts[n++] = (struct near_part){*parts, t->names[i].weight};
    }
    if (!t->parts || t->memory->failed) return fail(t->err, ERR_MEMORY, "no memory for names");
    qsort(t->parts, n, sizeof *t->parts, compare_parts);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || t->parts[kept - 1].hash != t->parts[i].hash)
            t->parts[kept++] = t->parts[i];
    t->n_parts = kept;
    return OK;
}

static double part_weight(const struct retrieval *t, uint64_t hash)
{
    size_t from = 0, to = t->n_parts;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (t->parts[middle].hash == hash) return t->parts[middle].weight;
        if (t->parts[middle].hash < hash)
            from = middle + 1;
        else
            to = middle;
    }
    return 0;
}

double name_nearness(const struct retrieval *t, text name, const uint64_t *parts)
{
    double sum = 0;
    size_t n = 0;
    for (; parts[n]; n++) {
        double w = part_weight(t, parts[n]);
        sum += w < 1 ? w : 1;
    }
    if (sum == 0) return 0;
    sum /= (double)n;
    for (size_t i = 0; i < t->n_names; i++)
        if (text_equal(t->names[i].name, name)) return sum + 2 * t->names[i].weight;
    return sum;
}

status near_names_find(struct retrieval *t)
{
    struct found_names *f = arena_take(t->memory, 1, sizeof *f);
    if (!f) return fail(t->err, ERR_MEMORY, "no memory for names");
    text content = t->q->document.content;
    size_t cursor = t->q->cursor_byte < content.size ? t->q->cursor_byte : content.size;
    names_around(f, content, cursor);
    qsort(f->names, f->n, sizeof *f->names, compare_names);
    t->n_names = f->n < NEAR_NAMES_MAX ? f->n : NEAR_NAMES_MAX;
    memcpy(t->names, f->names, t->n_names * sizeof *f->names);
    return near_parts_find(t);
}
