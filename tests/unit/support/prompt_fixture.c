#include "tests/unit/support/prompt_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

/* Last: it has a macro named fail. */
#include <cmocka.h>

tokenizer *cl100k;

int fixture_open(void **state)
{
    (void)state;
    error err;
    return tokenizer_open(&cl100k, NULL, &err) == OK ? 0 : -1;
}

int fixture_close(void **state)
{
    (void)state;
    tokenizer_close(cl100k);
    return 0;
}

struct document_view view(const char *path, text content)
{
    return (struct document_view){text_of(path), TEXT(""), content, NULL};
}

void build(struct prompt *p, prompt_session *s, const struct document_view *d, size_t cursor,
           size_t budget)
{
    error err = {0};
    struct prompt_options options = {.budget_tokens = budget, .want_text = true};
    status code = prompt_build(p, s, cl100k, d, cursor, &options, &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    assert_true(p->ids.n <= budget);
}

prompt_session *session(void)
{
    prompt_session *s;
    error err;
    assert_int_equal(prompt_session_open(&s, &err), OK);
    return s;
}

void assert_encoded_as_whole(const token_list *ids)
{
    token_list whole = {0};
    for (size_t at = 0; at < ids->n;) {
        buffer run = {0};
        size_t from = at;
        while (at < ids->n && !tokenizer_is_special(cl100k, ids->ids[at])) at++;
        tokenizer_decode(cl100k, &run, ids->ids + from, at - from, false);
        tokenizer_encode(cl100k, &whole, buffer_text(&run));
        if (at < ids->n) token_list_put(&whole, ids->ids[at++]);
        buffer_free(&run);
    }
    assert_int_equal(whole.n, ids->n);
    assert_memory_equal(whole.ids, ids->ids, whole.n * sizeof *whole.ids);
    token_list_free(&whole);
}

void assert_tail_meets_gap(const struct prompt *p, text content, size_t cursor)
{
    static const char open_turn[] = "<|im_start|>assistant\n";
    size_t at = 0, last = SIZE_MAX;
    while ((at = text_find(p->text, text_of(open_turn), at)) != SIZE_MAX) last = at++;
    assert_true(last != SIZE_MAX);
    buffer tail = {0};
    buffer_put_text(&tail, text_slice(p->text, last + strlen(open_turn), p->text.size));
    buffer_put_text(&tail, p->must_start_with);
    assert_true(text_starts(buffer_text(&tail), p->fence));
    size_t line_end = text_find(buffer_text(&tail), TEXT("\n"), 0);
    text lines = text_slice(buffer_text(&tail), line_end + 1, tail.size);
    assert_true(text_ends(text_slice(content, 0, cursor), lines));
    assert_true(line_end != SIZE_MAX && (cursor == 0 || lines.size > 0));
    buffer_free(&tail);
}
