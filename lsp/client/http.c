/* curl's multi interface driven by libuv: curl names the sockets and the next timeout, libuv calls
 * back. curl's own callbacks only note what came; `pool_deliver` hands it on afterwards, outside of
 * curl, so that a callback may send, cancel and close as it likes. */
#include "lsp/client/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"

enum { SECOND_LOOK_US = 10000, SPARE_WATCHES = 8 };

struct socket_watch {
    uv_poll_t poll;
    http_pool *pool;
    curl_socket_t fd;
    struct socket_watch *next; /* of the spare ones */
};

struct http_transfer {
    http_pool *pool;
    http_transfer *next;
    CURL *easy;
    struct curl_slist *headers;
    buffer url, body;
    struct http_limits limits;
    void (*on_bytes)(void *context, const struct http_head *head, text bytes);
    void (*on_done)(void *context, const struct http_result *result);
    void *context;
    struct http_head head;
    buffer fresh; /* of the body, not yet delivered */
    size_t header_bytes, answer_bytes;
    int64_t wait_until_us, end_us; /* INT64_MAX: no limit */
    bool sent, began, finished, delivering, dead;
    bool overdue; /* a limit had passed when we looked last */
    CURLcode ended;
    status failure; /* our own reason to stop it, when not OK */
    bool timed_out;
    char reason[128];                 /* ours */
    char curl_words[CURL_ERROR_SIZE]; /* curl's */
};

struct http_pool {
    CURLM *multi;
    uv_loop_t *loop;
    uv_timer_t curl_timer, limit_timer;
    int64_t limit_armed_us;
    http_transfer *transfers;
    struct socket_watch *spare; /* [n_spare] */
    size_t n_spare;
    char *url, *socket_path, *ca_file;
    buffer authorization;
    size_t n_handles; /* of libuv, until their close callbacks have come */
    bool closing;
    void (*closed)(void *context);
    void *closed_context;
};

static void pool_work(http_pool *pool);

static int64_t after_ms(int64_t from_us, int64_t ms)
{
    return ms > 0 ? from_us + ms * 1000 : INT64_MAX;
}

static void transfer_stop(http_transfer *t)
{
    if (t->easy) curl_multi_remove_handle(t->pool->multi, t->easy);
    t->finished = true;
}

/* Called where the answer breaks a rule of ours; the first reason stays. */
static void transfer_refuse(http_transfer *t, status code, const char *reason)
{
    if (t->failure != OK) return;
    t->failure = code;
    snprintf(t->reason, sizeof t->reason, "%s", reason);
}

/* Called when a request is about to go out. curl sends a second time by itself when a kept
 * connection turns out to be closed; whether anything is sent twice is the caller's decision. */
static int request_leaves(void *context, char *local_ip, char *ip, int local_port, int port)
{
    http_transfer *t = context;
    (void)local_ip, (void)ip, (void)local_port, (void)port;
    if (!t->sent) {
        t->sent = true;
        return CURL_PREREQFUNC_OK;
    }
    transfer_refuse(t, ERR_NETWORK, "the connection was closed before an answer");
    return CURL_PREREQFUNC_ABORT;
}

static size_t header_came(char *bytes, size_t size, size_t n, void *context)
{
    http_transfer *t = context;
    text line = text_trim((text){bytes, size * n});
    long code = 0;
    t->header_bytes += size * n;
    if (t->header_bytes > HTTP_ANSWER_HEADER_MAX) {
        transfer_refuse(t, ERR_LIMIT, "the headers of its answer do not end");
        return 0;
    }
    if (text_starts(line, TEXT("HTTP/"))) t->head = (struct http_head){.retry_after_s = -1};
    if (line.size > 12 && strncasecmp(line.bytes, "Retry-After:", 12) == 0) {
        text value = text_trim(text_slice(line, 12, line.size));
        char digits[8] = "";
        memcpy(digits, value.bytes, value.size < 7 ? value.size : 7);
        if (digits[0] >= '0' && digits[0] <= '9') t->head.retry_after_s = atoi(digits);
    }
    if (line.size > 13 && strncasecmp(line.bytes, "Content-Type:", 13) == 0) {
        text value = text_trim(text_slice(line, 13, line.size));
        t->head.is_events =
            value.size >= 17 && strncasecmp(value.bytes, "text/event-stream", 17) == 0;
    }
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    t->head.status = (int)code;
    if (line.size == 0 && code >= 200) {
        t->began = true;
        t->wait_until_us = after_ms(clock_us(), t->limits.idle_ms);
    }
    return size * n;
}

static size_t body_came(char *bytes, size_t size, size_t n, void *context)
{
    http_transfer *t = context;
    t->answer_bytes += size * n;
    if (t->limits.answer_bytes_max && t->answer_bytes > t->limits.answer_bytes_max) {
        transfer_refuse(t, ERR_LIMIT, "its answer is larger than allowed");
        return 0;
    }
    buffer_put(&t->fresh, bytes, size * n);
    if (t->fresh.failed) {
        transfer_refuse(t, ERR_MEMORY, "out of memory for its answer");
        return 0;
    }
    t->wait_until_us = after_ms(clock_us(), t->limits.idle_ms);
    return size * n;
}

static void handle_closed(http_pool *pool)
{
    if (--pool->n_handles > 0 || !pool->closing) return;
    if (pool->closed) pool->closed(pool->closed_context);
    for (struct socket_watch *w; (w = pool->spare); memory_free(w)) pool->spare = w->next;
    memory_free(pool->url);
    memory_free(pool->socket_path);
    memory_free(pool->ca_file);
    if (pool->authorization.bytes)
        explicit_bzero(pool->authorization.bytes, pool->authorization.size);
    buffer_free(&pool->authorization);
    memory_free(pool);
}

static void watch_closed(uv_handle_t *handle)
{
    struct socket_watch *watch = handle->data;
    http_pool *pool = watch->pool;
    memory_free(watch);
    handle_closed(pool);
}

static void timer_closed(uv_handle_t *handle) { handle_closed(handle->data); }

static void socket_ready(uv_poll_t *poll, int error_code, int events)
{
    struct socket_watch *watch = poll->data;
    http_pool *pool = watch->pool;
    int flags = error_code < 0 ? CURL_CSELECT_ERR : 0, running;
    if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(pool->multi, watch->fd, flags, &running);
    pool_work(pool);
}

/* A request that has none must not begin: where curl is told that a socket cannot be watched, it ends
 * all transfers and has been seen to touch what it freed with them. */
static bool watches_reserve(http_pool *pool)
{
    for (; pool->n_spare < SPARE_WATCHES; pool->n_spare++) {
        struct socket_watch *watch = memory_take(1, sizeof *watch);
        if (!watch) return false;
        watch->next = pool->spare;
        pool->spare = watch;
    }
    return true;
}

static struct socket_watch *watch_open(http_pool *pool, curl_socket_t fd)
{
    struct socket_watch *watch = pool->spare;
    if (watch) {
        pool->spare = watch->next;
        pool->n_spare--;
    } else if (!(watch = memory_take(1, sizeof *watch))) {
        return NULL;
    }
    watch->pool = pool;
    watch->fd = fd;
    watch->poll.data = watch;
    if (uv_poll_init_socket(pool->loop, &watch->poll, fd) != 0) {
        memory_free(watch);
        return NULL;
    }
    pool->n_handles++;
    curl_multi_assign(pool->multi, fd, watch);
    return watch;
}

/* curl names what it waits for on a socket. -1 makes curl end the transfers. */
static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context,
                         void *socket_context)
{
    http_pool *pool = context;
    struct socket_watch *watch = socket_context;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (!watch) return 0;
        uv_poll_stop(&watch->poll);
        uv_close((uv_handle_t *)&watch->poll, watch_closed);
        curl_multi_assign(pool->multi, fd, NULL);
        return 0;
    }
    if (!watch && !(watch = watch_open(pool, fd))) return -1;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&watch->poll, events, socket_ready) == 0 ? 0 : -1;
}

static void curl_timer_fired(uv_timer_t *timer)
{
    http_pool *pool = timer->data;
    int running;
    curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    pool_work(pool);
}

static int timer_wanted(CURLM *multi, long timeout_ms, void *context)
{
    http_pool *pool = context;
    (void)multi;
    if (timeout_ms < 0)
        uv_timer_stop(&pool->curl_timer);
    else
        uv_timer_start(&pool->curl_timer, curl_timer_fired, (uint64_t)timeout_ms, 0);
    return 0;
}

static int64_t until_us(const http_transfer *t)
{
    return t->wait_until_us < t->end_us ? t->wait_until_us : t->end_us;
}

/* A limit has passed only when it is still passed after another look at the socket: until then we
 * may have been the slow one (busy, suspended), and the bytes wait there. */
static void transfer_expire(http_transfer *t, int64_t now_us)
{
    bool again = t->overdue;
    t->overdue = !t->finished && now_us >= until_us(t);
    if (!t->overdue || !again) return;
    bool total = t->end_us <= t->wait_until_us;
    char why[96];
    if (total)
        snprintf(why, sizeof why, "no whole answer in %.3g s", (double)t->limits.total_ms / 1e3);
    else
        snprintf(why, sizeof why, t->began ? "silent for %.3g s" : "no answer in %.3g s",
                 (double)(t->began ? t->limits.idle_ms : t->limits.first_byte_ms) / 1e3);
    transfer_refuse(t, ERR_NETWORK, why);
    t->timed_out = true;
    transfer_stop(t);
}

static void limit_timer_fired(uv_timer_t *timer)
{
    http_pool *pool = timer->data;
    int64_t now_us = clock_us();
    pool->limit_armed_us = INT64_MAX;
    for (http_transfer *t = pool->transfers; t; t = t->next) transfer_expire(t, now_us);
    pool_work(pool);
}

/* One timer serves all limits. It is only ever moved closer; firing early costs a scan. */
static void limits_arm(http_pool *pool)
{
    int64_t next_us = INT64_MAX;
    for (const http_transfer *t = pool->transfers; t; t = t->next) {
        int64_t t_us = t->overdue ? clock_us() + SECOND_LOOK_US : until_us(t);
        if (!t->finished && t_us < next_us) next_us = t_us;
    }
    if (next_us == INT64_MAX || next_us >= pool->limit_armed_us) return;
    int64_t wait_us = next_us - clock_us();
    uv_update_time(pool->loop);
    uv_timer_start(&pool->limit_timer, limit_timer_fired,
                   wait_us > 0 ? (uint64_t)(wait_us / 1000 + 1) : 0, 0);
    pool->limit_armed_us = next_us;
}

static void transfer_free(http_transfer *t)
{
    if (t->easy) {
        curl_multi_remove_handle(t->pool->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    buffer_free(&t->url);
    buffer_free(&t->body);
    buffer_free(&t->fresh);
    memory_free(t);
}

static void transfer_unlink(http_transfer *t)
{
    for (http_transfer **at = &t->pool->transfers; *at; at = &(*at)->next) {
        if (*at != t) continue;
        *at = t->next;
        return;
    }
}

static bool is_timeout(CURLcode code) { return code == CURLE_OPERATION_TIMEDOUT; }

static status result_code(const http_transfer *t)
{
    if (t->failure != OK) return t->failure;
    if (t->ended == CURLE_OUT_OF_MEMORY) return ERR_MEMORY;
    return t->ended == CURLE_OK ? OK : ERR_NETWORK;
}

static void refusal_describe(http_transfer *t)
{
    long number = 0;
    if (!t->pool->socket_path) return;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &number);
    snprintf(t->reason, sizeof t->reason, "cannot connect to its socket%s%s", number ? ": " : "",
             number ? strerror((int)number) : "");
}

/* Why a certificate does not do, in words that name the remedy. The numbers are OpenSSL's
 * X509_V_ERR_*, which is what Debian's curl is built with; others keep curl's words. */
static void certificate_describe(http_transfer *t)
{
    enum { NOT_YET = 9, EXPIRED = 10, SELF_SIGNED = 18, CHAIN_SELF_SIGNED, NO_ISSUER, NO_LEAF };
    long why = 0;
    curl_easy_getinfo(t->easy, CURLINFO_SSL_VERIFYRESULT, &why);
    const char *words = "";
    if (why == EXPIRED)
        words = "its certificate has expired";
    else if (why == NOT_YET)
        words = "its certificate is not valid yet: is a clock wrong?";
    else if (why >= SELF_SIGNED && why <= NO_LEAF)
        words =
            "its certificate comes from no trusted authority (your own: --ca-file, DBRX_CA_FILE)";
    else if (strstr(t->curl_words, "subject name"))
        words = "its certificate is for another host name than the endpoint's";
    snprintf(t->reason, sizeof t->reason, "%s", words);
}

static void transfer_finish(http_transfer *t)
{
    bool refused = t->failure == OK && t->ended == CURLE_COULDNT_CONNECT;
    if (refused) refusal_describe(t);
    if (t->failure == OK && t->ended == CURLE_PEER_FAILED_VERIFICATION) certificate_describe(t);
    if (t->failure == OK && t->ended == CURLE_SSL_CACERT_BADFILE)
        snprintf(t->reason, sizeof t->reason, "no certificates can be read from the CA file %.80s",
                 t->pool->ca_file ? t->pool->ca_file : "of the system");
    if (t->failure == OK && t->ended != CURLE_OK && !t->reason[0])
        snprintf(t->reason, sizeof t->reason, "%.127s",
                 t->curl_words[0] ? t->curl_words : curl_easy_strerror(t->ended));
    struct http_result result = {.code = result_code(t),
                                 .reason = t->reason,
                                 .refused = refused,
                                 .timed_out = t->timed_out || is_timeout(t->ended),
                                 .began = t->began,
                                 .head = t->head};
    transfer_unlink(t);
    if (t->on_done) t->on_done(t->context, &result);
    transfer_free(t);
}

static void transfer_deliver(http_transfer *t)
{
    if (t->fresh.size == 0) {
        transfer_finish(t);
        return;
    }
    buffer fresh = t->fresh;
    t->fresh = (buffer){0};
    t->delivering = true;
    if (t->on_bytes) t->on_bytes(t->context, &t->head, buffer_text(&fresh));
    t->delivering = false;
    buffer_free(&fresh);
    if (t->dead) transfer_free(t);
}

static http_transfer *transfer_waiting(http_pool *pool)
{
    for (http_transfer *t = pool->transfers; t; t = t->next)
        if (t->fresh.size || t->finished) return t;
    return NULL;
}

/* After every entry into curl: who is done, what came, when to look again. */
static void pool_work(http_pool *pool)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(pool->multi, &left));) {
        http_transfer *t = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        if (!t) continue;
        t->ended = code;
        transfer_stop(t);
    }
    for (http_transfer *t; !pool->closing && (t = transfer_waiting(pool));) transfer_deliver(t);
    if (!pool->closing) limits_arm(pool);
}

static bool header_add(http_transfer *t, const char *line)
{
    struct curl_slist *list = curl_slist_append(t->headers, line);
    if (list) t->headers = list;
    return list != NULL;
}

static bool easy_common(http_transfer *t)
{
    CURL *e = t->easy;
    const http_pool *pool = t->pool;
    bool ok = curl_easy_setopt(e, CURLOPT_URL, t->url.bytes) == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK;
    ok = ok && curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* A cancel must not wait for the thread that resolves the name. */
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)t->limits.connect_ms);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->curl_words);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, request_leaves);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, header_came);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, body_came);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    if (pool->socket_path)
        ok = ok && curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, pool->socket_path) == CURLE_OK;
    if (pool->ca_file) {
        ok = ok && curl_easy_setopt(e, CURLOPT_CAINFO, pool->ca_file) == CURLE_OK;
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    }
    return ok;
}

static bool easy_body(http_transfer *t, bool is_post)
{
    bool ok = true;
    if (t->pool->authorization.size) ok = header_add(t, t->pool->authorization.bytes);
    if (is_post) {
        /* "Expect" off: waiting for a 100 would cost a second with servers that never send it. */
        ok = ok && header_add(t, "Content-Type: application/json") && header_add(t, "Expect:");
        curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.size);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body.bytes ? t->body.bytes : "");
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    return ok;
}

status http_send(http_pool *pool, const struct http_request *request, http_transfer **out,
                 error *err)
{
    http_transfer *t = watches_reserve(pool) ? memory_take(1, sizeof *t) : NULL;
    *out = NULL;
    if (!t) return fail(err, ERR_MEMORY, "%s: out of memory", request->path);
    t->pool = pool;
    t->limits = request->limits;
    t->on_bytes = request->on_bytes;
    t->on_done = request->on_done;
    t->context = request->context;
    t->head.retry_after_s = -1;
    t->wait_until_us = after_ms(clock_us(), t->limits.first_byte_ms);
    t->end_us = after_ms(clock_us(), t->limits.total_ms);
    buffer_print(&t->url, "%s%s", pool->url, request->path);
    buffer_put_text(&t->body, request->body);
    t->easy = curl_easy_init();
    if (t->easy && request->fresh) curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    bool ok = t->easy && !t->url.failed && !t->body.failed && easy_common(t) &&
              easy_body(t, request->body.bytes != NULL) &&
              curl_multi_add_handle(pool->multi, t->easy) == CURLM_OK;
    if (!ok) {
        transfer_free(t);
        return fail(err, ERR_MEMORY, "%s: out of memory", request->path);
    }
    t->next = pool->transfers;
    pool->transfers = t;
    limits_arm(pool);
    *out = t;
    return OK;
}

void http_cancel(http_transfer *t)
{
    transfer_unlink(t);
    transfer_stop(t);
    t->dead = true;
    if (!t->delivering) transfer_free(t);
}

static bool copy_optional(char **out, const char *value)
{
    *out = value ? memory_copy(value, strlen(value)) : NULL;
    return !value || *out;
}

status http_pool_open(http_pool **out, uv_loop_t *loop, const struct http_origin *origin,
                      error *err)
{
    static bool curl_begun;
    *out = NULL;
    if (!curl_begun && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return fail(err, ERR_MEMORY, "libcurl cannot start");
    curl_begun = true;
    http_pool *pool = memory_take(1, sizeof *pool);
    CURLM *multi = pool ? curl_multi_init() : NULL;
    bool ok = multi && copy_optional(&pool->url, origin->url) &&
              copy_optional(&pool->socket_path, origin->socket_path) &&
              copy_optional(&pool->ca_file, origin->ca_file);
    if (ok && origin->api_key)
        buffer_print(&pool->authorization, "Authorization: Bearer %s", origin->api_key);
    if (!ok || pool->authorization.failed) {
        if (multi) curl_multi_cleanup(multi);
        if (pool) {
            memory_free(pool->url);
            memory_free(pool->socket_path);
            memory_free(pool->ca_file);
        }
        memory_free(pool);
        return fail(err, ERR_MEMORY, "engine connection: out of memory");
    }
    pool->multi = multi;
    pool->loop = loop;
    pool->limit_armed_us = INT64_MAX;
    pool->n_handles = 2;
    uv_timer_init(loop, &pool->curl_timer);
    uv_timer_init(loop, &pool->limit_timer);
    pool->curl_timer.data = pool->limit_timer.data = pool;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool);
    *out = pool;
    return OK;
}

void http_pool_close(http_pool *pool, void (*closed)(void *context), void *context)
{
    pool->closed = closed;
    pool->closed_context = context;
    pool->closing = true;
    while (pool->transfers) http_cancel(pool->transfers);
    curl_multi_cleanup(pool->multi);
    uv_close((uv_handle_t *)&pool->curl_timer, timer_closed);
    uv_close((uv_handle_t *)&pool->limit_timer, timer_closed);
}

/* True when curl finds this part in the URL. */
static bool has_part(CURLU *u, CURLUPart part)
{
    char *value = NULL;
    bool found = curl_url_get(u, part, &value, 0) == CURLUE_OK;
    curl_free(value);
    return found;
}

status http_url_check(buffer *out, const char *url, error *err)
{
    CURLU *u = curl_url();
    char *whole = NULL, *scheme = NULL;
    status s = OK;
    if (!u) return fail(err, ERR_MEMORY, "endpoint: out of memory");
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        s = fail(err, ERR_USAGE, "endpoint: expected http://HOST:PORT, https://... or unix:/PATH");
    else if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD))
        s = fail(err, ERR_USAGE, "endpoint: found credentials in it; give the key by DBRX_API_KEY");
    else if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT))
        s = fail(err, ERR_USAGE, "endpoint: expected no \"?\" or \"#\" in it");
    else if (curl_url_get(u, CURLUPART_URL, &whole, 0) != CURLUE_OK)
        s = fail(err, ERR_MEMORY, "endpoint: out of memory");
    text rest = text_of(whole);
    while (text_ends(rest, TEXT("/"))) rest.size--;
    if (text_ends(rest, TEXT("/v1"))) rest.size -= 3;
    while (text_ends(rest, TEXT("/"))) rest.size--;
    if (s == OK) buffer_put_text(out, rest);
    curl_free(whole);
    curl_free(scheme);
    curl_url_cleanup(u);
    return s;
}
