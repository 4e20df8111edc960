/* Paths as text, "/" between parts, without a file system. Views of what they are given. */
#ifndef CONTEXT_PATH_TEXT_H
#define CONTEXT_PATH_TEXT_H

#include "base/text.h"

/* "a/b/c.d.e": the name "c.d.e", its stem "c" (a leading dot belongs to it), the folder "a/b" and
 * the folder's own name "b"; empty where there is none. */
text path_name(text path);
text path_stem(text path);
text path_folder(text path);
text path_folder_name(text path);

/* Appends folder/relative with "." and ".." taken out; false when it would leave the top. */
bool path_join_put(buffer *out, text folder, text relative);

/* How many whole parts two paths have in common at their ends, and at their beginnings. */
size_t path_parts_at_end(text a, text b);
size_t path_parts_at_start(text a, text b);

#endif
