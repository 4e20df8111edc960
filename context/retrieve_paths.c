/* What is known of a path, for one question: hundreds of candidates lie in a few dozen files. */
#include <string.h>

#include "context/exclude.h"
#include "context/path_text.h"
#include "context/retrieve_private.h"

/* Languages that can use each other's definitions. */
static int family(const struct language *l)
{
    static const char *const families[][4] = {{"C", "C++", "CUDA", NULL},
                                              {"JavaScript", "TypeScript", "TSX", NULL}};
    for (int i = 0; l && i < 2; i++)
        for (int k = 0; families[i][k]; k++)
            if (strcmp(l->name, families[i][k]) == 0) return i;
    return -1;
}

static struct known_path path_judge(const struct retrieval *t, text path)
{
    const struct language *l = language_find(TEXT(""), path);
    bool same_family = family(l) >= 0 && family(l) == family(t->language);
    return (struct known_path){.path = path, .kindred = l == t->language || same_family};
}

struct known_path *path_known(struct retrieval *t, text path, struct known_path *spare)
{
    size_t i = text_hash(path) % PATHS_KNOWN_MAX, n = 0;
    while (t->paths[i].path.size && !text_equal(t->paths[i].path, path) && n++ < PATHS_TRIED_MAX)
        i = (i + 1) % PATHS_KNOWN_MAX;
    struct known_path *k = &t->paths[i];
    if (text_equal(k->path, path)) return k;
    if (k->path.size || !path.size) k = spare;
    *k = path_judge(t, path);
    return k;
}

bool is_excluded(struct retrieval *t, text path)
{
    struct known_path spare, *k = path_known(t, path, &spare);
    if (k->excluded == NOT_ASKED) k->excluded = exclude_reason(path) ? EXCLUDED : ALLOWED;
    return k->excluded == EXCLUDED;
}

bool is_kindred(struct retrieval *t, text path)
{
    struct known_path spare;
    return path_known(t, path, &spare)->kindred;
}

bool is_document(const struct retrieval *t, text path)
{
    return text_equal(path, t->q->document.path);
}

/* Through imports first, then by nearness in the tree, then by the name alone. */
static double weight_find(const struct retrieval *t, text path)
{
    text own = t->q->document.path;
    const struct document_tags *d = &t->r->document;
    for (size_t i = 0; i < d->n_imported; i++)
        if (text_equal(d->imported[i].path, path)) return 3 * d->imported[i].score;
    if (text_equal(path_folder(path), path_folder(own))) return 1;
    return 0.4 + 0.1 * (double)path_parts_at_start(path, own);
}

double place_weight(struct retrieval *t, text path)
{
    struct known_path spare, *k = path_known(t, path, &spare);
    if (k->weight == 0) k->weight = weight_find(t, path);
    return k->weight;
}
