/* What engines write, read: whole answers by table, and a hundred thousand damaged ones, of which
 * none may crash the reader or leave a field outside its range. The expected values stand in the
 * objects themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/random.h"
#include "base/utf.h"
#include "lsp/client/wire.h"

#include <cmocka.h> /* last: its macro `fail` is not our function */

static const char good_handshake[] =
    "{\"api\":1,\"version\":\"0.1.0\",\"state\":\"ready\",\"progress\":1.0,\"model\":\"dbrx\","
    "\"tokenizer_sha256\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\","
    "\"max_model_len\":32768,\"vocabulary_size\":100352,\"specials\":{\"endoftext\":100257,"
    "\"fim_prefix\":100258,\"im_start\":100278,\"im_end\":100279},\"backend\":\"cpu avx2\","
    "\"features\":[\"token_ids\",\"lease\",\"priority\",\"must_start_with\",7],\"demo\":false}";
static const char good_event[] =
    "{\"state\":\"loading\",\"progress\":0.5,\"queue\":3,\"running\":1,\"reason\":\"\"}";
static const char good_piece[] =
    "{\"id\":\"c\",\"choices\":[{\"index\":0,\"text\":\"h\\u00e9\\ud83d\\ude00\",\"logprobs\":null,"
    "\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,"
    "\"prompt_tokens_details\":{\"cached_tokens\":10}},\"dbrx\":{\"queue_ms\":0.1}}";
static const char good_chat[] =
    "{\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"role\":\"assistant\",\"content\":"
    "\"h\\u00e9\"},"
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3}}";
static const char good_models[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"theirs\",\"max_model_len\":4096},{\"id\":\"b\"}]}";

static void test_handshake(void **state)
{
    (void)state;
    struct handshake h;
    assert_int_equal(handshake_parse(&h, text_of(good_handshake), NULL), OK);
    assert_int_equal(h.api, 1);
    assert_int_equal(h.state, REMOTE_READY);
    assert_string_equal(h.model, "dbrx");
    assert_string_equal(h.backend, "cpu avx2");
    assert_int_equal(h.max_model_len, 32768);
    assert_int_equal(h.vocabulary_size, 100352);
    assert_int_equal(h.specials.im_end, 100279);
    assert_int_equal(h.specials.pad, -1);
    assert_int_equal(h.features, FEATURE_LEASE | FEATURE_PRIORITY | FEATURE_MUST_START_WITH);
}

static void test_handshake_of_another_api_keeps_only_what_is_common(void **state)
{
    (void)state;
    struct handshake h;
    assert_int_equal(
        handshake_parse(&h, TEXT("{\"api\":2,\"version\":\"1.0\",\"state\":[\"?\"]}"), NULL), OK);
    assert_int_equal(h.api, 2);
    assert_string_equal(h.version, "1.0");
}

static void test_event(void **state)
{
    (void)state;
    struct lease_event e;
    assert_int_equal(lease_event_parse(&e, text_of(good_event), NULL), OK);
    assert_int_equal(e.state, REMOTE_LOADING);
    assert_true(e.progress > 0.49 && e.progress < 0.51);
    assert_int_equal(e.n_queued, 3);
    assert_int_equal(e.n_running, 1);
}

static void test_piece(void **state)
{
    (void)state;
    struct completion_piece p;
    buffer out = {0};
    assert_int_equal(completion_parse(&p, &out, text_of(good_piece), false, NULL), OK);
    assert_string_equal(out.bytes, "h\xC3\xA9\xF0\x9F\x98\x80");
    assert_string_equal(p.finish, "length");
    assert_int_equal(p.n_prompt, 12);
    assert_int_equal(p.n_output, 3);
    assert_int_equal(p.n_cached, 10);
    assert_int_equal(completion_parse(&p, &out, TEXT("{\"choices\":[]}"), false, NULL), OK);
    assert_int_equal(p.n_prompt, -1);
    assert_int_equal(
        completion_parse(&p, &out,
                         TEXT("{\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}],"
                              "\"dbrx\":{\"finish_detail\":\"deadline\"}}"),
                         false, NULL),
        OK);
    assert_string_equal(p.finish, "deadline");
    buffer_free(&out);
}

static void test_error_bodies(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"error\":{\"message\":\"too big\",\"code\":400}}", "too big"},
        {"{\"error\":\"no\"}", "no"},
        {"{\"message\":\"vllm\\nold\"}", "vllm?old"},
        {"<html>", ""},
        {"", ""},
        {"[1]", ""},
        {"{\"detail\":5}", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char found[256];
        error_body_parse(found, text_of(rows[i][0]));
        assert_string_equal(found, rows[i][1]);
    }
}

static void test_long_names_are_cut_between_characters(void **state)
{
    (void)state;
    struct model_row row;
    buffer json = {0};
    buffer_print(&json, "{\"data\":[{\"id\":\"");
    for (int i = 0; i < 100; i++) buffer_put_text(&json, TEXT("\xE2\x82\xAC"));
    buffer_print(&json, "\"}]}");
    assert_int_equal(models_parse(&row, buffer_text(&json), NULL), OK);
    assert_int_equal(strlen(row.model), 126); /* 42 euro signs of three bytes: 127 is no multiple */
    assert_true(utf8_valid(text_of(row.model)));
    buffer_free(&json);
}

/* A few bytes changed, cut off, doubled; the counter of the generator is the case's number. */
static void damage(buffer *out, text good, uint64_t number)
{
    buffer_clear(out);
    buffer_put_text(out, good);
    uint64_t r = random_at(11, number);
    for (uint64_t n = 1 + r % 3; n > 0; n--) {
        uint64_t x = random_at(number, n);
        size_t at = x % out->size;
        static const char bytes[] = "\"{}[]:,0-9e\\u\x80\xff\0t n";
        switch (x >> 32 & 3) {
        case 0: out->bytes[at] = bytes[(x >> 40) % sizeof bytes]; break;
        case 1: out->bytes[at] = (char)(x >> 48); break;
        case 2: out->size = at ? at : 1; break;
        default: buffer_drop_front(out, at % 8); break;
        }
        if (out->size == 0) buffer_put_char(out, '{');
    }
}

static void handshake_check(text json)
{
    struct handshake h;
    error err;
    status s = handshake_parse(&h, json, &err);
    assert_true(s == OK || s == ERR_FORMAT);
    if (s != OK || h.api != ENGINE_API) return;
    assert_true(h.max_model_len >= 0 && h.vocabulary_size >= 0);
    assert_true(h.tokenizer_sha256[0] == 0 || strlen(h.tokenizer_sha256) == 64);
    assert_null(strpbrk(h.tokenizer_sha256, "./"));
    assert_true(h.specials.im_end < h.vocabulary_size || h.specials.im_end == -1);
    assert_true(h.progress >= 0 && h.progress <= 1);
    assert_true(utf8_valid(text_of(h.model)) && utf8_valid(text_of(h.backend)));
}

static void test_damaged(void **state)
{
    (void)state;
    buffer json = {0}, out = {0};
    for (uint64_t n = 0; n < 25000; n++) {
        struct lease_event event;
        struct completion_piece piece;
        struct model_row row;
        char words[256];
        damage(&json, text_of(good_handshake), n);
        handshake_check(buffer_text(&json));
        damage(&json, text_of(good_event), n);
        status s = lease_event_parse(&event, buffer_text(&json), NULL);
        assert_true(s == OK || s == ERR_FORMAT);
        damage(&json, text_of(good_piece), n);
        buffer_clear(&out);
        s = completion_parse(&piece, &out, buffer_text(&json), false, NULL);
        assert_true(s == OK || s == ERR_FORMAT);
        assert_true(utf8_valid(buffer_text(&out)));
        damage(&json, text_of(good_chat), n);
        buffer_clear(&out);
        s = completion_parse(&piece, &out, buffer_text(&json), true, NULL);
        assert_true(piece.choice >= 0 && piece.choice < ENGINE_CHOICES_MAX);
        assert_true(s == OK || s == ERR_FORMAT);
        assert_true(utf8_valid(buffer_text(&out)));
        damage(&json, text_of(good_models), n);
        s = models_parse(&row, buffer_text(&json), NULL);
        assert_true(s == OK || s == ERR_FORMAT);
        assert_true(row.max_model_len >= 0);
        error_body_parse(words, buffer_text(&json));
        assert_true(utf8_valid(text_of(words)));
    }
    buffer_free(&json);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_handshake_of_another_api_keeps_only_what_is_common),
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_piece),
        cmocka_unit_test(test_error_bodies),
        cmocka_unit_test(test_long_names_are_cut_between_characters),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests_name("client_wire", tests, NULL, NULL);
}
