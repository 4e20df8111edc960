/* trim_oracle N FILE...: the oracle model (tests/unit/support/trim_oracle.h) at N places of the files,
 * every wrapping at each. TAP on stdout; ends with 1 when something wrong is shown, where more than a
 * tenth of the answers that came whole is not shown, or where more than one in 500 makes the whole file
 * parse worse: a text whose errors take a parser longer than PARSE_MAX_US is not judged. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/utf.h"
#include "tests/unit/support/trim_oracle.h"

enum { FILES_MAX = 256, FAULTS_SHOWN = 10 };

struct counts {
    size_t n, shown, worse, faults;
};

static void place_run(struct counts *counts, const struct oracle *o, const tokenizer *t, uint64_t k)
{
    for (int w = 0; w < WRAPPINGS; w++) {
        struct oracle_result r;
        oracle_run(&r, o, (enum wrapping)w, t, k);
        counts[w].n += r.said;
        counts[w].shown += r.shown;
        counts[w].worse += r.worse;
        if (r.fault[0] && counts[w].faults++ < FAULTS_SHOWN) printf("# %s\n", r.fault);
        if (r.worse && counts[w].worse <= FAULTS_SHOWN)
            printf("# parses worse: %s\n", r.worse_words);
    }
}

static bool counts_print(const struct counts *counts)
{
    bool good = true;
    for (int w = 0; w < WRAPPINGS; w++) {
        const struct counts *c = &counts[w];
        bool fine =
            c->faults == 0 && c->worse * 500 <= c->n && (w == CUT || c->shown * 10 >= c->n * 9);
        printf("%sok trim_oracle %s - %zu asked, %zu shown (%.1f %%), %zu wrong, %zu parse worse\n",
               fine ? "" : "not ", wrapping_names[w], c->n, c->shown,
               c->n ? 100.0 * (double)c->shown / (double)c->n : 0.0, c->faults, c->worse);
        good = good && fine;
    }
    return good;
}

int main(int argc, char **argv)
{
    struct counts counts[WRAPPINGS] = {{0, 0, 0, 0}};
    tokenizer *t;
    error err;
    size_t n_files = (size_t)argc - 2, n = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (n == 0 || n_files > FILES_MAX || tokenizer_open(&t, NULL, &err) != OK) {
        fprintf(stderr, "usage: trim_oracle N FILE...\n");
        return 2;
    }
    for (size_t i = 0; i < n_files; i++) {
        buffer content = {0};
        if (file_read(&content, argv[i + 2], MIB, &err) != OK || content.size == 0 ||
            !utf8_valid(buffer_text(&content))) {
            fprintf(stderr, "trim_oracle: %s: %s\n", argv[i + 2], err.message);
            return 2;
        }
        size_t wanted = n / n_files + (i < n % n_files), found = 0;
        for (uint64_t k = 0; found < wanted && k < 50 * wanted; k++) {
            struct oracle o;
            if (!oracle_place(&o, argv[i + 2], buffer_text(&content), i, k)) continue;
            found++;
            place_run(counts, &o, t, k);
        }
        buffer_free(&content);
    }
    tokenizer_close(t);
    return counts_print(counts) ? 0 : 1;
}
