/* jansson holds the whole file; what it says is copied into the rank table entry by entry. Every
 * message begins with the path and names the field. */
#include "tokenizer/tokenizer_json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/utf.h"

static const char SOURCE_TOKENIZER[] = "tokenizer.json", SOURCE_CONFIG[] = "tokenizer_config.json";

static status json_open(json_t **out, const char *path, size_t max_bytes, error *err)
{
    buffer content = {0};
    json_error_t reason;
    status s = file_read(&content, path, max_bytes, err);
    if (s == OK) {
        *out = json_loadb(content.bytes ? content.bytes : "", content.size, JSON_REJECT_DUPLICATES,
                          &reason);
        if (!*out && json_error_code(&reason) == json_error_out_of_memory)
            s = fail(err, ERR_MEMORY, "%s: out of memory", path);
        else if (!*out)
            s = fail(err, ERR_FORMAT, "%s: line %d: %s", path, reason.line, reason.text);
        else if (!json_is_object(*out))
            s = fail(err, ERR_FORMAT, "%s: found no object, expected one", path);
    }
    if (s != OK && *out) json_decref(*out);
    buffer_free(&content);
    return s;
}

static const char *kind_name(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a number",  "true",     "false",    "null"};
    return value ? names[json_typeof(value)] : "nothing";
}

static status kind_fail(error *err, const char *field, const json_t *found, const char *expected)
{
    return fail(err, ERR_FORMAT, "%s: found %s, expected %s", field, kind_name(found), expected);
}

static text json_text(const json_t *string)
{
    return (text){json_string_value(string), json_string_length(string)};
}

/* At most 40 bytes of a string from a file, for messages. */
static int shown_size(text t) { return (int)utf8_floor(t, t.size < 40 ? t.size : 40); }

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes, in order, for U+0100
 * and on. bytes[c] is the byte of code point c, or -1. */
enum { ALPHABET_SIZE = 256 + 68 };

static void alphabet_fill(int16_t bytes[ALPHABET_SIZE])
{
    size_t next = 256;
    for (size_t i = 0; i < ALPHABET_SIZE; i++) bytes[i] = -1;
    for (int16_t byte = 0; byte < 256; byte++) {
        bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        bytes[itself ? (size_t)byte : next++] = byte;
    }
}

static status token_bytes(buffer *out, text spelling, const int16_t alphabet[ALPHABET_SIZE],
                          error *err)
{
    buffer_clear(out);
    for (size_t at = 0, size; at < spelling.size; at += size) {
        uint32_t c = utf8_decode(spelling, at, &size);
        if (c >= ALPHABET_SIZE || alphabet[c] < 0)
            return fail(err, ERR_FORMAT,
                        "model.vocab: token \"%.*s\" has U+%04X, expected GPT-2's byte alphabet",
                        shown_size(spelling), spelling.bytes, (unsigned)c);
        buffer_put_char(out, (char)alphabet[c]);
    }
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for a token") : OK;
}

static status added_load(struct vocabulary *v, const json_t *root, error *err)
{
    const json_t *tokens = json_object_get(root, "added_tokens");
    if (!tokens || json_is_null(tokens)) return OK;
    if (!json_is_array(tokens)) return kind_fail(err, "added_tokens", tokens, "an array");
    size_t i;
    json_t *token;
    json_array_foreach(tokens, i, token)
    {
        const json_t *id = json_object_get(token, "id"),
                     *content = json_object_get(token, "content");
        if (!json_is_integer(id) || !json_is_string(content))
            return fail(err, ERR_FORMAT,
                        "added_tokens[%zu]: id is %s, content is %s, expected an integer and a "
                        "string",
                        i, kind_name(id), kind_name(content));
        status s = vocabulary_add_special(v, json_integer_value(id), json_text(content),
                                          SOURCE_TOKENIZER, err);
        if (s != OK) return fail_in(err, s, "added_tokens[%zu]", i);
    }
    return OK;
}

/* A special may stand in the vocabulary too, under the same id: then it is no rank. */
static status added_match(const struct vocabulary *v, json_t *vocab, error *err)
{
    for (size_t i = 0; i < v->n_added; i++) {
        const struct added_token *token = &v->added[i];
        const json_t *id = json_object_get(vocab, token->spelling);
        if (id && json_integer_value(id) != token->id)
            return fail(err, ERR_FORMAT,
                        "model.vocab: \"%s\" has id %lld, in added_tokens %d, expected the same",
                        token->spelling, (long long)json_integer_value(id), token->id);
    }
    return OK;
}

static status vocab_entry(struct vocabulary *v, text spelling, const json_t *id, buffer *scratch,
                          const int16_t alphabet[ALPHABET_SIZE], error *err)
{
    if (!json_is_integer(id))
        return fail(err, ERR_FORMAT, "model.vocab: id of \"%.*s\" is %s, expected an integer",
                    shown_size(spelling), spelling.bytes, kind_name(id));
    const struct added_token *added = vocabulary_added(v, json_integer_value(id));
    if (added && text_is(spelling, added->spelling)) return OK;
    status s = token_bytes(scratch, spelling, alphabet, err);
    if (s == OK) s = rank_table_add(&v->ranks, json_integer_value(id), buffer_text(scratch), err);
    return s;
}

static status vocab_load(struct vocabulary *v, json_t *model, error *err)
{
    json_t *vocab = json_object_get(model, "vocab"), *id;
    if (!json_is_object(vocab)) return kind_fail(err, "model.vocab", vocab, "an object");
    status s = added_match(v, vocab, err);
    if (s != OK) return s;
    int16_t alphabet[ALPHABET_SIZE];
    alphabet_fill(alphabet);
    buffer scratch = {0};
    const char *spelling;
    size_t size;
    json_object_keylen_foreach(vocab, spelling, size, id)
    {
        s = vocab_entry(v, (text){spelling, size}, id, &scratch, alphabet, err);
        if (s != OK) break;
    }
    buffer_free(&scratch);
    return s == OK ? rank_table_seal(&v->ranks, err) : s;
}

struct merges {
    const json_t *vocab;
    int64_t last_id; /* what the merge before makes */
    bool *made;      /* [n_ids] by some merge */
    size_t n_ids;
    buffer joined;
};

/* The two parts of merges[i], in either spelling. */
static status merge_parts(const json_t *merge, text *left, text *right, error *err)
{
    if (json_is_string(merge)) {
        text whole = json_text(merge);
        size_t space = text_find(whole, TEXT(" "), 0);
        if (space != SIZE_MAX && text_find(whole, TEXT(" "), space + 1) == SIZE_MAX) {
            *left = text_slice(whole, 0, space);
            *right = text_slice(whole, space + 1, whole.size);
            return OK;
        }
        return fail(err, ERR_FORMAT, "found \"%.*s\", expected two tokens with one space between",
                    shown_size(whole), whole.bytes);
    }
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b))
        return fail(err, ERR_FORMAT, "found %s, expected \"a b\" or [\"a\", \"b\"]",
                    kind_name(merge));
    *left = json_text(a);
    *right = json_text(b);
    return OK;
}

static status merge_lookup(const struct merges *m, text token, int64_t *id, error *err)
{
    const json_t *found = json_object_getn(m->vocab, token.bytes, token.size);
    if (!found)
        return fail(err, ERR_FORMAT, "\"%.*s\" is no token of model.vocab", shown_size(token),
                    token.bytes);
    *id = json_integer_value(found);
    return OK;
}

/* Ranks replace the merges, so merging in the order of ids must be merging in the order given. */
static status merge_check(struct merges *m, const json_t *merge, error *err)
{
    text left, right;
    int64_t id;
    status s = merge_parts(merge, &left, &right, err);
    if (s == OK) s = merge_lookup(m, left, &id, err);
    if (s == OK) s = merge_lookup(m, right, &id, err);
    if (s != OK) return s;
    buffer_clear(&m->joined);
    buffer_put_text(&m->joined, left);
    buffer_put_text(&m->joined, right);
    if (m->joined.failed) return fail(err, ERR_MEMORY, "out of memory for a merge");
    if ((s = merge_lookup(m, buffer_text(&m->joined), &id, err)) != OK) return s;
    if (id < m->last_id)
        return fail(err, ERR_UNSUPPORTED,
                    "makes id %lld after id %lld, expected merges in the order of ids",
                    (long long)id, (long long)m->last_id);
    m->last_id = id;
    if (id >= 0 && (size_t)id < m->n_ids) m->made[id] = true;
    return OK;
}

static status unmade_check(const struct vocabulary *v, const bool *made, error *err)
{
    for (size_t id = 0; id < v->ranks.n_ids; id++)
        if (v->ranks.size[id] > 1 && !made[id])
            return fail(err, ERR_FORMAT, "model.merges: no merge makes id %zu, expected one", id);
    return OK;
}

static status merges_load(struct vocabulary *v, const json_t *model, error *err)
{
    const json_t *list = json_object_get(model, "merges"), *merge;
    struct merges m = {json_object_get(model, "vocab"), 0, NULL, v->ranks.n_ids, {0}};
    status s = OK;
    if (!json_is_array(list)) return kind_fail(err, "model.merges", list, "an array");
    m.made = memory_take(m.n_ids, sizeof *m.made);
    if (!m.made) return fail(err, ERR_MEMORY, "out of memory for the merges");
    size_t i;
    json_array_foreach(list, i, merge)
    {
        s = merge_check(&m, merge, err);
        if (s == OK) continue;
        s = fail_in(err, s, "model.merges[%zu]", i);
        break;
    }
    if (s == OK && !json_is_true(json_object_get(model, "ignore_merges")))
        s = unmade_check(v, m.made, err);
    buffer_free(&m.joined);
    memory_free(m.made);
    return s;
}

/* Settings of the BPE model that would change its ids. */
static status model_check(const json_t *model, error *err)
{
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model)) return kind_fail(err, "model", model, "an object");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return fail(err, ERR_UNSUPPORTED, "model.type: found %s, expected \"BPE\"",
                    json_is_string(type) ? json_string_value(type) : kind_name(type));
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return fail(err, ERR_UNSUPPORTED, "model.byte_fallback: found true, expected false");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *affix = json_string_value(json_object_get(model, affixes[i]));
        if (affix && *affix)
            return fail(err, ERR_UNSUPPORTED, "model.%s: found \"%s\", expected none", affixes[i],
                        affix);
    }
    return OK;
}

/* The spellings of cl100k's pattern that are in use; all cut alike but for U+017F, which the last two
 * leave out and no file with them means. */
static bool is_cl100k_pattern(text pattern)
{
#define REST                                                                                       \
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"      \
    "|\\s+(?!\\S)|\\s+"
    return text_is(pattern, "(?i:'s|'t|'re|'ve|'m|'ll|'d)" REST) ||
           text_is(pattern, "'(?i:[sdmt]|ll|ve|re)" REST) ||
           text_is(pattern, "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])" REST) ||
           text_is(pattern, "('s|'S|'t|'T|'re|'rE|'Re|'RE|'ve|'vE|'Ve|'VE|'m|'M|'ll|'lL|'Ll|'LL|'d"
                            "|'D)" REST);
#undef REST
}

static status split_check(const json_t *step, error *err)
{
    const char *type = json_string_value(json_object_get(step, "type"));
    if (type && strcmp(type, "Split") == 0) {
        const json_t *regex = json_object_get(json_object_get(step, "pattern"), "Regex");
        text pattern = json_is_string(regex) ? json_text(regex) : TEXT("");
        if (is_cl100k_pattern(pattern)) return OK;
        return fail(err, ERR_UNSUPPORTED,
                    "pre_tokenizer: pattern: found \"%.*s\", expected that of cl100k_base",
                    shown_size(pattern), pattern.bytes);
    }
    if (type && strcmp(type, "ByteLevel") == 0) {
        if (json_is_true(json_object_get(step, "use_regex")))
            return fail(err, ERR_UNSUPPORTED,
                        "pre_tokenizer: use_regex: found true, expected "
                        "false (the pattern must be cl100k_base's)");
        if (json_is_true(json_object_get(step, "add_prefix_space")))
            return fail(err, ERR_UNSUPPORTED,
                        "pre_tokenizer: add_prefix_space: found true, expected false");
        return OK;
    }
    return fail(err, ERR_UNSUPPORTED,
                "pre_tokenizer: type: found \"%s\", expected Split, ByteLevel "
                "or a Sequence of them",
                type ? type : kind_name(step));
}

/* What happens to text before the model must be what the scanner does. */
static status steps_check(const json_t *root, error *err)
{
    const json_t *normalizer = json_object_get(root, "normalizer"), *step;
    const json_t *before = json_object_get(root, "pre_tokenizer");
    if (normalizer && !json_is_null(normalizer))
        return fail(err, ERR_UNSUPPORTED, "normalizer: found %s, expected null",
                    kind_name(normalizer));
    if (!before || json_is_null(before)) return OK;
    const json_t *steps = json_object_get(before, "pretokenizers");
    if (!json_is_array(steps)) return split_check(before, err);
    size_t i;
    json_array_foreach(steps, i, step)
    {
        status s = split_check(step, err);
        if (s != OK) return s;
    }
    return OK;
}

status tokenizer_json_load(struct vocabulary *v, const char *path, error *err)
{
    json_t *root = NULL;
    status s = json_open(&root, path, TOKENIZER_FILE_MAX, err);
    if (s != OK) return s;
    json_t *model = json_object_get(root, "model");
    s = model_check(model, err);
    if (s == OK) s = steps_check(root, err);
    if (s == OK) s = added_load(v, root, err);
    if (s == OK) s = vocab_load(v, model, err);
    if (s == OK) s = merges_load(v, model, err);
    json_decref(root);
    return s == OK ? OK : fail_in(err, s, "%s", path);
}

static status decoder_load(struct vocabulary *v, json_t *decoder, error *err)
{
    const char *key;
    json_t *token;
    if (!json_is_object(decoder))
        return kind_fail(err, "added_tokens_decoder", decoder, "an object");
    json_object_foreach(decoder, key, token)
    {
        size_t digits = strspn(key, "0123456789");
        const json_t *content = json_object_get(token, "content");
        if (digits == 0 || digits > 7 || key[digits])
            return fail(err, ERR_FORMAT,
                        "added_tokens_decoder: found key \"%.40s\", expected an id", key);
        if (!json_is_string(content))
            return fail(err, ERR_FORMAT,
                        "added_tokens_decoder[\"%s\"].content: found %s, expected a string", key,
                        kind_name(content));
        int64_t id = 0;
        for (size_t i = 0; i < digits; i++) id = id * 10 + (key[i] - '0');
        status s = vocabulary_add_special(v, id, json_text(content), SOURCE_CONFIG, err);
        if (s != OK) return fail_in(err, s, "added_tokens_decoder");
    }
    return OK;
}

status tokenizer_config_load(struct vocabulary *v, const char *path, error *err)
{
    json_t *root = NULL;
    status s = json_open(&root, path, MODEL_JSON_MAX, err);
    if (s != OK) return s;
    json_t *decoder = json_object_get(root, "added_tokens_decoder");
    if (decoder && !json_is_null(decoder)) s = decoder_load(v, decoder, err);
    json_decref(root);
    return s == OK ? OK : fail_in(err, s, "%s", path);
}

status model_config_load(struct vocabulary *v, const char *path, error *err)
{
    json_t *root = NULL;
    status s = json_open(&root, path, MODEL_JSON_MAX, err);
    if (s != OK) return s;
    const json_t *size = json_object_get(root, "vocab_size");
    double rows = json_number_value(size); /* numbers may be written as integers or as reals */
    if (size && !json_is_number(size))
        s = fail(err, ERR_FORMAT, "%s: vocab_size: found %s, expected a number", path,
                 kind_name(size));
    else if (size && (rows < 1 || rows > VOCABULARY_MAX || floor(rows) < rows))
        s = fail(err, ERR_FORMAT, "%s: vocab_size: found %.17g, expected 1 to %d", path, rows,
                 VOCABULARY_MAX);
    else if (size)
        v->size = (int32_t)rows;
    json_decref(root);
    return s;
}
