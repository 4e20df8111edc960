/* The public face: which files are read, and the loops over pieces. All state is in the struct and
 * none of it changes after opening. */
#include "tokenizer/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "tokenizer/merge.h"
#include "tokenizer/ranks.h"
#include "tokenizer/scanner.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/vocabulary.h"

struct tokenizer {
    struct vocabulary vocabulary;
    char sha256[65];
};

static void hex_write(char out[65], const unsigned char digest[32])
{
    for (size_t i = 0; i < 64; i++)
        out[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    out[64] = 0;
}

static status sha256_set(tokenizer *t, error *err)
{
    buffer list = {0};
    ranks_write(&t->vocabulary.ranks, &list);
    bool failed = list.failed;
    if (!failed) sha256_hex(list.bytes, list.size, t->sha256);
    buffer_free(&list);
    return failed ? fail(err, ERR_MEMORY, "out of memory for the rank list") : OK;
}

/* "DIR/name" in a cleared *path. */
static status path_join(buffer *path, const char *directory, const char *name, error *err)
{
    buffer_clear(path);
    buffer_print(path, "%s/%s", directory, name);
    return path->failed ? fail(err, ERR_MEMORY, "%s: out of memory", directory) : OK;
}

/* The one *.tiktoken of the directory in *path; *found false when there is none. */
static status list_find(buffer *path, bool *found, const char *directory, error *err)
{
    DIR *entries = opendir(directory);
    status s = OK;
    *found = false;
    if (!entries) return fail(err, ERR_IO, "%s: %s", directory, strerror(errno));
    for (struct dirent *entry; s == OK && (entry = readdir(entries));) {
        if (!text_ends(text_of(entry->d_name), TEXT(".tiktoken"))) continue;
        if (*found)
            s = fail(err, ERR_FORMAT, "%s: found %s beside %s, expected one rank list", directory,
                     entry->d_name, path->bytes);
        else
            s = path_join(path, directory, entry->d_name, err);
        *found = true;
    }
    closedir(entries);
    return s;
}

static status list_load(struct vocabulary *v, const char *path, error *err)
{
    buffer list = {0};
    status s = file_read(&list, path, TOKENIZER_FILE_MAX, err);
    if (s == OK && (s = ranks_parse(v, buffer_text(&list), err)) != OK)
        s = fail_in(err, s, "%s", path);
    buffer_free(&list);
    return s;
}

static status ranks_load(struct vocabulary *v, buffer *path, const char *directory, error *err)
{
    bool found;
    status s = path_join(path, directory, "tokenizer.json", err);
    if (s != OK) return s;
    if (file_exists(path->bytes)) return tokenizer_json_load(v, path->bytes, err);
    s = list_find(path, &found, directory, err);
    if (s != OK) return s;
    if (!found)
        return fail(err, ERR_FORMAT,
                    "%s: found no tokenizer, expected tokenizer.json or one *.tiktoken", directory);
    return list_load(v, path->bytes, err);
}

static status directory_load(struct vocabulary *v, const char *directory, error *err)
{
    buffer path = {0};
    status s = ranks_load(v, &path, directory, err);
    if (s == OK) s = path_join(&path, directory, "tokenizer_config.json", err);
    if (s == OK && file_exists(path.bytes)) s = tokenizer_config_load(v, path.bytes, err);
    if (s == OK) s = path_join(&path, directory, "config.json", err);
    if (s == OK && file_exists(path.bytes)) s = model_config_load(v, path.bytes, err);
    if (s == OK && (s = vocabulary_finish(v, err)) != OK) s = fail_in(err, s, "%s", directory);
    buffer_free(&path);
    return s;
}

/* An empty tokenizer to load into. */
static status tokenizer_begin(tokenizer **out, error *err)
{
    *out = memory_take(1, sizeof **out);
    if (!*out) return fail(err, ERR_MEMORY, "out of memory for a tokenizer");
    vocabulary_begin(&(*out)->vocabulary);
    return OK;
}

/* Gives the loaded tokenizer to the caller, or frees it when loading failed. */
static status tokenizer_end(tokenizer **out, tokenizer *t, status s)
{
    if (s != OK) tokenizer_close(t);
    *out = s == OK ? t : NULL;
    return s;
}

status tokenizer_open(tokenizer **out, const char *model_dir, error *err)
{
    tokenizer *t;
    const unsigned char *digest = NULL;
    *out = NULL;
    status s = tokenizer_begin(&t, err);
    if (s != OK) return s;
    if (model_dir) {
        s = directory_load(&t->vocabulary, model_dir, err);
        if (s == OK) s = sha256_set(t, err);
    } else {
        s = ranks_open_embedded(&t->vocabulary, &digest, err);
        if (s == OK) s = vocabulary_finish(&t->vocabulary, err);
        if (s == OK) hex_write(t->sha256, digest);
    }
    return tokenizer_end(out, t, s);
}

/* The caller's ids as if a file had named them. */
static status specials_take(struct vocabulary *v, const struct special_ids *specials, error *err)
{
    status s = OK;
    for (size_t i = 0; specials && s == OK && i < N_SPECIALS; i++) {
        int32_t id = special_id(specials, i);
        if (id == -1) continue;
        s = vocabulary_add_special(v, id, special_names[i].spelling, "specials", err);
        if (s != OK) s = fail_in(err, s, "%s", special_names[i].field);
    }
    return s;
}

status tokenizer_open_ranks(tokenizer **out, text ranks, const struct special_ids *specials,
                            int32_t vocabulary_size, error *err)
{
    tokenizer *t;
    *out = NULL;
    if (vocabulary_size < 1 || vocabulary_size > VOCABULARY_MAX)
        return fail(err, ERR_FORMAT, "vocabulary_size: found %d, expected 1 to %d", vocabulary_size,
                    VOCABULARY_MAX);
    status s = tokenizer_begin(&t, err);
    if (s != OK) return s;
    t->vocabulary.size = vocabulary_size;
    s = ranks_parse(&t->vocabulary, ranks, err);
    if (s != OK) s = fail_in(err, s, "rank list");
    if (s == OK) s = specials_take(&t->vocabulary, specials, err);
    if (s == OK) s = vocabulary_finish(&t->vocabulary, err);
    if (s == OK) s = sha256_set(t, err);
    return tokenizer_end(out, t, s);
}

void tokenizer_close(tokenizer *t)
{
    if (!t) return;
    vocabulary_close(&t->vocabulary);
    memory_free(t);
}

int32_t tokenizer_vocabulary_size(const tokenizer *t) { return t->vocabulary.size; }

const struct special_ids *tokenizer_specials(const tokenizer *t) { return &t->vocabulary.specials; }

const char *tokenizer_sha256(const tokenizer *t) { return t->sha256; }

void tokenizer_write_ranks(const tokenizer *t, buffer *out)
{
    ranks_write(&t->vocabulary.ranks, out);
}

void tokenizer_encode(const tokenizer *t, token_list *out, text bytes)
{
    const struct rank_table *ranks = &t->vocabulary.ranks;
    for (size_t at = 0, end; at < bytes.size && !out->failed; at = end) {
        end = scanner_piece_end(bytes, at);
        int32_t id = rank_table_find(ranks, bytes.bytes + at, end - at);
        if (id != RANK_NONE)
            token_list_put(out, id);
        else
            merge_piece(ranks, out, text_slice(bytes, at, end));
    }
}

size_t tokenizer_count(const tokenizer *t, text bytes)
{
    const struct rank_table *ranks = &t->vocabulary.ranks;
    token_list scratch = {0};
    size_t n = 0;
    for (size_t at = 0, end; at < bytes.size; at = end) {
        end = scanner_piece_end(bytes, at);
        if (rank_table_find(ranks, bytes.bytes + at, end - at) != RANK_NONE) {
            n++;
            continue;
        }
        scratch.n = 0;
        scratch.failed = false;
        merge_piece(ranks, &scratch, text_slice(bytes, at, end));
        n += scratch.failed ? end - at : scratch.n;
    }
    token_list_free(&scratch);
    return n;
}

/* The special spelt at bytes[at]: its index in special_names, or N_SPECIALS. */
static size_t special_at(const tokenizer *t, text bytes, size_t at)
{
    text rest = text_slice(bytes, at, bytes.size);
    for (size_t i = 0; i < N_SPECIALS; i++)
        if (special_id(&t->vocabulary.specials, i) >= 0 &&
            text_starts(rest, special_names[i].spelling))
            return i;
    return N_SPECIALS;
}

void tokenizer_encode_specials(const tokenizer *t, token_list *out, text bytes)
{
    size_t from = 0, at = 0;
    while ((at = text_find(bytes, TEXT("<|"), at)) != SIZE_MAX) {
        size_t i = special_at(t, bytes, at);
        if (i == N_SPECIALS) {
            at += 2;
            continue;
        }
        tokenizer_encode(t, out, text_slice(bytes, from, at));
        token_list_put(out, special_id(&t->vocabulary.specials, i));
        from = at += special_names[i].spelling.size;
    }
    tokenizer_encode(t, out, text_slice(bytes, from, bytes.size));
}

/* Index in special_names of the special with this id, or N_SPECIALS. */
static size_t special_of(const tokenizer *t, int32_t id)
{
    size_t i = 0;
    while (i < N_SPECIALS && (id < 0 || special_id(&t->vocabulary.specials, i) != id)) i++;
    return i;
}

text tokenizer_token_bytes(const tokenizer *t, int32_t id)
{
    text bytes = rank_table_bytes(&t->vocabulary.ranks, id);
    if (bytes.size) return bytes;
    size_t i = special_of(t, id);
    return i < N_SPECIALS ? special_names[i].spelling : (text){NULL, 0};
}

bool tokenizer_is_special(const tokenizer *t, int32_t id) { return special_of(t, id) < N_SPECIALS; }

bool tokenizer_is_dead(const tokenizer *t, int32_t id)
{
    return tokenizer_token_bytes(t, id).size == 0;
}

bool tokenizer_is_stop(const tokenizer *t, int32_t id)
{
    const struct special_ids *specials = &t->vocabulary.specials;
    return id >= 0 && (id == specials->endoftext || id == specials->im_end);
}

void tokenizer_decode(const tokenizer *t, buffer *out, const int32_t *ids, size_t n,
                      bool with_specials)
{
    for (size_t i = 0; i < n; i++) {
        text bytes = rank_table_bytes(&t->vocabulary.ranks, ids[i]);
        if (bytes.size == 0 && with_specials) bytes = tokenizer_token_bytes(t, ids[i]);
        buffer_put_text(out, bytes);
    }
}

size_t tokenizer_stable_boundary(const tokenizer *t, text bytes, size_t at)
{
    (void)t; /* all tokenizers here share cl100k's pre-tokenizer */
    return scanner_stable_boundary(text_slice(bytes, 0, at));
}
