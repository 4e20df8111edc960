/* Cutting and comparing at slashes. */
#include "context/path_text.h"

#include <string.h>

static size_t last_slash(text path)
{
    size_t at = path.size;
    while (at > 0 && path.bytes[at - 1] != '/') at--;
    return at; /* behind it; 0 when there is none */
}

text path_name(text path) { return text_slice(path, last_slash(path), path.size); }

text path_stem(text path)
{
    text name = path_name(path);
    const char *dot = name.size > 1 ? memchr(name.bytes + 1, '.', name.size - 1) : NULL;
    return dot ? text_slice(name, 0, (size_t)(dot - name.bytes)) : name;
}

text path_folder(text path)
{
    size_t at = last_slash(path);
    return text_slice(path, 0, at ? at - 1 : 0);
}

text path_folder_name(text path) { return path_name(path_folder(path)); }

static void part_put(buffer *out, size_t from, text part)
{
    if (out->size > from) buffer_put_char(out, '/');
    buffer_put_text(out, part);
}

static bool part_drop(buffer *out, size_t from)
{
    if (out->size == from) return false;
    while (out->size > from && out->bytes[out->size - 1] != '/') out->size--;
    if (out->size > from) out->size--;
    return true;
}

bool path_join_put(buffer *out, text folder, text relative)
{
    size_t from = out->size;
    buffer_put_text(out, folder);
    for (size_t at = 0; at < relative.size;) {
        size_t end = text_find(relative, TEXT("/"), at);
        text part = text_slice(relative, at, end == SIZE_MAX ? relative.size : end);
        if (text_is(part, "..")) {
            if (!part_drop(out, from)) return false;
        } else if (part.size && !text_is(part, ".")) {
            part_put(out, from, part);
        }
        at = end == SIZE_MAX ? relative.size : end + 1;
    }
    return true;
}

static text take_last(text *path)
{
    size_t at = last_slash(*path);
    text part = text_slice(*path, at, path->size);
    *path = text_slice(*path, 0, at ? at - 1 : 0);
    return part;
}

size_t path_parts_at_end(text a, text b)
{
    size_t n = 0;
    while (a.size && b.size && text_equal(take_last(&a), take_last(&b))) n++;
    return n;
}

size_t path_parts_at_start(text a, text b)
{
    size_t n = 0, common = text_common(a, b);
    for (size_t i = 0; i < common; i++) n += a.bytes[i] == '/';
    bool a_ends = common == a.size || a.bytes[common] == '/';
    bool b_ends = common == b.size || b.bytes[common] == '/';
    bool whole = common > 0 && a.bytes[common - 1] != '/' && a_ends && b_ends;
    return n + whole;
}
