#include "lsp/cli/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char *const verdict_names[] = {"ok", "warn", "fail"};

static struct report_row *row_add(struct report *r, const char *name)
{
    if (r->n_rows == REPORT_ROWS_MAX) return NULL;
    struct report_row *row = &r->rows[r->n_rows++];
    *row = (struct report_row){.name = name, .advice = ""};
    return row;
}

void report_put(struct report *r, const char *name, enum verdict verdict, const char *advice,
                const char *format, ...)
{
    struct report_row *row = row_add(r, name);
    va_list arguments;
    if (!row) return;
    row->verdict = verdict;
    row->advice = advice;
    va_start(arguments, format);
    vsnprintf(row->value, sizeof row->value, format, arguments);
    va_end(arguments);
}

void report_put_setting(struct report *r, const char *name, const char *value, const char *source)
{
    struct report_row *row = row_add(r, name);
    if (!row) return;
    snprintf(row->value, sizeof row->value, "%s", value);
    row->source = source;
}

bool report_failed(const struct report *r)
{
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].verdict == VERDICT_FAIL) return true;
    return false;
}

static status print_json(const struct report *r, error *err)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n_rows; i++) {
        const struct report_row *row = &r->rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:s, s:o, s:s?, s:s}", "name", row->name,
                                              "verdict", verdict_names[row->verdict], "value",
                                              text_json(text_of(row->value)), "source", row->source,
                                              "advice", row->advice));
    }
    json_t *all = json_pack("{s:s, s:b, s:o}", "version", DBRX_VERSION, "ok", !report_failed(r),
                            "rows", rows);
    char *line = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    if (!line) return fail(err, ERR_MEMORY, "out of memory for the report");
    printf("%s\n", line);
    free(line);
    return OK;
}

static void print_human(const struct report *r)
{
    printf("%-5s %-18s %s\n", "ok", "version", DBRX_VERSION);
    for (size_t i = 0; i < r->n_rows; i++) {
        const struct report_row *row = &r->rows[i];
        printf("%-5s %-18s ", verdict_names[row->verdict], row->name);
        terminal_print(text_of(row->value));
        if (row->source) printf(" (%s)", row->source);
        putchar('\n');
        if (row->advice[0]) printf("%-24s -> %s\n", "", row->advice);
    }
}

status report_print(const struct report *r, bool json, error *err)
{
    status s = OK;
    if (json)
        s = print_json(r, err);
    else
        print_human(r);
    if (s == OK && (fflush(stdout) != 0 || ferror(stdout)))
        s = fail(err, ERR_IO, "stdout: %s", strerror(errno));
    return s;
}
