/* The table of languages. A row without a grammar works on lines, indentation and brackets. */
#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "context/document.h"
#include "context/syntax.h"

enum { SHEBANG_MAX = 256 };

/* The grammars' own entry points; their type belongs to tree-sitter, which only syntax*.c sees. */
#define GRAMMAR(name)                                                                              \
    const struct TSLanguage *tree_sitter_##name(void);                                             \
    static const void *grammar_##name(void) { return tree_sitter_##name(); }

struct TSLanguage;
GRAMMAR(bash)
GRAMMAR(c)
GRAMMAR(c_sharp)
GRAMMAR(cpp)
GRAMMAR(css)
GRAMMAR(cuda)
GRAMMAR(go)
GRAMMAR(html)
GRAMMAR(java)
GRAMMAR(javascript)
GRAMMAR(json)
GRAMMAR(lua)
GRAMMAR(markdown)
GRAMMAR(php)
GRAMMAR(python)
GRAMMAR(ruby)
GRAMMAR(rust)
GRAMMAR(toml)
GRAMMAR(tsx)
GRAMMAR(typescript)
GRAMMAR(yaml)

/* clang-format off */
static const struct language languages[] = {
    {"C", "c", {"c", "h"}, {0}, {"c"}, {0}, "//", "/*", "*/", "\"", '\'', '{', grammar_c},
    {"C++", "cpp", {"cpp", "cc", "cxx", "hpp", "hh", "hxx", "inl", "ipp"}, {0}, {"cpp"}, {0},
     "//", "/*", "*/", "\"", '\'', '{', grammar_cpp},
    {"CUDA", "cuda", {"cu", "cuh"}, {0}, {"cuda", "cuda-cpp"}, {0}, "//", "/*", "*/", "\"", '\'', '{', grammar_cuda},
    {"C#", "csharp", {"cs"}, {0}, {"csharp", "cs"}, {0}, "//", "/*", "*/", "\"", '\'', '{', grammar_c_sharp},
    {"Python", "python", {"py", "pyi", "pyw"}, {0}, {"python"}, {"python", "pypy"}, "#", NULL, NULL, "\"'", 0, ':',
     grammar_python},
    {"JavaScript", "javascript", {"js", "mjs", "cjs", "jsx"}, {0},
     {"javascript", "javascriptreact"}, {"node", "nodejs"}, "//", "/*", "*/", "\"'`", 0, '{', grammar_javascript},
    {"TSX", "tsx", {"tsx"}, {0}, {"typescriptreact"}, {0}, "//", "/*", "*/", "\"'`", 0, '{', grammar_tsx},
    {"TypeScript", "typescript", {"ts", "mts", "cts"}, {0}, {"typescript"}, {"deno", "ts-node", "bun"}, "//", "/*", "*/",
     "\"'`", 0, '{', grammar_typescript},
    {"Go", "go", {"go"}, {0}, {"go"}, {0}, "//", "/*", "*/", "\"`", '\'', '{', grammar_go},
    {"Rust", "rust", {"rs"}, {0}, {"rust"}, {0}, "//", "/*", "*/", "\"", '\'', '{', grammar_rust},
    {"Java", "java", {"java"}, {0}, {"java"}, {0}, "//", "/*", "*/", "\"", '\'', '{', grammar_java},
    {"Kotlin", "kotlin", {"kt", "kts"}, {0}, {"kotlin"}, {0}, "//", "/*", "*/", "\"", '\'', '{', NULL},
    {"Swift", "swift", {"swift"}, {0}, {"swift"}, {0}, "//", "/*", "*/", "\"", 0, '{', NULL},
    {"Ruby", "ruby", {"rb", "rake", "gemspec"}, {"Rakefile", "Gemfile"}, {"ruby"}, {"ruby"}, "#", NULL, NULL,
     "\"'", 0, 0, grammar_ruby},
    {"PHP", "php", {"php"}, {0}, {"php"}, {"php"}, "//", "/*", "*/", "\"'", 0, '{', grammar_php},
    {"Lua", "lua", {"lua"}, {0}, {"lua"}, {"lua", "luajit"}, "--", "--[[", "]]", "\"'", 0, 0, grammar_lua},
    {"Bash", "bash", {"sh", "bash", "bats"}, {".bashrc", ".profile"},
     {"shellscript", "sh", "bash"}, {"sh", "bash", "dash", "ksh", "zsh"}, "#", NULL, NULL, "\"'", 0, 0, grammar_bash},
    {"SQL", "sql", {"sql"}, {0}, {"sql"}, {0}, "--", "/*", "*/", "'", 0, 0, NULL},
    {"JSON", "json", {"json", "jsonc", "jsonl", "code-workspace"}, {0}, {"json", "jsonc", "jsonl"}, {0}, NULL, NULL, NULL,
     "\"", 0, '{', grammar_json},
    {"YAML", "yaml", {"yaml", "yml"}, {0}, {"yaml", "dockercompose", "yaml.docker-compose"}, {0}, "#", NULL, NULL, "\"'", 0, ':', grammar_yaml},
    {"TOML", "toml", {"toml"}, {0}, {"toml"}, {0}, "#", NULL, NULL, "\"'", 0, 0, grammar_toml},
    {"Makefile", "makefile", {"mk", "mak"}, {"Makefile", "makefile", "GNUmakefile"},
     {"makefile", "make"}, {"make"}, "#", NULL, NULL, "\"'", 0, 0, NULL},
    {"CMake", "cmake", {"cmake"}, {"CMakeLists.txt"}, {"cmake"}, {0}, "#", NULL, NULL, "\"", 0, 0, NULL},
    {"Dockerfile", "dockerfile", {"dockerfile"}, {"Dockerfile", "Containerfile"}, {"dockerfile"}, {0},
     "#", NULL, NULL, "\"'", 0, 0, NULL},
    {"HTML", "html", {"html", "htm"}, {0}, {"html"}, {0}, NULL, "<!--", "-->", "", 0, 0, grammar_html},
    {"XML", "xml", {"xml", "svg", "xsd"}, {0}, {"xml"}, {0}, NULL, "<!--", "-->", "", 0, 0, NULL},
    {"CSS", "css", {"css"}, {0}, {"css"}, {0}, NULL, "/*", "*/", "\"'", 0, '{', grammar_css},
    {"SCSS", "scss", {"scss", "less"}, {0}, {"scss", "less"}, {0}, "//", "/*", "*/", "\"'", 0, '{', NULL},
    {"Markdown", "markdown", {"md", "markdown"}, {0}, {"markdown"}, {0}, NULL, "<!--", "-->", "", 0, 0,
     grammar_markdown},
    {"Text", "text", {"txt", "text"}, {0}, {"plaintext", "text"}, {0}, NULL, NULL, NULL, "", 0, 0, NULL},
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

/* The program behind "#!", without its folder, its version, and a leading `env` with options. */
static text shebang_program(text content)
{
    size_t end = text_find(content, TEXT("\n"), 0);
    text line = text_slice(content, 2, end == SIZE_MAX ? content.size : end), word = TEXT("");
    if (!text_starts(content, TEXT("#!")) || line.size > SHEBANG_MAX) return TEXT("");
    for (size_t at = 0; at < line.size;) {
        size_t from = at;
        while (from < line.size && strchr(" \t\r", line.bytes[from])) from++;
        at = from;
        while (at < line.size && !strchr(" \t\r", line.bytes[at])) at++;
        word = file_name(text_slice(line, from, at));
        if (word.size && !text_is(word, "env") && word.bytes[0] != '-') break;
    }
    while (word.size && strchr("0123456789.", word.bytes[word.size - 1])) word.size--;
    return word;
}

const struct language *language_find_shebang(text content)
{
    const struct language *l;
    text program = shebang_program(content);
    for (size_t i = 0; (l = language_at(i)); i++)
        if (list_has(l->interpreters, 6, program)) return l;
    return NULL;
}

static bool is_name_byte(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* `line` without `word` and the blanks behind it; false: it does not begin with the word. */
static bool takes_word(text *line, const char *word)
{
    size_t n = strlen(word);
    if (!text_starts(*line, text_of(word)) || (line->size > n && is_name_byte(line->bytes[n])))
        return false;
    *line = text_trim(text_slice(*line, n, line->size));
    return true;
}

/* What no C has at the beginning of a line, nor prose in a comment: "#include <vector>", "template <",
 * "namespace x {", "class x {" or ":" or ";" or nothing, "public:". */
static bool is_cpp_line(text line)
{
    static const char *const accesses[] = {"public:", "private:", "protected:"};
    for (size_t i = 0; i < sizeof accesses / sizeof *accesses; i++)
        if (text_is(line, accesses[i])) return true;
    if (takes_word(&line, "#include"))
        return line.size > 2 && line.bytes[0] == '<' && !memchr(line.bytes, '.', line.size) &&
               !memchr(line.bytes, '/', line.size);
    if (takes_word(&line, "template")) return line.size && line.bytes[0] == '<';
    if (!takes_word(&line, "class") && !takes_word(&line, "namespace")) return false;
    size_t n = 0;
    while (n < line.size && is_name_byte(line.bytes[n])) n++;
    text rest = text_trim(text_slice(line, n, line.size));
    return rest.size ? strchr("{:;", rest.bytes[0]) != NULL : n > 0;
}

const struct language *language_of_content(const struct language *l, text path, text content)
{
    text line;
    bool header = l && l->grammar && text_ends(path, TEXT(".h"));
    if (!l) return language_find_shebang(content);
    while (header && text_next_line(&content, &line))
        if (is_cpp_line(text_trim(line))) return language_find(TEXT("cpp"), TEXT(""));
    return l;
}

const struct language *language_of_document(const struct document_view *d)
{
    const struct language *l = language_find(d->language_id, d->path);
    if (!l || text_is(text_of(l->name), "Text")) return language_find_shebang(d->content);
    return d->language_id.size ? l : language_of_content(l, d->path, d->content);
}
