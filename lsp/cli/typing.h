/* A typing session: what somebody does to some documents in an editor, step by step.
 *
 * It is made from real source files and a seed: paragraphs are cut out of them, and a typist puts
 * them back key by key, with what editors do by themselves (closers, indentation), with slips and
 * backspaces, accepted completions, words changed in the middle, looks elsewhere and other files. So
 * in the end every document is its source again. The same files and seed give the same session.
 *
 * It knows no prompt and no engine. One thread per session while it is made or played. */
#ifndef LSP_CLI_TYPING_H
#define LSP_CLI_TYPING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

enum typing_kind {
    TYPING_OPEN,    /* a document is opened and shown */
    TYPING_KEY,     /* one character, perhaps with its closer; or the cursor goes over a closer */
    TYPING_ERASE,   /* backspace, or a closer that was not wanted */
    TYPING_NEWLINE, /* Enter, with indentation */
    TYPING_ACCEPT,  /* a completion is taken over */
    TYPING_JUMP,    /* the cursor goes elsewhere in its document */
    TYPING_SWITCH,  /* to a document that was open already */
    N_TYPING_KINDS
};

const char *typing_kind_name(enum typing_kind kind); /* "open", "key", ...: in files and tables */

struct typing_step {
    enum typing_kind kind;
    int32_t document;
    int32_t pause_ms; /* since the step before, as people type: about five keys a second */
    /* Bytes [at, at + n_removed) of the document become `inserted`; then the cursor. */
    size_t at, n_removed, cursor;
    text inserted;
};

struct typing_document {
    text path, base; /* as the session finds it */
};

struct typing_session {
    uint64_t seed;
    struct typing_document *documents; /* [n_documents] */
    size_t n_documents;
    struct typing_step *steps; /* [n_steps] */
    size_t n_steps, steps_room;
    arena memory; /* holds documents and texts */
};

/* A source to type from: as typing_sources_read found it, or a test's own. */
struct typing_source {
    text path, content;
};

struct typing_sources {
    struct typing_source *files; /* [n] by path */
    size_t n;
    arena memory;
};

/* Source files at `path`: that file, or those of a directory that have a language, a size that people
 * write, and no reason to stay unread (context/exclude.h). ERR_USAGE when there are none. */
status typing_sources_read(struct typing_sources *out, const char *path, error *err);
void typing_sources_free(struct typing_sources *s);

struct typing_options {
    uint64_t seed;
    size_t n_steps;     /* at least so many, and at most a paragraph more; 0: 600 */
    size_t n_documents; /* at most; 0: 3 */
};

/* ERR_USAGE when the sources hold too little to type so much. Freed by typing_session_free also
 * after an error. */
status typing_session_make(struct typing_session *out, const struct typing_sources *sources,
                           const struct typing_options *options, error *err);
void typing_session_free(struct typing_session *s);

/* A file of JSON by lines. It holds the text of the documents, so it is written 0600 and nobody
 * should pass it on without thinking. Loading plays it once: ERR_FORMAT names the line or step that
 * does not fit. Freed by typing_session_free also after an error. */
status typing_session_save(const struct typing_session *s, const char *path, error *err);
status typing_session_load(struct typing_session *out, const char *path, error *err);

/* The documents while a session is played. */
struct typing_player {
    const struct typing_session *session;
    buffer *contents; /* [n_documents] */
    size_t n_played;  /* steps */
};

status typing_player_open(struct typing_player *out, const struct typing_session *s, error *err);
void typing_player_close(struct typing_player *p);

/* Plays the next step and gives it; *out NULL at the end. ERR_FORMAT when it does not fit its
 * document. */
status typing_player_step(struct typing_player *p, const struct typing_step **out, error *err);

#endif
