/* The database of an index, damaged: it is mended or refused, and a mended one says what a new one
 * says. The input is pieces, each two bytes of where (in 64ths of a block of 4 KiB) and a part of what
 * stands there instead; the first byte says whether the journal or the file's length is hit. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "context/index_query.h"
#include "context/map.h"
#include "tests/fuzz/fuzz.h"

static char home[] = "/tmp/dbrx-fuzz-index-XXXXXX";
static char tree[64], database[512];
static buffer good;

static void write_file(const char *path, text content)
{
    FILE *f = fopen(path, "we");
    REQUIRE(f && fwrite(content.bytes, 1, content.size, f) == content.size && fclose(f) == 0);
}

static status update(struct index_report *report)
{
    repository *r;
    code_index *x;
    REQUIRE(repository_open(&r, tree, NULL) == OK);
    status code = index_open(&x, r, NULL);
    if (code == OK) {
        snprintf(database, sizeof database, "%s", index_database_path(x));
        code = index_update(report, x, r, NULL, NULL, NULL);
    }
    index_close(x);
    repository_close(r);
    return code;
}

static void prepare(void)
{
    struct index_report report;
    char path[96];
    REQUIRE(mkdtemp(home));
    setenv("HOME", home, 1);
    setenv("XDG_CACHE_HOME", home, 1);
    snprintf(tree, sizeof tree, "%s/tree", home);
    REQUIRE(mkdir(tree, 0700) == 0);
    for (int i = 0; i < 12; i++) {
        buffer content = {0};
        buffer_print(&content, "#include \"f%d.h\"\nint f%d(int a) { return f%d(a) + g(a); }\n",
                     i + 1, i, i + 1);
        snprintf(path, sizeof path, "%s/f%d.c", tree, i);
        write_file(path, buffer_text(&content));
        buffer_free(&content);
    }
    REQUIRE(update(&report) == OK);
    REQUIRE(file_read(&good, database, GIB, NULL) == OK);
}

static void damage(text rest)
{
    char name[600];
    buffer bytes = {0};
    uint8_t choice = fuzz_byte(&rest);
    buffer_put_text(&bytes, buffer_text(&good));
    while (rest.size > 2) {
        size_t at = ((size_t)fuzz_byte(&rest) * 256 + fuzz_byte(&rest)) * 64 % bytes.size;
        text what = fuzz_part(&rest);
        for (size_t i = 0; i < what.size && at + i < bytes.size; i++)
            bytes.bytes[at + i] = what.bytes[i];
    }
    if (choice & 1) bytes.size = bytes.size / 255 * (choice | 1);
    write_file(database, buffer_text(&bytes));
    snprintf(name, sizeof name, "%s-shm", database);
    unlink(name);
    snprintf(name, sizeof name, "%s-wal", database);
    unlink(name);
    if (choice & 2) write_file(name, buffer_text(&bytes));
    buffer_free(&bytes);
}

/* Whoever only reads gets an answer or an error. */
static void read_all(void)
{
    int64_t n;
    code_index *x;
    arena a = {0};
    struct index_symbols symbols;
    struct index_files files;
    struct repository_map map;
    const text words[] = {TEXT("g"), TEXT("f3")};
    if (index_open_reading(&x, database, NULL) == OK) {
        index_definitions(&symbols, &a, x, text_of(tree), TEXT("f3"), 10, NULL);
        index_files_like(&files, &a, x, 1, words, 2, 10, NULL);
        index_files_together(&files, &a, x, 1, TEXT("f3.c"), 10, NULL);
        index_word_count(&n, x, TEXT("g"), NULL);
        index_symbols_of(&symbols, &a, x, 1, 10, NULL);
        repository_map_read(&map, &a, x, 1, NULL);
        index_close(x);
    }
    arena_reset(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct index_report report = {0};
    if (!good.size) prepare();
    damage((text){(const char *)data, size});
    read_all();
    status code = update(&report);
    if (code == OK) {
        REQUIRE(report.n_files == 12);
        REQUIRE(!report.rebuilt || report.n_parsed == 12);
    }
    read_all();
    return 0;
}
