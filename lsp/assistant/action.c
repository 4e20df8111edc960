/* An action goes through stages: the place is looked at (on the pool), the engine answers, the answer is
 * checked, perhaps once more with the fault named. Each stage ends in a callback of the loop, and
 * whichever it is then looks at `cancelled` first; so there is one end, action_end. */
#include "lsp/assistant/action.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/loops.h"
#include "context/prompt.h"
#include "context/prose.h"
#include "context/task_answer.h"

enum {
    PROMPT_TOKENS = 16384,
    COMPLETION_TOKENS = 8192,
    PROSE_TOKENS = 1024,
    FILE_TOKENS = 4096,
    EDIT_TOKENS_MORE = 512, /* than twice the piece */
    DEADLINE_MS = 600000
};

struct action {
    uv_work_t work;
    actions *owner;
    struct action_callbacks callbacks;
    const struct action_row *row;
    uint64_t document_key;
    arena memory; /* texts of the query, and what points at them */
    struct task_request request;
    syntax *tree; /* of the document as it was; NULL: text, or too large */
    text path;
    text *folders;
    size_t n_folders;
    const struct language *language;
    size_t now_from, now_to; /* the piece in the document as it is now */
    bool anywhere, waiting, cancelled, abandoned, retried, prose_begun, loops;
    struct action_place place;
    status place_code;
    error place_error;
    struct task_prompt prompt;
    engine_call *call;
    struct task_answer answer;
    struct prose prose;
    buffer prose_out, result;
    char fault[512], cancel_reason[128];
    int64_t begun_us, n_pieces;
    struct engine_answer numbers;
    struct action *next;
};

struct actions {
    struct actions_options options;
    struct unit_cache units;
    size_t completion_tokens;
    action *running;
    size_t n_alive;
    bool closing;
};

status actions_open(actions **out, const struct actions_options *options, error *err)
{
    *out = memory_take(1, sizeof **out);
    if (!*out) return fail(err, ERR_MEMORY, "out of memory for actions");
    (*out)->options = *options;
    (*out)->completion_tokens = COMPLETION_TOKENS;
    return OK;
}

void actions_budget(actions *a, size_t completion_tokens)
{
    a->completion_tokens = completion_tokens;
}

static void actions_free(actions *a)
{
    if (!a->closing || a->n_alive) return;
    unit_cache_free(&a->units);
    memory_free(a);
}

static void action_free(action *x)
{
    action_place_free(&x->place);
    syntax_free(x->tree);
    task_prompt_free(&x->prompt);
    task_answer_free(&x->answer);
    prose_free(&x->prose);
    buffer_free(&x->prose_out);
    buffer_free(&x->result);
    arena_reset(&x->memory);
    actions *a = x->owner;
    memory_free(x);
    a->n_alive--;
    actions_free(a);
}

static void action_unlink(action *x)
{
    action **at = &x->owner->running;
    while (*at && *at != x) at = &(*at)->next;
    if (*at) *at = x->next;
}

/* The only way out. */
static void action_end(action *x, struct action_result *result)
{
    action_unlink(x);
    const struct engine_answer *n = &x->numbers;
    result->from_byte = x->now_from;
    result->to_byte = x->now_to;
    result->n_prompt = n->n_prompt > 0 ? n->n_prompt : (int64_t)x->prompt.ids.n;
    result->n_cached = n->n_cached;
    result->n_output = n->n_output;
    result->ttft_us = n->ttft_us;
    result->total_us = clock_us() - x->begun_us;
    x->callbacks.on_done(x->callbacks.context, result);
    action_free(x);
}

static void action_refuse(action *x, status code, const char *reason)
{
    struct action_result result = {.outcome = ACTION_REFUSED, .code = code, .reason = reason};
    action_end(x, &result);
}

static void action_refuse_cancelled(action *x)
{
    const char *reason = x->cancel_reason[0] ? x->cancel_reason : "cancelled";
    action_refuse(x, ERR_CANCELLED, reason);
}

static void action_ask(action *x);
static size_t room_tokens(const action *x);

/* What is wrong, for one more try, if there is room for what was said and as much again. */
static void action_retry(action *x, const char *fault)
{
    error err;
    x->retried = true;
    snprintf(x->fault, sizeof x->fault, "%s", fault);
    const tokenizer *t = engine_client_tokenizer(x->owner->options.client);
    status code =
        t ? task_prompt_retry(&x->prompt, t, buffer_text(&x->answer.said), text_of(x->fault), &err)
          : fail(&err, ERR_BUSY, "the engine went away");
    task_answer_free(&x->answer);
    if (code == OK && room_tokens(x) < x->prompt.n_piece + EDIT_TOKENS_MORE / 4)
        action_refuse(x, ERR_FORMAT, x->fault);
    else if (code == OK)
        action_ask(x);
    else
        action_refuse(x, code, err.message);
}

static void action_finish_code(action *x, bool finished)
{
    error err;
    buffer code = {0};
    status s = task_answer_code(&code, &x->answer, &x->prompt, finished, &err);
    bool form = s != OK; /* cut off, empty, unfit: asking again would not help */
    if (s == OK) {
        task_replacement_put(&x->result, &x->request, buffer_text(&code));
        s = x->result.failed ? fail(&err, ERR_MEMORY, "out of memory for the answer")
                             : task_check(&x->request, buffer_text(&x->result), &err);
    }
    buffer_free(&code);
    if (s == OK) {
        struct action_result result = {
            .outcome = x->row->task == TASK_TESTS ? ACTION_CREATE : ACTION_REPLACE,
            .insert = buffer_text(&x->result),
            .new_file = buffer_text(&x->place.new_file),
            .confirm = x->place.confirm,
        };
        action_end(x, &result);
    } else if (s == ERR_FORMAT && !form && !x->retried) {
        buffer_clear(&x->result);
        action_retry(x, err.message);
    } else {
        action_refuse(x, s, err.message);
    }
}

static void prose_show(action *x, text piece)
{
    buffer_clear(&x->prose_out);
    prose_put(&x->prose, piece, &x->prose_out);
    if (x->prose_out.size && x->callbacks.on_prose)
        x->callbacks.on_prose(x->callbacks.context, buffer_text(&x->prose_out));
}

static bool is_word(text said)
{
    unsigned char c = said.size ? (unsigned char)said.bytes[0] : ' ';
    return c >= 0x80 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* The beginning that was asked for is shown whether the engine said it or began behind it. */
static void prose_begin(action *x)
{
    text said = buffer_text(&x->answer.said);
    if (x->prose_begun) return;
    x->prose_begun = true;
    if (!text_starts(said, x->prompt.must_start_with)) {
        prose_show(x, x->prompt.must_start_with);
        if (is_word(said)) prose_show(x, TEXT(" "));
    }
    prose_show(x, said);
}

static void prose_take(action *x, text piece)
{
    struct task_answer *a = &x->answer;
    if (a->large) return;
    buffer_put_text(&a->said, piece);
    x->loops = loops_in_prose(buffer_text(&a->said));
    a->large = x->loops || a->said.size > TASK_ANSWER_MAX;
    if (x->prose_begun)
        prose_show(x, piece);
    else if (a->said.size >= x->prompt.must_start_with.size)
        prose_begin(x);
    if (a->large && x->call) engine_call_cancel(x->call);
}

static void action_finish_prose(action *x, bool finished)
{
    if (x->answer.said.size) prose_begin(x);
    buffer_clear(&x->prose_out);
    prose_finish(&x->prose, &x->prose_out);
    if (x->prose_out.size && x->callbacks.on_prose)
        x->callbacks.on_prose(x->callbacks.context, buffer_text(&x->prose_out));
    if (x->answer.said.size == 0) {
        action_refuse(x, ERR_FORMAT, "the answer is empty");
        return;
    }
    struct action_result result = {.outcome = ACTION_PROSE};
    if (x->loops)
        result.reason = "the model began to repeat itself";
    else if (!finished)
        result.reason = "it was cut off";
    action_end(x, &result);
}

static void on_done(void *context, const struct engine_answer *answer)
{
    action *x = context;
    x->call = NULL;
    x->numbers = *answer;
    bool stopped = x->answer.closed || x->answer.unfit || x->answer.large; /* by us */
    bool finished = answer->code == OK && strcmp(answer->finish, "stop") == 0 && !answer->cut;
    char reason[256];
    snprintf(reason, sizeof reason, "%s",
             answer->reason && answer->reason[0] ? answer->reason : "the engine failed");
    x->numbers.reason = x->numbers.finish = "";
    if (x->abandoned)
        action_free(x);
    else if (x->cancelled)
        action_refuse_cancelled(x);
    else if (!stopped && answer->cut)
        action_refuse(x, ERR_NETWORK, "the answer was cut off: the engine went away");
    else if (!stopped && answer->code != OK)
        action_refuse(x, answer->code, reason);
    else if (task_wants_prose(x->row->task))
        action_finish_prose(x, finished);
    else
        action_finish_code(x, finished);
}

static void on_text(void *context, text piece)
{
    action *x = context;
    struct engine_answer now = {0};
    if (x->cancelled) return;
    x->n_pieces++; /* for engines that say their count at the end alone */
    if (task_wants_prose(x->row->task))
        prose_take(x, piece);
    else if (!task_answer_put(&x->answer, &x->prompt, piece) && x->call)
        engine_call_cancel(x->call);
    if (x->call) engine_call_snapshot(x->call, &now);
    if (x->callbacks.on_progress)
        x->callbacks.on_progress(x->callbacks.context,
                                 now.n_output > 0 ? now.n_output : x->n_pieces);
}

/* What the model's length leaves behind the prompt; a length that is not known bounds nothing. */
static size_t room_tokens(const action *x)
{
    int32_t length = engine_client_status(x->owner->options.client)->usable_len;
    if (length <= 0) return SEQUENCE_TOKENS_MAX;
    return x->prompt.ids.n < (size_t)length ? (size_t)length - x->prompt.ids.n : 0;
}

static int32_t answer_tokens(const action *x)
{
    size_t n = PROSE_TOKENS, room = room_tokens(x);
    if (x->row->task == TASK_TESTS)
        n = FILE_TOKENS;
    else if (!task_wants_prose(x->row->task))
        n = 2 * x->prompt.n_piece + EDIT_TOKENS_MORE;
    if (n > room) n = room;
    return (int32_t)(n < SEQUENCE_TOKENS_MAX ? n : SEQUENCE_TOKENS_MAX);
}

/* The original without what the prompt has said already. */
static text predicted_text(const action *x)
{
    const struct task_request *q = &x->request;
    if (task_wants_prose(q->task) || q->task == TASK_TESTS) return TEXT("");
    text piece = text_trim(text_slice(q->document.content, q->from_byte, q->to_byte));
    return piece;
}

static void action_ask(action *x)
{
    error err;
    engine_client *client = x->owner->options.client;
    const struct engine_request request = {
        .prompt = x->prompt.ids.ids,
        .n_prompt = x->prompt.ids.n,
        .max_tokens = answer_tokens(x),
        .temperature = 0,
        .seed = x->request.from_byte,
        .priority = "action",
        .must_start_with = x->prompt.must_start_with,
        .deadline_ms = DEADLINE_MS,
        .predicted = predicted_text(x),
    };
    const struct engine_callbacks callbacks = {
        .on_text = on_text, .on_done = on_done, .context = x};
    if (engine_client_complete(client, &request, &callbacks, &x->call, &err) != OK)
        action_refuse(x, err.code, err.message);
}

static size_t prompt_budget(const action *x)
{
    size_t asked = x->owner->completion_tokens;
    size_t budget = asked > PROMPT_TOKENS ? asked : PROMPT_TOKENS;
    int32_t length = engine_client_status(x->owner->options.client)->usable_len;
    if (length > 0 && budget > (size_t)length / 2) budget = (size_t)length / 2;
    return budget;
}

/* A model that loads is waited for, with its progress told. */
static bool action_waits(action *x)
{
    char words[320];
    const struct engine_status *now = engine_client_status(x->owner->options.client);
    x->waiting = now->state == ENGINE_STARTING || now->state == ENGINE_LOADING;
    if (!x->waiting || !x->callbacks.on_wait) return x->waiting;
    if (now->state == ENGINE_LOADING && now->progress > 0 && now->progress < 1)
        snprintf(words, sizeof words, "%s: %d %%", now->reason, (int)(now->progress * 100));
    else
        snprintf(words, sizeof words, "%s", now->reason);
    x->callbacks.on_wait(x->callbacks.context, words);
    return true;
}

/* The place is known to be good: the prompt, and the question. */
static void action_prompt(action *x)
{
    error err;
    if (action_waits(x)) return;
    const struct actions_options *o = &x->owner->options;
    const tokenizer *t = engine_client_tokenizer(o->client);
    status code = OK;
    if (!t) code = fail(&err, ERR_BUSY, "%s", engine_client_status(o->client)->reason);
    struct task_request request = x->request;
    request.excerpts = o->gatherer ? gatherer_peek(o->gatherer, x->document_key) : o->excerpts;
    request.map = o->gatherer ? gatherer_map(o->gatherer, x->path) : o->map;
    request.map_tokens = prompt_map_tokens(x->owner->completion_tokens);
    request.budget_tokens = prompt_budget(x);
    if (request.task == TASK_TESTS) {
        text file = buffer_text(&x->place.new_file);
        request.details = file;
        for (size_t i = 0; i < file.size; i++)
            if (file.bytes[i] == '/') request.details = text_slice(file, i + 1, file.size);
    }
    if (code == OK) code = task_prompt_build(&x->prompt, &x->owner->units, t, &request, &err);
    if (code != OK) {
        action_refuse(x, code, err.message);
        return;
    }
    if (task_wants_prose(request.task) && x->callbacks.on_prose) {
        /* What the model goes on from, without what it will say itself. */
        text said = text_slice(x->prompt.opening, 0,
                               x->prompt.opening.size - x->prompt.must_start_with.size);
        prose_show(x, said);
    }
    action_ask(x);
}

static void place_look(uv_work_t *work)
{
    action *x = work->data;
    bool edits = !x->anywhere && !task_wants_prose(x->row->task);
    if (x->row->task == TASK_TESTS && !x->anywhere)
        x->place_code = action_place_tests(&x->place, x->path, x->language, x->folders,
                                           x->n_folders, &x->place_error);
    else
        x->place_code = action_place_check(&x->place, x->path, x->folders, x->n_folders, edits,
                                           &x->place_error);
}

static void on_place(uv_work_t *work, int rc)
{
    action *x = work->data;
    if (x->abandoned) {
        action_free(x);
    } else if (x->cancelled) {
        action_refuse_cancelled(x);
    } else if (rc != 0) {
        action_refuse(x, ERR_IO, uv_strerror(rc));
    } else if (x->place_code != OK) {
        action_refuse(x, x->place_code, x->place_error.message);
    } else {
        action_prompt(x);
    }
}

static status place_queue(action *x, error *err)
{
    action_place_free(&x->place);
    int rc = uv_queue_work(x->owner->options.loop, &x->work, place_look, on_place);
    return rc == 0 ? OK : fail(err, ERR_IO, "a thread for an action: %s", uv_strerror(rc));
}

void actions_engine_changed(actions *a)
{
    error err;
    action *next;
    for (action *x = a->running; x; x = next) {
        next = x->next;
        if (!x->waiting || action_waits(x)) continue;
        if (place_queue(x, &err) != OK) action_refuse(x, err.code, err.message);
    }
}

static text copied(arena *a, text t)
{
    const char *bytes = arena_copy(a, t.bytes ? t.bytes : "", t.size);
    return (text){bytes, bytes ? t.size : 0};
}

static size_t line_of(text content, size_t at)
{
    size_t line = 1;
    for (size_t i = 0; i < at; i++) line += content.bytes[i] == '\n';
    return line;
}

/* The piece, its name and its lines. */
static status piece_find(action *x, const struct action_query *q, error *err)
{
    struct task_request *r = &x->request;
    text name, content = r->document.content;
    size_t from = q->from_byte, to = q->to_byte;
    syntax *s = syntax_share(q->document.tree, content);
    if (!s) syntax_parse(&s, x->language, content, NULL); /* too large or slow counts as text */
    status code = action_piece_find(q->row->piece, s, content, &from, &to, &name, err);
    if (code == OK) {
        r->from_byte = x->now_from = from;
        r->to_byte = x->now_to = to;
        r->name = copied(&x->memory, name);
        r->line = line_of(content, from);
        if (q->row->offer & NEEDS_SELECTION) {
            text selected = text_trim(text_slice(content, q->from_byte, q->to_byte));
            size_t begin = selected.size ? (size_t)(selected.bytes - content.bytes) : q->from_byte;
            r->select_line = line_of(content, begin);
            r->select_last = line_of(content, begin + selected.size);
        }
    }
    x->tree = s;
    r->document.tree = s;
    return code;
}

static status names_find(action *x, error *err)
{
    buffer names = {0};
    task_free_names_put(&names, &x->request);
    x->request.details = copied(&x->memory, buffer_text(&names));
    buffer_free(&names);
    if (x->request.details.size) return OK;
    return fail(err, ERR_UNSUPPORTED,
                "no name here belongs to the function alone, so none may change");
}

static status query_copy(action *x, const struct action_query *q, error *err)
{
    arena *m = &x->memory;
    x->row = q->row;
    x->document_key = q->document_key;
    x->anywhere = q->anywhere;
    x->path = copied(m, q->path);
    x->request = (struct task_request){.task = q->row->task};
    x->request.document.path = copied(m, q->document.path);
    x->request.document.language_id = copied(m, q->document.language_id);
    x->request.document.content = copied(m, q->document.content);
    x->request.details = copied(m, q->details);
    x->request.human_language = copied(m, q->human_language);
    x->folders = arena_take(m, q->n_folders + 1, sizeof *x->folders);
    for (size_t i = 0; x->folders && i < q->n_folders; i++)
        x->folders[i] = copied(m, q->folders[i]);
    x->n_folders = q->n_folders;
    if (m->failed) return fail(err, ERR_MEMORY, "out of memory for an action");
    x->language = language_of_document(&x->request.document);
    x->request.answer_language = x->language;
    status code = piece_find(x, q, err);
    if (code == OK && q->row->task == TASK_RENAME) code = names_find(x, err);
    if (code == OK && m->failed) code = fail(err, ERR_MEMORY, "out of memory for an action");
    return code;
}

status action_begin(action **out, actions *a, const struct action_query *query,
                    const struct action_callbacks *callbacks, error *err)
{
    *out = NULL;
    if (a->closing) return fail(err, ERR_CANCELLED, "the server is ending");
    action *x = memory_take(1, sizeof *x);
    if (!x) return fail(err, ERR_MEMORY, "out of memory for an action");
    x->owner = a;
    a->n_alive++;
    x->callbacks = *callbacks;
    x->begun_us = clock_us();
    x->work.data = x;
    x->numbers.reason = x->numbers.finish = "";
    status code = query_copy(x, query, err);
    if (code == OK) code = place_queue(x, err);
    if (code != OK) {
        action_free(x);
        return code;
    }
    x->next = a->running;
    a->running = x;
    *out = x;
    return OK;
}

void action_cancel(action *x, const char *reason)
{
    if (x->cancelled) return;
    x->cancelled = true;
    snprintf(x->cancel_reason, sizeof x->cancel_reason, "%s", reason);
    if (x->call) engine_call_cancel(x->call);
    if (x->waiting) action_refuse_cancelled(x);
}

bool action_piece_follow(size_t *piece_from, size_t *piece_to, size_t from, size_t to,
                         text inserted)
{
    bool line_before = text_ends(inserted, TEXT("\n"));
    bool line_behind = text_starts(inserted, TEXT("\n")) || text_starts(inserted, TEXT("\r\n"));
    if (from == SIZE_MAX) return false;
    if (from > *piece_to || (from == *piece_to && line_behind)) return true;
    if (to > *piece_from || (to == *piece_from && !line_before)) return false;
    *piece_from = *piece_from - (to - from) + inserted.size;
    *piece_to = *piece_to - (to - from) + inserted.size;
    return true;
}

void actions_changed(actions *a, uint64_t document_key, size_t from, size_t to, text inserted)
{
    action *next;
    for (action *x = a->running; x; x = next) {
        next = x->next;
        if (x->document_key == document_key &&
            !action_piece_follow(&x->now_from, &x->now_to, from, to, inserted))
            action_cancel(x, "the text it is about was changed");
    }
}

void actions_close(actions *a)
{
    if (a->closing) return;
    a->closing = true;
    a->n_alive++; /* for as long as this takes */
    while (a->running) {
        action *x = a->running;
        struct action_result result = {
            .outcome = ACTION_REFUSED, .code = ERR_CANCELLED, .reason = "the server is ending"};
        action_unlink(x);
        x->abandoned = x->cancelled = true;
        if (x->call) engine_call_cancel(x->call); /* its end, or the thread's, frees it */
        x->callbacks.on_done(x->callbacks.context, &result);
        if (x->waiting) action_free(x); /* nothing of it runs */
    }
    a->n_alive--;
    actions_free(a);
}
