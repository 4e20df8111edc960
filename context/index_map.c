/* Files vote by the names they use for the files that define them. A definition that the voter can
 * see (it stands in the same folder, or in a file or folder of an imported name) gets the vote; only
 * where none can be seen all of that name and family of languages share a part of it. One round of
 * PageRank costs the number of uses, not the square of the files.
 *
 * A name weighs less the more it could be anything: short words are variables far more often than
 * they are the function of that name, methods are called on other types of the same method name, and
 * names that many contents define say nothing. */
#include "context/map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/index_private.h"
#include "context/index_query.h"
#include "context/module_parts.h"
#include "context/path_text.h"

enum { ROUNDS_MAX = 40, NAME_MIN = 3, CHANGES_SHARE = 50 };
#define DAMPING   0.85
#define CONVERGED 1e-6
#define UNSEEN    0.1f /* of a vote, where no definition of the name can be seen */

/* A definition; sorted so that those of one name and family stand together. */
struct definition {
    text name;
    const char *kind;
    uint32_t node;
    uint32_t hash; /* of the name: most comparisons are of numbers */
    uint8_t family;
    float weight; /* of a vote for it */
    double flow;  /* rank that came through it in the last round */
};

struct edge {
    uint32_t definition;
    float weight;
};

struct node {
    int64_t blob;
    text path;
    uint32_t stem, folder, folder_name; /* hashes of parts of its path */
    uint8_t family;
    uint32_t first_edge, n_edges;
    double weight; /* of its edges together */
    double rank, next;
};

struct graph {
    code_index *x;
    int64_t tree;
    index_progress *progress;
    void *payload;
    error *err;
    arena memory; /* names and paths */
    struct node *nodes;
    struct definition *definitions;
    uint32_t *table; /* first definition of a name in a family + 1, by hash, open addressing */
    struct edge *edges;
    struct module_parts imported; /* by the file whose uses are read */
    size_t n_nodes, n_definitions, n_edges, n_table;
    size_t nodes_room, definitions_room, edges_room;
};

static bool room_for(void **items, size_t *room, size_t n, size_t size, error *err, status *code)
{
    if (n < *room) return true;
    size_t larger = *room ? 2 * *room : 1024;
    void *grown = memory_resize(*items, larger, size);
    if (!grown) {
        *code = fail(err, ERR_MEMORY, "no memory for the map of %zu", larger);
        return false;
    }
    *items = grown;
    *room = larger;
    return true;
}

static bool go_on(struct graph *g, status *code)
{
    if (*code == OK && g->progress && !g->progress(g->payload, 1, 1))
        *code = fail(g->err, ERR_CANCELLED, "cancelled while the map is made");
    return *code == OK;
}

/* Languages that call each other by name. */
static uint8_t family_of(text name)
{
    static const char *const families[][3] = {{"C", "C++", "CUDA"},
                                              {"JavaScript", "TypeScript", "TSX"}};
    const size_t n = sizeof families / sizeof *families;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 3; k++)
            if (text_is(name, families[i][k])) return (uint8_t)(i + 1);
    const struct language *l;
    for (size_t i = 0; (l = language_at(i)); i++)
        if (text_is(name, l->name)) return (uint8_t)(n + 1 + i);
    return 0;
}

static void node_place(struct node *n)
{
    size_t slash = n->path.size;
    while (slash > 0 && n->path.bytes[slash - 1] != '/') slash--;
    n->folder = module_part_hash(text_slice(n->path, 0, slash));
    n->stem = module_part_hash(path_stem(n->path));
    n->folder_name = module_part_hash(path_folder_name(n->path));
}

static status nodes_load(struct graph *g)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(g->x, SQL_MAP_NODES, g->tree);
    status code = index_step(g->x, s, &found, g->err);
    while (code == OK && found) {
        if (!room_for((void **)&g->nodes, &g->nodes_room, g->n_nodes, sizeof *g->nodes, g->err,
                      &code))
            break;
        struct node *n = &g->nodes[g->n_nodes++];
        *n = (struct node){.blob = sqlite3_column_int64(s, 0),
                           .path = column_bytes(&g->memory, s, 2),
                           .family = family_of(column_view(s, 1))};
        node_place(n);
        code = index_step(g->x, s, &found, g->err);
    }
    sqlite3_reset(s);
    return code;
}

/* What others would look up, and how surely a use of the name means it: no fields, no variables. */
static const struct map_kind {
    const char *name;
    float weight;
} kinds[] = {{"function", 1},  {"prototype", 1}, {"class", 1},     {"struct", 1},
             {"interface", 1}, {"type", 1},      {"enum", 1},      {"union", 1},
             {"concept", 1},   {"macro", 0.5f},  {"method", 0.3f}, {"constant", 0.2f}};

static const struct map_kind *kind_find(text name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (text_is(name, kinds[i].name)) return &kinds[i];
    return NULL;
}

/* Words joined from several, or long ones, are names of one thing. */
static float name_weight(text name)
{
    bool joined = false;
    for (size_t i = 1; i < name.size; i++) {
        char before = name.bytes[i - 1], c = name.bytes[i];
        bool upper = c >= 'A' && c <= 'Z', lower = before >= 'a' && before <= 'z';
        joined = joined || (c == '_' && i + 1 < name.size) || (upper && lower);
    }
    float weight = joined ? 1.0f : name.size >= 8 ? 0.5f : name.size >= 5 ? 0.15f : 0.05f;
    return name.bytes[0] == '_' ? weight / 4 : weight;
}

static status definitions_of(struct graph *g, uint32_t node)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(g->x, SQL_MAP_SYMBOLS, g->nodes[node].blob);
    status code = index_step(g->x, s, &found, g->err);
    for (; code == OK && found; code = index_step(g->x, s, &found, g->err)) {
        const struct map_kind *kind = kind_find(column_view(s, 1));
        if (!kind || sqlite3_column_bytes(s, 0) < NAME_MIN) continue;
        if (!room_for((void **)&g->definitions, &g->definitions_room, g->n_definitions,
                      sizeof *g->definitions, g->err, &code))
            break;
        text name = column_bytes(&g->memory, s, 0);
        g->definitions[g->n_definitions++] = (struct definition){
            .name = name,
            .kind = kind->name,
            .node = node,
            .hash = (uint32_t)name_hash(name),
            .family = g->nodes[node].family,
            .weight = kind->weight * name_weight(name),
        };
    }
    sqlite3_reset(s);
    return code == OK && g->memory.failed ? fail(g->err, ERR_MEMORY, "no memory for names") : code;
}

static int compare_texts(text a, text b)
{
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_definitions(const void *a, const void *b)
{
    const struct definition *x = a, *y = b;
    int order = compare_texts(x->name, y->name);
    if (order) return order;
    if (x->family != y->family) return x->family < y->family ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

static int compare_hashed(const void *a, const void *b)
{
    const struct definition *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash)
                              : compare_definitions(a, b);
}

static size_t table_at(const struct graph *g, text name, uint8_t family)
{
    uint64_t h = (uint64_t)name_hash(name) * 0x9e3779b97f4a7c15u + family;
    return (size_t)(h >> 20) % g->n_table;
}

static bool is_named(const struct definition *d, text name, uint8_t family)
{
    return d->family == family && text_equal(d->name, name);
}

/* The first definition of a name in a family, and how many follow it; 0: none. */
static size_t definitions_find(const struct graph *g, text name, uint8_t family, uint32_t *first)
{
    for (size_t at = table_at(g, name, family); g->table[at]; at = (at + 1) % g->n_table) {
        *first = g->table[at] - 1;
        if (!is_named(&g->definitions[*first], name, family)) continue;
        size_t n = 1;
        while (*first + n < g->n_definitions && is_named(&g->definitions[*first + n], name, family))
            n++;
        return n;
    }
    return 0;
}

static status table_make(struct graph *g)
{
    if (g->n_definitions)
        qsort(g->definitions, g->n_definitions, sizeof *g->definitions, compare_hashed);
    g->n_table = 2 * g->n_definitions + 1;
    g->table = memory_take(g->n_table, sizeof *g->table);
    if (!g->table) return fail(g->err, ERR_MEMORY, "no memory for names");
    for (size_t i = 0; i < g->n_definitions; i++) {
        const struct definition *d = &g->definitions[i];
        if (i > 0 && is_named(d - 1, d->name, d->family)) continue;
        size_t at = table_at(g, d->name, d->family);
        while (g->table[at]) at = (at + 1) % g->n_table;
        g->table[at] = (uint32_t)i + 1;
    }
    return OK;
}

static status imported_load(struct graph *g, int64_t blob)
{
    bool found;
    g->imported.n = 0;
    sqlite3_stmt *s = SQL_WITH(g->x, SQL_BLOB_IMPORTS, blob);
    status code = index_step(g->x, s, &found, g->err);
    for (; code == OK && found; code = index_step(g->x, s, &found, g->err)) {
        module_parts_see(&g->imported, column_view(s, 0));
        module_parts_add(&g->imported, column_view(s, 1));
    }
    sqlite3_reset(s);
    return code;
}

static bool is_seen(const struct graph *g, const struct node *by, const struct node *n)
{
    return by->folder == n->folder || module_parts_have(&g->imported, n->stem) ||
           module_parts_have(&g->imported, n->folder_name);
}

static status edge_add(struct graph *g, struct node *from, uint32_t definition, float weight)
{
    status code = OK;
    if (g->n_edges == MAP_EDGES_MAX ||
        !room_for((void **)&g->edges, &g->edges_room, g->n_edges, sizeof *g->edges, g->err, &code))
        return code;
    g->edges[g->n_edges++] = (struct edge){definition, weight};
    from->weight += (double)weight;
    return OK;
}

/* A content that defines the name itself does not vote for others by using it. */
static status vote(struct graph *g, uint32_t at, text name, float strength)
{
    struct node *node = &g->nodes[at];
    uint32_t first;
    size_t n = definitions_find(g, name, node->family, &first), n_seen = 0;
    bool seen[MAP_DEFINERS_MAX];
    if (n == 0 || n > MAP_DEFINERS_MAX) return OK;
    for (size_t i = 0; i < n; i++) {
        uint32_t to = g->definitions[first + i].node;
        if (to == at) return OK;
        n_seen += seen[i] = is_seen(g, node, &g->nodes[to]);
    }
    status code = OK;
    for (size_t i = 0; code == OK && i < n; i++) {
        float share = n_seen ? (float)seen[i] / (float)n_seen : UNSEEN / (float)n;
        float weight = strength * share * g->definitions[first + i].weight;
        if (weight > 0) code = edge_add(g, node, first + (uint32_t)i, weight);
    }
    return code;
}

static status edges_of(struct graph *g, uint32_t at)
{
    struct blob_uses uses;
    struct node *node = &g->nodes[at];
    status code = imported_load(g, node->blob);
    if (code == OK) code = blob_uses(&uses, g->x, node->blob, g->err);
    if (code != OK) return code;
    text rest = uses.names, name;
    node->first_edge = (uint32_t)g->n_edges;
    for (size_t i = 0; code == OK && i < uses.counts.size && text_next_line(&rest, &name); i++) {
        unsigned char count = (unsigned char)uses.counts.bytes[i];
        if (count && name.size >= NAME_MIN) code = vote(g, at, name, sqrtf((float)count));
    }
    node->n_edges = (uint32_t)g->n_edges - node->first_edge;
    sqlite3_reset(g->x->sql[SQL_USES_OF]);
    return code;
}

static status graph_load(struct graph *g)
{
    status code = nodes_load(g);
    for (uint32_t i = 0; code == OK && i < g->n_nodes; i++) {
        code = definitions_of(g, i);
        if (i % 256 == 0) go_on(g, &code);
    }
    if (code == OK) code = table_make(g);
    for (uint32_t i = 0; code == OK && i < g->n_nodes; i++) {
        code = edges_of(g, i);
        if (i % 256 == 0) go_on(g, &code);
    }
    return code;
}

/* One round; returns how far the ranks moved in all. */
static double round_run(struct graph *g)
{
    double lost = 0, moved = 0;
    for (size_t i = 0; i < g->n_definitions; i++) g->definitions[i].flow = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        if (n->weight <= 0) lost += n->rank;
        for (uint32_t k = 0; n->weight > 0 && k < n->n_edges; k++) {
            const struct edge *e = &g->edges[n->first_edge + k];
            g->definitions[e->definition].flow += n->rank * (double)e->weight / n->weight;
        }
    }
    double base = (1 - DAMPING + DAMPING * lost) / (double)g->n_nodes;
    for (size_t i = 0; i < g->n_nodes; i++) g->nodes[i].next = base;
    for (size_t i = 0; i < g->n_definitions; i++)
        g->nodes[g->definitions[i].node].next += DAMPING * g->definitions[i].flow;
    for (size_t i = 0; i < g->n_nodes; i++) {
        moved += fabs(g->nodes[i].next - g->nodes[i].rank);
        g->nodes[i].rank = g->nodes[i].next;
    }
    return moved;
}

static status rank(struct graph *g)
{
    status code = OK;
    for (size_t i = 0; i < g->n_nodes; i++) g->nodes[i].rank = 1 / (double)g->n_nodes;
    for (int i = 0; i < ROUNDS_MAX && g->n_nodes && go_on(g, &code); i++)
        if (round_run(g) < CONVERGED) break;
    return code;
}

/* By what flows through it, then by name, so that equal repositories have equal maps. */
static int compare_flows(const void *a, const void *b)
{
    const struct definition *x = *(const struct definition *const *)a,
                            *y = *(const struct definition *const *)b;
    if (x->flow != y->flow) return x->flow > y->flow ? -1 : 1;
    return compare_definitions(x, y);
}

static status line_put(struct graph *g, int64_t position, const struct definition *d)
{
    sqlite3_stmt *s = SQL_WITH(g->x, SQL_MAP_PUT, g->tree, position);
    bind_bytes(s, 3, g->nodes[d->node].path);
    bind_text(s, 4, d->name);
    bind_text(s, 5, text_of(d->kind));
    bind_text(s, 6, TEXT(""));
    return index_run(g->x, s, g->err);
}

/* All that flows through a name goes to one of its definitions: a declaration before a body, then
 * the one that got more. The others are not shown. */
static void names_merge(struct graph *g)
{
    for (size_t i = 0, to; i < g->n_definitions; i = to) {
        struct definition *best = &g->definitions[i];
        double flow = best->flow;
        for (to = i + 1;
             to < g->n_definitions && is_named(&g->definitions[to], best->name, best->family);
             to++) {
            struct definition *d = &g->definitions[to];
            bool declares = strcmp(d->kind, "prototype") == 0,
                 best_declares = strcmp(best->kind, "prototype") == 0;
            flow += d->flow;
            if (declares != best_declares ? declares : d->flow > best->flow) {
                best->flow = 0;
                best = d;
            } else {
                d->flow = 0;
            }
        }
        best->flow = flow;
    }
}

static status lines_put(struct graph *g)
{
    int64_t position = 0;
    size_t n = 0;
    uint8_t *n_of = memory_take(g->n_nodes + 1, 1);
    const struct definition **order = memory_take(g->n_definitions + 1, sizeof *order);
    status code =
        n_of && order ? index_begin(g->x, g->err) : fail(g->err, ERR_MEMORY, "no memory for a map");
    if (code == OK) code = index_run(g->x, SQL_WITH(g->x, SQL_MAP_DROP, g->tree), g->err);
    if (code == OK) names_merge(g);
    for (size_t i = 0; code == OK && i < g->n_definitions; i++)
        if (g->definitions[i].flow > 0) order[n++] = &g->definitions[i];
    if (n) qsort(order, n, sizeof *order, compare_flows);
    for (size_t i = 0; code == OK && i < n && position < MAP_LINES_MAX; i++) {
        if (n_of[order[i]->node] == MAP_FILE_LINES) continue;
        n_of[order[i]->node]++;
        code = line_put(g, position++, order[i]);
    }
    memory_free(n_of);
    memory_free(order);
    return code;
}

static void graph_free(struct graph *g)
{
    memory_free(g->nodes);
    memory_free(g->definitions);
    memory_free(g->table);
    memory_free(g->edges);
    arena_reset(&g->memory);
}

struct mark {
    bool same_head, exists;
    int64_t n_files, n_changes;
};

static status mark_read(struct mark *out, code_index *x, int64_t tree, const char *head, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(x, SQL_MAP_MARK, tree);
    status code = index_step(x, s, &found, err);
    *out = (struct mark){0};
    if (code == OK && found) {
        text made_for = column_view(s, 0);
        *out = (struct mark){text_is(made_for, head), made_for.size != 0,
                             sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 2)};
    }
    sqlite3_reset(s);
    return code;
}

static status mark_write(code_index *x, int64_t tree, int64_t n_files, int64_t n_changes,
                         const char *head, error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, SQL_MAP_MARK_SET, tree, n_files, n_changes);
    bind_text(s, 4, text_of(head));
    status code = index_run(x, s, err);
    return code == OK ? index_commit(x, err) : code;
}

struct stored_line {
    text path, name, kind;
};

static status lines_list(struct stored_line *lines, size_t *n, arena *a, code_index *x,
                         int64_t tree, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(x, SQL_MAP_LIST, tree);
    status code = index_step(x, s, &found, err);
    for (*n = 0; code == OK && found && *n < MAP_LINES_MAX; ++*n) {
        lines[*n] = (struct stored_line){column_bytes(a, s, 0), column_bytes(a, s, 1),
                                         column_bytes(a, s, 2)};
        code = index_step(x, s, &found, err);
    }
    sqlite3_reset(s);
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for a map") : code;
}

/* The lines' signatures as the files have them now; what is gone has none, and is not shown. */
static status lines_refresh(code_index *x, int64_t tree, error *err)
{
    struct stored_line lines[MAP_LINES_MAX];
    size_t n = 0;
    arena a = {0};
    bool found = false;
    status code = lines_list(lines, &n, &a, x, tree, err);
    if (code == OK) code = index_begin(x, err);
    for (size_t i = 0; code == OK && i < n; i++) {
        sqlite3_stmt *s = SQL_WITH(x, SQL_MAP_REFRESH, tree);
        bind_bytes(s, 2, lines[i].path);
        bind_text(s, 3, lines[i].name);
        bind_text(s, 4, lines[i].kind);
        code = index_step(x, s, &found, err);
        text signature = found ? column_bytes(&a, s, 0) : TEXT("");
        sqlite3_reset(s);
        s = SQL_WITH(x, SQL_MAP_PUT, tree, (int64_t)i);
        bind_bytes(s, 3, lines[i].path);
        bind_text(s, 4, lines[i].name);
        bind_text(s, 5, lines[i].kind);
        bind_text(s, 6, signature);
        if (code == OK) code = index_run(x, s, err);
    }
    arena_reset(&a);
    return code;
}

static status head_read(struct repository_map *out, arena *a, code_index *x, int64_t tree,
                        error *err)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(x, SQL_MAP_MARK, tree);
    status code = index_step(x, s, &found, err);
    if (code == OK && found) out->head = column_bytes(a, s, 0);
    sqlite3_reset(s);
    return code;
}

status repository_map_read(struct repository_map *out, arena *a, code_index *x, int64_t tree,
                           error *err)
{
    bool found;
    *out = (struct repository_map){.lines = arena_take(a, MAP_LINES_MAX, sizeof *out->lines)};
    if (!out->lines) return fail(err, ERR_MEMORY, "no memory for a map");
    status code = head_read(out, a, x, tree, err);
    if (code != OK) return code;
    sqlite3_stmt *s = SQL_WITH(x, SQL_MAP_LIST, tree);
    code = index_step(x, s, &found, err);
    for (; code == OK && found && out->n < MAP_LINES_MAX; code = index_step(x, s, &found, err)) {
        if (sqlite3_column_bytes(s, 3) == 0) continue;
        out->lines[out->n++] = (struct map_line){column_bytes(a, s, 0), column_bytes(a, s, 3)};
    }
    sqlite3_reset(s);
    for (size_t i = 0; i < out->n; i++)
        out->key = out->key * 0x9e3779b97f4a7c15u +
                   (uint64_t)(name_hash(out->lines[i].path) ^ name_hash(out->lines[i].signature));
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for a map") : code;
}

status repository_map_open(struct repository_map *out, arena *a, const char *database, text root,
                           error *err)
{
    int64_t tree;
    code_index *x;
    *out = (struct repository_map){0};
    status code = index_open_reading(&x, database, err);
    if (code != OK) return code;
    code = index_tree(&tree, x, root, err);
    if (code == OK) code = repository_map_read(out, a, x, tree, err);
    index_close(x);
    return code;
}

/* HEAD's commit; a folder or an unborn branch has a map, too, made once and when much has changed. */
static const char *head_of(const repository *r)
{
    return repository_head(r)[0] ? repository_head(r) : "-";
}

status index_update_map(code_index *x, repository *r, int64_t tree, size_t n_files,
                        size_t n_changes, index_progress *progress, void *payload, error *err)
{
    struct mark mark;
    const char *head = head_of(r);
    status code = mark_read(&mark, x, tree, head, err);
    int64_t changes = mark.n_changes + (int64_t)n_changes;
    bool much = changes * CHANGES_SHARE > mark.n_files, is_commit = head[0] != '-';
    if (code != OK) return code;
    if (mark.same_head && (is_commit || !much)) {
        if (!n_changes) return OK;
        if ((code = index_begin(x, err)) != OK) return code;
        code = index_run(x, SQL_WITH(x, SQL_MAP_CHANGES_ADD, tree, (int64_t)n_changes), err);
        return code == OK ? index_commit(x, err) : code;
    }
    bool whole = !mark.exists || much;
    struct graph g = {.x = x, .tree = tree, .progress = progress, .payload = payload, .err = err};
    if (whole) {
        code = graph_load(&g);
        if (code == OK) code = rank(&g);
        if (code == OK) code = lines_put(&g);
        graph_free(&g);
    }
    if (code == OK) code = lines_refresh(x, tree, err);
    if (code == OK)
        code = mark_write(x, tree, whole ? (int64_t)n_files : mark.n_files, whole ? 0 : changes,
                          head, err);
    return code;
}
