/* Text: a length-carrying view, and a buffer that grows.
 *
 * A view owns nothing. A buffer owns its bytes, keeps a NUL behind them, and its failure is sticky:
 * write on, then look at `failed` once. Not thread-safe. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct text {
    const char *bytes; /* not NUL-terminated; may be NULL when size is 0 */
    size_t size;
} text;

#define TEXT(literal) ((text){(literal), sizeof(literal) - 1})

text text_of(const char *nul_terminated);        /* NULL gives the empty text */
text text_slice(text t, size_t from, size_t to); /* clamps to the text */
bool text_equal(text a, text b);
bool text_starts(text t, text prefix);
bool text_ends(text t, text suffix);
bool text_is(text t, const char *nul_terminated);
/* Below, above or 0, by bytes; what begins another text stands before it. */
int text_compare(text a, text b);

/* Byte offset of the first `needle` at or after `from`, or SIZE_MAX. */
size_t text_find(text t, text needle, size_t from);

/* Without spaces, tabs, CR and LF at both ends. */
text text_trim(text t);

/* Takes the next line off *rest, without its "\n" or "\r\n"; false when nothing is left. */
bool text_next_line(text *rest, text *line);

/* FNV-1a, folded: for tables in memory, never for files. */
uint64_t text_hash(text t);

/* How many bytes both have in common at the start. */
size_t text_common(text a, text b);

typedef struct buffer {
    char *bytes; /* bytes[size] is 0 once anything was written */
    size_t size, room;
    bool failed;
} buffer;

void buffer_put(buffer *b, const void *bytes, size_t size);
void buffer_put_text(buffer *b, text t);
void buffer_put_char(buffer *b, char c);
void buffer_print(buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_drop_front(buffer *b, size_t size);
void buffer_clear(buffer *b); /* keeps the room and clears `failed` */
void buffer_free(buffer *b);
text buffer_text(const buffer *b);

#endif
