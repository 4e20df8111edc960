/* A parse that follows edits, beside a fresh one of the same text. The first byte chooses the language;
 * then the text, ended by a byte 0xff, and edits: where, how much goes, what comes (a part). */
#include "base/memory.h"
#include "context/syntax_live.h"
#include "tests/fuzz/fuzz.h"

static void splice(live_syntax *l, buffer *content, size_t from, size_t to, text with)
{
    buffer next = {0};
    text all = buffer_text(content);
    live_syntax_edit(l, all, from, to, with);
    REQUIRE(!live_syntax_tree(l));
    buffer_put_text(&next, text_slice(all, 0, from));
    buffer_put_text(&next, with);
    buffer_put_text(&next, text_slice(all, to, all.size));
    buffer_free(content);
    *content = next;
}

/* Errors may be repaired in another way, so only a text without any has to look the same. */
static void trees_compare(const syntax *live, const struct language *language, text content)
{
    syntax *fresh = NULL;
    if (!live || syntax_parse(&fresh, language, content, NULL) != OK) return;
    bool good = syntax_error_count(fresh, 0, SIZE_MAX) == 0;
    REQUIRE((syntax_error_count(live, 0, SIZE_MAX) == 0) == good);
    for (size_t at = 0; good && at <= content.size; at++) {
        size_t a[3] = {0}, b[3] = {0};
        REQUIRE(syntax_enclosing_block(live, at, &a[0], &a[1]) ==
                syntax_enclosing_block(fresh, at, &b[0], &b[1]));
        REQUIRE(syntax_statement_end(live, at, &a[2]) == syntax_statement_end(fresh, at, &b[2]));
        REQUIRE(a[0] == b[0] && a[1] == b[1] && a[2] == b[2]);
        REQUIRE(syntax_in_string(live, at) == syntax_in_string(fresh, at));
        REQUIRE(syntax_in_comment(live, at) == syntax_in_comment(fresh, at));
    }
    syntax_free(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ids[] = {"c", "python", "go", "rust", "javascript", "lua"};
    text rest = {(const char *)data, size};
    const struct language *language = language_find(text_of(ids[fuzz_byte(&rest) % 6]), TEXT(""));
    buffer content = {0};
    live_syntax *l = live_syntax_open(language);
    buffer_put(&content, "", 0);
    buffer_put_text(&content, fuzz_part(&rest));
    for (int n = 0; n < 40; n++) {
        int64_t budget_us = rest.size % 3 ? 1000000 : 1;
        for (int i = 0; i < 100 && !live_syntax_go_on(l, buffer_text(&content), budget_us); i++) {}
        trees_compare(live_syntax_tree(l), language, buffer_text(&content));
        if (!rest.size) break;
        size_t from = (fuzz_byte(&rest) | (size_t)fuzz_byte(&rest) << 8) % (content.size + 1);
        size_t to = from + fuzz_byte(&rest) % (content.size - from + 1);
        splice(l, &content, from, to, fuzz_part(&rest));
    }
    live_syntax_close(l);
    buffer_free(&content);
    return 0;
}
