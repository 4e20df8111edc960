/* An engine client on a loop, with a scripted peer and a watchdog, for test_client*.c. */
#ifndef TESTS_UNIT_SUPPORT_CLIENT_FIXTURE_H
#define TESTS_UNIT_SUPPORT_CLIENT_FIXTURE_H

#include "lsp/client/engine_client.h"
#include "tests/unit/support/scripted_server.h"

#define EVENTS_HEAD                                                                                \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define LEASE EVENTS_HEAD "data: {\"state\":\"ready\",\"progress\":1,\"queue\":3,\"running\":0}\n\n"
#define PIECE(text)                                                                                \
    "data: {\"choices\":[{\"index\":0,\"text\":\"" text "\",\"finish_reason\":null}]}\n\n"
#define LAST                                                                                       \
    "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}],"               \
    "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":7,"                                      \
    "\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n"
#define DONE      "data: [DONE]\n\n"
#define NOT_FOUND "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

/* The 256 single bytes as a rank list, its hash, and the handshake of an engine of ours that has it. */
extern char ranks[8192], ranks_hash[65], handshake[2048];

struct fixture {
    struct server server;
    uv_loop_t loop;
    uv_timer_t watchdog;
    engine_client *client;
    engine_call *call;
    struct engine_client_options options;
    char endpoint[64];
    buffer came;
    int n_done, n_closed, n_statuses;
    bool inside, cancel_on_text, close_on_text;
    status code;
    bool cut;
    char reason[256], finish[16];
    int64_t n_prompt, n_cached, n_output;
    double tokens_per_s;
};

/* Before fixture_open: an engine of ours that is ready and answers "ab". */
void peer_ours(struct server *s);
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f); /* and the loop must be empty then */
void run_until_state(struct fixture *f, enum engine_state state);
void run_until_done(struct fixture *f, int n); /* calls, and not one more */

/* A call with every field set; its callbacks fill the fixture. */
void call_begin(struct fixture *f, int64_t deadline_ms);
void text_came(void *context, text piece);
void done_came(void *context, const struct engine_answer *a);
void closed_came(void *context);

/* Fails with the case's name unless `part` stands in `text_found`. */
void check_holds(const char *name, const char *text_found, const char *part);

/* A home of its own in the environment, and proxies that must never be asked. */
int group_setup(void **state);
int group_teardown(void **state);

#endif
