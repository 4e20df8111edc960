/* What may be written where: looked up on the disk, so on a thread of the loop's pool.
 *
 * An edit stands inside the workspace after all links are followed; settings, hooks and dotfiles only
 * when the user says yes once more. Pure but for the file system; any thread. */
#ifndef LSP_ASSISTANT_ACTION_PLACE_H
#define LSP_ASSISTANT_ACTION_PLACE_H

#include "base/error.h"
#include "base/text.h"
#include "context/syntax.h"

struct action_place {
    const char *confirm; /* why the user is asked first; NULL: no need. Static */
    buffer new_file;     /* absolute path where tests go */
};

/* Whether the file at `path` (absolute, as the editor names it) may be edited, or just read where
 * `edits` is false. `folders` (absolute) make up the workspace. ERR_UNSUPPORTED says why not. */
status action_place_check(struct action_place *out, text path, const text *folders,
                          size_t n_folders, bool edits, error *err);

/* Where tests of the file go: out->new_file names no existing file. The place is checked as above. */
status action_place_tests(struct action_place *out, text path, const struct language *language,
                          const text *folders, size_t n_folders, error *err);
void action_place_free(struct action_place *p);

#endif
