/* Text with secrets in it, and names of files. The first part, ended by a byte 0xff, is the user's
 * patterns of files; what follows is a text, and a path. */
#include <string.h>

#include "context/exclude.h"
#include "context/secrets.h"
#include "tests/fuzz/fuzz.h"

/* Masking keeps the length and the line ends, and everything that it does not make a star. */
static void text_mask(text t)
{
    size_t at = 0, end = 0;
    buffer masked = {0};
    bool any = secret_find(t, 0, &at, &end);
    REQUIRE(!any || (at <= end && end <= t.size));
    buffer_put_text(&masked, t);
    REQUIRE(masked.size == 0 || secrets_mask(masked.bytes, masked.size) == any);
    REQUIRE(masked.size == t.size);
    for (size_t i = 0; i < t.size; i++) {
        bool kept = masked.bytes[i] == t.bytes[i];
        REQUIRE(kept || (masked.bytes[i] == '*' && t.bytes[i] != '\n' && t.bytes[i] != '\r'));
    }
    buffer_free(&masked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    buffer below = {0}, globs = {0};
    text rest = {(const char *)data, size};
    text patterns = fuzz_part(&rest);
    exclude_set_globs(patterns);
    exclude_put_globs(&globs);
    REQUIRE(globs.failed || !memchr(patterns.bytes ? patterns.bytes : "", 0, patterns.size) ||
            globs.size <= patterns.size);
    text_mask(rest);
    /* What is excluded stays so in another folder. */
    exclude_set_globs(TEXT(""));
    buffer_put_text(&below, TEXT("a/b/"));
    buffer_put_text(&below, rest);
    if (exclude_reason(rest)) REQUIRE(exclude_reason(buffer_text(&below)));
    buffer_free(&below);
    buffer_free(&globs);
    return 0;
}
