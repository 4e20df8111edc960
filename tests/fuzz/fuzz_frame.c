/* Frames of the language server protocol: however the bytes are cut, the messages are the same. The
 * first byte is the length of the pieces. */
#include "lsp/server/frame.h"
#include "tests/fuzz/fuzz.h"

static void messages_read(buffer *noted, text stream, size_t piece)
{
    struct frame_reader reader = {0};
    while (stream.size) {
        text part = fuzz_take(&stream, piece);
        while (part.size) {
            enum frame_event event = FRAME_NONE;
            size_t taken = frame_reader_take(&reader, part, &event);
            REQUIRE(taken <= part.size && (taken > 0 || event != FRAME_NONE));
            part = text_slice(part, taken, part.size);
            if (event == FRAME_NONE) continue;
            buffer_print(noted, "%d:", event);
            if (event == FRAME_MESSAGE) buffer_put_text(noted, buffer_text(&reader.body));
        }
    }
    frame_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text stream = {(const char *)data, size};
    buffer whole = {0}, pieces = {0};
    size_t piece = (size_t)fuzz_byte(&stream) + 1;
    messages_read(&whole, stream, SIZE_MAX);
    messages_read(&pieces, stream, piece);
    REQUIRE(text_equal(buffer_text(&whole), buffer_text(&pieces)));
    buffer_free(&whole);
    buffer_free(&pieces);
    return 0;
}
