/* Event streams: however the bytes are cut, the events are the same. The first byte is the length of
 * the pieces. */
#include "lsp/client/sse.h"
#include "tests/fuzz/fuzz.h"

static bool event_note(void *context, text data)
{
    buffer *noted = context;
    buffer_print(noted, "%zu:", data.size);
    buffer_put_text(noted, data);
    return true;
}

static status events_read(buffer *noted, text stream, size_t piece)
{
    struct sse_parser p = {0};
    status s = OK;
    while (s == OK && stream.size)
        s = sse_put(&p, fuzz_take(&stream, piece), event_note, noted, NULL);
    sse_free(&p);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text stream = {(const char *)data, size};
    buffer whole = {0}, pieces = {0};
    size_t piece = (size_t)fuzz_byte(&stream) + 1;
    status a = events_read(&whole, stream, SIZE_MAX), b = events_read(&pieces, stream, piece);
    REQUIRE(a == b);
    REQUIRE(text_equal(buffer_text(&whole), buffer_text(&pieces)));
    buffer_free(&whole);
    buffer_free(&pieces);
    return 0;
}
