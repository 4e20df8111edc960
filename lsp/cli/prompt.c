/* `dbrx-ls prompt`: shows what would be sent for a completion: blocks, reasons, tokens, text. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/utf.h"
#include "context/exclude.h"
#include "context/prompt.h"
#include "lsp/cli/command.h"

static const char usage[] =
    "usage: dbrx-ls prompt FILE:LINE:COL [OPTIONS]\n"
    "       dbrx-ls prompt --batch [OPTIONS] < FILE:LINE:COL by lines\n\n"
    "Shows the prompt for completing FILE at LINE and COL (both from 1, COL in characters).";

struct prompt_request {
    bool json, batch;
    const char *model;
    int64_t budget;
};

/* One place of one file, opened. */
struct place {
    char path[4096];
    size_t cursor;
    buffer content;
    int64_t read_us;
};

/* The number behind the last colon of path, which is cut off there; 0 when there is none. */
static uint32_t number_cut(char *path)
{
    char *colon = strrchr(path, ':'), *end;
    if (!colon || !isdigit((unsigned char)colon[1])) return 0;
    errno = 0;
    unsigned long n = strtoul(colon + 1, &end, 10);
    if (errno || *end || n > UINT32_MAX) return 0;
    *colon = 0;
    return (uint32_t)n;
}

/* Where the line begins (from 1); lines past the end count as its end. */
static size_t line_offset(text content, uint32_t line)
{
    size_t at = 0;
    for (uint32_t i = 1; i < line; i++) {
        size_t end = text_find(content, TEXT("\n"), at);
        if (end == SIZE_MAX) return content.size;
        at = end + 1;
    }
    return at;
}

static status place_open(struct place *p, const char *word, error *err)
{
    *p = (struct place){.cursor = 0};
    if (strlen(word) >= sizeof p->path)
        return fail(err, ERR_USAGE, "\"%.40s...\" is too long for a path", word);
    memcpy(p->path, word, strlen(word) + 1);
    uint32_t column = number_cut(p->path), line = column ? number_cut(p->path) : 0;
    if (line == 0)
        return fail(err, ERR_USAGE, "found \"%s\", expected FILE:LINE:COL, both from 1", word);
    const char *excluded = exclude_reason(text_of(p->path));
    if (excluded)
        return fail(err, ERR_UNSUPPORTED, "%s never reaches a model: %s", p->path, excluded);
    int64_t from_us = clock_us();
    status code = file_read(&p->content, p->path, DOCUMENT_MODEL_MAX, err);
    if (code != OK) return code;
    text all = buffer_text(&p->content), rest, row = TEXT("");
    size_t at = line_offset(all, line);
    rest = text_slice(all, at, all.size);
    text_next_line(&rest, &row);
    p->cursor = at + column_to_byte(row, column - 1, ENCODING_UTF32);
    p->read_us = clock_us() - from_us;
    return OK;
}

/* Ill-formed bytes of files become U+FFFD: JSON is UTF-8. */
static json_t *json_of(text t)
{
    buffer good = {0};
    char bytes[4];
    for (size_t at = 0, size; at < t.size; at += size) {
        uint32_t c = utf8_decode(t, at, &size);
        buffer_put(&good, bytes, utf8_encode(c, bytes));
    }
    json_t *string = json_stringn(good.bytes ? good.bytes : "", good.size);
    buffer_free(&good);
    return string;
}

static json_t *block_json(const struct prompt_block *b)
{
    return json_pack("{s:s, s:o, s:s, s:I, s:f, s:i, s:b}", "kind", b->kind, "path",
                     json_of(b->path), "reason", b->reason, "tokens", (json_int_t)b->n_tokens,
                     "score", b->score, "age", b->age, "cached", b->reused);
}

static void print_json(const struct prompt *p, const struct place *place)
{
    json_t *blocks = json_array();
    for (size_t i = 0; i < p->n_blocks; i++)
        json_array_append_new(blocks, block_json(&p->blocks[i]));
    json_t *all =
        json_pack("{s:o, s:I, s:I, s:{s:f, s:f, s:f}, s:o}", "blocks", blocks, "tokens",
                  (json_int_t)p->ids.n, "tokens_reused", (json_int_t)p->n_reused, "ms", "read",
                  (double)place->read_us / 1e3, "layout", (double)p->layout_us / 1e3, "tokenize",
                  (double)p->tokenize_us / 1e3, "text", json_of(p->text));
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

/* Escape sequences in a file must not reach a terminal. */
static void print_text(text t)
{
    for (size_t i = 0; i < t.size; i++) {
        unsigned char c = (unsigned char)t.bytes[i];
        putchar((c < ' ' && c != '\n' && c != '\t') || c == 0x7F ? '?' : c);
    }
}

static void print_human(const struct prompt *p, const struct place *place)
{
    printf("%-8s %6s %-6s %5s %5s  %s\n", "block", "tokens", "cached", "score", "age", "reason");
    for (size_t i = 0; i < p->n_blocks; i++) {
        const struct prompt_block *b = &p->blocks[i];
        printf("%-8s %6zu %-6s %5.2f %5d  %s", b->kind, b->n_tokens, b->reused ? "yes" : "no",
               b->score, b->age, b->reason);
        if (b->path.size) printf(" (");
        print_text(b->path);
        printf(b->path.size ? ")\n" : "\n");
    }
    printf("%-8s %6zu tokens, %zu reused; read %.2f ms, layout %.2f ms, tokenize %.2f ms\n\n",
           "all", p->ids.n, p->n_reused, (double)place->read_us / 1e3, (double)p->layout_us / 1e3,
           (double)p->tokenize_us / 1e3);
    print_text(p->text);
    putchar('\n');
}

static status place_show(const struct prompt_request *r, const tokenizer *t, prompt_session *s,
                         const char *word, error *err)
{
    struct place place;
    struct prompt p = {0};
    struct prompt_options options = {.budget_tokens = (size_t)r->budget, .want_text = true};
    status code = place_open(&place, word, err);
    if (code == OK) {
        struct document_view d = {text_of(place.path), TEXT(""), buffer_text(&place.content)};
        code = prompt_build(&p, s, t, &d, place.cursor, &options, err);
    }
    if (code == OK && (r->json || r->batch))
        print_json(&p, &place);
    else if (code == OK)
        print_human(&p, &place);
    fflush(stdout);
    prompt_free(&p);
    buffer_free(&place.content);
    return code;
}

/* Each file has a session of its own, as in an editor; consecutive places share it. */
static int batch_run(const struct prompt_request *r, const tokenizer *t)
{
    char *line = NULL, session_path[4096] = "";
    size_t room = 0;
    ssize_t size;
    prompt_session *s = NULL;
    error err;
    int exit_code = EXIT_DONE;
    while ((size = getline(&line, &room, stdin)) > 0) {
        if (line[size - 1] == '\n') line[size - 1] = 0;
        size_t path_size = strlen(line);
        for (int colons = 0; path_size > 0 && colons < 2;) colons += line[--path_size] == ':';
        if (!s || strlen(session_path) != path_size || memcmp(line, session_path, path_size) != 0) {
            prompt_session_close(s);
            s = NULL;
            snprintf(session_path, sizeof session_path, "%.*s", (int)path_size, line);
        }
        status code = s ? OK : prompt_session_open(&s, &err);
        if (code == OK) code = place_show(r, t, s, line, &err);
        if (code != OK) {
            exit_code = command_fail("prompt", &err);
            json_t *report = json_pack("{s:o}", "error", json_of(text_of(err.message)));
            json_dumpf(report, stdout, JSON_COMPACT);
            putchar('\n');
            json_decref(report);
        }
    }
    prompt_session_close(s);
    free(line);
    return exit_code;
}

static int single_run(const struct prompt_request *r, const tokenizer *t, const char *word)
{
    prompt_session *s = NULL;
    error err;
    status code = prompt_session_open(&s, &err);
    if (code == OK) code = place_show(r, t, s, word, &err);
    prompt_session_close(s);
    return code == OK ? EXIT_DONE : command_fail("prompt", &err);
}

int command_prompt(int argc, char **argv)
{
    struct prompt_request r = {.model = getenv("DBRX_MODEL"), .budget = 8192};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &r.json, NULL, "one JSON object instead of a table", 0, 0},
        {"batch", OPTION_FLAG, &r.batch, NULL, "places from stdin, one JSON object per line", 0, 0},
        {"model", OPTION_TEXT, &r.model, "DIR", "whose tokenizer (default: the embedded one)", 0,
         0},
        {"budget", OPTION_INTEGER, &r.budget, "N", "tokens of the whole prompt (default 8192)", 1,
         SEQUENCE_TOKENS_MAX},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    tokenizer *t = NULL;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    if (n_rest != (r.batch ? 0 : 1)) {
        fail(&err, ERR_USAGE, "expected %s (see --help)",
             r.batch ? "no place beside --batch" : "one FILE:LINE:COL");
        return command_fail("prompt", &err);
    }
    if (tokenizer_open(&t, r.model, &err) != OK) return command_fail("prompt", &err);
    exit_code = r.batch ? batch_run(&r, t) : single_run(&r, t, argv[1]);
    tokenizer_close(t);
    return exit_code;
}
