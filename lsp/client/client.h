/* The engine client's inside, shared by its files and by nobody else.
 *
 * A client has one link (down or up) to one engine, a tokenizer that belongs to it, and calls. The
 * link is brought up by link.c (handshake, lease), for the local engine with local_link.c (start,
 * stop), for engines that are not ours with foreign.c, and tokenizer_link.c (cache, fetch).
 * engine_call.c streams completions over it. What the caller sees of all this is computed in one
 * place: status_compute in engine_client.c. */
#ifndef LSP_CLIENT_CLIENT_H
#define LSP_CLIENT_CLIENT_H

#include "base/limits.h"
#include "lsp/client/engine_client.h"
#include "lsp/client/http.h"
#include "lsp/client/local_engine.h"
#include "lsp/client/sse.h"
#include "lsp/client/tokenizer_cache.h"
#include "lsp/client/wire.h"

enum {
    HANDSHAKE_CONNECT_MS = 3000,
    HANDSHAKE_ANSWER_MS = 5000,
    HANDSHAKE_TOTAL_MS = 10000,
    TOKENIZER_TOTAL_MS = 120000,
    LEASE_IDLE_MS = 25000, /* the service sends something every 10 s */
    CALL_SILENT_MS = 3000, /* then we ask whether the engine lives */
    CALL_FIRST_BYTE_MS = 300000,
    CALL_IDLE_MS = 60000,
    BREAKER_FAILURES = 3, /* calls failing in a row open the circuit */
    STATUS_EVERY_MS = 50,
    RETRY_LOCAL_MIN_MS = 20,
    RETRY_LOCAL_MAX_MS = 1000,
    RETRY_MIN_MS = 500,
    RETRY_MAX_MS = 60000,
    START_RETRY_MIN_MS = 1000,
    START_RETRY_MAX_MS = 60000,
    SOCKET_MISSING_MS = 3000,  /* the lock held and nobody at the socket: the engine has lost it */
    ENGINE_DEAD_MS = 120000,   /* silent this long: replaced. A debugger or a suspend is shorter */
    KILL_AFTER_MS = 5000,      /* SIGTERM unheard: SIGKILL */
    DRAIN_MS = 60000,          /* the same for an engine that still serves others */
    REPLACE_EVERY_MS = 600000, /* engines of another api are replaced REPLACE_MAX times in this */
    REPLACE_MAX = 3,
    LINK_STABLE_MS = 10000, /* a link that held this long was worth it: waits begin anew */
    FOREIGN_LENGTH = 8192,  /* tokens, where a foreign engine does not say */
    FOREIGN_SHARE = 66      /* percent of them used where its tokenizer counts, which is not ours */
};

struct kept_tokenizer {
    struct tokenizer_key key; /* sha256 "": the one for foreign engines */
    tokenizer *tokenizer;
};

enum tokenizer_task { TASK_CACHE, TASK_RANKS, TASK_OPEN };

/* One at a time; `running` until its callback on the loop. */
struct tokenizer_job {
    engine_client *client;
    uv_work_t work;
    bool running;
    enum tokenizer_task task;
    struct tokenizer_key key;
    buffer ranks;
    const char *model_dir;
    tokenizer *opened;
    status code;
    error why;
};

struct local_job {
    engine_client *client;
    uv_work_t work;
    bool running;
    struct local_engine_spec spec;
    bool may_start;
    int signal_number; /* not 0: send it, and nothing else */
    int64_t log_from;
    struct local_finding found;
    status code;
    error why;
};

/* What we did about the local engine; times of clock_us, 0: never. */
struct local_life {
    int64_t log_offset; /* of the engine we started, -1: none, or its end is told already */
    bool was_ready;     /* the engine that was linked last had become ready */
    unsigned n_failed_starts;
    int64_t start_after_us; /* not before */
    int64_t held_since_us;  /* connecting fails while the lock is held */
    int64_t stopping_since_us;
    int64_t stop_grace_us;
    bool killed;
    unsigned n_replaced;
    int64_t replaced_first_us;
};

struct engine_client {
    uv_loop_t *loop;
    bool local;
    char *endpoint, *model_dir, *backend, *idle, *program;
    char model_name[128]; /* of model_dir: what the local engine should say it runs; "" any */
    int32_t n_threads;
    int64_t first_byte_ms, idle_ms;
    void (*on_status)(void *context, const struct engine_status *status);
    void *context;
    http_pool *http;
    uv_async_t wake;
    uv_timer_t retry, notify, watch;
    size_t n_handles; /* of ours and of calls, until their close callbacks have come */

    bool up;
    bool foreign;
    struct handshake engine; /* of the engine that is linked */
    int64_t n_queued;
    char foreign_why[160];
    enum ask_form form; /* how a foreign engine is asked */
    bool form_known;    /* it can be asked */
    bool form_proven;   /* and has answered: what it refuses now, it refuses for other reasons */
    char form_why[64];  /* of the chat forms */
    http_transfer *question; /* of foreign.c */
    buffer question_body;
    enum engine_state trouble_state; /* while down */
    char trouble[256];
    http_transfer *probe; /* handshake or model list */
    buffer probe_body;
    http_transfer *lease;
    struct sse_parser lease_events;
    int64_t up_since_us, silent_since_us;
    unsigned n_retries;  /* in a row */
    unsigned n_failures; /* of calls, in a row */
    http_transfer *health;
    int64_t health_asked_us;
    uint64_t jitter_seed, n_jitters;

    struct kept_tokenizer kept[TOKENIZERS_OPEN_MAX];
    size_t n_kept;
    const tokenizer *tokenizer;
    http_transfer *fetch;
    struct tokenizer_job tokenizer_job;
    struct local_job local_job;
    struct local_life life;

    engine_call *calls, *ended; /* under way; waiting for their on_done */
    size_t n_calls;

    struct engine_status status;
    int64_t notified_us;
    bool closing, pool_closing;
    void (*closed)(void *context);
    void *closed_context;
};

/* engine_client.c */
void status_touch(engine_client *c); /* something of it may have changed */
void client_wake(engine_client *c);
void client_handle_closed(engine_client *c);

/* link.c */
void link_connect(engine_client *c);
void link_retry_in(engine_client *c, uint64_t ms);
void link_retry_later(engine_client *c);
/* GET, its answer in probe_body. */
void link_probe(engine_client *c, const char *path,
                void (*on_done)(void *context, const struct http_result *result));
/* With what the engine said of itself in c->engine. */
void link_up(engine_client *c);
/* The link is gone, or never came up; the words are for people. */
void link_down(engine_client *c, enum engine_state state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void link_silent(engine_client *c); /* the engine takes connections and says nothing */
uint64_t link_backoff_ms(engine_client *c, unsigned step, uint64_t min_ms, uint64_t max_ms);
void link_call_ended(engine_client *c, bool answered, const char *reason);
void link_key_refused(engine_client *c);
void link_ask_health(engine_client *c); /* a call hears nothing: does the engine live? */
void link_close(engine_client *c);

/* foreign.c */
/* No api of ours, the words say why: the link comes up as a foreign engine's. */
void foreign_ask(engine_client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void foreign_learn(engine_client *c); /* the link is up and has a tokenizer */
void foreign_answered(engine_client *c, enum ask_form form);

/* local_link.c */
void local_look(engine_client *c); /* nobody answers at the socket */
/* Ends the engine that holds the lock: SIGTERM first, SIGKILL after the grace; to be called again
 * while it has not gone. Tries to connect again by itself. */
void local_stop(engine_client *c, int64_t grace_ms);
void local_linked(engine_client *c); /* a handshake came */
void local_ready(engine_client *c);  /* and said ready */
void local_lost(engine_client *c);   /* the lease ended */

/* tokenizer_link.c */
void tokenizer_ensure(engine_client *c);
void tokenizer_close_all(engine_client *c);

/* engine_call.c */
void calls_watch_begin(engine_client *c);
/* Those that have heard nothing for CALL_SILENT_MS. */
void calls_fail_silent(engine_client *c, const char *reason);
void calls_cancel_all(engine_client *c);
void calls_answer_ended(engine_client *c);

#endif
