/* Bodies of completion requests: what is taken, what is refused, and the field that is named. */
#include <string.h>

#include "inference/service/json_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Behind our headers: it has a macro named fail. */
#include <cmocka.h>

struct parsed {
    struct completion_request request;
    struct request_fault fault;
    arena memory;
    status code;
};

static void parse(struct parsed *p, text body, bool chat)
{
    *p = (struct parsed){0};
    p->code = completion_request_parse(&p->request, &p->memory, body, chat, &p->fault);
}

static void parsed_free(struct parsed *p)
{
    completion_request_free(&p->request);
    arena_reset(&p->memory);
}

/* Fields that are put into {"prompt": "x", ...}, and the parameter blamed for them. */
static const struct {
    const char *fields, *param;
    status code;
} refused[] = {
    {"\"max_tokens\": -1", "max_tokens", ERR_USAGE},
    {"\"max_tokens\": 0", "max_tokens", ERR_USAGE},
    {"\"max_tokens\": 1.5", "max_tokens", ERR_USAGE},
    {"\"max_tokens\": \"7\"", "max_tokens", ERR_USAGE},
    {"\"max_tokens\": 4294967296", "max_tokens", ERR_USAGE},
    {"\"max_tokens\": 1e300", "max_tokens", ERR_USAGE},
    {"\"temperature\": -0.1", "temperature", ERR_USAGE},
    {"\"temperature\": 2.1", "temperature", ERR_USAGE},
    {"\"temperature\": \"hot\"", "temperature", ERR_USAGE},
    {"\"temperature\": NaN", "", ERR_FORMAT},
    {"\"temperature\": 1e999", "", ERR_FORMAT},
    {"\"top_p\": 1.01", "top_p", ERR_USAGE},
    {"\"min_p\": -1", "min_p", ERR_USAGE},
    {"\"top_k\": -2", "top_k", ERR_USAGE},
    {"\"repetition_penalty\": 0", "repetition_penalty", ERR_USAGE},
    {"\"seed\": 0.5", "seed", ERR_USAGE},
    {"\"n\": 0", "n", ERR_USAGE},
    {"\"n\": 5", "n", ERR_USAGE},
    {"\"logprobs\": 21", "logprobs", ERR_USAGE},
    {"\"logprobs\": true", "logprobs", ERR_USAGE},
    {"\"stop\": [1]", "stop", ERR_USAGE},
    {"\"stop\": \"\"", "stop", ERR_USAGE},
    {"\"stop\": [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\","
     "\"e\",\"f\",\"g\",\"h\"]",
     "stop", ERR_USAGE},
    {"\"stream\": 1", "stream", ERR_USAGE},
    {"\"stream_options\": {}", "stream_options", ERR_USAGE},
    {"\"stream\": true, \"stream_options\": {\"include_usage\": 1}", "stream_options.include_usage",
     ERR_USAGE},
    {"\"model\": 7", "model", ERR_USAGE},
    {"\"echo\": true", "echo", ERR_UNSUPPORTED},
    {"\"suffix\": \"}\"", "suffix", ERR_UNSUPPORTED},
    {"\"logit_bias\": {\"5\": 1}", "logit_bias", ERR_UNSUPPORTED},
    {"\"presence_penalty\": 0.5", "presence_penalty", ERR_UNSUPPORTED},
    {"\"tools\": [{}]", "tools", ERR_UNSUPPORTED},
    {"\"response_format\": {\"type\": \"json_object\"}", "response_format", ERR_UNSUPPORTED},
    {"\"best_of\": 3", "best_of", ERR_UNSUPPORTED},
    {"\"dbrx\": 1", "dbrx", ERR_USAGE},
    {"\"dbrx\": {\"priority\": \"now\"}", "dbrx.priority", ERR_USAGE},
    {"\"dbrx\": {\"deadline_ms\": 0}", "dbrx.deadline_ms", ERR_USAGE},
    {"\"dbrx\": {\"cache_salt\": 0}", "dbrx.cache_salt", ERR_USAGE},
    {"\"dbrx\": {\"must_start_with\": \"YQ=\"}", "dbrx.must_start_with", ERR_USAGE},
    {"\"dbrx\": {\"must_start_with\": 7}", "dbrx.must_start_with", ERR_USAGE},
    {"\"dbrx\": {\"score\": 7}", "dbrx.score", ERR_USAGE},
    {"\"dbrx\": {\"score\": [1, \"2\"]}", "dbrx.score[1]", ERR_USAGE},
    {"\"dbrx\": {\"forbid_first\": [-1]}", "dbrx.forbid_first[0]", ERR_USAGE},
    {"\"dbrx\": {\"forbid_first\": \"}\"}", "dbrx.forbid_first", ERR_USAGE},
    {"\"dbrx\": {\"forbid_unopened\": \")x\"}", "dbrx.forbid_unopened", ERR_USAGE},
    {"\"dbrx\": {\"forbid_unopened\": [\")\"]}", "dbrx.forbid_unopened", ERR_USAGE},
    {"\"dbrx\": {\"predicted\": [0.5]}", "dbrx.predicted[0]", ERR_USAGE},
    {"\"dbrx\": {\"predicted\": {}}", "dbrx.predicted", ERR_USAGE},
    {"\"dbrx\": {\"draft\": 0}", "dbrx.draft", ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score\": []}", "max_tokens", ERR_USAGE},
    {"\"dbrx\": {\"score\": [1], \"score_behind\": [[1]]}", "dbrx.score_behind", ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score_behind\": [[1]]}", "dbrx.score_behind", ERR_USAGE},
    {"\"max_tokens\": 0, \"n\": 2, \"dbrx\": {\"score\": [1], \"score_behind\": [[1]]}",
     "dbrx.score_behind", ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score\": [1], \"score_behind\": []}", "dbrx.score_behind",
     ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score\": [1], \"score_behind\": 7}", "dbrx.score_behind",
     ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score\": [1], \"score_behind\": [[],[],[],[],[]]}",
     "dbrx.score_behind", ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score\": [1], \"score_behind\": [[1],2]}",
     "dbrx.score_behind[1]", ERR_USAGE},
    {"\"max_tokens\": 0, \"dbrx\": {\"score\": [1], \"score_behind\": [[1,-2]]}",
     "dbrx.score_behind[0][1]", ERR_USAGE},
    {"\"n\": 1, \"n\": 1", "", ERR_FORMAT},
    {"\"a\": [[[[", "", ERR_FORMAT},
};

static void test_refused_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct parsed p;
        buffer body = {0};
        buffer_print(&body, "{\"prompt\": \"x\", %s}", refused[i].fields);
        parse(&p, buffer_text(&body), false);
        if (p.code != refused[i].code || strcmp(p.fault.param, refused[i].param) != 0)
            fail_msg("%s: status %d, param \"%s\", message %s", refused[i].fields, (int)p.code,
                     p.fault.param, p.fault.error.message);
        assert_int_equal(p.fault.error.code, refused[i].code);
        parsed_free(&p);
        buffer_free(&body);
    }
}

static const struct {
    const char *body, *param;
    bool chat;
} refused_bodies[] = {
    {"", "", false},
    {"{", "", false},
    {"[]", "", false},
    {"null", "", false},
    {"{}", "prompt", false},
    {"{\"prompt\": null}", "prompt", false},
    {"{\"prompt\": 5}", "prompt", false},
    {"{\"prompt\": {\"a\": 1}}", "prompt", false},
    {"{\"prompt\": [1, \"a\"]}", "prompt[1]", false},
    {"{\"prompt\": [1, -1]}", "prompt[1]", false},
    {"{\"prompt\": [1, 2147483648]}", "prompt[1]", false},
    {"{\"prompt\": [[1], [1.5]]}", "prompt[1][0]", false},
    {"{\"prompt\": [null]}", "prompt[0]", false},
    {"{\"prompt\": [\"1\", \"2\", \"3\", \"4\", \"5\"]}", "prompt", false},
    {"{\"prompt\": [\"1\", \"2\", \"3\"], \"n\": 2}", "n", false},
    {"{\"prompt\": \"\xff\"}", "", false},
    {"{\"prompt\": \"x\"} x", "", false},
    {"{}", "messages", true},
    {"{\"messages\": []}", "messages", true},
    {"{\"messages\": [1]}", "messages[0]", true},
    {"{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}", "messages[0].role", true},
    {"{\"messages\": [{\"content\": \"x\"}]}", "messages[0].role", true},
    {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0].content", true},
    {"{\"messages\": [{\"role\": \"user\", \"content\": 1}]}", "messages[0].content", true},
    {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
     "messages[0].content[0].type", true},
    {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]}",
     "messages[0].content[0].text", true},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"top_logprobs\": 2}",
     "top_logprobs", true},
};

static void test_refused_bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused_bodies / sizeof *refused_bodies; i++) {
        struct parsed p;
        parse(&p, text_of(refused_bodies[i].body), refused_bodies[i].chat);
        if (p.code == OK || strcmp(p.fault.param, refused_bodies[i].param) != 0)
            fail_msg("%s: status %d, param \"%s\"", refused_bodies[i].body, (int)p.code,
                     p.fault.param);
        parsed_free(&p);
    }
}

/* 129 levels are one too many; a million values too. Both are found before a parser allocates. */
static void test_bounds_of_json(void **state)
{
    (void)state;
    struct parsed p;
    buffer deep = {0}, wide = {0};
    buffer_put_text(&deep, TEXT("{\"prompt\": \"x\", \"a\": "));
    for (int i = 0; i < JSON_DEPTH_MAX; i++) buffer_put_char(&deep, '[');
    parse(&p, buffer_text(&deep), false);
    assert_int_equal(p.code, ERR_LIMIT);
    assert_non_null(strstr(p.fault.error.message, "128"));
    buffer_put_text(&wide, TEXT("{\"prompt\": [1"));
    for (int i = 0; i < HTTP_JSON_VALUES_MAX; i++) buffer_put_text(&wide, TEXT(",1"));
    buffer_put_text(&wide, TEXT("]}"));
    parse(&p, buffer_text(&wide), false);
    assert_int_equal(p.code, ERR_LIMIT);
    assert_non_null(strstr(p.fault.error.message, "1000000"));
    buffer_free(&deep);
    buffer_free(&wide);
}

static void test_defaults(void **state)
{
    (void)state;
    struct parsed p;
    const struct completion_request *r = &p.request;
    parse(&p, TEXT("{\"prompt\": \"h\\u0000\\u00e9\", \"seed\": null, \"user\": 5}"), false);
    assert_int_equal(p.code, OK);
    assert_int_equal(r->n_prompts, 1);
    assert_true(text_equal(r->prompts[0].bytes, (text){"h\0\xC3\xA9", 4}));
    assert_null(r->prompts[0].ids);
    assert_int_equal(r->max_tokens, -1);
    assert_true(r->temperature == 1 && r->top_p == 1 && r->min_p == 0);
    assert_int_equal(r->n_choices, 1);
    assert_int_equal(r->n_logprobs, -1);
    assert_int_equal(r->priority, PRIORITY_INTERACTIVE);
    assert_false(r->has_seed || r->stream || r->include_usage);
    parsed_free(&p);
}

static void test_every_field(void **state)
{
    (void)state;
    struct parsed p;
    const struct completion_request *r = &p.request;
    parse(&p,
          TEXT("{\"model\": \"m\", \"prompt\": [[1, 2], [3]], \"max_tokens\": 16.0, "
               "\"temperature\": 0, \"top_p\": 0.5, \"min_p\": 0.25, \"top_k\": 40, "
               "\"repetition_penalty\": 1.5, \"seed\": -1, \"stop\": [\"a\", \"bc\"], \"n\": 2, "
               "\"logprobs\": 3, \"stream\": true, \"stream_options\": {\"include_usage\": true, "
               "\"continuous_usage_stats\": true}, \"ignore_eos\": true, "
               "\"echo\": false, \"suffix\": null, \"logit_bias\": {}, \"best_of\": 2, "
               "\"dbrx\": {\"priority\": \"warm\", \"deadline_ms\": 250, \"cache_salt\": \"s\", "
               "\"session\": \"x\", \"must_start_with\": \"cmU=\"}}"),
          false);
    assert_int_equal(p.code, OK);
    assert_true(text_is(r->model, "m"));
    assert_true(text_is(buffer_text(&r->must_start_with), "re"));
    assert_int_equal(r->n_prompts, 2);
    assert_int_equal(r->prompts[0].n_ids, 2);
    assert_int_equal(r->prompts[0].ids[1], 2);
    assert_int_equal(r->prompts[1].ids[0], 3);
    assert_int_equal(r->max_tokens, 16);
    assert_true(r->temperature == 0 && r->top_p == 0.5 && r->min_p == 0.25);
    assert_int_equal(r->top_k, 40);
    assert_true(r->repetition_penalty == 1.5);
    assert_true(r->has_seed && r->seed == UINT64_MAX);
    assert_int_equal(r->n_stops, 2);
    assert_true(text_is(r->stops[1], "bc"));
    assert_int_equal(r->n_choices, 2);
    assert_int_equal(r->n_logprobs, 3);
    assert_true(r->stream && r->include_usage && r->continuous_usage && r->ignore_eos);
    assert_int_equal(r->priority, PRIORITY_WARM);
    assert_int_equal(r->deadline_ms, 250);
    assert_true(text_is(r->cache_salt, "s"));
    parsed_free(&p);
}

static void test_extensions(void **state)
{
    struct parsed p;
    const struct completion_request *r = &p.request;
    (void)state;
    parse(&p,
          TEXT("{\"prompt\": \"x\", \"dbrx\": {\"forbid_first\": [7, 8], \"score\": [9], "
               "\"forbid_unopened\": \")}\", \"predicted\": [4, 5, 6], \"draft\": false}}"),
          false);
    assert_int_equal(p.code, OK);
    assert_int_equal(r->forbid_first.n_ids, 2);
    assert_int_equal(r->forbid_first.ids[1], 8);
    assert_int_equal(r->score.n_ids, 1);
    assert_int_equal(r->score.ids[0], 9);
    assert_true(text_is(r->forbid_unopened, ")}"));
    assert_int_equal(r->predicted.n_ids, 3);
    assert_int_equal(r->predicted.ids[2], 6);
    assert_false(r->draft);
    parsed_free(&p);
    parse(&p, TEXT("{\"prompt\": \"x\", \"dbrx\": {\"predicted\": \"int a;\", \"score\": null}}"),
          false);
    assert_int_equal(p.code, OK);
    assert_null(r->predicted.ids);
    assert_true(text_is(r->predicted.bytes, "int a;"));
    assert_true(r->draft);
    assert_int_equal(r->score.n_ids + r->forbid_first.n_ids + r->forbid_unopened.size, 0);
    parsed_free(&p);
}

static void test_chat(void **state)
{
    (void)state;
    struct parsed p;
    const struct completion_request *r = &p.request;
    parse(&p,
          TEXT("{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
               "\"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", "
               "\"text\": \"bc\"}]}], \"max_tokens\": 3, \"max_completion_tokens\": 9, "
               "\"logprobs\": true, \"top_logprobs\": 2}"),
          true);
    assert_int_equal(p.code, OK);
    assert_int_equal(r->n_messages, 2);
    assert_true(text_is(r->messages[0].role, "system"));
    assert_true(text_is(r->messages[1].content, "abc"));
    assert_int_equal(r->max_tokens, 9);
    assert_int_equal(r->n_logprobs, 2);
    parsed_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_fields), cmocka_unit_test(test_refused_bodies),
        cmocka_unit_test(test_bounds_of_json), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_field),    cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
