/* The table of languages. A row without a grammar works on lines, indentation and brackets. */
#include <ctype.h>
#include <stddef.h>

#include "context/syntax.h"

/* The grammars' own entry points; their type belongs to tree-sitter, which only syntax*.c sees. */
#define GRAMMAR(name)                                                                              \
    const struct TSLanguage *tree_sitter_##name(void);                                             \
    static const void *grammar_##name(void) { return tree_sitter_##name(); }

struct TSLanguage;
GRAMMAR(bash)
GRAMMAR(c)
GRAMMAR(go)
GRAMMAR(java)
GRAMMAR(javascript)
GRAMMAR(json)
GRAMMAR(lua)
GRAMMAR(python)
GRAMMAR(rust)
GRAMMAR(tsx)
GRAMMAR(typescript)

/* clang-format off */
static const struct language languages[] = {
    {"C", "c", {"c", "h"}, {0}, {"c"}, "//", "/*", "*/", "\"", '\'', '{', grammar_c},
    {"C++", "cpp", {"cpp", "cc", "cxx", "hpp", "hh", "hxx", "inl", "ipp"}, {0}, {"cpp"},
     "//", "/*", "*/", "\"", '\'', '{', NULL},
    {"CUDA", "cuda", {"cu", "cuh"}, {0}, {"cuda", "cuda-cpp"}, "//", "/*", "*/", "\"", '\'', '{', NULL},
    {"C#", "csharp", {"cs"}, {0}, {"csharp", "cs"}, "//", "/*", "*/", "\"", '\'', '{', NULL},
    {"Python", "python", {"py", "pyi", "pyw"}, {0}, {"python"}, "#", NULL, NULL, "\"'", 0, ':',
     grammar_python},
    {"JavaScript", "javascript", {"js", "mjs", "cjs", "jsx"}, {0},
     {"javascript", "javascriptreact"}, "//", "/*", "*/", "\"'`", 0, '{', grammar_javascript},
    {"TSX", "tsx", {"tsx"}, {0}, {"typescriptreact"}, "//", "/*", "*/", "\"'`", 0, '{', grammar_tsx},
    {"TypeScript", "typescript", {"ts", "mts", "cts"}, {0}, {"typescript"}, "//", "/*", "*/",
     "\"'`", 0, '{', grammar_typescript},
    {"Go", "go", {"go"}, {0}, {"go"}, "//", "/*", "*/", "\"`", '\'', '{', grammar_go},
    {"Rust", "rust", {"rs"}, {0}, {"rust"}, "//", "/*", "*/", "\"", '\'', '{', grammar_rust},
    {"Java", "java", {"java"}, {0}, {"java"}, "//", "/*", "*/", "\"", '\'', '{', grammar_java},
    {"Kotlin", "kotlin", {"kt", "kts"}, {0}, {"kotlin"}, "//", "/*", "*/", "\"", '\'', '{', NULL},
    {"Swift", "swift", {"swift"}, {0}, {"swift"}, "//", "/*", "*/", "\"", 0, '{', NULL},
    {"Ruby", "ruby", {"rb", "rake", "gemspec"}, {"Rakefile", "Gemfile"}, {"ruby"}, "#", NULL, NULL,
     "\"'", 0, 0, NULL},
    {"PHP", "php", {"php"}, {0}, {"php"}, "//", "/*", "*/", "\"'", 0, '{', NULL},
    {"Lua", "lua", {"lua"}, {0}, {"lua"}, "--", "--[[", "]]", "\"'", 0, 0, grammar_lua},
    {"Bash", "bash", {"sh", "bash", "bats"}, {".bashrc", ".profile"},
     {"shellscript", "sh", "bash"}, "#", NULL, NULL, "\"'", 0, 0, grammar_bash},
    {"SQL", "sql", {"sql"}, {0}, {"sql"}, "--", "/*", "*/", "'", 0, 0, NULL},
    {"JSON", "json", {"json", "jsonc", "code-workspace"}, {0}, {"json", "jsonc"}, NULL, NULL, NULL,
     "\"", 0, '{', grammar_json},
    {"YAML", "yaml", {"yaml", "yml"}, {0}, {"yaml"}, "#", NULL, NULL, "\"'", 0, ':', NULL},
    {"TOML", "toml", {"toml"}, {0}, {"toml"}, "#", NULL, NULL, "\"'", 0, 0, NULL},
    {"Makefile", "makefile", {"mk", "mak"}, {"Makefile", "makefile", "GNUmakefile"},
     {"makefile", "make"}, "#", NULL, NULL, "\"'", 0, 0, NULL},
    {"CMake", "cmake", {"cmake"}, {"CMakeLists.txt"}, {"cmake"}, "#", NULL, NULL, "\"", 0, 0, NULL},
    {"Dockerfile", "dockerfile", {"dockerfile"}, {"Dockerfile", "Containerfile"}, {"dockerfile"},
     "#", NULL, NULL, "\"'", 0, 0, NULL},
    {"HTML", "html", {"html", "htm"}, {0}, {"html"}, NULL, "<!--", "-->", "", 0, 0, NULL},
    {"XML", "xml", {"xml", "svg", "xsd"}, {0}, {"xml"}, NULL, "<!--", "-->", "", 0, 0, NULL},
    {"CSS", "css", {"css", "scss", "less"}, {0}, {"css", "scss", "less"}, NULL, "/*", "*/", "\"'", 0, '{', NULL},
    {"Markdown", "markdown", {"md", "markdown"}, {0}, {"markdown"}, NULL, "<!--", "-->", "", 0, 0,
     NULL},
    {"Text", "text", {"txt", "text"}, {0}, {"plaintext", "text"}, NULL, NULL, NULL, "", 0, 0, NULL},
};
/* clang-format on */

const struct language *language_at(size_t i)
{
    return i < sizeof languages / sizeof *languages ? &languages[i] : NULL;
}

static bool list_has(const char *const *list, size_t n, text word)
{
    for (size_t i = 0; i < n && list[i]; i++)
        if (word.size && text_is(word, list[i])) return true;
    return false;
}

/* What stands behind the last slash. */
static text file_name(text path)
{
    size_t from = path.size;
    while (from > 0 && path.bytes[from - 1] != '/' && path.bytes[from - 1] != '\\') from--;
    return text_slice(path, from, path.size);
}

/* Behind the last dot, lower-cased into `into`; empty when there is none or it is too long. */
static text extension_of(text name, char into[16])
{
    size_t from = name.size;
    while (from > 0 && name.bytes[from - 1] != '.') from--;
    size_t size = name.size - from;
    if (from == 0 || size >= 16) return TEXT("");
    for (size_t i = 0; i < size; i++) into[i] = (char)tolower((unsigned char)name.bytes[from + i]);
    return (text){into, size};
}

const struct language *language_find(text language_id, text path)
{
    char lower[16];
    text name = file_name(path), extension = extension_of(name, lower);
    const struct language *l;
    for (size_t i = 0; (l = language_at(i)); i++)
        if (list_has(l->language_ids, 6, language_id)) return l;
    for (size_t i = 0; (l = language_at(i)); i++)
        if (list_has(l->file_names, 6, name)) return l;
    for (size_t i = 0; (l = language_at(i)); i++)
        if (list_has(l->extensions, 10, extension)) return l;
    return NULL;
}
