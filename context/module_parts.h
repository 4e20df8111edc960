/* What a file imports, as hashes of the last parts of modules' names: enough to tell which files of a
 * tree it may mean, in every language's spelling, without looking one up. */
#ifndef CONTEXT_MODULE_PARTS_H
#define CONTEXT_MODULE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum { MODULE_PARTS_MAX = 512 }; /* more of one file are left out */

struct module_parts {
    uint32_t parts[MODULE_PARTS_MAX];
    size_t n;
};

uint32_t module_part_hash(text part);
void module_parts_add(struct module_parts *to, text part);
/* The last two parts of a module's name, whatever joins them: "a/b.h" gives b and h, "x.y" x and y. */
void module_parts_see(struct module_parts *to, text module);
bool module_parts_have(const struct module_parts *in, uint32_t part);

#endif
