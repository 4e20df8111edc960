/* Which paragraphs are cut out of which files, and in which order they come back. The typist's own
 * work is typing_typist.c's. How many steps a paragraph takes is known only when it was typed, so a
 * plan that turns out too short is made again, longer: the same seed begins it in the same way. */
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lsp/cli/typing_typist.h"

enum {
    STEPS_DEFAULT = 600,
    DOCUMENTS_DEFAULT = 3,
    PIECES_MAX = 4096,
    PIECE_LINES_MIN = 3,
    PIECE_LINES_MAX = 10,
    SURE_PIECES = 16, /* before that, their average length says little */
    TRIES_MAX = 64,   /* for one piece, and for one file of a good size */
    LARGE_BYTES = 8000
};

/* Bytes [from, to) of a source: whole lines without the last line end, behind one. */
struct piece {
    size_t document, from, to;
};

struct plan {
    const struct typing_source *files[16];
    size_t n_files;
    struct piece pieces[PIECES_MAX];
    size_t n_pieces;
    uint64_t seed, n_drawn;
};

static size_t draw(struct plan *p, size_t below)
{
    return (size_t)(random_at(p->seed, p->n_drawn++) % below);
}

/* Larger files first of all: those are where people work, and where windows move. */
static void files_choose(struct plan *p, const struct typing_sources *sources, size_t n_max)
{
    if (n_max > 16) n_max = 16;
    for (size_t i = 0; i < TRIES_MAX && p->n_files < n_max && p->n_files < sources->n; i++) {
        const struct typing_source *f = &sources->files[draw(p, sources->n)];
        bool known = f->content.size < LARGE_BYTES && i < TRIES_MAX / 2;
        for (size_t j = 0; j < p->n_files; j++) known |= p->files[j] == f;
        if (!known) p->files[p->n_files++] = f;
    }
    if (p->n_files == 0) p->files[p->n_files++] = &sources->files[0];
}

static size_t line_end(text t, size_t at)
{
    size_t end = text_find(t, TEXT("\n"), at);
    return end == SIZE_MAX ? t.size : end;
}

static bool blank_line(text t, size_t at)
{
    return text_trim(text_slice(t, at, line_end(t, at))).size == 0;
}

/* The paragraph that begins behind the first blank line after `at`; false when there is none. */
static bool paragraph_find(text t, size_t at, struct piece *out)
{
    size_t from = text_find(t, TEXT("\n\n"), at), n_lines = 0;
    if (from == SIZE_MAX) return false;
    from += 2;
    while (from < t.size && t.bytes[from] == '\n') from++;
    size_t to = from;
    for (size_t next = from; next < t.size && n_lines < PIECE_LINES_MAX && !blank_line(t, next);) {
        to = line_end(t, next);
        next = to + 1;
        n_lines++;
    }
    out->from = from;
    out->to = to;
    return n_lines >= PIECE_LINES_MIN && to < t.size;
}

static bool piece_clashes(const struct plan *p, const struct piece *piece)
{
    for (size_t i = 0; i < p->n_pieces; i++) {
        const struct piece *q = &p->pieces[i];
        bool apart =
            q->document != piece->document || piece->to + 2 < q->from || q->to + 2 < piece->from;
        if (!apart) return true;
    }
    return false;
}

/* One more paragraph, mostly of the file that was worked at last. False: none was found. */
static bool piece_choose(struct plan *p)
{
    size_t last = p->n_pieces ? p->pieces[p->n_pieces - 1].document : 0;
    if (p->n_pieces == PIECES_MAX) return false;
    for (int i = 0; i < TRIES_MAX; i++) {
        struct piece piece = {.document = draw(p, 3) ? last : draw(p, p->n_files)};
        text content = p->files[piece.document]->content;
        if (!paragraph_find(content, draw(p, content.size), &piece) || piece_clashes(p, &piece))
            continue;
        p->pieces[p->n_pieces++] = piece;
        return true;
    }
    return false;
}

/* The document without its pieces; each with the line end before it. */
static text base_of(const struct plan *p, size_t document, arena *memory)
{
    text content = p->files[document]->content;
    buffer base = {0};
    for (size_t at = 0; at < content.size;) {
        size_t next = content.size, behind = next;
        for (size_t i = 0; i < p->n_pieces; i++) {
            const struct piece *q = &p->pieces[i];
            if (q->document != document || q->from - 1 < at || q->from - 1 >= next) continue;
            next = q->from - 1;
            behind = q->to;
        }
        buffer_put_text(&base, text_slice(content, at, next));
        at = behind;
    }
    text out = {arena_copy(memory, base.bytes ? base.bytes : "", base.size), base.size};
    memory->failed |= base.failed;
    buffer_free(&base);
    return out;
}

/* Where the piece belongs now: its place in the source, less the pieces before it that are not there
 * yet. */
static size_t piece_place(const struct plan *p, size_t n_typed)
{
    const struct piece *piece = &p->pieces[n_typed];
    size_t at = piece->from - 1;
    for (size_t i = n_typed + 1; i < p->n_pieces; i++) {
        const struct piece *q = &p->pieces[i];
        if (q->document == piece->document && q->from < piece->from) at -= q->to - (q->from - 1);
    }
    return at;
}

static status plan_type(struct typing_session *out, const struct plan *p, error *err)
{
    out->seed = p->seed;
    out->n_documents = p->n_files;
    out->documents = arena_take(&out->memory, p->n_files, sizeof *out->documents);
    for (size_t i = 0; out->documents && i < p->n_files; i++) {
        text path = p->files[i]->path;
        out->documents[i].path = (text){arena_copy(&out->memory, path.bytes, path.size), path.size};
        out->documents[i].base = base_of(p, i, &out->memory);
    }
    if (out->memory.failed) return fail(err, ERR_MEMORY, "out of memory for a typing session");
    typist *t = NULL;
    status s = typist_open(&t, out, p->seed, err);
    for (size_t i = 0; s == OK && i < p->n_pieces; i++) {
        const struct piece *q = &p->pieces[i];
        text typed = text_slice(p->files[q->document]->content, q->from - 1, q->to);
        s = typist_type(t, (int32_t)q->document, piece_place(p, i), typed, err);
    }
    typist_close(t);
    return s;
}

static status plan_grow(struct typing_session *out, struct plan *p, size_t n_steps, error *err)
{
    status s = OK;
    while (s == OK && out->n_steps < n_steps) {
        size_t n_before = p->n_pieces;
        size_t n_more =
            n_before < SURE_PIECES ? 1 : (n_steps - out->n_steps) * n_before / out->n_steps / 2;
        if (n_more == 0) n_more = 1; /* rather too few than too many */
        for (size_t i = 0; i < n_more && piece_choose(p); i++) {}
        if (p->n_pieces == n_before)
            return fail(err, ERR_USAGE,
                        "the sources hold paragraphs for %zu steps of typing, expected %zu: give "
                        "more or larger files",
                        out->n_steps, n_steps);
        typing_session_free(out);
        s = plan_type(out, p, err);
    }
    return s;
}

status typing_session_make(struct typing_session *out, const struct typing_sources *sources,
                           const struct typing_options *options, error *err)
{
    struct plan *p = memory_take(1, sizeof *p);
    *out = (struct typing_session){0};
    if (!p) return fail(err, ERR_MEMORY, "out of memory for a typing session");
    p->seed = options->seed;
    files_choose(p, sources, options->n_documents ? options->n_documents : DOCUMENTS_DEFAULT);
    status s = plan_grow(out, p, options->n_steps ? options->n_steps : STEPS_DEFAULT, err);
    memory_free(p);
    return s;
}
