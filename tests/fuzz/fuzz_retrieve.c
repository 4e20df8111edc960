/* What a tree says of its modules: package.json, tsconfig.json, and the imports of an open document,
 * three parts of the input. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context/index.h"
#include "context/retrieve.h"
#include "tests/fuzz/fuzz.h"

static char home[] = "/tmp/dbrx-fuzz-retrieve-XXXXXX";
static char tree[64];
static repository *r;
static code_index *x;

static void put(const char *name, text content)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", tree, name);
    FILE *f = fopen(path, "we");
    REQUIRE(f && fwrite(content.bytes ? content.bytes : "", 1, content.size, f) == content.size);
    fclose(f);
}

static void folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", tree, name);
    REQUIRE(mkdir(path, 0700) == 0);
}

static void prepare(void)
{
    struct index_report report;
    REQUIRE(mkdtemp(home));
    setenv("HOME", home, 1);
    setenv("XDG_CACHE_HOME", home, 1);
    snprintf(tree, sizeof tree, "%s/tree", home);
    REQUIRE(mkdir(tree, 0700) == 0);
    folder("src");
    folder("pkg");
    put("src/index.ts", TEXT("export * from './b'; export function outer(a: Inner) {}\n"));
    put("src/b.ts", TEXT("export interface Inner { f(): void }\nexport const k = 1;\n"));
    put("pkg/__init__.py", TEXT("from .m import Thing\n"));
    put("pkg/m.py", TEXT("class Thing:\n    def go(self):\n        pass\n"));
    put("pkg/secrets.py", TEXT("PASSWORD = 'canary-canary-1'\n"));
    put("package.json", TEXT("{}"));
    put("tsconfig.json", TEXT("{}"));
    REQUIRE(repository_open(&r, tree, NULL) == OK && index_open(&x, r, NULL) == OK);
    REQUIRE(index_update(&report, x, r, NULL, NULL, NULL) == OK);
}

static void ask(const char *path, text content)
{
    struct excerpts found;
    retriever *to = NULL;
    struct retrieve_request q = {.document = {text_of(path), TEXT(""), content, NULL},
                                 .cursor_byte = content.size};
    REQUIRE(retriever_open(&to, index_database_path(x), tree, NULL) == OK);
    REQUIRE(retrieve(&found, to, &q, NULL) == OK);
    for (size_t i = 0; i < found.n; i++) {
        REQUIRE(!text_is(found.items[i].path, path) && found.items[i].reason);
        REQUIRE(!text_is(found.items[i].path, "pkg/secrets.py"));
    }
    excerpts_free(&found);
    retriever_close(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool changed;
    text rest = {(const char *)data, size};
    if (!x) prepare();
    put("package.json", fuzz_part(&rest));
    put("tsconfig.json", fuzz_part(&rest));
    REQUIRE(index_update_file(&changed, x, r, TEXT("package.json"), NULL) == OK);
    REQUIRE(index_update_file(&changed, x, r, TEXT("tsconfig.json"), NULL) == OK);
    ask("a.ts", rest);
    ask("pkg/a.py", rest);
    return 0;
}
