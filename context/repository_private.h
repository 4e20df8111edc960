/* What repository.c and repository_list.c share. */
#ifndef CONTEXT_REPOSITORY_PRIVATE_H
#define CONTEXT_REPOSITORY_PRIVATE_H

#include <git2.h>
#include <sys/stat.h>

#include "context/repository.h"

struct repository {
    enum repository_kind kind;
    git_repository *git; /* NULL for a plain folder */
    git_index *index;    /* of a working tree; a copy in memory, as it was at open */
    struct timespec index_written;
    char *root, *common;
    char notice[256], head[41], branch[256];
    repository_go_on *go_on; /* repository_set_go_on's */
    void *go_on_payload;
};

/* The last reason libgit2 gave. */
const char *git_reason(void);

#endif
