/* Libraries say in macros how a class or a function is exported, inlined, called: words in capitals, which
 * no grammar can know, and takes for the name or for the type. One that stands beside a type is blanked;
 * one that may be the type stays. */
#include "context/tags_source.h"

#include <string.h>

/* Of one declaration: words in front of its bracket, bytes between "<" and ">", of its parameters, and in
 * front of a line. Of a file such bytes are looked at LOOKED_SHARE times at most, which only hostile ones
 * come near. */
enum {
    HEAD_WORDS_MAX = 16,
    ANGLES_MAX = 1024,
    PARAMETERS_MAX = 4096,
    BEHIND_MAX = 1024,
    LOOKED_SHARE = 8
};

static bool is_word_byte(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t blanks_end(text t, size_t at)
{
    while (at < t.size && strchr(" \t\r\n", t.bytes[at])) at++;
    return at;
}

static size_t word_end(text t, size_t at)
{
    while (at < t.size && is_word_byte(t.bytes[at])) at++;
    return at;
}

static bool is_capitals(text word)
{
    for (size_t i = 0; i < word.size; i++)
        if (word.bytes[i] >= 'a' && word.bytes[i] <= 'z') return false;
    return word.size > 2 && (word.bytes[0] > '9');
}

/* Behind "class" or "struct" at `at`: a macro, a name, and what only a definition has. */
static bool macro_at(text t, size_t at, size_t *from, size_t *to)
{
    *from = blanks_end(t, at);
    *to = word_end(t, *from);
    size_t name = blanks_end(t, *to), end = word_end(t, name), behind = blanks_end(t, end);
    if (*from == at || name == *to || end == name || behind >= t.size) return false;
    text next = text_slice(t, behind, word_end(t, behind));
    return is_capitals(text_slice(t, *from, *to)) &&
           (strchr(":{", t.bytes[behind]) || text_is(next, "final"));
}

static bool is_cpp(const struct language *l)
{
    return strcmp(l->name, "C++") == 0 || strcmp(l->name, "CUDA") == 0 || strcmp(l->name, "C") == 0;
}

/* What is blanked, in a copy that is made when there is something. */
struct blanking {
    buffer *out;
    text content;
    bool any, has_constructors; /* of which nothing says the type */
};

static void blank(struct blanking *b, size_t from, size_t to)
{
    if (!b->any) buffer_put_text(b->out, b->content);
    b->any = true;
    if (!b->out->failed) memset(b->out->bytes + from, ' ', to - from);
}

static void blank_behind(struct blanking *b, text head)
{
    text t = b->content;
    for (size_t at = 0, from, to; (at = text_find(t, head, at)) != SIZE_MAX;) {
        bool begins = at == 0 || !is_word_byte(t.bytes[at - 1]);
        at += head.size;
        if (begins && macro_at(t, at, &from, &to)) blank(b, from, to);
    }
}

/* The words in front of a bracket, as a declaration has them. */
struct head {
    struct word {
        size_t from, to;
        bool capitals; /* and a word behind it */
    } words[HEAD_WORDS_MAX];
    size_t n, n_capitals,
        n_types; /* types: what is neither in capitals nor a scope, nor says how a thing is kept */
    size_t looked; /* bytes behind its words */
    size_t end;    /* where the bracket stands, or reading stopped */
    bool is_head;
};

static bool is_one_of(text word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text_is(word, list[i])) return true;
    return false;
}

/* Words that begin no declaration. */
static bool is_statement(text word)
{
    static const char *const words[] = {"return", "else", "case",  "goto", "throw", "new",
                                        "delete", "if",   "while", "for",  "switch"};
    return is_one_of(word, words, sizeof words / sizeof *words);
}

static bool is_storage(text word)
{
    static const char *const words[] = {"static",   "inline",    "extern",   "const",   "constexpr",
                                        "virtual",  "friend",    "typename", "struct",  "volatile",
                                        "register", "consteval", "enum",     "template"};
    return is_one_of(word, words, sizeof words / sizeof *words);
}

/* Behind the ">" that closes the "<" at `at`; `at` itself when none does within a declaration. */
static size_t angles_end(text t, size_t at, size_t *looked)
{
    size_t depth = 0;
    for (size_t i = at; i < t.size && i < at + ANGLES_MAX && !strchr(";{}()", t.bytes[i]); i++) {
        ++*looked;
        depth += t.bytes[i] == '<';
        if (t.bytes[i] == '>' && --depth == 0) return i + 1;
    }
    return at;
}

static bool word_put(struct head *h, text t, size_t from, size_t to)
{
    text word = text_slice(t, from, to);
    size_t next = blanks_end(t, to);
    if (h->n == HEAD_WORDS_MAX || is_statement(word)) return false;
    char behind = next < t.size ? t.bytes[next] : '(';
    bool outer = behind == ':' && next + 1 < t.size && t.bytes[next + 1] == ':';
    bool parted = next > to && (is_word_byte(behind) || behind == '~');
    struct word *w = &h->words[h->n++];
    *w = (struct word){from, to, parted && is_capitals(word)};
    h->n_capitals += w->capitals;
    h->n_types += !w->capitals && !outer && behind != '(' && !is_storage(word);
    return true;
}

static void head_read(struct head *h, text t, size_t at)
{
    *h = (struct head){.end = at};
    for (size_t to; (at = blanks_end(t, at)) < t.size; at = to) {
        char c = t.bytes[at];
        h->end = at;
        if (c == '(') {
            h->is_head = h->n > 1;
            return;
        }
        if (is_word_byte(c)) {
            to = word_end(t, at);
            if (!word_put(h, t, at, to)) return;
        } else if (c == '<') {
            if ((to = angles_end(t, at, &h->looked)) == at) return;
        } else if (strchr(":*&~", c)) {
            to = at + 1;
        } else {
            return;
        }
    }
}

/* In "A::A(" and "A::~A(" what stands in front is no type. */
static bool is_constructor(const struct head *h, text t)
{
    if (h->n < 3) return false;
    const struct word *outer = &h->words[h->n - 2], *name = &h->words[h->n - 1];
    text between = text_slice(t, outer->to, name->from);
    return text_find(between, TEXT("::"), 0) != SIZE_MAX &&
           text_equal(text_slice(t, outer->from, outer->to), text_slice(t, name->from, name->to));
}

/* Behind the bracket that closes the one at `at`, and behind "const"; `at` itself when none does. */
static size_t parameters_end(text t, size_t at, size_t *looked)
{
    size_t depth = 0;
    for (size_t i = at; i < t.size && i < at + PARAMETERS_MAX; i++) {
        ++*looked;
        depth += t.bytes[i] == '(';
        if (t.bytes[i] != ')' || --depth > 0) continue;
        size_t to = blanks_end(t, i + 1);
        return text_starts(text_slice(t, to, t.size), TEXT("const ")) ? blanks_end(t, to + 5) : to;
    }
    return at;
}

/* A macro that stands behind the parameters, in front of the body. */
static void blank_in_front_of_body(struct blanking *b, struct head *h)
{
    text t = b->content;
    size_t from = parameters_end(t, h->end, &h->looked), to = word_end(t, from),
           next = blanks_end(t, to);
    if (to > from && next < t.size && t.bytes[next] == '{' && is_capitals(text_slice(t, from, to)))
        blank(b, from, to);
}

/* What is set before the body is the way of constructors. */
static bool has_initialisers(text t, struct head *h)
{
    size_t from = parameters_end(t, h->end, &h->looked), next = blanks_end(t, word_end(t, from));
    return from > h->end && next + 1 < t.size && t.bytes[next] == ':' && t.bytes[next + 1] != ':';
}

/* The first of several may be the type, where there is no other. */
static void blank_in_head(struct blanking *b, struct head *h)
{
    bool keep = h->n_types == 0 && !is_constructor(h, b->content) &&
                !(b->has_constructors && has_initialisers(b->content, h));
    for (size_t i = 0; i < h->n; i++) {
        if (!h->words[i].capitals) continue;
        if (!keep) blank(b, h->words[i].from, h->words[i].to);
        keep = false;
    }
}

/* Whether what stands in front of `at`, apart from what is blanked, is whole, and no list of constants. */
static bool begins_behind(text t, size_t at)
{
    size_t last = at > BEHIND_MAX ? at - BEHIND_MAX : 0;
    while (at > last && strchr(" \t\r\n", t.bytes[at - 1])) at--;
    if (at == last) return at == 0;
    if (t.bytes[at - 1] == '/') return at > 1 && t.bytes[at - 2] == '*';
    if (strchr(";}):", t.bytes[at - 1])) return true;
    size_t from = at;
    while (from > last && t.bytes[from - 1] != '\n') from--;
    text line = text_slice(t, from, at);
    if (t.bytes[at - 1] == '{') return text_find(line, TEXT("enum"), 0) == SIZE_MAX;
    return line.bytes[0] == '#' && t.bytes[at - 1] != '\\';
}

/* A macro that has a line for itself: fields, or what a class or a function is said to be, or a block's
 * head. It is no part of what the head goes on with. */
static void blank_line(struct blanking *b, size_t at, struct head *h)
{
    text t = b->content;
    size_t from = at;
    while (from < t.size && strchr(" \t", t.bytes[from])) from++;
    size_t to = word_end(t, from), next = blanks_end(t, to);
    text word = text_slice(t, from, to);
    if (!is_capitals(word) || !memchr(word.bytes, '_', word.size) || next >= t.size) return;
    bool alone = memchr(t.bytes + to, '\n', next - to) != NULL;
    bool goes_on = is_word_byte(t.bytes[next]) || strchr("~}/", t.bytes[next]);
    if (t.bytes[next] != '{' && !(alone && goes_on)) return;
    bool type = h->is_head && h->n_types == 0 && !b->has_constructors;
    if (type || !begins_behind(b->any ? buffer_text(b->out) : t, from)) return;
    blank(b, from, to);
    *h = (struct head){.end = to};
}

/* Declarations begin lines. */
static void blank_functions(struct blanking *b)
{
    text t = b->content;
    struct head h;
    for (size_t at = 0, looked = 0; at < t.size && looked <= LOOKED_SHARE * t.size;) {
        head_read(&h, t, at);
        looked += h.looked;
        h.looked = 0;
        blank_line(b, at, &h);
        if (h.is_head) {
            if (h.n_capitals) blank_in_head(b, &h);
            blank_in_front_of_body(b, &h);
        }
        looked += h.looked;
        size_t line = text_find(t, TEXT("\n"), h.end);
        at = line == SIZE_MAX ? t.size : line + 1;
    }
}

bool tags_source(buffer *out, const struct language *language, text content)
{
    struct blanking b = {out, content, false, strcmp(language->name, "C") != 0};
    if (!is_cpp(language)) return false;
    blank_behind(&b, TEXT("class"));
    blank_behind(&b, TEXT("struct"));
    blank_functions(&b);
    return b.any && !out->failed;
}
