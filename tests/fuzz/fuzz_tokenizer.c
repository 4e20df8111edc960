/* Tokenizer files: parts of the input, each ended by a byte 0xff, are the files of a model
 * directory. The first byte's bits choose which ones are there; a tokenizer that opens must give
 * back every byte. */
#include <string.h>

#include "tests/fuzz/model_directory.h"
#include "tokenizer/tokenizer.h"

static const char *const names[] = {"tokenizer.json", "a.tiktoken", "tokenizer_config.json",
                                    "config.json"};
enum { N_NAMES = sizeof names / sizeof *names };

/* A list without every byte may lose bytes; one with them may not. */
static bool bytes_complete(const tokenizer *t)
{
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        token_list ids = {0};
        tokenizer_encode(t, &ids, (text){&c, 1});
        bool found = ids.n == 1;
        token_list_free(&ids);
        if (!found) return false;
    }
    return true;
}

static void tokenizer_check(const tokenizer *t, text sample)
{
    token_list ids = {0};
    buffer back = {0};
    tokenizer_encode(t, &ids, sample);
    for (size_t i = 0; i < ids.n; i++)
        REQUIRE(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_vocabulary_size(t));
    tokenizer_decode(t, &back, ids.ids, ids.n, true);
    if (bytes_complete(t)) REQUIRE(text_equal(buffer_text(&back), sample));
    REQUIRE(tokenizer_count(t, sample) == ids.n);
    REQUIRE(tokenizer_stable_boundary(t, sample, sample.size) <= sample.size);
    token_list_free(&ids);
    buffer_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text rest = {(const char *)data, size};
    uint8_t present = fuzz_byte(&rest);
    tokenizer *t = NULL;
    error err = {0};
    for (int i = 0; i < N_NAMES; i++)
        if (present >> i & 1) model_file_put(names[i], fuzz_part(&rest));
    if (strstr(model_directory, "XXXXXX")) return 0; /* no file at all */
    if (tokenizer_open(&t, model_directory, &err) == OK)
        tokenizer_check(t, text_slice((text){(const char *)data, size}, 0, 200));
    else
        REQUIRE(err.message[0] && !t);
    tokenizer_close(t);
    for (int i = 0; i < N_NAMES; i++) model_file_remove(names[i]);
    return 0;
}
