/* One file per tokenizer, named by its hash and written at once by rename. */
#include "lsp/client/tokenizer_cache.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/sha256.h"

static status cache_path(buffer *out, const char *name, error *err)
{
    status s = path_cache(out, "tokenizers", err);
    if (s == OK) s = directory_make_private(out->bytes, err);
    if (s != OK) return s;
    buffer_print(out, "/%s", name);
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for a path") : OK;
}

static status ranks_open(tokenizer **out, const struct tokenizer_key *key, text ranks,
                         const char *from, error *err)
{
    char found[65];
    sha256_hex(ranks.bytes, ranks.size, found);
    if (strcmp(found, key->sha256) != 0)
        return fail(err, ERR_FORMAT, "%s: SHA-256 is %s, expected %s", from, found, key->sha256);
    status s = tokenizer_open_ranks(out, ranks, &key->specials, key->vocabulary_size, err);
    return s == OK ? OK : fail_in(err, s, "%s", from);
}

status tokenizer_cache_open(tokenizer **out, const struct tokenizer_key *key, error *err)
{
    buffer path = {0}, ranks = {0};
    *out = NULL;
    status s = cache_path(&path, key->sha256, err);
    if (s != OK) goto out;
    if (!file_exists(path.bytes)) {
        s = fail(err, ERR_IO, "%s: not there", path.bytes);
        goto out;
    }
    s = file_read(&ranks, path.bytes, TOKENIZER_FILE_MAX, err);
    if (s == OK) s = ranks_open(out, key, buffer_text(&ranks), path.bytes, err);
    if (s == ERR_FORMAT || s == ERR_LIMIT) unlink(path.bytes);
out:
    buffer_free(&path);
    buffer_free(&ranks);
    return s;
}

static status cache_keep(const struct tokenizer_key *key, text ranks, error *err)
{
    buffer path = {0};
    status s = cache_path(&path, "", err);
    if (s == OK) {
        directory_prune(path.bytes, TOKENIZERS_CACHED_MAX); /* each call adds one file */
        buffer_put_text(&path, text_of(key->sha256));
        s = path.failed ? fail(err, ERR_MEMORY, "out of memory for a path")
                        : file_write(path.bytes, ranks, 0600, err);
    }
    buffer_free(&path);
    return s;
}

status tokenizer_cache_add(tokenizer **out, const struct tokenizer_key *key, text ranks, error *err)
{
    error unkept;
    *out = NULL;
    status s = ranks_open(out, key, ranks, "the engine's tokenizer", err);
    if (s == OK && cache_keep(key, ranks, &unkept) != OK)
        log_line(LOG_WARN, "tokenizer not kept: %s", unkept.message);
    return s;
}
