/* A client tells what it reports at a place when it asks what can be done there, so each request
 * replaces what was known of its lines. */
#include "lsp/assistant/reports.h"

#include <string.h>

#include "base/memory.h"

enum { MESSAGE_BYTES_MAX = 1024 };

static void report_drop(struct reports *r, size_t i)
{
    memory_free(r->kept[i].message);
    memory_free(r->kept[i].path);
    r->n--;
    memmove(r->kept + i, r->kept + i + 1, (r->n - i) * sizeof *r->kept);
}

static void report_add(struct reports *r, uint64_t key, const struct reported *said)
{
    text message = text_slice(said->message, 0, MESSAGE_BYTES_MAX);
    struct kept_report one = {.key = key, .line = said->line, .path_line = said->path_line};
    one.message = memory_copy(message.bytes ? message.bytes : "", message.size);
    one.path = memory_copy(said->path.bytes ? said->path.bytes : "", said->path.size);
    if (!one.message || !one.path) {
        memory_free(one.message);
        memory_free(one.path);
        return;
    }
    if (r->n == REPORTS_KEPT) report_drop(r, REPORTS_KEPT - 1);
    memmove(r->kept + 1, r->kept, r->n * sizeof *r->kept);
    r->kept[0] = one;
    r->n++;
}

void reports_put(struct reports *r, uint64_t key, uint32_t from_line, uint32_t to_line,
                 const struct reported *said, size_t n)
{
    for (size_t i = r->n; i-- > 0;) {
        const struct kept_report *k = &r->kept[i];
        if (k->key == key && k->line >= from_line && k->line <= to_line) report_drop(r, i);
    }
    for (size_t i = 0; i < n; i++) report_add(r, key, &said[i]);
}

void reports_forget(struct reports *r, uint64_t key)
{
    for (size_t i = r->n; i-- > 0;)
        if (r->kept[i].key == key) report_drop(r, i);
}

void reports_free(struct reports *r)
{
    while (r->n) report_drop(r, r->n - 1);
}
