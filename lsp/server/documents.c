/* A list with hashes: editors have tens of documents open, a scan of hashes is quick even for
 * thousands. One edit costs one memmove of the text behind it; columns in long lines are counted in
 * blocks a vectoriser likes. */
#include "lsp/server/documents.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "lsp/server/uri.h"

struct documents {
    document **list;
    size_t n, room;
    size_t total_bytes; /* of all contents */
    uint64_t next_key;
};

enum { BLOCK_BYTES = 256 };

status documents_open(documents **out, error *err)
{
    *out = memory_take(1, sizeof **out);
    return *out ? OK : fail(err, ERR_MEMORY, "documents: out of memory");
}

static void document_free(document *d)
{
    buffer_free(&d->content);
    line_index_free(&d->lines);
    buffer_free(&d->names);
    document_tree_close(d);
    memory_free(d);
}

void documents_close(documents *all)
{
    if (!all) return;
    for (size_t i = 0; i < all->n; i++) document_free(all->list[i]);
    memory_free(all->list);
    memory_free(all);
}

/* FNV-1a. */
static uint64_t uri_hash(text uri)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < uri.size; i++) h = (h ^ (unsigned char)uri.bytes[i]) * 0x100000001B3u;
    return h;
}

document *documents_find(const documents *all, text uri)
{
    uint64_t h = uri_hash(uri);
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i]->uri_hash == h && text_equal(all->list[i]->uri, uri)) return all->list[i];
    return NULL;
}

document *documents_find_key(const documents *all, uint64_t key)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i]->key == key) return all->list[i];
    return NULL;
}

document *documents_at(const documents *all, size_t i) { return i < all->n ? all->list[i] : NULL; }

static document *document_new(documents *all, text uri, text language_id)
{
    document *d = memory_take(1, sizeof *d);
    if (!d) return NULL;
    size_t behind_uri = uri.size, behind_language = uri.size + language_id.size;
    buffer_put_text(&d->names, uri);
    buffer_put_text(&d->names, language_id);
    uri_to_path(&d->names, uri);
    if (d->names.failed) {
        document_free(d);
        return NULL;
    }
    text names = buffer_text(&d->names);
    d->uri = text_slice(names, 0, behind_uri);
    d->language_id = text_slice(names, behind_uri, behind_language);
    d->path = text_slice(names, behind_language, names.size);
    d->uri_hash = uri_hash(uri);
    d->key = ++all->next_key;
    d->owner = all;
    return d;
}

static bool list_add(documents *all, document *d)
{
    if (all->n == all->room) {
        size_t room = all->room < 16 ? 16 : all->room * 2;
        document **list = memory_resize(all->list, room, sizeof(void *));
        if (!list) return false;
        all->list = list;
        all->room = room;
    }
    all->list[all->n++] = d;
    return true;
}

static status content_reset(document *d, text content, error *err)
{
    documents *all = d->owner;
    size_t others = all->total_bytes - d->content.size;
    if (content.size > DOCUMENT_TRACK_MAX || content.size > DOCUMENTS_TOTAL_MAX - others)
        return fail(err, ERR_LIMIT, "the document has %zu MiB, more than can be kept",
                    content.size / MIB);
    all->total_bytes = others;
    document_tree_reset(d);
    buffer_clear(&d->content);
    buffer_put_text(&d->content, content);
    if (d->content.failed) return fail(err, ERR_MEMORY, "out of memory for the document");
    all->total_bytes += content.size;
    return line_index_reset(&d->lines, content, err);
}

status documents_add(documents *all, document **out, text uri, text language_id, int64_t version,
                     text content, error *err)
{
    *out = documents_find(all, uri);
    if (*out) documents_remove(*out);
    *out = NULL;
    if (all->n >= DOCUMENTS_MAX)
        return fail(err, ERR_LIMIT, "%zu documents are open, more than can be kept", all->n);
    document *d = document_new(all, uri, language_id);
    if (!d || !list_add(all, d)) {
        if (d) document_free(d);
        return fail(err, ERR_MEMORY, "out of memory for a document");
    }
    error why;
    d->version = version;
    if (content_reset(d, content, &why) != OK) document_put_out_of_step(d, why.message);
    if (document_in_step(d)) document_tree_open(d);
    *out = d;
    return OK;
}

void documents_remove(document *d)
{
    documents *all = d->owner;
    for (size_t i = 0; i < all->n; i++) {
        if (all->list[i] != d) continue;
        all->list[i] = all->list[--all->n];
        all->total_bytes -= d->content.size;
        document_free(d);
        return;
    }
}

bool document_in_step(const document *d) { return d->out_of_step[0] == 0; }

void document_put_out_of_step(document *d, const char *reason)
{
    snprintf(d->out_of_step, sizeof d->out_of_step, "%.190s", reason[0] ? reason : "unknown");
    d->owner->total_bytes -= d->content.size;
    buffer_free(&d->content);
    line_index_free(&d->lines);
    document_tree_reset(d);
    d->revision++;
}

text document_text(const document *d) { return buffer_text(&d->content); }

/* The line without its end. */
static text line_text(const document *d, size_t line, size_t *start)
{
    text all = document_text(d);
    size_t end =
        line + 1 < line_index_count(&d->lines) ? line_index_start(&d->lines, line + 1) : all.size;
    *start = line_index_start(&d->lines, line);
    if (end > *start && all.bytes[end - 1] == '\n' && line + 1 < line_index_count(&d->lines)) end--;
    if (end > *start && all.bytes[end - 1] == '\r') end--;
    return text_slice(all, *start, end);
}

static const uint64_t low_bits = 0x0101010101010101u;

/* How many bytes continue a character (10xxxxxx): their lowest bits, summed by a product. */
static size_t continuations(uint64_t w)
{
    return (size_t)(((w >> 7) & ~(w >> 6) & low_bits) * low_bits >> 56);
}

/* How many bytes begin a character of four bytes (1111xxxx). */
static size_t astral_starts(uint64_t w)
{
    return (size_t)((w >> 7 & w >> 6 & w >> 5 & w >> 4 & low_bits) * low_bits >> 56);
}

/* Code units of a well-formed piece: a character counts at its first byte, and twice in UTF-16 when
 * it has four bytes. Eight bytes at a time: lines of a megabyte exist. */
static uint32_t block_units(const char *bytes, size_t n, enum position_encoding encoding)
{
    size_t units = n, at = 0;
    if (encoding == ENCODING_UTF8) return (uint32_t)n;
    for (uint64_t w; n - at >= sizeof w; at += sizeof w) {
        memcpy(&w, bytes + at, sizeof w);
        if ((w & low_bits << 7) == 0) continue;
        units -= continuations(w);
        if (encoding == ENCODING_UTF16) units += astral_starts(w);
    }
    for (; at < n; at++) {
        unsigned char c = (unsigned char)bytes[at];
        units -= (c & 0xC0) == 0x80;
        units += encoding == ENCODING_UTF16 && c >= 0xF0;
    }
    return (uint32_t)units;
}

/* End of the block that begins at `at`: about BLOCK_BYTES on, between characters. */
static size_t block_end(text line, size_t at)
{
    size_t end = at + BLOCK_BYTES < line.size ? at + BLOCK_BYTES : line.size;
    while (end < line.size && ((unsigned char)line.bytes[end] & 0xC0) == 0x80) end++;
    return end;
}

/* Byte of a column; *left is what remains of it: past the end, or of a character it cuts in two. */
static size_t column_seek(text line, uint32_t column, enum position_encoding encoding,
                          uint32_t *left)
{
    size_t at = 0;
    *left = column;
    while (at < line.size) {
        size_t end = block_end(line, at);
        uint32_t units = block_units(line.bytes + at, end - at, encoding);
        if (units > *left) break;
        *left -= units;
        at = end;
    }
    if (at == line.size) return at;
    text block = text_slice(line, at, block_end(line, at));
    size_t inside = column_to_byte(block, *left, encoding);
    *left -= block_units(block.bytes, inside, encoding);
    return at + inside;
}

/* *cut: the position lies inside a character, so its byte is not what was meant. */
static size_t place_find(const document *d, struct position p, enum position_encoding encoding,
                         bool *cut)
{
    size_t start;
    uint32_t left;
    *cut = false;
    if (!document_in_step(d)) return 0;
    if (p.line >= line_index_count(&d->lines)) return d->content.size;
    text line = line_text(d, p.line, &start);
    size_t byte = column_seek(line, p.character, encoding, &left);
    *cut = left > 0 && byte < line.size;
    return start + byte;
}

size_t document_byte(const document *d, struct position p, enum position_encoding encoding)
{
    bool cut;
    return place_find(d, p, encoding, &cut);
}

struct position document_position(const document *d, size_t byte, enum position_encoding encoding)
{
    if (!document_in_step(d)) return (struct position){0, 0};
    size_t line = line_index_find(&d->lines, byte), start = line_index_start(&d->lines, line);
    size_t end = byte < d->content.size ? byte : d->content.size;
    uint32_t column = block_units(d->content.bytes + start, end - start, encoding);
    return (struct position){(uint32_t)line, column};
}

/* content[from, to) becomes `replacement`. */
static bool content_splice(buffer *content, size_t from, size_t to, text replacement)
{
    size_t removed = to - from, behind = content->size - to;
    if (replacement.size > removed)
        buffer_put(content, replacement.bytes, replacement.size - removed); /* makes room */
    if (content->failed) return false;
    if (!content->bytes) return true;
    memmove(content->bytes + from + replacement.size, content->bytes + to, behind);
    if (replacement.size) memcpy(content->bytes + from, replacement.bytes, replacement.size);
    content->size = from + replacement.size + behind;
    content->bytes[content->size] = 0;
    return true;
}

static status range_change(document *d, const struct range *range, text replacement,
                           enum position_encoding encoding, error *err)
{
    documents *all = d->owner;
    struct position a = range->start, b = range->end;
    if (a.line > b.line || (a.line == b.line && a.character > b.character))
        return fail(err, ERR_FORMAT, "a change's range ends before it begins");
    bool cuts_a, cuts_b = false, insertion = a.line == b.line && a.character == b.character;
    size_t from = place_find(d, a, encoding, &cuts_a);
    size_t to = insertion ? from : place_find(d, b, encoding, &cuts_b);
    if (cuts_a || cuts_b) return fail(err, ERR_FORMAT, "a change cuts a character in two");
    size_t kept = d->content.size - (to - from);
    size_t others = all->total_bytes - d->content.size;
    if (replacement.size > DOCUMENT_TRACK_MAX - kept ||
        replacement.size + kept > DOCUMENTS_TOTAL_MAX - others)
        return fail(err, ERR_LIMIT, "the document grew larger than can be kept");
    document_tree_edit(d, from, to, replacement);
    if (!content_splice(&d->content, from, to, replacement))
        return fail(err, ERR_MEMORY, "out of memory for the document");
    all->total_bytes = others + d->content.size;
    return line_index_edit(&d->lines, document_text(d), from, to, from + replacement.size, err);
}

status document_change(document *d, const struct range *range, text replacement,
                       enum position_encoding encoding, error *err)
{
    error own;
    if (!err) err = &own;
    if (!document_in_step(d)) return fail(err, ERR_FORMAT, "%s", d->out_of_step);
    status s = range ? range_change(d, range, replacement, encoding, err)
                     : content_reset(d, replacement, err);
    d->revision++;
    if (s != OK) document_put_out_of_step(d, err->message);
    return s;
}
