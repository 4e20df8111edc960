/* The tokenizer's files: what is read from them, every way of being refused, memory that runs out
 * while opening. */
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/utf.h"
#include "tokenizer/tokenizer.h"

#include "tests/unit/tokenizer_support.h"

static char folder[] = "/tmp/dbrx-test-tokenizer-XXXXXX";

static int group_setup(void **state)
{
    (void)state;
    error err;
    return mkdtemp(folder) && tokenizer_open(&embedded, NULL, &err) == OK ? 0 : -1;
}

static void file_remove(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void folder_clear(void)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "config.json",
                                        "a.tiktoken", "b.tiktoken"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) file_remove(names[i]);
}

static int group_teardown(void **state)
{
    (void)state;
    tokenizer_close(embedded);
    folder_clear();
    return rmdir(folder);
}

static void file_put(const char *name, text content)
{
    char path[128];
    error err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write(path, content, 0600, &err), OK);
}

/* GPT-2's spelling of a byte, by its own rule. */
static void byte_spell(buffer *out, int byte)
{
    bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    int code = byte;
    if (!itself) {
        code = 256;
        for (int b = 0; b < byte; b++)
            code += !((b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE);
    }
    char utf8[4];
    size_t size = utf8_encode((uint32_t)code, utf8);
    buffer_put(out, utf8, size);
}

/* A whole tokenizer.json over the 256 bytes with `vocab` behind them, `merges` and `rest`. */
static void json_make(buffer *out, const char *vocab, const char *merges, const char *rest)
{
    buffer_print(out, "{\"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int byte = 0; byte < 256; byte++) {
        buffer_print(out, byte ? ", \"" : "\"");
        if (byte == '"' || byte == '\\') buffer_put_char(out, '\\');
        byte_spell(out, byte);
        buffer_print(out, "\": %d", byte);
    }
    buffer_print(out, "%s}, \"merges\": %s}%s}", vocab, merges, rest);
    assert_false(out->failed);
}

static void test_tokenizer_json(void **state)
{
    (void)state;
    static const char *const merges[] = {
        "[\"a b\", \"ab c\", \"\xC4\xA0 a\"]",
        "[[\"a\", \"b\"], [\"ab\", \"c\"], [\"\xC4\xA0\", \"a\"]]"};
    for (size_t i = 0; i < 2; i++) {
        buffer json = {0};
        tokenizer *t = NULL;
        error err = {0};
        json_make(&json,
                  ", \"ab\": 256, \"abc\": 257, \"\xC4\xA0"
                  "a\": 258, \"<|im_end|>\": 260",
                  merges[i], ", \"added_tokens\": [{\"id\": 260, \"content\": \"<|im_end|>\"}]");
        file_put("tokenizer.json", buffer_text(&json));
        file_put("config.json", TEXT("{\"vocab_size\": 320.0}"));
        file_put(
            "tokenizer_config.json",
            TEXT("{\"added_tokens_decoder\": {\"260\": {\"content\": \"<|im_end|>\"}, "
                 "\"261\": {\"content\": \"<|im_start|>\"}, \"262\": {\"content\": \"<x>\"}}}"));
        if (tokenizer_open(&t, folder, &err) != OK) fail_msg("%s", err.message);
        assert_int_equal(tokenizer_vocabulary_size(t), 320);
        assert_int_equal(tokenizer_specials(t)->im_end, 260);
        assert_int_equal(tokenizer_specials(t)->im_start, 261);
        assert_int_equal(tokenizer_specials(t)->endoftext, -1);
        assert_true(tokenizer_is_dead(t, 259) && tokenizer_is_dead(t, 262));
        assert_encodes(t, TEXT("abcab aa"), (int32_t[]){257, 256, 258, 'a'}, 4);
        tokenizer_close(t);
        buffer_free(&json);
        folder_clear();
    }
}

/* DBRX's own rank list and nothing about specials: DBRX's ids. */
static void test_dbrx_by_its_ranks(void **state)
{
    (void)state;
    buffer list = {0};
    tokenizer *t = NULL;
    error err = {0};
    tokenizer_write_ranks(embedded, &list);
    file_put("a.tiktoken", buffer_text(&list));
    if (tokenizer_open(&t, folder, &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(tokenizer_vocabulary_size(t), 100352);
    assert_int_equal(tokenizer_specials(t)->im_start, 100278);
    assert_string_equal(tokenizer_sha256(t), tokenizer_sha256(embedded));
    tokenizer_close(t);
    buffer_free(&list);
    folder_clear();
}

#define BYTES_ONLY "", "[]", ""
static const struct {
    const char *vocab, *merges, *rest;
    status expected;
    const char *words;
} bad_json[] = {
    {", \"ab\": 257", "[\"a b\"]", "", ERR_FORMAT, "no token has id 256"},
    {", \"ab\": 7", "[]", "", ERR_FORMAT, "id 7 stands twice"},
    {", \"ab\": -1", "[]", "", ERR_FORMAT, "id -1, expected 0 to"},
    {", \"ab\": 99999999", "[]", "", ERR_FORMAT, "id 99999999, expected 0 to"},
    {", \"ab\": \"x\"", "[]", "", ERR_FORMAT, "id of \"ab\" is a string"},
    {", \"ab\": 256, \"ab\": 257", "[]", "", ERR_FORMAT, "duplicate"},
    {", \"\": 256", "[]", "", ERR_FORMAT, "token of id 256 has 0 bytes"},
    {", \"\xE2\x82\xAC\": 256", "[]", "", ERR_FORMAT, "has U+20AC, expected GPT-2's byte alphabet"},
    {", \"ab\": 256", "[]", "", ERR_FORMAT, "no merge makes id 256"},
    {", \"ab\": 256", "[\"a b c\"]", "", ERR_FORMAT, "model.merges[0]: found \"a b c\""},
    {", \"ab\": 256", "[\"ab\"]", "", ERR_FORMAT, "model.merges[0]: found \"ab\""},
    {", \"ab\": 256", "[[\"a\"]]", "", ERR_FORMAT, "model.merges[0]: found an array"},
    {", \"ab\": 256", "[7]", "", ERR_FORMAT, "model.merges[0]: found an integer"},
    {", \"ab\": 256", "[\"a bx\"]", "", ERR_FORMAT, "\"bx\" is no token"},
    {", \"ab\": 256", "[\"a b\", \"b a\"]", "", ERR_FORMAT, "model.merges[1]: \"ba\" is no token"},
    {", \"ab\": 257, \"ba\": 256", "[\"a b\", \"b a\"]", "", ERR_UNSUPPORTED, "order of ids"},
    {"", "{}", "", ERR_FORMAT, "model.merges: found an object, expected an array"},
    {"", "[]}, \"model\": {\"vocab\": {}", "", ERR_FORMAT, "duplicate"},
    {"", "[], \"byte_fallback\": true", "", ERR_UNSUPPORTED, "byte_fallback"},
    {"", "[], \"end_of_word_suffix\": \"</w>\"", "", ERR_UNSUPPORTED, "end_of_word_suffix"},
    {"", "[]", ", \"normalizer\": {\"type\": \"NFC\"}", ERR_UNSUPPORTED, "normalizer"},
    {"", "[]", ", \"pre_tokenizer\": {\"type\": \"Whitespace\"}", ERR_UNSUPPORTED, "Whitespace"},
    {"", "[]", ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"use_regex\": true}",
     ERR_UNSUPPORTED, "use_regex"},
    {"", "[]", ", \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\w+\"}}",
     ERR_UNSUPPORTED, "pattern: found \"\\w+\""},
    {"", "[]", ", \"added_tokens\": {}", ERR_FORMAT, "added_tokens: found an object"},
    {"", "[]", ", \"added_tokens\": [1]", ERR_FORMAT, "added_tokens[0]: id is nothing"},
    {"", "[]", ", \"added_tokens\": [{\"id\": 65, \"content\": \"<|pad|>\"}]", ERR_FORMAT,
     "id 65 is both rank and special token"},
    {"", "[]",
     ", \"added_tokens\": [{\"id\": 300, \"content\": \"x\"}, {\"id\": 300, "
     "\"content\": \"y\"}]",
     ERR_FORMAT, "added_tokens[1]: special token \"y\" with id 300: \"x\" with id 300"},
    {"", "[]",
     ", \"added_tokens\": [{\"id\": 300, \"content\": \"x\"}, {\"id\": 301, "
     "\"content\": \"x\"}]",
     ERR_FORMAT, "expected each once"},
    {", \"<|pad|>\": 256", "[]", ", \"added_tokens\": [{\"id\": 300, \"content\": \"<|pad|>\"}]",
     ERR_FORMAT, "in added_tokens 300, expected the same"},
    {"", "[]", ", \"added_tokens\": [{\"id\": 3000000, \"content\": \"x\"}]", ERR_FORMAT,
     "special token id 3000000"},
};

/* Opening `folder` must fail like this. */
static void assert_refused(status expected, const char *words)
{
    tokenizer *t = NULL;
    error err = {0};
    status found = tokenizer_open(&t, folder, &err);
    if (found != expected || !strstr(err.message, words) || !strstr(err.message, folder))
        fail_msg("found %s \"%s\", expected %s \"%s\"", status_name(found), err.message,
                 status_name(expected), words);
    assert_null(t);
}

static void test_bad_tokenizer_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_json / sizeof *bad_json; i++) {
        buffer json = {0};
        json_make(&json, bad_json[i].vocab, bad_json[i].merges, bad_json[i].rest);
        file_put("tokenizer.json", buffer_text(&json));
        assert_refused(bad_json[i].expected, bad_json[i].words);
        buffer_free(&json);
    }
    folder_clear();
}

/* Files broken as a whole: cut anywhere, of another kind, not UTF-8. */
static void test_broken_tokenizer_json(void **state)
{
    (void)state;
    static const struct {
        const char *content, *words;
    } rows[] = {
        {"", "tokenizer.json: line 1"},
        {"[]", "found no object"},
        {"{\"model\": {\"vocab\": {\"\xFF\": 1}}}", "decode byte 0xff"},
        {"{}", "model: found nothing, expected an object"},
        {"{\"model\": 3}", "model: found an integer"},
        {"{\"model\": {}}", "model.vocab: found nothing"},
        {"{\"model\": {\"vocab\": []}}", "model.vocab: found an array"},
        {"{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}", "single byte 0x00"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        file_put("tokenizer.json", text_of(rows[i].content));
        assert_refused(ERR_FORMAT, rows[i].words);
    }
    file_put("tokenizer.json", TEXT("{\"model\": {\"type\": \"WordPiece\"}}"));
    assert_refused(ERR_UNSUPPORTED, "model.type: found WordPiece");
    buffer json = {0};
    json_make(&json, BYTES_ONLY);
    for (size_t size = 0; size < json.size; size += 97) {
        file_put("tokenizer.json", text_slice(buffer_text(&json), 0, size));
        assert_refused(ERR_FORMAT, "tokenizer.json: line");
    }
    buffer deep = {0};
    for (int i = 0; i < 100000; i++) buffer_put_char(&deep, '[');
    file_put("tokenizer.json", buffer_text(&deep));
    assert_refused(ERR_FORMAT, "tokenizer.json: line 1");
    buffer_free(&deep);
    buffer_free(&json);
    folder_clear();
}

/* Files beside a good tokenizer.json of 256 tokens. */
static void test_bad_configs(void **state)
{
    (void)state;
    static const struct {
        const char *name, *content, *words;
    } rows[] = {
        {"config.json", "{\"vocab_size\": 255}", "vocab_size: found 255, expected at least 256"},
        {"config.json", "{\"vocab_size\": -3}", "vocab_size: found -3, expected 1 to"},
        {"config.json", "{\"vocab_size\": 256.5}", "vocab_size: found 256.5"},
        {"config.json", "{\"vocab_size\": 1e300}", "vocab_size: found 1"},
        {"config.json", "{\"vocab_size\": \"256\"}", "vocab_size: found a string"},
        {"config.json", "{\"vocab_size\": 256", "config.json: line"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": []}", "found an array"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {}}}", "found key \"x\""},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"300\": {}}}",
         "added_tokens_decoder[\"300\"].content: found nothing"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\": {\"65\": {\"content\": \"<|pad|>\"}}}",
         "id 65 is both rank and special token"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\": {\"300\": {\"content\": \"a\"}, \"0300\": {\"content\": "
         "\"b\"}}}",
         "expected each once"},
    };
    buffer json = {0};
    json_make(&json, BYTES_ONLY);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        file_put("tokenizer.json", buffer_text(&json));
        file_put(rows[i].name, text_of(rows[i].content));
        assert_refused(ERR_FORMAT, rows[i].words);
        folder_clear();
    }
    buffer_free(&json);
}

static void test_bad_rank_lists(void **state)
{
    (void)state;
    static const struct {
        size_t n_good; /* lines of cl100k's list before the bad one */
        const char *line, *words;
    } rows[] = {
        {256, "aGFsbG8= 257", "no token has id 256"},
        {256, "aGFsbG8= 255", "line 257: id 255 stands twice"},
        {256, "IQ== 256", "ids 0 and 256 have the same bytes"},
        {256, "aGFsbG8=256", "line 257: found \"aGFsbG8=256\", expected \"BASE64 RANK\""},
        {256, "aGFsbG8 256", "token: found \"aGFsbG8\", expected base64"},
        {256, "a*== 256", "expected base64"},
        {256, "aGFsbG8= -1", "rank: found \"-1\""},
        {256, "aGFsbG8= 256x", "rank: found \"256x\""},
        {256, "aGFsbG8= ", "rank: found \"\""},
        {256, "aGFsbG8= 9999999", "id 9999999, expected 0 to"},
        {256, "aGFsbG8= 99999999999999999999", "rank: found \"99999999999999999999\""},
        {256, " 256", "token of id 256 has 0 bytes"},
        {256, "\xFF\xFE\x01", "line 257"},
        {255, "", "no token for the single byte 0xAD"},
        {0, "", "no token for the single byte 0x00"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer list = {0};
        ranks_prefix(&list, rows[i].n_good);
        buffer_put_text(&list, text_of(rows[i].line));
        file_put("a.tiktoken", buffer_text(&list));
        assert_refused(ERR_FORMAT, rows[i].words);
        buffer_free(&list);
    }
    file_put("b.tiktoken", TEXT(""));
    assert_refused(ERR_FORMAT, "expected one rank list");
    folder_clear();
    assert_refused(ERR_FORMAT, "expected tokenizer.json or one *.tiktoken");
}

static void test_bad_arguments(void **state)
{
    (void)state;
    tokenizer *t = NULL;
    error err;
    struct special_ids specials = NO_SPECIALS;
    buffer list = {0};
    ranks_prefix(&list, 300);
    text ranks = buffer_text(&list);
    assert_int_equal(tokenizer_open(&t, "/nonexistent/model", &err), ERR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/model"));
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 299, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "found 299, expected at least 300"));
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 0, &err), ERR_FORMAT);
    specials.pad = 299;
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 400, &err), ERR_FORMAT);
    specials.pad = specials.im_end = 301;
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 400, &err), ERR_FORMAT);
    specials.im_end = -7;
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 400, &err), ERR_FORMAT);
    specials.im_end = 400;
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 400, &err), ERR_FORMAT);
    assert_null(t);
    specials.im_end = 399;
    assert_int_equal(tokenizer_open_ranks(&t, ranks, &specials, 400, &err), OK);
    assert_true(tokenizer_is_stop(t, 399) && tokenizer_is_dead(t, 302));
    tokenizer_close(t);
    buffer_free(&list);
}

/* Every allocation of opening fails once: ERR_MEMORY, nothing leaks (ASan sees to that). */
static void open_without_memory(const char *directory)
{
    status s = ERR_MEMORY;
    int64_t n = 1;
    for (; s != OK && n < 1000; n++) {
        tokenizer *t = NULL;
        error err = {0};
        memory_fail_at(n);
        s = tokenizer_open(&t, directory, &err);
        memory_fail_at(0);
        if (s != OK && s != ERR_MEMORY) fail_msg("allocation %d: %s", (int)n, err.message);
        assert_true((t != NULL) == (s == OK));
        tokenizer_close(t);
    }
    assert_int_equal(s, OK);
    assert_true(n > 3);
}

static void test_open_without_memory(void **state)
{
    (void)state;
    open_without_memory(NULL);
    buffer list = {0}, json = {0};
    ranks_prefix(&list, 300);
    file_put("a.tiktoken", buffer_text(&list));
    file_put("config.json", TEXT("{\"vocab_size\": 384}"));
    file_put("tokenizer_config.json",
             TEXT("{\"added_tokens_decoder\": {\"301\": {\"content\": \"<|pad|>\"}}}"));
    open_without_memory(folder);
    json_make(&json, ", \"ab\": 256", "[\"a b\"]",
              ", \"added_tokens\": [{\"id\": 300, \"content\": \"<x>\"}]");
    file_put("tokenizer.json", buffer_text(&json));
    open_without_memory(folder);
    folder_clear();
    buffer_free(&list);
    buffer_free(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_json),     cmocka_unit_test(test_dbrx_by_its_ranks),
        cmocka_unit_test(test_bad_tokenizer_json), cmocka_unit_test(test_broken_tokenizer_json),
        cmocka_unit_test(test_bad_configs),        cmocka_unit_test(test_bad_rank_lists),
        cmocka_unit_test(test_bad_arguments),      cmocka_unit_test(test_open_without_memory),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
