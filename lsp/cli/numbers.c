#include "lsp/cli/numbers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "kernels/format.h"

static status ids_parse(token_list *out, text t, const char *option, error *err)
{
    for (size_t at = 0; at < t.size; at++) {
        char *end;
        while (at < t.size && strchr(" \t\r\n,[]", t.bytes[at])) at++;
        if (at == t.size) break;
        errno = 0;
        long id = strtol(t.bytes + at, &end, 10);
        if (end == t.bytes + at || errno != 0 || id < 0 || id > INT32_MAX)
            return fail(err, ERR_USAGE, "%s: found \"%.20s\", expected ids such as 1,2,3", option,
                        t.bytes + at);
        token_list_put(out, (int32_t)id);
        at = (size_t)(end - t.bytes);
    }
    return out->failed ? fail(err, ERR_MEMORY, "%s: out of memory", option) : OK;
}

status ids_given(token_list *out, const char *given, const char *option, error *err)
{
    buffer bytes = {0};
    status s = OK;
    if (!given)
        return fail(err, ERR_USAGE, "%s is missing: ids such as 1,2,3, or - for stdin", option);
    if (strcmp(given, "-") == 0)
        s = stream_read(&bytes, STDIN_FILENO, HTTP_BODY_MAX, err);
    else
        buffer_put_text(&bytes, text_of(given));
    if (s == OK && bytes.failed) s = fail(err, ERR_MEMORY, "%s: out of memory", option);
    if (s == OK) s = ids_parse(out, buffer_text(&bytes), option, err);
    buffer_free(&bytes);
    return s;
}

status ids_of_file(token_list *out, char *sha256, const char *path, const char *model_dir,
                   size_t n_max, error *err)
{
    tokenizer *t = NULL;
    buffer bytes = {0};
    bool is_stdin = strcmp(path, "-") == 0;
    status s = is_stdin ? stream_read(&bytes, STDIN_FILENO, TOKENIZE_INPUT_MAX, err)
                        : file_read(&bytes, path, TOKENIZE_INPUT_MAX, err);
    if (s == OK && sha256) sha256_hex(bytes.bytes, bytes.size, sha256);
    if (s == OK) s = tokenizer_open(&t, model_dir, err);
    if (s == OK) tokenizer_encode(t, out, buffer_text(&bytes));
    if (s == OK && out->failed)
        s = fail(err, ERR_MEMORY, "%s: out of memory for the ids of %zu bytes", path, bytes.size);
    if (s == OK && n_max && out->n > n_max) out->n = n_max;
    if (s == OK && out->n == 0) s = fail(err, ERR_USAGE, "%s: holds no text", path);
    buffer_free(&bytes);
    tokenizer_close(t);
    return s;
}

status weights_parse(enum weight_format *out, const char *name, const char *option, error *err)
{
    static const enum weight_format formats[] = {WEIGHT_FP8_ROW, WEIGHT_INT8_ROW, WEIGHT_INT4_G128};
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(format_name(formats[i]), name) != 0) continue;
        *out = formats[i];
        return OK;
    }
    if (!name) return fail(err, ERR_USAGE, "%s is missing: fp8, int8 or int4", option);
    return fail(err, ERR_USAGE, "%s: found \"%s\", expected fp8, int8 or int4", option, name);
}
