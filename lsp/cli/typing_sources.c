/* Which files somebody might be typing: of a directory, those its repository tracks or would, in a
 * known language, neither tiny nor huge, with plain line ends. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/utf.h"
#include "context/exclude.h"
#include "context/repository.h"
#include "context/syntax.h"
#include "lsp/cli/typing.h"

enum { SOURCE_BYTES_MIN = 1000, SOURCE_BYTES_MAX = 200000, SOURCES_MAX = 4096 };

static bool content_fits(text content)
{
    return content.size >= SOURCE_BYTES_MIN && content.size <= SOURCE_BYTES_MAX &&
           utf8_valid(content) && text_find(content, TEXT("\r"), 0) == SIZE_MAX &&
           !memchr(content.bytes, 0, content.size);
}

static bool path_fits(text path)
{
    const struct language *l = language_find(TEXT(""), path);
    return l && l->grammar && l->quotes[0] && !exclude_reason(path);
}

static void source_add(struct typing_sources *s, text path, text content)
{
    struct typing_source *file = &s->files[s->n];
    file->path = (text){arena_copy(&s->memory, path.bytes, path.size), path.size};
    file->content = (text){arena_copy(&s->memory, content.bytes, content.size), content.size};
    if (!s->memory.failed) s->n++;
}

static status file_add(struct typing_sources *s, const char *path, error *err)
{
    buffer content = {0};
    status code = file_read(&content, path, SOURCE_BYTES_MAX, err);
    if (code == OK && (exclude_reason(text_of(path)) || !content_fits(buffer_text(&content))))
        code = fail(err, ERR_USAGE,
                    "%s: expected source that may be read, UTF-8 with \"\\n\", of %d to %d bytes",
                    path, SOURCE_BYTES_MIN, SOURCE_BYTES_MAX);
    if (code == OK) source_add(s, text_of(path), buffer_text(&content));
    buffer_free(&content);
    return code;
}

/* The repository's root may be above the directory that was named. */
static text prefix_of(const repository *r, const char *real)
{
    text path = text_of(real), root = text_of(repository_root(r));
    if (!text_starts(path, root) || path.size <= root.size + 1) return TEXT("");
    return text_slice(path, root.size + 1, path.size);
}

static bool below(text path, text prefix)
{
    if (prefix.size == 0) return true;
    return text_starts(path, prefix) && path.size > prefix.size && path.bytes[prefix.size] == '/';
}

static status directory_add(struct typing_sources *s, const char *path, error *err)
{
    repository *r = NULL;
    struct repository_files files = {0};
    buffer content = {0};
    char *real = realpath(path, NULL);
    status code = repository_open(&r, path, err);
    if (code == OK) code = repository_list(&files, r, err);
    text prefix = code == OK && real ? prefix_of(r, real) : TEXT("");
    for (size_t i = 0; code == OK && i < files.n && s->n < SOURCES_MAX; i++) {
        const struct repository_file *f = &files.files[i];
        struct file_stamp stamp;
        bool fits = below(f->path, prefix) && path_fits(f->path) &&
                    f->stamp.size_bytes >= SOURCE_BYTES_MIN &&
                    f->stamp.size_bytes <= SOURCE_BYTES_MAX;
        buffer_clear(&content);
        if (fits && repository_read(&content, &stamp, r, f, SOURCE_BYTES_MAX, NULL) == OK &&
            content_fits(buffer_text(&content)))
            source_add(s, f->path, buffer_text(&content));
    }
    free(real);
    buffer_free(&content);
    repository_files_free(&files);
    repository_close(r);
    return code;
}

status typing_sources_read(struct typing_sources *out, const char *path, error *err)
{
    struct stat about;
    *out = (struct typing_sources){0};
    out->files = arena_take(&out->memory, SOURCES_MAX, sizeof *out->files);
    if (!out->files) return fail(err, ERR_MEMORY, "out of memory for sources");
    bool directory = stat(path, &about) == 0 && S_ISDIR(about.st_mode);
    status code = directory ? directory_add(out, path, err) : file_add(out, path, err);
    if (code == OK && out->memory.failed) code = fail(err, ERR_MEMORY, "out of memory for sources");
    if (code == OK && out->n == 0)
        code = fail(err, ERR_USAGE, "%s: found no source of %d to %d bytes to type from", path,
                    SOURCE_BYTES_MIN, SOURCE_BYTES_MAX);
    return code;
}
