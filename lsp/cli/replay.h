/* What `--trace DIR` kept, said again to a language server, question by question. For replay*.c. */
#ifndef LSP_CLI_REPLAY_H
#define LSP_CLI_REPLAY_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "lsp/cli/lsp_editor.h"

/* A request of the client, with the answer it got then and the one it gets now. */
struct replay_question {
    json_t *request;        /* the message, owned */
    json_t *then, *now;     /* messages, owned; NULL: no answer */
    double then_ms, now_ms; /* when it was asked, until it is answered; then for how long */
    int64_t sent_us;        /* 0: not sent, for its document could not be opened */
};

struct replay_session {
    json_t *lines; /* array: the file's, in order */
    struct replay_question *questions;
    size_t n_questions, room;
    bool cut; /* the last line is incomplete, as of a server that was killed */
    double seconds;
    size_t n_unanswered; /* of those that were sent, while it is played */
    json_t *by_id;       /* id as JSON -> index */
    json_t *replies;     /* method of a request of the server -> the results it got, in order */
    json_t *languages;   /* uri -> language id, as it was opened */
    json_t *open;        /* uri -> true: the server has it open */
    json_t *held;        /* uri -> indices of questions that wait for it */
    struct lsp_editor editor;
    bool initialized, ready, off, answered;
    const struct replay_question *awaited; /* the next message is said behind its answer */
    bool came;                             /* that answer */
    char reason[256];
};

/* ERR_FORMAT names the line. */
status replay_session_read(struct replay_session *out, const char *path, error *err);
/* Starts a server with `arguments` (they end with NULL) and says everything to it, `speed` times as
 * fast; its counters go to `directory`. ERR_NETWORK: it has no engine, or ended. */
status replay_session_play(struct replay_session *s, const char *const *arguments,
                           const char *directory, double speed, error *err);
void replay_session_free(struct replay_session *s);

const char *replay_method(const struct replay_question *q);

#endif
