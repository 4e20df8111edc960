/* Ids that grow by half when full, with a sticky failure as in base/text.h. */
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer.h"

static bool reserve(token_list *list, size_t more)
{
    size_t need;
    if (list->failed || !size_add(list->n, more, &need)) {
        list->failed = true;
        return false;
    }
    if (need <= list->room) return true;
    size_t room = list->room < 64 ? 64 : list->room + list->room / 2;
    if (room < need) room = need;
    int32_t *ids = memory_resize(list->ids, room, sizeof *ids);
    if (!ids) {
        list->failed = true;
        return false;
    }
    list->ids = ids;
    list->room = room;
    return true;
}

void token_list_put(token_list *list, int32_t id)
{
    if (reserve(list, 1)) list->ids[list->n++] = id;
}

void token_list_put_all(token_list *list, const int32_t *ids, size_t n)
{
    if (n == 0 || !reserve(list, n)) return;
    memcpy(list->ids + list->n, ids, n * sizeof *ids);
    list->n += n;
}

void token_list_free(token_list *list)
{
    memory_free(list->ids);
    *list = (token_list){0};
}
