/* Lines of other files as they stand there: where somebody worked lately, and what a diagnostic points to. */
#include "context/retrieve_private.h"

enum {
    RECENT_LINES = 8, /* above and below */
    RECENT_MAX = 8,
    RECENT_DEFINED_LINES = 30,
    REPORTED_NAMES_MAX = 16,   /* of one diagnostic */
    REPORTED_LINES_APART = 30, /* from the gap */
    SYMBOLS_MAX = 600          /* of one file */
};

/* Lines around a place of another file. */
static void place_put(struct retrieval *t, enum retrieve_source source, text path, uint32_t line,
                      double score, const char *reason)
{
    struct candidate c = {.path = path, .reason = reason, .score = score};
    c.line = line > RECENT_LINES ? line - RECENT_LINES : 1;
    c.n_lines = line + RECENT_LINES - c.line + 1;
    c.content = lines_of(retrieval_content(t, path), &c.line, &c.n_lines);
    if (c.content.size) candidate_put(t, source, &c);
}

static uint32_t cursor_line(const struct retrieval *t)
{
    uint32_t line = 1;
    text above = text_slice(t->q->document.content, 0, t->q->cursor_byte);
    for (size_t i = 0; i < above.size; i++) line += above.bytes[i] == '\n';
    return line;
}

/* What is wrong here is about the names that the message has, and about the place it points to. */
status reported_find(struct retrieval *t)
{
    status code = OK;
    uint32_t here = cursor_line(t);
    for (size_t i = 0; code == OK && i < t->q->n_reported && !retrieval_late(t); i++) {
        const struct reported *r = &t->q->reported[i];
        uint32_t apart = r->line > here ? r->line - here : here - r->line;
        double weight = 1.0 / (1.0 + (double)apart / 10.0);
        struct near_name names[REPORTED_NAMES_MAX];
        struct name_table *f = arena_take(t->memory, 1, sizeof *f);
        if (!f) return fail(t->err, ERR_MEMORY, "no memory for names");
        if (apart > REPORTED_LINES_APART) continue;
        line_names_put(f, r->message, weight);
        size_t n = names_take(names, REPORTED_NAMES_MAX, f, t->language);
        for (size_t k = 0; code == OK && k < n; k++)
            code = name_put(t, SOURCE_REPORTED, &names[k], "named by a diagnostic near the gap");
        if (r->path.size && !is_document(t, r->path))
            place_put(t, SOURCE_REPORTED, r->path, r->path_line, 4 * weight,
                      "a diagnostic near the gap points here");
    }
    return code;
}

/* What was defined where somebody worked: it was made to be used. */
static status recent_definitions(struct retrieval *t, const struct recent_place *p, double score)
{
    struct index_file file;
    struct index_symbols symbols;
    bool found;
    status code = index_file_at(&file, &found, t->memory, t->r->index, t->r->tree, p->path, t->err);
    if (code != OK || !found) return code;
    code = index_symbols_of(&symbols, t->memory, t->r->index, file.blob, SYMBOLS_MAX, t->err);
    for (size_t i = 0; code == OK && i < symbols.n; i++) {
        struct index_symbol *s = &symbols.symbols[i];
        s->path = file.path;
        bool near = s->line + RECENT_LINES >= p->line && s->line <= p->line + RECENT_DEFINED_LINES;
        if (near && is_wanted(t, s))
            symbol_put(t, SOURCE_RECENT, s, score * kind_weight(s->kind),
                       "defined where you worked lately");
    }
    return code;
}

status recent_find(struct retrieval *t)
{
    status code = OK;
    size_t n = 0;
    for (size_t i = 0; code == OK && i < t->q->n_recent && n < RECENT_MAX; i++) {
        const struct recent_place *p = &t->q->recent[i];
        if (is_document(t, p->path) || retrieval_late(t)) continue;
        double score = 1.0 / (double)++n;
        place_put(t, SOURCE_RECENT, p->path, p->line, score, "was edited or visited recently");
        if (is_kindred(t, p->path)) code = recent_definitions(t, p, 0.9 * score);
    }
    return code;
}
