/* Text of files on its way into a chat engine's template, and the answer on its way back.
 *
 * In a chat message the engine turns text into tokens, so "<|im_end|>" in a file would end the turn.
 * Every beginning of a control token gets a mark behind its first character: "<|" is written "<¦|"
 * (U+00A6), "[INST]" "[¦INST]". It is a visible character, which no gateway strips and models copy; in
 * the answer "<¦" and "[¦" lose it again. Pure; any thread. */
#ifndef LSP_CLIENT_CHAT_TEXT_H
#define LSP_CLIENT_CHAT_TEXT_H

#include "base/text.h"

/* Appends it so that it holds no control token of any known template, as valid UTF-8. */
void chat_text_write(buffer *out, text t);

/* Takes the marks out of an answer that comes in pieces. Zeroed: at its start. */
struct chat_reader {
    char held[4]; /* may be the beginning of a mark's place */
    size_t n_held;
};

void chat_text_read(struct chat_reader *r, buffer *out, text piece);
void chat_text_read_end(struct chat_reader *r, buffer *out);

#endif
