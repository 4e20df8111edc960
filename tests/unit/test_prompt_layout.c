/* What a layout shows of a document: whole lines, and never more tokens than the budget. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/utf.h"
#include "context/prompt.h"
#include "context/prompt_text.h"
#include "context/prompt_units.h"
#include "context/secrets.h"
#include "tests/unit/support/prompt_fixture.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

enum { LINES = 6000, HEADS = 40 };

/* Lines of one file that are all different, more than any budget holds. */
static buffer many_lines(void)
{
    buffer b = {0};
    for (int i = 0; i < LINES; i++)
        buffer_print(&b, "%*sline_%06d = reckon_up(\"漢字 é\", line_%06d);\n", i % 3 * 4, "", i,
                     i / 2);
    return b;
}

/* Definitions whose heads have three lines each. */
static void many_heads(struct excerpt *items, char heads[HEADS][160])
{
    for (int i = 0; i < HEADS; i++) {
        snprintf(heads[i], sizeof heads[i],
                 "int head_%02d_begins(const char *name,\n    size_t size_of_it,\n    int "
                 "head_%02d_ends)",
                 i, i);
        items[i] = (struct excerpt){.path = TEXT("other.c"),
                                    .content = text_of(heads[i]),
                                    .from = (uint32_t)i * 1000,
                                    .reason = "test",
                                    .score = 2.0 - i * 0.01};
    }
}

/* Each line of the file in the prompt is a line of the file, and each head that begins also ends; the tail
 * is the last line, which `assert_tail_meets_gap` looks at. */
static void assert_nothing_is_cut(const struct prompt *p, text content, size_t *n_lines,
                                  size_t *n_heads)
{
    text rest = p->text, line;
    *n_lines = *n_heads = 0;
    while (text_next_line(&rest, &line)) {
        if (rest.size == 0 || text_find(line, TEXT("reckon_up"), 0) == SIZE_MAX) continue;
        buffer whole = {0};
        buffer_print(&whole, "%.*s\n", (int)line.size, line.bytes);
        size_t at = text_find(content, buffer_text(&whole), 0);
        assert_true(at != SIZE_MAX && (at == 0 || content.bytes[at - 1] == '\n'));
        buffer_free(&whole);
        ++*n_lines;
    }
    for (int i = 0; i < HEADS; i++) {
        char begin[40], end[80];
        snprintf(begin, sizeof begin, "head_%02d_", i);
        snprintf(end, sizeof end, "size_of_it,\n    int head_%02d_ends)", i);
        bool begins = text_find(p->text, text_of(begin), 0) != SIZE_MAX;
        assert_int_equal(begins, text_find(p->text, text_of(end), 0) != SIZE_MAX);
        *n_heads += begins;
    }
}

static void test_layouts_cut_nothing(void **state)
{
    (void)state;
    static const size_t budgets[] = {1024, 1531, 2048, 4096, 8192, 16384, 32768};
    struct excerpt items[HEADS];
    char heads[HEADS][160];
    buffer content = many_lines();
    many_heads(items, heads);
    const struct excerpts proposal = {.items = items, .n = HEADS};
    struct document_view d = view("a.py", buffer_text(&content));
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        size_t most = 0, n_lines, n_heads = 0;
        prompt_session *s = session();
        for (size_t k = 0; k <= 6; k++) {
            struct prompt p;
            struct prompt_options options = {
                .budget_tokens = budgets[i], .want_text = true, .proposal = &proposal};
            size_t at = utf8_floor(d.content, content.size * k / 6);
            at = k == 6 ? content.size : text_find(d.content, TEXT("\n"), at);
            assert_int_equal(prompt_build(&p, s, cl100k, &d, at, &options, NULL), OK);
            assert_true(p.ids.n <= budgets[i] && utf8_valid(p.text));
            assert_nothing_is_cut(&p, d.content, &n_lines, &n_heads);
            assert_tail_meets_gap(&p, d.content, at);
            if (p.ids.n > most) most = p.ids.n;
            assert_true(n_lines > 0);
            prompt_free(&p);
        }
        /* A fresh window takes half of its room, so that it can grow. */
        assert_true(most * 5 > budgets[i] * 2);
        assert_true(budgets[i] < 4096 || n_heads == HEADS);
        prompt_session_close(s);
    }
    buffer_free(&content);
}

/* Awkward lines: each has a number of its own, so that one is not taken for another. */
static void awkward_line_put(buffer *out, size_t number, uint64_t kind, uint64_t size)
{
    static const char *const pieces[] = {
        "aGVsbG8rd29ybGQ/",
        "x1+",
        "        ",
        "\t\t",
        "漢字かな",
        "\U0001F469\u200D\U0001F680 ",
        "é, ü. ",
        "\\\"",
        "``````",
        "a_long_name(i) ",
        "Ж",
        "=*=",
    };
    text piece = text_of(pieces[kind % (sizeof pieces / sizeof *pieces)]);
    size_t from = out->size;
    buffer_print(out, "%*sline_%05zu ", (int)(number % 4) * 4, "", number);
    while (out->size - from < size) buffer_put_text(out, piece);
}

/* Some lines are blank, most are short, some have kilobytes; `longest` bytes in one of them. */
static buffer awkward_file(uint64_t seed, size_t longest, bool crlf)
{
    enum { LINES_ALL = 160 };
    buffer b = {0};
    for (uint64_t i = 0; i < LINES_ALL; i++) {
        uint64_t dice = random_at(seed, 4 * i) % 100;
        size_t size = dice < 75 ? 40 : dice < 90 ? 900 : 30000;
        bool is_longest = i == LINES_ALL / 2;
        if (is_longest) size = longest;
        if (dice > 8 || is_longest)
            awkward_line_put(&b, i, random_at(seed, 4 * i + 1), random_at(seed, 4 * i + 2) % size);
        if (is_longest)
            while (b.size < longest) buffer_put_text(&b, TEXT("let a1 = \"é\" + b2; "));
        buffer_put_text(&b, crlf ? TEXT("\r\n") : TEXT("\n"));
    }
    secrets_mask(b.bytes, b.size);
    return b;
}

static bool is_letter(char c) { return isalnum((unsigned char)c) || c == '_' || c & 0x80; }

/* No word is cut at `at`, or one that is a large part of what is shown, or longer than any word. */
static void assert_between_words(text t, size_t at, size_t shown)
{
    assert_int_equal(utf8_floor(t, at), at);
    if (at == 0 || at >= t.size || !is_letter(t.bytes[at - 1]) || !is_letter(t.bytes[at])) return;
    size_t from = at, to = at;
    while (from > 0 && is_letter(t.bytes[from - 1])) from--;
    while (to < t.size && is_letter(t.bytes[to])) to++;
    assert_true(to - from > 200 || (to - from) * 4 >= shown);
}

static bool is_blank(text t) { return text_trim(t).size == 0; }

/* More tokens than that; white space has many bytes for each, and 16 KiB are long whatever they hold. */
static bool is_long(text line, size_t tokens)
{
    return tokenizer_count(cl100k, line) > tokens || line.size > tokens * 24 || line.size > 16000;
}

/* Of a document with "\n" line ends: [from, to) are whole lines. */
static void assert_whole_lines(text content, size_t from, size_t to)
{
    assert_true(from == 0 || content.bytes[from - 1] == '\n');
    assert_true(to == content.size || content.bytes[to - 1] == '\n');
}

/* Pieces of a block between fences, and our own words between them. */
struct pieces {
    buffer words, shown[16];
    size_t n;
};

static void pieces_read(struct pieces *out, const struct prompt *p, text block)
{
    bool inside = false;
    text line;
    *out = (struct pieces){.n = 0};
    while (text_next_line(&block, &line)) {
        text info = text_slice(line, p->fence.size, line.size);
        if (text_starts(line, p->fence) && (info.size == 0 || text_is(info, "javascript"))) {
            inside = !inside;
            out->n += inside;
            assert_true(out->n <= sizeof out->shown / sizeof *out->shown);
            continue;
        }
        buffer *to = inside ? &out->shown[out->n - 1] : &out->words;
        buffer_put_text(to, line);
        buffer_put_char(to, '\n');
    }
    assert_false(inside);
}

static void pieces_free(struct pieces *p)
{
    buffer_free(&p->words);
    for (size_t i = 0; i < p->n; i++) buffer_free(&p->shown[i]);
}

static bool says(const struct pieces *p, const char *words)
{
    return text_find(buffer_text(&p->words), text_of(words), 0) != SIZE_MAX;
}

/* One place of one document as its prompt shows it. */
struct shown {
    const struct prompt *p;
    text content;        /* with "\n" line ends */
    size_t cursor, room; /* room: tokens of the budget for the file */
};

static void block_text(buffer *out, const struct shown *s, const char *kind)
{
    size_t at = 0;
    for (size_t i = 0; i < s->p->n_blocks; i++) {
        const struct prompt_block *b = &s->p->blocks[i];
        if (strcmp(b->kind, kind) == 0)
            tokenizer_decode(cl100k, out, s->p->ids.ids + at, b->n_tokens, true);
        at += b->n_tokens;
    }
    assert_int_equal(at, s->p->ids.n);
}

/* Where the tail begins; it is the gap's lines whole, or says that it is not. */
static size_t assert_tail(const struct shown *s)
{
    buffer b = {0};
    block_text(&b, s, "tail");
    buffer_put_text(&b, s->p->must_start_with);
    text all = buffer_text(&b);
    bool cut = text_starts(all, TEXT(SAYS_TAIL_CUT));
    size_t fence = text_find(all, s->p->fence, 0), begin = text_find(all, TEXT("\n"), fence) + 1;
    size_t size = all.size - begin, from = s->cursor - size;
    assert_true(fence != SIZE_MAX && begin > fence && size <= s->cursor);
    if (cut) {
        assert_between_words(text_slice(s->content, 0, s->cursor), from, size);
        assert_null(memchr(s->content.bytes + from, '\n', size));
        /* Of white space, a token holds many bytes. */
        size_t n = tokenizer_count(cl100k, text_slice(s->content, from, s->cursor));
        assert_true(n * 8 >= s->room || size >= s->room);
    } else {
        assert_true(from == 0 || s->content.bytes[from - 1] == '\n');
    }
    buffer_free(&b);
    return cut ? SIZE_MAX : from;
}

/* What stands between two shown pieces are lines that are long beside the room there is, and blank ones;
 * returns how many. */
static size_t assert_left_out(const struct shown *s, text gone)
{
    text line;
    size_t n = 0;
    while (text_next_line(&gone, &line)) {
        if (is_blank(line)) continue;
        assert_true(is_long(line, s->room / 5));
        n++;
    }
    return n;
}

static size_t line_start(text content, size_t at)
{
    while (at > 0 && content.bytes[at - 1] != '\n') at--;
    return at;
}

/* The lines above: whole, in their order, up to the tail, and nothing is missing that is not said. */
static void assert_window(const struct shown *s, size_t end)
{
    buffer b = {0};
    struct pieces p;
    block_text(&b, s, "prefix");
    pieces_read(&p, s->p, buffer_text(&b));
    size_t n_said = 0, at = 0;
    while ((at = text_find(buffer_text(&p.words), TEXT(SAYS_LEFT_OUT), at)) != SIZE_MAX)
        n_said++, at++;
    bool tail_is_cut = end == SIZE_MAX;
    if (tail_is_cut) assert_int_equal(p.n + n_said, 0);
    for (size_t i = p.n; i > 0 && !tail_is_cut; i--) {
        text piece = buffer_text(&p.shown[i - 1]);
        size_t from = end - piece.size;
        bool meets = piece.size <= end && text_equal(text_slice(s->content, from, end), piece) &&
                     from == line_start(s->content, from);
        if (!meets) { /* then a line is left out before the one below */
            from = SIZE_MAX;
            for (at = 0; (at = text_find(s->content, piece, at)) < end; at++)
                if (at == line_start(s->content, at)) from = at;
            assert_true(from != SIZE_MAX && n_said > 0);
            text gone = text_slice(s->content, from + piece.size, end);
            size_t n_gone = assert_left_out(s, gone);
            assert_true(n_gone <= n_said);
            n_said -= n_gone;
        }
        assert_whole_lines(s->content, from, from + piece.size);
        end = from;
    }
    for (; n_said > 0; n_said--) { /* the first of all, above what is shown */
        for (at = end; at > 0 && is_blank(text_slice(s->content, at, end));)
            at = line_start(s->content, at - 1);
        assert_int_equal(assert_left_out(s, text_slice(s->content, at, end)), 1);
        end = at;
    }
    pieces_free(&p);
    buffer_free(&b);
}

/* Lines below: whole, and only long ones between them and the gap. */
static void assert_below(const struct shown *s)
{
    buffer b = {0};
    struct pieces p;
    block_text(&b, s, "suffix");
    pieces_read(&p, s->p, buffer_text(&b));
    assert_true(p.n <= 1);
    size_t line_end = text_find(s->content, TEXT("\n"), s->cursor);
    text below = text_slice(s->content, line_end + 1, s->content.size), line;
    if (line_end == SIZE_MAX) below = TEXT("");
    size_t n_long = 0;
    while (p.n) {
        text piece = buffer_text(&p.shown[0]), rest = below;
        if (text_starts(below, piece)) break;
        assert_true(text_next_line(&rest, &line));
        n_long += is_long(line, s->room / 16);
        below = rest;
    }
    if (says(&p, SAYS_BELOW) && p.n) assert_true(n_long > 0);
    pieces_free(&p);
    buffer_free(&b);
}

/* The rest of the gap's line, or the beginning of it, which is said. */
static void assert_behind(const struct shown *s)
{
    buffer b = {0};
    struct pieces p;
    block_text(&b, s, "behind");
    pieces_read(&p, s->p, buffer_text(&b));
    size_t end = text_find(s->content, TEXT("\n"), s->cursor);
    text rest = text_trim(text_slice(s->content, s->cursor, end)), line = TEXT("");
    text shown = p.n ? buffer_text(&p.shown[0]) : TEXT("");
    text_next_line(&shown, &line);
    if (says(&p, HEADING_BEHIND_CUT)) {
        assert_true(text_starts(rest, line) && line.size < rest.size);
        assert_between_words(rest, line.size, line.size);
    } else if (rest.size && p.n) {
        assert_true(text_equal(rest, line));
    }
    pieces_free(&p);
    buffer_free(&b);
}

/* The smallest budget that is accepted for an empty document of this path. */
static size_t smallest_budget(const char *path)
{
    struct document_view d = view(path, TEXT(""));
    for (size_t budget = 300;; budget++) {
        struct prompt p;
        prompt_session *s = session();
        struct prompt_options options = {.budget_tokens = budget};
        status code = prompt_build(&p, s, cl100k, &d, 0, &options, NULL);
        prompt_session_close(s);
        prompt_free(&p);
        assert_true(budget < 600);
        if (code == OK) return budget;
    }
}

/* Half of the budgets are small, where parts have little to share. */
static size_t random_budget(uint64_t seed, size_t smallest)
{
    size_t largest = random_at(seed, 0) % 2 ? 32768 : 2048;
    return smallest + random_at(seed, 1) % (largest - smallest + 1);
}

static void assert_shown(const struct prompt *p, text content, size_t cursor, size_t room)
{
    buffer unix_text = {0}, above = {0};
    unix_lines_put(&unix_text, content);
    unix_lines_put(&above, text_slice(content, 0, cursor));
    struct shown s = {p, buffer_text(&unix_text), above.size, room};
    assert_encoded_as_whole(&p->ids);
    assert_window(&s, assert_tail(&s));
    assert_below(&s);
    assert_behind(&s);
    buffer_free(&unix_text);
    buffer_free(&above);
}

/* Whatever stands in a file: what the smallest budget accepts for an empty one is accepted, kept to the
 * token, and filled with whole lines. A megabyte in one line is one of the files. */
static void test_awkward_files_are_shown_in_whole_lines(void **state)
{
    (void)state;
    enum { FILES = 14, PLACES = 14 };
    size_t smallest = smallest_budget("a.js");
    for (uint64_t i = 0; i < FILES; i++) {
        buffer content = awkward_file(i, i % 4 ? 20000 : MIB, i % 3 == 0);
        struct document_view d = view("a.js", buffer_text(&content));
        prompt_session *s = session();
        for (uint64_t k = 0; k < PLACES; k++) {
            struct prompt p;
            size_t budget = k ? random_budget(100 * i + k, smallest) : smallest;
            size_t cursor = random_at(i, 1000 + k) % (content.size + 1);
            if (k % 3 == 1) cursor = text_find(d.content, TEXT("\n"), cursor);
            if (cursor > content.size) cursor = content.size;
            while (cursor < content.size && utf8_floor(d.content, cursor) != cursor) cursor--;
            if (cursor && d.content.bytes[cursor - 1] == '\r') cursor--;
            build(&p, s, &d, cursor, budget);
            assert_shown(&p, d.content, cursor, budget - smallest + 64);
            prompt_free(&p);
        }
        prompt_session_close(s);
        buffer_free(&content);
    }
}

/* Types into `before | after`; how many of the prompts had more than 64 tokens that the one before did not
 * have. A part of what must be shown stands in each. */
static size_t cold_prompts(const buffer *before, const buffer *after, const char *must_show)
{
    static const char typed[] = "let total = 0;\nfor (const row of rows) total += row.size;\n";
    prompt_session *s = session();
    size_t n_cold = 0;
    for (size_t n = 0; n < sizeof typed; n++) {
        buffer all = {0};
        struct prompt p;
        buffer_put_text(&all, buffer_text(before));
        buffer_put_text(&all, text_slice(text_of(typed), 0, n));
        size_t cursor = all.size;
        buffer_put_text(&all, buffer_text(after));
        struct document_view d = view("a.js", buffer_text(&all));
        build(&p, s, &d, cursor, 8192);
        n_cold += n > 0 && p.ids.n - p.n_reused > 64;
        assert_true(text_find(p.text, text_of(must_show), 0) != SIZE_MAX);
        prompt_free(&p);
        buffer_free(&all);
    }
    prompt_session_close(s);
    return n_cold;
}

/* Who types on a long line, above or below one computes no more anew than elsewhere, and sees what stands
 * behind it. */
static void test_long_lines_keep_the_prompt(void **state)
{
    (void)state;
    buffer code = {0}, line = {0}, above = {0}, none = {0};
    for (int i = 0; i < 900; i++)
        buffer_print(&code, "function work_%d(a) {\n    return a * %d;\n}\n\n", i, i);
    for (int i = 0; i < 20000; i++) buffer_print(&line, "x%d+", i);
    assert_in_range(cold_prompts(&line, &none, "Task: fill the gap in a.js"), 0, 3);
    buffer_put_text(&line, TEXT("\n"));
    assert_in_range(cold_prompts(&code, &line, "work_890"), 0, 3);
    buffer_put_text(&above, buffer_text(&code));
    buffer_put_text(&above, buffer_text(&line));
    assert_in_range(cold_prompts(&above, &none, "work_890"), 0, 3);
    buffer_put_text(&line, TEXT("what_stands_below();\n"));
    buffer_put_text(&code, TEXT("    "));
    buffer_put_char(&none, '\n');
    buffer_put_text(&none, buffer_text(&line));
    assert_in_range(cold_prompts(&code, &none, "what_stands_below();\n```\n"), 0, 3);
    buffer_free(&code);
    buffer_free(&line);
    buffer_free(&above);
    buffer_free(&none);
}

/* One hostile document at several places and budgets. */
static void check_hostile(const char *path, text content)
{
    static const size_t budgets[] = {530, 900, 8192};
    prompt_session *s = session();
    for (size_t i = 0; i < 9; i++) {
        struct document_view d = view(path, content);
        struct prompt p;
        build(&p, s, &d, content.size * i / 8, budgets[i % 3]);
        assert_encoded_as_whole(&p.ids);
        prompt_free(&p);
    }
    prompt_session_close(s);
}

static void test_hostile_documents(void **state)
{
    (void)state;
    buffer b = {0};
    check_hostile("", TEXT(""));
    check_hostile("a\nb\x1b[31m.c", TEXT("\n"));
    check_hostile("a.c", TEXT("\r\n\r\n\r\n"));
    check_hostile("a.c", TEXT("\0\0\0\n\0"));
    check_hostile("a.c", TEXT("\xff\xfe\xc3\n\xe2\x80\n\xf0\x9f\x98"));
    for (int i = 0; i < 400000; i++) buffer_put_text(&b, TEXT("x1+"));
    check_hostile("one_line.js", buffer_text(&b));
    buffer_clear(&b);
    for (int i = 0; i < 300000; i++) buffer_put_text(&b, TEXT("\n"));
    check_hostile("blank.c", buffer_text(&b));
    buffer_clear(&b);
    for (int i = 0; i < 300000; i++) buffer_put_text(&b, TEXT(" "));
    check_hostile("spaces.c", buffer_text(&b));
    buffer_clear(&b);
    for (int i = 0; i < 100000; i++) buffer_put_text(&b, TEXT("`"));
    check_hostile("ticks.md", buffer_text(&b));
    buffer_clear(&b);
    for (int i = 0; i < 30000; i++) buffer_put_text(&b, TEXT("漢字\U0001F600"));
    check_hostile("han.txt", buffer_text(&b));
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts_cut_nothing),
        cmocka_unit_test(test_awkward_files_are_shown_in_whole_lines),
        cmocka_unit_test(test_long_lines_keep_the_prompt),
        cmocka_unit_test(test_hostile_documents),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
