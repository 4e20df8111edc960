/* Answers of a model at a place in a document. First byte: many lines, whether the model ended,
 * the language, the length of the pieces; then where the cursor stands, what the answer begins with,
 * the document above and below the cursor, and the answer, each ended by a byte 0xff. */
#include "context/trim.h"
#include "tests/fuzz/fuzz.h"

struct place {
    struct trim_options options;
    bool finished;
    size_t piece;
    text answer;
    buffer content;
};

static void place_read(struct place *p, text rest)
{
    static const char *const languages[] = {"c", "python", "", "rust"};
    uint8_t choice = fuzz_byte(&rest);
    p->finished = choice & 1;
    p->options.many_lines = choice & 2;
    p->options.document.language_id = text_of(languages[choice >> 2 & 3]);
    p->piece = choice & 16 ? 1 : choice & 32 ? 7 : SIZE_MAX;
    p->options.document.path = TEXT("a");
    if (choice & 64) p->options.fence = TEXT("\n```");
    text above = fuzz_part(&rest), below = fuzz_part(&rest);
    if (choice & 128) p->options.must_start_with = fuzz_part(&rest);
    p->answer = rest;
    buffer_put_text(&p->content, above);
    buffer_put_text(&p->content, below);
    p->options.document.content = buffer_text(&p->content);
    p->options.cursor_byte = above.size;
}

/* Bytes from the cursor to the end of its line. */
static size_t line_rest_bytes(const struct trim_options *o)
{
    text content = o->document.content;
    size_t at = o->cursor_byte;
    while (at < content.size && content.bytes[at] != '\n' && content.bytes[at] != '\r') at++;
    return at - o->cursor_byte;
}

static void answer_trim(const struct place *p)
{
    trim *t = NULL;
    struct trim_result result = {0};
    text rest = p->answer;
    if (trim_open(&t, &p->options, NULL) != OK) return;
    while (rest.size && trim_put(t, fuzz_take(&rest, p->piece)) == TRIM_MORE) {}
    trim_finish(t, p->finished, &result);
    REQUIRE(result.reason);
    REQUIRE(result.insert.size <= p->answer.size + 1);
    REQUIRE(result.replace_bytes <= line_rest_bytes(&p->options));
    REQUIRE(p->options.many_lines || text_find(result.insert, TEXT("\n"), 0) == SIZE_MAX);
    trim_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct place p = {0};
    const char *reason;
    place_read(&p, (text){(const char *)data, size});
    answer_trim(&p);
    trim_wants_many_lines(&p.options.document, p.options.cursor_byte, true);
    trim_place_is_fit(&p.options.document, p.options.cursor_byte, true, &reason);
    buffer_free(&p.content);
    return 0;
}
