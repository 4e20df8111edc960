/* Tags: what a source file defines, uses and imports, by a tree-sitter query per language.
 *
 * The queries stand in context/queries/NAME.scm and are part of the program. In them
 *   @name                   is the name of the definition that the same pattern captures
 *   @definition.KIND        is the whole definition; KIND is what tag.kind says
 *   @reference              is an identifier in use (the names of definitions are left out)
 *   @import, @import.name   are what is imported, and a name taken from it
 *   @import.onward          is what is imported to be handed on: "export ... from", "pub use"
 *   @_anything              serves predicates alone
 * and the predicates are #eq?, #not-eq? and #any-of?, between a capture and strings. Bounded in size
 * and processor time (base/limits.h). Each query is compiled once per
 * process; a tagger belongs to one thread. */
#ifndef CONTEXT_TAGS_H
#define CONTEXT_TAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "context/syntax.h"

/* The kind of what a function keeps inside itself: nobody else can name it. */
#define TAG_LOCAL "local"

struct tag {
    text name;
    const char *kind;  /* "function", "struct", ...: lives as long as the tagger */
    text signature;    /* the head of the definition on one line, without its body or value */
    uint32_t from, to; /* bytes of the whole definition */
    uint32_t line;     /* of the name, from 1 */
};

struct tag_reference {
    text name;
    uint32_t count;
};

struct tag_import {
    text module; /* without quotes */
    text name;   /* "" when all of it is imported */
    bool onward; /* whoever imports this file gets it, too */
};

/* All texts live in `memory` or in the content they were found in. */
struct tags {
    struct tag *definitions;          /* in the order of the text */
    struct tag_reference *references; /* by name, each once */
    struct tag_import *imports;       /* in the order of the text */
    size_t n_definitions, n_references, n_imports;
    bool cut; /* TAGS_MAX was reached: there are more */
    arena memory;
};

typedef struct tagger tagger;

status tagger_open(tagger **out, error *err);
void tagger_close(tagger *t); /* NULL is fine */

/* Whether the language has a query. */
bool tagger_knows(const struct language *language);

/* Whether the word belongs to the language's grammar: "return" is never the name of a definition that
 * somebody looks for. False where the language has no query. */
bool tagger_is_keyword(const struct language *language, text word);

/* Fills *out (freed by tags_free also after an error) from `content`, which must outlive it; content
 * is bytes, well-formed UTF-8 or not. ERR_LIMIT when it is too large or takes too long, in which case
 * *out holds what was found; ERR_UNSUPPORTED when the language has no query. */
status tags_read(struct tags *out, tagger *t, const struct language *language, text content,
                 error *err);

/* Only the names of definitions (kind, place, no signature) and the imports in bytes [from, to) of
 * `content`: what a document itself has, at a fraction of the cost. `tree` is the parse of content, or
 * NULL: then these bytes alone are parsed. As above. */
status tags_read_outline(struct tags *out, tagger *t, const struct language *language, text content,
                         const syntax *tree, size_t from, size_t to, error *err);

/* Makes what reading outlines of the language needs, which takes a while the first time. */
void tagger_prepare(const struct language *language);

/* For text without a query: the words that could be identifiers, as references. What looks like a
 * key or a hash is no word. ERR_MEMORY, ERR_LIMIT as above. */
status tags_read_words(struct tags *out, text content, error *err);

void tags_free(struct tags *tags);

#endif
