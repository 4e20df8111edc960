/* The typist knows what is to stand there (target) and how much of it does (done). What the editor
 * put behind the cursor by itself is `pending`: closers of brackets and quotes, and the line of a
 * closing brace. Whatever comes next in the target is either gone over, because it is pending, or
 * typed; what is pending and does not come is erased.
 *
 *     int f(int a|)          pending ")": typing ")" goes over it
 *     if (x) {|}             Enter makes three lines of it, the cursor in the middle one
 *     if (x) {
 *         |
 *     }                      pending "\n}"
 */
#include "lsp/cli/typing_typist.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/utf.h"

enum {
    KEY_MS = 200,
    PAUSE_MS = 900,
    /* Chances in 10,000, per character. */
    SLIP = 250,
    ACCEPT = 200,
    ACCEPT_MIN = 6, /* characters of a line that are worth a completion */
    CHANGE = 60,    /* a word near by is typed anew */
    LOOK = 60,      /* the cursor goes somewhere and comes back */
    SWITCH = 60,    /* another document is looked at */
    NEAR_BYTES = 1500
};

struct typist {
    struct typing_session *session;
    struct typing_player player;
    size_t *cursors; /* [n_documents] */
    bool *opened;    /* [n_documents] */
    int32_t document;
    uint64_t seed, n_drawn;
    text target;
    size_t done;
    buffer pending;
    size_t
        blank_indent; /* bytes of indentation before the cursor on a line without anything else */
    bool after_brace; /* the last key opened a brace */
    char unit[9];     /* one level of indentation in this document */
    status code;
    error *err;
};

status typist_open(typist **out, struct typing_session *session, uint64_t seed, error *err)
{
    typist *t = memory_take(1, sizeof *t);
    *out = t;
    if (!t) return fail(err, ERR_MEMORY, "out of memory for a typist");
    t->session = session;
    t->seed = random_mix(seed + 1);
    t->document = -1;
    t->cursors = memory_take(session->n_documents, sizeof *t->cursors);
    t->opened = memory_take(session->n_documents, sizeof *t->opened);
    if (!t->cursors || !t->opened) return fail(err, ERR_MEMORY, "out of memory for a typist");
    return typing_player_open(&t->player, session, err);
}

void typist_close(typist *t)
{
    if (!t) return;
    typing_player_close(&t->player);
    memory_free(t->cursors);
    memory_free(t->opened);
    buffer_free(&t->pending);
    memory_free(t);
}

static size_t draw(typist *t, size_t below)
{
    return (size_t)(random_at(t->seed, t->n_drawn++) % below);
}

static bool chance(typist *t, size_t of_10000) { return draw(t, 10000) < of_10000; }

static text content_of(const typist *t) { return buffer_text(&t->player.contents[t->document]); }

static size_t *cursor_of(typist *t) { return &t->cursors[t->document]; }

static text rest_of(const typist *t) { return text_slice(t->target, t->done, t->target.size); }

/* What is pending on the cursor's own line. */
static text pending_line(const typist *t)
{
    text all = buffer_text(&t->pending);
    return text_slice(all, 0, text_find(all, TEXT("\n"), 0));
}

static int32_t pause_of(typist *t, enum typing_kind kind)
{
    bool thinks = kind != TYPING_KEY && kind != TYPING_ERASE;
    size_t middle = thinks ? PAUSE_MS : KEY_MS;
    return (int32_t)(middle / 2 + draw(t, middle));
}

/* Records a step and plays it. */
static void step_put(typist *t, enum typing_kind kind, size_t at, size_t n_removed, text inserted,
                     size_t cursor)
{
    struct typing_session *s = t->session;
    const struct typing_step *played;
    if (t->code != OK) return;
    if (s->n_steps == s->steps_room) {
        size_t room = s->steps_room ? 2 * s->steps_room : 1024;
        struct typing_step *steps = memory_resize(s->steps, room, sizeof *steps);
        if (!steps) {
            t->code = fail(t->err, ERR_MEMORY, "out of memory for a typing session");
            return;
        }
        s->steps = steps;
        s->steps_room = room;
    }
    const char *copy = arena_copy(&s->memory, inserted.bytes ? inserted.bytes : "", inserted.size);
    s->steps[s->n_steps++] = (struct typing_step){kind,      t->document, pause_of(t, kind),    at,
                                                  n_removed, cursor,      {copy, inserted.size}};
    *cursor_of(t) = cursor;
    if (s->memory.failed)
        t->code = fail(t->err, ERR_MEMORY, "out of memory for a typing session");
    else
        t->code = typing_player_step(&t->player, &played, t->err);
}

/* Puts text at the cursor, `left` bytes of it behind the cursor, instead of what stands around it. */
static void put(typist *t, enum typing_kind kind, size_t before, size_t behind, text inserted,
                size_t left)
{
    size_t at = *cursor_of(t) - before;
    step_put(t, kind, at, before + behind, inserted, at + inserted.size - left);
}

static void move(typist *t, enum typing_kind kind, size_t cursor)
{
    step_put(t, kind, cursor, 0, TEXT(""), cursor);
}

static char closer_of(char c)
{
    switch (c) {
    case '(': return ')';
    case '[': return ']';
    case '{': return '}';
    case '"': return '"';
    default: return 0;
    }
}

/* Editors close a bracket by themselves where nothing but white space or closers follows; a quote
 * not behind a word either. */
static bool closes_itself(typist *t, char c)
{
    text content = content_of(t);
    size_t cursor = *cursor_of(t);
    char next = cursor < content.size ? content.bytes[cursor] : '\n';
    char last = cursor > 0 ? content.bytes[cursor - 1] : '\n';
    bool word = (last >= '0' && last <= '9') || ((last | 32) >= 'a' && (last | 32) <= 'z');
    if (c == '"' && (word || last == '"' || last == '\\')) return false;
    return closer_of(c) && strchr(" \t\n)]};,", next);
}

/* True when the target goes on to close, on some later line, what `closer` closes. */
static bool closes_later(const typist *t, char closer)
{
    text rest = rest_of(t);
    size_t depth = 0;
    for (size_t i = 0; i < rest.size; i++) {
        char c = rest.bytes[i];
        if (c == '(' || c == '[' || c == '{') depth++;
        if (c != ')' && c != ']' && c != '}') continue;
        if (depth == 0) return c == closer;
        depth--;
    }
    return false;
}

static void pending_erase(typist *t, size_t size)
{
    if (size == 0) return;
    put(t, TYPING_ERASE, 0, size, TEXT(""), 0);
    buffer_drop_front(&t->pending, size);
}

static size_t line_start(text content, size_t at)
{
    while (at > 0 && content.bytes[at - 1] != '\n') at--;
    return at;
}

static text indent_of(text line)
{
    size_t n = 0;
    while (n < line.size && (line.bytes[n] == ' ' || line.bytes[n] == '\t')) n++;
    return text_slice(line, 0, n);
}

/* The cursor's line up to the cursor, or the last one above that holds anything. */
static text line_to_indent_by(const typist *t)
{
    text content = content_of(t);
    size_t end = t->cursors[t->document];
    for (;;) {
        size_t from = line_start(content, end);
        text line = text_slice(content, from, end);
        if (from == 0 || text_trim(line).size) return line;
        end = from - 1;
    }
}

static bool opens_block(text line)
{
    text trimmed = text_trim(line);
    return trimmed.size && strchr("{([:", trimmed.bytes[trimmed.size - 1]);
}

/* The line below a newline's own indentation becomes that of the target. */
static void indent_fit(typist *t, size_t n_have)
{
    text content = content_of(t), rest = rest_of(t), wanted = indent_of(rest);
    text have = text_slice(content, *cursor_of(t) - n_have, *cursor_of(t));
    t->blank_indent = 0;
    if (wanted.size == rest.size || rest.bytes[wanted.size] == '\n') {
        /* An empty line: the next Enter takes the indentation away, and the end of all does. */
        t->blank_indent = wanted.size ? 0 : n_have;
        if (wanted.size == 0) return;
    }
    size_t common = text_common(have, wanted);
    if (common < have.size) put(t, TYPING_ERASE, have.size - common, 0, TEXT(""), 0);
    if (common < wanted.size) put(t, TYPING_KEY, 0, 0, text_slice(wanted, common, wanted.size), 0);
    t->done += wanted.size;
}

static void newline_type(typist *t)
{
    text line = line_to_indent_by(t), indent = indent_of(line), ahead = pending_line(t);
    bool splits = t->after_brace && ahead.size == 1 && ahead.bytes[0] == '}';
    size_t n_unit = opens_block(line) ? strlen(t->unit) : 0;
    buffer inserted = {0}, behind = {0};
    buffer_put_char(&inserted, '\n');
    buffer_put_text(&inserted, indent);
    buffer_put(&inserted, t->unit, n_unit);
    size_t n_have = inserted.size - 1;
    if (splits) {
        buffer_put_char(&behind, '\n');
        buffer_put_text(&behind, indent);
        buffer_put_text(&inserted, buffer_text(&behind));
    }
    if (inserted.failed || behind.failed)
        t->code = fail(t->err, ERR_MEMORY, "out of memory for a typist");
    put(t, TYPING_NEWLINE, t->blank_indent, 0, buffer_text(&inserted), behind.size);
    buffer_put_text(&behind, buffer_text(&t->pending));
    buffer swap = t->pending;
    t->pending = behind;
    buffer_free(&swap);
    buffer_free(&inserted);
    t->done++;
    t->after_brace = false;
    indent_fit(t, n_have);
}

/* Enter, or the arrow down where the line with the closing brace stands already. */
static void line_end_type(typist *t)
{
    text all = buffer_text(&t->pending);
    if (all.size && all.bytes[0] == '\n') {
        size_t closer = indent_of(text_slice(all, 1, all.size)).size + 1;
        text below = text_slice(all, 0, closer + 1);
        if (text_starts(rest_of(t), below)) {
            size_t blank = t->blank_indent;
            if (blank) put(t, TYPING_ERASE, blank, 0, TEXT(""), 0);
            t->blank_indent = 0;
            move(t, TYPING_KEY, *cursor_of(t) + below.size);
            t->done += below.size;
            buffer_drop_front(&t->pending, below.size);
            return;
        }
    }
    while (pending_line(t).size && !closes_later(t, pending_line(t).bytes[0])) pending_erase(t, 1);
    newline_type(t);
}

static void slip_make(typist *t)
{
    static const char letters[] = "etaoinshrdlu";
    size_t n = 1 + draw(t, 2);
    for (size_t i = 0; i < n; i++)
        put(t, TYPING_KEY, 0, 0, (text){&letters[draw(t, sizeof letters - 1)], 1}, 0);
    for (size_t i = 0; i < n; i++) put(t, TYPING_ERASE, 1, 0, TEXT(""), 0);
}

/* The rest of the target's line at once, instead of the closers that stand there. */
static bool accept_try(typist *t)
{
    text rest = rest_of(t), line = text_slice(rest, 0, text_find(rest, TEXT("\n"), 0));
    text ahead = pending_line(t);
    if (line.size < ACCEPT_MIN || t->blank_indent) return false;
    put(t, TYPING_ACCEPT, 0, ahead.size, line, 0);
    buffer_drop_front(&t->pending, ahead.size);
    t->done += line.size;
    t->after_brace = false;
    return true;
}

static void character_type(typist *t)
{
    size_t size;
    text rest = rest_of(t), ahead = pending_line(t);
    char c = rest.bytes[0];
    utf8_decode(rest, 0, &size);
    bool over = ahead.size && ahead.bytes[0] == c;
    t->blank_indent = 0;
    if (over) {
        move(t, TYPING_KEY, *cursor_of(t) + 1);
        buffer_drop_front(&t->pending, 1);
    } else if (closes_itself(t, c)) {
        const char both[2] = {c, closer_of(c)};
        buffer all = {0};
        put(t, TYPING_KEY, 0, 0, (text){both, 2}, 1);
        buffer_put_char(&all, both[1]);
        buffer_put_text(&all, buffer_text(&t->pending));
        buffer_free(&t->pending);
        t->pending = all;
    } else {
        put(t, TYPING_KEY, 0, 0, text_slice(rest, 0, size), 0);
    }
    t->after_brace = c == '{' && !over;
    t->done += size;
}

static bool word_byte(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
}

/* A word of 3 to 12 letters within [from, to); false when there is none where chance looks. */
static bool word_find(typist *t, size_t from, size_t to, size_t *begin, size_t *end)
{
    text content = content_of(t);
    if (from >= to) return false;
    for (size_t at = from + draw(t, to - from); at < to; at++) {
        if (!word_byte(content.bytes[at]) || (at > 0 && word_byte(content.bytes[at - 1]))) continue;
        *begin = *end = at;
        while (*end < to && word_byte(content.bytes[*end])) ++*end;
        if (*end < to && *end - *begin >= 3 && *end - *begin <= 12) return true;
    }
    return false;
}

/* Goes to a word above or below, takes it away letter by letter, types it again, comes back. */
static void word_change(typist *t)
{
    size_t cursor = *cursor_of(t), size = content_of(t).size, begin, end;
    size_t from = cursor > NEAR_BYTES ? cursor - NEAR_BYTES : 0;
    size_t to = size - cursor > NEAR_BYTES / 2 ? cursor + NEAR_BYTES / 2 : size;
    bool below = draw(t, 4) == 0;
    if (!word_find(t, below ? cursor : from, below ? to : cursor, &begin, &end)) return;
    char word[16];
    memcpy(word, content_of(t).bytes + begin, end - begin);
    move(t, TYPING_JUMP, end);
    size_t n = end - begin, n_kept = draw(t, n);
    for (size_t i = n_kept; i < n; i++) put(t, TYPING_ERASE, 1, 0, TEXT(""), 0);
    for (size_t i = n_kept; i < n; i++) put(t, TYPING_KEY, 0, 0, (text){&word[i], 1}, 0);
    move(t, TYPING_JUMP, cursor);
}

static void look_around(typist *t)
{
    text content = content_of(t);
    size_t cursor = *cursor_of(t), at = draw(t, content.size + 1);
    size_t end = text_find(content, TEXT("\n"), at);
    move(t, TYPING_JUMP, end == SIZE_MAX ? content.size : end);
    move(t, TYPING_JUMP, cursor);
}

static void document_show(typist *t, int32_t document)
{
    if (t->document == document) return;
    t->document = document;
    bool opened = t->opened[document];
    t->opened[document] = true;
    move(t, opened ? TYPING_SWITCH : TYPING_OPEN, *cursor_of(t));
}

static void look_elsewhere(typist *t)
{
    int32_t here = t->document, n = (int32_t)t->session->n_documents;
    if (n < 2) return;
    document_show(t, (here + 1 + (int32_t)draw(t, (size_t)n - 1)) % n);
    look_around(t);
    document_show(t, here);
}

static void excursion_perhaps(typist *t)
{
    if (chance(t, CHANGE)) word_change(t);
    if (chance(t, LOOK)) look_around(t);
    if (chance(t, SWITCH)) look_elsewhere(t);
}

/* One level of indentation as the document has it: the smallest one that begins a line. */
static void unit_find(typist *t)
{
    text rest = content_of(t), line;
    size_t least = 9;
    memcpy(t->unit, "    ", 5);
    while (text_next_line(&rest, &line)) {
        text indent = indent_of(line);
        if (indent.size == 0 || indent.size == line.size) continue;
        if (indent.bytes[0] == '\t') {
            memcpy(t->unit, "\t", 2);
            return;
        }
        if (indent.size >= 2 && indent.size < least) least = indent.size;
    }
    if (least > 8) return;
    memset(t->unit, ' ', least);
    t->unit[least] = 0;
}

static void one_type(typist *t)
{
    char c = t->target.bytes[t->done];
    if (c == '\n') {
        line_end_type(t);
        return;
    }
    if (chance(t, ACCEPT) && accept_try(t)) return;
    if (word_byte(c) && chance(t, SLIP)) slip_make(t);
    character_type(t);
}

status typist_type(typist *t, int32_t document, size_t at, text target, error *err)
{
    t->code = OK;
    t->err = err;
    document_show(t, document);
    unit_find(t);
    t->target = target;
    t->done = t->blank_indent = 0;
    t->after_brace = false;
    buffer_clear(&t->pending);
    move(t, TYPING_JUMP, at);
    while (t->code == OK && t->done < target.size) {
        one_type(t);
        if (t->pending.failed) t->code = fail(err, ERR_MEMORY, "out of memory for a typist");
        if (t->code == OK && t->blank_indent == 0) excursion_perhaps(t);
    }
    if (t->code == OK && t->blank_indent) put(t, TYPING_ERASE, t->blank_indent, 0, TEXT(""), 0);
    if (t->code == OK) pending_erase(t, t->pending.size);
    return t->code;
}
