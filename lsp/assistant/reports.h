/* What the client has reported of documents, as far as it tells what to look for: the newest few. The
 * loop's thread alone. */
#ifndef LSP_ASSISTANT_REPORTS_H
#define LSP_ASSISTANT_REPORTS_H

#include "context/retrieve.h"

enum { REPORTS_KEPT = 32 };

struct kept_report {
    uint64_t key;         /* of the document */
    char *message, *path; /* path: absolute, "" when it points nowhere else */
    uint32_t line, path_line;
};

/* Zeroed is empty. */
struct reports {
    struct kept_report kept[REPORTS_KEPT]; /* newest first */
    size_t n;
};

/* Of these lines of a document this holds now, and nothing that was said before. Paths are absolute. */
void reports_put(struct reports *r, uint64_t key, uint32_t from_line, uint32_t to_line,
                 const struct reported *said, size_t n);
void reports_forget(struct reports *r, uint64_t key);
void reports_free(struct reports *r);

#endif
