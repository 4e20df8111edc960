/* What all subcommands share: errors as one line, options as a table. */
#include "lsp/cli/command.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int command_fail(const char *name, const error *err)
{
    fprintf(stderr, "dbrx-ls %s: %s\n", name, err->message);
    if (err->code == ERR_USAGE) return EXIT_USAGE;
    return err->code == ERR_DEVICE ? EXIT_DEVICE : EXIT_FAILED;
}

status command_write(text output, error *err)
{
    if (fwrite(output.bytes ? output.bytes : "", 1, output.size, stdout) != output.size ||
        fflush(stdout) != 0)
        return fail(err, ERR_IO, "stdout: %s", strerror(errno));
    return OK;
}

status command_write_json(struct json_t *value, error *err)
{
    char *line = value ? json_dumps(value, JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (!line) return fail(err, ERR_MEMORY, "out of memory for the summary");
    status s = command_write(text_of(line), err);
    if (s == OK) s = command_write(TEXT("\n"), err);
    free(line);
    return s;
}

static void print_help(const struct command_option *options, const char *usage)
{
    printf("%s\n", usage);
    if (options->name) printf("\nOptions:\n");
    for (const struct command_option *o = options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", o->name, o->argument ? o->argument : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

static const struct command_option *option_find(const struct command_option *options,
                                                const char *word)
{
    size_t size = strcspn(word, "=");
    for (const struct command_option *o = options; o->name; o++)
        if (strlen(o->name) == size && memcmp(o->name, word, size) == 0) return o;
    return NULL;
}

static status integer_set(const struct command_option *o, const char *value, error *err)
{
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    bool ranged = o->low != 0 || o->high != 0;
    if (errno != 0 || end == value || *end)
        return fail(err, ERR_USAGE, "--%s: found \"%s\", expected a whole number", o->name, value);
    if (ranged && (n < o->low || n > o->high))
        return fail(err, ERR_USAGE, "--%s: found %lld, expected %lld to %lld", o->name, n,
                    (long long)o->low, (long long)o->high);
    *(int64_t *)o->value = n;
    return OK;
}

static status number_set(const struct command_option *o, const char *value, error *err)
{
    char *end;
    double n = strtod(value, &end);
    if (end == value || *end || n != n)
        return fail(err, ERR_USAGE, "--%s: found \"%s\", expected a number", o->name, value);
    *(double *)o->value = n;
    return OK;
}

/* Bytes, or with a unit of 1024s: "512M", "1.5G", "8GiB". */
static status size_set(const struct command_option *o, const char *value, error *err)
{
    static const char units[] = "KMGT";
    char *end;
    double n = strtod(value, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    const char *rest = unit ? end + 1 : end;
    bool whole = *rest == 0 || strcmp(rest, "B") == 0 || (unit && strcmp(rest, "iB") == 0);
    for (const char *u = units; unit && u <= unit; u++) n *= 1024;
    if (end == value || !whole || !(n >= 0 && n < 9e18))
        return fail(err, ERR_USAGE, "--%s: found \"%s\", expected a size such as 512M or 8G",
                    o->name, value);
    *(int64_t *)o->value = (int64_t)n;
    return OK;
}

static status option_set(const struct command_option *o, const char *value, error *err)
{
    switch (o->type) {
    case OPTION_FLAG: *(bool *)o->value = true; return OK;
    case OPTION_TEXT: *(const char **)o->value = value; return OK;
    case OPTION_INTEGER: return integer_set(o, value, err);
    case OPTION_NUMBER: return number_set(o, value, err);
    case OPTION_SIZE: return size_set(o, value, err);
    }
    return OK;
}

/* Takes one "--name[=value]" and perhaps the word after it; *at ends on the last word used. */
static status option_take(const struct command_option *options, int argc, char **argv, int *at,
                          error *err)
{
    const char *word = argv[*at] + 2;
    const struct command_option *o = option_find(options, word);
    const char *value = strchr(word, '=');
    if (!o) return fail(err, ERR_USAGE, "unknown option %s (see --help)", argv[*at]);
    if (o->type == OPTION_FLAG && value)
        return fail(err, ERR_USAGE, "--%s takes no value", o->name);
    if (o->type != OPTION_FLAG && !value) {
        if (*at + 1 >= argc) return fail(err, ERR_USAGE, "--%s needs a value", o->name);
        value = argv[++*at];
    } else if (value) {
        value++;
    }
    return option_set(o, value, err);
}

bool command_parse(int argc, char **argv, const struct command_option *options, const char *usage,
                   int *n_rest, int *exit_code)
{
    error err;
    bool only_words = false;
    *n_rest = 0;
    for (int at = 1; at < argc; at++) {
        if (only_words || strncmp(argv[at], "--", 2) != 0) {
            argv[1 + (*n_rest)++] = argv[at];
        } else if (strcmp(argv[at], "--") == 0) {
            only_words = true;
        } else if (strcmp(argv[at], "--help") == 0) {
            print_help(options, usage);
            *exit_code = EXIT_DONE;
            return false;
        } else if (option_take(options, argc, argv, &at, &err) != OK) {
            *exit_code = command_fail(argv[0], &err);
            return false;
        }
    }
    return true;
}
