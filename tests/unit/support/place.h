/* A place in a document, as a question to retrieval. */
#ifndef TESTS_UNIT_SUPPORT_PLACE_H
#define TESTS_UNIT_SUPPORT_PLACE_H

#include <stdio.h>
#include <string.h>

#include "context/retrieve.h"

/* The document is `source` with "|" at the cursor, which is taken out. */
struct place {
    char content[4096];
    struct retrieve_request q;
};

static inline void place_make(struct place *p, const char *path, const char *source)
{
    const char *cursor = strchr(source, '|');
    size_t at = (size_t)(cursor - source);
    snprintf(p->content, sizeof p->content, "%.*s%s", (int)at, source, cursor + 1);
    p->q = (struct retrieve_request){.cursor_byte = at};
    p->q.document = (struct document_view){text_of(path), TEXT(""), text_of(p->content), NULL};
}

#endif
