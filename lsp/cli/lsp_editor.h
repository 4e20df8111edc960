/* An editor without a screen: starts `dbrx-ls` as an editor does and speaks LSP with it over pipes.
 *
 * For benches and replays: it blocks while it waits, and it measures. Messages are jansson's; what the server
 * sends is handed to a callback. One thread. */
#ifndef LSP_CLI_LSP_EDITOR_H
#define LSP_CLI_LSP_EDITOR_H

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"
#include "lsp/server/frame.h"

struct lsp_editor {
    pid_t process; /* 0: none */
    int to_server, from_server;
    struct frame_reader frames;
    int64_t next_id;
    bool
        visits; /* the user's own engine, index and settings; only what is counted goes elsewhere */
    /* Every message of the server, borrowed. */
    void (*on_message)(void *context, const json_t *message);
    void *context;
};

/* Starts this very program as a language server with `directory` as its runtime, cache, state and config
 * directories, so that it has an engine of its own (not if it visits). `arguments` end with NULL. */
status lsp_editor_open(struct lsp_editor *e, const char *directory, const char *const *arguments,
                       error *err);

/* Sends a whole message (takes it over); one that is NULL, for want of memory, is not sent. */
void lsp_editor_send(struct lsp_editor *e, json_t *message);
/* Sends a request (takes params over); returns its id, 0 where that failed. */
int64_t lsp_editor_request(struct lsp_editor *e, const char *method, json_t *params);
void lsp_editor_notify(struct lsp_editor *e, const char *method, json_t *params);

/* Handles what comes until `until_us` (clock_us), or until *done is true. ERR_NETWORK: it ended. */
status lsp_editor_wait(struct lsp_editor *e, int64_t until_us, const bool *done, error *err);

/* The most memory it has had at once, in bytes (VmHWM); 0 where the system does not say. */
int64_t lsp_editor_peak_bytes(const struct lsp_editor *e);

/* Ends it, and waits until it is gone. */
void lsp_editor_close(struct lsp_editor *e);

/* Removes a server's directory with all that it left there; links are not followed. */
void lsp_editor_forget(const char *directory);

#endif
