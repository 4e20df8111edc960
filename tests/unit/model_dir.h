/* Temporary model directories for tests: make_checkpoint's weights, and a tokenizer of the first
 * ranks of cl100k behind it. Tests run from the repository root; BUILD names the build directory. */
#ifndef TESTS_UNIT_MODEL_DIR_H
#define TESTS_UNIT_MODEL_DIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tokenizer/tokenizer.h"

/* cmocka has a macro of the name of our `fail`: its header comes last. */
#include <cmocka.h>

/* Every model here has this vocabulary: 400 ranks, three specials, the rest dead. */
enum { MODEL_VOCAB = 512, MODEL_RANKS = 400, MODEL_ENDOFTEXT = 400, MODEL_IM_END = 402 };

static char model_root[] = "/tmp/dbrx-ls-test-XXXXXX";

static inline void __attribute__((format(printf, 1, 2))) shell(const char *format, ...)
{
    char command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0) fail_msg("failed: %s", command);
}

static inline void model_root_make(void)
{
    if (strstr(model_root, "XXXXXX")) assert_non_null(mkdtemp(model_root));
}

static inline int model_root_remove(void **state)
{
    (void)state;
    shell("rm -rf %s", model_root);
    return 0;
}

/* Lives until the fourth call from now. */
static inline const char *model_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    model_root_make();
    snprintf(path, sizeof paths[0], "%s/%s", model_root, name);
    return path;
}

/* A checkpoint of two small layers; `more` are further options of make_checkpoint, later ones win. */
static inline void model_make(const char *name, const char *more)
{
    const char *build = getenv("BUILD");
    shell("%s/tools/make_checkpoint --out %s --d-model 64 --n-heads 4 --kv-n-heads 2 --n-layers 2 "
          "--ffn 64 --experts 4 --top-k 2 --vocab %d --max-seq-len 512 --seed 7 %s >/dev/null",
          build ? build : "build", model_path(name), MODEL_VOCAB, more);
}

static inline void file_put(const char *directory, const char *name, text content)
{
    char path[1024];
    error err;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (file_write(path, content, 0600, &err) != OK) fail_msg("%s", err.message);
}

static inline void tokenizer_make(const char *name)
{
    static const char config[] =
        "{\"added_tokens_decoder\": {\"400\": {\"content\": \"<|endoftext|>\"}, "
        "\"401\": {\"content\": \"<|im_start|>\"}, \"402\": {\"content\": \"<|im_end|>\"}}}";
    tokenizer *whole = NULL;
    buffer ranks = {0};
    error err;
    size_t end = 0;
    if (tokenizer_open(&whole, NULL, &err) != OK) fail_msg("%s", err.message);
    tokenizer_write_ranks(whole, &ranks);
    for (int line = 0; line < MODEL_RANKS; line++)
        end = text_find(buffer_text(&ranks), TEXT("\n"), end) + 1;
    file_put(model_path(name), "small.tiktoken", text_slice(buffer_text(&ranks), 0, end));
    file_put(model_path(name), "tokenizer_config.json", text_of(config));
    buffer_free(&ranks);
    tokenizer_close(whole);
}

/* Replaces the first `from` in DIR/file by `to`. */
static inline void file_replace(const char *directory, const char *file, const char *from,
                                const char *to)
{
    char path[1024];
    buffer old = {0}, new = {0};
    error err;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    if (file_read(&old, path, SIZE_MAX, &err) != OK) fail_msg("%s", err.message);
    size_t at = text_find(buffer_text(&old), text_of(from), 0);
    if (at == SIZE_MAX) fail_msg("%s: no \"%s\"", path, from);
    buffer_put(&new, old.bytes, at);
    buffer_put_text(&new, text_of(to));
    buffer_put_text(&new, text_slice(buffer_text(&old), at + strlen(from), old.size));
    file_put(directory, file, buffer_text(&new));
    buffer_free(&old);
    buffer_free(&new);
}

#endif
