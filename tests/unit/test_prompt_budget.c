/* Budgets hold to the token: for completions with excerpts and a map, for every task, for commit messages.
 * Tokens are counted by encoding each whole prompt anew, in one piece between control tokens. */
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
#include "context/commit_prompt.h"
#include "context/secrets.h"
#include "context/task.h"
#include "tests/unit/support/prompt_fixture.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

enum { BUDGET_LARGEST = 32768, EXCERPTS = 60, MAP_LINES = 150 };

static const char *const sources[] = {"context/prompt_window.c", "tests/mutations.py",
                                      "editors/vscode/src/extension.ts", "README.md",
                                      "tests/package-lock.json"};
enum { SOURCES = sizeof sources / sizeof *sources };

/* Lines whose values are masked. */
static void secrets_put(buffer *out, uint64_t seed, size_t n)
{
    static const char *const words[] = {"authentication", "internationalization", "Administrator",
                                        "consideration", "undefined"};
    for (size_t i = 0; i < n; i++)
        buffer_print(out, "    password_%zu = \"%s%s\"\n", i, words[random_at(seed, 2 * i) % 5],
                     words[random_at(seed, 2 * i + 1) % 5]);
}

/* A file of the repository with such lines in the middle of it. */
static buffer source_with_secrets(size_t i)
{
    buffer file = {0}, all = {0};
    error err;
    assert_int_equal(file_read(&file, sources[i], MIB, &err), OK);
    text content = buffer_text(&file);
    size_t middle = text_find(content, TEXT("\n"), content.size / 2) + 1;
    buffer_put_text(&all, text_slice(content, 0, middle));
    secrets_put(&all, i, 400);
    buffer_put_text(&all, text_slice(content, middle, content.size));
    buffer_free(&file);
    return all;
}

static buffer contents[SOURCES];

/* Whole lines of a file from about `at` on. */
static text lines_of(text content, size_t at, size_t n_lines)
{
    size_t from = text_find(content, TEXT("\n"), at % content.size), end = from;
    if (from == SIZE_MAX) return text_slice(content, 0, text_find(content, TEXT("\n"), 0) + 1);
    for (size_t i = 0; i < n_lines && end != SIZE_MAX; i++)
        end = text_find(content, TEXT("\n"), end + 1);
    return text_slice(content, from + 1, end == SIZE_MAX ? content.size : end + 1);
}

/* Definitions, signatures and windows of other files. */
static void proposal_make(struct excerpts *out, struct excerpt items[EXCERPTS], uint64_t seed)
{
    for (uint64_t i = 0; i < EXCERPTS; i++) {
        size_t file = random_at(seed, 5 * i) % SOURCES;
        text content = buffer_text(&contents[file]);
        size_t at = random_at(seed, 5 * i + 1) % content.size;
        uint64_t kind = random_at(seed, 5 * i + 2) % 3;
        size_t n_lines = kind == 1 ? 1 : 1 + random_at(seed, 5 * i + 3) % 30;
        text lines = lines_of(content, at, n_lines);
        items[i] = (struct excerpt){.path = text_of(sources[file]),
                                    .content = lines,
                                    .line = kind == 1 ? 0 : (uint32_t)at + 1,
                                    .n_lines = (uint32_t)n_lines,
                                    .from = (uint32_t)at,
                                    .source = kind == 2 ? SOURCE_SIMILAR : SOURCE_DEFINITION,
                                    .reason = "test",
                                    .score = 2.0 - (double)i * 0.01};
        if (kind == 0) items[i].head = lines_of(lines, 0, 1);
    }
    *out = (struct excerpts){.items = items, .n = EXCERPTS};
}

static struct repository_map map_make(struct map_line lines[MAP_LINES], uint64_t key)
{
    for (uint64_t i = 0; i < MAP_LINES; i++) {
        text content = buffer_text(&contents[i % SOURCES]);
        text line = text_trim(lines_of(content, random_at(key, i) % content.size, 1));
        lines[i] = (struct map_line){text_of(sources[i % SOURCES]), line.size ? line : TEXT("x")};
    }
    return (struct repository_map){.lines = lines, .n = MAP_LINES, .key = key};
}

static size_t random_budget(uint64_t seed, size_t smallest)
{
    size_t largest = random_at(seed, 0) % 2 ? BUDGET_LARGEST : 3000;
    return smallest + random_at(seed, 1) % (largest - smallest + 1);
}

static size_t blocks_sum(const struct prompt *p)
{
    size_t sum = 0;
    for (size_t i = 0; i < p->n_blocks; i++) sum += p->blocks[i].n_tokens;
    return sum;
}

static size_t count_of(const struct prompt *p, const char *kind)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_blocks; i++) n += strcmp(p->blocks[i].kind, kind) == 0;
    return n;
}

/* Of one session budgets change from prompt to prompt, also where nothing new is proposed. */
static void test_completions(void **state)
{
    (void)state;
    size_t n_maps = 0, n_excerpts = 0;
    for (uint64_t i = 0; i < SOURCES; i++) {
        struct excerpt items[EXCERPTS];
        struct map_line lines[MAP_LINES];
        struct document_view d = view(sources[i], buffer_text(&contents[i]));
        prompt_session *s = session();
        for (uint64_t k = 0; k < 24; k++) {
            struct excerpts proposal;
            struct repository_map map = map_make(lines, 1 + k / 8);
            uint64_t dice = random_at(i, 300 + k);
            struct prompt_options options = {.budget_tokens = random_budget(100 * i + k, 480),
                                             .want_text = true,
                                             .proposal = dice % 3 ? &proposal : NULL,
                                             .map = dice % 5 ? &map : NULL};
            if (k == 0) options.budget_tokens = 480;
            if (k == 1) options.budget_tokens = BUDGET_LARGEST;
            proposal_make(&proposal, items, 10 * i + k / 3);
            size_t cursor = utf8_floor(d.content, random_at(i, k) % d.content.size);
            struct prompt p;
            error err = {0};
            status code = prompt_build(&p, s, cl100k, &d, cursor, &options, &err);
            if (code != OK)
                print_error("%s, budget %zu: %s\n", sources[i], options.budget_tokens, err.message);
            assert_int_equal(code, OK);
            assert_true(p.ids.n <= options.budget_tokens);
            assert_encoded_as_whole(&p.ids);
            assert_int_equal(blocks_sum(&p), p.ids.n);
            n_maps += count_of(&p, "map");
            n_excerpts += count_of(&p, "excerpt");
            prompt_free(&p);
        }
        prompt_session_close(s);
    }
    assert_true(n_maps > 30 && n_excerpts > 300);
}

/* The smallest budget at which a task's prompt is made; one less is refused. */
static size_t smallest_task_budget(struct task_request *q, struct unit_cache *units)
{
    size_t low = 0, high = BUDGET_LARGEST;
    while (low < high) {
        struct task_prompt p;
        q->budget_tokens = low + (high - low) / 2;
        status code = task_prompt_build(&p, units, cl100k, q, NULL);
        task_prompt_free(&p);
        assert_true(code == OK || code == ERR_LIMIT);
        if (code == OK)
            high = q->budget_tokens;
        else
            low = q->budget_tokens + 1;
    }
    return low;
}

static void check_task(struct task_request *q, struct unit_cache *units, size_t budget)
{
    struct task_prompt p;
    error err = {0};
    q->budget_tokens = budget;
    status code = task_prompt_build(&p, units, cl100k, q, &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    if (p.ids.n > budget) print_error("task %d: %zu tokens of %zu\n", q->task, p.ids.n, budget);
    assert_true(p.ids.n <= budget);
    assert_encoded_as_whole(&p.ids);
    task_prompt_free(&p);
}

static void test_tasks(void **state)
{
    (void)state;
    struct unit_cache units = {0};
    struct excerpt items[EXCERPTS];
    struct map_line lines[MAP_LINES];
    struct repository_map map = map_make(lines, 1);
    for (uint64_t i = 0; i < SOURCES * N_TASKS; i++) {
        struct excerpts proposal;
        proposal_make(&proposal, items, i);
        text content = buffer_text(&contents[i % SOURCES]);
        /* Near the secrets, which no edit may touch. */
        text piece = lines_of(content, random_at(77, i) % (content.size / 3), 1 + i % 40);
        size_t from = (size_t)(piece.bytes - content.bytes), to = from + piece.size - 1;
        struct task_request q = {.task = (enum task)(i / SOURCES),
                                 .document = view(sources[i % SOURCES], content),
                                 .from_byte = from,
                                 .to_byte = to,
                                 .line = 1,
                                 .details = lines_of(content, 2000 * i, i % 7),
                                 .human_language = TEXT("German"),
                                 .excerpts = i % 3 ? &proposal : NULL,
                                 .map = i % 2 ? &map : NULL,
                                 .map_tokens = 512};
        size_t at, end;
        if (secret_find(piece, 0, &at, &end)) continue;
        size_t smallest = smallest_task_budget(&q, &units);
        assert_in_range(smallest, 150, 4000);
        check_task(&q, &units, smallest);
        for (uint64_t k = 0; k < 3; k++) check_task(&q, &units, random_budget(3 * i + k, smallest));
    }
    unit_cache_free(&units);
}

/* A staged change: patches of real lines, some with a line of kilobytes; names that are long. */
static void facts_make(struct commit_facts *out, arena *memory, uint64_t seed, size_t n_files)
{
    *out = (struct commit_facts){.branch = "a-branch", .human_language = TEXT("German")};
    out->diff.files = arena_take(memory, n_files + 1, sizeof *out->diff.files);
    out->recent.commits = arena_take(memory, 40, sizeof *out->recent.commits);
    out->own = out->recent;
    for (out->recent.n = 0; out->recent.n < 40; out->recent.n++)
        out->recent.commits[out->recent.n].subject =
            text_trim(lines_of(buffer_text(&contents[0]), 700 * out->recent.n, 1));
    out->own.n = out->recent.n;
    for (size_t i = 0; i < n_files; i++) {
        text content = buffer_text(&contents[random_at(seed, 3 * i) % SOURCES]);
        text lines = lines_of(content, random_at(seed, 3 * i + 1) % content.size, i % 90), line;
        buffer patch = {0};
        while (text_next_line(&lines, &line))
            buffer_print(&patch, "%s%.*s\n", i % 2 ? "+" : "-", (int)line.size, line.bytes);
        if (i % 7 == 3)
            for (int k = 0; k < 3000; k++) buffer_print(&patch, "x%d+é漢", k);
        char *path =
            arena_print(memory, "some/folder_%03zu/with a long name/file_%zu.c", i % 37, i);
        secrets_mask(patch.bytes, patch.size);
        out->diff.files[out->diff.n++] = (struct diff_file){
            .path = text_of(path),
            .old_path = text_of(path),
            .change = i % 5 ? 'M' : 'R',
            .n_added = i,
            .patch = {arena_copy(memory, patch.bytes, patch.size), patch.size},
        };
        buffer_free(&patch);
    }
    secrets_put(&out->template, seed, 30);
}

static void assert_commit_prompt(token_list *ids, size_t budget)
{
    if (ids->n > budget) print_error("%zu tokens of %zu\n", ids->n, budget);
    assert_true(ids->n <= budget);
    assert_encoded_as_whole(ids);
    ids->n = 0;
}

static void check_commit(const struct commit_facts *facts, size_t budget)
{
    struct commit_plan plan;
    token_list ids = {0};
    text said[COMMIT_PARTS_MAX];
    assert_int_equal(commit_plan_make(&plan, facts, cl100k, budget, NULL), OK);
    for (size_t i = 0; i < plan.n_parts; i++) {
        said[i] = text_slice(buffer_text(&contents[i % SOURCES]), 0, 400 * i * i);
        assert_int_equal(commit_prompt_part(&ids, &plan, i, NULL), OK);
        assert_commit_prompt(&ids, budget);
    }
    assert_int_equal(commit_prompt_final(&ids, &plan, said, NULL), OK);
    assert_commit_prompt(&ids, budget);
    commit_plan_free(&plan);
    token_list_free(&ids);
}

static void test_commit_messages(void **state)
{
    (void)state;
    static const size_t n_files[] = {1, 3, 12, 60, 400};
    for (uint64_t i = 0; i < sizeof n_files / sizeof *n_files; i++) {
        struct commit_facts facts;
        arena memory = {0};
        facts_make(&facts, &memory, i, n_files[i]);
        check_commit(&facts, 1536);
        for (uint64_t k = 0; k < 6; k++) check_commit(&facts, random_budget(31 * i + k, 1536));
        buffer_free(&facts.template);
        arena_reset(&memory);
    }
}

static int open_all(void **state)
{
    for (size_t i = 0; i < SOURCES; i++) contents[i] = source_with_secrets(i);
    return fixture_open(state);
}

static int close_all(void **state)
{
    for (size_t i = 0; i < SOURCES; i++) buffer_free(&contents[i]);
    return fixture_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completions),
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_commit_messages),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
