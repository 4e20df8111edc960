/* The oracle model of post-processing: a piece is taken out of a real file, and the answer is that
 * piece, plain or dressed up as models do. Whatever is shown must be a beginning of it. */
#ifndef TESTS_TRIM_ORACLE_H
#define TESTS_TRIM_ORACLE_H

#include "base/text.h"
#include "tokenizer/tokenizer.h"

enum wrapping {
    PLAIN,
    FENCED,   /* the fence opened again */
    PROSE,    /* words before and behind */
    REPEATED, /* goes on with what stands below */
    INDENTED, /* tabs for spaces, or spaces for tabs, from the second line on */
    WINDOWS,  /* the document has "\r\n", the answer "\n" */
    CUT,      /* ends somewhere */
    WRAPPINGS
};

extern const char *const wrapping_names[WRAPPINGS];

/* A place in a file whose text [at, to) is missing and is the answer. */
struct oracle {
    const char *path;
    text whole; /* with "\n" line ends */
    size_t at, to;
    bool many, with_tree; /* with_tree: as an editor's document, else parsed by who asks */
};

struct oracle_result {
    bool said;  /* the wrapping applies here: something was asked */
    bool shown; /* not empty */
    bool worse; /* the file, which had no errors, parses worse than with the gap */
    char fault[512], worse_words[768]; /* "" or what is wrong */
};

/* The k-th place of a file under a seed; false where there is nothing to say on the line. */
bool oracle_place(struct oracle *o, const char *path, text whole, uint64_t seed, uint64_t k);

/* Pieces of the answer are cut by `seed`. */
void oracle_run(struct oracle_result *out, const struct oracle *o, enum wrapping w,
                const tokenizer *t, uint64_t seed);

#endif
