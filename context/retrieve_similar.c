/* Windows of other files that speak of what stands around the gap, by BM25 (Robertson and Zaragoza 2009)
 * over their words and the parts of these. The index names the files that share rare words; they, and
 * those near to the document in other ways, are read and scanned. */
#include <limits.h>
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
    FILTER_BITS = 4096,
    WORD_MIN = 2,
    PART_MIN = 3,
    PARTS_MAX = 12,
    RARE_WORDS_MAX = 16,
    LIKE_FILES_MAX = 64, /* prose, data and other languages among them */
    TOGETHER_MAX = 8,
    FILES_MAX = 32,
    HALVES_MAX = 6000,
    SCANNED_BYTES_MAX = 512 * KIB
};

#define K1 1.2
#define B  0.75

/* What a byte is to words. */
enum byte_kind { BETWEEN_WORDS, SMALL, CAPITAL, DIGIT, JOINS };

/* Words and their parts, without regard to case, as hashes (FNV-1a). */
#define HASH_BEGIN 0x811c9dc5u
#define HASH_PRIME 0x01000193u

/* The words asked for, in a table by hash. */
struct query {
    uint32_t hashes[TERMS_MAX];
    size_t n;
    int16_t slots[TERM_SLOTS];          /* index + 1 */
    uint64_t filter[FILTER_BITS / 64];  /* of the hashes' lowest bits: most words end there */
    unsigned char kinds[UCHAR_MAX + 1]; /* of bytes: enum byte_kind */
};

struct term_count {
    uint16_t term, n;
};

/* HALF_LINES lines of a file. */
struct half {
    uint32_t file, line, from, n_words, n_counts; /* from: byte */
    struct term_count *counts;                    /* [n_counts] of terms that stand in it */
};

/* How often terms stand somewhere, and which do. */
struct term_table {
    uint16_t counts[TERMS_MAX], there[TERMS_MAX];
    size_t n;
};

struct scan {
    struct retrieval *t;
    struct query query;
    text paths[FILES_MAX], contents[FILES_MAX];
    size_t n_files, n_bytes;
    struct half *halves; /* [n_halves] of all files, one after the other */
    size_t n_halves;
    struct term_table terms;    /* of what is looked at now */
    uint32_t n_with[TERMS_MAX]; /* windows that have the term */
    double rareness[TERMS_MAX];
    size_t n_windows;
    double mean_words;
};

struct window {
    double score;
    uint32_t half;
};

static void kinds_make(unsigned char kinds[UCHAR_MAX + 1])
{
    for (int c = 0; c <= UCHAR_MAX; c++) {
        if ((c >= 'a' && c <= 'z') || c >= 0x80) kinds[c] = SMALL;
        if (c >= 'A' && c <= 'Z') kinds[c] = CAPITAL;
        if (c >= '0' && c <= '9') kinds[c] = DIGIT;
    }
    kinds['_'] = kinds['$'] = JOINS;
}

/* The word that begins at *at, and its parts where it has several. */
static size_t word_hashes(uint32_t out[PARTS_MAX + 1], const unsigned char *kinds, text t,
                          size_t *at)
{
    uint32_t whole = HASH_BEGIN, part = HASH_BEGIN;
    unsigned char kind, before = BETWEEN_WORDS;
    size_t n = 1, size = 0, i = *at;
    for (; i < t.size && (kind = kinds[(unsigned char)t.bytes[i]]) != BETWEEN_WORDS; i++) {
        uint32_t small = (unsigned char)t.bytes[i] | (kind == CAPITAL ? 32u : 0u);
        if (kind == JOINS || (kind == CAPITAL && before != CAPITAL)) {
            if (size >= PART_MIN && n <= PARTS_MAX) out[n++] = part;
            part = HASH_BEGIN;
            size = 0;
        }
        before = kind;
        whole = (whole ^ small) * HASH_PRIME;
        if (kind == JOINS) continue;
        part = (part ^ small) * HASH_PRIME;
        size++;
    }
    if (size >= PART_MIN && size < i - *at && n <= PARTS_MAX) out[n++] = part;
    out[0] = whole;
    *at = i;
    return n;
}

/* Hashes of the next word; 0: there is none. */
static size_t next_word(uint32_t out[PARTS_MAX + 1], const unsigned char *kinds, text t, size_t *at)
{
    for (;;) {
        while (*at < t.size && kinds[(unsigned char)t.bytes[*at]] == BETWEEN_WORDS) (*at)++;
        size_t from = *at;
        if (from == t.size) return 0;
        size_t n = word_hashes(out, kinds, t, at);
        if (*at - from >= WORD_MIN && kinds[(unsigned char)t.bytes[from]] != DIGIT) return n;
    }
}

static int term_of(const struct query *q, uint32_t hash)
{
    if (!(q->filter[hash % FILTER_BITS / 64] >> hash % 64 & 1)) return -1;
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
    q->filter[hash % FILTER_BITS / 64] |= (uint64_t)1 << hash % 64;
    q->slots[i] = (int16_t)++q->n;
}

static void line_ask(struct query *q, text line)
{
    uint32_t hashes[PARTS_MAX + 1];
    for (size_t at = 0, n; (n = next_word(hashes, q->kinds, line, &at)) > 0;)
        for (; n > 0; n--) term_put(q, hashes[n - 1]);
}

static void query_make(struct query *q, text content, size_t cursor)
{
    size_t end = cursor;
    kinds_make(q->kinds);
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

static void terms_count(struct term_table *terms, uint16_t term, uint16_t n)
{
    if (terms->counts[term] == 0) terms->there[terms->n++] = term;
    if (terms->counts[term] <= UINT16_MAX - n)
        terms->counts[term] = (uint16_t)(terms->counts[term] + n);
}

static void terms_forget(struct term_table *terms)
{
    for (size_t i = 0; i < terms->n; i++) terms->counts[terms->there[i]] = 0;
    terms->n = 0;
}

/* HALF_LINES lines from *from on. */
static text next_lines(text content, size_t from)
{
    size_t to = from;
    for (int n = 0; n < HALF_LINES && to < content.size; n++) {
        const char *end = memchr(content.bytes + to, '\n', content.size - to);
        to = end ? (size_t)(end - content.bytes) + 1 : content.size;
    }
    return text_slice(content, from, to);
}

static void half_scan(struct scan *s, struct half *h, text lines)
{
    uint32_t hashes[PARTS_MAX + 1];
    struct term_table *terms = &s->terms;
    for (size_t at = 0, n; (n = next_word(hashes, s->query.kinds, lines, &at)) > 0;) {
        h->n_words += (uint32_t)n;
        for (; n > 0; n--) {
            int term = term_of(&s->query, hashes[n - 1]);
            if (term >= 0) terms_count(terms, (uint16_t)term, 1);
        }
    }
    h->counts = arena_take(s->t->memory, terms->n + 1, sizeof *h->counts);
    for (size_t i = 0; h->counts && i < terms->n; i++)
        h->counts[h->n_counts++] =
            (struct term_count){terms->there[i], terms->counts[terms->there[i]]};
    terms_forget(terms);
}

static void file_scan(struct scan *s, text path)
{
    text content = retrieval_content(s->t, path), lines;
    size_t left = SCANNED_BYTES_MAX - s->n_bytes, end = content.size < left ? content.size : left;
    for (size_t from = 0, line = 1; from < end && s->n_halves < HALVES_MAX;
         from += lines.size, line += HALF_LINES) {
        struct half *h = &s->halves[s->n_halves++];
        *h = (struct half){(uint32_t)s->n_files, (uint32_t)line, (uint32_t)from, 0, 0, NULL};
        lines = next_lines(content, from);
        half_scan(s, h, lines);
    }
    s->paths[s->n_files] = path;
    s->contents[s->n_files++] = content;
    s->n_bytes += end;
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

static status together_find(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    if (d->together_there) return OK;
    status code = index_files_together(&d->together, &d->memory, t->r->index, t->r->tree,
                                       t->q->document.path, TOGETHER_MAX, t->err);
    d->together_there = code == OK;
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
    if (code == OK) code = together_find(t);
    const struct index_files *together = &t->r->document.together;
    for (size_t i = 0; code == OK && i < together->n; i++) file_put(s, together->files[i].path);
    return code;
}

/* Whether another half of the same file follows. */
static bool is_followed(const struct scan *s, size_t half)
{
    return half + 1 < s->n_halves && s->halves[half + 1].file == s->halves[half].file;
}

/* A half that is the end of a file belongs to the window before. */
static bool is_window(const struct scan *s, size_t half)
{
    return is_followed(s, half) || half == 0 || s->halves[half - 1].file != s->halves[half].file;
}

/* Puts what both halves of a window have into s->terms; returns its words. */
static double window_terms(struct scan *s, size_t half)
{
    double n_words = 0;
    terms_forget(&s->terms);
    for (size_t h = half; h < half + 1 + is_followed(s, half); h++) {
        const struct half *of = &s->halves[h];
        for (size_t i = 0; i < of->n_counts; i++)
            terms_count(&s->terms, of->counts[i].term, of->counts[i].n);
        n_words += of->n_words;
    }
    return n_words;
}

/* Inverse document frequency, where a document is a window. */
static void rareness_find(struct scan *s)
{
    double n_words = 0;
    for (size_t h = 0; h < s->n_halves; h++) {
        if (!is_window(s, h)) continue;
        n_words += window_terms(s, h);
        s->n_windows++;
        for (size_t i = 0; i < s->terms.n; i++) s->n_with[s->terms.there[i]]++;
    }
    s->mean_words = s->n_windows ? n_words / (double)s->n_windows + 1 : 1;
    for (size_t i = 0; i < s->query.n; i++) {
        double with = s->n_with[i];
        s->rareness[i] = log(1 + ((double)s->n_windows - with + 0.5) / (with + 0.5));
    }
}

static double window_score(struct scan *s, size_t half)
{
    double n_words = window_terms(s, half), score = 0;
    for (size_t i = 0; i < s->terms.n; i++) {
        uint16_t term = s->terms.there[i];
        double n = s->terms.counts[term];
        score +=
            s->rareness[term] * n * (K1 + 1) / (n + K1 * (1 - B + B * n_words / s->mean_words));
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
    text content = s->contents[h->file];
    c.score = w->score;
    c.line = 1;
    c.n_lines = 2 * HALF_LINES;
    c.content = lines_of(text_slice(content, h->from, content.size), &c.line, &c.n_lines);
    c.line += h->line - 1;
    if (c.content.size) t->windows[t->n_windows++] = c;
}

static status windows_rank(struct scan *s)
{
    struct retrieval *t = s->t;
    struct window *windows = arena_take(t->memory, s->n_halves + 1, sizeof *windows);
    size_t n = 0;
    if (!windows) return fail(t->err, ERR_MEMORY, "no memory for windows");
    rareness_find(s);
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
