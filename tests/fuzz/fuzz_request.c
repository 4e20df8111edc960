/* Bodies of the two completion routes; the first byte chooses the route. */
#include "inference/service/json_request.h"
#include "tests/fuzz/fuzz.h"

static void request_check(const struct completion_request *r, bool chat)
{
    size_t n = chat ? r->n_messages : r->n_prompts;
    REQUIRE(n > 0);
    REQUIRE(r->n_choices >= 1 && r->n_stops <= HTTP_STOPS_MAX);
    if (!chat) REQUIRE((int64_t)n * r->n_choices <= HTTP_CHOICES_MAX);
    REQUIRE(r->temperature >= 0 && r->top_p >= 0 && r->top_p <= 1);
    REQUIRE(r->max_tokens >= -1 && r->deadline_ms >= 0);
    for (size_t i = 0; i < r->n_prompts; i++)
        for (size_t j = 0; r->prompts[i].ids && j < r->prompts[i].n_ids; j++)
            REQUIRE(r->prompts[i].ids[j] >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text body = {(const char *)data, size};
    bool chat = fuzz_byte(&body) & 1;
    struct completion_request request = {0};
    struct request_fault fault = {0};
    arena a = {0};
    status s = completion_request_parse(&request, &a, body, chat, &fault);
    if (s == OK) {
        request_check(&request, chat);
        completion_request_free(&request);
    } else {
        REQUIRE(fault.error.message[0]);
    }
    arena_reset(&a);
    return 0;
}
