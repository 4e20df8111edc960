/* `dbrx-ls stats`: what was shown, taken over and kept on this machine. Nothing of it is sent
 * anywhere. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lsp/assistant/statistics.h"
#include "lsp/cli/command.h"

static const char usage[] =
    "usage: dbrx-ls stats [--json]\n\n"
    "What became of completions on this machine, all editors together. The numbers are kept in "
    "the\n"
    "state directory and sent nowhere; deleting stats.jsonl there begins anew.";

static double share(int64_t part, int64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static const int64_t *values_of(const struct statistics *s)
{
    return (const int64_t *)(const void *)&s->sum;
}

static status print_json(const struct statistics *s, error *err)
{
    const struct assistant_counters *n = &s->sum;
    json_t *counters = json_object();
    for (size_t i = 0; i < N_COUNTERS; i++)
        json_object_set_new(counters, counter_rows[i].name, json_integer(values_of(s)[i]));
    json_t *all = json_pack("{s:I, s:o, s:f, s:f, s:f, s:f}", "since", (json_int_t)s->since_s,
                            "counters", counters, "accepted_share", share(n->accepted, n->shown),
                            "kept_120_s_share", share(n->kept_120_s, n->kept_120_s + n->lost_120_s),
                            "cached_share", share(n->cached_tokens, n->prompt_tokens),
                            "warm_tokens_per_useful", share(n->warm_tokens, n->warm_useful));
    char *line = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(all);
    if (!line) return fail(err, ERR_MEMORY, "out of memory for the statistics");
    printf("%s\n", line);
    free(line);
    return OK;
}

static void print_human(const struct statistics *s)
{
    const struct assistant_counters *n = &s->sum;
    char since[32] = "";
    time_t time_s = (time_t)s->since_s;
    struct tm local;
    if (s->since_s == 0) {
        printf("nothing was counted yet\n");
        return;
    }
    if (localtime_r(&time_s, &local)) strftime(since, sizeof since, "%Y-%m-%d", &local);
    printf("since %s\n", since);
    for (size_t i = 0; i < N_COUNTERS; i++)
        printf("%12lld  %s\n", (long long)values_of(s)[i], counter_rows[i].words);
    printf("%11.1f%%  of what was shown was accepted\n", 100 * share(n->accepted, n->shown));
    printf("%11.1f%%  of prompt tokens were found\n",
           100 * share(n->cached_tokens, n->prompt_tokens));
    if (n->warm_useful)
        printf("%12.2f  warm tokens for each useful one\n", share(n->warm_tokens, n->warm_useful));
}

int command_stats(int argc, char **argv)
{
    bool json = false;
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &json, NULL, "one JSON object", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    struct statistics statistics;
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    status s = n_rest ? fail(&err, ERR_USAGE, "expected no arguments (see --help)")
                      : statistics_read(&statistics, &err);
    if (s == OK && statistics.n_broken)
        fprintf(stderr, "dbrx-ls stats: note: %lld lines cannot be read and are left out\n",
                (long long)statistics.n_broken);
    if (s == OK && json) s = print_json(&statistics, &err);
    if (s == OK && !json) print_human(&statistics);
    return s == OK ? EXIT_DONE : command_fail("stats", &err);
}
