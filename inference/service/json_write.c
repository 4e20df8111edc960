/* Only what must be escaped is: quote, backslash, control characters. */
#include "inference/service/json_write.h"

#include <float.h>
#include <math.h>

#include "inference/service/utf8_hold.h"

static void character_put(buffer *out, char c)
{
    switch (c) {
    case '"': buffer_put_text(out, TEXT("\\\"")); return;
    case '\\': buffer_put_text(out, TEXT("\\\\")); return;
    case '\n': buffer_put_text(out, TEXT("\\n")); return;
    case '\r': buffer_put_text(out, TEXT("\\r")); return;
    case '\t': buffer_put_text(out, TEXT("\\t")); return;
    default: buffer_print(out, "\\u%04x", (unsigned char)c);
    }
}

static bool is_plain(char c) { return (unsigned char)c >= 0x20 && c != '"' && c != '\\'; }

void json_put_string(buffer *out, text value)
{
    struct utf8_hold hold = {0};
    size_t at = 0;
    buffer_put_char(out, '"');
    while (at < value.size) {
        size_t run = at;
        while (run < value.size && is_plain(value.bytes[run])) run++;
        utf8_hold_put(&hold, out, text_slice(value, at, run));
        if (run < value.size) {
            utf8_hold_end(&hold, out);
            character_put(out, value.bytes[run++]);
        }
        at = run;
    }
    utf8_hold_end(&hold, out);
    buffer_put_char(out, '"');
}

void json_put_chars(buffer *out, const char *value)
{
    if (value)
        json_put_string(out, text_of(value));
    else
        buffer_put_text(out, TEXT("null"));
}

void json_put_number(buffer *out, double value)
{
    if (isnan(value))
        buffer_put_text(out, TEXT("null"));
    else
        buffer_print(out, "%.9g", isinf(value) ? copysign(DBL_MAX, value) : value);
}
