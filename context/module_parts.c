/* Two parts, because the last one may be a file's ending or a name inside the module. */
#include "context/module_parts.h"

#include <string.h>

/* FNV-1a. */
uint32_t module_part_hash(text part)
{
    uint32_t h = 0x811c9dc5u;
    for (size_t i = 0; i < part.size; i++) h = (h ^ (unsigned char)part.bytes[i]) * 0x01000193u;
    return h;
}

void module_parts_add(struct module_parts *to, text part)
{
    if (part.size && to->n < MODULE_PARTS_MAX) to->parts[to->n++] = module_part_hash(part);
}

void module_parts_see(struct module_parts *to, text module)
{
    size_t end = module.size;
    for (int n = 0; n < 2 && end > 0; n++) {
        size_t from = end;
        while (from > 0 && !strchr("/.:\\", module.bytes[from - 1])) from--;
        module_parts_add(to, text_slice(module, from, end));
        end = from;
        while (end > 0 && strchr("/.:\\", module.bytes[end - 1])) end--;
    }
}

bool module_parts_have(const struct module_parts *in, uint32_t part)
{
    for (size_t i = 0; i < in->n; i++)
        if (in->parts[i] == part) return true;
    return false;
}
