/* Source files of every language that has a query. The first byte chooses the language, the rest is the
 * file. */
#include <string.h>

#include "base/utf.h"
#include "context/syntax.h"
#include "context/tags.h"
#include "tests/fuzz/fuzz.h"

static const struct language *language_chosen(uint8_t choice)
{
    const struct language *known[64];
    size_t n = 0;
    const struct language *l;
    for (size_t i = 0; (l = language_at(i)) && n < 64; i++)
        if (tagger_knows(l)) known[n++] = l;
    return known[choice % n];
}

static void tags_check(const struct tags *t, text content)
{
    for (size_t i = 0; i < t->n_definitions; i++) {
        const struct tag *d = &t->definitions[i];
        REQUIRE(d->from < d->to && d->to <= content.size && d->line > 0 && d->name.size);
        REQUIRE(!memchr(d->signature.bytes ? d->signature.bytes : "", '\n', d->signature.size));
        REQUIRE(text_find(content, d->name, 0) != SIZE_MAX);
        for (size_t at = 0, n; at < d->signature.size; at += n) {
            REQUIRE(utf8_decode(d->signature, at, &n) != 0xFFFD || n > 1);
        }
    }
    for (size_t i = 0; i < t->n_references; i++)
        REQUIRE(t->references[i].count && text_find(content, t->references[i].name, 0) != SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tagger *t;
    struct tags tags;
    text content = {(const char *)data, size};
    const struct language *language = language_chosen(fuzz_byte(&content));
    if (!t) REQUIRE(tagger_open(&t, NULL) == OK);
    status code = tags_read(&tags, t, language, content, NULL);
    REQUIRE(code == OK || code == ERR_LIMIT);
    tags_check(&tags, content);
    tags_free(&tags);
    REQUIRE(tags_read_words(&tags, content, NULL) == OK);
    tags_check(&tags, content);
    tags_free(&tags);
    return 0;
}
