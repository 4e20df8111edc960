/* Windows of other files that speak of what stands around the gap, by BM25 (Robertson and Zaragoza 2009)
 * over their words and the parts of these. The index names the files that share rare words; they, and
 * those near to the document in other ways, are read and scanned. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "context/retrieve_private.h"

enum {
    QUERY_ABOVE = 20, /* lines */
    QUERY_BELOW = 5,
    HALF_LINES = 10, /* a window has two halves, and begins with each */
    TERMS_MAX = 192,
    TERM_SLOTS = 512,
    WORD_MIN = 2,
    PART_MIN = 3,
    PARTS_MAX = 12,
    RARE_WORDS_MAX = 16,
    LIKE_FILES_MAX = 64, /* prose, data and other languages among them */
    FILES_MAX = 32,
    HALVES_MAX = 6000,
    SCANNED_BYTES_MAX = 512 * KIB
};

#define K1 1.2
#define B  0.75

/* The words asked for, in a table by hash. */
struct query {
    uint32_t hashes[TERMS_MAX];
    size_t n;
    int16_t slots[TERM_SLOTS]; /* index + 1 */
};

struct term_count {
    uint16_t term, n;
};

/* HALF_LINES lines of a file. */
struct half {
    uint32_t file, line, n_words, n_counts;
    struct term_count *counts; /* [n_counts] of terms that stand in it */
};

struct scan {
    struct retrieval *t;
    struct query query;
    text paths[FILES_MAX], contents[FILES_MAX];
    size_t n_files, n_bytes;
    struct half *halves; /* [n_halves] of all files, one after the other */
    size_t n_halves;
    uint32_t n_with[TERMS_MAX]; /* windows that have the term */
    size_t n_windows;
    double mean_words;
};

struct window {
    double score;
    uint32_t half;
};

static bool is_capital(unsigned char c) { return c >= 'A' && c <= 'Z'; }
static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

static bool is_word_byte(unsigned char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || is_digit(c) || c == '_' || c == '$' || c >= 0x80;
}

/* A word by itself, and its parts where it has several, without regard to case (FNV-1a). */
static size_t word_hashes(uint32_t out[PARTS_MAX + 1], text word)
{
    uint32_t whole = 0x811c9dc5u, part = 0x811c9dc5u;
    size_t n = 1, size = 0;
    unsigned char before = 0;
    for (size_t i = 0; i <= word.size; i++) {
        unsigned char c = i < word.size ? (unsigned char)word.bytes[i] : '_';
        bool joins = c == '_' || c == '$', hump = is_capital(c) && !is_capital(before);
        if (joins || hump) {
            if (size >= PART_MIN && size < word.size && n <= PARTS_MAX) out[n++] = part;
            part = 0x811c9dc5u;
            size = 0;
        }
        before = c;
        if (i == word.size) break;
        uint32_t small = is_capital(c) ? c | 32u : c;
        whole = (whole ^ small) * 0x01000193u;
        if (joins) continue;
        part = (part ^ small) * 0x01000193u;
        size++;
    }
    out[0] = whole;
    return n;
}

static bool next_word(text line, size_t *at, text *word)
{
    for (;;) {
        while (*at < line.size && !is_word_byte((unsigned char)line.bytes[*at])) (*at)++;
        size_t from = *at;
        while (*at < line.size && is_word_byte((unsigned char)line.bytes[*at])) (*at)++;
        *word = text_slice(line, from, *at);
        if (!word->size) return false;
        if (word->size >= WORD_MIN && !is_digit((unsigned char)word->bytes[0])) return true;
    }
}

static int term_of(const struct query *q, uint32_t hash)
{
    for (size_t i = hash % TERM_SLOTS; q->slots[i]; i = (i + 1) % TERM_SLOTS)
        if (q->hashes[q->slots[i] - 1] == hash) return q->slots[i] - 1;
    return -1;
}

static void term_put(struct query *q, uint32_t hash)
{
    size_t i = hash % TERM_SLOTS;
    if (q->n == TERMS_MAX || term_of(q, hash) >= 0) return;
    while (q->slots[i]) i = (i + 1) % TERM_SLOTS;
    q->hashes[q->n] = hash;
    q->slots[i] = (int16_t)++q->n;
}

static void line_ask(struct query *q, text line)
{
    uint32_t hashes[PARTS_MAX + 1];
    text word;
    for (size_t at = 0; next_word(line, &at, &word);)
        for (size_t i = word_hashes(hashes, word); i > 0; i--) term_put(q, hashes[i - 1]);
}

static void query_make(struct query *q, text content, size_t cursor)
{
    size_t end = cursor;
    for (int i = 0; i < QUERY_ABOVE; i++) {
        size_t from = end;
        while (from > 0 && content.bytes[from - 1] != '\n') from--;
        line_ask(q, text_slice(content, from, end));
        if (from == 0) break;
        end = from - 1;
    }
    text rest = text_slice(content, cursor, content.size), line;
    for (int i = 0; i < QUERY_BELOW && text_next_line(&rest, &line); i++) line_ask(q, line);
}

static struct half *half_begin(struct scan *s, uint32_t line)
{
    if (s->n_halves == HALVES_MAX) return NULL;
    struct half *h = &s->halves[s->n_halves++];
    *h = (struct half){.file = (uint32_t)s->n_files, .line = line};
    return h;
}

static void half_end(struct scan *s, struct half *h, uint16_t counts[TERMS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < s->query.n; i++) n += counts[i] > 0;
    h->counts = arena_take(s->t->memory, n ? n : 1, sizeof *h->counts);
    for (size_t i = 0; h->counts && i < s->query.n; i++) {
        if (counts[i]) h->counts[h->n_counts++] = (struct term_count){(uint16_t)i, counts[i]};
        counts[i] = 0;
    }
}

static void file_scan(struct scan *s, text path)
{
    uint16_t counts[TERMS_MAX] = {0};
    uint32_t hashes[PARTS_MAX + 1];
    struct half *h = NULL;
    text content = retrieval_content(s->t, path), rest = content, line, word;
    for (uint32_t at = 1; text_next_line(&rest, &line); at++) {
        if (at % HALF_LINES == 1) {
            if (h) half_end(s, h, counts);
            h = half_begin(s, at);
        }
        if (!h) break;
        for (size_t i = 0; next_word(line, &i, &word);)
            for (size_t k = word_hashes(hashes, word); k > 0; k--) {
                int term = term_of(&s->query, hashes[k - 1]);
                h->n_words++;
                if (term >= 0 && counts[term] < UINT16_MAX) counts[term]++;
            }
    }
    if (h) half_end(s, h, counts);
    s->paths[s->n_files] = path;
    s->contents[s->n_files++] = content;
    s->n_bytes += content.size;
}

static void file_put(struct scan *s, text path)
{
    struct retrieval *t = s->t;
    if (s->n_files == FILES_MAX || s->n_bytes >= SCANNED_BYTES_MAX || is_document(t, path) ||
        !is_kindred(t, path) || retrieval_late(t))
        return;
    for (size_t i = 0; i < s->n_files; i++)
        if (text_equal(s->paths[i], path)) return;
    file_scan(s, path);
}

/* Words worth looking for: near, and in few files. */
static status rare_words(struct retrieval *t, text words[RARE_WORDS_MAX], size_t *n)
{
    status code = OK;
    *n = 0;
    for (size_t i = 0; code == OK && i < t->n_near && *n < RARE_WORDS_MAX; i++) {
        int64_t count = 0;
        if (t->names[i].name.size < 4) continue;
        code = index_word_count(&count, t->r->index, t->names[i].name, t->err);
        if (count >= 2 && count < 300) words[(*n)++] = t->names[i].name;
    }
    return code;
}

static status files_scan(struct scan *s)
{
    struct retrieval *t = s->t;
    struct index_files files = {0};
    text words[RARE_WORDS_MAX];
    size_t n;
    status code = rare_words(t, words, &n);
    if (code == OK && n)
        code = index_files_like(&files, t->memory, t->r->index, t->r->tree, words, n,
                                LIKE_FILES_MAX, t->err);
    for (size_t i = 0; i < t->q->n_recent && i < 4; i++) file_put(s, t->q->recent[i].path);
    for (size_t i = 0; code == OK && i < files.n; i++) file_put(s, files.files[i].path);
    const struct document_tags *d = &t->r->document;
    for (size_t i = 0; i < d->n_together; i++) file_put(s, d->together[i].path);
    return code;
}

/* Whether another half of the same file follows. */
static bool is_followed(const struct scan *s, size_t half)
{
    return half + 1 < s->n_halves && s->halves[half + 1].file == s->halves[half].file;
}

/* What both halves of a window have; returns its words. */
static double window_counts(const struct scan *s, size_t half, uint16_t counts[TERMS_MAX])
{
    double n_words = 0;
    for (size_t h = half; h < half + 1 + is_followed(s, half); h++) {
        const struct half *of = &s->halves[h];
        for (size_t i = 0; i < of->n_counts; i++)
            counts[of->counts[i].term] = (uint16_t)(counts[of->counts[i].term] + of->counts[i].n);
        n_words += of->n_words;
    }
    return n_words;
}

/* A half that is the end of a file belongs to the window before. */
static bool is_window(const struct scan *s, size_t half)
{
    return is_followed(s, half) || half == 0 || s->halves[half - 1].file != s->halves[half].file;
}

static void windows_count(struct scan *s)
{
    double n_words = 0;
    for (size_t h = 0; h < s->n_halves; h++) {
        uint16_t counts[TERMS_MAX] = {0};
        if (!is_window(s, h)) continue;
        n_words += window_counts(s, h, counts);
        s->n_windows++;
        for (size_t i = 0; i < s->query.n; i++) s->n_with[i] += counts[i] > 0;
    }
    s->mean_words = s->n_windows ? n_words / (double)s->n_windows + 1 : 1;
}

static double window_score(const struct scan *s, size_t half)
{
    uint16_t counts[TERMS_MAX] = {0};
    double n_words = window_counts(s, half, counts), score = 0;
    for (size_t i = 0; i < s->query.n; i++) {
        double with = s->n_with[i], n = counts[i];
        if (n == 0) continue;
        score += log(1 + ((double)s->n_windows - with + 0.5) / (with + 0.5)) * n * (K1 + 1) /
                 (n + K1 * (1 - B + B * n_words / s->mean_words));
    }
    return score;
}

static int compare_windows(const void *a, const void *b)
{
    const struct window *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->half > y->half) - (x->half < y->half);
}

static bool is_taken(const struct scan *s, uint32_t half)
{
    const struct retrieval *t = s->t;
    const struct half *h = &s->halves[half];
    for (size_t i = 0; i < t->n_windows; i++) {
        const struct candidate *c = &t->windows[i];
        bool apart = c->line >= h->line + 2 * HALF_LINES || h->line >= c->line + c->n_lines;
        if (!apart && text_equal(c->path, s->paths[h->file])) return true;
    }
    return false;
}

static void window_take(struct scan *s, const struct window *w)
{
    struct retrieval *t = s->t;
    const struct half *h = &s->halves[w->half];
    struct candidate c = {.path = s->paths[h->file], .reason = "speaks of the same things"};
    if (is_taken(s, w->half)) return;
    c.score = w->score;
    c.line = h->line;
    c.n_lines = 2 * HALF_LINES;
    c.content = lines_of(s->contents[h->file], &c.line, &c.n_lines);
    if (c.content.size) t->windows[t->n_windows++] = c;
}

static status windows_rank(struct scan *s)
{
    struct retrieval *t = s->t;
    struct window *windows = arena_take(t->memory, s->n_halves + 1, sizeof *windows);
    size_t n = 0;
    if (!windows) return fail(t->err, ERR_MEMORY, "no memory for windows");
    windows_count(s);
    for (size_t h = 0; h < s->n_halves; h++)
        if (is_window(s, h)) windows[n++] = (struct window){window_score(s, h), (uint32_t)h};
    qsort(windows, n, sizeof *windows, compare_windows);
    for (size_t i = 0; i < n && t->n_windows < WINDOWS_MAX && windows[i].score > 0; i++)
        window_take(s, &windows[i]);
    return OK;
}

status windows_find(struct retrieval *t)
{
    if (t->windows_there) return OK;
    struct scan *s = arena_take(t->memory, 1, sizeof *s);
    if (s) s->halves = arena_take(t->memory, HALVES_MAX, sizeof *s->halves);
    if (!s || !s->halves) return fail(t->err, ERR_MEMORY, "no memory for windows");
    size_t cursor = t->q->cursor_byte;
    text content = t->q->document.content;
    s->t = t;
    query_make(&s->query, content, cursor < content.size ? cursor : content.size);
    status code = files_scan(s);
    t->windows_there = true;
    return code == OK ? windows_rank(s) : code;
}

status similar_find(struct retrieval *t)
{
    status code = windows_find(t);
    for (size_t i = 0; code == OK && i < t->n_windows; i++)
        candidate_put(t, SOURCE_SIMILAR, &t->windows[i]);
    return code;
}
