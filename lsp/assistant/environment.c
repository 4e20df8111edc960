/* One block: the pointers, and behind them the one string that is not the environment's own. */
#include "lsp/assistant/environment.h"

#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "context/exclude.h"

static const char variable[] = "DBRX_EXCLUDE=";

char **environment_take(void)
{
    size_t n = 0, n_kept = 0;
    buffer patterns = {0};
    buffer_put_text(&patterns, text_of(variable));
    exclude_put_globs(&patterns);
    buffer_put_char(&patterns, 0);
    while (environ[n]) n++;
    size_t n_pointers = (n + 2) * sizeof(char *);
    char **all = patterns.failed ? NULL : memory_take(1, n_pointers + patterns.size);
    for (size_t i = 0; all && i < n; i++)
        if (strncmp(environ[i], variable, sizeof variable - 1) != 0) all[n_kept++] = environ[i];
    if (all) {
        all[n_kept] = (char *)all + n_pointers;
        memcpy(all[n_kept], patterns.bytes, patterns.size);
    }
    buffer_free(&patterns);
    return all;
}

void environment_free(char **environment) { memory_free(environment); }
