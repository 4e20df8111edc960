/* Changes are rare and small: read all, write all. The lock is on the directory, because the file
 * itself is replaced, and because a lock file would be one more thing to explain. */
#include "inference/service/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/paths.h"
#include "base/sha256.h"

static const char system_directory[] = "/etc/dbrx-ls";
static const char head[] = "# Access keys of dbrx-ls: NAME user|admin CREATED SALT HASH. "
                           "Changed by `dbrx-ls key`.\n";

status keys_path(buffer *out, error *err)
{
    status s = path_config(out, "keys", err);
    if (s != OK && !directory_exists(system_directory)) return s;
    if (s == OK && (file_exists(out->bytes) || !directory_exists(system_directory))) return OK;
    buffer_clear(out);
    buffer_print(out, "%s/keys", system_directory);
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for a path") : OK;
}

static bool is_name(text name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "._@-";
    if (name.size == 0 || name.size > KEY_NAME_MAX || name.bytes[0] == '-') return false;
    for (size_t i = 0; i < name.size; i++)
        if (!memchr(allowed, name.bytes[i], sizeof allowed - 1)) return false;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_read(unsigned char *out, size_t n, text hex)
{
    if (hex.size != 2 * n) return false;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(hex.bytes[2 * i]), low = hex_digit(hex.bytes[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static void hex_put(buffer *out, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) buffer_print(out, "%02x", bytes[i]);
}

static text word_take(text *rest)
{
    size_t end = 0;
    *rest = text_trim(*rest);
    while (end < rest->size && rest->bytes[end] != ' ' && rest->bytes[end] != '\t') end++;
    text word = text_slice(*rest, 0, end);
    *rest = text_slice(*rest, end, rest->size);
    return word;
}

static bool row_parse(struct access_key *out, text line)
{
    text name = word_take(&line), role = word_take(&line), created = word_take(&line);
    text salt = word_take(&line), hash = word_take(&line);
    if (!is_name(name) || created.size == 0 || created.size >= sizeof out->created) return false;
    *out = (struct access_key){.admin = text_is(role, "admin")};
    memcpy(out->name, name.bytes, name.size);
    memcpy(out->created, created.bytes, created.size);
    return (out->admin || text_is(role, "user")) && hex_read(out->salt, sizeof out->salt, salt) &&
           hex_read(out->hash, sizeof out->hash, hash) && text_trim(line).size == 0;
}

static const struct access_key *row_named(const struct access_keys *keys, const char *name)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->rows[i].name, name) == 0) return &keys->rows[i];
    return NULL;
}

static status rows_read(struct access_keys *out, text file, const char *path, error *err)
{
    text line;
    for (int number = 1; text_next_line(&file, &line); number++) {
        struct access_key row;
        line = text_trim(line);
        if (line.size == 0 || line.bytes[0] == '#') continue;
        if (out->n == KEYS_MAX)
            return fail(err, ERR_LIMIT, "%s: more than %d keys", path, KEYS_MAX);
        if (!row_parse(&row, line))
            return fail(err, ERR_FORMAT, "%s: line %d: expected NAME user|admin CREATED SALT HASH",
                        path, number);
        if (row_named(out, row.name))
            return fail(err, ERR_FORMAT, "%s: line %d: a second key of the name %s", path, number,
                        row.name);
        out->rows[out->n++] = row;
    }
    return OK;
}

status keys_parse(struct access_keys *out, text file, const char *path, error *err)
{
    *out = (struct access_keys){.rows = memory_take(KEYS_MAX, sizeof *out->rows)};
    if (!out->rows) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    status s = rows_read(out, file, path, err);
    if (s != OK) keys_free(out);
    return s;
}

void keys_free(struct access_keys *keys)
{
    memory_free(keys->rows);
    *keys = (struct access_keys){0};
}

static status file_check(int fd, const char *path, error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return fail(err, ERR_IO, "%s: no regular file", path);
    if ((st.st_mode & 077) != 0)
        return fail(err, ERR_IO, "%s: found mode %04o, expected 0600: others could read it", path,
                    (unsigned)(st.st_mode & 07777));
    if (st.st_uid != 0 && st.st_uid != geteuid() && geteuid() != 0)
        return fail(err, ERR_IO, "%s: it belongs to user %u, expected %u or root", path,
                    (unsigned)st.st_uid, (unsigned)geteuid());
    return OK;
}

static status file_text(buffer *out, const char *path, error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return OK;
    if (fd < 0) {
        bool later = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return fail(err, later ? ERR_BUSY : ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    status s = file_check(fd, path, err);
    if (s == OK) s = stream_read(out, fd, KEYS_FILE_MAX, err);
    close(fd);
    return s;
}

status keys_read(struct access_keys *out, const char *path, error *err)
{
    buffer file = {0};
    *out = (struct access_keys){0};
    status s = file_text(&file, path, err);
    if (s == OK) s = keys_parse(out, buffer_text(&file), path, err);
    buffer_free(&file);
    return s;
}

static void key_hash(unsigned char out[32], const unsigned char salt[16], text key)
{
    struct sha256 h;
    sha256_begin(&h);
    sha256_put(&h, salt, 16);
    sha256_put(&h, key.bytes, key.size);
    sha256_end(&h, out);
}

const struct access_key *keys_find(const struct access_keys *keys, text key)
{
    const struct access_key *found = NULL;
    for (size_t i = 0; i < keys->n; i++) {
        unsigned char hash[32], differs = 0;
        key_hash(hash, keys->rows[i].salt, key);
        for (size_t k = 0; k < sizeof hash; k++) differs |= hash[k] ^ keys->rows[i].hash[k];
        if (!differs) found = &keys->rows[i];
    }
    return found;
}

/* The directory of `path`, locked until *fd is closed. */
static status directory_lock(int *fd, const char *path, error *err)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 0;
    char *name = slash && size == 0 ? memory_copy("/", 1)
                 : slash            ? memory_copy(path, size)
                                    : memory_copy(".", 1);
    status s = OK;
    if (!name) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    *fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) {
        s = fail(err, ERR_IO, "%s: %s", name, strerror(errno));
    } else if (flock(*fd, LOCK_EX) != 0) {
        s = fail(err, ERR_IO, "%s: cannot lock: %s", name, strerror(errno));
        close(*fd);
    }
    memory_free(name);
    return s;
}

static bool write_all(int fd, text t)
{
    while (t.size) {
        ssize_t n = write(fd, t.bytes, t.size);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) t = text_slice(t, (size_t)n, t.size);
    }
    return true;
}

/* Beside the file, then in its place: with its owner before anybody can see it there. */
static status file_replace(const char *path, text content, int directory_fd, error *err)
{
    buffer beside = {0};
    struct stat st;
    buffer_print(&beside, "%s.new", path);
    if (beside.failed) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    unlink(beside.bytes);
    int fd = open(beside.bytes, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && write_all(fd, content) && fstat(directory_fd, &st) == 0;
    if (ok && geteuid() == 0) ok = fchown(fd, st.st_uid, st.st_gid) == 0;
    ok = ok && fsync(fd) == 0 && rename(beside.bytes, path) == 0 && fsync(directory_fd) == 0;
    int reason = errno;
    if (fd >= 0) close(fd);
    if (fd >= 0 && !ok) unlink(beside.bytes);
    buffer_free(&beside);
    return ok ? OK : fail(err, ERR_IO, "%s: cannot write: %s", path, strerror(reason));
}

static status rows_write(const struct access_keys *keys, const char *path, int directory_fd,
                         error *err)
{
    buffer file = {0};
    buffer_put_text(&file, text_of(head));
    for (size_t i = 0; i < keys->n; i++) {
        const struct access_key *row = &keys->rows[i];
        buffer_print(&file, "%s %s %s ", row->name, row->admin ? "admin" : "user", row->created);
        hex_put(&file, row->salt, sizeof row->salt);
        buffer_put_char(&file, ' ');
        hex_put(&file, row->hash, sizeof row->hash);
        buffer_put_char(&file, '\n');
    }
    status s = file.failed ? fail(err, ERR_MEMORY, "%s: out of memory", path)
                           : file_replace(path, buffer_text(&file), directory_fd, err);
    buffer_free(&file);
    return s;
}

/* base64url without padding (RFC 4648, section 5): what a header, a shell and a URL leave alone. */
static void put_base64url(buffer *out, const unsigned char *bytes, size_t n)
{
    size_t from = out->size;
    base64_encode(out, (text){(const char *)bytes, n});
    while (out->size > from && out->bytes[out->size - 1] == '=') out->bytes[--out->size] = 0;
    for (size_t i = from; i < out->size; i++) {
        if (out->bytes[i] == '+') out->bytes[i] = '-';
        if (out->bytes[i] == '/') out->bytes[i] = '_';
    }
}

static status row_make(struct access_key *out, buffer *key, const char *name, bool admin,
                       error *err)
{
    unsigned char random[sizeof out->salt + 32];
    time_t now = time(NULL);
    struct tm utc;
    *out = (struct access_key){.admin = admin};
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return fail(err, ERR_IO, "getrandom: %s", strerror(errno));
    snprintf(out->name, sizeof out->name, "%s", name);
    strftime(out->created, sizeof out->created, "%FT%TZ", gmtime_r(&now, &utc));
    memcpy(out->salt, random, sizeof out->salt);
    size_t from = key->size;
    buffer_put_text(key, TEXT("dbrx-"));
    put_base64url(key, random + sizeof out->salt, 32);
    explicit_bzero(random, sizeof random);
    if (key->failed) return fail(err, ERR_MEMORY, "out of memory for a key");
    key_hash(out->hash, out->salt, text_slice(buffer_text(key), from, key->size));
    return OK;
}

status keys_add(buffer *key, const char *path, const char *name, bool admin, error *err)
{
    struct access_keys keys = {0};
    int directory_fd = -1;
    if (!is_name(text_of(name)))
        return fail(err, ERR_USAGE,
                    "NAME: found \"%.80s\", expected 1 to %d of letters, digits and . _ @ -", name,
                    KEY_NAME_MAX);
    status s = directory_lock(&directory_fd, path, err);
    if (s != OK) return s;
    s = keys_read(&keys, path, err);
    if (s == OK && row_named(&keys, name))
        s = fail(err, ERR_USAGE, "%s: there is a key of the name %s: revoke it first", path, name);
    if (s == OK && keys.n == KEYS_MAX)
        s = fail(err, ERR_LIMIT, "%s: %d keys are there already", path, KEYS_MAX);
    if (s == OK) s = row_make(&keys.rows[keys.n], key, name, admin, err);
    if (s == OK) {
        keys.n++;
        s = rows_write(&keys, path, directory_fd, err);
    }
    keys_free(&keys);
    close(directory_fd);
    return s;
}

status keys_revoke(const char *path, const char *name, error *err)
{
    struct access_keys keys = {0};
    int directory_fd = -1;
    status s = directory_lock(&directory_fd, path, err);
    if (s != OK) return s;
    s = keys_read(&keys, path, err);
    const struct access_key *row = s == OK ? row_named(&keys, name) : NULL;
    if (s == OK && !row) s = fail(err, ERR_USAGE, "%s: no key of the name %.80s", path, name);
    if (s == OK) {
        size_t at = (size_t)(row - keys.rows);
        memmove(&keys.rows[at], &keys.rows[at + 1], (keys.n - at - 1) * sizeof *keys.rows);
        keys.n--;
        s = rows_write(&keys, path, directory_fd, err);
    }
    keys_free(&keys);
    close(directory_fd);
    return s;
}
