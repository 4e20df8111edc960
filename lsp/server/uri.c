#include "lsp/server/uri.h"

#include <ctype.h>
#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The part between authority and query. */
static text uri_path(text uri)
{
    size_t colon = text_find(uri, TEXT(":"), 0);
    text path = colon == SIZE_MAX ? uri : text_slice(uri, colon + 1, uri.size);
    if (text_starts(path, TEXT("//"))) {
        size_t slash = text_find(path, TEXT("/"), 2);
        path = text_slice(path, slash == SIZE_MAX ? path.size : slash, path.size);
    }
    size_t end = 0;
    while (end < path.size && path.bytes[end] != '?' && path.bytes[end] != '#') end++;
    return text_slice(path, 0, end);
}

void uri_to_path(buffer *out, text uri)
{
    text path = uri_path(uri);
    for (size_t i = 0; i < path.size; i++) {
        int high = -1, low = -1;
        if (path.bytes[i] == '%' && path.size - i > 2) {
            high = hex_value(path.bytes[i + 1]);
            low = hex_value(path.bytes[i + 2]);
        }
        bool escape = high >= 0 && low >= 0 && high + low > 0;
        char decoded = (char)(high * 16 + low);
        buffer_put_char(out, escape ? decoded : path.bytes[i]);
        if (escape) i += 2;
    }
}

void uri_of_path(buffer *out, text path)
{
    buffer_put_text(out, TEXT("file://"));
    for (size_t i = 0; i < path.size; i++) {
        unsigned char c = (unsigned char)path.bytes[i];
        if (isalnum(c) || (c && strchr("/-._~", c)))
            buffer_put_char(out, (char)c);
        else
            buffer_print(out, "%%%02X", c);
    }
}

text uri_scheme(text uri)
{
    size_t colon = text_find(uri, TEXT(":"), 0);
    return colon == SIZE_MAX ? TEXT("") : text_slice(uri, 0, colon);
}

text path_below(text path, text folder)
{
    while (folder.size > 0 && folder.bytes[folder.size - 1] == '/') folder.size--;
    if (!text_starts(path, folder) || path.size <= folder.size + 1) return (text){0};
    if (path.bytes[folder.size] != '/') return (text){0};
    return text_slice(path, folder.size + 1, path.size);
}

text path_file_name(text path)
{
    size_t at = path.size;
    while (at > 0 && path.bytes[at - 1] != '/') at--;
    return text_slice(path, at, path.size);
}
